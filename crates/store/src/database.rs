//! The small layer over the two databases: one SQL text, one kind of value, one kind of row.
//!
//! Writers begin with the write lock on SQLite (`BEGIN IMMEDIATE`) and wait for each other in a queue of
//! this process first, so that they do not poll. On PostgreSQL they run under READ COMMITTED and lock
//! the rows they decide by. A transaction that the database refused for another one's sake is repeated
//! here; one whose commit got no answer is not, because it may have happened.

mod error;
mod value;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Postgres, SqlStr, Sqlite};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) use error::{Conflict, Error};
pub(crate) use value::{Row, Sql, Value, args, truncate, word};

/// Time that a writer waits for writers of other processes on SQLite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections of one process: enough for its readers; more would only wait for the same disk.
const CONNECTIONS_MAX: u32 = 8;

/// Time that a caller waits for one of them.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// What every connection to a server asks for. A node that stops between two statements, or whose host
/// lost power, holds row locks that everybody else needs: nobody waits for them for ever, and the server
/// ends its transaction. Ours take milliseconds.
const SERVER_SETTINGS: [(&str, &str); 3] = [
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("tcp_keepalives_idle", "15"),
];

/// Times that a transaction is tried in all when it loses against another one.
const CONFLICT_TRIES: u32 = 8;

/// Milliseconds of the first pause between these tries; doubles each time.
const CONFLICT_PAUSE_MS: u64 = 5;

/// Values in one `INSERT`; SQLite takes 32,766, PostgreSQL 65,535.
const INSERT_VALUES_MAX: usize = 1200;

/// The database behind a store.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// A file; `turn` is the queue of this process's writers.
    Sqlite { pool: SqlitePool, turn: Arc<Mutex<()>> },
    /// A server.
    Postgres { pool: PgPool },
}

/// An open transaction; rolled back when dropped.
#[derive(Debug)]
pub(crate) struct Transaction {
    inner: Inner,
    undo: bool,
    /// Declared last, so that the next writer's turn comes after the roll-back.
    _turn: Option<OwnedMutexGuard<()>>,
}

#[derive(Debug)]
enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
    /// Without a transaction: each statement sees a state of its own.
    BareSqlite(PoolConnection<Sqlite>),
    BarePostgres(PoolConnection<Postgres>),
}

/// The connection that statements go to.
enum To<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Inner {
    fn connection(&mut self) -> To<'_> {
        match self {
            Self::Sqlite(tx) => To::Sqlite(tx),
            Self::BareSqlite(bare) => To::Sqlite(bare),
            Self::Postgres(tx) => To::Postgres(tx),
            Self::BarePostgres(bare) => To::Postgres(bare),
        }
    }
}

