//! Uploads: the store as [`Uploads`].
//!
//! Whatever changes an upload holds its row first, the commit that closes it too, so that a file is in the commit or
//! refused, never lost in between.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::limits::{IMPORT_FILES_MAX, UPLOAD_BYTES_MAX, UPLOADS_OPEN_MAX};
use model::ports::{CatalogError, UploadError, Uploads};
use model::upload::{Closed, NewUpload, Noted, Upload, UploadFile};
use model::{BatchId, CommitNumber, ObjectKey, WorkspaceId};

use crate::Store;
use crate::catalog::{check_workspace, no_batch};
use crate::database::{Conflict, Error, Row, Sql, Transaction, Value, args, transact, truncate};

#[async_trait]
impl Uploads for Store {
    async fn reserve(
        &self,
        workspace: &WorkspaceId,
        new: &NewUpload,
        now: DateTime<Utc>,
    ) -> Result<(), UploadError> {
        transact!(self.database, UploadError, |tx| reserve(tx, workspace, new, now))
    }

    async fn upload(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
    ) -> Result<Option<Upload>, UploadError> {
        Ok(find(&mut self.database.read().await?, workspace, batch).await?)
    }

    async fn begin_file(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
        object: (&str, &ObjectKey),
        now: DateTime<Utc>,
    ) -> Result<(), UploadError> {
        transact!(self.database, UploadError, |tx| begin(tx, (workspace, batch), object, now))
    }

    async fn finish_file(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
        file: &UploadFile,
        now: DateTime<Utc>,
    ) -> Result<Noted, UploadError> {
        transact!(self.database, UploadError, |tx| finish(tx, (workspace, batch), file, now))
    }

    async fn abandon(&self, workspace: &WorkspaceId, batch: &BatchId) -> Result<(), UploadError> {
        transact!(self.database, UploadError, |tx| abandon(tx, (workspace, batch)))
    }

    async fn expire(&self, since: DateTime<Utc>, limit: u32) -> Result<u64, UploadError> {
        transact!(self.database, UploadError, |tx| expire(tx, since, limit))
    }

    async fn spare(
        &self,
        node: &str,
        begun_before: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ObjectKey>, UploadError> {
        transact!(self.database, UploadError, |tx| spare(tx, node, begun_before, limit))
    }

    async fn forget(&self, keys: &[ObjectKey]) -> Result<(), UploadError> {
        transact!(self.database, UploadError, |tx| forget(tx, keys))
    }
}

/// A batch by workspace and id.
type Id<'a> = (&'a WorkspaceId, &'a BatchId);

async fn reserve(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    new: &NewUpload,
    now: DateTime<Utc>,
) -> Result<(), UploadError> {
    check_workspace(tx, workspace).await?;
    let sql = "SELECT COUNT(*) AS open FROM upload WHERE workspace = $1 AND is_open = 1";
    if tx.one(sql, args![workspace.as_str()]).await?.count::<u64>("open")? >= UPLOADS_OPEN_MAX {
        return Err(UploadError::TooManyOpen);
    }
    let (space, batch) = (workspace.as_str(), new.batch.as_str());
    tx.execute("INSERT INTO batch (workspace, id) VALUES ($1, $2)", args![space, batch]).await?;
    let settings = serde_json::to_string(&new.terms).expect("terms are plain data");
    let sql = "INSERT INTO upload
                   (workspace, batch, node, settings, version, is_open, created_at, changed_at)
               VALUES ($1, $2, $3, $4, 0, 1, $5, $5)";
    tx.execute(sql, args![space, batch, &new.node, settings, truncate(now)]).await?;
    Ok(())
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    batch: &BatchId,
) -> Result<Option<Upload>, Error> {
    let sql = "SELECT u.node, u.settings, u.version, u.created_at, c.number, c.time, c.row_count
               FROM upload u JOIN batch b ON b.workspace = u.workspace AND b.id = u.batch
               LEFT JOIN lake_commit c
                   ON c.workspace = b.workspace AND c.number = b.commit_number
               WHERE u.workspace = $1 AND u.batch = $2";
    let id = args![workspace.as_str(), batch.as_str()];
    let Some(row) = tx.first(sql, id).await? else { return Ok(None) };
    let sql = "SELECT name, byte_count, sha256, object_key FROM upload_file
               WHERE workspace = $1 AND batch = $2";
    let files = tx.all(sql, id).await?;
    let mut files = files.iter().map(read_file).collect::<Result<Vec<_>, _>>()?;
    // The order of texts is another one in each database.
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(Upload {
        batch: batch.clone(),
        terms: row.json("settings")?,
        node: row.text("node")?,
        version: row.count("version")?,
        created_at: row.at("created_at")?,
        files,
        closed: read_closed(&row)?,
    }))
}

