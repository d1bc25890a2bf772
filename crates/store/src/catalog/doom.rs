//! What nobody needs any more: taken out of the catalog, deleted, forgotten.
//!
//! Two phases: [`doom`] notes in one transaction what may go, under the lock under which runs are opened, so
//! that no pin can come between; the caller deletes the objects and then calls [`forget`]. A crash in
//! between leaves doomed objects, which the next call returns again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use model::ports::{CatalogError, Doomed, Spare};
use model::{ObjectKey, WorkspaceId};

use super::snapshot::NEVER;
use super::{no_workspace, tail, texts};
use crate::database::{Error, Row, Transaction, Value, args};

pub(super) async fn doom(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    spare: &Spare,
    limit: u32,
) -> Result<Vec<Doomed>, CatalogError> {
    lock(tx, workspace).await?;
    lapse(tx, workspace, spare).await?;
    merged(tx, workspace, spare).await?;
    ended(tx, workspace, spare, limit).await?;
    let sql = "SELECT object_key, byte_count FROM retired_file
               WHERE workspace = $1 AND doomed = 1 ORDER BY object_key LIMIT $2";
    let rows = tx.all(sql, args![workspace.as_str(), limit]).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Keeps commits and openings of runs out until the transaction ends.
pub(super) async fn lock(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<(), CatalogError> {
    let sql = "UPDATE workspace SET opened = opened WHERE id = $1";
    match tx.execute(sql, args![workspace.as_str()]).await? {
        0 => Err(no_workspace(workspace)),
        _ => Ok(()),
    }
}

/// Removes the pins of sealed runs whose time is over.
async fn lapse(tx: &mut Transaction, workspace: &WorkspaceId, spare: &Spare) -> Result<(), Error> {
    // Not of one that is being run again.
    let sql = "DELETE FROM pin WHERE workspace = $1 AND owner_kind = 'kept' AND created_at < $2
                   AND NOT EXISTS (SELECT 1 FROM pin r WHERE r.workspace = $1
                       AND r.owner_kind = 'run' AND r.at_commit = pin.at_commit AND r.head = pin.head)";
    tx.execute(sql, args![workspace.as_str(), spare.kept_since]).await?;
    Ok(())
}

/// Dooms merged files, but for those that an open run may have planned to read, or a sealed one may be asked to read again.
async fn merged(tx: &mut Transaction, workspace: &WorkspaceId, spare: &Spare) -> Result<(), Error> {
    let sql = "UPDATE retired_file SET doomed = 1
               WHERE workspace = $1 AND doomed = 0 AND retired_at < $2
                   AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                       AND pin.owner_kind = 'run' AND pin.head < retired_file.retired
                       AND pin.created_at >= $3)
                   AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                       AND pin.owner_kind = 'kept' AND pin.head < retired_file.retired)";
    let values = args![workspace.as_str(), spare.merged_before, spare.pinned_since];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Dooms files whose rows have ended, and those of datasets that were dropped, but for those that the snapshot
/// of an open run shows, of a backfill that has not come to its end, of a ticket that waits or failed, or of what is not asked for yet; up to `limit` of each.
async fn ended(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    spare: &Spare,
    limit: u32,
) -> Result<(), Error> {
    // Files before the tail: who asks goes on as long as there are objects.
    let ended = "SELECT f.id FROM data_file f
                     JOIN dataset d ON d.id = f.dataset
                     JOIN lake_commit c ON c.workspace = d.workspace AND c.number = f.removed
                 WHERE d.workspace = $1 AND c.time < $2
                     AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                         AND pin.owner_kind = 'run' AND pin.at_commit < f.removed
                         AND pin.created_at >= $3)
                     AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                         AND pin.owner_kind = 'kept' AND pin.at_commit >= f.added
                         AND pin.at_commit < f.removed)
                     AND NOT EXISTS (SELECT 1 FROM export e
                         JOIN pin ON pin.owner = e.id AND pin.owner_kind = 'cursor'
                         WHERE e.workspace = $1 AND e.bound < f.removed AND e.cursor_commit < e.bound
                             AND pin.created_at >= $3)
                     AND f.removed <= COALESCE((SELECT MIN(t.to_commit) FROM ticket t
                         WHERE t.workspace = $1 AND (t.run IS NULL OR t.again_at IS NOT NULL)
                             AND t.drawn_at >= $3), f.removed)
                     AND NOT EXISTS (SELECT 1 FROM enrolment e
                         WHERE e.workspace = $1 AND e.covered <= c.time AND c.time >= $3)
                 ORDER BY f.in_tail LIMIT $4";
    let dropped = "SELECT f.id FROM data_file f JOIN dataset d ON d.id = f.dataset
                   WHERE d.workspace = $1 AND d.dropped_at < $2
                       AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                           AND pin.owner_kind = 'run' AND pin.created_at >= $3
                           AND pin.created_at <= d.dropped_at)
                       AND NOT EXISTS (SELECT 1 FROM pin WHERE pin.workspace = $1
                           AND pin.owner_kind = 'kept' AND pin.at_commit >= f.added
                           AND pin.created_at <= d.dropped_at)
                   ORDER BY f.in_tail LIMIT $4";
    let values = args![workspace.as_str(), spare.ended_before, spare.pinned_since, limit];
    let ended = texts(&tx.all(ended, values).await?, "id")?;
    forsake(tx, workspace, ended, (spare, None)).await?;
    let dropped = texts(&tx.all(dropped, values).await?, "id")?;
    forsake(tx, workspace, dropped, (spare, Some(NEVER.0))).await
}

