//! When rows were received elsewhere: a column of the input, by whatever name, that becomes `received_at`.
//!
//! Contract: every row has a time there or is bad. Times are text as in [`time`], taken as UTC where no zone is written,
//! timestamps and dates of Parquet, and whole numbers, which are milliseconds since 1970, as text too. Nothing is rounded.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use model::canonical::RECEIVED_AT;
use model::schema::{Field, Type, Unit};

use super::error::IngestError;
use super::shape::{Node, Shape};
use super::time;

/// Milliseconds since 1970 of the years that text can say, 0000 to 9999: a number beyond counts something else.
const MILLIS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Microseconds of a second.
const SECOND: i128 = 1_000_000;

/// Returns the column as a dataset keeps it.
pub(super) fn column() -> Field {
    Field::new(RECEIVED_AT, Type::Timestamp { unit: Unit::Us, zone: Some("UTC".into()) })
}

/// Returns the microseconds since 1970 that a text says.
pub(super) fn micros(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_millis(text.parse().ok()?);
    }
    time::instant(text)?.count(Unit::Us)
}

fn of_millis(count: i64) -> Option<i64> {
    MILLIS.contains(&count).then(|| count * 1_000)
}

/// Returns values that have a type already as the column, or the first row that has no time.
pub(super) fn convert(array: &ArrayRef) -> Result<ArrayRef, usize> {
    let micros = all_micros(array);
    match micros.iter().position(Option::is_none) {
        Some(row) => Err(row),
        None => Ok(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))),
    }
}

fn all_micros(array: &ArrayRef) -> Vec<Option<i64>> {
    let other = match array.data_type() {
        DataType::Utf8 => {
            return array.as_string::<i32>().iter().map(|text| micros(text?)).collect();
        }
        DataType::Timestamp(unit, _) => return of_timestamps(array, *unit),
        kind if kind.is_integer() => return of_integers(array, of_millis),
        DataType::Dictionary(_, value) => &**value,
        DataType::LargeUtf8 | DataType::Utf8View => &DataType::Utf8,
        DataType::Date32 | DataType::Date64 => &DataType::Timestamp(TimeUnit::Millisecond, None),
        _ => return vec![None; array.len()],
    };
    cast(array, other).map_or_else(|_| vec![None; array.len()], |array| all_micros(&array))
}

fn of_timestamps(array: &ArrayRef, unit: TimeUnit) -> Vec<Option<i64>> {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    of_integers(array, |count| {
        let micros = i128::from(count) * SECOND;
        (micros % per_second == 0).then(|| i64::try_from(micros / per_second).ok()).flatten()
    })
}

/// What 64 bits do not hold is null after the cast.
fn of_integers(array: &ArrayRef, micros: impl Fn(i64) -> Option<i64>) -> Vec<Option<i64>> {
    match cast(array, &DataType::Int64) {
        Ok(counts) => {
            counts.as_primitive::<Int64Type>().iter().map(|count| micros(count?)).collect()
        }
        Err(_) => vec![None; array.len()],
    }
}

/// Returns rows that come in as they happen: when they were received is for their commit to say, so `received_at` is null.
pub(super) fn live(batch: RecordBatch) -> RecordBatch {
    let Some((at, field)) = batch.schema_ref().column_with_name(RECEIVED_AT) else { return batch };
    if !field.is_nullable() {
        return batch;
    }
    let nothing = new_null_array(field.data_type(), batch.num_rows());
    let (schema, mut columns, _) = batch.into_parts();
    columns[at] = nothing;
    RecordBatch::try_new(schema, columns).expect("null is of any type")
}

/// The columns of a file that matter here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Columns {
    /// The one that says when.
    given: bool,
    /// One that is called `received_at`.
    own: bool,
}

impl Columns {
    /// Looks for them among names.
    pub(super) fn among<'a>(names: impl Iterator<Item = &'a String>, given: &str) -> Self {
        names.fold(Self::default(), |found, name| Self {
            given: found.given || name == given,
            own: found.own || name == RECEIVED_AT,
        })
    }

    /// Looks for them in rows of text.
    pub(super) fn of(node: &Node, given: &str) -> Self {
        let Shape::Object(fields) = &node.shape else { return Self::default() };
        let has = |name| fields.get(name).is_some();
        Self { given: has(given), own: has(RECEIVED_AT) }
    }

    /// Returns what was found in either place.
    pub(super) fn or(self, other: Self) -> Self {
        Self { given: self.given || other.given, own: self.own || other.own }
    }

    /// Refuses a file without the column, or with one called `received_at` besides.
    pub(super) fn check(self, file: &str, given: &str) -> Result<(), IngestError> {
        let (file, column) = (file.to_owned(), given.to_owned());
        match self {
            Self { given: false, .. } => Err(IngestError::NoReceiveTime { file, column }),
            Self { own: true, .. } if column != RECEIVED_AT => {
                Err(IngestError::ReceivedTwice { file, column })
            }
            Self { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_whole_numbers_are_times() {
        let check = |text: &str, want: Option<i64>| assert_eq!(micros(text), want, "{text}");
        check("1", Some(1_000));
        check("-1", Some(-1_000));
        check("0", Some(0));
        check("1700000000123", Some(1_700_000_000_123_000));
        check("253402300799999", Some(253_402_300_799_999_000));
        // Microseconds, by the look of it.
        check("1700000000123456", None);
        check("99999999999999999999", None);
        check("1970-01-01T00:00:00.000001Z", Some(1));
        check("1970-01-01T02:00:01+02:00", Some(1_000_000));
        check("1970-01-01 00:00", Some(0));
        check("1970-01-02", Some(86_400_000_000));
        check("1970-01-01T00:00:00.0000001Z", None);
        for text in ["", "-", "+1", " 1", "1.0", "1e3", "soon", "true"] {
            check(text, None);
        }
    }
}
