//! Jobs of upkeep: what makes them, and what becomes of them.
//!
//! There is one of a kind for each subject, told by an index, so that any number of processes may make them. Ids are never used again: their
//! leases count from the beginning.

use chrono::{DateTime, TimeDelta, Utc};
use model::job::{JobLease, Priority};
use model::limits::{INTENT_DAYS, KEEP_HOURS, KEY_DAYS, SEAL_SECONDS, TOKEN_DAYS};
use model::ports::LedgerError;

use crate::database::{Error, Transaction, Value, args, truncate};
use crate::tickets;

/// Datasets whose small commits have become old, by `$1`. A dropped one's are never sealed.
macro_rules! old_tails {
    ($before:literal) => {
        concat!(
            $before,
            " FROM dataset d
              WHERE d.dropped_at IS NULL AND d.tail_files > 0 AND d.tail_since <= $1
                  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'seal' AND j.subject = d.id)"
        )
    };
}

/// Datasets that nobody looks after.
macro_rules! careless {
    ($before:literal) => {
        concat!(
            $before,
            " FROM dataset d
              WHERE d.dropped_at IS NULL
                  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'care' AND j.subject = d.id)"
        )
    };
}

/// Workspaces that nobody sweeps.
macro_rules! unswept {
    ($before:literal) => {
        concat!(
            $before,
            " FROM workspace w
              WHERE EXISTS (SELECT 1 FROM dataset d WHERE d.workspace = w.id)
                  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'sweep' AND j.subject = w.id)"
        )
    };
}

/// The workspace that stands for all of them, if nobody forgets.
macro_rules! remembered {
    ($before:literal) => {
        concat!(
            $before,
            " FROM workspace w
              WHERE w.id = (SELECT MIN(id) FROM workspace)
                  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'forget')"
        )
    };
}

/// Chores of datasets that were dropped.
macro_rules! dropped {
    ($before:literal) => {
        concat!(
            $before,
            " FROM job WHERE kind IN ('seal', 'care')
                  AND subject IN (SELECT id FROM dataset WHERE dropped_at IS NOT NULL)"
        )
    };
}

/// Returns the time up to which a first small commit is old.
fn old(now: DateTime<Utc>) -> DateTime<Utc> {
    truncate(now - TimeDelta::seconds(SEAL_SECONDS))
}

/// Returns whether every chore is there that shall be, and no other.
pub(super) async fn is_armed(tx: &mut Transaction, now: DateTime<Utc>) -> Result<bool, Error> {
    let old_tails: (&str, &[Value]) = (old_tails!("SELECT COUNT(*) AS missing"), args![old(now)]);
    let others = [
        careless!("SELECT COUNT(*) AS missing"),
        unswept!("SELECT COUNT(*) AS missing"),
        remembered!("SELECT COUNT(*) AS missing"),
        dropped!("SELECT COUNT(*) AS missing"),
    ];
    for (sql, values) in [old_tails].into_iter().chain(others.map(|sql| (sql, &[][..]))) {
        if tx.one(sql, values).await?.int("missing")? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn arm(tx: &mut Transaction, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let now = truncate(now);
    let later = now + TimeDelta::hours(KEEP_HOURS);
    tx.execute(dropped!("DELETE"), &[]).await?;
    let seal = concat!(
        old_tails!(
            "INSERT INTO job (id, workspace, kind, subject, place, due_at, created_at, priority)
             SELECT 'jo_seal_' || d.id || '_' || CAST($2 AS TEXT), d.workspace, 'seal', d.id, $2, $2, $2, $3"
        ),
        " ON CONFLICT DO NOTHING"
    );
    tx.execute(seal, args![old(now), now, Priority::Soon as i64]).await?;
    let care = concat!(
        careless!(
            "INSERT INTO job (id, workspace, kind, subject, place, due_at, created_at, priority)
             SELECT 'jo_care_' || d.id || '_' || CAST($1 AS TEXT), d.workspace, 'care', d.id, $1, $1, $1, $2"
        ),
        " ON CONFLICT DO NOTHING"
    );
    let sweep = concat!(
        unswept!(
            "INSERT INTO job (id, workspace, kind, subject, place, due_at, created_at, priority)
             SELECT 'jo_sweep_' || w.id || '_' || CAST($1 AS TEXT), w.id, 'sweep', w.id, $1, $1, $1, $2"
        ),
        " ON CONFLICT DO NOTHING"
    );
    let forget = concat!(
        remembered!(
            "INSERT INTO job (id, workspace, kind, subject, place, due_at, created_at, priority)
             SELECT 'jo_forget_' || CAST($1 AS TEXT), w.id, 'forget', 'ledger', $1, $1, $1, $2"
        ),
        " ON CONFLICT DO NOTHING"
    );
    for sql in [care, sweep, forget] {
        tx.execute(sql, args![later, Priority::Whenever as i64]).await?;
    }
    Ok(())
}

pub(super) async fn done(
    tx: &mut Transaction,
    lease: &JobLease,
    again_at: Option<DateTime<Utc>>,
) -> Result<(), LedgerError> {
    let Some(at) = again_at else {
        let sql = "DELETE FROM job WHERE id = $1 AND epoch = $2 AND kind NOT IN ('slot', 'ticket', 'run')";
        tx.execute(sql, args![lease.job.as_str(), lease.epoch]).await?;
        return Ok(());
    };
    let sql = "UPDATE job SET due_at = $3, place = $3, attempts = 0, error = NULL, lease_until = 0
               WHERE id = $1 AND epoch = $2 AND kind NOT IN ('slot', 'ticket', 'run')";
    tx.execute(sql, args![lease.job.as_str(), lease.epoch, truncate(at)]).await?;
    Ok(())
}

pub(super) async fn forget(
    tx: &mut Transaction,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<u64, LedgerError> {
    let now = truncate(now);
    let days = |days| now - TimeDelta::days(days);
    let lapsed = "DELETE FROM ingest_key WHERE (dataset, key) IN
                      (SELECT dataset, key FROM ingest_key WHERE until <= $1 LIMIT $2)";
    let runs = "DELETE FROM run_key WHERE (workspace, key) IN
                    (SELECT workspace, key FROM run_key WHERE created_at < $1 LIMIT $2)";
    let intents = "DELETE FROM intent WHERE (run, sequence, split, epoch) IN
                       (SELECT i.run, i.sequence, i.split, i.epoch FROM intent i
                        JOIN run r ON r.id = i.run
                        WHERE r.state = 'sealed' AND r.ended_at < $1 LIMIT $2)";
    let tokens = "DELETE FROM token WHERE id IN
                      (SELECT id FROM token WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2)";
    let all = [
        (lapsed, now),
        (runs, days(KEY_DAYS)),
        (intents, days(INTENT_DAYS)),
        (tokens, days(TOKEN_DAYS)),
    ];
    let mut forgotten = 0;
    for (sql, until) in all {
        forgotten += tx.execute(sql, args![until, limit]).await?;
    }
    Ok(forgotten + tickets::forget(tx, now, limit).await?)
}
