//! What the lake holds: datasets, commits, batches and data files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, SchemaId, WorkspaceId};
use crate::schema::Schema;

/// The name of the virtual column that holds a row's commit number (`uint64`).
pub const COMMIT_COLUMN: &str = "_commit";

/// The name of the virtual column that holds the time of a row's commit (`timestamp(us, UTC)`).
pub const COMMIT_TIME_COLUMN: &str = "_commit_time";

/// Whether rows are events that are only appended, or fragments of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Appended rows.
    #[default]
    Event,
    /// Fragments of profiles, accounts or segments.
    Record,
}

impl DatasetKind {
    /// Returns the kind as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Record => "record",
        }
    }
}

/// A named table of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Stays the same for the dataset's life; a dropped name used again gets another id.
    pub id: DatasetId,
    /// The workspace it belongs to.
    pub workspace: WorkspaceId,
    /// The name, unique among the workspace's datasets and views.
    pub name: String,
    /// Events or records.
    pub kind: DatasetKind,
    /// The column that says when a row happened, if there is one.
    pub time_column: Option<String>,
    /// The newest schema; no fields before the first import without a given schema.
    pub schema: Schema,
    /// Days after which rows are removed, where upkeep is done; for ever without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A dataset that a commit creates, or that `dataset create` makes.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDataset {
    /// The id minted for it.
    pub id: DatasetId,
    /// The name.
    pub name: String,
    /// Events or records.
    pub kind: DatasetKind,
    /// The time column, if there is one.
    pub time_column: Option<String>,
    /// The schema it starts with.
    pub schema: Schema,
}

/// A named SQL query over datasets and other views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The name, unique among the workspace's datasets and views.
    pub name: String,
    /// One `SELECT`.
    pub sql: String,
    /// The time column that `--since` and `--until` use.
    pub time_column: Option<String>,
    /// Whether a window applies to the rows that go in or that come out.
    pub window: Window,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Where a view's time window applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// To the rows of the datasets that the view reads, before it aggregates.
    Input,
    /// To the rows that the view returns.
    #[default]
    Output,
}

/// What a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitKind {
    /// Adds rows.
    Append,
    /// Adds rows in place of others.
    Replace,
    /// Takes a batch back.
    Revert,
    /// Removes a person's rows.
    Erase,
    /// Rewrites files; adds and removes no rows.
    Compact,
    /// Removes old rows.
    Expire,
    /// Only fixes a time.
    Mark,
}

impl CommitKind {
    /// Returns the kind as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Revert => "revert",
            Self::Erase => "erase",
            Self::Compact => "compact",
            Self::Expire => "expire",
            Self::Mark => "mark",
        }
    }
}

/// One atomic change of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its place in the workspace's order.
    pub number: CommitNumber,
    /// `max(previous, clock)`: never runs against the number.
    pub time: DateTime<Utc>,
    /// What it does.
    pub kind: CommitKind,
    /// The dataset it changes; none for a mark.
    pub dataset: Option<DatasetId>,
    /// The batches it closes.
    pub batches: Vec<BatchId>,
    /// Rows added.
    pub rows: u64,
    /// Bytes of the files added, those in the tail included.
    pub bytes: u64,
    /// Data files added; none for a small commit, whose rows go to the tail.
    pub files: u64,
    /// Rows that ended with it.
    pub rows_removed: u64,
    /// Files that ended with it, or were merged by it.
    pub files_removed: u64,
}

/// What came in together and can be taken back together: the rows of one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// The dataset, if it is known yet.
    pub dataset: Option<DatasetId>,
    /// The commit that closed it; none while it is open.
    pub commit: Option<CommitNumber>,
    /// The commit that took its rows back, if one did.
    pub taken_back: Option<CommitNumber>,
}

/// From `first_row` of a file on, rows belong to `commit`, until the next entry's first row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRun {
    /// The commit.
    pub commit: CommitNumber,
    /// The commit's time.
    pub time: DateTime<Utc>,
    /// The first row of the file that belongs to it.
    pub first_row: u64,
}

/// Returns the entries that rows `[first_row, end)` of a file need; the first may begin before them.
///
/// ```
/// # use model::dataset::{CommitRun, runs_within};
/// # let at = |commit, first_row| CommitRun {
/// #     commit: model::CommitNumber(commit), time: Default::default(), first_row };
/// let runs = [at(1, 0), at(2, 10), at(3, 20)];
/// assert_eq!(runs_within(&runs, 12, 20), [at(2, 10)]);
/// assert_eq!(runs_within(&runs, 5, 25), runs);
/// assert!(runs_within(&[], 5, 25).is_empty());
/// ```
pub fn runs_within(runs: &[CommitRun], first_row: u64, end: u64) -> &[CommitRun] {
    let begin = runs.partition_point(|run| run.first_row <= first_row).saturating_sub(1);
    let end = runs.partition_point(|run| run.first_row < end);
    &runs[begin.min(end)..end]
}

/// Least and greatest value and the number of nulls of one column of a file.
///
/// Shape: values as JSON numbers, or strings for text and timestamps; absent where not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// The least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<serde_json::Value>,
    /// The greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<serde_json::Value>,
    /// Rows without a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<u64>,
}

