//! Datasets, views, commits and data files: the store as a [`Catalog`].
//!
//! Each call is one transaction. A commit takes the workspace's head row first, so commits of one
//! workspace wait for each other and their numbers are dense; whatever it decides by is read after that.

mod batches;
mod commits;
mod datasets;
mod doom;
mod files;
mod group;
mod pins;
mod snapshot;
mod tail;
mod views;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::dataset::{
    Batch, Commit, Committed, DataFile, Dataset, IngestKey, KeepBasis, NewCommit, NewDataset,
    Snapshot, Unsealed, View,
};
use model::ports::{Catalog, CatalogError, Doomed, Pin, Spare};
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, WorkspaceId};

use crate::Store;
use crate::database::{Error, Row, Transaction, args, transact, truncate};
use crate::names::nearest;
pub(crate) use batches::no_batch;
pub(crate) use group::Queues;

/// Keeps commits and openings of runs of a workspace out until the transaction ends.
pub(crate) async fn lock(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<(), CatalogError> {
    doom::lock(tx, workspace).await
}

/// Makes appends to datasets that have their columns, together and as part of a transaction; `false` if something stands against one of them, and
/// then the transaction is to be undone.
pub(crate) async fn appends(
    tx: &mut Transaction,
    news: &[&NewCommit],
    now: DateTime<Utc>,
) -> Result<bool, CatalogError> {
    Ok(news.is_empty() || commits::appends(tx, news, now).await?.is_some())
}

/// Makes a commit as part of a transaction; `false` if it was made before, and then the transaction is to be undone.
pub(crate) async fn commit(
    tx: &mut Transaction,
    new: &NewCommit,
    now: DateTime<Utc>,
) -> Result<bool, CatalogError> {
    Ok(matches!(commits::commit(tx, new, now).await?, commits::Made::Now(_)))
}

#[async_trait]
impl Catalog for Store {
    async fn head(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<(CommitNumber, DateTime<Utc>)>, CatalogError> {
        head(&mut self.database.read().await?, workspace).await
    }

    async fn last_before(
        &self,
        workspace: &WorkspaceId,
        time: DateTime<Utc>,
    ) -> Result<CommitNumber, CatalogError> {
        last_before(&mut self.database.read().await?, workspace, time).await
    }

    async fn rows_between(
        &self,
        workspace: &WorkspaceId,
        range: (CommitNumber, CommitNumber),
    ) -> Result<u64, CatalogError> {
        rows_between(&mut self.database.read().await?, workspace, range).await
    }

    async fn create_dataset(
        &self,
        workspace: &WorkspaceId,
        new: &NewDataset,
        now: DateTime<Utc>,
    ) -> Result<Dataset, CatalogError> {
        transact!(self.database, CatalogError, |tx| datasets::create(tx, workspace, new, now))
    }

    async fn dataset(&self, workspace: &WorkspaceId, name: &str) -> Result<Dataset, CatalogError> {
        datasets::by_name(&mut self.database.glance().await?, workspace, name).await
    }

    async fn datasets(&self, workspace: &WorkspaceId) -> Result<Vec<Dataset>, CatalogError> {
        datasets::all(&mut self.database.read().await?, workspace).await
    }

    async fn drop_dataset(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| datasets::drop(tx, workspace, name, now))
    }

    async fn create_view(&self, workspace: &WorkspaceId, view: &View) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| views::create(tx, workspace, view))
    }

    async fn view(&self, workspace: &WorkspaceId, name: &str) -> Result<View, CatalogError> {
        views::by_name(&mut self.database.read().await?, workspace, name).await
    }

    async fn views(&self, workspace: &WorkspaceId) -> Result<Vec<View>, CatalogError> {
        views::all(&mut self.database.read().await?, workspace).await
    }

    async fn drop_view(&self, workspace: &WorkspaceId, name: &str) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| views::drop(tx, workspace, name))
    }

    async fn commit(&self, new: &NewCommit, now: DateTime<Utc>) -> Result<Committed, CatalogError> {
        self.queues.commit(&self.database, new, now).await
    }

    async fn key(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(Commit, IngestKey)>, CatalogError> {
        let tx = &mut self.database.read().await?;
        let dataset = datasets::by_name(tx, workspace, dataset).await?;
        let known = commits::by_key(tx, workspace, &dataset.id, key).await?;
        Ok(known.filter(|(_, key)| !key.is_forgotten(now)))
    }

    async fn pins(
        &self,
        workspace: &WorkspaceId,
        dataset: &DatasetId,
    ) -> Result<Vec<Pin>, CatalogError> {
        Ok(pins::of_dataset(&mut self.database.read().await?, workspace, dataset).await?)
    }

    async fn keep(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        days: Option<u32>,
        on: KeepBasis,
    ) -> Result<bool, CatalogError> {
        transact!(self.database, CatalogError, |tx| {
            datasets::keep(tx, workspace, dataset, days, on)
        })
    }

    async fn files(
        &self,
        dataset: &DatasetId,
        after: Option<&FileId>,
        limit: u32,
    ) -> Result<Vec<DataFile>, CatalogError> {
        Ok(files::page(&mut self.database.read().await?, dataset, after, limit).await?)
    }

    async fn doom(
        &self,
        workspace: &WorkspaceId,
        spare: &Spare,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        transact!(self.database, CatalogError, |tx| doom::doom(tx, workspace, spare, limit))
    }

    async fn doom_leftovers(
        &self,
        workspace: &WorkspaceId,
        objects: &[Doomed],
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| doom::leftovers(tx, workspace, objects, now))
    }

    async fn forget(
        &self,
        workspace: &WorkspaceId,
        keys: &[ObjectKey],
    ) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| doom::forget(tx, workspace, keys))
    }

    async fn batch(&self, workspace: &WorkspaceId, id: &BatchId) -> Result<Batch, CatalogError> {
        batches::by_id(&mut self.database.read().await?, workspace, id).await
    }

    async fn commits(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        after: CommitNumber,
        limit: u32,
    ) -> Result<Vec<Commit>, CatalogError> {
        let tx = &mut self.database.read().await?;
        let dataset = datasets::by_name(tx, workspace, dataset).await?;
        commits::of_dataset(tx, &dataset.id, after, limit).await
    }

    /// Takes a dataset's id too, also of a dropped one: a run that was opened before may go on.
    async fn snapshot_since(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: (CommitNumber, Option<CommitNumber>),
    ) -> Result<Snapshot, CatalogError> {
        snapshot::read(&mut self.database.read().await?, workspace, dataset, range).await
    }

    async fn tail(&self, files: &[FileId]) -> Result<Vec<Bytes>, CatalogError> {
        tail::read(&mut self.database.read().await?, files).await
    }

    async fn tail_files(&self, dataset: &DatasetId) -> Result<Vec<DataFile>, CatalogError> {
        Ok(files::in_tail(&mut self.database.read().await?, dataset).await?)
    }

    async fn unsealed(&self, dataset: &DatasetId) -> Result<Unsealed, CatalogError> {
        tail::unsealed(&mut self.database.glance().await?, dataset).await
    }
}

