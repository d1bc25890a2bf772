//! Data files: one row each, from the commit that added it to the one that removed it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use model::dataset::{Commit, CommitKind, CommitRun, DataFile, NewCommit, NewFile, Removal};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, SchemaId};

use super::texts;
use crate::database::{Error, Row, Transaction, Value, args};

/// Values of one row in [`insert`].
const COLUMNS: usize = 15;

/// What files that ended came to.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) files: u64,
    pub(super) rows: u64,
    /// The least commit from which on one of them stood for its rows.
    pub(super) since: Option<CommitNumber>,
}

/// Ends the files that a commit removes. Those that a compaction has merged leave every snapshot.
pub(super) async fn end(
    tx: &mut Transaction,
    new: &NewCommit,
    (number, time): (CommitNumber, DateTime<Utc>),
) -> Result<Ended, CatalogError> {
    let mut ended = Ended::default();
    match &new.remove {
        Removal::Nothing => {}
        Removal::All => {
            let sql = "UPDATE data_file SET removed = $2 WHERE dataset = $1 AND removed IS NULL
                       RETURNING row_count, added";
            for row in tx.all(sql, args![new.dataset.as_str(), number.0]).await? {
                ended.add(&row)?;
            }
        }
        Removal::Files(ids) => {
            for id in ids {
                let values = args![new.dataset.as_str(), id.as_str(), number.0];
                let row = if new.kind == CommitKind::Compact {
                    retire(tx, new, values, time).await?
                } else {
                    let sql = "UPDATE data_file SET removed = $3
                               WHERE dataset = $1 AND id = $2 AND removed IS NULL
                               RETURNING row_count, added";
                    tx.first(sql, values).await?
                };
                // Somebody else ended it first.
                ended.add(&row.ok_or(CatalogError::Moved)?)?;
            }
        }
    }
    Ok(ended)
}

impl Ended {
    fn add(&mut self, row: &Row) -> Result<(), Error> {
        let added = CommitNumber(row.count("added")?);
        self.files += 1;
        self.rows += row.count::<u64>("row_count")?;
        self.since = Some(self.since.map_or(added, |since| since.min(added)));
        Ok(())
    }
}

/// Takes a file out of the catalog and keeps its name for whoever deletes it. `values` are the dataset, the
/// file and the commit.
async fn retire(
    tx: &mut Transaction,
    new: &NewCommit,
    values: &[Value],
    time: DateTime<Utc>,
) -> Result<Option<Row>, Error> {
    let sql = "DELETE FROM data_file WHERE dataset = $1 AND id = $2 AND removed IS NULL
               RETURNING object_key, byte_count, row_count, added";
    let Some(row) = tx.first(sql, &values[..2]).await? else { return Ok(None) };
    let sql = "INSERT INTO retired_file (object_key, workspace, byte_count, retired, retired_at)
               VALUES ($1, $2, $3, $4, $5)";
    let [_, _, number] = values else { return Ok(None) };
    let workspace = new.workspace.as_str();
    let (key, bytes) = (row.text("object_key")?, row.int("byte_count")?);
    let retired: &[Value] =
        &[key.into(), workspace.into(), bytes.into(), number.clone(), time.into()];
    tx.execute(sql, retired).await?;
    Ok(Some(row))
}

