//! Work that one process does for all: the store as [`Duties`].

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::DatasetId;
use model::dataset::{Dataset, Unsealed};
use model::ports::{CatalogError, Duties};

use crate::database::{Error, Transaction, args, transact, truncate};
use crate::{Store, catalog};

#[async_trait]
impl Duties for Store {
    async fn take(&self, duty: &str, owner: &str, seconds: i64) -> Result<bool, CatalogError> {
        transact!(self.database, CatalogError, |tx| take(tx, duty, owner, seconds))
    }

    async fn every_dataset(
        &self,
        after: Option<&DatasetId>,
        limit: u32,
    ) -> Result<Vec<(Dataset, Unsealed)>, CatalogError> {
        Ok(catalog::every_dataset(&mut self.database.read().await?, after, limit).await?)
    }

    async fn forget_keys(&self, now: DateTime<Utc>, limit: u32) -> Result<u64, CatalogError> {
        transact!(self.database, CatalogError, |tx| forget_keys(tx, now, limit))
    }

    async fn leave(&self, duty: &str, owner: &str) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| leave(tx, duty, owner))
    }
}

async fn take(
    tx: &mut Transaction,
    duty: &str,
    owner: &str,
    seconds: i64,
) -> Result<bool, CatalogError> {
    let now = tx.clock().await?;
    let sql = "INSERT INTO duty (name, owner, until) VALUES ($1, $2, $3)
               ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
               WHERE duty.owner = excluded.owner OR duty.until <= $4";
    let until = now + seconds * 1_000_000;
    Ok(tx.execute(sql, args![duty, owner, until, now]).await? > 0)
}

async fn forget_keys(
    tx: &mut Transaction,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<u64, CatalogError> {
    let sql = "DELETE FROM ingest_key WHERE (dataset, key) IN
                   (SELECT dataset, key FROM ingest_key WHERE until <= $1 LIMIT $2)";
    Ok(tx.execute(sql, args![truncate(now), limit]).await?)
}

async fn leave(tx: &mut Transaction, duty: &str, owner: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM duty WHERE name = $1 AND owner = $2", args![duty, owner]).await?;
    Ok(())
}