/// Takes files out of the catalog. Snapshots up to where their rows ended, or to a given commit, are gone then.
async fn forsake(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    ids: Vec<String>,
    (spare, horizon): (&Spare, Option<u64>),
) -> Result<(), Error> {
    let ids: Vec<Value> = ids.into_iter().map(Value::from).collect();
    let sql = "DELETE FROM data_file WHERE id IN ({})
               RETURNING id, object_key, byte_count, row_count, dataset, removed, in_tail";
    let mut by_dataset = BTreeMap::<String, Vec<Row>>::new();
    for file in tx.all_among(sql, &[], &ids).await? {
        by_dataset.entry(file.text("dataset")?).or_default().push(file);
    }
    for (dataset, files) in by_dataset {
        let (mut tail, mut objects, mut gone) = (Vec::new(), Vec::new(), 0_u64);
        for file in &files {
            let ended = file.int_or_null("removed")?.is_some();
            let removed = if ended { file.count("removed")? } else { 1 };
            gone = removed.max(gone);
            if file.int("in_tail")? == 1 {
                tail.push(file.text("id")?.into());
            } else {
                objects.extend_from_slice(&doomed(
                    workspace,
                    &read(file)?,
                    (removed, spare.ended_before),
                ));
            }
        }
        tx.insert(INSERT, COLUMNS, &objects, "ON CONFLICT DO NOTHING").await?;
        tail::forget(tx, &tail).await?;
        tail::leave(tx, &dataset, &files).await?;
        let sql = "UPDATE dataset SET horizon = $2 WHERE id = $1 AND horizon < $2";
        tx.execute(sql, args![dataset, horizon.unwrap_or(gone)]).await?;
    }
    Ok(())
}

pub(super) async fn leftovers(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    objects: &[Doomed],
    now: DateTime<Utc>,
) -> Result<(), CatalogError> {
    lock(tx, workspace).await?;
    for object in objects {
        let sql = "SELECT id FROM data_file WHERE object_key = $1";
        if tx.first(sql, args![object.key.as_str()]).await?.is_none() {
            let values = doomed(workspace, object, (0, now));
            tx.insert(INSERT, COLUMNS, &values, "ON CONFLICT DO NOTHING").await?;
        }
    }
    Ok(())
}

const INSERT: &str = "INSERT INTO retired_file
                      (object_key, workspace, byte_count, retired, retired_at, doomed)";

/// Values of one row of it.
const COLUMNS: usize = 6;

fn doomed(
    workspace: &WorkspaceId,
    object: &Doomed,
    (retired, at): (u64, DateTime<Utc>),
) -> [Value; COLUMNS] {
    let row: &[Value; COLUMNS] =
        args![object.key.as_str(), workspace.as_str(), object.bytes, retired, at, 1_u32];
    row.clone()
}

pub(super) async fn forget(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    keys: &[ObjectKey],
) -> Result<(), CatalogError> {
    let keys: Vec<Value> = keys.iter().map(|key| key.as_str().into()).collect();
    let sql = "DELETE FROM retired_file WHERE workspace = $1 AND doomed = 1 AND retired > 0
                   AND object_key IN ({})";
    tx.all_among(sql, args![workspace.as_str()], &keys).await?;
    // The name of a leftover stays: whoever wrote it may still be about to commit it.
    let sql = "UPDATE retired_file SET doomed = 2
               WHERE workspace = $1 AND doomed = 1 AND object_key IN ({})";
    tx.all_among(sql, args![workspace.as_str()], &keys).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Doomed, Error> {
    Ok(Doomed { key: ObjectKey::new(row.text("object_key")?), bytes: row.count("byte_count")? })
}
