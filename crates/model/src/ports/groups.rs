//! Groups of exports.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::document::Basis;
use crate::export::ExportState;
use crate::group::{Group, GroupExports, SaveGroup};
use crate::ids::WorkspaceId;
use crate::ports::LedgerError;

/// Groups of exports. Every call is one transaction: all exports of a group are as it says, or none.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Saves a group with its exports, or edits the one that the basis names; a tag is [`Group::tag`]. Exports of datasets that are not named any
    /// more are paused.
    ///
    /// # Errors
    ///
    /// Those of [`super::Exports::save_export`], of the group and of each export.
    async fn save_group(
        &self,
        save: &SaveGroup,
        basis: &Basis,
    ) -> Result<GroupExports, LedgerError>;

    /// Returns a group with its exports.
    async fn group(&self, workspace: &WorkspaceId, name: &str)
    -> Result<GroupExports, LedgerError>;

    /// Returns every group of the workspace, by name.
    async fn groups(&self, workspace: &WorkspaceId) -> Result<Vec<Group>, LedgerError>;

    /// Deletes a group with its exports, as [`super::Exports::delete_export`]; all or none. Those that have left it before stay.
    async fn delete_group(&self, workspace: &WorkspaceId, name: &str) -> Result<(), LedgerError>;

    /// Lets the exports of a group run by themselves, or not; as [`super::Exports::set_export_state`] of each.
    async fn set_group_state(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        state: ExportState,
        now: DateTime<Utc>,
    ) -> Result<GroupExports, LedgerError>;
}
