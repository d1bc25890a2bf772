//! Uploads: batches whose id is known before their rows, and whose files come one by one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::dataset::DatasetKind;
use crate::ids::{BatchId, CommitNumber, ObjectKey};
use crate::ports::{InputFormat, Replace};

/// What becomes of the files of a batch when it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The dataset's name; made if absent.
    pub dataset: String,
    /// The kind, if the dataset is made.
    pub kind: DatasetKind,
    /// The time column, if the dataset is made.
    pub time_column: Option<String>,
    /// The form of the files.
    pub format: InputFormat,
    /// What the rows come in place of; they are added without.
    pub replace: Option<Replace>,
    /// The column that says when rows were received elsewhere, as in an import.
    #[serde(default)]
    pub receive_time: Option<String>,
}

/// A batch to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// The id minted for it.
    pub batch: BatchId,
    /// What becomes of it.
    pub terms: Terms,
    /// Which data folder takes its files.
    pub node: String,
}

/// A batch that is uploaded, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The batch.
    pub batch: BatchId,
    /// What becomes of it.
    pub terms: Terms,
    /// Which data folder takes its files.
    pub node: String,
    /// Grows with each change of its files.
    pub version: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its files, by name.
    pub files: Vec<UploadFile>,
    /// The commit that closed it; none while it is open.
    pub closed: Option<Closed>,
}

/// A file of a batch, whole and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadFile {
    /// Its name, unique in the batch; the order of the names is that of the rows.
    pub name: String,
    /// Its bytes, as they were sent.
    pub bytes: u64,
    /// Their SHA-256, bare lower-case hex.
    pub sha256: String,
    /// Where they lie in the data folder, until the batch is closed.
    pub key: ObjectKey,
}

/// What closing a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The commit.
    pub commit: CommitNumber,
    /// Its time.
    pub time: DateTime<Utc>,
    /// Rows added.
    pub rows: u64,
}

/// What noting a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Whether the batch had no file of the name.
    pub is_new: bool,
    /// The bytes that were replaced.
    pub spare: Option<ObjectKey>,
}
