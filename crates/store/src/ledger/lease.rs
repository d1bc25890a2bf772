//! Leases: who may write to a run, and until when.
//!
//! A lease is an epoch and an instant. The epoch is what fences: every write locks the run's row and
//! compares it. The instant only tells others when they may take over; it is set and read by the
//! database's clock, so that the clocks of the processes do not matter.

use model::export::Advance;
use model::limits::LEASE_SECONDS;
use model::ports::{Lease, LedgerError, Opened};
use model::run::{Run, RunState};
use model::{CommitNumber, ExportId, RunId, WorkspaceId};

use super::runs;
use crate::database::{Error, Sql, Transaction, args};

/// A run whose row is locked and whose epoch is the lease's.
pub(super) struct Held {
    pub(super) run: RunId,
    pub(super) workspace: WorkspaceId,
    pub(super) state: RunState,
    pub(super) export: Option<ExportId>,
    pub(super) advance: Advance,
    pub(super) from: CommitNumber,
    pub(super) to: CommitNumber,
    pub(super) error: Option<String>,
    pub(super) cancel_asked: bool,
}

impl Held {
    /// Returns the refusal for what the run's state does not allow.
    pub(super) fn refuse(&self, wanted: &'static str) -> LedgerError {
        LedgerError::State { run: self.run.clone(), state: self.state, wanted }
    }

    /// Refuses unless the run is in that state.
    pub(super) fn require(&self, state: RunState, wanted: &'static str) -> Result<(), LedgerError> {
        if self.state == state { Ok(()) } else { Err(self.refuse(wanted)) }
    }

    /// Refuses once the run was asked to stop.
    pub(super) fn go_on(&self) -> Result<(), LedgerError> {
        let run = &self.run;
        if self.cancel_asked { Err(LedgerError::Cancelling { run: run.clone() }) } else { Ok(()) }
    }

    /// Returns the refusal for sums that do not meet.
    pub(super) fn unbalanced(&self, what: String) -> LedgerError {
        LedgerError::Unbalanced { run: self.run.clone(), what }
    }
}

/// Returns the lease that the holder of a run has.
pub(super) fn of(run: &Run) -> Lease {
    Lease { workspace: run.workspace.clone(), run: run.id.clone(), epoch: run.epoch }
}

/// Returns when a lease ends that begins now.
pub(super) async fn until(tx: &mut Transaction) -> Result<i64, Error> {
    Ok(tx.clock().await? + LEASE_SECONDS * 1_000_000)
}

/// Locks the run's row and checks that the lease is the newest one.
pub(super) async fn hold(tx: &mut Transaction, lease: &Lease) -> Result<Held, LedgerError> {
    let sql = "SELECT state, epoch, export, advance, from_commit, to_commit, error, cancel_asked
               FROM run WHERE workspace = $1 AND id = $2";
    let values = args![lease.workspace.as_str(), lease.run.as_str()];
    let Some(row) = tx.first(Sql::for_update(sql), values).await? else {
        return Err(runs::no_run(tx, &lease.workspace, &lease.run).await?);
    };
    if row.count::<u64>("epoch")? != lease.epoch {
        return Err(LedgerError::Fenced { run: lease.run.clone() });
    }
    Ok(Held {
        run: lease.run.clone(),
        workspace: lease.workspace.clone(),
        state: row.word("state")?,
        export: row.text_or_null("export")?.map(ExportId::new),
        advance: row.word("advance")?,
        from: CommitNumber(row.count("from_commit")?),
        to: CommitNumber(row.count("to_commit")?),
        error: row.text_or_null("error")?,
        cancel_asked: row.int("cancel_asked")? != 0,
    })
}

pub(super) async fn take_over(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
    owner: &str,
    dead: Option<u64>,
) -> Result<Opened, LedgerError> {
    runs::lock(tx, workspace, id).await?;
    let mut run = runs::by_id(tx, workspace, id).await?;
    if run.state.is_final() {
        let (run, state) = (run.id, run.state);
        return Err(LedgerError::State { run, state, wanted: "be taken over" });
    }
    if run.leased && dead != Some(run.epoch) {
        return Err(LedgerError::Leased { run: run.id, owner: run.owner });
    }
    let sql = "UPDATE run SET epoch = epoch + 1, owner = $2, lease_until = $3 WHERE id = $1";
    let until = until(tx).await?;
    tx.execute(sql, args![id.as_str(), owner, until]).await?;
    run.epoch += 1;
    run.owner = owner.into();
    run.leased = true;
    Ok(Opened { lease: of(&run), run })
}

pub(super) async fn renew(tx: &mut Transaction, lease: &Lease) -> Result<bool, LedgerError> {
    let held = hold(tx, lease).await?;
    if held.state.is_final() {
        return Err(held.refuse("be worked on"));
    }
    let until = until(tx).await?;
    let sql = "UPDATE run SET lease_until = $2 WHERE id = $1";
    tx.execute(sql, args![lease.run.as_str(), until]).await?;
    Ok(held.cancel_asked)
}

pub(super) async fn release(tx: &mut Transaction, lease: &Lease) -> Result<(), LedgerError> {
    let sql = "UPDATE run SET lease_until = 0 WHERE workspace = $1 AND id = $2 AND epoch = $3";
    let values = args![lease.workspace.as_str(), lease.run.as_str(), lease.epoch];
    tx.execute(sql, values).await?;
    Ok(())
}
