//! Brings rows that have types already to the types of the dataset.
//!
//! Contract: only conversions that lose nothing are allowed: integers among each other and to floats where
//! the value fits, a coarser time to a finer one, text to times, and Arrow's variants of one type. Anything
//! else is a conflict that names both types; a value that does not fit is named with its row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StructArray, new_null_array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field as ArrowField};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::canonical::RECEIVED_AT;
use model::schema::{self, Field, Schema, Type};

use super::block::kept_text;
use super::error::Reason;
use super::{receive, time};
use crate::read::adapt::strict_cast;

/// Returns the input's columns with the types they take beside the guide's.
pub(super) fn columns(guide: &[Field], input: &[Field]) -> Result<Vec<Field>, schema::Error> {
    fields(guide, input, "")
}

fn fields(guide: &[Field], input: &[Field], path: &str) -> Result<Vec<Field>, schema::Error> {
    let mut out = Vec::with_capacity(input.len());
    for field in input {
        let path = join(path, &field.name);
        out.push(match guide.iter().find(|have| have.name == field.name) {
            Some(have) => Field { kind: kind(&have.kind, &field.kind, &path)?, ..have.clone() },
            None => field.clone(),
        });
    }
    Ok(out)
}

fn kind(have: &Type, new: &Type, path: &str) -> Result<Type, schema::Error> {
    Ok(match (have, new) {
        (have, new) if have == new => have.clone(),
        (Type::Null, new) => new.clone(),
        (have, Type::Null) => have.clone(),
        (Type::Struct { fields: have }, Type::Struct { fields: new }) => {
            let mut all = have.clone();
            for field in fields(have, new, path)? {
                match all.iter_mut().find(|known| known.name == field.name) {
                    Some(known) => known.kind = field.kind,
                    None => all.push(field),
                }
            }
            Type::Struct { fields: all }
        }
        (Type::List { item: have }, Type::List { item: new }) => {
            let kind = kind(&have.kind, &new.kind, path)?;
            Type::List { item: Box::new(Field { kind, ..(**have).clone() }) }
        }
        (Type::Map { key, value: have }, Type::Map { key: other, value: new })
            if key.kind == other.kind =>
        {
            let kind = kind(&have.kind, &new.kind, path)?;
            Type::Map { key: key.clone(), value: Box::new(Field { kind, ..(**have).clone() }) }
        }
        (have, new) if converts(new, have) => have.clone(),
        (have, new) => {
            return Err(schema::Error::Conflict {
                column: path.into(),
                have: have.to_string(),
                new: new.to_string(),
            });
        }
    })
}

fn converts(from: &Type, to: &Type) -> bool {
    let integer = |kind: &Type| kind.to_arrow().is_integer();
    match (from, to) {
        (Type::Timestamp { unit: a, zone: x }, Type::Timestamp { unit: b, zone: y }) => {
            x.is_some() == y.is_some() && time::per_second(*a) <= time::per_second(*b)
        }
        (Type::Float16, Type::Float32 | Type::Float64)
        | (Type::Float32, Type::Float64)
        | (Type::Date, Type::Timestamp { zone: None, .. })
        | (Type::String, Type::Timestamp { .. } | Type::Date | Type::Time { .. }) => true,
        (from, to) => integer(from) && (integer(to) || *to == Type::Float64),
    }
}

/// Makes every nested field and every column nullable: only a schema that a person gave forbids nulls.
pub(super) fn relaxed(fields: &[Field]) -> Vec<Field> {
    fields.iter().map(|field| Field::new(&field.name, relaxed_type(&field.kind))).collect()
}

fn relaxed_type(kind: &Type) -> Type {
    match kind {
        // One name for the items of lists, whatever the writer called them.
        Type::List { item } => {
            Type::List { item: Box::new(Field::new("item", relaxed_type(&item.kind))) }
        }
        Type::Struct { fields } => Type::Struct { fields: relaxed(fields) },
        Type::Map { key, value } => Type::Map {
            key: Box::new(Field { nullable: false, ..Field::new("key", relaxed_type(&key.kind)) }),
            value: Box::new(Field::new("value", relaxed_type(&value.kind))),
        },
        plain => plain.clone(),
    }
}

/// A row that cannot be converted.
#[derive(Debug)]
pub(super) struct BadRow {
    /// Its place in the batch.
    pub(super) row: usize,
    pub(super) reason: Reason,
}

impl BadRow {
    /// Returns the row as JSON; empty where JSON cannot say it.
    pub(super) fn text(&self, rows: &RecordBatch) -> String {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        match writer.write(&rows.slice(self.row, 1)).and_then(|()| writer.finish()) {
            Ok(()) => kept_text(writer.get_ref().trim_ascii_end()),
            Err(_) => String::new(),
        }
    }
}

