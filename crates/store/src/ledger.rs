//! Saved exports, runs, parts, intents and pins: the store as a [`Ledger`].
//!
//! Each call is one transaction. A write under a lease first locks the run's row and checks epoch and
//! state there, so that of two holders the older one can change nothing. A repeat of a call whose answer
//! was lost finds its own work and succeeds. Leases are told by the database's clock alone.

pub(crate) mod exports;
mod intents;
mod keys;
mod lease;
mod open;
mod parts;
pub(crate) mod pins;
mod range;
mod rerun;
pub(crate) mod runs;
mod seal;
mod status;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::dataset::NewCommit;
use model::export::{Export, NewRun, Rerun};
use model::part::{Part, PartId, Receipt};
use model::ports::{Lease, Ledger, LedgerError, Opened};
use model::run::{FrozenManifest, Intent, Plan, Run, RunState};
use model::{CommitNumber, RunId, WorkspaceId};

use crate::Store;
use crate::database::transact;

pub(crate) use open::{take_head, take_places};

#[async_trait]
impl Ledger for Store {
    async fn open_run(&self, new: &NewRun) -> Result<Opened, LedgerError> {
        transact!(self.database, LedgerError, |tx| open::open(tx, new))
    }

    async fn open_rerun(&self, new: &Rerun) -> Result<Opened, LedgerError> {
        transact!(self.database, LedgerError, |tx| rerun::open(tx, new))
    }

    async fn take_over(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        owner: &str,
        dead: Option<u64>,
    ) -> Result<Opened, LedgerError> {
        transact!(self.database, LedgerError, |tx| lease::take_over(
            tx, workspace, run, owner, dead
        ))
    }

    async fn renew(&self, lease: &Lease) -> Result<bool, LedgerError> {
        transact!(self.database, LedgerError, |tx| lease::renew(tx, lease))
    }

    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| lease::release(tx, lease))
    }

    async fn add_parts(&self, lease: &Lease, parts: &[Part]) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| parts::add(tx, lease, parts))
    }

    async fn clear_parts(&self, lease: &Lease) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| parts::clear(tx, lease))
    }

    async fn planned(&self, lease: &Lease, plan: &Plan) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| seal::planned(tx, lease, plan))
    }

    async fn intend(
        &self,
        lease: &Lease,
        part: PartId,
        intent: &Intent,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| intents::intend(tx, lease, part, intent))
    }

    async fn finish_part(
        &self,
        lease: &Lease,
        part: PartId,
        receipt: &Receipt,
        remainder: Option<&Part>,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| parts::finish(
            tx, lease, part, receipt, remainder
        ))
    }

    async fn freeze(&self, lease: &Lease, manifest: &FrozenManifest) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| seal::freeze(tx, lease, manifest))
    }

    async fn sealed(&self, lease: &Lease, now: DateTime<Utc>) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| seal::sealed(tx, lease, now))
    }

    async fn seal_into(
        &self,
        lease: &Lease,
        manifest: &FrozenManifest,
        commits: &[NewCommit],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| seal::seal_into(
            tx, lease, manifest, commits, now
        ))
    }

    async fn end(
        &self,
        lease: &Lease,
        state: RunState,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| seal::end(tx, lease, state, reason, now))
    }

    async fn cleaned(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| runs::cleaned(tx, workspace, run, now))
    }

    async fn uncleaned(
        &self,
        workspace: &WorkspaceId,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RunId>, LedgerError> {
        runs::uncleaned(&mut self.database.read().await?, workspace, now, limit).await
    }

    async fn ask_cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError> {
        transact!(self.database, LedgerError, |tx| runs::ask_cancel(tx, workspace, run))
    }

    async fn run(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError> {
        runs::by_id(&mut self.database.read().await?, workspace, run).await
    }

    async fn runs(
        &self,
        workspace: &WorkspaceId,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<Run>, LedgerError> {
        runs::page(&mut self.database.read().await?, workspace, before, limit).await
    }

    async fn parts(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        after: Option<PartId>,
        limit: u32,
    ) -> Result<Vec<Part>, LedgerError> {
        let tx = &mut self.database.read().await?;
        runs::check(tx, workspace, run).await?;
        parts::page(tx, run, after, limit).await
    }

    async fn intents(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Result<Vec<Intent>, LedgerError> {
        let tx = &mut self.database.read().await?;
        runs::check(tx, workspace, run).await?;
        intents::all(tx, run).await
    }

    async fn export(&self, workspace: &WorkspaceId, name: &str) -> Result<Export, LedgerError> {
        exports::by_name(&mut self.database.read().await?, workspace, name).await
    }

    async fn open_run_of(
        &self,
        workspace: &WorkspaceId,
        export: &str,
    ) -> Result<Option<Run>, LedgerError> {
        runs::open_of(&mut self.database.read().await?, workspace, export).await
    }

    async fn sealed_at(
        &self,
        workspace: &WorkspaceId,
        export: &str,
        to: CommitNumber,
    ) -> Result<Option<Run>, LedgerError> {
        runs::sealed_at(&mut self.database.read().await?, workspace, export, to).await
    }
}
