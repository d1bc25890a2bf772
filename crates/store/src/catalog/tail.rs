//! The tail: the bytes of small commits, from the commit itself until they are sealed into a data file.
//!
//! A file of the tail is a data file like any other, but its bytes are here. What the tail of a dataset holds
//! is counted at the dataset, because each commit looks whether there is room; rows that have ended count until
//! their bytes are gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::dataset::{Commit, NewCommit, Unsealed};
use model::limits::TAIL_BYTES_MAX;
use model::ports::CatalogError;
use model::{DatasetId, FileId};

use crate::database::{Error, Row, Transaction, Value, args};

/// Keeps the bytes of those of the files that have some, if there is room.
pub(super) async fn add(
    tx: &mut Transaction,
    commits: &[(&NewCommit, &Commit)],
) -> Result<(), CatalogError> {
    let mut counts = BTreeMap::<&DatasetId, (u64, u64, u64, DateTime<Utc>)>::new();
    let mut values = Vec::new();
    for (new, commit) in commits {
        for file in &new.files {
            let Some(body) = &file.tail else { continue };
            let count = counts.entry(&new.dataset).or_insert((0, 0, 0, commit.time));
            (count.0, count.1, count.2) = (count.0 + 1, count.1 + file.rows, count.2 + file.bytes);
            values.extend_from_slice(args![file.id.as_str(), body]);
        }
    }
    for (dataset, (files, rows, bytes, time)) in counts {
        let sql = "UPDATE dataset SET tail_rows = tail_rows + $3, tail_bytes = tail_bytes + $4,
                       tail_since = CASE WHEN tail_files = 0 THEN $5 ELSE tail_since END,
                       tail_files = tail_files + $2
                   WHERE id = $1 AND tail_bytes < $6";
        let values = args![dataset.as_str(), files, rows, bytes, time, TAIL_BYTES_MAX];
        if tx.execute(sql, values).await? == 0 {
            let bytes = unsealed(tx, dataset).await?.bytes;
            return Err(CatalogError::TailFull { bytes });
        }
    }
    tx.insert("INSERT INTO tail (file, body)", 2, &values, "").await?;
    Ok(())
}

/// Forgets the bytes of files that are sealed or no longer needed.
pub(super) async fn forget(tx: &mut Transaction, files: &[Value]) -> Result<(), Error> {
    tx.all_among("DELETE FROM tail WHERE file IN ({})", &[], files).await?;
    Ok(())
}

/// Counts files of the tail no more: they are sealed, or nobody needs them.
///
/// Shape: `rows` are those of the files, with `in_tail`, `row_count` and `byte_count`; others are passed over.
pub(super) async fn leave(tx: &mut Transaction, dataset: &str, rows: &[Row]) -> Result<(), Error> {
    let (mut files, mut count, mut bytes) = (0_u64, 0_u64, 0_u64);
    for row in rows {
        if row.int("in_tail")? == 1 {
            files += 1;
            count += row.count::<u64>("row_count")?;
            bytes += row.count::<u64>("byte_count")?;
        }
    }
    if files == 0 {
        return Ok(());
    }
    // What came meanwhile is not as old as what has left.
    let sql = "UPDATE dataset SET tail_files = tail_files - $2, tail_rows = tail_rows - $3,
                   tail_bytes = tail_bytes - $4,
                   tail_since = (SELECT c.time FROM lake_commit c
                       WHERE c.workspace = dataset.workspace AND c.number = (
                           SELECT MIN(f.added) FROM data_file f
                           WHERE f.dataset = $1 AND f.in_tail = 1))
               WHERE id = $1";
    tx.execute(sql, args![dataset, files, count, bytes]).await?;
    Ok(())
}

pub(super) async fn read(
    tx: &mut Transaction,
    files: &[FileId],
) -> Result<Vec<Bytes>, CatalogError> {
    let ids: Vec<Value> = files.iter().map(|id| id.as_str().into()).collect();
    let sql = "SELECT file, body FROM tail WHERE file IN ({})";
    let mut found = std::collections::HashMap::with_capacity(files.len());
    for row in tx.all_among(sql, &[], &ids).await? {
        found.insert(row.text("file")?, row.bytes("body")?);
    }
    let body = |id: &FileId| found.remove(id.as_str()).ok_or(CatalogError::Moved);
    files.iter().map(body).collect()
}

pub(super) async fn unsealed(
    tx: &mut Transaction,
    dataset: &DatasetId,
) -> Result<Unsealed, CatalogError> {
    let sql = "SELECT tail_files, tail_rows, tail_bytes, tail_since FROM dataset WHERE id = $1";
    let Some(row) = tx.first(sql, args![dataset.as_str()]).await? else {
        let name = dataset.to_string();
        return Err(CatalogError::NotFound { what: "dataset", name, nearest: None });
    };
    Ok(of(&row)?)
}

/// Reads what of a dataset is in the tail.
pub(super) fn of(row: &Row) -> Result<Unsealed, Error> {
    let files = row.count("tail_files")?;
    let since = row.at_or_null("tail_since")?.filter(|_| files > 0);
    Ok(Unsealed { files, rows: row.count("tail_rows")?, bytes: row.count("tail_bytes")?, since })
}
