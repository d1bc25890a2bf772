//! Keeping the lake healthy: merging small files, taking rows back, removing old ones.
//!
//! Contract: [`Upkeep`]. Rows are only ever written anew, in their order and with the commits they belong
//! to; one commit then puts the new files in the place of the old ones. Files that are not in a commit in
//! the end are deleted. Another writer that was faster is noticed by the catalog and nothing is changed.

mod compact;
mod expire;
mod health;
mod rewrite;
mod seal;
mod sweep;
mod undo;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::dataset::{Commit, Committed, IngestKey, NewCommit, NewFile};
use model::ports::{
    CatalogError, Compacted, Damage, Expired, Health, Progress, Scrub, Swept, Upkeep,
};
use model::{BatchId, Code, CommitNumber, Failure, Fault, PortError, WorkspaceId};

use crate::Lake;
use crate::files::remove;

/// Times that a change is made anew while other writers change the dataset.
const TRIES: usize = 20;

#[async_trait]
impl Upkeep for Lake {
    async fn compact(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        progress: Arc<dyn Progress>,
    ) -> Result<Compacted, PortError> {
        compact::compact(self, workspace, dataset, &*progress).await
    }

    async fn tend(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        commit: CommitNumber,
    ) -> Result<Compacted, PortError> {
        compact::tend(self, workspace, dataset, commit).await
    }

    async fn revert(&self, workspace: &WorkspaceId, batch: &BatchId) -> Result<Commit, PortError> {
        undo::revert(self, workspace, batch).await
    }

    async fn health(&self, workspace: &WorkspaceId, dataset: &str) -> Result<Health, PortError> {
        health::health(self, workspace, dataset).await
    }

    async fn scrub(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        how: Scrub,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Damage>, PortError> {
        health::scrub(self, workspace, dataset, (how, &*progress)).await
    }

    async fn expire(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        before: DateTime<Utc>,
    ) -> Result<Expired, PortError> {
        expire::expire(self, workspace, dataset, before).await
    }

    async fn sweep(&self, workspace: &WorkspaceId) -> Result<Swept, PortError> {
        sweep::sweep(self, workspace).await
    }
}

/// What sending a commit came to.
enum Sent {
    Made(Commit),
    /// Somebody else was faster; nothing was done.
    Moved,
}

impl Lake {
    /// Sends a commit until it is answered, the very same each time: a key of its own makes a repeat after a
    /// lost answer harmless. Its files are deleted where it is certain that it was not made.
    async fn send(&self, mut new: NewCommit) -> Result<Sent, PortError> {
        let key = BatchId::mint();
        new.key = Some(IngestKey::new(key.as_str(), key.as_str()));
        let mut answer = self.catalog.commit(&new, self.clock.now()).await;
        for _ in 1..TRIES {
            let Err(CatalogError::Database { retry: true, .. }) = &answer else { break };
            answer = self.catalog.commit(&new, self.clock.now()).await;
        }
        match answer {
            Ok(Committed::New(commit) | Committed::Repeated(commit)) => Ok(Sent::Made(commit)),
            // It may have been made at any of the tries; what is left over is swept later.
            Err(source @ CatalogError::Database { .. }) => Err(Error::Unsettled { source }.into()),
            Err(error) => {
                self.discard(&new.files).await;
                match error {
                    CatalogError::Moved => Ok(Sent::Moved),
                    other => Err(other.into()),
                }
            }
        }
    }

    /// Deletes files that did not come into a commit.
    pub(crate) async fn discard(&self, files: &[NewFile]) {
        for file in files.iter().filter(|file| file.tail.is_none()) {
            remove(&self.objects, &file.key).await;
        }
    }
}

/// Nobody watches.
#[derive(Debug)]
struct Silent;

impl Progress for Silent {
    fn add(&self, _rows: u64, _bytes: u64) {}
}

/// Why the lake stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else merged the same files.
    #[error(
        "the dataset `{dataset}` was compacted or changed by another process meanwhile; nothing is lost, \
         try again"
    )]
    Overtaken {
        /// The dataset.
        dataset: String,
    },
    /// The dataset never stood still.
    #[error("the dataset `{dataset}` kept changing while rows were taken back; try again")]
    Busy {
        /// The dataset.
        dataset: String,
    },
    /// The tail never stood still.
    #[error("the small commits of `{dataset}` kept changing while they were sealed; try again")]
    Unsealed {
        /// The dataset.
        dataset: String,
    },
    /// An export has not delivered the rows yet.
    #[error(
        "the export `{export}` has delivered up to commit {cursor} and would lose {rows} rows that are \
         newer; run it first, or expire less"
    )]
    Pinned {
        /// The export.
        export: String,
        /// How far it has come.
        cursor: CommitNumber,
        /// Rows that it would never see.
        rows: u64,
    },
    /// The time column cannot be compared.
    #[error("the time column `{column}` of `{dataset}` is no time; nothing can be expired by it")]
    NotTime {
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
    },
    /// Nobody can tell whether the commit was made.
    #[error(
        "the metadata database did not say whether the change was committed; look at the dataset's \
         commits before you try again"
    )]
    Unsettled {
        /// The last answer.
        #[source]
        source: CatalogError,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Overtaken { .. }
            | Self::Busy { .. }
            | Self::Unsealed { .. }
            | Self::Pinned { .. } => Code::Conflict,
            Self::NotTime { .. } => Code::Invalid,
            Self::Unsettled { .. } => Code::Unavailable,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Overtaken { .. } | Self::Pinned { .. } | Self::NotTime { .. } => Fault::Request,
            Self::Busy { .. } | Self::Unsealed { .. } | Self::Unsettled { .. } => Fault::Own,
        }
    }
}
