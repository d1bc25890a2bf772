//! What the database layer reports, and how it becomes an error of a port.

use model::ports::{CatalogError, LedgerError};

/// What went wrong in the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database refused or did not answer.
    #[error("{}", reason(.0))]
    Sql(#[from] sqlx::Error),
    /// The same as another commit of the transaction was told.
    #[error("{0}")]
    Told(String),
    /// A column holds a text that is not what it should be.
    #[error("column `{column}` does not hold what it should; the database is damaged")]
    Json {
        /// The column.
        column: &'static str,
        /// What the reader said.
        #[source]
        source: serde_json::Error,
    },
    /// A column holds a number out of range.
    #[error("column `{column}` holds `{value}`, which is out of range; the database is damaged")]
    Value {
        /// The column.
        column: &'static str,
        /// The number.
        value: String,
    },
    /// A file names a schema that its dataset never had.
    #[error("the file `{file}` names the schema `{schema}`, which its dataset never had")]
    UnknownSchema {
        /// The file.
        file: String,
        /// The schema.
        schema: String,
    },
    /// A merged file has other rows than the files it came from.
    #[error("files of {before} rows cannot be merged into {after} rows")]
    RowsChanged {
        /// Rows of the files that would go.
        before: u64,
        /// Rows of those that would come.
        after: u64,
    },
}

/// Tells whether a transaction lost against another one, so that it did nothing and may be repeated.
pub(crate) trait Conflict {
    /// Returns whether it did.
    fn is_conflict(&self) -> bool;
}

impl Error {
    /// Returns whether asking again may work.
    fn can_retry(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        match error {
            // A connection that ends in its handshake is told as one that speaks another protocol.
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => true,
            // 08: connection; 53: resources; 55P03: a lock that nobody gives up; 57P: shutting down or starting.
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                let server = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some();
                let away = ["08", "53", "55P03", "57P"].iter().any(|class| code.starts_with(class));
                self.is_conflict() || (server && away)
            }
            _ => false,
        }
    }
}

impl Conflict for Error {
    fn is_conflict(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(error)) = self else { return false };
        let code = error.code().unwrap_or_default();
        if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // Serialization failure and deadlock.
            return matches!(&*code, "40001" | "40P01");
        }
        // Busy (5) and locked (6); the bits above the lowest eight say why.
        matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
    }
}

impl Conflict for CatalogError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database { source, .. } if caused_by_conflict(&**source))
    }
}

impl Conflict for LedgerError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database { source, .. } if caused_by_conflict(&**source))
    }
}

impl From<Error> for CatalogError {
    fn from(error: Error) -> Self {
        let (reason, retry) = (error.to_string(), error.can_retry());
        Self::Database { reason, retry, source: Box::new(error) }
    }
}

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        let (reason, retry) = (error.to_string(), error.can_retry());
        Self::Database { reason, retry, source: Box::new(error) }
    }
}

fn caused_by_conflict(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source.downcast_ref::<Error>().is_some_and(Conflict::is_conflict)
}

/// Says what happened without the address, which may hold a password.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => {
            "it does not answer".into()
        }
        sqlx::Error::PoolTimedOut => "every connection is in use or it does not answer".into(),
        sqlx::Error::Configuration(_) => "its address cannot be read".into(),
        other => other.to_string(),
    }
}
