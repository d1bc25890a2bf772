//! Making commits and reading them back.
//!
//! Contract: the number is the head's plus one and the time never less than the one before, both taken by
//! one `UPDATE` of the head row, which other commits of the workspace then wait for. A commit whose
//! answer was lost may be repeated: its files are recognized by id, its key by fingerprint, and in
//! either case the transaction is rolled back, so that the numbers stay dense.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use model::dataset::{Commit, CommitKind, Committed, IngestKey, NewCommit, NewDataset, NewFile};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, DatasetId, WorkspaceId};

use super::{batches, datasets, files, no_workspace, tail, texts};
use crate::database::{Error, Row, Transaction, args, truncate};

/// The columns of a commit.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT workspace, number, time, kind, dataset, row_count, byte_count, file_count,
                 rows_removed, files_removed
             FROM lake_commit ",
            $tail
        )
    };
}

pub(super) async fn commit(
    tx: &mut Transaction,
    new: &NewCommit,
    now: DateTime<Utc>,
) -> Result<Committed, CatalogError> {
    let (number, time) = take_head(tx, &new.workspace, now).await?;
    if let Some(first) = repeated(tx, new).await? {
        tx.undo();
        return Ok(first);
    }
    let dataset = (new.kind != CommitKind::Mark).then(|| new.dataset.clone());
    if let Some(dataset) = &dataset {
        settle(tx, new, number, time).await?;
        files::check_schemas(tx, dataset, &new.files).await?;
        files::check_not_swept(tx, &new.files).await?;
    }
    let ended = files::end(tx, new, (number, time)).await?;
    let (anew, added): (Vec<_>, Vec<_>) = new.files.iter().partition(|file| !file.runs.is_empty());
    let rows = |files: &[&NewFile]| files.iter().map(|file| file.rows).sum::<u64>();
    if new.kind == CommitKind::Compact && ended.rows != rows(&anew) {
        return Err(Error::RowsChanged { before: ended.rows, after: rows(&anew) }.into());
    }
    let commit = Commit {
        number,
        time,
        kind: new.kind,
        dataset,
        batches: new.batch.iter().cloned().collect(),
        rows: rows(&added),
        bytes: new.files.iter().map(|file| file.bytes).sum(),
        files: new.files.iter().filter(|file| file.tail.is_none()).count() as u64,
        // What is written anew has not ended.
        rows_removed: ended.rows.checked_sub(rows(&anew)).ok_or(CatalogError::Moved)?,
        files_removed: ended.files,
    };
    insert(tx, &new.workspace, &commit).await?;
    batches::take_back(tx, new, number).await?;
    if let Some(batch) = &new.batch {
        batches::close(tx, &new.workspace, batch, &commit).await?;
    }
    files::insert(tx, new, &commit, &ended).await?;
    tail::add(tx, &new.dataset, &new.files, time).await?;
    if let Some(key) = &new.key {
        let sql = "INSERT INTO ingest_key
                   (dataset, key, fingerprint, commit_number, rejected, rejects)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let IngestKey { key, fingerprint, rejected, rejects } = key;
        let rejects = rejects.as_deref().and_then(Path::to_str);
        let values = args![new.dataset.as_str(), key, fingerprint, number.0, *rejected, rejects];
        tx.execute(sql, values).await?;
    }
    Ok(Committed::New(commit))
}

/// Takes the next number and its time, and with them the lock on the workspace's order.
async fn take_head(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    now: DateTime<Utc>,
) -> Result<(CommitNumber, DateTime<Utc>), CatalogError> {
    let sql = "UPDATE workspace SET head = head + 1,
                   head_time = CASE WHEN head_time > $2 THEN head_time ELSE $2 END
               WHERE id = $1 RETURNING head, head_time";
    let row = tx.first(sql, args![workspace.as_str(), truncate(now)]).await?;
    let row = row.ok_or_else(|| no_workspace(workspace))?;
    Ok((CommitNumber(row.count("head")?), row.at("head_time")?))
}

/// Returns the answer of the first time, if this is a repeat.
async fn repeated(
    tx: &mut Transaction,
    new: &NewCommit,
) -> Result<Option<Committed>, CatalogError> {
    // Before the key: with the same files the first answer was lost on the way, and calling it
    // `Repeated` would let the caller delete files that are part of the lake.
    if let Some(file) = new.files.first()
        && let Some(written) = files::written(tx, &new.dataset, &file.id).await?
    {
        return Ok(Some(Committed::New(by_number(tx, &new.workspace, written).await?)));
    }
    let Some(key) = &new.key else { return Ok(None) };
    let Some((commit, used)) = by_key(tx, &new.workspace, &new.dataset, &key.key).await? else {
        return Ok(None);
    };
    if used.fingerprint != key.fingerprint {
        return Err(CatalogError::KeyReused { key: key.key.clone(), commit: commit.number });
    }
    Ok(Some(Committed::Repeated(commit)))
}

