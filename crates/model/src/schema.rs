//! Schemas as Sluice writes and reads them: in manifests, in `--schema` files, in the catalog.
//!
//! The JSON is small and plain (`{"fields":[{"name":"price","type":"float64"}]}`) and maps one to one
//! to the Arrow types that the lake keeps. A schema's id is the hash of that JSON.

mod given;
mod types;

use std::sync::Arc;

use arrow_schema::{Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::failure::{Code, Failure, Fault};
use crate::ids::SchemaId;

pub use given::Given;
pub use types::{Type, Unit};

/// The columns of a dataset or of an export, in order.
///
/// ```
/// let schema: model::schema::Schema =
///     serde_json::from_str(r#"{"fields":[{"name":"at","type":"timestamp","unit":"us","zone":"UTC"}]}"#)
///         .expect("valid");
/// assert_eq!(schema.fields[0].name, "at");
/// assert!(schema.fields[0].nullable);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The columns.
    pub fields: Vec<Field>,
}

/// One column, or one field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name, unique among its siblings.
    pub name: String,
    /// The type.
    #[serde(flatten)]
    pub kind: Type,
    /// Whether a row may be without it; `true` unless said otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub nullable: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_true(value: &bool) -> bool {
    *value
}

/// What is wrong with a schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sluice has no name for the Arrow type.
    #[error("column `{column}` has type `{kind}`, which Sluice does not keep; cast it first")]
    Unsupported {
        /// The column.
        column: String,
        /// Arrow's name of the type.
        kind: String,
    },
    /// Files have no place for such a column.
    #[error("column `{column}` {why}")]
    Unusable {
        /// The column.
        column: String,
        /// What is wrong and what to do.
        why: &'static str,
    },
    /// Two siblings have the same name.
    #[error("column `{0}` appears twice")]
    Duplicate(String),
    /// The column was there with another type.
    #[error(
        "column `{column}` is `{have}` in the dataset and `{new}` in the input; cast one of them"
    )]
    Conflict {
        /// The column.
        column: String,
        /// The dataset's type.
        have: String,
        /// The input's type.
        new: String,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unsupported { .. } | Self::Unusable { .. } | Self::Duplicate(_) => Code::Invalid,
            Self::Conflict { .. } => Code::Conflict,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Source
    }
}

impl Schema {
    /// Returns the id: the first 16 hex digits of the SHA-256 of the schema's JSON.
    ///
    /// ```
    /// let empty = model::schema::Schema::default();
    /// assert_eq!(empty.id(), empty.clone().id());
    /// ```
    pub fn id(&self) -> SchemaId {
        let json = serde_json::to_vec(self).expect("a schema has only string keys");
        SchemaId::new(&digest::sha256_hex(&json)[..16])
    }

    /// Returns the column of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the Arrow schema with the same columns.
    pub fn to_arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(self.fields.iter().map(Field::to_arrow).collect::<Vec<_>>()))
    }

    /// Reads an Arrow schema; metadata is dropped, views and dictionaries become their plain types.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] and [`Error::Duplicate`].
    pub fn from_arrow(schema: &ArrowSchema) -> Result<Self, Error> {
        let fields = types::fields_from_arrow(schema.fields(), "")?;
        Ok(Self { fields })
    }

    /// Checks that a dataset can keep the columns: a query may have more types than files have.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for an interval and for a decimal of negative scale; [`Error::Unusable`] for a
    /// struct without fields, for map keys that may be null, for a column without a name and for more
    /// columns or nesting than [`crate::limits`] allow; at any depth.
    pub fn check_kept(&self) -> Result<(), Error> {
        types::check_kept(&self.fields)
    }

    /// Returns this schema with what `new` adds: a column more, or a field more inside a struct, which
    /// becomes nullable. A column that `new` lacks stays and must be nullable for the new rows.
    ///
    /// Shape: old columns first, in their order; then the new ones, in theirs.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where a column has another type, with both named.
    ///
    /// ```
    /// use model::schema::Schema;
    /// let read = |text| serde_json::from_str::<Schema>(text).expect("valid");
    /// let old = read(r#"{"fields":[{"name":"a","type":"int64"}]}"#);
    /// let new = read(r#"{"fields":[{"name":"b","type":"string"}]}"#);
    /// let both = old.evolve(&new).expect("additive");
    /// assert_eq!(both.fields.len(), 2);
    /// let clash = read(r#"{"fields":[{"name":"a","type":"string"}]}"#);
    /// let error = old.evolve(&clash).expect_err("types differ");
    /// assert!(error.to_string().contains("`int64`") && error.to_string().contains("`string`"));
    /// ```
    pub fn evolve(&self, new: &Self) -> Result<Self, Error> {
        let fields = types::merge_fields(&self.fields, &new.fields, "")?;
        Ok(Self { fields })
    }
}

impl Field {
    /// Makes a nullable column.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind, nullable: true }
    }

    /// Returns the Arrow field with the same name and type.
    pub fn to_arrow(&self) -> ArrowField {
        ArrowField::new(&self.name, self.kind.to_arrow(), self.nullable)
    }
}
