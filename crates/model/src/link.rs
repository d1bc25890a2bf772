//! Links: what opens the files of a run for a while, for whoever has its address.
//!
//! Contract: a [`Link`] is of one run. The addresses that were given out for it are signed under a [`LinkKey`] of its own,
//! so that taking it back, or its end, ends all of them and no others. A download that began before goes on.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{LinkId, OrganizationId, RunId, WorkspaceId};

/// What opens the files of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Never changes.
    pub id: LinkId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The run whose files it opens.
    pub run: RunId,
    /// Who made it.
    pub author: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    pub expires_at: DateTime<Utc>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Link {
    /// Returns why it opens nothing now.
    pub fn closed(&self, now: DateTime<Utc>) -> Option<Closed> {
        match self.revoked_at {
            Some(_) => Some(Closed::Revoked),
            None if self.expires_at <= now => Some(Closed::Expired),
            None => None,
        }
    }
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// What it shall be; it is not taken back.
    pub link: Link,
    /// Under what its addresses are signed.
    pub key: LinkKey,
}

/// A link with all that whoever serves it needs.
#[derive(Clone, Debug)]
pub struct OpenLink {
    /// The link.
    pub link: Link,
    /// The organization of its workspace.
    pub organization: OrganizationId,
    /// Under what its addresses are signed.
    pub key: LinkKey,
}

/// 256 random bits. Is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey([u8; 32]);

impl LinkKey {
    /// Wraps random bits.
    pub fn new(bits: [u8; 32]) -> Self {
        Self(bits)
    }

    /// Returns them, for signing and for the database.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(…)")
    }
}
