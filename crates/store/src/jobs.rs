//! The queue of jobs: the store as [`Jobs`], and what the ledger does to it.
//!
//! A job of a run has the run's lease and no other, so that there is one answer to who works on it.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use model::export::{ExportState, NewRun};
use model::job::{AfterFailure, Job, JobLease, Task};
use model::limits::{
    FAILED_AGAIN_SECONDS, FAILED_AGAIN_SECONDS_MAX, FAILURES_MAX, LEASE_SECONDS, REASON_CHARS_MAX,
};
use model::ports::{Jobs, LedgerError};
use model::run::RunState;
use model::schedule::Slot;
use model::{ExportId, JobId, RunId, WorkspaceId};

use crate::Store;
use crate::database::{Error, Row, Sql, Transaction, args, transact, truncate, word};

#[async_trait]
impl Jobs for Store {
    async fn waiting(&self, of_one: u32, now: DateTime<Utc>) -> Result<Vec<Job>, LedgerError> {
        Ok(waiting(&mut self.database.read().await?, of_one, now).await?)
    }

    async fn claim(
        &self,
        job: &JobId,
        epoch: u64,
        is_dead: bool,
    ) -> Result<Option<JobLease>, LedgerError> {
        transact!(self.database, LedgerError, |tx| claim(tx, job, epoch, is_dead))
    }

    async fn renew_job(&self, lease: &JobLease) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| renew(tx, lease))
    }

    async fn later(
        &self,
        job: &JobId,
        due_at: DateTime<Utc>,
        why: &str,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| later(tx, job, due_at, why))
    }

    async fn release(&self, lease: &JobLease) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| release(tx, lease))
    }

    async fn failed(
        &self,
        job: &JobId,
        why: &str,
        may_help: bool,
        now: DateTime<Utc>,
    ) -> Result<AfterFailure, LedgerError> {
        transact!(self.database, LedgerError, |tx| failed(tx, job, (why, may_help), now))
    }
}

async fn waiting(tx: &mut Transaction, of_one: u32, now: DateTime<Utc>) -> Result<Vec<Job>, Error> {
    let clock = tx.clock().await?;
    let sql = "SELECT id, workspace, kind, subject, export, name, slot_at, slot_since, attempts, due_at, until, term
               FROM (
                   SELECT j.id, j.workspace, j.kind, j.subject, j.export, e.name, j.slot_at, j.slot_since,
                       j.attempts, j.due_at, j.priority, j.place,
                       COALESCE(r.lease_until, j.lease_until) AS until,
                       COALESCE(r.epoch, j.epoch) AS term,
                       ROW_NUMBER() OVER (
                           PARTITION BY j.workspace
                           ORDER BY CASE WHEN COALESCE(r.lease_until, j.lease_until) > $2 THEN 1 ELSE 0 END,
                               j.priority DESC, j.place
                       ) AS turn
                   FROM job j
                   LEFT JOIN run r ON j.kind = 'run' AND r.id = j.subject
                   LEFT JOIN export e ON e.id = j.export
                   WHERE j.due_at <= $1 AND (j.kind <> 'slot' OR e.state = 'active')
                       AND NOT EXISTS (
                           SELECT 1 FROM job b
                           WHERE b.line = j.line AND b.id <> j.id
                               AND ((b.kind = 'run' AND (j.kind = 'slot' OR b.place < j.place))
                                   OR (b.kind = 'slot' AND j.kind = 'slot' AND b.place < j.place))
                       )
               ) AS ranked
               WHERE turn <= $3 ORDER BY turn, priority DESC, place";
    let rows = tx.all(sql, args![truncate(now), clock, of_one]).await?;
    rows.iter().map(|row| read(row, clock)).collect()
}

fn read(row: &Row, clock: i64) -> Result<Job, Error> {
    let of_slot = row.int_or_null("slot_at")?.is_some();
    let task = if row.text("kind")? == "run" {
        Task::Run { run: RunId::new(row.text("subject")?), of_slot }
    } else {
        Task::Slot {
            export: ExportId::new(row.text("export")?),
            name: row.text("name")?,
            slot: Slot { at: row.at("slot_at")?, since: row.at_or_null("slot_since")? },
        }
    };
    Ok(Job {
        id: JobId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        task,
        attempts: row.count("attempts")?,
        epoch: row.count("term")?,
        leased: row.int("until")? > clock,
        due_at: row.at("due_at")?,
    })
}

async fn claim(
    tx: &mut Transaction,
    job: &JobId,
    epoch: u64,
    is_dead: bool,
) -> Result<Option<JobLease>, LedgerError> {
    let clock = tx.clock().await?;
    let sql = "UPDATE job SET epoch = epoch + 1, lease_until = $3
               WHERE id = $1 AND epoch = $2 AND kind = 'slot' AND (lease_until <= $4 OR $5 = 1)";
    let until = clock + LEASE_SECONDS * 1_000_000;
    let values = args![job.as_str(), epoch, until, clock, i64::from(is_dead)];
    let taken = tx.execute(sql, values).await? > 0;
    Ok(taken.then(|| JobLease { job: job.clone(), epoch: epoch + 1 }))
}

