//! Keys that make a repeated request for a run find the run of the first time.

use chrono::{DateTime, TimeDelta, Utc};
use model::export::{NewRun, RunKey};
use model::limits::KEY_DAYS;
use model::ports::LedgerError;
use model::{RunId, WorkspaceId};

use crate::database::{Error, Transaction, args, truncate};

/// Notes the key of a run that is being opened, and forgets the workspace's old ones.
///
/// # Errors
///
/// [`LedgerError::Repeated`] or [`LedgerError::KeyReused`] if there is a run of that key.
pub(super) async fn take(
    tx: &mut Transaction,
    new: &NewRun,
    key: &RunKey,
) -> Result<(), LedgerError> {
    let now = truncate(new.now);
    let sql = "DELETE FROM run_key WHERE workspace = $1 AND created_at < $2";
    tx.execute(sql, args![new.workspace.as_str(), oldest(now)]).await?;
    if let Some((fingerprint, run)) = find(tx, &new.workspace, &key.key, now).await? {
        if fingerprint == key.fingerprint {
            return Err(LedgerError::Repeated { run });
        }
        return Err(LedgerError::KeyReused { key: key.key.clone() });
    }
    let sql = "INSERT INTO run_key (workspace, key, fingerprint, run, created_at)
               VALUES ($1, $2, $3, $4, $5)";
    let (workspace, run) = (new.workspace.as_str(), new.id.as_str());
    tx.execute(sql, args![workspace, &key.key, &key.fingerprint, run, now]).await?;
    Ok(())
}

/// Returns the fingerprint and the run of a key.
pub(super) async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    key: &str,
    now: DateTime<Utc>,
) -> Result<Option<(String, RunId)>, Error> {
    let sql = "SELECT fingerprint, run FROM run_key
               WHERE workspace = $1 AND key = $2 AND created_at >= $3";
    let row = tx.first(sql, args![workspace.as_str(), key, oldest(truncate(now))]).await?;
    row.map(|row| Ok((row.text("fingerprint")?, RunId::new(row.text("run")?)))).transpose()
}

/// Returns when a key was made that is about to be forgotten.
fn oldest(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::days(KEY_DAYS)
}
