//! Rows in, rows out.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::dataset::{Commit, DatasetKind, Unsealed};
use crate::failure::PortError;
use crate::format::Encoding;
use crate::ids::{BatchId, CommitNumber, ObjectKey, RunId, WorkspaceId};
use crate::part::Input;
use crate::ports::EncodedStream;
use crate::relation::{BoundRelation, Relation};
use crate::schema::Schema;

/// Output rows with the input rows they came from.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The output rows. Columns have the types of the relation's output, but strings may have a dictionary.
    pub batch: RecordBatch,
    /// For each output row the number of input rows of the part up to and including it; ascending. So
    /// cutting the output after row `i` cuts the input after `read[i]` rows.
    pub read: Positions,
    /// Input rows of the part consumed when this batch is done, dropped ones behind the last included.
    pub read_after: u64,
}

/// See [`Rows::read`].
#[derive(Clone, Debug)]
pub enum Positions {
    /// No row was dropped: row `i` is input row `first + i`, so `first + i + 1` rows are read.
    Dense {
        /// Input rows before this batch.
        first: u64,
    },
    /// One entry per output row.
    Sparse(Vec<u64>),
}

impl Positions {
    /// Returns the number of input rows up to and including that of output row `row`.
    pub fn read(&self, row: usize) -> u64 {
        match self {
            Self::Dense { first } => first + row as u64 + 1,
            Self::Sparse(read) => read[row],
        }
    }
}

/// A stream of output rows in order. The input rows of the last batch's `read_after` are all of the part.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<Rows, PortError>> + Send>>;

/// A stream of query results.
pub type SqlStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, PortError>> + Send>>;

/// Whether a relation that does not map rows one by one may be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Only check it: nothing is written, and its rows stay unknown. What is bound is for a look only, since
    /// rows of the tail have no file yet.
    Check,
    /// Compute it and write its result. Rows of the tail become files first, so that parts name only files.
    Into {
        /// The run that needs it.
        run: RunId,
        /// The epoch of the holder: what another one staged is not its own.
        epoch: u64,
    },
}

/// A relation to be bound to a range of commits.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What is asked for.
    pub relation: Relation,
    /// The exclusive lower end: only rows first added after it. 0 takes all.
    pub from: CommitNumber,
    /// The inclusive upper end: the snapshot.
    pub to: CommitNumber,
    /// What `now()` means.
    pub now: DateTime<Utc>,
    /// Whether to compute what cannot be mapped row by row.
    pub stage: Stage,
}

/// A relation bound to a range of commits.
#[derive(Clone, Debug)]
pub struct Bound {
    /// How input rows become output rows.
    pub relation: BoundRelation,
    /// The input rows, in order, after pruning. Empty for an unstaged shuffle under `Stage::Check`.
    pub inputs: Vec<Input>,
    /// Whether it maps rows of one dataset one by one, which an incremental export needs.
    pub row_by_row: bool,
    /// The compression of all files, if the output is stored columns as they are, of every row: then Parquet of
    /// that compression may be copied.
    pub copies: Option<String>,
    /// Commits of kind replace or revert in the range.
    pub reset: Vec<CommitNumber>,
}

/// Input rows to be turned into output rows; needs no database.
#[derive(Clone, Debug)]
pub struct ReadTask {
    /// How.
    pub relation: Arc<BoundRelation>,
    /// Which.
    pub inputs: Vec<Input>,
}

/// Binds relations and reads them.
#[async_trait]
pub trait Relations: Send + Sync {
    /// Writes the rows of the tail that a relation reads as data files, so that a run opened afterwards does
    /// not have to.
    async fn seal(&self, bind: &Bind) -> Result<(), PortError>;

    /// Resolves names, types and ranges; refuses volatile functions; prunes files that cannot match.
    ///
    /// Incremental ranges (`from > 0`) need a relation that maps the rows of one dataset one by one.
    async fn bind(&self, bind: &Bind) -> Result<Bound, PortError>;

