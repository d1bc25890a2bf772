//! Turns columns as a file has them into columns as the table has them.
//!
//! Fields are matched by name, at every depth; what the file lacks is null; views, dictionaries and wide
//! offsets become their plain types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

/// Returns the column with the type `wanted`.
pub(crate) fn adapt(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if values.data_type() == wanted {
        return Ok(Arc::clone(values));
    }
    match (values.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(fields)) => structs(values.as_struct(), fields),
        (
            DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item),
            DataType::List(_),
        ) => {
            let list = strict_cast(values, &DataType::List(Arc::clone(item)))?;
            adapt(&list, wanted)
        }
        (DataType::List(_), DataType::List(item)) => list(values.as_list(), item),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            map(values.as_map(), entries, *sorted)
        }
        // Written anew with a type that the column got later; all rows of that time are null.
        (_, DataType::Null) => Ok(new_null_array(wanted, values.len())),
        _ => strict_cast(values, wanted),
    }
}

/// Casts; a value that does not fit is an error.
pub(crate) fn strict_cast(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, wanted, &options)
}

fn columns(values: &StructArray, fields: &Fields) -> Result<Vec<ArrayRef>, ArrowError> {
    let column = |field: &FieldRef| match values.column_by_name(field.name()) {
        Some(column) => adapt(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), values.len())),
    };
    fields.iter().map(column).collect()
}

fn structs(values: &StructArray, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    if fields.is_empty() {
        let nulls = values.nulls().cloned();
        return Ok(Arc::new(StructArray::new_empty_fields(values.len(), nulls)));
    }
    let columns = columns(values, fields)?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, values.nulls().cloned())?))
}

fn list(values: &ListArray, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let items = adapt(values.values(), item.data_type())?;
    let (offsets, nulls) = (values.offsets().clone(), values.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
}

/// Keys and values are matched by place: their names differ from writer to writer.
fn map(values: &MapArray, entries: &FieldRef, sorted: bool) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(ArrowError::CastError("the entries of a map are pairs".into()));
    };
    let [key, value] = fields.as_ref() else {
        return Err(ArrowError::CastError("the entries of a map are pairs".into()));
    };
    let pairs =
        vec![adapt(values.keys(), key.data_type())?, adapt(values.values(), value.data_type())?];
    let pairs = StructArray::try_new(fields.clone(), pairs, None)?;
    let (offsets, nulls) = (values.offsets().clone(), values.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, sorted)?))
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
