//! The queue of jobs: the store as [`Jobs`], and what the ledger does to it.
//!
//! A job of a run has the run's lease and no other, so that there is one answer to who works on it.

mod chores;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use model::export::{ExportState, NewRun};
use model::job::{AfterFailure, Chore, Job, JobLease, Priority, Shift, SlotFailure, Task};
use model::limits::{
    FAILED_AGAIN_SECONDS, FAILED_AGAIN_SECONDS_MAX, FAILURES_MAX, LEASE_SECONDS, OVERDUE_SECONDS,
    REASON_CHARS_MAX,
};
use model::ports::{Jobs, LedgerError};
use model::run::RunState;
use model::schedule::Slot;
use model::{ExportId, JobId, RunId, WorkspaceId};

use crate::Store;
use crate::database::{Error, Row, Sql, Transaction, args, transact, truncate, word};
use crate::tickets;

#[async_trait]
impl Jobs for Store {
    async fn waiting(
        &self,
        shift: Shift,
        of_one: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Job>, LedgerError> {
        Ok(waiting(&mut self.database.read().await?, (shift, of_one), now).await?)
    }

    async fn arm(&self, now: DateTime<Utc>) -> Result<(), LedgerError> {
        // A look alone costs no write.
        if !chores::is_armed(&mut self.database.read().await?, now).await? {
            transact!(self.database, LedgerError, |tx| chores::arm(tx, now))?;
        }
        Ok(())
    }

    async fn done(
        &self,
        lease: &JobLease,
        again_at: Option<DateTime<Utc>>,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| chores::done(tx, lease, again_at))
    }

    async fn forget(&self, now: DateTime<Utc>, limit: u32) -> Result<u64, LedgerError> {
        transact!(self.database, LedgerError, |tx| chores::forget(tx, now, limit))
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
        lease: &JobLease,
        due_at: DateTime<Utc>,
        why: &str,
    ) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| later(tx, lease, due_at, why))
    }

    async fn tidy(&self, job: &JobId) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| tidy(tx, job))
    }

    async fn release(&self, lease: &JobLease) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| release(tx, lease))
    }

    async fn failed(
        &self,
        lease: &JobLease,
        failure: &SlotFailure<'_>,
        now: DateTime<Utc>,
    ) -> Result<AfterFailure, LedgerError> {
        transact!(self.database, LedgerError, |tx| failed(tx, lease, failure, now))
    }
}

async fn waiting(
    tx: &mut Transaction,
    (shift, of_one): (Shift, u32),
    now: DateTime<Utc>,
) -> Result<Vec<Job>, Error> {
    let clock = tx.clock().await?;
    let sql = "SELECT id, workspace, kind, subject, export, name, slot_at, slot_since, attempts, due_at,
                   until, term, epoch, definition, from_commit, to_commit, held
               FROM (
                   SELECT j.id, j.workspace, j.kind, j.subject, j.export, COALESCE(e.name, d.name) AS name,
                       j.slot_at, j.slot_since, j.attempts, j.due_at,
                       COALESCE(r.lease_until, j.lease_until) AS until,
                       COALESCE(r.epoch, j.epoch) AS term, j.epoch, t.definition, t.from_commit, t.to_commit, h.ticket AS held,
                       ROW_NUMBER() OVER (
                           PARTITION BY j.workspace
                           ORDER BY CASE WHEN COALESCE(r.lease_until, j.lease_until) > $2 THEN 1 ELSE 0 END,
                               j.priority + CASE WHEN j.due_at <= $5 THEN 2 ELSE 0 END DESC, j.place
                       ) AS turn
                   FROM job j
                   LEFT JOIN run r ON j.kind = 'run' AND r.id = j.subject
                   LEFT JOIN ticket_run h ON h.run = r.id
                   LEFT JOIN export e ON e.id = j.export
                   LEFT JOIN ticket t ON j.kind = 'ticket' AND t.id = j.subject
                   LEFT JOIN dataset d ON j.kind IN ('seal', 'care') AND d.id = j.subject
                   WHERE j.due_at <= $1 AND (j.kind <> 'slot' OR e.state = 'active')
                       AND $4 = CASE WHEN j.kind IN ('slot', 'ticket', 'run') THEN 0 ELSE 1 END
                       AND NOT EXISTS (
                           SELECT 1 FROM job b
                           WHERE b.line = j.line AND b.id <> j.id
                               AND ((b.kind = 'run' AND (j.kind <> 'run' OR b.place < j.place))
                                   OR (b.kind = j.kind AND j.kind <> 'run' AND b.place < j.place))
                       )
               ) AS ranked
               WHERE turn <= $3 ORDER BY turn, due_at, id";
    let upkeep = i64::from(shift == Shift::Upkeep);
    let overdue = truncate(now - TimeDelta::seconds(OVERDUE_SECONDS));
    let rows = tx.all(sql, args![truncate(now), clock, of_one, upkeep, overdue]).await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        match read(row, clock) {
            Ok(job) => jobs.push(job),
            // One that another version wrote holds up no other.
            Err(error) => tracing::error!(%error, "a job cannot be read and is left alone"),
        }
    }
    Ok(jobs)
}