/// An immutable Parquet object of the lake that is written and durable but not yet committed, or the rows of
/// a small commit.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFile {
    /// The id minted for it.
    pub id: FileId,
    /// The batch its rows came in.
    pub batch: BatchId,
    /// Where it lies in the lake's object store.
    pub key: ObjectKey,
    /// The schema its columns have.
    pub schema_id: SchemaId,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the object, bare lower-case hex.
    pub sha256: String,
    /// The compression codec of its column chunks (`zstd`, `snappy`).
    pub codec: String,
    /// Statistics of top-level columns.
    pub statistics: BTreeMap<String, ColumnStatistics>,
    /// The order of arrival among files with the same first commit.
    pub place: u64,
    /// Which earlier commit each of its rows belongs to, where rows are only written anew; empty for rows
    /// that the commit itself adds.
    pub runs: Vec<CommitRun>,
    /// The bytes of a file of the tail, which is kept inside the metadata database; none for a data file.
    pub tail: Option<Bytes>,
}

/// A data file as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its id.
    pub id: FileId,
    /// The dataset whose rows it holds.
    pub dataset: DatasetId,
    /// The batch its rows came in.
    pub batch: BatchId,
    /// Where it lies in the lake's object store.
    pub key: ObjectKey,
    /// The schema its columns have.
    pub schema_id: SchemaId,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the object, bare lower-case hex.
    pub sha256: String,
    /// The compression codec of its column chunks.
    pub codec: String,
    /// The commit from which on it stands for its rows. A snapshot shows only those of its rows whose own
    /// commits it has reached, so a merged file stands for the files it came from at any commit.
    pub added: CommitNumber,
    /// The order of arrival among files with the same first commit.
    pub place: u64,
    /// The commit that removed it, if one did.
    pub removed: Option<CommitNumber>,
    /// Which commit each of its rows belongs to; never empty, first entry at row 0.
    pub runs: Vec<CommitRun>,
    /// Statistics of top-level columns.
    pub statistics: BTreeMap<String, ColumnStatistics>,
    /// Whether it is in the tail: its bytes are in the metadata database, and no object has its key.
    pub in_tail: bool,
}

/// What a change of how a dataset is kept is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepBasis {
    /// Whatever holds.
    Anything,
    /// Rows are kept for so many days until now, or for good.
    Days(Option<u32>),
}

/// What of a dataset is in the tail, rows that have ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unsealed {
    /// Files, one for each small commit.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them came; none where there are none.
    pub since: Option<DateTime<Utc>>,
}

/// A dataset as it was right after commit `at`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The dataset, with the schema that it had at `at`.
    pub dataset: Dataset,
    /// The commit.
    pub at: CommitNumber,
    /// The oldest commit whose snapshot can be read.
    pub horizon: CommitNumber,
    /// The files alive at `at`, in the order of their first commit, then of arrival.
    pub files: Vec<DataFile>,
    /// Every schema that one of the files has.
    pub schemas: BTreeMap<SchemaId, Schema>,
}

/// A change to be made by one commit. All of it happens or none of it.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What the commit does.
    pub kind: CommitKind,
    /// The dataset it changes.
    pub dataset: DatasetId,
    /// The dataset to be made by the same commit, if it does not exist yet. If another process made a
    /// dataset of that name first, the answer is [`crate::ports::CatalogError::Moved`].
    pub create: Option<NewDataset>,
    /// The schema the writer saw and the one the dataset has afterwards (the same, or more columns).
    /// If the dataset's schema is no longer the one seen, the answer is `Moved`.
    pub schema: Option<SchemaStep>,
    /// The batch that the commit closes.
    pub batch: Option<BatchId>,
    /// The version of the upload of that batch, if it is one. If it has another by now, or is abandoned, the answer
    /// is [`crate::ports::CatalogError::Reopened`].
    pub reserved: Option<u64>,
    /// Durable files to be added.
    pub files: Vec<NewFile>,
    /// The files that end with it. A `compact` commit only changes which files stand for the rows: what it
    /// removes is out of every snapshot, and what it adds is in all of theirs.
    pub remove: Removal,
    /// The batches whose rows end with it.
    pub take_back: Vec<BatchId>,
    /// Makes a repeat return the first answer.
    pub key: Option<IngestKey>,
}

impl NewCommit {
    /// Makes a commit that changes nothing yet.
    pub fn new(workspace: WorkspaceId, kind: CommitKind, dataset: DatasetId) -> Self {
        Self {
            workspace,
            kind,
            dataset,
            create: None,
            schema: None,
            batch: None,
            reserved: None,
            files: Vec::new(),
            remove: Removal::Nothing,
            take_back: Vec::new(),
            key: None,
        }
    }
}

/// Which files a commit ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    /// None.
    #[default]
    Nothing,
    /// These. If one of them has ended since it was seen, the answer is `Moved`.
    Files(Vec<FileId>),
    /// Every one that is alive, and with them every batch.
    All,
}

/// A step from one schema to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaStep {
    /// The schema that the writer saw.
    pub seen: SchemaId,
    /// The schema afterwards.
    pub next: Schema,
}

/// An idempotency key of an import, with what it was used for and what a repeat is told beside the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestKey {
    /// The client's key, unique in a dataset.
    pub key: String,
    /// SHA-256 over what was sent; the same key with another is refused.
    pub fingerprint: String,
    /// Rows that were left out.
    pub rejected: u64,
    /// Where they were written, if there are any.
    pub rejects: Option<PathBuf>,
    /// When it is forgotten, after which it is like new; never without.
    pub until: Option<DateTime<Utc>>,
}

impl IngestKey {
    /// Makes a key under which nothing was left out, and which is known for good.
    pub fn new(key: impl Into<String>, fingerprint: impl Into<String>) -> Self {
        let (key, fingerprint) = (key.into(), fingerprint.into());
        Self { key, fingerprint, rejected: 0, rejects: None, until: None }
    }

    /// Returns whether nobody remembers it.
    pub fn is_forgotten(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// What a commit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It was made now.
    New(Commit),
    /// The key was used before with the same content: the first answer. The caller's files are not
    /// part of the lake and may be deleted.
    Repeated(Commit),
}
