//! Making commits and reading them back.
//!
//! Contract: the number is the head's plus one and the time never less than the one before, both taken by
//! one `UPDATE` of the head row, which other commits of the workspace then wait for. A commit whose
//! answer was lost may be repeated: its files are recognized by id, its key by fingerprint, and in
//! either case the caller undoes what was done, so that the numbers stay dense.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use model::dataset::{
    Commit, CommitKind, Committed, IngestKey, NewCommit, NewDataset, NewFile, Removal,
};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, DatasetId, WorkspaceId};

use super::{batches, datasets, files, no_workspace, tail, texts};
use crate::database::{Error, Row, Transaction, Value, args, truncate};
use crate::uploads;

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

/// What came of a change.
pub(super) enum Made {
    /// It is made with this transaction.
    Now(Commit),
    /// It was made before; what the transaction did for it is to be undone.
    Before(Committed),
}

impl Made {
    /// Returns what the caller is told.
    pub(super) fn told(self) -> Committed {
        match self {
            Self::Now(commit) => Committed::New(commit),
            Self::Before(first) => first,
        }
    }
}

pub(super) async fn commit(
    tx: &mut Transaction,
    new: &NewCommit,
    now: DateTime<Utc>,
) -> Result<Made, CatalogError> {
    let (number, time) = take_head(tx, &new.workspace, now, 1).await?;
    if let Some(first) = repeated(tx, new, now).await? {
        return Ok(Made::Before(first));
    }
    let dataset = (new.kind != CommitKind::Mark).then(|| new.dataset.clone());
    if let Some(dataset) = &dataset {
        settle(tx, new, number, time).await?;
        files::check_schemas(tx, dataset, &new.files).await?;
        files::check_not_swept(tx, new.files.iter()).await?;
    }
    let ended = files::end(tx, new, (number, time)).await?;
    let (anew, added): (Vec<_>, Vec<_>) = new.files.iter().partition(|file| !file.runs.is_empty());
    let rows = |files: &[&NewFile]| files.iter().map(|file| file.rows).sum::<u64>();
    if new.kind == CommitKind::Compact && ended.rows != rows(&anew) {
        return Err(Error::RowsChanged { before: ended.rows, after: rows(&anew) }.into());
    }
    let commit = Commit {
        dataset,
        rows: rows(&added),
        // What is written anew has not ended.
        rows_removed: ended.rows.checked_sub(rows(&anew)).ok_or(CatalogError::Moved)?,
        files_removed: ended.files,
        ..described(new, (number, time))
    };
    if let (Some(batch), Some(version)) = (&new.batch, new.reserved) {
        uploads::close(tx, (&new.workspace, batch), version).await?;
    }
    batches::take_back(tx, new, number).await?;
    record(tx, &[(new, &commit)], &ended).await?;
    Ok(Made::Now(commit))
}

/// Makes appends together, if nothing stands against one of them; then their numbers follow each other.
pub(super) async fn appends(
    tx: &mut Transaction,
    news: &[&NewCommit],
    now: DateTime<Utc>,
) -> Result<Option<Vec<Commit>>, CatalogError> {
    let Some(first) = news.first().filter(|_| news.iter().all(|new| is_plain(new))) else {
        return Ok(None);
    };
    let (number, time) = take_head(tx, &first.workspace, now, news.len() as u64).await?;
    if !are_new(tx, news).await? || !datasets::take(tx, news).await? {
        return Ok(None);
    }
    let files = || news.iter().flat_map(|new| &new.files);
    files::check_not_swept(tx, files()).await?;
    let numbers = number.0 + 1 - news.len() as u64..;
    let commit = |(new, number): (&&NewCommit, u64)| Commit {
        dataset: Some(new.dataset.clone()),
        ..described(new, (CommitNumber(number), time))
    };
    let commits: Vec<Commit> = news.iter().zip(numbers).map(commit).collect();
    let both: Vec<_> = news.iter().copied().zip(&commits).collect();
    record(tx, &both, &files::Ended::default()).await?;
    Ok(Some(commits))
}

/// Whether a commit only adds rows to a dataset that has their columns.
fn is_plain(new: &NewCommit) -> bool {
    let NewCommit { kind, create, schema, remove, take_back, files, .. } = new;
    *kind == CommitKind::Append
        && new.reserved.is_none()
        && create.is_none()
        && *remove == Removal::Nothing
        && take_back.is_empty()
        && schema.as_ref().is_some_and(|step| step.next.id() == step.seen)
        && files.iter().all(|file| file.runs.is_empty())
}

