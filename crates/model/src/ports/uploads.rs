//! Batches that are uploaded in files.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::failure::{Code, Failure, Fault};
use crate::ids::{BatchId, CommitNumber, ObjectKey, WorkspaceId};
use crate::limits::{IMPORT_FILES_MAX, UPLOAD_BYTES_MAX, UPLOADS_OPEN_MAX};
use crate::ports::CatalogError;
use crate::upload::{NewUpload, Noted, Upload, UploadFile};

/// Keeps what is known of uploads: never their bytes, but where these lie. Every call is one transaction.
///
/// An object is noted before its first byte, and forgotten after its last is gone, so that nothing lies anywhere that
/// nobody knows of. The commit that closes a batch ([`crate::dataset::NewCommit::reserved`]) is the catalog's; it makes all
/// objects of the batch spare.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Reserves the id of a batch.
    async fn reserve(
        &self,
        workspace: &WorkspaceId,
        new: &NewUpload,
        now: DateTime<Utc>,
    ) -> Result<(), UploadError>;

    /// Returns an upload; `None` if the batch came in another way.
    async fn upload(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
    ) -> Result<Option<Upload>, UploadError>;

    /// Notes an object that is about to be written for an open batch of this node. It is spare at
    /// [`Uploads::spare`]'s time unless it becomes a file.
    async fn begin_file(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
        object: (&str, &ObjectKey),
        now: DateTime<Utc>,
    ) -> Result<(), UploadError>;

    /// Makes a durable object a file of its open batch, in the place of the one of that name. The same bytes, too:
    /// those of before may be lost.
    async fn finish_file(
        &self,
        workspace: &WorkspaceId,
        batch: &BatchId,
        file: &UploadFile,
        now: DateTime<Utc>,
    ) -> Result<Noted, UploadError>;

    /// Gives an open batch up: its id means nothing any more, its objects are spare.
    async fn abandon(&self, workspace: &WorkspaceId, batch: &BatchId) -> Result<(), UploadError>;

    /// Gives open batches up that did not change since; returns how many, up to `limit`.
    async fn expire(&self, since: DateTime<Utc>, limit: u32) -> Result<u64, UploadError>;

    /// Returns objects of a node that nobody needs, up to `limit`. Those that were begun before, and are no files
    /// yet, never become any.
    async fn spare(
        &self,
        node: &str,
        begun_before: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ObjectKey>, UploadError>;

    /// Forgets objects that are deleted and are no files.
    async fn forget(&self, keys: &[ObjectKey]) -> Result<(), UploadError>;
}

/// What went wrong with uploads.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It has its commit.
    #[error("the batch `{batch}` was closed by commit {commit}; make another one for more files")]
    Closed {
        /// The batch.
        batch: BatchId,
        /// The commit.
        commit: CommitNumber,
    },
    /// Its files lie elsewhere.
    #[error("the batch `{batch}` is uploaded to another server; send this to the one that made it")]
    Elsewhere {
        /// The batch.
        batch: BatchId,
    },
    /// The object was given up, or never begun.
    #[error("the file `{file}` took too long to come; send it again")]
    Late {
        /// Its name.
        file: String,
    },
    /// One more would be too many.
    #[error(
        "the batch `{batch}` has {IMPORT_FILES_MAX} files, which is the most; close it and make another one"
    )]
    TooManyFiles {
        /// The batch.
        batch: BatchId,
    },
    /// Its files would be too large together.
    #[error(
        "the files of batch `{batch}` would have more than {UPLOAD_BYTES_MAX} bytes together; close it and make another one"
    )]
    TooManyBytes {
        /// The batch.
        batch: BatchId,
    },
    /// Too many are open.
    #[error(
        "the workspace has {UPLOADS_OPEN_MAX} open batches, which is the most; close or abandon some"
    )]
    TooManyOpen,
    /// There is no such batch, or the metadata database did not answer or refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Failure for UploadError {
    fn code(&self) -> Code {
        match self {
            Self::Closed { .. } | Self::Elsewhere { .. } => Code::Conflict,
            Self::Late { .. } => Code::Timeout,
            Self::TooManyFiles { .. } | Self::TooManyBytes { .. } => Code::TooLarge,
            Self::TooManyOpen => Code::RateLimited,
            Self::Catalog(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Catalog(error) => error.fault(),
            _ => Fault::Request,
        }
    }
}
