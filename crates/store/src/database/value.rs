//! Values that go into a statement and rows that come out, alike for both databases.

use bytes::Bytes;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr, SqlStr};

use super::Error;

/// A statement, with `$1` placeholders for both databases.
#[derive(Debug)]
pub(crate) struct Sql {
    text: SqlStr,
    lock: bool,
}

impl Sql {
    /// Wraps a statement that was put together from fixed texts and placeholders.
    pub(super) fn assembled(text: SqlStr) -> Self {
        Self { text, lock: false }
    }

    /// Makes a `SELECT` lock its rows until the transaction ends. SQLite has one writer anyway.
    pub(crate) fn for_update(text: &'static str) -> Self {
        Self { text: text.into_sql_str(), lock: true }
    }

    pub(super) fn sqlite(self) -> SqlStr {
        self.text
    }

    pub(super) fn postgres(self) -> SqlStr {
        if self.lock {
            AssertSqlSafe(format!("{} FOR UPDATE", self.text.as_str())).into_sql_str()
        } else {
            self.text
        }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { text: text.into_sql_str(), lock: false }
    }
}

/// A value to be bound.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A text or null.
    Text(Option<String>),
    /// A number or null.
    Int(Option<i64>),
    /// Bytes.
    Bytes(Bytes),
}

impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Self {
        Self::Bytes(bytes.clone())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

/// A number too great for the database becomes its greatest: no stored number is above that one.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Int(None), Self::from)
    }
}

/// An instant, in microseconds.
impl From<DateTime<Utc>> for Value {
    fn from(at: DateTime<Utc>) -> Self {
        Self::Int(Some(micros(at)))
    }
}

impl From<Option<DateTime<Utc>>> for Value {
    fn from(at: Option<DateTime<Utc>>) -> Self {
        Self::Int(at.map(micros))
    }
}

/// Makes the values of a statement: `args![id, number]`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::database::Value::from($value)),*] };
}
pub(crate) use args;

/// Returns an instant as the database keeps it.
fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// Returns an instant with the precision of the database.
pub(crate) fn truncate(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(at)
}

/// Returns the word that serde writes for a variant without fields.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("only enums of plain words are stored so"),
    }
}

/// A row that came out.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Returns a text that may be null.
    pub(crate) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, Error> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Returns a text.
    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Returns bytes.
    pub(crate) fn bytes(&self, column: &'static str) -> Result<Bytes, Error> {
        let bytes: Vec<u8> = match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        };
        Ok(bytes.into())
    }

    /// Returns a number that may be null.
    pub(crate) fn int_or_null(&self, column: &'static str) -> Result<Option<i64>, Error> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Returns a number.
    pub(crate) fn int(&self, column: &'static str) -> Result<i64, Error> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Returns a number that is never negative.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        let number = self.int(column)?;
        T::try_from(number).map_err(|_| Error::Value { column, value: number.to_string() })
    }

    /// Returns an instant.
    pub(crate) fn at(&self, column: &'static str) -> Result<DateTime<Utc>, Error> {
        instant(column, self.int(column)?)
    }

    /// Returns an instant that may be null.
    pub(crate) fn at_or_null(&self, column: &'static str) -> Result<Option<DateTime<Utc>>, Error> {
        self.int_or_null(column)?.map(|micros| instant(column, micros)).transpose()
    }

    /// Returns what a JSON text says.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|source| Error::Json { column, source })
    }

    /// Returns the variant that a plain word names.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let word = serde_json::Value::String(self.text(column)?);
        serde_json::from_value(word).map_err(|source| Error::Json { column, source })
    }
}

fn instant(column: &'static str, micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::Value { column, value: micros.to_string() })
}