fn read_closed(row: &Row) -> Result<Option<Closed>, Error> {
    let Some(time) = row.at_or_null("time")? else { return Ok(None) };
    let commit = CommitNumber(row.count("number")?);
    Ok(Some(Closed { commit, time, rows: row.count("row_count")? }))
}

fn read_file(row: &Row) -> Result<UploadFile, Error> {
    Ok(UploadFile {
        name: row.text("name")?,
        bytes: row.count("byte_count")?,
        sha256: row.text("sha256")?,
        key: ObjectKey::new(row.text("object_key")?),
    })
}

/// Holds an open upload; returns its node.
async fn hold(tx: &mut Transaction, (workspace, batch): Id<'_>) -> Result<String, UploadError> {
    let id = args![workspace.as_str(), batch.as_str()];
    let sql = "SELECT node, is_open FROM upload WHERE workspace = $1 AND batch = $2";
    let held = tx.first(Sql::for_update(sql), id).await?;
    if let Some(held) = &held
        && held.int("is_open")? == 1
    {
        return Ok(held.text("node")?);
    }
    let sql = "SELECT commit_number FROM batch
               WHERE workspace = $1 AND id = $2 AND commit_number IS NOT NULL";
    match tx.first(sql, id).await? {
        Some(row) => {
            let commit = CommitNumber(row.count("commit_number")?);
            Err(UploadError::Closed { batch: batch.clone(), commit })
        }
        None => Err(no_batch(tx, workspace, batch).await?.into()),
    }
}

async fn begin(
    tx: &mut Transaction,
    id: Id<'_>,
    (node, key): (&str, &ObjectKey),
    now: DateTime<Utc>,
) -> Result<(), UploadError> {
    if hold(tx, id).await? != node {
        return Err(UploadError::Elsewhere { batch: id.1.clone() });
    }
    let sql = "INSERT INTO upload_object (object_key, node, workspace, batch, state, begun_at)
               VALUES ($1, $2, $3, $4, 0, $5)";
    let values = args![key.as_str(), node, id.0.as_str(), id.1.as_str(), truncate(now)];
    tx.execute(sql, values).await?;
    Ok(())
}

async fn finish(
    tx: &mut Transaction,
    id: Id<'_>,
    file: &UploadFile,
    now: DateTime<Utc>,
) -> Result<Noted, UploadError> {
    hold(tx, id).await?;
    let (workspace, batch) = (id.0.as_str(), id.1.as_str());
    let sql = "SELECT name, byte_count, sha256, object_key FROM upload_file
               WHERE workspace = $1 AND batch = $2 AND name = $3";
    let before = tx.first(sql, args![workspace, batch, &file.name]).await?;
    let before = before.as_ref().map(read_file).transpose()?;
    check_room(tx, id, (before.as_ref(), file)).await?;
    // Somebody may have found that it took too long, and deletes it.
    if turn(tx, (0, 1), &file.key).await? == 0 {
        return Err(UploadError::Late { file: file.name.clone() });
    }
    if let Some(before) = &before {
        turn(tx, (1, 2), &before.key).await?;
    }
    let sql = "INSERT INTO upload_file (workspace, batch, name, byte_count, sha256, object_key)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (workspace, batch, name) DO UPDATE SET byte_count = excluded.byte_count,
                   sha256 = excluded.sha256, object_key = excluded.object_key";
    let values = args![workspace, batch, &file.name, file.bytes, &file.sha256, file.key.as_str()];
    tx.execute(sql, values).await?;
    let sql = "UPDATE upload SET version = version + 1, changed_at = $3
               WHERE workspace = $1 AND batch = $2";
    tx.execute(sql, args![workspace, batch, truncate(now)]).await?;
    Ok(Noted { is_new: before.is_none(), spare: before.map(|before| before.key) })
}

/// Brings an object from one state to the next; returns whether it was in the first one.
async fn turn(tx: &mut Transaction, (from, to): (i64, i64), key: &ObjectKey) -> Result<u64, Error> {
    let sql = "UPDATE upload_object SET state = $3 WHERE object_key = $1 AND state = $2";
    tx.execute(sql, args![key.as_str(), from, to]).await
}

