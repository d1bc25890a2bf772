//! Batches of any types with the values that break encoders.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, ListArray, MapArray, NullArray, PrimitiveArray, RecordBatch, StringArray,
    StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Field as ArrowField, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type, i256,
};
use model::schema::{Field, Schema, Type, Unit};

const SECONDS_OF_YEAR_1: i64 = -62_135_596_800;
const SECONDS_OF_YEAR_10000: i64 = 253_402_300_800;
const DAY: i64 = 86_400;

/// A stream of numbers that a seed decides.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    /// A number from `start` up to `end`, often an end.
    fn between(&mut self, start: i64, end: i64) -> i64 {
        match self.below(8) {
            0 => start,
            1 => end - 1,
            _ => start + i64::try_from(self.roll() % end.abs_diff(start)).unwrap_or(0),
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn valid(&mut self) -> bool {
        self.below(6) > 0
    }

    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "",
            " ",
            ",",
            "\"",
            "\\",
            "\r",
            "\n",
            "\r\n",
            "\t",
            "\0",
            "\u{1}",
            "\u{1f}",
            "\u{7f}",
            "é",
            "😀",
            "\u{2028}",
            "null",
            "NULL",
            "\\N",
            "\\\"",
            "\"\"",
            "NaN",
            "0",
            "-1.5",
            "true",
            "{}",
            "[",
            "'",
            "a",
            "plain words",
            "2020-01-01",
            "/",
        ];
        let pieces = self.one(&[0, 1, 1, 2, 3, 9]);
        (0..pieces).map(|_| self.one(PIECES)).collect()
    }
}

/// Draws a schema of so many columns.
pub(crate) fn any_schema(dice: &mut Dice, columns: usize) -> Schema {
    let column = |at| Field::new(name(dice, at), any_type(dice, 2));
    Schema { fields: (0..columns).map(column).collect() }
}

fn name(dice: &mut Dice, at: usize) -> String {
    format!("{}{at}", dice.one(&["c", "a \"b\"", "x,y", "ü\\", " ", "line\n"]))
}

fn any_type(dice: &mut Dice, depth: usize) -> Type {
    if depth > 0 && dice.below(3) == 0 {
        let inner = any_type(dice, depth - 1);
        return match dice.below(3) {
            0 => Type::List { item: Box::new(Field::new("item", inner)) },
            1 => {
                let other = any_type(dice, depth - 1);
                Type::Struct { fields: vec![Field::new("p \"q\"", inner), Field::new("r", other)] }
            }
            _ => {
                let key = Field { name: "key".into(), kind: Type::String, nullable: false };
                Type::Map { key: Box::new(key), value: Box::new(Field::new("value", inner)) }
            }
        };
    }
    let zone = Some("UTC".to_owned());
    let kinds = [
        Type::Null,
        Type::Boolean,
        Type::Int8,
        Type::Int16,
        Type::Int32,
        Type::Int64,
        Type::UInt8,
        Type::UInt16,
        Type::UInt32,
        Type::UInt64,
        Type::Float32,
        Type::Float64,
        Type::Decimal { precision: 9, scale: 0 },
        Type::Decimal { precision: 38, scale: 10 },
        Type::Decimal { precision: 76, scale: 20 },
        Type::String,
        Type::String,
        Type::Date,
        Type::Time { unit: Unit::S },
        Type::Time { unit: Unit::Ms },
        Type::Time { unit: Unit::Us },
        Type::Time { unit: Unit::Ns },
        Type::Timestamp { unit: Unit::S, zone: None },
        Type::Timestamp { unit: Unit::Ms, zone: zone.clone() },
        Type::Timestamp { unit: Unit::Us, zone },
        Type::Timestamp { unit: Unit::Ns, zone: None },
    ];
    kinds[dice.below(kinds.len())].clone()
}

/// Draws rows for a schema. The arrays are slices of longer ones.
pub(crate) fn any_rows(dice: &mut Dice, schema: &Schema, rows: usize) -> RecordBatch {
    let before = dice.below(4);
    let arrays =
        schema.fields.iter().map(|field| any_array(dice, &field.kind, before + rows + 1)).collect();
    let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
    batch.slice(before, rows)
}

