//! Links.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ids::{LinkId, WorkspaceId};
use crate::link::{Link, NewLink, OpenLink};
use crate::ports::AccessError;

/// Links to the files of runs. Every call is one transaction.
#[async_trait]
pub trait Links: Send + Sync {
    /// Makes a link; `NotFound` without its run, `TooMany` if the workspace has [`crate::limits::LINKS_MAX`].
    async fn create_link(&self, new: &NewLink) -> Result<(), AccessError>;

    /// Returns a link of the workspace.
    async fn link(&self, workspace: &WorkspaceId, id: &LinkId) -> Result<Link, AccessError>;

    /// Returns links of the workspace, newest first, up to `limit`, made before the one named.
    async fn links(
        &self,
        workspace: &WorkspaceId,
        before: Option<&LinkId>,
        limit: u32,
    ) -> Result<Vec<Link>, AccessError>;

    /// Takes a link back; again changes nothing.
    async fn revoke_link(
        &self,
        workspace: &WorkspaceId,
        id: &LinkId,
        now: DateTime<Utc>,
    ) -> Result<Link, AccessError>;

    /// Returns a link with its key, whosever it is; nothing if there is none. It may be over.
    async fn open_link(&self, id: &LinkId) -> Result<Option<OpenLink>, AccessError>;

    /// Removes up to `limit` links that were over before `before`; returns how many there were.
    async fn forget_links(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, AccessError>;
}
