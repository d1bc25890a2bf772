//! Brings a database to the version of this program.
//!
//! Contract: numbered migrations run in order, all in one transaction under a lock, so that any number
//! of processes may open a new database at once. A database that a newer program made is refused before
//! anything is written. Migrations never go back.

use crate::database::{Database, Error, Transaction, args};
use crate::{OpenError, database};

/// A step from one version to the next.
struct Migration {
    version: i64,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Every step, oldest first. One text serves both databases wherever they allow it.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sqlite: include_str!("../migrations/0001_lake_and_ledger.sql"),
        postgres: include_str!("../migrations/0001_lake_and_ledger.sql"),
    },
    Migration {
        version: 2,
        sqlite: include_str!("../migrations/0002_answers_of_keys.sql"),
        postgres: include_str!("../migrations/0002_answers_of_keys.sql"),
    },
    Migration {
        version: 3,
        sqlite: include_str!("../migrations/0003_removal.sql"),
        postgres: include_str!("../migrations/0003_removal.sql"),
    },
    Migration {
        version: 4,
        sqlite: include_str!("../migrations/0004_tail.sql"),
        postgres: include_str!("../migrations/0004_tail.sql"),
    },
    Migration {
        version: 5,
        sqlite: include_str!("../migrations/0005_retention.sql"),
        postgres: include_str!("../migrations/0005_retention.sql"),
    },
    Migration {
        version: 6,
        sqlite: include_str!("../migrations/0006_access.sql"),
        postgres: include_str!("../migrations/0006_access.sql"),
    },
    Migration {
        version: 7,
        sqlite: include_str!("../migrations/0007_runs_over_http.sql"),
        postgres: include_str!("../migrations/0007_runs_over_http.sql"),
    },
    Migration {
        version: 8,
        sqlite: include_str!("../migrations/0008_destinations.sql"),
        postgres: include_str!("../migrations/0008_destinations.sql"),
    },
    Migration {
        version: 9,
        sqlite: include_str!("../migrations/0009_documents.sql"),
        postgres: include_str!("../migrations/0009_documents.sql"),
    },
    Migration {
        version: 10,
        sqlite: include_str!("../migrations/0010_uploads.sql"),
        postgres: include_str!("../migrations/0010_uploads.sql"),
    },
    Migration {
        version: 11,
        sqlite: include_str!("../migrations/0011_keys_that_lapse.sql"),
        postgres: include_str!("../migrations/0011_keys_that_lapse.sql"),
    },
    Migration {
        version: 12,
        sqlite: include_str!("../migrations/0012_jobs.sql"),
        postgres: include_str!("../migrations/0012_jobs.sql"),
    },
    Migration {
        version: 13,
        sqlite: include_str!("../migrations/0013_links.sql"),
        postgres: include_str!("../migrations/0013_links.sql"),
    },
    Migration {
        version: 14,
        sqlite: include_str!("../migrations/0014_reruns.sql"),
        postgres: include_str!("../migrations/0014_reruns.sql"),
    },
    Migration {
        version: 15,
        sqlite: include_str!("../migrations/0015_groups.sql"),
        postgres: include_str!("../migrations/0015_groups.sql"),
    },
    Migration {
        version: 16,
        sqlite: include_str!("../migrations/0016_backfill.sql"),
        postgres: include_str!("../migrations/0016_backfill.sql"),
    },
];

/// Taken on PostgreSQL while migrating; the letters `sluice`.
const LOCK: i64 = 0x736c_7569_6365;

/// Returns the version that this program writes.
pub(crate) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// Brings the database to the newest version and makes the default workspace.
pub(crate) async fn run(database: &Database) -> Result<(), OpenError> {
    database::transact!(database, OpenError, |tx| migrate(tx))
}

/// Returns the version of the database.
pub(crate) async fn version(tx: &mut Transaction) -> Result<i64, Error> {
    tx.one("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version", &[])
        .await?
        .int("version")
}

async fn migrate(tx: &mut Transaction) -> Result<(), OpenError> {
    if !tx.is_sqlite() {
        tx.all("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)";
    tx.script(table).await?;
    let found = version(tx).await?;
    if found > newest() {
        return Err(OpenError::Newer { found, known: newest() });
    }
    for step in MIGRATIONS.iter().filter(|step| step.version > found) {
        tx.script(if tx.is_sqlite() { step.sqlite } else { step.postgres }).await?;
        tx.execute("INSERT INTO schema_version (version) VALUES ($1)", args![step.version]).await?;
        tracing::info!(store.version = step.version, "the metadata database was migrated");
    }
    let default = model::WorkspaceId::default_workspace();
    crate::add_workspace(tx, &default).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn versions_are_dense_from_1() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|step| step.version).collect();
        let dense: Vec<_> = (1_i64..).take(versions.len()).collect();
        assert_eq!(versions, dense);
    }
}
