//! Datasets, views, commits and data files.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::dataset::{
    Batch, Commit, Committed, DataFile, Dataset, IngestKey, KeepBasis, NewCommit, NewDataset,
    Snapshot, Unsealed, View,
};
use crate::failure::{Code, Failure, Fault};
use crate::ids::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, RunId, WorkspaceId};

/// What the lake holds, in one total order of commits per workspace.
///
/// Every call is one short transaction; none is held across I/O of the caller. Commit times come from
/// the caller's clock and are raised to the previous commit's time where the clock ran back.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Returns the newest commit of the workspace and its time; `None` before the first.
    async fn head(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<(CommitNumber, DateTime<Utc>)>, CatalogError>;

    /// Returns the last commit before a time; 0 where there is none.
    async fn last_before(
        &self,
        workspace: &WorkspaceId,
        time: DateTime<Utc>,
    ) -> Result<CommitNumber, CatalogError>;

    /// Returns how many rows the commits of a range `(from, to]` have added to all datasets.
    async fn rows_between(
        &self,
        workspace: &WorkspaceId,
        range: (CommitNumber, CommitNumber),
    ) -> Result<u64, CatalogError>;

    /// Makes a dataset without rows. The name must be free among datasets and views.
    async fn create_dataset(
        &self,
        workspace: &WorkspaceId,
        new: &NewDataset,
        now: DateTime<Utc>,
    ) -> Result<Dataset, CatalogError>;

    /// Returns the dataset of that name.
    async fn dataset(&self, workspace: &WorkspaceId, name: &str) -> Result<Dataset, CatalogError>;

    /// Returns every dataset, by name.
    async fn datasets(&self, workspace: &WorkspaceId) -> Result<Vec<Dataset>, CatalogError>;

    /// Takes the dataset out of sight; its files stay for runs that pinned them. The name is free again.
    async fn drop_dataset(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError>;

    /// Makes a view. The name must be free among datasets and views.
    async fn create_view(&self, workspace: &WorkspaceId, view: &View) -> Result<(), CatalogError>;

    /// Returns the view of that name.
    async fn view(&self, workspace: &WorkspaceId, name: &str) -> Result<View, CatalogError>;

    /// Returns every view, by name.
    async fn views(&self, workspace: &WorkspaceId) -> Result<Vec<View>, CatalogError>;

    /// Removes a view.
    async fn drop_view(&self, workspace: &WorkspaceId, name: &str) -> Result<(), CatalogError>;

    /// Makes a commit: takes the workspace's head, assigns the next number, lists the files, closes the
    /// batch, steps the schema, ends files and batches, remembers the key. All in one transaction; durable
    /// when it returns.
    ///
    /// A repeat of a key with the same fingerprint changes nothing and returns the first commit.
    async fn commit(&self, new: &NewCommit, now: DateTime<Utc>) -> Result<Committed, CatalogError>;

    /// Returns the commit that a key of this dataset was used for, and the key as it was given, unless it is forgotten by now.
    async fn key(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(Commit, IngestKey)>, CatalogError>;

    /// Returns what is known of a batch.
    async fn batch(&self, workspace: &WorkspaceId, id: &BatchId) -> Result<Batch, CatalogError>;

    /// Returns what needs rows or files of a dataset: its exports that have delivered at all, and open runs
    /// that may read it.
    async fn pins(
        &self,
        workspace: &WorkspaceId,
        dataset: &DatasetId,
    ) -> Result<Vec<Pin>, CatalogError>;

    /// Sets after how many days rows are removed; `None` keeps them. Returns whether it did: not if it
    /// is built on something else than what holds.
    async fn keep(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        days: Option<u32>,
        on: KeepBasis,
    ) -> Result<bool, CatalogError>;

    /// Returns data files of a dataset that are in the lake, also those whose rows have ended, by id: up to
    /// `limit` after `after`.
    async fn files(
        &self,
        dataset: &DatasetId,
        after: Option<&FileId>,
        limit: u32,
    ) -> Result<Vec<DataFile>, CatalogError>;

    /// Takes out of the catalog what nobody needs any more, and returns objects that may be deleted, up to
    /// `limit`: also those of earlier calls that were not forgotten yet.
    ///
    /// Nobody needs a merged file that no run opened before may be reading, once it was merged before
    /// `spare.merged_before`; nor one whose rows ended, or whose dataset was dropped, before
    /// `spare.ended_before`, unless an open run reads a snapshot that shows them, or what was
    /// asked for since `spare.pinned_since` and not made, or hours of an enrolment that nobody has asked for yet. Snapshots that showed them are [`CatalogError::Gone`] from then on.
    async fn doom(
        &self,
        workspace: &WorkspaceId,
        spare: &Spare,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError>;

    /// Dooms those of the objects that nothing names. A commit that would name them is refused from then on.
    async fn doom_leftovers(
        &self,
        workspace: &WorkspaceId,
        objects: &[Doomed],
        now: DateTime<Utc>,
    ) -> Result<(), CatalogError>;

    /// Forgets doomed objects, which are deleted. The names of leftovers stay refused.
    async fn forget(&self, workspace: &WorkspaceId, keys: &[ObjectKey])
    -> Result<(), CatalogError>;

    /// Returns the commits that changed the dataset, oldest first, up to `limit` after `after`.
    async fn commits(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        after: CommitNumber,
        limit: u32,
    ) -> Result<Vec<Commit>, CatalogError>;

    /// Returns the dataset as it was at commit `at`, or at the head. `at` beyond the head is `NotFound`.
    async fn snapshot(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        at: Option<CommitNumber>,
    ) -> Result<Snapshot, CatalogError> {
        self.snapshot_since(workspace, dataset, (CommitNumber(0), at)).await
    }

    /// Returns the dataset as it was at a commit, or at the head, but of its files only those that may hold
    /// rows of commits after another one.
    ///
    /// Shape: the range is `(from, at]`; the schemas are those of the files.
    async fn snapshot_since(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: (CommitNumber, Option<CommitNumber>),
    ) -> Result<Snapshot, CatalogError>;

    /// Returns the bytes of files of the tail, in the order asked for; `Moved` if one has been sealed since.
    async fn tail(&self, files: &[FileId]) -> Result<Vec<Bytes>, CatalogError>;

    /// Returns the files of the tail of a dataset, also those whose rows have ended, in order.
    async fn tail_files(&self, dataset: &DatasetId) -> Result<Vec<DataFile>, CatalogError>;

    /// Returns how much of a dataset is in the tail.
    async fn unsealed(&self, dataset: &DatasetId) -> Result<Unsealed, CatalogError>;
}

/// What is too young to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Merged files that were merged since.
    pub merged_before: DateTime<Utc>,
    /// Files whose rows ended since.
    pub ended_before: DateTime<Utc>,
    /// What runs read that were opened since; an older one is given up.
    pub pinned_since: DateTime<Utc>,
    /// What sealed runs have read that were opened since.
    pub kept_since: DateTime<Utc>,
}

/// An object of the lake that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Where it lies.
    pub key: ObjectKey,
    /// Its bytes.
    pub bytes: u64,
}

/// Something that needs rows or files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// Who needs them.
    #[serde(flatten)]
    pub owner: PinOwner,
    /// An export needs every row of later commits; a run and a ticket need the snapshot at this one.
    pub at: CommitNumber,
    /// An export needs none after this one.
    pub until: Option<CommitNumber>,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Who needs rows or files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinOwner {
    /// The saved export of that name.
    Export(String),
    /// An open run.
    Run(RunId),
    /// What was asked for at a door and is not made yet, by door and key; the first of them.
    Ticket(String),
}

/// What went wrong in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The named thing does not exist.
    #[error("no {what} `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    NotFound {
        /// `dataset`, `view`, `commit`, `batch` or `workspace`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// The name is taken.
    #[error("the {what} `{name}` exists already")]
    Exists {
        /// `dataset` or `view`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The key was used with other content.
    #[error(
        "the key `{key}` was used before with other content, in commit {commit}; use a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The commit it was used for.
        commit: CommitNumber,
    },
    /// The batch has no commit yet.
    #[error("the batch `{batch}` is still open; there is nothing to take back yet")]
    Open {
        /// The batch.
        batch: BatchId,
    },
    /// The upload that a commit was to close is not as its writer saw it.
    #[error(
        "the files of batch `{batch}` changed while it was being closed, or it was abandoned; look at it and close it again"
    )]
    Reopened {
        /// The batch.
        batch: BatchId,
    },
    /// The batch's rows have ended.
    #[error(
        "the rows of batch `{batch}` ended in commit {commit}; there is nothing left to take back"
    )]
    TakenBack {
        /// The batch.
        batch: BatchId,
        /// The commit.
        commit: CommitNumber,
    },
    /// The snapshot's files are deleted.
    #[error(
        "commit {asked} can no longer be read: rows that ended up to commit {horizon} are deleted; \
         the oldest is {horizon}"
    )]
    Gone {
        /// The commit asked for.
        asked: CommitNumber,
        /// The oldest that can be read.
        horizon: CommitNumber,
    },
    /// The file waited so long for its commit that it counts as a leftover.
    #[error(
        "the data file `{file}` waited too long for its commit and is being deleted; import again"
    )]
    Swept {
        /// The file.
        file: ObjectKey,
    },
    /// The tail has no room for the rows.
    #[error(
        "{bytes} bytes of small commits wait to be sealed into data files, which is the most; \
         `compact` seals them"
    )]
    TailFull {
        /// Bytes in the tail of the dataset.
        bytes: u64,
    },
    /// Something that the caller saw has changed since; look again and repeat.
    #[error("the dataset changed while it was written to; try again")]
    Moved,
    /// The metadata database did not answer or refused.
    #[error("the metadata database failed: {reason}")]
    Database {
        /// What it said, safe to show.
        reason: String,
        /// Whether asking again may work.
        retry: bool,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure for CatalogError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } | Self::Gone { .. } => Code::NotFound,
            Self::Exists { .. }
            | Self::KeyReused { .. }
            | Self::Open { .. }
            | Self::Reopened { .. }
            | Self::TakenBack { .. }
            | Self::Swept { .. }
            | Self::Moved => Code::Conflict,
            Self::TailFull { .. } | Self::Database { retry: true, .. } => Code::Unavailable,
            Self::Database { .. } => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::KeyReused { .. }
            | Self::Open { .. }
            | Self::Reopened { .. }
            | Self::TakenBack { .. }
            | Self::Gone { .. } => Fault::Request,
            Self::Swept { .. } | Self::TailFull { .. } | Self::Moved | Self::Database { .. } => {
                Fault::Own
            }
        }
    }
}
