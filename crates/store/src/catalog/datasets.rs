//! Datasets and their schemas.
//!
//! A dropped dataset keeps its row, its schemas and its files; only its name is free again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use model::dataset::{Dataset, KeepBasis, NewCommit, NewDataset};
use model::ports::CatalogError;
use model::schema::Schema;
use model::{CommitNumber, DatasetId, SchemaId, WorkspaceId};

use super::{check_workspace, no_relation, take_name};
use crate::database::{Error, Row, Sql, Transaction, args, truncate};

/// The columns of a dataset with its newest schema.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT d.id, d.workspace, d.name, d.kind, d.time_column, d.keep_days,
                 d.created_at,
                 s.body AS schema_body
             FROM dataset d JOIN dataset_schema s ON s.dataset = d.id AND s.since = d.schema_since ",
            $tail
        )
    };
}

pub(super) async fn create(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    new: &NewDataset,
    now: DateTime<Utc>,
) -> Result<Dataset, CatalogError> {
    check_workspace(tx, workspace).await?;
    let now = truncate(now);
    insert(tx, workspace, new, now).await?;
    take_name(tx, workspace, &new.name, Some(new.id.as_str())).await?;
    Ok(Dataset {
        id: new.id.clone(),
        workspace: workspace.clone(),
        name: new.name.clone(),
        kind: new.kind,
        time_column: new.time_column.clone(),
        schema: new.schema.clone(),
        keep_days: None,
        created_at: now,
    })
}

async fn insert(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    new: &NewDataset,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let schema = new.schema.id();
    let sql = "INSERT INTO dataset
               (id, workspace, name, kind, time_column, schema_id, schema_since, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, 0, $7)";
    let (id, kind) = (new.id.as_str(), new.kind.as_str());
    let values = args![
        id,
        workspace.as_str(),
        &new.name,
        kind,
        new.time_column.as_deref(),
        schema.as_str(),
        now
    ];
    tx.execute(sql, values).await?;
    insert_schema(tx, &new.id, CommitNumber(0), &new.schema).await
}

