//! How large the result of a function will be, from its arguments: an estimate that is never too low.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int64Array, ListArray, StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, UInt64Type,
};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// Bytes that the longest number, time or truth value has as text.
const PLAIN_TEXT_BYTES: u64 = 64;

/// How the size of a result follows from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// The first argument, as often as the second says.
    Times,
    /// As many characters as the second argument says.
    Padded,
    /// As many values as the second argument says, of the size of the third.
    Resized,
    /// A list of the first argument, as often as the second says; nulls take room too.
    Copies,
    /// The values from the first argument, or 0, to the second, by the third.
    Series,
    /// All arguments one after another.
    Sum,
    /// The arguments after the first, with the first between them.
    Joined,
    /// The first argument, with every match of the second replaced by the third.
    Replaced,
    /// The same with a pattern, of which every character may match.
    PatternReplaced,
    /// Twice the first argument.
    Doubled,
    /// The values of the first argument as text, with the second between them and the third for null.
    Listed,
    /// The first argument, with each of its values replaced by the third.
    Exchanged,
}

/// An argument: one value for all rows, or one for each.
pub(super) struct Argument {
    values: ArrayRef,
    numbers: Option<Vec<Option<i128>>>,
    constant: bool,
}

impl Argument {
    pub(super) fn new(value: &ColumnarValue) -> Result<Self> {
        let (values, constant) = match value {
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
            ColumnarValue::Array(array) => (Arc::clone(array), false),
        };
        let values = match values.data_type() {
            DataType::Dictionary(_, kind) => cast(&values, kind)?,
            _ => values,
        };
        let numbers = whole_numbers(&values);
        Ok(Self { values, numbers, constant })
    }

    fn row(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    fn bytes(&self, row: usize) -> u64 {
        row_bytes(&self.values, self.row(row))
    }

    fn number(&self, row: usize) -> Option<i128> {
        *self.numbers.as_ref()?.get(self.row(row))?
    }

    /// How many values that are not lists the row holds.
    fn leaves(&self, row: usize) -> u64 {
        leaves(&self.values, self.row(row))
    }

    /// The value of a text in this row.
    fn text(&self, row: usize) -> Option<&str> {
        let row = self.row(row);
        if self.values.is_null(row) {
            return None;
        }
        match self.values.data_type() {
            DataType::Utf8 => Some(self.values.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.values.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.values.as_string_view().value(row)),
            _ => None,
        }
    }
}

/// Numbers as they are, times and intervals in nanoseconds (months at their shortest). No time of any unit
/// is too large for it.
fn whole_numbers(values: &ArrayRef) -> Option<Vec<Option<i128>>> {
    let scaled = |numbers: &Int64Array, unit: i128| {
        numbers.iter().map(|number| Some(i128::from(number?) * unit)).collect()
    };
    match values.data_type() {
        DataType::UInt64 => {
            let numbers = values.as_primitive::<UInt64Type>();
            Some(numbers.iter().map(|number| number.map(i128::from)).collect())
        }
        kind if kind.is_integer() => {
            Some(scaled(cast(values, &DataType::Int64).ok()?.as_primitive(), 1))
        }
        DataType::Date32 => {
            let days = values.as_primitive::<Date32Type>();
            Some(days.iter().map(|day| Some(i128::from(day?) * DAY)).collect())
        }
        DataType::Date64 => {
            let millis = values.as_primitive::<Date64Type>();
            Some(millis.iter().map(|milli| Some(i128::from(milli?) * 1_000_000)).collect())
        }
        DataType::Timestamp(unit, _) => {
            let unit = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1000,
                TimeUnit::Nanosecond => 1,
            };
            Some(scaled(cast(values, &DataType::Int64).ok()?.as_primitive(), unit))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let intervals = values.as_primitive::<IntervalMonthDayNanoType>();
            let nanos = intervals.iter().map(|interval| {
                let step = interval?;
                let days = i128::from(step.months) * 28 + i128::from(step.days);
                Some(days * DAY + i128::from(step.nanoseconds))
            });
            Some(nanos.collect())
        }
        _ => None,
    }
}