/// Returns the rows that can be converted, and what is wrong with the others, in order.
pub(super) fn good_rows(
    rows: &RecordBatch,
    schema: &Schema,
    received: Option<&str>,
) -> (RecordBatch, Vec<BadRow>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    // Halved again and again: where few rows are bad, few conversions are made twice.
    let mut open = vec![(0, rows.num_rows())];
    while let Some((first, count)) = open.pop() {
        match batch(&rows.slice(first, count), schema, received) {
            Ok(converted) => good.push(converted),
            Err(one) if count == 1 => bad.push(BadRow { row: first, ..one }),
            Err(_) => {
                let half = count / 2;
                open.extend([(first + half, count - half), (first, half)]);
            }
        }
    }
    let good = concat_batches(&schema.to_arrow(), &good);
    (good.expect("all were made with the columns of one schema"), bad)
}

/// Returns the rows with the columns of the schema; what the batch lacks is null. `received` is the name of the column that becomes
/// `received_at`.
pub(super) fn batch(
    batch: &RecordBatch,
    schema: &Schema,
    received: Option<&str>,
) -> Result<RecordBatch, BadRow> {
    let rows = batch.num_rows();
    let arrow = schema.to_arrow();
    let mut columns = Vec::with_capacity(schema.fields.len());
    for (field, target) in schema.fields.iter().zip(arrow.fields()) {
        let column = match (batch.column_by_name(&field.name), received) {
            (_, Some(given)) if field.name == RECEIVED_AT => received_at(batch, field, given)?,
            // What the dataset has under that name is not what the input means.
            (_, Some(given)) if field.name == given => new_null_array(target.data_type(), rows),
            (Some(array), _) => convert(array, target.data_type())
                .ok_or_else(|| first_bad(array, field, target.data_type()))?,
            (None, _) => new_null_array(target.data_type(), rows),
        };
        if !field.nullable && column.null_count() > 0 {
            let row = (0..rows).find(|&row| column.is_null(row)).unwrap_or(0);
            return Err(BadRow { row, reason: Reason::Missing { column: field.name.clone() } });
        }
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let made = RecordBatch::try_new_with_options(arrow, columns, &options);
    Ok(made.expect("every column was made with its field's type"))
}

fn received_at(batch: &RecordBatch, field: &Field, given: &str) -> Result<ArrayRef, BadRow> {
    let array = batch.column_by_name(given).expect("the file was planned with it");
    receive::convert(array).map_err(|row| {
        let column = given.to_owned();
        if array.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
            return BadRow { row, reason: Reason::Missing { column } };
        }
        bad(array, row, column, &field.kind)
    })
}

fn first_bad(array: &ArrayRef, field: &Field, to: &DataType) -> BadRow {
    let row =
        (0..array.len()).find(|&row| convert(&array.slice(row, 1), to).is_none()).unwrap_or(0);
    bad(array, row, field.name.clone(), &field.kind)
}

fn bad(array: &ArrayRef, row: usize, column: String, kind: &Type) -> BadRow {
    let options = FormatOptions::default().with_display_error(true);
    let value = ArrayFormatter::try_new(array, &options)
        .map_or_else(|_| "this value".to_owned(), |format| format.value(row).to_string());
    BadRow { row, reason: Reason::Value { column, have: kind.to_string(), value } }
}

/// Returns the array with another type; `None` if a value does not fit.
fn convert(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    if array.data_type() == to {
        return Some(array.clone());
    }
    match (array.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = array.as_struct();
            let child = |field: &Arc<ArrowField>| match from.column_by_name(field.name()) {
                Some(child) => convert(child, field.data_type()),
                None => Some(new_null_array(field.data_type(), from.len())),
            };
            let columns = fields.iter().map(child).collect::<Option<Vec<_>>>()?;
            let made = StructArray::try_new(fields.clone(), columns, from.nulls().cloned());
            made.ok().map(|array| Arc::new(array) as ArrayRef)
        }
        (DataType::List(_), DataType::List(item)) => {
            let from = array.as_list::<i32>();
            let values = convert(from.values(), item.data_type())?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            let made = ListArray::try_new(item.clone(), offsets, values, nulls);
            made.ok().map(|array| Arc::new(array) as ArrayRef)
        }
        (
            DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item),
            DataType::List(_),
        ) => {
            let plain = cast(array, &DataType::List(item.clone())).ok()?;
            convert(&plain, to)
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let from = array.as_map();
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let key = convert(from.keys(), pair[0].data_type())?;
            let value = convert(from.values(), pair[1].data_type())?;
            let pairs = StructArray::try_new(pair.clone(), vec![key, value], None).ok()?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            let made = MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted);
            made.ok().map(|array| Arc::new(array) as ArrayRef)
        }
        (DataType::Dictionary(_, value), _) if **value != *to => {
            convert(&cast(array, value).ok()?, to)
        }
        (DataType::LargeUtf8 | DataType::Utf8View, to) if *to != DataType::Utf8 => {
            convert(&cast(array, &DataType::Utf8).ok()?, to)
        }
        (
            DataType::Utf8,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_) | DataType::Time64(_),
        ) => times_of_text(array, to),
        (from, DataType::Float64) if from.is_integer() => {
            let floats = strict_cast(array, to).ok()?;
            // A number beyond 53 bits is rounded by the cast, which does not fail.
            let back = strict_cast(&floats, from).ok()?;
            (back.to_data() == array.to_data()).then_some(floats)
        }
        _ => strict_cast(array, to).ok(),
    }
}

