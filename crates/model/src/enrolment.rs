//! Enrolments: workspaces that a door knows under names of its own, and serves by itself since some instant.
//!
//! Contract: a door has at most one enrolment of a workspace, and no two with the same name of a kind. Its secret is kept sealed and
//! leaves only by a call of its own.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::ids::{OrganizationId, WorkspaceId};
use crate::secret::SecretText;

/// A workspace as a door knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The door, by name.
    pub door: String,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The workspace's organization.
    pub organization: OrganizationId,
    /// What the door calls it, by kind; each is unique at the door.
    pub names: BTreeMap<String, String>,
    /// Since when it is served.
    pub since: DateTime<Utc>,
    /// Up to where what the door makes by itself was asked for.
    pub covered: DateTime<Utc>,
}

impl Enrolment {
    /// Returns what the door calls it, by kind of name; nothing where it has none.
    pub fn name(&self, kind: &str) -> &str {
        self.names.get(kind).map_or("", String::as_str)
    }
}

/// A workspace to be enrolled.
#[derive(Clone, Debug)]
pub struct NewEnrolment {
    /// See [`Enrolment::door`].
    pub door: String,
    /// See [`Enrolment::workspace`].
    pub workspace: WorkspaceId,
    /// See [`Enrolment::names`].
    pub names: BTreeMap<String, String>,
    /// What the door signs with.
    pub secret: SecretText,
    /// See [`Enrolment::since`].
    pub since: DateTime<Utc>,
    /// See [`Enrolment::covered`].
    pub covered: DateTime<Utc>,
}