fn read(row: &Row, clock: i64) -> Result<Job, Error> {
    let of_slot = row.int_or_null("slot_at")?.is_some();
    let task = match &*row.text("kind")? {
        "run" => {
            let (run, ticket) = (row.text("subject")?, row.text_or_null("held")?);
            Task::Run { run: RunId::new(run), of_slot, of_ticket: ticket.is_some() }
        }
        "seal" => Task::Chore(Chore::Seal(row.text("name")?)),
        "care" => Task::Chore(Chore::Care(row.text("name")?)),
        "sweep" => Task::Chore(Chore::Sweep),
        "forget" => Task::Chore(Chore::Forget),
        "ticket" => {
            Task::Ticket { definition: row.json("definition")?, range: tickets::range(row)? }
        }
        _ => Task::Slot {
            export: ExportId::new(row.text("export")?),
            name: row.text("name")?,
            slot: Slot { at: row.at("slot_at")?, since: row.at_or_null("slot_since")? },
        },
    };
    Ok(Job {
        id: JobId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        task,
        attempts: row.count("attempts")?,
        due_at: row.at("due_at")?,
        epoch: row.count("term")?,
        leased: row.int("until")? > clock,
        slot_epoch: row.count("epoch")?,
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
               WHERE id = $1 AND epoch = $2 AND kind <> 'run' AND (lease_until <= $4 OR $5 = 1)";
    let until = clock + LEASE_SECONDS * 1_000_000;
    let values = args![job.as_str(), epoch, until, clock, i64::from(is_dead)];
    let taken = tx.execute(sql, values).await? > 0;
    Ok(taken.then(|| JobLease { job: job.clone(), epoch: epoch + 1 }))
}

async fn renew(tx: &mut Transaction, lease: &JobLease) -> Result<(), LedgerError> {
    let until = tx.clock().await? + LEASE_SECONDS * 1_000_000;
    let sql = "UPDATE job SET lease_until = $3 WHERE id = $1 AND epoch = $2 AND kind <> 'run'";
    tx.execute(sql, args![lease.job.as_str(), lease.epoch, until]).await?;
    Ok(())
}

async fn later(
    tx: &mut Transaction,
    lease: &JobLease,
    due_at: DateTime<Utc>,
    why: &str,
) -> Result<(), LedgerError> {
    let sql = "UPDATE job SET due_at = $3, error = $4, attempts = attempts + 1, lease_until = 0
               WHERE id = $1 AND epoch = $2";
    let values = args![lease.job.as_str(), lease.epoch, truncate(due_at), short(why)];
    tx.execute(sql, values).await?;
    Ok(())
}

async fn tidy(tx: &mut Transaction, job: &JobId) -> Result<(), LedgerError> {
    let sql = "DELETE FROM job WHERE id = $1 AND kind = 'run' AND subject IN
                   (SELECT id FROM run WHERE state IN ('sealed', 'failed', 'cancelled'))";
    tx.execute(sql, args![job.as_str()]).await?;
    Ok(())
}

async fn release(tx: &mut Transaction, lease: &JobLease) -> Result<(), LedgerError> {
    let sql = "UPDATE job SET lease_until = 0 WHERE id = $1 AND epoch = $2 AND kind <> 'run'";
    tx.execute(sql, args![lease.job.as_str(), lease.epoch]).await?;
    Ok(())
}

async fn failed(
    tx: &mut Transaction,
    lease: &JobLease,
    failure: &SlotFailure<'_>,
    now: DateTime<Utc>,
) -> Result<AfterFailure, LedgerError> {
    let job = lease.job.as_str();
    let sql = "SELECT export, kind FROM job WHERE id = $1";
    let Some(row) = tx.first(sql, args![job]).await? else {
        return Ok(AfterFailure::Nothing);
    };
    if row.text("kind")? == "ticket" {
        return give_up(tx, lease, failure.why, now).await;
    }
    let Some(export) = row.text_or_null("export")? else { return Ok(AfterFailure::Nothing) };
    // The export first, as whoever opens its run does.
    let sql = Sql::for_update("SELECT version, state FROM export WHERE id = $1");
    let held = tx.one(sql, args![&export]).await?;
    let sql = Sql::for_update("SELECT epoch, due_at FROM job WHERE id = $1 AND kind = 'slot'");
    let Some(row) = tx.first(sql, args![job]).await? else { return Ok(AfterFailure::Nothing) };
    let epoch: u64 = row.count("epoch")?;
    let again = if epoch == lease.epoch {
        // It has no run that could have counted.
        let due = count(tx, &export, failure.why, now).await?;
        let next = JobLease { epoch: epoch + 1, ..lease.clone() };
        tx.execute("UPDATE job SET epoch = epoch + 1 WHERE id = $1", args![job]).await?;
        later(tx, &next, due.unwrap_or(now), failure.why).await?;
        due
    } else if epoch == lease.epoch + 1 {
        let state: ExportState = held.word("state")?;
        Some(row.at("due_at")?).filter(|_| state != ExportState::Broken)
    } else {
        return Ok(AfterFailure::Nothing);
    };
    let version: u64 = held.count("version")?;
    let is_mended = failure.version.is_some_and(|failed| failed != version);
    if let Some(at) = again.filter(|_| failure.may_help || is_mended) {
        return Ok(AfterFailure::Again(at));
    }
    end_by_itself(tx, &export).await?;
    tx.execute("UPDATE job SET due_at = $2 WHERE id = $1", args![job, truncate(now)]).await?;
    Ok(AfterFailure::Broken)
}

/// Ends the job of a ticket whose run was never opened.
async fn give_up(
    tx: &mut Transaction,
    lease: &JobLease,
    why: &str,
    now: DateTime<Utc>,
) -> Result<AfterFailure, LedgerError> {
    let sql = "DELETE FROM job WHERE id = $1 AND epoch = $2 AND kind = 'ticket' RETURNING subject";
    let Some(row) = tx.first(sql, args![lease.job.as_str(), lease.epoch]).await? else {
        return Ok(AfterFailure::Nothing);
    };
    tickets::failed(tx, &row.text("subject")?, why, now).await?;
    Ok(AfterFailure::Over)
}

/// Counts a failure of an export's run; returns when it is tried again, if it is.
async fn count(
    tx: &mut Transaction,
    export: &str,
    why: &str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let sql =
        "UPDATE export SET failures = failures + 1, reason = $2 WHERE id = $1 RETURNING failures";
    let failures: u32 = tx.one(sql, args![export, short(why)]).await?.count("failures")?;
    if failures >= FAILURES_MAX {
        end_by_itself(tx, export).await?;
        return Ok(None);
    }
    Ok(Some(now + pause(failures)))
}

/// Has an export run by itself no more.
async fn end_by_itself(tx: &mut Transaction, export: &str) -> Result<(), Error> {
    let [broken, active] = [ExportState::Broken, ExportState::Active].map(|state| word(&state));
    let sql = "UPDATE export SET state = $2 WHERE id = $1 AND state = $3";
    tx.execute(sql, args![export, broken, active]).await?;
    Ok(())
}

/// Returns after how long an export is tried again after so many failures in a row.
fn pause(failures: u32) -> TimeDelta {
    let doubled = FAILED_AGAIN_SECONDS << failures.saturating_sub(1).min(20);
    TimeDelta::seconds(doubled.min(FAILED_AGAIN_SECONDS_MAX))
}

/// Returns as much of a reason as is kept.
pub(crate) fn short(why: &str) -> String {
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
        let sql = "INSERT INTO job (id, workspace, kind, subject, line, place, due_at, created_at, priority)
                   VALUES ($1, $2, 'run', $3, $4, $5, $6, $6, $7)";
        let (id, line) = (JobId::mint(), export.map(ExportId::as_str));
        let (now, asked) = (truncate(new.now), Priority::Asked as i64);
        let values = args![id.as_str(), new.workspace.as_str(), run, line, place, now, asked];
        tx.execute(sql, values).await?;
        return Ok(());
    };
    let job = slot.lease.job.as_str();
    let sql = "SELECT subject FROM job WHERE id = $1 AND kind = 'ticket'";
    let ticket = tx.first(sql, args![job]).await?.map(|row| row.text("subject")).transpose()?;
    let sql = "UPDATE job SET kind = 'run', subject = $3, lease_until = 0
               WHERE id = $1 AND epoch = $2 AND kind IN ('slot', 'ticket')";
    if tx.execute(sql, args![job, slot.lease.epoch, run]).await? == 0 {
        return Err(LedgerError::SlotTaken);
    }
    match ticket {
        Some(ticket) => tickets::opened(tx, &ticket, &new.id).await,
        None => Ok(()),
    }
}

/// Removes the job of a run that has ended; a slot whose run failed is there again, after a while. Returns whether it was of a ticket.
pub(crate) async fn ended(
    tx: &mut Transaction,
    run: &RunId,
    (state, why): (RunState, Option<&str>),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    if state == RunState::Failed {
        let sql =
            "SELECT export FROM job WHERE kind = 'run' AND subject = $1 AND slot_at IS NOT NULL";
        if let Some(row) = tx.first(sql, args![run.as_str()]).await? {
            let (export, why) = (row.text("export")?, why.unwrap_or_default());
            let due = count(tx, &export, why, now).await?.unwrap_or(now);
            let sql =
                "UPDATE job SET kind = 'slot', subject = id, epoch = epoch + 1, lease_until = 0,
                           due_at = $2, error = $3
                       WHERE kind = 'run' AND subject = $1 AND slot_at IS NOT NULL";
            tx.execute(sql, args![run.as_str(), truncate(due), short(why)]).await?;
        }
    }
    tx.execute("DELETE FROM job WHERE kind = 'run' AND subject = $1", args![run.as_str()]).await?;
    tickets::ended(tx, run, (state, why), now).await
}
