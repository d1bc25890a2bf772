//! The suite on both databases, and what only a store has: opening, versions, leases that lapse.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use model::ports::{Catalog, Ledger, LedgerError};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::conformance::{self, Rig};
use crate::database::{self, args};
use crate::{FixedKeys, Key, KeyRing, OpenError, Store};

mod rotation;

mod sqlite {
    use super::on_sqlite;
    crate::conformance_tests!(on_sqlite);
}

mod postgres {
    use super::on_postgres;
    crate::conformance_tests!(on_postgres);
}

async fn on_sqlite(case: impl AsyncFnOnce(Rig)) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&file(&folder)).await.unwrap();
    case(rig(&store)).await;
    store.close().await;
}

async fn on_postgres(case: impl AsyncFnOnce(Rig)) {
    let schema = PgSchema::make().await;
    let store = Store::open(&schema.url).await.unwrap();
    case(rig(&store)).await;
    store.close().await;
    schema.remove().await;
}

pub(crate) fn rig(store: &Store) -> Rig {
    let ring = KeyRing::new([Key::from_random([7; 32])]);
    let store = Arc::new(store.clone().with_keys(Arc::new(FixedKeys(ring))));
    Rig {
        catalog: store.clone(),
        ledger: store.clone(),
        access: store.clone(),
        runs: store.clone(),
        places: store.clone(),
        documents: store.clone(),
        uploads: store.clone(),
        exports: store.clone(),
        links: store.clone(),
        groups: store.clone(),
        tickets: store.clone(),
        enrolments: store.clone(),
        jobs: store,
    }
}

fn file(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("meta.db").display())
}

/// A schema of its own on the test server, so that tests run beside each other.
struct PgSchema {
    server: String,
    name: String,
    url: String,
}

impl PgSchema {
    async fn make() -> Self {
        let server = std::env::var("SLUICE_TEST_POSTGRES").expect(
            "SLUICE_TEST_POSTGRES names no PostgreSQL server: run `scripts/test`, which starts one",
        );
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        let schema = Self { url: format!("{server}?options[search_path]={name}"), server, name };
        schema.execute(&format!("CREATE SCHEMA {}", schema.name)).await;
        schema
    }

    async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn remove(self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }
}

/// Runs a test on both databases; it gets a URL of an empty one.
pub(crate) async fn on_both(test: impl AsyncFn(String)) {
    let folder = TempDir::new().unwrap();
    test(file(&folder)).await;
    let schema = PgSchema::make().await;
    test(schema.url.clone()).await;
    schema.remove().await;
}

async fn run(store: &Store, sql: &'static str) {
    database::transact!(store.database, crate::Error, |tx| tx.execute(sql, args![])).unwrap();
}

async fn number(store: &Store, sql: &'static str) -> i64 {
    let tx = &mut store.database.read().await.unwrap();
    tx.one(sql, args![]).await.unwrap().int("n").unwrap()
}