    /// Returns how many rows come out of a bound relation that was not computed, by running it.
    async fn count(&self, bind: &Bind) -> Result<u64, PortError>;

    /// Reads input rows in order. Touches no database for those of [`Stage::Into`].
    async fn read(&self, task: &ReadTask) -> Result<RowStream, PortError>;

    /// Returns the file of a part, made by copying what is stored; `None` if it has to be encoded. Which of
    /// them it is follows from task and encoding alone.
    async fn copy(
        &self,
        task: &ReadTask,
        encoding: &Encoding,
    ) -> Result<Option<EncodedStream>, PortError>;

    /// Removes what holders up to that epoch staged for a run; fine if there is nothing.
    async fn unstage(&self, run: &RunId, epoch: u64) -> Result<(), PortError>;
}

/// Hears how far something has come.
pub trait Progress: Send + Sync + fmt::Debug {
    /// Adds rows and bytes to what is done.
    fn add(&self, rows: u64, bytes: u64);
}

/// The form of input files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputFormat {
    /// By name and content.
    #[default]
    Auto,
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects, or objects one after another.
    Json,
    /// CSV with a header.
    Csv,
}

/// A file to be imported.
#[derive(Clone, Debug)]
pub struct ImportFile {
    /// What to call it in messages.
    pub name: String,
    /// What it holds.
    pub content: ImportContent,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub enum ImportContent {
    /// In a local file of any form and size.
    Path(PathBuf),
    /// Here: text, or gzip or zstd of text that comes to so many bytes at most.
    Text {
        /// The bytes.
        bytes: Bytes,
        /// The most that they may unpack to.
        text_bytes_max: u64,
    },
}

impl ImportFile {
    /// Names a local file.
    pub fn at(name: impl Into<String>, path: PathBuf) -> Self {
        Self { name: name.into(), content: ImportContent::Path(path) }
    }
}

/// An import: several files, one commit or none.
#[derive(Clone, Debug)]
pub struct Import {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The dataset's name; made if absent.
    pub dataset: String,
    /// The kind, if the dataset is made.
    pub kind: DatasetKind,
    /// The time column, if the dataset is made; text in it is read as time.
    pub time_column: Option<String>,
    /// The columns, if the dataset is made; inferred without.
    pub schema: Option<Schema>,
    /// The column of the files that says when each row was received elsewhere: kept as `received_at`, `timestamp(us, UTC)`, and as
    /// nothing else. Whole numbers are milliseconds; a row without a time there is bad.
    pub receive_time: Option<String>,
    /// Whether the rows come in as they happen: of canonical events the time of the commit is when they were received, and `received_at` stays empty whatever they
    /// say.
    pub live: bool,
    /// The files, in order.
    pub files: Vec<ImportFile>,
    /// Their form.
    pub format: InputFormat,
    /// What the rows come in place of; they are added without.
    pub replace: Option<Replace>,
    /// The batch that the rows become; minted without.
    pub batch: Option<Reserved>,
    /// Makes a repeat return the first answer.
    pub key: Option<String>,
    /// For how many days the key is known; for good without.
    pub key_days: Option<i64>,
    /// Import the good rows and write the bad ones, with reasons, to this file (JSON Lines).
    pub rejects: Option<PathBuf>,
}

/// A batch whose id was reserved before there were rows. It is closed by one import; a repeat returns the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Its id.
    pub id: BatchId,
    /// The version of its upload whose files are imported.
    pub version: u64,
}

/// What rows are put in place of, by the commit that adds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replace {
    /// Every row of the dataset.
    All,
    /// The rows of these batches.
    Batches(Vec<BatchId>),
}

/// What a compaction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The commits that sealed the tail and merged files, in order; none where there was nothing to do.
    pub commits: Vec<CommitNumber>,
    /// Rows that were in the tail.
    pub rows_sealed: u64,
    /// Data files that were merged.
    pub files_merged: u64,
    /// Data files written, for the tail too.
    pub files_written: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of the new files.
    pub bytes: u64,
}

