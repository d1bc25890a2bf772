//! Numbers, booleans, times and bytes as text.

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArrayType, BooleanArray,
};
use arrow::array::{PrimitiveArray, StringArrayType};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::temporal::{self, MICROS, MILLIS, NANOS, Precision, SECONDS};
use super::{AnyCell, Cell, Form, Instants, Out};

const MILLIS_PER_DAY: i64 = 86_400_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Returns the cells of a scalar column that is no string, and how its text stands in JSON. Floats are
/// written as `NaN`, `inf` and `-inf` where they are no number.
pub(super) fn plain(array: &ArrayRef, instants: Instants) -> Option<(AnyCell, Form)> {
    Some(match array.data_type() {
        DataType::Null => (fixed(b"null"), Form::Bare),
        DataType::Boolean => (Box::new(Booleans(array.as_boolean().clone())), Form::Bare),
        DataType::Int8 => (integers::<Int8Type>(array), Form::Bare),
        DataType::Int16 => (integers::<Int16Type>(array), Form::Bare),
        DataType::Int32 => (integers::<Int32Type>(array), Form::Bare),
        DataType::Int64 => (integers::<Int64Type>(array), Form::Wide),
        DataType::UInt8 => (integers::<UInt8Type>(array), Form::Bare),
        DataType::UInt16 => (integers::<UInt16Type>(array), Form::Bare),
        DataType::UInt32 => (integers::<UInt32Type>(array), Form::Bare),
        DataType::UInt64 => (integers::<UInt64Type>(array), Form::Wide),
        DataType::Float16 => {
            (each::<Float16Type, _>(array, |v, out| float(v.to_f32(), out)), Form::Bare)
        }
        DataType::Float32 => (each::<Float32Type, _>(array, float), Form::Bare),
        DataType::Float64 => (each::<Float64Type, _>(array, float), Form::Bare),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => (decimals(array)?, Form::Wide),
        DataType::Binary => (Box::new(Bytes(array.as_binary::<i32>().clone())), Form::Quoted),
        DataType::LargeBinary => (Box::new(Bytes(array.as_binary::<i64>().clone())), Form::Quoted),
        DataType::BinaryView => (Box::new(Bytes(array.as_binary_view().clone())), Form::Quoted),
        DataType::FixedSizeBinary(_) => {
            (Box::new(Bytes(array.as_fixed_size_binary().clone())), Form::Quoted)
        }
        _ => (times(array, instants)?, Form::Quoted),
    })
}

/// Returns the cells of a float column as JSON, where NaN and infinities become null and are counted.
pub(super) fn json_floats(array: &ArrayRef) -> Option<AnyCell> {
    fn finite<F: ryu::Float>(value: F, is_finite: bool, out: &mut Out) {
        if is_finite {
            out.bytes.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        } else {
            out.lost += 1;
            out.bytes.extend_from_slice(b"null");
        }
    }
    Some(match array.data_type() {
        DataType::Float16 => each::<Float16Type, _>(array, |value, out| {
            finite(value.to_f32(), value.is_finite(), out);
        }),
        DataType::Float32 => {
            each::<Float32Type, _>(array, |value, out| finite(value, value.is_finite(), out))
        }
        DataType::Float64 => {
            each::<Float64Type, _>(array, |value, out| finite(value, value.is_finite(), out))
        }
        _ => return None,
    })
}

/// Returns the cells of a string column as they are.
pub(super) fn raw_strings(array: &ArrayRef) -> Option<AnyCell> {
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(Raw(array.as_string::<i32>().clone())),
        DataType::LargeUtf8 => Box::new(Raw(array.as_string::<i64>().clone())),
        DataType::Utf8View => Box::new(Raw(array.as_string_view().clone())),
        _ => return None,
    })
}

fn times(array: &ArrayRef, instants: Instants) -> Option<AnyCell> {
    use DataType::{Date32, Date64, Duration, Interval, Time32, Time64, Timestamp};
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Some(match array.data_type() {
        Date32 => {
            each::<Date32Type, _>(array, |days, out| temporal::date(days.into(), &mut out.bytes))
        }
        Date64 => each::<Date64Type, _>(array, |millis, out| {
            temporal::date(millis.div_euclid(MILLIS_PER_DAY), &mut out.bytes);
        }),
        Time32(Second) => clock::<Time32SecondType>(array, SECONDS),
        Time32(_) => clock::<Time32MillisecondType>(array, MILLIS),
        Time64(Microsecond) => clock::<Time64MicrosecondType>(array, MICROS),
        Time64(_) => clock::<Time64NanosecondType>(array, NANOS),
        Timestamp(unit, zone) => {
            let around = match (instants, zone) {
                (Instants::Iso, Some(_)) => (b'T', &b"Z"[..]),
                (Instants::Iso, None) => (b'T', &b""[..]),
                (Instants::Sql, Some(_)) => (b' ', &b" UTC"[..]),
                (Instants::Sql, None) => (b' ', &b""[..]),
            };
            match unit {
                Second => instant::<TimestampSecondType>(array, SECONDS, around),
                Millisecond => instant::<TimestampMillisecondType>(array, MILLIS, around),
                Microsecond => instant::<TimestampMicrosecondType>(array, MICROS, around),
                Nanosecond => instant::<TimestampNanosecondType>(array, NANOS, around),
            }
        }
        Duration(Second) => span::<DurationSecondType>(array, SECONDS),
        Duration(Millisecond) => span::<DurationMillisecondType>(array, MILLIS),
        Duration(Microsecond) => span::<DurationMicrosecondType>(array, MICROS),
        Duration(Nanosecond) => span::<DurationNanosecondType>(array, NANOS),
        Interval(IntervalUnit::YearMonth) => each::<IntervalYearMonthType, _>(array, |v, out| {
            temporal::interval(v, 0, 0, &mut out.bytes);
        }),
        Interval(IntervalUnit::DayTime) => each::<IntervalDayTimeType, _>(array, |v, out| {
            let nanos = i64::from(v.milliseconds) * NANOS_PER_MILLI;
            temporal::interval(0, v.days, nanos, &mut out.bytes);
        }),
        Interval(IntervalUnit::MonthDayNano) => {
            each::<IntervalMonthDayNanoType, _>(array, |v, out| {
                temporal::interval(v.months, v.days, v.nanoseconds, &mut out.bytes);
            })
        }
        _ => return None,
    })
}