#[tokio::test]
async fn a_newer_database_is_refused_and_not_touched() {
    on_both(async |url| {
        let store = Store::open(&url).await.unwrap();
        run(&store, "INSERT INTO schema_version (version) VALUES (99)").await;
        run(&store, "UPDATE schema_reader SET oldest = 99").await;
        run(&store, "DELETE FROM workspace").await;
        let error = Store::open(&url).await.unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 99, known: 19 }));
        let text = error.to_string();
        assert!(text.contains("99") && text.contains("up to 19"), "{text}");
        assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM workspace").await, 0);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_open_an_empty_database_at_once() {
    on_both(async |url| {
        let open = || {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await })
        };
        let tasks = [open(), open(), open(), open()];
        for task in tasks {
            let store = task.await.unwrap().unwrap();
            assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM schema_version").await, 19);
            assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM workspace").await, 1);
            store.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_through_several_stores_are_dense() {
    on_both(async |url| {
        let first = Store::open(&url).await.unwrap();
        let orders = rig(&first).orders().await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let store = Store::open(&url).await.unwrap();
            let orders = orders.clone();
            tasks.spawn(async move {
                for _ in 0..10 {
                    let new = conformance::append(&orders, 1);
                    store.commit(&new, conformance::at(1)).await.unwrap();
                }
                store.close().await;
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let counted = "SELECT COUNT(*) * 1000 + MAX(number) AS n FROM lake_commit";
        assert_eq!(number(&first, counted).await, 30_030);
        first.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    on_both(async |url| {
        let store = Store::open(&url).await.unwrap();
        rig(&store).commits(2).await;
        store.close().await;
        let store = Store::open(&url).await.unwrap();
        let snapshot = store.snapshot(&conformance::workspace(), "orders", None).await.unwrap();
        assert_eq!((snapshot.at.0, snapshot.files.len()), (2, 2));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_lapsed_lease_may_be_taken_but_still_writes_until_it_is() {
    on_both(async |url| {
        let store = Store::open(&url).await.unwrap();
        let opened = rig(&store).open(&conformance::incremental("e")).await;
        run(&store, "UPDATE run SET lease_until = lease_until - 31000000").await;
        let workspace = conformance::workspace();
        assert!(!Ledger::run(&store, &workspace, &opened.run.id).await.unwrap().leased);
        store.add_parts(&opened.lease, &[conformance::part(0, 1)]).await.unwrap();
        let taken = store.take_over(&workspace, &opened.run.id, "two", None).await.unwrap();
        assert!(taken.run.leased);
        let late = store.renew(&opened.lease).await.unwrap_err();
        assert!(matches!(late, LedgerError::Fenced { .. }));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn pins_live_as_long_as_what_they_serve() {
    on_both(async |url| {
        let store = Store::open(&url).await.unwrap();
        let rig = rig(&store);
        rig.commits(3).await;
        let pins = "SELECT COUNT(*) AS n FROM pin";
        let cursor = "SELECT at_commit AS n FROM pin WHERE owner_kind = 'cursor'";
        let held = "SELECT at_commit AS n FROM pin WHERE owner_kind = 'run'";
        let lease = rig.open(&conformance::incremental("e")).await.lease;
        assert_eq!((number(&store, cursor).await, number(&store, held).await), (0, 3));
        rig.bring(&lease, model::run::RunState::Sealed).await;
        // What a sealed run has read is kept for a while.
        assert_eq!((number(&store, pins).await, number(&store, cursor).await), (2, 3));
        rig.run_in("e", model::run::RunState::Failed).await;
        assert_eq!(number(&store, pins).await, 2);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_database_describes_and_checks_itself() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&file(&folder)).await.unwrap();
    let told = store.describe().await.unwrap();
    assert_eq!((told.kind, told.schema_version), ("SQLite", 19));
    assert_eq!(told.journal_mode.as_deref(), Some("wal"));
    assert!(told.size_bytes > 0 && told.server_version.starts_with("3."));
    assert!(store.check().await.unwrap().is_empty());
    let tx = &mut store.database.begin().await.unwrap();
    let pragma = async |tx: &mut crate::Transaction, sql: &'static str, name| {
        tx.one(sql, args![]).await.unwrap().int(name).unwrap()
    };
    assert_eq!(pragma(tx, "PRAGMA synchronous", "synchronous").await, 2, "FULL");
    assert_eq!(pragma(tx, "PRAGMA foreign_keys", "foreign_keys").await, 1);

    let schema = PgSchema::make().await;
    let store = Store::open(&schema.url).await.unwrap();
    let told = store.describe().await.unwrap();
    assert_eq!((told.kind, told.journal_mode, told.schema_version), ("PostgreSQL", None, 19));
    assert!(told.size_bytes > 0 && !told.server_version.is_empty());
    assert!(store.check().await.unwrap().is_empty());
    store.close().await;
    schema.remove().await;
}

#[tokio::test]
async fn addresses_that_cannot_work_are_refused() {
    let folder = TempDir::new().unwrap();
    let missing = format!("sqlite:{}", folder.path().join("no/meta.db").display());
    assert!(matches!(Store::open(&missing).await, Err(OpenError::File { .. })));
    assert!(matches!(Store::open("sqlite:").await, Err(OpenError::NoPath)));
    assert!(matches!(Store::open("mysql://h/d").await, Err(OpenError::Scheme { .. })));
    let closed = "postgres://user:secret@127.0.0.1:1/d";
    let error = Store::open(closed).await.unwrap_err();
    assert!(matches!(error, OpenError::Server { .. }));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("meta.db"), "not a database, but long enough to tell")
        .unwrap();
    let error = Store::open(&file(&folder)).await.unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}