async fn renew(tx: &mut Transaction, lease: &JobLease) -> Result<(), LedgerError> {
    let until = tx.clock().await? + LEASE_SECONDS * 1_000_000;
    let sql = "UPDATE job SET lease_until = $3 WHERE id = $1 AND epoch = $2 AND kind = 'slot'";
    tx.execute(sql, args![lease.job.as_str(), lease.epoch, until]).await?;
    Ok(())
}

async fn later(
    tx: &mut Transaction,
    job: &JobId,
    due_at: DateTime<Utc>,
    why: &str,
) -> Result<(), LedgerError> {
    let sql = "UPDATE job SET due_at = $2, error = $3, attempts = attempts + 1,
                   lease_until = 0 WHERE id = $1";
    tx.execute(sql, args![job.as_str(), truncate(due_at), short(why)]).await?;
    Ok(())
}

async fn release(tx: &mut Transaction, lease: &JobLease) -> Result<(), LedgerError> {
    let sql = "UPDATE job SET lease_until = 0 WHERE id = $1 AND epoch = $2 AND kind = 'slot'";
    tx.execute(sql, args![lease.job.as_str(), lease.epoch]).await?;
    Ok(())
}

async fn failed(
    tx: &mut Transaction,
    job: &JobId,
    (why, may_help): (&str, bool),
    now: DateTime<Utc>,
) -> Result<AfterFailure, LedgerError> {
    let sql = Sql::for_update("SELECT export FROM job WHERE id = $1 AND kind = 'slot'");
    let Some(row) = tx.first(sql, args![job.as_str()]).await? else {
        return Ok(AfterFailure::Nothing);
    };
    let export = row.text("export")?;
    let sql =
        "UPDATE export SET failures = failures + 1, reason = $2 WHERE id = $1 RETURNING failures";
    let failures: u32 = tx.one(sql, args![&export, short(why)]).await?.count("failures")?;
    let again = (may_help && failures < FAILURES_MAX).then(|| now + pause(failures));
    later(tx, job, again.unwrap_or(now), why).await?;
    if let Some(again) = again {
        return Ok(AfterFailure::Again(again));
    }
    let sql = "UPDATE export SET state = $2 WHERE id = $1 AND state = $3";
    let states = [ExportState::Broken, ExportState::Active].map(|state| word(&state));
    tx.execute(sql, args![&export, &states[0], &states[1]]).await?;
    Ok(AfterFailure::Broken)
}

/// Returns after how long an export is tried again after so many failures in a row.
fn pause(failures: u32) -> TimeDelta {
    let doubled = FAILED_AGAIN_SECONDS << failures.saturating_sub(1).min(20);
    TimeDelta::seconds(doubled.min(FAILED_AGAIN_SECONDS_MAX))
}

fn short(why: &str) -> String {
    why.chars().take(REASON_CHARS_MAX).collect()
}

/// Makes the run's job, or that of its slot into it.
pub(crate) async fn opened(
    tx: &mut Transaction,
    new: &NewRun,
    export: Option<&ExportId>,
    place: i64,
) -> Result<(), LedgerError> {
    let run = new.id.as_str();
    let Some(slot) = &new.slot else {
        let sql = "INSERT INTO job (id, workspace, kind, subject, line, place, due_at, created_at)
                   VALUES ($1, $2, 'run', $3, $4, $5, $6, $6)";
        let (id, line) = (JobId::mint(), export.map(ExportId::as_str));
        let now = truncate(new.now);
        tx.execute(sql, args![id.as_str(), new.workspace.as_str(), run, line, place, now]).await?;
        return Ok(());
    };
    let sql = "UPDATE job SET kind = 'run', subject = $3, lease_until = 0
               WHERE id = $1 AND epoch = $2 AND kind = 'slot'";
    let taken = tx.execute(sql, args![slot.lease.job.as_str(), slot.lease.epoch, run]).await?;
    if taken == 0 { Err(LedgerError::SlotTaken) } else { Ok(()) }
}

/// Removes the job of a run that has ended; a slot whose run failed is there again.
pub(crate) async fn ended(tx: &mut Transaction, run: &RunId, state: RunState) -> Result<(), Error> {
    if state == RunState::Failed {
        let sql = "UPDATE job SET kind = 'slot', subject = id
                   WHERE kind = 'run' AND subject = $1 AND slot_at IS NOT NULL";
        tx.execute(sql, args![run.as_str()]).await?;
    }
    tx.execute("DELETE FROM job WHERE kind = 'run' AND subject = $1", args![run.as_str()]).await?;
    Ok(())
}
