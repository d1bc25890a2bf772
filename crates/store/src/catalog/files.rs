//! Data files: one row each, from the commit that added it to the one that removed it.

use std::collections::BTreeSet;

use model::dataset::{Commit, CommitRun, DataFile, NewFile};
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, SchemaId};

use super::texts;
use crate::database::{Error, Row, Transaction, Value, args};

/// Values of one row in [`insert`].
const COLUMNS: usize = 14;

/// Lists files as added by a commit, in their order.
pub(super) async fn insert(
    tx: &mut Transaction,
    dataset: &DatasetId,
    files: &[NewFile],
    commit: &Commit,
) -> Result<(), Error> {
    let sql = "INSERT INTO data_file (id, dataset, batch, object_key, schema_id, row_count,
               byte_count, sha256, codec, added, first_commit, place, runs, statistics)";
    let runs = [CommitRun { commit: commit.number, time: commit.time, first_row: 0 }];
    let runs = serde_json::to_string(&runs).expect("runs have only string keys");
    let mut values = Vec::with_capacity(files.len() * COLUMNS);
    for (place, file) in files.iter().enumerate() {
        let statistics = serde_json::to_string(&file.statistics).expect("only string keys");
        let row: &[Value; COLUMNS] = args![
            file.id.as_str(),
            dataset.as_str(),
            file.batch.as_str(),
            file.key.as_str(),
            file.schema_id.as_str(),
            file.rows,
            file.bytes,
            &file.sha256,
            &file.codec,
            commit.number.0,
            commit.number.0,
            place as u64,
            &runs,
            statistics,
        ];
        values.extend_from_slice(row);
    }
    tx.insert(sql, COLUMNS, &values, "").await?;
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

/// Returns the commit that added the file to the dataset, if one did.
pub(super) async fn added(
    tx: &mut Transaction,
    dataset: &DatasetId,
    id: &FileId,
) -> Result<Option<CommitNumber>, Error> {
    let sql = "SELECT added FROM data_file WHERE id = $1 AND dataset = $2";
    let row = tx.first(sql, args![id.as_str(), dataset.as_str()]).await?;
    row.map(|row| row.count("added").map(CommitNumber)).transpose()
}

/// Returns the files alive at a commit, by first commit, then arrival.
pub(super) async fn alive(
    tx: &mut Transaction,
    dataset: &DatasetId,
    at: CommitNumber,
) -> Result<Vec<DataFile>, Error> {
    let sql = "SELECT id, dataset, batch, object_key, schema_id, row_count, byte_count, sha256,
                   codec, added, removed, runs, statistics
               FROM data_file
               WHERE dataset = $1 AND added <= $2 AND (removed IS NULL OR removed > $2)
               ORDER BY first_commit, added, place";
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
        removed,
        runs: row.json("runs")?,
        statistics: row.json("statistics")?,
    })
}
