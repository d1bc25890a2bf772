//! A dataset as it was at a commit.
//!
//! All of it is read in one transaction that sees one state. A commit before the dataset was made gives
//! its first schema and no files.

use std::collections::BTreeMap;

use model::dataset::{Dataset, Snapshot};
use model::ports::CatalogError;
use model::schema::Schema;
use model::{CommitNumber, SchemaId, WorkspaceId};

use super::{datasets, files, head, no_relation};
use crate::database::{Error, Transaction, args};

/// The horizon of a dataset that was dropped and whose files are deleted.
pub(super) const NEVER: CommitNumber = CommitNumber(i64::MAX as u64);

pub(super) async fn read(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name_or_id: &str,
    (from, at): (CommitNumber, Option<CommitNumber>),
) -> Result<Snapshot, CatalogError> {
    let head = head(tx, workspace).await?.map_or(CommitNumber(0), |(number, _)| number);
    let at = at.unwrap_or(head);
    if at > head {
        let (name, newest) = (at.to_string(), Some(head.to_string()));
        return Err(CatalogError::NotFound { what: "commit", name, nearest: newest });
    }
    let Some(dataset) = find(tx, workspace, name_or_id).await? else {
        return Err(no_relation(tx, workspace, "dataset", name_or_id).await?);
    };
    let horizon = horizon(tx, &dataset).await?;
    if horizon == NEVER {
        return Err(no_relation(tx, workspace, "dataset", name_or_id).await?);
    }
    if at < horizon {
        return Err(CatalogError::Gone { asked: at, horizon });
    }
    let files = files::alive(tx, &dataset.id, (from, at)).await?;
    let mut steps = schemas(tx, &dataset, at).await?;
    let newest = steps.pop().map_or_else(|| dataset.schema.clone(), |(_, schema)| schema);
    let mut schemas: BTreeMap<_, _> = steps.into_iter().collect();
    schemas.insert(newest.id(), newest.clone());
    schemas.retain(|id, _| files.iter().any(|file| file.schema_id == *id));
    Ok(Snapshot { dataset: Dataset { schema: newest, ..dataset }, at, horizon, files, schemas })
}

async fn horizon(tx: &mut Transaction, dataset: &Dataset) -> Result<CommitNumber, Error> {
    let row =
        tx.one("SELECT horizon FROM dataset WHERE id = $1", args![dataset.id.as_str()]).await?;
    Ok(CommitNumber(row.count("horizon")?))
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name_or_id: &str,
) -> Result<Option<Dataset>, Error> {
    match datasets::find(tx, workspace, name_or_id).await? {
        Some(dataset) => Ok(Some(dataset)),
        None => datasets::find_by_id(tx, workspace, name_or_id).await,
    }
}

/// Returns the dataset's schemas up to a commit, oldest first.
async fn schemas(
    tx: &mut Transaction,
    dataset: &Dataset,
    at: CommitNumber,
) -> Result<Vec<(SchemaId, Schema)>, Error> {
    let sql =
        "SELECT id, body FROM dataset_schema WHERE dataset = $1 AND since <= $2 ORDER BY since";
    let rows = tx.all(sql, args![dataset.id.as_str(), at.0]).await?;
    rows.iter().map(|row| Ok((SchemaId::new(row.text("id")?), row.json("body")?))).collect()
}
