//! The tail: the bytes of small commits, from the commit itself until they are sealed into a data file.
//!
//! A file of the tail is a data file like any other, but its bytes are here. What the tail of a dataset holds
//! is counted at the dataset, because each commit looks whether there is room.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::dataset::{NewFile, Unsealed};
use model::limits::TAIL_BYTES_MAX;
use model::ports::CatalogError;
use model::{DatasetId, FileId};

use crate::database::{Error, Transaction, Value, args};

/// Keeps the bytes of those of the files that have some, if there is room.
pub(super) async fn add(
    tx: &mut Transaction,
    dataset: &DatasetId,
    files: &[NewFile],
    time: DateTime<Utc>,
) -> Result<(), CatalogError> {
    let tail = || files.iter().filter_map(|file| Some((file, file.tail.as_ref()?)));
    let count = tail().count();
    if count == 0 {
        return Ok(());
    }
    let rows: u64 = tail().map(|(file, _)| file.rows).sum();
    let bytes: u64 = tail().map(|(file, _)| file.bytes).sum();
    let sql = "UPDATE dataset SET tail_rows = tail_rows + $3, tail_bytes = tail_bytes + $4,
                   tail_since = CASE WHEN tail_files = 0 THEN $5 ELSE tail_since END,
                   tail_files = tail_files + $2
               WHERE id = $1 AND tail_bytes < $6";
    let values = args![dataset.as_str(), count as u64, rows, bytes, time, TAIL_BYTES_MAX];
    if tx.execute(sql, values).await? == 0 {
        let bytes = unsealed(tx, dataset).await?.bytes;
        return Err(CatalogError::TailFull { bytes });
    }
    let mut values = Vec::with_capacity(count * 2);
    for (file, body) in tail() {
        values.extend_from_slice(args![file.id.as_str(), body]);
    }
    tx.insert("INSERT INTO tail (file, body)", 2, &values, "").await?;
    Ok(())
}

/// Forgets the bytes of files that are sealed or no longer needed, with so many rows and bytes in all.
pub(super) async fn remove(
    tx: &mut Transaction,
    dataset: &DatasetId,
    files: &[Value],
    (rows, bytes): (u64, u64),
) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    tx.all_among("DELETE FROM tail WHERE file IN ({})", &[], files).await?;
    let sql = "UPDATE dataset SET tail_files = tail_files - $2, tail_rows = tail_rows - $3,
                   tail_bytes = tail_bytes - $4 WHERE id = $1";
    tx.execute(sql, args![dataset.as_str(), files.len() as u64, rows, bytes]).await?;
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
    let files = row.count("tail_files")?;
    let since = row.at_or_null("tail_since")?.filter(|_| files > 0);
    Ok(Unsealed { files, rows: row.count("tail_rows")?, bytes: row.count("tail_bytes")?, since })
}
