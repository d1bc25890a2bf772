//! Turns columns as a file has them into columns as the table has them.
//!
//! Fields are matched by name, at every depth; what the file lacks is null; views, dictionaries and wide
//! offsets become their plain types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

/// Returns the column with the type `wanted`.
pub(crate) fn adapt(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    Adapt { dictionaries: false }.column(values, wanted)
}

/// The same, but strings keep the dictionaries that they have, at every depth.
pub(crate) fn adapt_but_strings(
    values: &ArrayRef,
    wanted: &DataType,
) -> Result<ArrayRef, ArrowError> {
    Adapt { dictionaries: true }.column(values, wanted)
}

/// Returns the schema of columns of which some may have kept their dictionary.
pub(crate) fn schema_of(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let pairs = || schema.fields().iter().zip(columns);
    if pairs().all(|(field, column)| field.data_type() == column.data_type()) {
        return Arc::clone(schema);
    }
    let fields = pairs().map(|(field, column)| typed(field, column)).collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Casts; a value that does not fit is an error.
pub(crate) fn strict_cast(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, wanted, &options)
}

/// How columns are brought into their types.
#[derive(Clone, Copy)]
struct Adapt {
    /// Whether strings may keep their dictionaries.
    dictionaries: bool,
}

impl Adapt {
    fn column(self, values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
        if values.data_type() == wanted {
            return Ok(Arc::clone(values));
        }
        match (values.data_type(), wanted) {
            (DataType::Dictionary(key, kind), DataType::Utf8)
                if self.dictionaries && **key == DataType::Int32 && **kind == DataType::Utf8 =>
            {
                Ok(Arc::clone(values))
            }
            (DataType::Struct(_), DataType::Struct(fields)) => {
                self.structs(values.as_struct(), fields)
            }
            (
                DataType::LargeList(item)
                | DataType::FixedSizeList(item, _)
                | DataType::ListView(item)
                | DataType::LargeListView(item),
                DataType::List(_),
            ) => {
                let list = strict_cast(values, &DataType::List(Arc::clone(item)))?;
                self.column(&list, wanted)
            }
            (DataType::List(_), DataType::List(item)) => self.list(values.as_list(), item),
            (DataType::Map(..), DataType::Map(entries, sorted)) => {
                self.map(values.as_map(), entries, *sorted)
            }
            // Written anew with a type that the column got later; all rows of that time are null.
            (_, DataType::Null) => Ok(new_null_array(wanted, values.len())),
            _ => strict_cast(values, wanted),
        }
    }

    fn structs(self, values: &StructArray, fields: &Fields) -> Result<ArrayRef, ArrowError> {
        if fields.is_empty() {
            let nulls = values.nulls().cloned();
            return Ok(Arc::new(StructArray::new_empty_fields(values.len(), nulls)));
        }
        let column = |field: &FieldRef| match values.column_by_name(field.name()) {
            Some(column) => self.column(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), values.len())),
        };
        let columns = fields.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let fields = fields.iter().zip(&columns).map(|(field, column)| typed(field, column));
        let nulls = values.nulls().cloned();
        Ok(Arc::new(StructArray::try_new(fields.collect(), columns, nulls)?))
    }

    fn list(self, values: &ListArray, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let items = self.column(values.values(), item.data_type())?;
        let (offsets, nulls) = (values.offsets().clone(), values.nulls().cloned());
        Ok(Arc::new(ListArray::try_new(typed(item, &items), offsets, items, nulls)?))
    }

    /// Keys and values are matched by place: their names differ from writer to writer.
    fn map(
        self,
        values: &MapArray,
        entries: &FieldRef,
        sorted: bool,
    ) -> Result<ArrayRef, ArrowError> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(ArrowError::CastError("the entries of a map are pairs".into()));
        };
        let [key, value] = fields.as_ref() else {
            return Err(ArrowError::CastError("the entries of a map are pairs".into()));
        };
        let keys = self.column(values.keys(), key.data_type())?;
        let items = self.column(values.values(), value.data_type())?;
        let fields = Fields::from(vec![typed(key, &keys), typed(value, &items)]);
        let pairs = StructArray::try_new(fields.clone(), vec![keys, items], None)?;
        let entries = entries.as_ref().clone().with_data_type(DataType::Struct(fields));
        let (offsets, nulls) = (values.offsets().clone(), values.nulls().cloned());
        Ok(Arc::new(MapArray::try_new(Arc::new(entries), offsets, pairs, nulls, sorted)?))
    }
}

/// Returns the field with the type that its values have.
fn typed(field: &FieldRef, values: &ArrayRef) -> FieldRef {
    if field.data_type() == values.data_type() {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(values.data_type().clone()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Int64Array, StringArray, StringViewArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_struct_in_a_list_gets_the_field_it_lacks() {
        let old = Fields::from(vec![Field::new("a", DataType::Int64, true)]);
        let new = Fields::from(vec![
            Field::new("b", DataType::Utf8, true),
            Field::new("a", DataType::Int64, true),
        ]);
        let items =
            StructArray::new(old.clone(), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))], None);
        let values: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", DataType::Struct(old), true)),
            OffsetBuffer::from_lengths([2, 1]),
            Arc::new(items),
            None,
        ));
        let wanted = DataType::List(Arc::new(Field::new("item", DataType::Struct(new), true)));
        let adapted = adapt(&values, &wanted).unwrap();
        assert_eq!(adapted.data_type(), &wanted);
        let items = adapted.as_list::<i32>().values().as_struct().clone();
        assert_eq!(items.column(0).null_count(), 3);
        assert_eq!(items.column(1).as_ref(), &Int64Array::from(vec![1, 2, 3]) as &dyn Array);
    }

    #[test]
    fn views_become_plain_text() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None]));
        let adapted = adapt(&values, &DataType::Utf8).unwrap();
        assert_eq!(adapted.as_ref(), &StringArray::from(vec![Some("x"), None]) as &dyn Array);
    }
}