/// Lists files as added by a commit. Rows that are only written anew keep their commits; merged ones are in
/// every snapshot from `since` on.
pub(super) async fn insert(
    tx: &mut Transaction,
    new: &NewCommit,
    commit: &Commit,
    since: Option<CommitNumber>,
) -> Result<(), Error> {
    let sql = "INSERT INTO data_file (id, dataset, batch, object_key, schema_id, row_count,
               byte_count, sha256, codec, added, written, first_commit, place, runs, statistics)";
    let own = vec![CommitRun { commit: commit.number, time: commit.time, first_row: 0 }];
    let added = since.filter(|_| new.kind == CommitKind::Compact).unwrap_or(commit.number);
    let mut values = Vec::with_capacity(new.files.len() * COLUMNS);
    for file in &new.files {
        let runs = if file.runs.is_empty() { &own } else { &file.runs };
        let first = runs.first().map_or(commit.number, |run| run.commit);
        let runs = serde_json::to_string(runs).expect("runs have only string keys");
        let statistics = serde_json::to_string(&file.statistics).expect("only string keys");
        let row: &[Value; COLUMNS] = args![
            file.id.as_str(),
            new.dataset.as_str(),
            file.batch.as_str(),
            file.key.as_str(),
            file.schema_id.as_str(),
            file.rows,
            file.bytes,
            &file.sha256,
            &file.codec,
            added.0,
            commit.number.0,
            first.0,
            file.place,
            runs,
            statistics,
        ];
        values.extend_from_slice(row);
    }
    tx.insert(sql, COLUMNS, &values, "").await?;
    Ok(())
}

/// Refuses files that were taken for leftovers, because they waited too long for their commit.
pub(super) async fn check_not_swept(
    tx: &mut Transaction,
    files: &[NewFile],
) -> Result<(), CatalogError> {
    for file in files {
        let sql = "SELECT object_key FROM retired_file WHERE object_key = $1";
        if tx.first(sql, args![file.key.as_str()]).await?.is_some() {
            return Err(CatalogError::Swept { file: file.key.clone() });
        }
    }
    Ok(())
}

/// Refuses files with a schema that the dataset never had: nobody could read them.
pub(super) async fn check_schemas(
    tx: &mut Transaction,
    dataset: &DatasetId,
    files: &[NewFile],
) -> Result<(), Error> {
    let sql = "SELECT id FROM dataset_schema WHERE dataset = $1";
    let rows = tx.all(sql, args![dataset.as_str()]).await?;
    let known: BTreeSet<_> = texts(&rows, "id")?.into_iter().collect();
    match files.iter().find(|file| !known.contains(file.schema_id.as_str())) {
        None => Ok(()),
        Some(file) => Err(Error::UnknownSchema {
            file: file.id.to_string(),
            schema: file.schema_id.to_string(),
        }),
    }
}

/// Returns the commit that wrote the file, if it is one of the dataset's.
pub(super) async fn written(
    tx: &mut Transaction,
    dataset: &DatasetId,
    id: &FileId,
) -> Result<Option<CommitNumber>, Error> {
    let sql = "SELECT CASE WHEN written > 0 THEN written ELSE added END AS number
               FROM data_file WHERE id = $1 AND dataset = $2";
    let row = tx.first(sql, args![id.as_str(), dataset.as_str()]).await?;
    row.map(|row| row.count("number").map(CommitNumber)).transpose()
}

/// Returns the files alive at a commit, by first commit, then arrival.
pub(super) async fn alive(
    tx: &mut Transaction,
    dataset: &DatasetId,
    at: CommitNumber,
) -> Result<Vec<DataFile>, Error> {
    let sql = "SELECT id, dataset, batch, object_key, schema_id, row_count, byte_count, sha256,
                   codec, added, place, removed, runs, statistics
               FROM data_file
               WHERE dataset = $1 AND added <= $2 AND (removed IS NULL OR removed > $2)
               ORDER BY first_commit, place";
    let rows = tx.all(sql, args![dataset.as_str(), at.0]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<DataFile, Error> {
    let removed = row.int_or_null("removed")?;
    let removed = removed.map(|_| row.count("removed").map(CommitNumber)).transpose()?;
    Ok(DataFile {
        id: FileId::new(row.text("id")?),
        dataset: DatasetId::new(row.text("dataset")?),
        batch: BatchId::new(row.text("batch")?),
        key: ObjectKey::new(row.text("object_key")?),
        schema_id: SchemaId::new(row.text("schema_id")?),
        rows: row.count("row_count")?,
        bytes: row.count("byte_count")?,
        sha256: row.text("sha256")?,
        codec: row.text("codec")?,
        added: CommitNumber(row.count("added")?),
        place: row.count("place")?,
        removed,
        runs: row.json("runs")?,
        statistics: row.json("statistics")?,
    })
}
