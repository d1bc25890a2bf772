//! Saved exports.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::document::Basis;
use crate::export::{Export, ExportState, ExportVersion, SaveExport};
use crate::ids::WorkspaceId;
use crate::ports::LedgerError;
use crate::schedule::Due;

/// Saved exports, how they were edited, and which are due.
#[async_trait]
pub trait Exports: Send + Sync {
    /// Saves an export, or edits the one that the basis names; a tag is [`Export::tag`].
    ///
    /// Shape: an edit takes effect with the next run; an open one goes on as it was begun. The first run is due as the
    /// schedule says from now on; an edit of the schedule begins it anew, but windows go on where the last one ended. With `restart`
    /// the cursor goes back to 0.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Exists`], [`LedgerError::Changed`], [`LedgerError::NotFound`], by the basis; [`LedgerError::Restart`] where an export that has
    /// delivered would go on with another relation, mode or in another place; [`LedgerError::Open`] where that or a restart would pull the cursor from under a run;
    /// [`LedgerError::TooMany`].
    async fn save_export(&self, save: &SaveExport, basis: &Basis) -> Result<Export, LedgerError>;

    /// Returns the versions of an export, newest first, up to `limit`, older than `before` if given.
    async fn export_versions(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ExportVersion>, LedgerError>;

    /// Lets an export run by itself, or not. When it is taken up again, failures are forgotten and slots missed meanwhile are treated as
    /// the schedule says.
    async fn set_export_state(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        state: ExportState,
        now: DateTime<Utc>,
    ) -> Result<Export, LedgerError>;

    /// Deletes an export: it makes no runs any more, nothing is kept for its cursor, and its name is free. The runs that it has made stay.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotFound`]; [`LedgerError::Open`] while a run of it is open; [`LedgerError::InGroup`].
    async fn delete_export(&self, workspace: &WorkspaceId, name: &str) -> Result<(), LedgerError>;

    /// Stops an export that is as it was seen from running by itself, because of something that does not go away.
    async fn break_export(&self, seen: &Export, why: &str) -> Result<(), LedgerError>;

    /// Returns active exports of every workspace that are due, oldest first, up to `limit`. One that waits for rows is due when
    /// its dataset has a commit, other than a rewriting one, that no slot was made for. One of which
    /// [`crate::limits::SLOTS_WAITING_MAX`] slots wait is left out until some have their runs.
    async fn due_exports(&self, now: DateTime<Utc>, limit: u32)
    -> Result<Vec<Export>, LedgerError>;

    /// Makes the slots of an export jobs and says when it is due next, if it is still as it was seen; returns whether it was.
    ///
    /// A slot of an export without windows is left out while an earlier one waits: one run covers both.
    async fn fire(&self, seen: &Export, due: &Due, now: DateTime<Utc>)
    -> Result<bool, LedgerError>;
}