fn times_of_text(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    let kind = Schema::from_arrow(&arrow::datatypes::Schema::new(vec![ArrowField::new(
        "time",
        to.clone(),
        true,
    )]))
    .ok()?
    .fields
    .remove(0)
    .kind;
    let count = |text: &str| match &kind {
        Type::Timestamp { unit, zone } => {
            time::instant(text).filter(|at| at.zoned == zone.is_some())?.count(*unit)
        }
        Type::Time { unit } => time::time_of_day(text, *unit),
        _ => {
            Some(time::date(text)?.and_time(chrono::NaiveTime::MIN).and_utc().timestamp() / 86_400)
        }
    };
    let mut counts = Vec::with_capacity(array.len());
    for text in array.as_string::<i32>() {
        counts.push(match text {
            Some(text) => Some(count(text)?),
            None => None,
        });
    }
    let counts: ArrayRef = Arc::new(Int64Array::from(counts));
    let narrow = matches!(to, DataType::Date32 | DataType::Time32(_));
    let counts = if narrow { cast(&counts, &DataType::Int32).ok()? } else { counts };
    cast(&counts, to).ok()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Int32Array, StringArray};
    use model::schema::Unit;

    use super::*;

    #[test]
    fn allows_what_loses_nothing() {
        let check = |have: Type, new: Type, fits: bool| {
            let result = columns(&[Field::new("x", have.clone())], &[Field::new("x", new.clone())]);
            assert_eq!(result.is_ok(), fits, "{new} into {have}");
        };
        let at = |unit, zone: Option<&str>| Type::Timestamp { unit, zone: zone.map(str::to_owned) };
        check(Type::Float64, Type::Int64, true);
        check(Type::Int64, Type::Float64, false);
        check(Type::Int64, Type::Int32, true);
        check(Type::String, Type::Int64, false);
        check(Type::Null, Type::Int64, true);
        check(at(Unit::Ns, None), at(Unit::Us, None), true);
        check(at(Unit::Us, None), at(Unit::Ns, None), false);
        check(at(Unit::Us, None), at(Unit::Us, Some("UTC")), false);
        check(at(Unit::Us, Some("UTC")), Type::String, true);
    }

    #[test]
    fn an_integer_that_a_float_cannot_hold_is_bad() {
        let numbers =
            vec![Some(1), None, Some(9_007_199_254_740_993), Some(i64::MAX), Some(1 << 60)];
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
        let rows = RecordBatch::try_from_iter(vec![("n", numbers)]).unwrap();
        let schema = Schema { fields: vec![Field::new("n", Type::Float64)] };
        let (good, bad) = good_rows(&rows, &schema, None);
        assert_eq!(good.num_rows(), 3);
        assert_eq!(bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(bad[0].text(&rows), "{\"n\":9007199254740993}");
    }

    #[test]
    fn names_the_row_that_does_not_fit() {
        let rows = RecordBatch::try_from_iter(vec![
            ("n", Arc::new(Int32Array::from(vec![1, 300])) as ArrayRef),
            ("t", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z", "soon"])) as ArrayRef),
        ])
        .unwrap();
        let schema = |field: Field| Schema { fields: vec![field] };
        let bad = batch(&rows, &schema(Field::new("n", Type::UInt8)), None).unwrap_err();
        assert_eq!(
            (bad.row, bad.reason.to_string()),
            (1, "column `n` is `uint8`, which `300` is not".into())
        );
        let at = Type::Timestamp { unit: Unit::Us, zone: Some("UTC".into()) };
        let bad = batch(&rows, &schema(Field::new("t", at)), None).unwrap_err();
        assert_eq!(
            (bad.row, bad.reason.to_string()),
            (1, "column `t` is `timestamp(us, UTC)`, which `soon` is not".into())
        );
    }
}
