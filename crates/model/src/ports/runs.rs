//! What the doors and the executor read of runs. Nothing here writes.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::export::Export;
use crate::ids::{RunId, WorkspaceId};
use crate::part::Receipt;
use crate::ports::LedgerError;
use crate::run::RunStatus;

/// Runs as they are looked at, without the texts of plans and manifests, which may be long.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Returns a run and how far it has come.
    async fn status(&self, workspace: &WorkspaceId, run: &RunId) -> Result<RunStatus, LedgerError>;

    /// Returns a run; how far it has come is left out.
    async fn brief(&self, workspace: &WorkspaceId, run: &RunId) -> Result<RunStatus, LedgerError>;

    /// Returns runs, newest first, up to `limit`, opened before `before` if given; how far they have come
    /// is left out.
    async fn statuses(
        &self,
        workspace: &WorkspaceId,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<RunStatus>, LedgerError>;

    /// Returns the saved exports by name.
    async fn exports(&self, workspace: &WorkspaceId) -> Result<Vec<Export>, LedgerError>;

    /// Returns how many runs of a workspace have not ended.
    async fn unfinished_count(&self, workspace: &WorkspaceId) -> Result<u64, LedgerError>;

    /// Returns the receipts of a run's files in the manifest's order, up to `limit`; the first is that with this number, counted from 1.
    async fn files(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        first: u64,
        limit: u32,
    ) -> Result<Vec<Receipt>, LedgerError>;

    /// Returns the fingerprint and the run of a key, unless that is longer ago than
    /// [`crate::limits::KEY_DAYS`].
    async fn keyed(
        &self,
        workspace: &WorkspaceId,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(String, RunId)>, LedgerError>;
}