/// Makes the dataset if asked to, holds it, and steps its schema.
async fn settle(
    tx: &mut Transaction,
    new: &NewCommit,
    number: CommitNumber,
    time: DateTime<Utc>,
) -> Result<(), CatalogError> {
    if let Some(create) = &new.create {
        create_dataset(tx, &new.workspace, create, time).await?;
    }
    let held = datasets::hold(tx, &new.workspace, &new.dataset).await?;
    let Some(held) = held else {
        let name = new.dataset.to_string();
        return Err(CatalogError::NotFound { what: "dataset", name, nearest: None });
    };
    // A run of a dropped dataset goes on, and needs what is in the tail as files.
    if held.dropped && new.kind != CommitKind::Compact {
        return Err(CatalogError::Moved);
    }
    let Some(step) = &new.schema else { return Ok(()) };
    if step.seen.as_str() != held.schema_id {
        return Err(CatalogError::Moved);
    }
    if step.next.id() != step.seen {
        datasets::step(tx, &new.dataset, number, &step.next).await?;
    }
    Ok(())
}

async fn create_dataset(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    create: &NewDataset,
    time: DateTime<Utc>,
) -> Result<(), CatalogError> {
    if datasets::find_by_id(tx, workspace, create.id.as_str()).await?.is_some() {
        return Err(CatalogError::Moved);
    }
    match datasets::create(tx, workspace, create, time).await {
        // A view of that name will still be there at the next try; a dataset is what the caller
        // looks for first then.
        Err(CatalogError::Exists { what: "dataset", .. }) => Err(CatalogError::Moved),
        other => other.map(|_| ()),
    }
}

async fn insert(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    commit: &Commit,
) -> Result<(), Error> {
    let sql = "INSERT INTO lake_commit
               (workspace, number, time, kind, dataset, row_count, byte_count, file_count,
                rows_removed, files_removed)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let dataset = commit.dataset.as_ref().map(DatasetId::as_str);
    let values = args![
        workspace.as_str(),
        commit.number.0,
        commit.time,
        commit.kind.as_str(),
        dataset,
        commit.rows,
        commit.bytes,
        commit.files,
        commit.rows_removed,
        commit.files_removed
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

pub(super) async fn by_key(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    dataset: &DatasetId,
    key: &str,
) -> Result<Option<(Commit, IngestKey)>, CatalogError> {
    let sql = "SELECT fingerprint, commit_number, rejected, rejects FROM ingest_key
               WHERE dataset = $1 AND key = $2";
    let Some(row) = tx.first(sql, args![dataset.as_str(), key]).await? else { return Ok(None) };
    let number = CommitNumber(row.count("commit_number")?);
    let commit = by_number(tx, workspace, number).await?;
    let used = IngestKey {
        key: key.into(),
        fingerprint: row.text("fingerprint")?,
        rejected: row.count("rejected")?,
        rejects: row.text_or_null("rejects")?.map(PathBuf::from),
    };
    Ok(Some((commit, used)))
}

async fn by_number(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    number: CommitNumber,
) -> Result<Commit, CatalogError> {
    let sql = select!("WHERE workspace = $1 AND number = $2");
    let row = tx.one(sql, args![workspace.as_str(), number.0]).await?;
    let sql = "SELECT id FROM batch WHERE workspace = $1 AND commit_number = $2";
    let batches = tx.all(sql, args![workspace.as_str(), number.0]).await?;
    Ok(read(&row, texts(&batches, "id")?)?)
}

pub(super) async fn of_dataset(
    tx: &mut Transaction,
    dataset: &DatasetId,
    after: CommitNumber,
    limit: u32,
) -> Result<Vec<Commit>, CatalogError> {
    let sql = select!("WHERE dataset = $1 AND number > $2 ORDER BY number LIMIT $3");
    let rows = tx.all(sql, args![dataset.as_str(), after.0, limit]).await?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    let sql = "SELECT id, commit_number FROM batch
               WHERE workspace = $1 AND commit_number BETWEEN $2 AND $3";
    let values = args![first.text("workspace")?, first.int("number")?, last.int("number")?];
    let mut batches = BTreeMap::<i64, Vec<String>>::new();
    for row in tx.all(sql, values).await? {
        batches.entry(row.int("commit_number")?).or_default().push(row.text("id")?);
    }
    let mut commits = Vec::with_capacity(rows.len());
    for row in &rows {
        let own = batches.remove(&row.int("number")?).unwrap_or_default();
        commits.push(read(row, own)?);
    }
    Ok(commits)
}

fn read(row: &Row, mut batches: Vec<String>) -> Result<Commit, Error> {
    batches.sort();
    Ok(Commit {
        number: CommitNumber(row.count("number")?),
        time: row.at("time")?,
        kind: row.word("kind")?,
        dataset: row.text_or_null("dataset")?.map(DatasetId::new),
        batches: batches.into_iter().map(BatchId::new).collect(),
        rows: row.count("row_count")?,
        bytes: row.count("byte_count")?,
        files: row.count("file_count")?,
        rows_removed: row.count("rows_removed")?,
        files_removed: row.count("files_removed")?,
    })
}