/// Returns whether none of the files and keys was used before.
async fn are_new(tx: &mut Transaction, news: &[&NewCommit]) -> Result<bool, Error> {
    let ids = news.iter().flat_map(|new| &new.files).map(|file| file.id.as_str().into());
    let ids: Vec<Value> = ids.collect();
    if !tx.all_among("SELECT id FROM data_file WHERE id IN ({})", &[], &ids).await?.is_empty() {
        return Ok(false);
    }
    let mut keys = BTreeMap::<&DatasetId, BTreeSet<&str>>::new();
    for new in news {
        let Some(key) = &new.key else { continue };
        if !keys.entry(&new.dataset).or_default().insert(&key.key) {
            return Ok(false);
        }
    }
    for (dataset, keys) in keys {
        let keys: Vec<Value> = keys.into_iter().map(Value::from).collect();
        let sql = "SELECT key FROM ingest_key WHERE dataset = $1 AND key IN ({})";
        if !tx.all_among(sql, args![dataset.as_str()], &keys).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Describes a commit that ends nothing.
fn described(new: &NewCommit, (number, time): (CommitNumber, DateTime<Utc>)) -> Commit {
    Commit {
        number,
        time,
        kind: new.kind,
        dataset: None,
        batches: new.batch.iter().cloned().collect(),
        rows: new.files.iter().map(|file| file.rows).sum(),
        bytes: new.files.iter().map(|file| file.bytes).sum(),
        files: new.files.iter().filter(|file| file.tail.is_none()).count() as u64,
        rows_removed: 0,
        files_removed: 0,
    }
}

/// Writes commits down with what they bring.
async fn record(
    tx: &mut Transaction,
    commits: &[(&NewCommit, &Commit)],
    ended: &files::Ended,
) -> Result<(), CatalogError> {
    insert(tx, commits).await?;
    batches::close(tx, commits).await?;
    files::insert(tx, commits, ended).await?;
    tail::add(tx, commits).await?;
    let sql = "INSERT INTO ingest_key (dataset, key, fingerprint, commit_number, rejected, rejects, until)";
    let mut values = Vec::new();
    for (new, commit) in commits {
        let Some(used) = &new.key else { continue };
        let IngestKey { key, fingerprint, rejected, rejects, until } = used;
        values.extend_from_slice(args![
            new.dataset.as_str(),
            key,
            fingerprint,
            commit.number.0,
            *rejected,
            rejects.as_deref().and_then(Path::to_str),
            until.map(truncate)
        ]);
    }
    tx.insert(sql, 7, &values, "").await?;
    Ok(())
}

/// Takes the next numbers, the last of which is returned, and their time, and with them the lock on the workspace's order.
async fn take_head(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    now: DateTime<Utc>,
    count: u64,
) -> Result<(CommitNumber, DateTime<Utc>), CatalogError> {
    let sql = "UPDATE workspace SET head = head + $3,
                   head_time = CASE WHEN head_time > $2 THEN head_time ELSE $2 END
               WHERE id = $1 RETURNING head, head_time";
    let row = tx.first(sql, args![workspace.as_str(), truncate(now), count]).await?;
    let row = row.ok_or_else(|| no_workspace(workspace))?;
    Ok((CommitNumber(row.count("head")?), row.at("head_time")?))
}

/// Returns the answer of the first time, if this is a repeat.
async fn repeated(
    tx: &mut Transaction,
    new: &NewCommit,
    now: DateTime<Utc>,
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
    if used.is_forgotten(now) {
        let sql = "DELETE FROM ingest_key WHERE dataset = $1 AND key = $2";
        tx.execute(sql, args![new.dataset.as_str(), &key.key]).await?;
        return Ok(None);
    }
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

async fn insert(tx: &mut Transaction, commits: &[(&NewCommit, &Commit)]) -> Result<(), Error> {
    let sql = "INSERT INTO lake_commit
               (workspace, number, time, kind, dataset, row_count, byte_count, file_count,
                rows_removed, files_removed)";
    let mut values = Vec::with_capacity(commits.len() * 10);
    for (new, commit) in commits {
        values.extend_from_slice(args![
            new.workspace.as_str(),
            commit.number.0,
            commit.time,
            commit.kind.as_str(),
            commit.dataset.as_ref().map(DatasetId::as_str),
            commit.rows,
            commit.bytes,
            commit.files,
            commit.rows_removed,
            commit.files_removed
        ]);
    }
    tx.insert(sql, 10, &values, "").await?;
    Ok(())
}

pub(super) async fn by_key(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    dataset: &DatasetId,
    key: &str,
) -> Result<Option<(Commit, IngestKey)>, CatalogError> {
    let sql = "SELECT fingerprint, commit_number, rejected, rejects, until FROM ingest_key
               WHERE dataset = $1 AND key = $2";
    let Some(row) = tx.first(sql, args![dataset.as_str(), key]).await? else { return Ok(None) };
    let number = CommitNumber(row.count("commit_number")?);
    let commit = by_number(tx, workspace, number).await?;
    let used = IngestKey {
        key: key.into(),
        fingerprint: row.text("fingerprint")?,
        rejected: row.count("rejected")?,
        rejects: row.text_or_null("rejects")?.map(PathBuf::from),
        until: row.at_or_null("until")?,
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
