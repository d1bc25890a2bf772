//! Brings a database to the version of this program.
//!
//! Contract: numbered migrations run in order, all in one transaction under a lock, so that any number
//! of processes may open a new database at once. Migrations never go back.
//!
//! A migration that only adds ([`EXPANDS`]) lets programs of before go on: so servers that share a database are replaced one after another. One that takes away or
//! changes what is there comes in a later version, when no program needs it any more. The database knows the oldest version that may use it; an older program is
//! refused before anything is written.

use crate::database::{Database, Error, Transaction, args};
use crate::{OpenError, database};

/// A step from one version to the next.
#[derive(Clone, Copy)]
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
    Migration {
        version: 17,
        sqlite: include_str!("../migrations/0017_upkeep.sql"),
        postgres: include_str!("../migrations/0017_upkeep.sql"),
    },
    Migration {
        version: 18,
        sqlite: include_str!("../migrations/0018_tickets.sql"),
        postgres: include_str!("../migrations/0018_tickets.sql"),
    },
    Migration {
        version: 19,
        sqlite: include_str!("../migrations/0019_enrolments.sql"),
        postgres: include_str!("../migrations/0019_enrolments.sql"),
    },
];

/// Migrations that programs of the version before may go on with: they add tables, or columns with a default, that those need not know.
const EXPANDS: &[i64] = &[];

/// Taken on PostgreSQL while migrating; the letters `sluice`.
const LOCK: i64 = 0x736c_7569_6365;

/// Brings the database to the newest version and makes the default workspace.
pub(crate) async fn run(database: &Database) -> Result<(), OpenError> {
    run_as(database, (MIGRATIONS, EXPANDS)).await
}

/// The same as a program that knows these migrations.
async fn run_as(database: &Database, known: (&[Migration], &[i64])) -> Result<(), OpenError> {
    database::transact!(database, OpenError, |tx| migrate(tx, known))
}

/// Returns the version of the database.
pub(crate) async fn version(tx: &mut Transaction) -> Result<i64, Error> {
    tx.one("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version", &[])
        .await?
        .int("version")
}

async fn migrate(
    tx: &mut Transaction,
    (migrations, expands): (&[Migration], &[i64]),
) -> Result<(), OpenError> {
    if !tx.is_sqlite() {
        tx.all("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)";
    tx.script(table).await?;
    let found = version(tx).await?;
    let known = migrations.last().map_or(0, |migration| migration.version);
    if found > known && known < oldest(tx).await?.unwrap_or(found) {
        return Err(OpenError::Newer { found, known });
    }
    for step in migrations.iter().filter(|step| step.version > found) {
        tx.script(if tx.is_sqlite() { step.sqlite } else { step.postgres }).await?;
        tx.execute("INSERT INTO schema_version (version) VALUES ($1)", args![step.version]).await?;
        keep_out(tx, step.version, expands.contains(&step.version)).await?;
        tracing::info!(store.version = step.version, "the metadata database was migrated");
    }
    let default = model::WorkspaceId::default_workspace();
    crate::add_workspace(tx, &default).await?;
    Ok(())
}

/// Returns the oldest version that may use the database, if that is known.
async fn oldest(tx: &mut Transaction) -> Result<Option<i64>, Error> {
    let table = "CREATE TABLE IF NOT EXISTS schema_reader
                     (one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1), oldest BIGINT NOT NULL)";
    tx.script(table).await?;
    let row = tx.first("SELECT oldest FROM schema_reader", &[]).await?;
    row.map(|row| row.int("oldest")).transpose()
}

/// Keeps out the programs that cannot go on after a step; one that only adds keeps out no more than were before.
async fn keep_out(tx: &mut Transaction, version: i64, expands: bool) -> Result<(), Error> {
    let before = oldest(tx).await?.unwrap_or(version - 1);
    let least = if expands { before } else { version };
    let sql = "INSERT INTO schema_reader (one, oldest) VALUES (1, $1)
               ON CONFLICT (one) DO UPDATE SET oldest = excluded.oldest";
    tx.execute(sql, args![least]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use model::ports::Exports;
    use model::run::RunState;

    use super::{MIGRATIONS, Migration, run_as};
    use crate::conformance::{incremental, workspace};
    use crate::tests::{on_both, rig};
    use crate::{OpenError, Store};

    #[test]
    fn versions_are_dense_from_1() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|step| step.version).collect();
        let dense: Vec<_> = (1_i64..).take(versions.len()).collect();
        assert_eq!(versions, dense);
    }

    /// The version that this program writes.
    fn newest() -> i64 {
        MIGRATIONS.last().unwrap().version
    }

    fn step(version: i64, sql: &'static str) -> Migration {
        Migration { version, sqlite: sql, postgres: sql }
    }

    /// This program is the old one; the new ones are those of its next two versions.
    #[tokio::test]
    async fn servers_are_replaced_one_after_another() {
        on_both(async |url| {
            let old = Store::open(&url).await.unwrap();
            let rig = rig(&old);
            rig.commits(1).await;
            let (adds, takes) = (newest() + 1, newest() + 2);
            let mut steps = MIGRATIONS.to_vec();
            steps.push(step(
                adds,
                "ALTER TABLE export ADD COLUMN later TEXT; CREATE TABLE later (id TEXT NOT NULL)",
            ));
            run_as(&old.database, (&steps, &[adds])).await.unwrap();
            // What runs goes on, and what starts again does.
            let lease = rig.open(&incremental("e")).await.lease;
            let again = Store::open(&url).await.unwrap();
            assert_eq!(again.describe().await.unwrap().schema_version, adds.unsigned_abs());
            rig.bring(&lease, RunState::Sealed).await;
            assert_eq!(rig.cursor("e").await, 1);
            assert_eq!(
                again.export_versions(&workspace(), "e", None, 9).await.unwrap().len(),
                1
            );
            // The next version takes away what this one needs: it is told, and changes nothing.
            steps.push(step(takes, "DROP TABLE later"));
            run_as(&again.database, (&steps, &[adds])).await.unwrap();
            let refused = Store::open(&url).await.unwrap_err();
            assert!(
                matches!(refused, OpenError::Newer { found, known } if (found, known) == (takes, newest())),
                "{refused}"
            );
            again.close().await;
            old.close().await;
        })
        .await;
    }
}