async fn head(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<Option<(CommitNumber, DateTime<Utc>)>, CatalogError> {
    let sql = "SELECT head, head_time FROM workspace WHERE id = $1";
    let row = tx.first(sql, args![workspace.as_str()]).await?;
    let row = row.ok_or_else(|| no_workspace(workspace))?;
    let number = CommitNumber(row.count("head")?);
    Ok(row.at_or_null("head_time")?.map(|time| (number, time)))
}

async fn last_before(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    time: DateTime<Utc>,
) -> Result<CommitNumber, CatalogError> {
    // Times never run against numbers, and what is asked for is mostly near the newest.
    let sql = "SELECT number FROM lake_commit WHERE workspace = $1 AND time < $2
               ORDER BY number DESC LIMIT 1";
    let row = tx.first(sql, args![workspace.as_str(), truncate(time)]).await?;
    Ok(CommitNumber(row.map(|row| row.count("number")).transpose()?.unwrap_or_default()))
}

async fn rows_between(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    (from, to): (CommitNumber, CommitNumber),
) -> Result<u64, CatalogError> {
    // A sum of BIGINT is NUMERIC on PostgreSQL.
    let sql = "SELECT CAST(COALESCE(SUM(row_count), 0) AS BIGINT) AS n FROM lake_commit
               WHERE workspace = $1 AND number > $2 AND number <= $3";
    Ok(tx.one(sql, args![workspace.as_str(), from.0, to.0]).await?.count("n")?)
}

fn no_workspace(workspace: &WorkspaceId) -> CatalogError {
    CatalogError::NotFound { what: "workspace", name: workspace.to_string(), nearest: None }
}

pub(crate) async fn check_workspace(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<(), CatalogError> {
    head(tx, workspace).await.map(|_| ())
}

/// Returns the error for a name that no live dataset (or view) has.
async fn no_relation(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    what: &'static str,
    name: &str,
) -> Result<CatalogError, CatalogError> {
    let sql = "SELECT name FROM relation_name WHERE workspace = $1 AND kind = $2";
    let names = texts(&tx.all(sql, args![workspace.as_str(), what]).await?, "name")?;
    Ok(CatalogError::NotFound { what, name: name.into(), nearest: nearest(name, names) })
}

/// Takes a name for a dataset or a view; `Exists` if another one has it.
async fn take_name(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
    dataset: Option<&str>,
) -> Result<(), CatalogError> {
    let kind = if dataset.is_some() { "dataset" } else { "view" };
    let sql = "INSERT INTO relation_name (workspace, name, kind, dataset)
               VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let values = args![workspace.as_str(), name, kind, dataset];
    if tx.execute(sql, values).await? == 1 {
        return Ok(());
    }
    let sql = "SELECT kind FROM relation_name WHERE workspace = $1 AND name = $2";
    let holder = tx.first(sql, args![workspace.as_str(), name]).await?;
    let is_view = match holder {
        Some(row) => row.text("kind")? == "view",
        None => dataset.is_none(),
    };
    let what = if is_view { "view" } else { "dataset" };
    Err(CatalogError::Exists { what, name: name.into() })
}

fn texts(rows: &[Row], column: &'static str) -> Result<Vec<String>, Error> {
    rows.iter().map(|row| row.text(column)).collect()
}
