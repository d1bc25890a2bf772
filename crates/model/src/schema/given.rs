//! Columns that somebody writes down for a dataset, held against what a dataset can have.

use serde_json::Value;

use super::{Error, Schema, Type};
use crate::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN};
use crate::failure::{Code, Failure, Fault};

/// Why given columns cannot be those of a dataset.
#[derive(Debug, thiserror::Error)]
pub enum Given {
    /// It is no schema.
    #[error(
        "the columns are not usable: {0}; write {{\"fields\": [{{\"name\": \"price\", \"type\": \"float64\"}}]}}"
    )]
    Form(#[source] serde_json::Error),
    /// A property that reading passes over.
    #[error("the property `{property}` means nothing there; mend or remove it")]
    Unknown {
        /// The property.
        property: String,
    },
    /// A name of ours.
    #[error("the column name `{name}` is reserved; use another")]
    Reserved {
        /// The name.
        name: &'static str,
    },
    /// What no dataset keeps.
    #[error(transparent)]
    Columns(#[from] Error),
    /// The time column has no name.
    #[error("the time column has no name; give it")]
    NoName,
    /// The time column is none.
    #[error("the time column `{column}` is `{kind}`; it must be a timestamp or a date")]
    NotTime {
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
    /// There is no such column.
    #[error("the schema has no column `{column}`; name one that it has")]
    NoTime {
        /// The column.
        column: String,
    },
}

impl Failure for Given {
    fn code(&self) -> Code {
        match self {
            Self::Columns(error) => error.code(),
            _ => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Columns(error) => error.fault(),
            _ => Fault::Request,
        }
    }
}

impl Schema {
    /// Reads the columns that somebody gives for a new dataset.
    ///
    /// ```
    /// use model::schema::Schema;
    /// let field = |name: &str| serde_json::json!({ "fields": [{ "name": name, "type": "int64" }] });
    /// assert!(Schema::given(&field("price")).is_ok());
    /// assert!(Schema::given(&field("_commit")).is_err());
    /// ```
    pub fn given(written: &Value) -> Result<Self, Given> {
        let schema: Self = serde_json::from_value(written.clone()).map_err(Given::Form)?;
        let understood = serde_json::to_value(&schema).map_err(Given::Form)?;
        if let Some(property) = unknown(written, &understood) {
            return Err(Given::Unknown { property: property.into() });
        }
        for name in [COMMIT_COLUMN, COMMIT_TIME_COLUMN] {
            if schema.field(name).is_some() {
                return Err(Given::Reserved { name });
            }
        }
        // The same checks as for the columns of an imported file.
        let schema = Self::from_arrow(&schema.to_arrow())?;
        schema.check_kept()?;
        Ok(schema)
    }

    /// Checks that a column can say when a row happened. Without columns any name will do: the first rows bring them.
    pub fn check_time(&self, column: &str) -> Result<(), Given> {
        if column.is_empty() {
            return Err(Given::NoName);
        }
        match self.field(column).map(|field| &field.kind) {
            _ if self.fields.is_empty() => Ok(()),
            Some(Type::Timestamp { .. } | Type::Date) => Ok(()),
            Some(other) => Err(Given::NotTime { column: column.into(), kind: other.to_string() }),
            None => Err(Given::NoTime { column: column.into() }),
        }
    }
}

/// Returns a property that reading the schema has passed over.
fn unknown<'a>(written: &'a Value, understood: &Value) -> Option<&'a str> {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            written.iter().find_map(|(name, value)| match understood.get(name) {
                Some(understood) => unknown(value, understood),
                // What it says by default is not written out again.
                None if name == "nullable" || (name == "zone" && value.is_null()) => None,
                None => Some(name.as_str()),
            })
        }
        (Value::Array(written), Value::Array(understood)) => {
            written.iter().zip(understood).find_map(|(one, other)| unknown(one, other))
        }
        _ => None,
    }
}
