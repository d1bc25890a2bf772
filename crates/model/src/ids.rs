//! Identifiers. A client sees opaque strings; nothing may assume that they are UUIDs.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps an id that some door minted.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text_id! {
    /// A tenant.
    OrganizationId,
    /// The isolated unit of a tenant.
    WorkspaceId,
    /// A person or a program that acts.
    PrincipalId,
    /// A key to a workspace; no secret.
    TokenId,
    /// An entry of the log of changes; ids sort by the time of the change.
    AuditId,
    /// A table of a workspace; stays the same when the name changes or is used again.
    DatasetId,
    /// A named place for exports.
    DestinationId,
    /// What a client uploads or receives as one unit.
    BatchId,
    /// An immutable Parquet object of the lake.
    FileId,
    /// One execution of an export.
    RunId,
    /// A saved export.
    ExportId,
    /// A group of exports.
    GroupId,
    /// Work that is to be done.
    JobId,
    /// An export that somebody has asked for and that waits for its turn.
    TicketId,
    /// What opens the files of a run for a while; ids sort by the time it was made.
    LinkId,
    /// A schema by its content: the same fields have the same id everywhere.
    SchemaId,
    /// The name of an object inside one object store: relative, `/` between folders.
    ObjectKey,
}

macro_rules! minted {
    ($($name:ident: $prefix:literal),+ $(,)?) => {$(
        impl $name {
            /// Mints a new id at random.
            pub fn mint() -> Self {
                Self(format!(concat!($prefix, "{}"), Uuid::new_v4().simple()))
            }

            /// Returns whether a text looks like an id that was minted.
            pub fn is_minted(text: &str) -> bool {
                text.strip_prefix($prefix).is_some_and(|rest| {
                    rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
            }
        }
    )+};
}

minted! {
    OrganizationId: "or_", WorkspaceId: "ws_", PrincipalId: "pr_", TokenId: "tk_", DatasetId: "ds_", BatchId: "ba_",
    FileId: "fi_", ExportId: "ex_", GroupId: "gr_", JobId: "jo_", DestinationId: "de_",
    TicketId: "ti_",
}

impl RunId {
    /// Mints a run id that sorts by the time given, so that run folders list in order.
    ///
    /// ```
    /// let at = |s| chrono::DateTime::from_timestamp(s, 0).expect("in range");
    /// assert!(model::RunId::mint(at(1)) < model::RunId::mint(at(2)));
    /// ```
    pub fn mint(at: chrono::DateTime<chrono::Utc>) -> Self {
        Self(sorting(at))
    }
}

impl AuditId {
    /// Mints an id that sorts by the time given.
    pub fn mint(at: chrono::DateTime<chrono::Utc>) -> Self {
        Self(format!("au_{}", sorting(at)))
    }
}

impl LinkId {
    /// Mints an id that sorts by the time given.
    pub fn mint(at: chrono::DateTime<chrono::Utc>) -> Self {
        Self(format!("ln_{}", sorting(at)))
    }
}

/// Returns a random text that sorts by a time.
fn sorting(at: chrono::DateTime<chrono::Utc>) -> String {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let random = *Uuid::new_v4().as_bytes();
    let mut tail = [0_u8; 10];
    tail.copy_from_slice(&random[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid().simple().to_string()
}

impl OrganizationId {
    /// Returns the organization that exists without being created.
    pub fn default_organization() -> Self {
        Self(crate::access::DEFAULT.into())
    }
}

impl WorkspaceId {
    /// Returns the workspace that exists without being created.
    pub fn default_workspace() -> Self {
        Self(crate::access::DEFAULT.into())
    }
}

/// The number of a commit: dense, ascending, one order per workspace; 0 is before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CommitNumber(pub u64);

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