pub(super) async fn by_name(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Dataset, CatalogError> {
    match find(tx, workspace, name).await? {
        Some(dataset) => Ok(dataset),
        None => Err(no_relation(tx, workspace, "dataset", name).await?),
    }
}

/// Returns the live dataset of that name.
pub(super) async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Option<Dataset>, Error> {
    let sql = select!("WHERE d.workspace = $1 AND d.name = $2 AND d.dropped_at IS NULL");
    let row = tx.first(sql, args![workspace.as_str(), name]).await?;
    row.as_ref().map(read).transpose()
}

/// Returns the dataset of that id, dropped or not.
pub(super) async fn find_by_id(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<Option<Dataset>, Error> {
    let sql = select!("WHERE d.workspace = $1 AND d.id = $2");
    let row = tx.first(sql, args![workspace.as_str(), id]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn all(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<Vec<Dataset>, CatalogError> {
    let sql = select!("WHERE d.workspace = $1 AND d.dropped_at IS NULL");
    let rows = tx.all(sql, args![workspace.as_str()]).await?;
    let mut datasets: Vec<_> = rows.iter().map(read).collect::<Result<_, _>>()?;
    // Sorted here, by code point: a server sorts by its own locale.
    datasets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(datasets)
}

pub(super) async fn drop(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
    now: DateTime<Utc>,
) -> Result<(), CatalogError> {
    let sql = "UPDATE dataset SET dropped_at = $3
               WHERE workspace = $1 AND name = $2 AND dropped_at IS NULL";
    if tx.execute(sql, args![workspace.as_str(), name, now]).await? == 0 {
        return Err(no_relation(tx, workspace, "dataset", name).await?);
    }
    let sql = "DELETE FROM relation_name WHERE workspace = $1 AND name = $2 AND kind = 'dataset'";
    tx.execute(sql, args![workspace.as_str(), name]).await?;
    Ok(())
}

pub(super) async fn keep(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
    days: Option<u32>,
    on: KeepBasis,
) -> Result<bool, CatalogError> {
    // 0 days are none at all; negative ones stand for whatever there is.
    let seen = match on {
        KeepBasis::Anything => -1,
        KeepBasis::Days(days) => days.map_or(0, i64::from),
    };
    let sql = "UPDATE dataset SET keep_days = $3
               WHERE workspace = $1 AND name = $2 AND dropped_at IS NULL
                   AND ($4 < 0 OR COALESCE(keep_days, 0) = $4)";
    let values = args![workspace.as_str(), name, days.map(u64::from), seen];
    if tx.execute(sql, values).await? > 0 {
        return Ok(true);
    }
    match find(tx, workspace, name).await? {
        Some(_) => Ok(false),
        None => Err(no_relation(tx, workspace, "dataset", name).await?),
    }
}

/// What a commit must know of the dataset it changes.
pub(super) struct Held {
    /// The id of its newest schema.
    pub(super) schema_id: String,
    /// Whether it was dropped.
    pub(super) dropped: bool,
}

/// Locks the dataset until the transaction ends, so that it is not dropped meanwhile.
pub(super) async fn hold(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &DatasetId,
) -> Result<Option<Held>, Error> {
    let sql = "SELECT schema_id, dropped_at FROM dataset WHERE workspace = $1 AND id = $2";
    let row = tx.first(Sql::for_update(sql), args![workspace.as_str(), id.as_str()]).await?;
    let Some(row) = row else { return Ok(None) };
    let dropped = row.int_or_null("dropped_at")?.is_some();
    Ok(Some(Held { schema_id: row.text("schema_id")?, dropped }))
}

/// Locks the datasets of appends; returns whether each is there with the columns that its append has seen.
pub(super) async fn take(tx: &mut Transaction, news: &[&NewCommit]) -> Result<bool, Error> {
    let mut held = BTreeMap::new();
    for new in news {
        if !held.contains_key(&new.dataset) {
            held.insert(&new.dataset, hold(tx, &new.workspace, &new.dataset).await?);
        }
    }
    let fits = |new: &&NewCommit| {
        let Some(Some(held)) = held.get(&new.dataset) else { return false };
        let known = |schema: &SchemaId| schema.as_str() == held.schema_id;
        !held.dropped
            && new.schema.as_ref().is_some_and(|step| known(&step.seen))
            && new.files.iter().all(|file| known(&file.schema_id))
    };
    Ok(news.iter().all(fits))
}

/// Makes `schema` the dataset's schema from commit `since` on.
pub(super) async fn step(
    tx: &mut Transaction,
    id: &DatasetId,
    since: CommitNumber,
    schema: &Schema,
) -> Result<(), Error> {
    insert_schema(tx, id, since, schema).await?;
    let sql = "UPDATE dataset SET schema_id = $2, schema_since = $3 WHERE id = $1";
    tx.execute(sql, args![id.as_str(), schema.id().as_str(), since.0]).await?;
    Ok(())
}

async fn insert_schema(
    tx: &mut Transaction,
    id: &DatasetId,
    since: CommitNumber,
    schema: &Schema,
) -> Result<(), Error> {
    let body = serde_json::to_string(schema).expect("a schema has only string keys");
    let sql = "INSERT INTO dataset_schema (dataset, since, id, body) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![id.as_str(), since.0, schema.id().as_str(), body]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Dataset, Error> {
    Ok(Dataset {
        id: DatasetId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        name: row.text("name")?,
        kind: row.word("kind")?,
        time_column: row.text_or_null("time_column")?,
        schema: row.json("schema_body")?,
        keep_days: row.int_or_null("keep_days")?.map(|_| row.count("keep_days")).transpose()?,
        created_at: row.at("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use model::dataset::{CommitKind, DatasetKind};

    use crate::database::word;

    #[test]
    fn words_are_what_the_model_writes() {
        for kind in [DatasetKind::Event, DatasetKind::Record] {
            assert_eq!(word(&kind), kind.as_str());
        }
        for kind in [CommitKind::Append, CommitKind::Compact, CommitKind::Mark] {
            assert_eq!(word(&kind), kind.as_str());
        }
    }
}