/// Runs a write transaction: `transact!(database, ErrorType, |tx| body)`, repeated on conflict.
macro_rules! transact {
    ($database:expr, $error:ty, |$tx:ident| $body:expr) => {{
        let mut tries = $crate::database::Tries::default();
        loop {
            let outcome = async {
                let mut owned = $database.begin().await?;
                let $tx = &mut owned;
                let value = $body.await?;
                owned.finish().await?;
                Ok::<_, $error>(value)
            }
            .await;
            match outcome {
                Err(error) if tries.again(&error).await => {}
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use transact;

impl Database {
    /// Opens the SQLite file, which is made if it is not there. Its folder must exist.
    pub(crate) async fn sqlite(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            // A file does not hang up; asking it costs as much as a short query.
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT);
        // Turning the journal to WAL needs the file alone for a moment, and SQLite does not wait for
        // that: two processes that make the file together meet here.
        let mut tries = Tries::default();
        loop {
            let opened = pool.clone().connect_with(options.clone()).await.map_err(Error::from);
            match opened {
                Ok(pool) => return Ok(Self::Sqlite { pool, turn: Arc::default() }),
                Err(error) if tries.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects to a PostgreSQL server.
    pub(crate) async fn postgres(options: PgConnectOptions) -> Result<Self, Error> {
        let options = options.application_name("sluice").options(SERVER_SETTINGS);
        // One connection by itself first: a pool would go on asking a server that refuses.
        let first = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options));
        first.await.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self::Postgres { pool })
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        match self {
            Self::Sqlite { pool, turn } => {
                let turn = Arc::clone(turn).lock_owned().await;
                let inner = Inner::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?);
                Ok(Transaction { inner, undo: false, _turn: Some(turn) })
            }
            Self::Postgres { pool } => {
                let inner = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
                Ok(Transaction { inner: Inner::Postgres(inner), undo: false, _turn: None })
            }
        }
    }

    /// Begins a transaction that only reads: every statement of it sees the same state.
    pub(crate) async fn read(&self) -> Result<Transaction, Error> {
        let inner = match self {
            Self::Sqlite { pool, .. } => Inner::Sqlite(pool.begin().await?),
            Self::Postgres { pool } => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Inner::Postgres(pool.begin_with(begin).await?)
            }
        };
        Ok(Transaction { inner, undo: false, _turn: None })
    }

    /// Begins what is only one statement that reads, which needs no transaction around it.
    pub(crate) async fn glance(&self) -> Result<Transaction, Error> {
        let inner = match self {
            Self::Sqlite { pool, .. } => Inner::BareSqlite(pool.acquire().await?),
            Self::Postgres { pool } => Inner::BarePostgres(pool.acquire().await?),
        };
        Ok(Transaction { inner, undo: false, _turn: None })
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { pool, .. } => pool.close().await,
            Self::Postgres { pool } => pool.close().await,
        }
    }
}

impl Transaction {
    /// Runs a statement and returns the number of rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Value],
    ) -> Result<u64, Error> {
        let sql = sql.into();
        Ok(match self.inner.connection() {
            To::Sqlite(to) => bound!(Sqlite, sql.sqlite(), args).execute(to).await?.rows_affected(),
            To::Postgres(to) => {
                bound!(Postgres, sql.postgres(), args).execute(to).await?.rows_affected()
            }
        })
    }

    /// Runs a statement and returns every row.
    pub(crate) async fn all(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Value],
    ) -> Result<Vec<Row>, Error> {
        let sql = sql.into();
        Ok(match self.inner.connection() {
            To::Sqlite(to) => {
                let rows = bound!(Sqlite, sql.sqlite(), args).fetch_all(to).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            To::Postgres(to) => {
                let rows = bound!(Postgres, sql.postgres(), args).fetch_all(to).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Runs a statement and returns its first row.
    pub(crate) async fn first(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Value],
    ) -> Result<Option<Row>, Error> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Runs a statement that always returns a row.
    pub(crate) async fn one(&mut self, sql: impl Into<Sql>, args: &[Value]) -> Result<Row, Error> {
        self.first(sql, args).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Runs a statement for many values and returns every row of every time.
    ///
    /// Shape: `{}` in the text stands for a list of some of the values; placeholders are for `fixed`.
    pub(crate) async fn all_among(
        &mut self,
        text: &'static str,
        fixed: &[Value],
        among: &[Value],
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for some in among.chunks(INSERT_VALUES_MAX) {
            // The last once more, so that there are few texts and most are prepared already.
            let count = some.len().next_power_of_two().min(INSERT_VALUES_MAX);
            let again = std::iter::repeat_n(&some[some.len() - 1], count - some.len()).cloned();
            let some: Vec<Value> = some.iter().cloned().chain(again).collect();
            let places: Vec<_> = (1..=count).map(|n| format!("${}", fixed.len() + n)).collect();
            let sql = text.replace("{}", &places.join(", "));
            let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
            let args = [fixed, &some].concat();
            rows.extend(self.all(Sql::assembled(sql), &args).await?);
        }
        Ok(rows)
    }

    /// Inserts many rows in few statements and returns how many went in.
    ///
    /// Shape: `values` holds the rows one behind the other, `columns` values each.
    pub(crate) async fn insert(
        &mut self,
        into: &'static str,
        columns: usize,
        values: &[Value],
        tail: &'static str,
    ) -> Result<u64, Error> {
        let (mut inserted, mut left) = (0, values);
        while !left.is_empty() {
            // A power of two, so that there are few texts and most are prepared already.
            let rows = (INSERT_VALUES_MAX / columns).min(left.len() / columns);
            let rows = 1 << rows.ilog2();
            let (some, rest) = left.split_at(rows * columns);
            let sql = insert_text(into, columns, rows, tail);
            inserted += self.execute(Sql::assembled(sql), some).await?;
            left = rest;
        }
        Ok(inserted)
    }

    /// Runs a text of several statements.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), Error> {
        match self.inner.connection() {
            To::Sqlite(to) => sqlx::raw_sql(text).execute(to).await.map(drop)?,
            To::Postgres(to) => sqlx::raw_sql(text).execute(to).await.map(drop)?,
        }
        Ok(())
    }

    /// Returns the database's own time in microseconds.
    pub(crate) async fn clock(&mut self) -> Result<i64, Error> {
        let sql = if self.is_sqlite() {
            "SELECT CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) AS now"
        } else {
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now"
        };
        self.one(sql, &[]).await?.int("now")
    }

    /// Returns whether this is SQLite.
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.inner, Inner::Sqlite(_) | Inner::BareSqlite(_))
    }

    /// Lets [`Transaction::finish`] roll back: the answer stands, the writes do not.
    pub(crate) fn undo(&mut self) {
        self.undo = true;
    }

    /// Makes the writes durable.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        match (self.inner, self.undo) {
            (Inner::Sqlite(tx), true) => tx.rollback().await?,
            (Inner::Sqlite(tx), false) => tx.commit().await?,
            (Inner::Postgres(tx), true) => tx.rollback().await?,
            (Inner::Postgres(tx), false) => tx.commit().await?,
            (Inner::BareSqlite(_) | Inner::BarePostgres(_), _) => {}
        }
        Ok(())
    }
}

/// Counts the tries of a transaction and pauses between them.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Returns whether to try once more, after the pause that is due.
    pub(crate) async fn again(&mut self, error: &impl Conflict) -> bool {
        self.0 += 1;
        if self.0 >= CONFLICT_TRIES || !error.is_conflict() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(CONFLICT_PAUSE_MS << self.0)).await;
        true
    }
}

/// Builds the query and binds its values.
macro_rules! bound {
    ($database:ty, $sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<$database>($sql);
        for value in $args {
            query = match value {
                Value::Text(text) => query.bind(text.as_deref()),
                Value::Int(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(&**bytes),
            };
        }
        query
    }};
}
use bound;

fn insert_text(into: &str, columns: usize, rows: usize, tail: &str) -> SqlStr {
    let row = |row: usize| {
        let first = row * columns + 1;
        let places: Vec<_> = (first..first + columns).map(|n| format!("${n}")).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    let text = format!("{into} VALUES {} {tail}", rows.join(", "));
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(text))
}