/// Refuses a file that is one too many, or makes the batch too large.
async fn check_room(
    tx: &mut Transaction,
    (workspace, batch): Id<'_>,
    (before, file): (Option<&UploadFile>, &UploadFile),
) -> Result<(), UploadError> {
    let sql = "SELECT COUNT(*) AS files, CAST(COALESCE(SUM(byte_count), 0) AS BIGINT) AS bytes
               FROM upload_file WHERE workspace = $1 AND batch = $2";
    let sums = tx.one(sql, args![workspace.as_str(), batch.as_str()]).await?;
    let (files, bytes): (usize, u64) = (sums.count("files")?, sums.count("bytes")?);
    if before.is_none() && files >= IMPORT_FILES_MAX {
        return Err(UploadError::TooManyFiles { batch: batch.clone() });
    }
    let others = bytes - before.map_or(0, |before| before.bytes);
    if others.saturating_add(file.bytes) > UPLOAD_BYTES_MAX {
        return Err(UploadError::TooManyBytes { batch: batch.clone() });
    }
    Ok(())
}

async fn abandon(tx: &mut Transaction, id: Id<'_>) -> Result<(), UploadError> {
    hold(tx, id).await?;
    let values = args![id.0.as_str(), id.1.as_str()];
    let sql = "UPDATE upload_object SET state = 2 WHERE workspace = $1 AND batch = $2";
    tx.execute(sql, values).await?;
    let sql = "DELETE FROM upload_file WHERE workspace = $1 AND batch = $2";
    tx.execute(sql, values).await?;
    tx.execute("DELETE FROM upload WHERE workspace = $1 AND batch = $2", values).await?;
    let sql = "DELETE FROM batch WHERE workspace = $1 AND id = $2 AND commit_number IS NULL";
    tx.execute(sql, values).await?;
    Ok(())
}

async fn expire(
    tx: &mut Transaction,
    since: DateTime<Utc>,
    limit: u32,
) -> Result<u64, UploadError> {
    let sql = "SELECT workspace, batch FROM upload WHERE is_open = 1 AND changed_at < $1
               ORDER BY changed_at LIMIT $2";
    let old = tx.all(Sql::for_update(sql), args![truncate(since), limit]).await?;
    for row in &old {
        let (workspace, batch) = (row.text("workspace")?, row.text("batch")?);
        abandon(tx, (&WorkspaceId::new(workspace), &BatchId::new(batch))).await?;
    }
    Ok(old.len() as u64)
}

async fn spare(
    tx: &mut Transaction,
    node: &str,
    begun_before: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<ObjectKey>, UploadError> {
    let sql = "UPDATE upload_object SET state = 2 WHERE node = $1 AND state = 0 AND begun_at < $2";
    tx.execute(sql, args![node, truncate(begun_before)]).await?;
    let sql = "SELECT object_key FROM upload_object WHERE node = $1 AND state = 2 LIMIT $2";
    let rows = tx.all(sql, args![node, limit]).await?;
    let keys = rows.iter().map(|row| row.text("object_key").map(ObjectKey::new));
    Ok(keys.collect::<Result<_, _>>()?)
}

async fn forget(tx: &mut Transaction, keys: &[ObjectKey]) -> Result<(), UploadError> {
    let keys: Vec<Value> = keys.iter().map(|key| key.as_str().into()).collect();
    let sql = "DELETE FROM upload_object WHERE state <> 1 AND object_key IN ({})";
    tx.all_among(sql, &[], &keys).await?;
    Ok(())
}

/// Closes an upload for the commit being made, if it is as its writer saw it.
pub(crate) async fn close(
    tx: &mut Transaction,
    (workspace, batch): Id<'_>,
    version: u64,
) -> Result<(), CatalogError> {
    let id = args![workspace.as_str(), batch.as_str()];
    let sql = "UPDATE upload SET is_open = 0
               WHERE workspace = $1 AND batch = $2 AND version = $3 AND is_open = 1";
    let closed = tx.execute(sql, args![workspace.as_str(), batch.as_str(), version]).await?;
    if closed == 0 {
        return Err(CatalogError::Reopened { batch: batch.clone() });
    }
    let sql = "UPDATE upload_object SET state = 2 WHERE workspace = $1 AND batch = $2";
    tx.execute(sql, id).await?;
    Ok(())
}

impl From<Error> for UploadError {
    fn from(error: Error) -> Self {
        Self::Catalog(CatalogError::from(error))
    }
}

impl Conflict for UploadError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Catalog(error) if error.is_conflict())
    }
}
