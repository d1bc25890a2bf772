//! The metadata database: what the lake holds and what was exported, on SQLite or PostgreSQL.
//!
//! [`Store`] is a [`model::ports::Catalog`], a [`model::ports::Ledger`], a [`model::ports::Access`] and has
//! [`model::ports::Places`]; their contracts are written at those traits and executed by the suite in `conformance`, which both databases pass. Every call is
//! one transaction, durable when it returns and never held across I/O of the caller. Several processes
//! may use one database. The store reads no clock but the database's own, and that only for leases.
//!
//! It does not touch data files, and it does not know what a query or a format is.

mod access;
mod catalog;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod database;
mod documents;
mod enrolments;
mod exports;
mod groups;
mod jobs;
mod ledger;
mod links;
mod migrate;
mod names;
mod places;
mod tickets;
mod uploads;
mod vault;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use model::ports::CatalogError;
use model::{Code, Failure, Fault, WorkspaceId};
use sqlx::postgres::PgConnectOptions;

use catalog::Queues;
use database::{Conflict, Database, Error, Transaction, args};
pub use places::{Lost, Resealed};
use vault::Vault;
pub use vault::{FixedKeys, Key, KeyRing, Keys, KeysError};

/// A metadata database. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    /// The commits that wait for each other.
    queues: Arc<Queues>,
    /// The keys of secrets.
    vault: Vault,
}

/// What a metadata database says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `SQLite` or `PostgreSQL`.
    pub kind: &'static str,
    /// The version of the library or the server.
    pub server_version: String,
    /// The version of our tables.
    pub schema_version: u64,
    /// The journal mode, which only SQLite has; `wal` is what the store asks for.
    pub journal_mode: Option<String>,
    /// Bytes of the database.
    pub size_bytes: u64,
}

impl Store {
    /// Opens the database behind a URL, makes or migrates its tables, makes the default workspace.
    ///
    /// Shape: `sqlite:PATH`, where the file is made if absent and its folder must exist, or
    /// `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; above all [`OpenError::Newer`], before which nothing was written.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let database = connect(url).await?;
        migrate::run(&database).await?;
        let vault = Vault::new(Arc::new(FixedKeys::default()));
        Ok(Self { database, queues: Arc::default(), vault })
    }

    /// Takes the keys of secrets; without them none can be kept.
    pub fn with_keys(self, keys: Arc<dyn Keys>) -> Self {
        Self { vault: Vault::new(keys), ..self }
    }

    /// Makes a workspace unless it exists.
    pub async fn ensure_workspace(&self, workspace: &WorkspaceId) -> Result<(), CatalogError> {
        database::transact!(self.database, CatalogError, |tx| add_workspace(tx, workspace))
    }

    /// Returns what the database says about itself.
    pub async fn describe(&self) -> Result<Description, CatalogError> {
        let tx = &mut self.database.read().await?;
        let schema_version = u64::try_from(migrate::version(tx).await?).unwrap_or(0);
        if tx.is_sqlite() {
            let pages: u64 = tx.one("PRAGMA page_count", &[]).await?.count("page_count")?;
            let page: u64 = tx.one("PRAGMA page_size", &[]).await?.count("page_size")?;
            let mode = tx.one("PRAGMA journal_mode", &[]).await?.text("journal_mode")?;
            let version = tx.one("SELECT sqlite_version() AS version", &[]).await?;
            return Ok(Description {
                kind: "SQLite",
                server_version: version.text("version")?,
                schema_version,
                journal_mode: Some(mode),
                size_bytes: pages * page,
            });
        }
        let sql = "SELECT current_setting('server_version') AS version,
                          pg_database_size(current_database()) AS size";
        let row = tx.one(sql, &[]).await?;
        Ok(Description {
            kind: "PostgreSQL",
            server_version: row.text("version")?,
            schema_version,
            journal_mode: None,
            size_bytes: row.count("size")?,
        })
    }

    /// Returns what is wrong with the database; nothing if it is sound. On SQLite every page is read;
    /// a PostgreSQL server is only asked for an answer.
    pub async fn check(&self) -> Result<Vec<String>, CatalogError> {
        let tx = &mut self.database.read().await?;
        if !tx.is_sqlite() {
            tx.one("SELECT 1 AS one", &[]).await?;
            return Ok(Vec::new());
        }
        let mut problems = Vec::new();
        for row in tx.all("PRAGMA quick_check", &[]).await? {
            let problem = row.text("quick_check")?;
            if problem != "ok" {
                problems.push(problem);
            }
        }
        Ok(problems)
    }

    /// Closes every connection; calls in flight end first.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

async fn connect(url: &str) -> Result<Database, OpenError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(OpenError::NoPath);
            }
            let failed = |source| OpenError::File { path: path.into(), source: Box::new(source) };
            Database::sqlite(Path::new(path)).await.map_err(failed)
        }
        "postgres" | "postgresql" => {
            let options = PgConnectOptions::from_str(url).map_err(OpenError::Address)?;
            let failed = |source| OpenError::Server { source: Box::new(source) };
            Database::postgres(options).await.map_err(failed)
        }
        other => Err(OpenError::Scheme { scheme: other.into() }),
    }
}

async fn add_workspace(tx: &mut Transaction, workspace: &WorkspaceId) -> Result<(), Error> {
    let sql = "INSERT INTO workspace (id, name, organization) VALUES ($1, $1, $2)
               ON CONFLICT DO NOTHING";
    tx.execute(sql, args![workspace.as_str(), model::access::DEFAULT]).await?;
    Ok(())
}

/// Why a metadata database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that the store knows.
    #[error("`{scheme}` is no metadata database; use `sqlite:PATH` or `postgres://…`")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// `sqlite:` without a path.
    #[error("`sqlite:` names no file; use `sqlite:PATH`")]
    NoPath,
    /// The address of the server cannot be read.
    #[error(
        "the address of the metadata database cannot be read; use `postgres://user:password@host:port/database`"
    )]
    Address(#[source] sqlx::Error),
    /// The file cannot be opened.
    #[error("the metadata database `{path}` cannot be opened: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server cannot be reached.
    #[error("the metadata database cannot be reached: {source}")]
    Server {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer program made it.
    #[error(
        "the metadata database has version {found}, this program knows versions up to {known}; use a newer Sluice"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Making or migrating the tables failed.
    #[error("the tables of the metadata database cannot be made: {0}")]
    Tables(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Tables(Box::new(error))
    }
}

impl Conflict for OpenError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Tables(source)
            if source.downcast_ref::<Error>().is_some_and(Conflict::is_conflict))
    }
}

impl Failure for OpenError {
    fn code(&self) -> Code {
        match self {
            Self::Scheme { .. } | Self::NoPath | Self::Address(_) => Code::Invalid,
            Self::Newer { .. } => Code::Conflict,
            Self::Server { .. } => Code::Unavailable,
            Self::File { .. } | Self::Tables(_) => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Scheme { .. } | Self::NoPath | Self::Address(_) | Self::Newer { .. } => {
                Fault::Request
            }
            Self::File { .. } | Self::Server { .. } | Self::Tables(_) => Fault::Own,
        }
    }
}

#[cfg(test)]
mod tests;