fn decimals(array: &ArrayRef) -> Option<AnyCell> {
    Some(match *array.data_type() {
        DataType::Decimal32(_, scale) => each::<Decimal32Type, _>(array, move |value, out| {
            decimal(itoa::Buffer::new().format(value), scale, out);
        }),
        DataType::Decimal64(_, scale) => each::<Decimal64Type, _>(array, move |value, out| {
            decimal(itoa::Buffer::new().format(value), scale, out);
        }),
        DataType::Decimal128(_, scale) => each::<Decimal128Type, _>(array, move |value, out| {
            decimal(itoa::Buffer::new().format(value), scale, out);
        }),
        // The standard library prints no 256 bits; a value of more than 38 digits may cost an allocation.
        DataType::Decimal256(_, scale) => each::<Decimal256Type, _>(array, move |value, out| {
            decimal(&value.to_string(), scale, out);
        }),
        _ => return None,
    })
}

/// Appends an integer's digits with the decimal point where the scale puts it.
fn decimal(integer: &str, scale: i8, out: &mut Out) {
    let out = &mut out.bytes;
    let (sign, digits) = match integer.strip_prefix('-') {
        Some(digits) => (b"-".as_slice(), digits.as_bytes()),
        None => (b"".as_slice(), integer.as_bytes()),
    };
    let places = usize::from(scale.unsigned_abs());
    out.extend_from_slice(sign);
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.zeros(places);
        }
    } else if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.zeros(places - digits.len());
        out.extend_from_slice(digits);
    }
}

fn float<F: ryu::Float>(value: F, out: &mut Out) {
    out.bytes.extend_from_slice(ryu::Buffer::new().format(value).as_bytes());
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> AnyCell
where
    T::Native: itoa::Integer,
{
    each::<T, _>(array, |value, out| {
        out.bytes.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    })
}

fn clock<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &ArrayRef,
    precision: Precision,
) -> AnyCell {
    each::<T, _>(array, move |value, out| temporal::time(value.into(), precision, &mut out.bytes))
}

fn span<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &ArrayRef,
    precision: Precision,
) -> AnyCell {
    each::<T, _>(array, move |value, out| {
        temporal::duration(value.into(), precision, &mut out.bytes);
    })
}

fn instant<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &ArrayRef,
    precision: Precision,
    around: (u8, &'static [u8]),
) -> AnyCell {
    let instants = temporal::Instants::new(precision, around);
    each::<T, _>(array, move |value, out| instants.write(value.into(), &mut out.bytes))
}

fn fixed(text: &'static [u8]) -> AnyCell {
    struct Fixed(&'static [u8]);
    impl Cell for Fixed {
        fn write(&self, _row: usize, out: &mut Out) {
            out.bytes.extend_from_slice(self.0);
        }
    }
    Box::new(Fixed(text))
}

/// A column of numbers with a function that writes one; a type of its own per function, so that the
/// compiler sees the whole cell.
struct Each<T: ArrowPrimitiveType, F> {
    values: PrimitiveArray<T>,
    write: F,
}

impl<T: ArrowPrimitiveType, F: Fn(T::Native, &mut Out) + Send> Cell for Each<T, F> {
    fn write(&self, row: usize, out: &mut Out) {
        (self.write)(self.values.value(row), out);
    }
}

fn each<T, F>(array: &ArrayRef, write: F) -> AnyCell
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, &mut Out) + Send + 'static,
{
    Box::new(Each { values: array.as_primitive::<T>().clone(), write })
}

struct Booleans(BooleanArray);

impl Cell for Booleans {
    fn write(&self, row: usize, out: &mut Out) {
        let text: &[u8] = if self.0.value(row) { b"true" } else { b"false" };
        out.bytes.extend_from_slice(text);
    }
}

struct Raw<A>(A);

impl<A: Array + Send> Cell for Raw<A>
where
    for<'a> &'a A: StringArrayType<'a>,
{
    fn write(&self, row: usize, out: &mut Out) {
        out.bytes.extend_from_slice(ArrayAccessor::value(&&self.0, row).as_bytes());
    }
}

/// Bytes as base64, standard alphabet, padded.
struct Bytes<A>(A);

impl<A: Array + Send> Cell for Bytes<A>
where
    for<'a> &'a A: BinaryArrayType<'a>,
{
    fn write(&self, row: usize, out: &mut Out) {
        let value = ArrayAccessor::value(&&self.0, row);
        let length = value.len().div_ceil(3) * 4;
        let room = &mut out.bytes.room(length)[..length];
        STANDARD.encode_slice(value, room).expect("room was made for all of it");
        out.bytes.advance(length);
    }
}
