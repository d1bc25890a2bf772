//! Work that one process does for all that share a database.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::dataset::{Dataset, Unsealed};
use crate::ids::DatasetId;
use crate::ports::CatalogError;

/// Who does what, told by the database's clock, so that those of the processes do not matter.
#[async_trait]
pub trait Duties: Send + Sync {
    /// Takes a duty for so many seconds, or renews it; `false` while another owner has it.
    async fn take(&self, duty: &str, owner: &str, seconds: i64) -> Result<bool, CatalogError>;

    /// Returns datasets of every workspace and what of them is in the tail, up to `limit` after `after`.
    async fn every_dataset(
        &self,
        after: Option<&DatasetId>,
        limit: u32,
    ) -> Result<Vec<(Dataset, Unsealed)>, CatalogError>;

    /// Removes up to `limit` keys that are forgotten by now; returns how many there were.
    async fn forget_keys(&self, now: DateTime<Utc>, limit: u32) -> Result<u64, CatalogError>;

    /// Lets go of a duty, so that the next owner need not wait; fine if another one has it.
    async fn leave(&self, duty: &str, owner: &str) -> Result<(), CatalogError>;
}