fn numbers<T: ArrowPrimitiveType>(
    dice: &mut Dice,
    rows: usize,
    mut draw: impl FnMut(&mut Dice) -> T::Native,
) -> PrimitiveArray<T> {
    let mut value = || if dice.valid() { Some(draw(dice)) } else { None };
    (0..rows).map(|_| value()).collect()
}

fn whole<T: ArrowPrimitiveType<Native: Copy + TryFrom<i128>>>(
    dice: &mut Dice,
    rows: usize,
    (least, most): (i128, i128),
) -> ArrayRef {
    let draw = |dice: &mut Dice| {
        let number = match dice.below(6) {
            0 => least,
            1 => most,
            2 => 0,
            _ => least + i128::from(dice.roll()) % (most - least + 1),
        };
        T::Native::try_from(number).unwrap_or_else(|_| panic!("{number} is in range"))
    };
    Arc::new(numbers::<T>(dice, rows, draw))
}

fn times<T: ArrowTimestampType>(
    dice: &mut Dice,
    rows: usize,
    ticks: i64,
    zone: Option<&String>,
) -> ArrayRef {
    let least = SECONDS_OF_YEAR_1.saturating_mul(ticks);
    let end = SECONDS_OF_YEAR_10000.saturating_mul(ticks);
    let array = numbers::<T>(dice, rows, |dice| dice.between(least, end));
    Arc::new(array.with_timezone_opt(zone.map(String::as_str)))
}

fn any_array(dice: &mut Dice, kind: &Type, rows: usize) -> ArrayRef {
    match kind {
        Type::Int8 => whole::<Int8Type>(dice, rows, (i8::MIN.into(), i8::MAX.into())),
        Type::Int16 => whole::<Int16Type>(dice, rows, (i16::MIN.into(), i16::MAX.into())),
        Type::Int32 => whole::<Int32Type>(dice, rows, (i32::MIN.into(), i32::MAX.into())),
        Type::Int64 => whole::<Int64Type>(dice, rows, (i64::MIN.into(), i64::MAX.into())),
        Type::UInt8 => whole::<UInt8Type>(dice, rows, (0, u8::MAX.into())),
        Type::UInt16 => whole::<UInt16Type>(dice, rows, (0, u16::MAX.into())),
        Type::UInt32 => whole::<UInt32Type>(dice, rows, (0, u32::MAX.into())),
        Type::UInt64 => whole::<UInt64Type>(dice, rows, (0, u64::MAX.into())),
        Type::Date => whole::<Date32Type>(
            dice,
            rows,
            ((SECONDS_OF_YEAR_1 / DAY).into(), (SECONDS_OF_YEAR_10000 / DAY - 1).into()),
        ),
        Type::Time { unit: Unit::S } => whole::<Time32SecondType>(dice, rows, day(1)),
        Type::Time { unit: Unit::Ms } => whole::<Time32MillisecondType>(dice, rows, day(1_000)),
        Type::Time { unit: Unit::Us } => whole::<Time64MicrosecondType>(dice, rows, day(1_000_000)),
        Type::Time { unit: Unit::Ns } => {
            whole::<Time64NanosecondType>(dice, rows, day(1_000_000_000))
        }
        Type::Timestamp { unit, zone } => {
            let zone = zone.as_ref();
            match unit {
                Unit::S => times::<TimestampSecondType>(dice, rows, 1, zone),
                Unit::Ms => times::<TimestampMillisecondType>(dice, rows, 1_000, zone),
                Unit::Us => times::<TimestampMicrosecondType>(dice, rows, 1_000_000, zone),
                Unit::Ns => times::<TimestampNanosecondType>(dice, rows, 1_000_000_000, zone),
            }
        }
        _ => any_other_array(dice, kind, rows),
    }
}

fn day(ticks: i128) -> (i128, i128) {
    (0, i128::from(DAY) * ticks - 1)
}