impl Growth {
    /// Bytes of the result in one row.
    pub(super) fn bytes(self, args: &[Argument], row: usize) -> u64 {
        let bytes = |index: usize| args.get(index).map_or(0, |arg| arg.bytes(row));
        let leaves = |index: usize| args.get(index).map_or(0, |arg| arg.leaves(row));
        let number = |index: usize| args.get(index).and_then(|arg| arg.number(row));
        let count = |index| u64::try_from(number(index).unwrap_or(0).max(0)).unwrap_or(u64::MAX);
        let sum = || (0..args.len()).fold(0_u64, |sum, index| sum.saturating_add(bytes(index)));
        match self {
            Self::Times => bytes(0).saturating_mul(count(1)),
            Self::Padded => count(1),
            Self::Resized => count(1).saturating_mul(bytes(2).max(8)),
            Self::Copies => bytes(0).max(8).saturating_mul(count(1)),
            Self::Series if args.len() == 1 => series(Some(0), number(0), None),
            Self::Series if args.get(2).is_some_and(|step| number_is_null(step, row)) => 0,
            Self::Series => series(number(0), number(1), number(2)),
            Self::Sum => sum(),
            Self::Joined => sum().saturating_add(bytes(0).saturating_mul(args.len() as u64)),
            Self::Replaced => replaced(args, row),
            Self::PatternReplaced => {
                let (text, new) = (bytes(0), bytes(2));
                let groups = args.get(2).and_then(|arg| arg.text(row)).unwrap_or_default();
                let groups = groups.matches(['$', '\\']).count() as u64;
                let all = text.saturating_mul(groups.saturating_add(1));
                all.saturating_add(text.saturating_add(1).saturating_mul(new))
            }
            Self::Doubled => bytes(0).saturating_mul(2),
            Self::Listed => {
                let between = bytes(1).saturating_add(bytes(2));
                let plain = PLAIN_TEXT_BYTES.saturating_add(between);
                bytes(0).saturating_add(leaves(0).saturating_mul(plain))
            }
            Self::Exchanged => {
                bytes(0).saturating_add(leaves(0).saturating_mul(bytes(2).saturating_add(4)))
            }
        }
    }
}

/// A step of null makes nothing.
fn number_is_null(step: &Argument, row: usize) -> bool {
    step.values.is_null(step.row(row))
}

/// Bytes of a series of numbers of eight bytes.
fn series(first: Option<i128>, last: Option<i128>, step: Option<i128>) -> u64 {
    let (Some(first), Some(last)) = (first, last) else { return 0 };
    let step = step.unwrap_or(1);
    if step == 0 || (last > first) != (step > 0) {
        return 0;
    }
    let values = (last - first) / step + 1;
    u64::try_from(values).unwrap_or(u64::MAX).saturating_mul(8)
}

fn replaced(args: &[Argument], row: usize) -> u64 {
    let text = |index: usize| args.get(index).and_then(|arg| arg.text(row)).unwrap_or_default();
    let (value, old, new) = (text(0), text(1), text(2));
    if old.is_empty() || new.len() <= old.len() {
        return value.len() as u64;
    }
    let matches = value.matches(old).count() as u64;
    (value.len() as u64).saturating_add(matches.saturating_mul((new.len() - old.len()) as u64))
}

/// Bytes of one row of a column, its nested values included.
fn row_bytes(values: &dyn Array, row: usize) -> u64 {
    if values.is_null(row) {
        return 0;
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value_length(row).unsigned_abs().into(),
        DataType::LargeUtf8 => values.as_string::<i64>().value_length(row).unsigned_abs(),
        DataType::Utf8View => values.as_string_view().value(row).len() as u64,
        DataType::Binary => values.as_binary::<i32>().value_length(row).unsigned_abs().into(),
        DataType::LargeBinary => values.as_binary::<i64>().value_length(row).unsigned_abs(),
        DataType::BinaryView => values.as_binary_view().value(row).len() as u64,
        DataType::List(_) => {
            let list: &ListArray = values.as_list();
            all_bytes(&list.value(row))
        }
        DataType::LargeList(_) => all_bytes(&values.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => {
            let list: &FixedSizeListArray = values.as_fixed_size_list();
            all_bytes(&list.value(row))
        }
        DataType::Struct(_) => {
            let fields: &StructArray = values.as_struct();
            fields.columns().iter().map(|column| row_bytes(column, row)).sum()
        }
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(values.as_map().value(row));
            all_bytes(&entries)
        }
        kind if kind.is_nested() => {
            let bytes = values.slice(row, 1).to_data().get_slice_memory_size();
            bytes.map_or(u64::MAX, |bytes| bytes as u64)
        }
        kind => kind.primitive_width().map_or(8, |width| width as u64),
    }
}

fn all_bytes(values: &ArrayRef) -> u64 {
    if let Some(width) = values.data_type().primitive_width() {
        return width as u64 * values.len() as u64;
    }
    (0..values.len()).map(|row| row_bytes(values, row).max(4)).sum()
}

/// How many values that are not lists a row of a column holds.
fn leaves(values: &dyn Array, row: usize) -> u64 {
    if values.is_null(row) {
        return 1;
    }
    let inner = match values.data_type() {
        DataType::List(_) => values.as_list::<i32>().value(row),
        DataType::LargeList(_) => values.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => values.as_fixed_size_list().value(row),
        kind if kind.is_nested() => return row_bytes(values, row),
        _ => return 1,
    };
    if inner.data_type().is_nested() {
        return (0..inner.len()).map(|row| leaves(&inner, row)).sum();
    }
    inner.len() as u64
}
