//! What a column has taken so far, by its type.

use arrow::array::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    Float32Builder, Float64Builder, Int64Builder, NullBufferBuilder, StringBuilder, UInt64Builder,
};
use model::schema::{Type, Unit};

use super::{Column, IngestError, Record};

/// The greatest number of a `float16`.
const FLOAT16_MAX: f32 = 65_504.0;

/// Bytes of a text for which there is room at first.
const TEXT_BYTES: usize = 16;

/// The values of a column being built.
pub(super) enum Data {
    Null(usize),
    Boolean(BooleanBuilder),
    /// All integers but `uint64`, and durations.
    Integer {
        values: Int64Builder,
        min: i64,
        max: i64,
    },
    UInt64(UInt64Builder),
    /// `float32` and `float16`.
    Float32 {
        values: Float32Builder,
        max: f32,
    },
    Float64(Float64Builder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Decimal128(Decimal128Builder),
    Decimal256(Decimal256Builder),
    Date(Date32Builder),
    Time {
        values: Int64Builder,
        unit: Unit,
    },
    Instant {
        values: Int64Builder,
        unit: Unit,
        zoned: bool,
        /// Digits of a second that may be written.
        digits_max: usize,
    },
    /// Microseconds, of times and of numbers.
    Received(Int64Builder),
    List {
        offsets: Vec<i32>,
        valid: NullBufferBuilder,
        item: Box<Column>,
    },
    Struct(Record),
    Map {
        offsets: Vec<i32>,
        valid: NullBufferBuilder,
        key: Box<Column>,
        value: Box<Column>,
    },
}

impl Data {
    /// Makes room for some rows.
    pub(super) fn new(kind: &Type, path: &str, rows: usize) -> Result<Self, IngestError> {
        let integer = |min: i64, max: i64| Self::Integer {
            values: Int64Builder::with_capacity(rows),
            min,
            max,
        };
        Ok(match kind {
            Type::Null => Self::Null(0),
            Type::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            Type::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::Int64 | Type::Duration { .. } => integer(i64::MIN, i64::MAX),
            Type::UInt8 => integer(0, u8::MAX.into()),
            Type::UInt16 => integer(0, u16::MAX.into()),
            Type::UInt32 => integer(0, u32::MAX.into()),
            Type::UInt64 => Self::UInt64(UInt64Builder::with_capacity(rows)),
            Type::Float16 => {
                Self::Float32 { values: Float32Builder::with_capacity(rows), max: FLOAT16_MAX }
            }
            Type::Float32 => {
                Self::Float32 { values: Float32Builder::with_capacity(rows), max: f32::MAX }
            }
            Type::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            Type::String => Self::Text(StringBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            Type::Binary | Type::FixedBinary { .. } => {
                Self::Binary(BinaryBuilder::with_capacity(rows, rows * TEXT_BYTES))
            }
            Type::Decimal { precision, scale } if *precision > 38 => Self::Decimal256(
                Decimal256Builder::with_capacity(rows)
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Type::Decimal { precision, scale } => Self::Decimal128(
                Decimal128Builder::with_capacity(rows)
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Type::Date => Self::Date(Date32Builder::with_capacity(rows)),
            Type::Time { unit } => {
                Self::Time { values: Int64Builder::with_capacity(rows), unit: *unit }
            }
            Type::Timestamp { unit, zone } => Self::Instant {
                values: Int64Builder::with_capacity(rows),
                unit: *unit,
                zoned: zone.is_some(),
                digits_max: usize::MAX,
            },
            Type::Interval => {
                return Err(IngestError::NotFromText {
                    column: path.into(),
                    kind: kind.to_string(),
                });
            }
            Type::List { item } => Self::List {
                offsets: vec![0],
                valid: NullBufferBuilder::new(rows),
                item: Box::new(Column { path: path.into(), ..Column::new(item, path, rows)? }),
            },
            Type::Struct { fields } => Self::Struct(Record::new(fields, path, rows)?),
            Type::Map { key, value } => Self::Map {
                offsets: vec![0],
                valid: NullBufferBuilder::new(rows),
                key: Box::new(Column::new(key, path, rows)?),
                value: Box::new(Column::new(value, path, rows)?),
            },
        })
    }
}
