//! The real catalog behind a line that loses answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::dataset::{
    Batch, Commit, Committed, DataFile, Dataset, IngestKey, KeepBasis, NewCommit, NewDataset,
    Snapshot, Unsealed, View,
};
use model::ports::{Catalog, CatalogError, Doomed, Pin, Spare};
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, WorkspaceId};
use store::Store;

/// What becomes of the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is answered.
    Nothing,
    /// It does not arrive.
    Before,
    /// It is made, and its answer does not arrive.
    After,
}

/// A catalog over a bad line.
pub(crate) struct Line {
    inner: Arc<Store>,
    next: AtomicU8,
}

impl Line {
    pub(crate) fn new(inner: Arc<Store>) -> Self {
        Self { inner, next: AtomicU8::new(Lost::Nothing as u8) }
    }

    /// Decides what becomes of the next commit.
    pub(crate) fn lose(&self, what: Lost) {
        self.next.store(what as u8, Ordering::SeqCst);
    }
}

#[async_trait]
impl Catalog for Line {
    async fn head(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<(CommitNumber, DateTime<Utc>)>, CatalogError> {
        Catalog::head(&*self.inner, workspace).await
    }

    async fn last_before(
        &self,
        workspace: &WorkspaceId,
        time: DateTime<Utc>,
    ) -> Result<CommitNumber, CatalogError> {
        Catalog::last_before(&*self.inner, workspace, time).await
    }

    async fn rows_between(
        &self,
        workspace: &WorkspaceId,
        range: (CommitNumber, CommitNumber),
    ) -> Result<u64, CatalogError> {
        Catalog::rows_between(&*self.inner, workspace, range).await
    }

    async fn create_dataset(
        &self,
        workspace: &WorkspaceId,
        new: &NewDataset,
        now: DateTime<Utc>,
    ) -> Result<Dataset, CatalogError> {
        Catalog::create_dataset(&*self.inner, workspace, new, now).await
    }

    async fn dataset(&self, workspace: &WorkspaceId, name: &str) -> Result<Dataset, CatalogError> {
        Catalog::dataset(&*self.inner, workspace, name).await
    }

    async fn datasets(&self, workspace: &WorkspaceId) -> Result<Vec<Dataset>, CatalogError> {
        Catalog::datasets(&*self.inner, workspace).await
    }

    async fn drop_dataset(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        Catalog::drop_dataset(&*self.inner, workspace, name, now).await
    }

    async fn create_view(&self, workspace: &WorkspaceId, view: &View) -> Result<(), CatalogError> {
        Catalog::create_view(&*self.inner, workspace, view).await
    }

    async fn view(&self, workspace: &WorkspaceId, name: &str) -> Result<View, CatalogError> {
        Catalog::view(&*self.inner, workspace, name).await
    }

    async fn views(&self, workspace: &WorkspaceId) -> Result<Vec<View>, CatalogError> {
        Catalog::views(&*self.inner, workspace).await
    }

    async fn drop_view(&self, workspace: &WorkspaceId, name: &str) -> Result<(), CatalogError> {
        Catalog::drop_view(&*self.inner, workspace, name).await
    }

    async fn commit(&self, new: &NewCommit, now: DateTime<Utc>) -> Result<Committed, CatalogError> {
        let lost = || CatalogError::Database {
            reason: "the answer was lost".into(),
            retry: true,
            source: "told to lose it".into(),
        };
        match self.next.swap(Lost::Nothing as u8, Ordering::SeqCst) {
            before if before == Lost::Before as u8 => Err(lost()),
            after if after == Lost::After as u8 => {
                self.inner.commit(new, now).await?;
                Err(lost())
            }
            _ => self.inner.commit(new, now).await,
        }
    }

    async fn key(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(Commit, IngestKey)>, CatalogError> {
        Catalog::key(&*self.inner, workspace, dataset, key, now).await
    }

    async fn batch(&self, workspace: &WorkspaceId, id: &BatchId) -> Result<Batch, CatalogError> {
        Catalog::batch(&*self.inner, workspace, id).await
    }

    async fn pins(
        &self,
        workspace: &WorkspaceId,
        dataset: &DatasetId,
    ) -> Result<Vec<Pin>, CatalogError> {
        Catalog::pins(&*self.inner, workspace, dataset).await
    }

    async fn keep(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        days: Option<u32>,
        on: KeepBasis,
    ) -> Result<bool, CatalogError> {
        Catalog::keep(&*self.inner, workspace, dataset, days, on).await
    }

    async fn files(
        &self,
        dataset: &DatasetId,
        after: Option<&FileId>,
        limit: u32,
    ) -> Result<Vec<DataFile>, CatalogError> {
        Catalog::files(&*self.inner, dataset, after, limit).await
    }

    async fn doom(
        &self,
        workspace: &WorkspaceId,
        spare: &Spare,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        Catalog::doom(&*self.inner, workspace, spare, limit).await
    }

    async fn doom_leftovers(
        &self,
        workspace: &WorkspaceId,
        objects: &[Doomed],
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        Catalog::doom_leftovers(&*self.inner, workspace, objects, now).await
    }

    async fn forget(
        &self,
        workspace: &WorkspaceId,
        keys: &[ObjectKey],
    ) -> Result<(), CatalogError> {
        Catalog::forget(&*self.inner, workspace, keys).await
    }

    async fn commits(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        after: CommitNumber,
        limit: u32,
    ) -> Result<Vec<Commit>, CatalogError> {
        Catalog::commits(&*self.inner, workspace, dataset, after, limit).await
    }

    async fn snapshot_since(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: (CommitNumber, Option<CommitNumber>),
    ) -> Result<Snapshot, CatalogError> {
        Catalog::snapshot_since(&*self.inner, workspace, dataset, range).await
    }

    async fn tail(&self, files: &[FileId]) -> Result<Vec<Bytes>, CatalogError> {
        Catalog::tail(&*self.inner, files).await
    }

    async fn tail_files(&self, dataset: &DatasetId) -> Result<Vec<DataFile>, CatalogError> {
        Catalog::tail_files(&*self.inner, dataset).await
    }

    async fn unsealed(&self, dataset: &DatasetId) -> Result<Unsealed, CatalogError> {
        Catalog::unsealed(&*self.inner, dataset).await
    }
}
