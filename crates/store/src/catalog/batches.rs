//! Batches: opened, closed by one commit, taken back by another.

use model::dataset::{Batch, Commit, NewCommit, Removal};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, DatasetId, WorkspaceId};

use super::texts;
use crate::database::{Transaction, args};
use crate::names::nearest;

/// Batches that a "did you mean" looks at, newest first.
const NEAREST_MAX: u32 = 1000;

/// Gives batches their commits; a batch may have been reserved before, but is closed once only.
pub(super) async fn close(
    tx: &mut Transaction,
    commits: &[(&NewCommit, &Commit)],
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO batch (workspace, id, dataset, commit_number)";
    let tail = "ON CONFLICT (workspace, id) DO UPDATE SET commit_number = excluded.commit_number,
                    dataset = excluded.dataset
                WHERE batch.commit_number IS NULL";
    let mut values = Vec::with_capacity(commits.len() * 4);
    let batches =
        || commits.iter().filter_map(|(new, commit)| Some((new.batch.as_ref()?, new, commit)));
    for (batch, new, commit) in batches() {
        let dataset = commit.dataset.as_ref().map(DatasetId::as_str);
        let row = args![new.workspace.as_str(), batch.as_str(), dataset, commit.number.0];
        values.extend_from_slice(row);
    }
    let closed = tx.insert(sql, 4, &values, tail).await?;
    match batches().next() {
        Some((batch, ..)) if closed < batches().count() as u64 => {
            Err(CatalogError::Exists { what: "batch", name: batch.to_string() })
        }
        _ => Ok(()),
    }
}

/// Notes the batches whose rows end with a commit. Each may end once.
pub(super) async fn take_back(
    tx: &mut Transaction,
    new: &NewCommit,
    number: CommitNumber,
) -> Result<(), CatalogError> {
    for id in &new.take_back {
        let batch = by_id(tx, &new.workspace, id).await?;
        if batch.dataset.as_ref() != Some(&new.dataset) {
            return Err(no_batch(tx, &new.workspace, id).await?);
        }
        check_closed(&batch)?;
        let sql = "UPDATE batch SET taken_back = $3 WHERE workspace = $1 AND id = $2";
        tx.execute(sql, args![new.workspace.as_str(), id.as_str(), number.0]).await?;
    }
    if new.remove == Removal::All {
        let sql = "UPDATE batch SET taken_back = $3 WHERE workspace = $1 AND dataset = $2
                       AND commit_number IS NOT NULL AND taken_back IS NULL";
        let values = args![new.workspace.as_str(), new.dataset.as_str(), number.0];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

fn check_closed(batch: &Batch) -> Result<(), CatalogError> {
    let id = batch.id.clone();
    match (batch.commit, batch.taken_back) {
        (None, _) => Err(CatalogError::Open { batch: id }),
        (_, Some(commit)) => Err(CatalogError::TakenBack { batch: id, commit }),
        (Some(_), None) => Ok(()),
    }
}

pub(super) async fn by_id(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &BatchId,
) -> Result<Batch, CatalogError> {
    let sql = "SELECT dataset, commit_number, taken_back FROM batch
               WHERE workspace = $1 AND id = $2";
    let Some(row) = tx.first(sql, args![workspace.as_str(), id.as_str()]).await? else {
        return Err(no_batch(tx, workspace, id).await?);
    };
    let number = |column| -> Result<Option<CommitNumber>, crate::database::Error> {
        let found = row.int_or_null(column)?;
        found.map(|_| row.count(column).map(CommitNumber)).transpose()
    };
    Ok(Batch {
        id: id.clone(),
        dataset: row.text_or_null("dataset")?.map(DatasetId::new),
        commit: number("commit_number")?,
        taken_back: number("taken_back")?,
    })
}

pub(crate) async fn no_batch(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &BatchId,
) -> Result<CatalogError, CatalogError> {
    let sql = "SELECT id FROM batch WHERE workspace = $1 ORDER BY commit_number DESC LIMIT $2";
    let ids = texts(&tx.all(sql, args![workspace.as_str(), NEAREST_MAX]).await?, "id")?;
    let nearest = nearest(id.as_str(), ids);
    Ok(CatalogError::NotFound { what: "batch", name: id.to_string(), nearest })
}
