//! Which types Parquet holds, and as what.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit};
use model::schema::{Field as ModelField, Schema, Type};

use super::super::Error;
use super::KIND;

/// Refuses what Parquet has no place for: intervals, structs without fields, rows without columns.
pub(super) fn check(schema: &Schema) -> Result<(), Error> {
    if schema.fields.is_empty() {
        return Err(Error::NoColumns { format: KIND.name });
    }
    schema.fields.iter().try_for_each(|field| check_field(field, &field.name))
}

fn check_field(field: &ModelField, path: &str) -> Result<(), Error> {
    let below = |child: &ModelField| check_field(child, &format!("{path}.{}", child.name));
    match &field.kind {
        Type::Interval => refuse(field, path),
        Type::Struct { fields } if fields.is_empty() => refuse(field, path),
        Type::Struct { fields } => fields.iter().try_for_each(below),
        Type::List { item } => below(item),
        Type::Map { key, value } => below(key).and_then(|()| below(value)),
        _ => Ok(()),
    }
}

fn refuse(field: &ModelField, path: &str) -> Result<(), Error> {
    let kind = field.kind.to_string();
    Err(Error::Column { format: KIND.name, column: path.into(), kind })
}

/// Returns the schema as it is stored: Parquet counts no whole seconds, so they become milliseconds.
pub(super) fn stored(schema: &Schema) -> SchemaRef {
    let field = |field: &ModelField| stored_field(&Arc::new(field.to_arrow()));
    Arc::new(ArrowSchema::new(schema.fields.iter().map(field).collect::<Vec<_>>()))
}

fn stored_field(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(item) => DataType::List(stored_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(stored_field(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

/// Brings a column into its stored type.
///
/// # Errors
///
/// If a count of seconds is too large for milliseconds: some 292 million years from 1970.
pub(super) fn store(array: &ArrayRef, field: &Field) -> Result<ArrayRef, Error> {
    if array.data_type() == field.data_type() {
        return Ok(Arc::clone(array));
    }
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, field.data_type(), &exact)
        .map_err(|source| Error::Value { column: field.name().clone(), source })
}
