//! Datasets that runs deliver into.

use async_trait::async_trait;

use crate::dataset::NewCommit;
use crate::failure::PortError;
use crate::format::Encoding;
use crate::ids::{BatchId, ObjectKey, WorkspaceId};
use crate::into::IntoDataset;
use crate::ports::Bind;
use crate::schema::Schema;

/// Takes what runs wrote below [`IntoDataset::folder`] into a dataset. It commits nothing: the ledger does, with the
/// seal of the run.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Checks, before anything is written, that a dataset can take what a relation gives: its name, its columns, the
    /// form of the files, and that the relation does not read it.
    async fn check(
        &self,
        into: &IntoDataset,
        bind: &Bind,
        form: (&Schema, &Encoding),
    ) -> Result<(), PortError>;

    /// Makes the commits that make files part of a dataset, one for each batch, from what the dataset is now; none if
    /// nothing would change. The ledger answers [`crate::ports::CatalogError::Moved`] if it was changed since: then it is to be made anew.
    async fn commits(
        &self,
        workspace: &WorkspaceId,
        into: &IntoDataset,
        (columns, arrivals): (&Schema, &[Arrival]),
    ) -> Result<Vec<NewCommit>, PortError>;
}

/// A file that a run has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it lies, relative to [`IntoDataset::folder`].
    pub key: ObjectKey,
    /// The batch that its rows are.
    pub batch: BatchId,
    /// Rows in it.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of it, bare lower-case hex.
    pub sha256: String,
}