fn any_other_array(dice: &mut Dice, kind: &Type, rows: usize) -> ArrayRef {
    match kind {
        Type::Null => Arc::new(NullArray::new(rows)),
        Type::Boolean => {
            let mut value = || if dice.valid() { Some(dice.below(2) == 0) } else { None };
            Arc::new((0..rows).map(|_| value()).collect::<BooleanArray>())
        }
        Type::Float32 => Arc::new(numbers::<Float32Type>(dice, rows, |dice| match dice.below(4) {
            0 => dice.one(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, 1e-45]),
            1 => 0.1,
            _ => finite32(f32::from_bits(u32::try_from(dice.roll() >> 32).unwrap())),
        })),
        Type::Float64 => Arc::new(numbers::<Float64Type>(dice, rows, |dice| match dice.below(4) {
            0 => dice.one(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, 5e-324]),
            1 => 0.1,
            _ => finite64(f64::from_bits(dice.roll())),
        })),
        Type::Decimal { precision, scale } if *precision > 38 => {
            let limit = i256::from_i128(10_i128.pow(38) - 1);
            let draw = |dice: &mut Dice| match dice.below(4) {
                0 => limit.wrapping_mul(limit),
                1 => i256::ZERO,
                _ => i256::from_i128(i128::from(dice.roll()) - i128::from(u64::MAX / 2)),
            };
            let array: Decimal256Array = numbers(dice, rows, draw);
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        Type::Decimal { precision, scale } => {
            let limit = 10_i128.pow(u32::from(*precision)) - 1;
            let draw = |dice: &mut Dice| match dice.below(5) {
                0 => limit,
                1 => -limit,
                2 => 0,
                _ => (i128::from(dice.roll()) - i128::from(u64::MAX / 2)) % limit,
            };
            let array: Decimal128Array = numbers(dice, rows, draw);
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        Type::String => {
            let mut value = || if dice.valid() { Some(dice.text()) } else { None };
            Arc::new((0..rows).map(|_| value()).collect::<StringArray>())
        }
        Type::Binary => {
            let mut value = || if dice.valid() { Some(dice.text()) } else { None };
            let values: Vec<_> = (0..rows).map(|_| value()).collect();
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        Type::FixedBinary { bytes } => {
            let width = usize::try_from(*bytes).unwrap();
            let values = (0..rows).map(|_| dice.roll().to_le_bytes()[..width].to_vec());
            Arc::new(FixedSizeBinaryArray::try_from_iter(values).unwrap())
        }
        _ => any_nested_array(dice, kind, rows),
    }
}

fn finite32(value: f32) -> f32 {
    if value.is_finite() { value } else { 1.5 }
}

fn finite64(value: f64) -> f64 {
    if value.is_finite() { value } else { 1.5 }
}

fn any_nested_array(dice: &mut Dice, kind: &Type, rows: usize) -> ArrayRef {
    let nulls: NullBuffer = (0..rows).map(|_| dice.valid()).collect();
    let lengths: Vec<_> = (0..rows).map(|_| dice.one(&[0, 0, 1, 2, 5])).collect();
    let items = lengths.iter().sum();
    let offsets = OffsetBuffer::from_lengths(lengths);
    match (kind, kind.to_arrow()) {
        (Type::List { item }, DataType::List(field)) => {
            let values = any_array(dice, &item.kind, items);
            Arc::new(ListArray::new(field, offsets, values, Some(nulls)))
        }
        (Type::Struct { fields }, DataType::Struct(arrow)) => {
            // Values below null rows stay there: they must not show.
            let arrays = fields.iter().map(|field| any_array(dice, &field.kind, rows)).collect();
            Arc::new(StructArray::new(arrow, arrays, Some(nulls)))
        }
        (Type::Map { value, .. }, DataType::Map(field, sorted)) => {
            let keys = (0..items).map(|at| Some(format!("{}{at}", dice.text())));
            let keys: ArrayRef = Arc::new(keys.collect::<StringArray>());
            let values = any_array(dice, &value.kind, items);
            let DataType::Struct(pair) = field.data_type() else { panic!("a map has entries") };
            let entries = StructArray::new(pair.clone(), vec![keys, values], None);
            let field: Arc<ArrowField> = Arc::clone(&field);
            Arc::new(MapArray::new(field, offsets, entries, Some(nulls), sorted))
        }
        (other, _) => panic!("no values are drawn for `{other}`"),
    }
}
