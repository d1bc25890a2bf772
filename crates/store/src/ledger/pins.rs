//! Pins: what retention, compaction and the deletion of files must leave alone.
//!
//! A run pins every file alive at its `to` until it ends, and those that it read for some time after it was sealed; a cursor pins every row after it. A run's pin
//! is inserted under the lock of the head row, so that no commit can come between reading and pinning.

use chrono::{DateTime, Utc};
use model::{CommitNumber, ExportId, RunId, WorkspaceId};

use crate::database::{Error, Transaction, args};

/// Who needs what is pinned.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// An open run.
    Run(&'a RunId),
    /// A saved export.
    Cursor(&'a ExportId),
}

impl<'a> Owner<'a> {
    fn columns(self) -> (&'static str, &'a str) {
        match self {
            Self::Run(run) => ("run", run.as_str()),
            Self::Cursor(export) => ("cursor", export.as_str()),
        }
    }
}

pub(crate) async fn insert(
    tx: &mut Transaction,
    owner: Owner<'_>,
    workspace: &WorkspaceId,
    at: CommitNumber,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (kind, id) = owner.columns();
    let sql = "INSERT INTO pin (owner_kind, owner, workspace, at_commit, created_at, head)
               VALUES ($1, $2, $3, $4, $5, (SELECT head FROM workspace WHERE id = $3))";
    tx.execute(sql, args![kind, id, workspace.as_str(), at.0, now]).await?;
    Ok(())
}

/// Keeps the pin of a run that was sealed: its files stay for a while, but no row because of it.
pub(super) async fn keep(tx: &mut Transaction, run: &RunId) -> Result<(), Error> {
    let sql = "UPDATE pin SET owner_kind = 'kept' WHERE owner_kind = 'run' AND owner = $1";
    tx.execute(sql, args![run.as_str()]).await?;
    Ok(())
}

/// Pins for an open run what is kept for a sealed one.
pub(super) async fn copy(
    tx: &mut Transaction,
    (old, new): (&RunId, &RunId),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let sql = "INSERT INTO pin (owner_kind, owner, workspace, at_commit, created_at, head)
               SELECT 'run', $2, workspace, at_commit, $3, head FROM pin
               WHERE owner_kind = 'kept' AND owner = $1";
    tx.execute(sql, args![old.as_str(), new.as_str(), now]).await?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Transaction, owner: Owner<'_>) -> Result<(), Error> {
    let (kind, id) = owner.columns();
    let sql = "DELETE FROM pin WHERE owner_kind = $1 AND owner = $2";
    tx.execute(sql, args![kind, id]).await?;
    Ok(())
}

/// Moves a cursor's pin; its age counts from here again.
pub(super) async fn advance(
    tx: &mut Transaction,
    export: &ExportId,
    at: CommitNumber,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (kind, id) = Owner::Cursor(export).columns();
    let sql = "UPDATE pin SET at_commit = $3, created_at = $4
               WHERE owner_kind = $1 AND owner = $2";
    tx.execute(sql, args![kind, id, at.0, now]).await?;
    Ok(())
}