/// What removing old rows came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// The commit; none where nothing was old.
    pub commit: Option<CommitNumber>,
    /// Rows removed.
    pub rows: u64,
}

/// What a sweep has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a dataset is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What is in the tail.
    pub tail: Unsealed,
    /// Data files by size, smallest first; sizes without files are left out.
    pub sizes: Vec<Size>,
    /// Files that a compaction would merge now, those of the tail included.
    pub mergeable: u64,
    /// Files that they would become.
    pub merged: u64,
    /// What needs its rows or files.
    pub pins: Vec<super::Pin>,
}

/// Data files of about one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Bytes that each has at most; none for the largest.
    pub up_to: Option<u64>,
    /// Files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrub {
    /// Whether they are there, with the size that the catalog says.
    Sizes,
    /// Every byte is read and summed.
    Sums,
}

/// A file of the lake that is not what the catalog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub key: ObjectKey,
    /// Rows in it.
    pub rows: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Keeps the lake healthy. No rows change but by what is asked; an export notices none of it.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Writes what is in the tail of a dataset as data files, and merges small ones with their neighbours.
    /// Every snapshot, count and increment stays what it was.
    async fn compact(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        progress: Arc<dyn Progress>,
    ) -> Result<Compacted, PortError>;

    /// Does of that what is due and little work: seals a tail that has become large or old, and merges small
    /// files where many of about one size lie side by side. To be called after an import, with its commit.
    async fn tend(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        commit: CommitNumber,
    ) -> Result<Compacted, PortError>;

    /// Removes the rows that are older than `before` by the dataset's time column, or by the time of their
    /// commit where it has none. Rows without a time stay. Refused where an export has yet to deliver some
    /// of them.
    async fn expire(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        before: DateTime<Utc>,
    ) -> Result<Expired, PortError>;

    /// Deletes data files that nobody needs any more, and nothing else.
    async fn sweep(&self, workspace: &WorkspaceId) -> Result<Swept, PortError>;

    /// Says how a dataset is kept, and what compaction would gain.
    async fn health(&self, workspace: &WorkspaceId, dataset: &str) -> Result<Health, PortError>;

    /// Looks at every file of a dataset, also of rows that have ended, and returns those that are damaged or
    /// missing.
    async fn scrub(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        how: Scrub,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Damage>, PortError>;

    /// Takes the rows of a batch back, in a commit of its own. What it replaced does not come back.
    async fn revert(&self, workspace: &WorkspaceId, batch: &BatchId) -> Result<Commit, PortError>;
}

/// What an import came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The dataset's name.
    pub dataset: String,
    /// Whether the dataset was made by it.
    pub created: bool,
    /// The commit.
    pub commit: CommitNumber,
    /// The commit's time.
    pub time: DateTime<Utc>,
    /// The batch; for a repeat that of the first time.
    pub batch: Option<BatchId>,
    /// Rows added.
    pub rows: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Where the rejected rows are.
    pub rejects: Option<PathBuf>,
    /// Whether the key was used before and nothing was done now.
    pub repeated: bool,
}

/// Takes files in.
#[async_trait]
pub trait Ingest: Send + Sync {
    /// Imports files in one commit. Durable when it returns; on an error nothing has changed.
    async fn import(
        &self,
        import: &Import,
        progress: Arc<dyn Progress>,
    ) -> Result<ImportReport, PortError>;
}

/// Answers SQL.
#[async_trait]
pub trait Query: Send + Sync {
    /// Runs one `SELECT` over the workspace's datasets and views at the head, bounded in memory, time and
    /// spilled bytes. The schema is known before the first row.
    async fn sql(
        &self,
        workspace: &WorkspaceId,
        sql: &str,
        now: DateTime<Utc>,
    ) -> Result<(Schema, SqlStream), PortError>;

    /// Checks that a view's text is one `SELECT` over known names; returns its columns.
    async fn check_view(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        sql: &str,
        now: DateTime<Utc>,
    ) -> Result<Schema, PortError>;
}
