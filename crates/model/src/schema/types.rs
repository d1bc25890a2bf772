//! The types of columns and their one-to-one map to Arrow's.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use super::{Error, Field};
use crate::limits::{COLUMNS_MAX, NESTING_MAX};

/// The precision of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    S,
    Ms,
    Us,
    Ns,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Arrow's and say it")]
pub enum Type {
    Null,
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    #[serde(rename = "uint8")]
    UInt8,
    #[serde(rename = "uint16")]
    UInt16,
    #[serde(rename = "uint32")]
    UInt32,
    #[serde(rename = "uint64")]
    UInt64,
    Float16,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
    String,
    Binary,
    FixedBinary {
        bytes: i32,
    },
    Date,
    Time {
        unit: Unit,
    },
    Timestamp {
        unit: Unit,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
    Duration {
        unit: Unit,
    },
    Interval,
    List {
        item: Box<Field>,
    },
    Struct {
        fields: Vec<Field>,
    },
    Map {
        key: Box<Field>,
        value: Box<Field>,
    },
}

impl Unit {
    fn to_arrow(self) -> TimeUnit {
        match self {
            Self::S => TimeUnit::Second,
            Self::Ms => TimeUnit::Millisecond,
            Self::Us => TimeUnit::Microsecond,
            Self::Ns => TimeUnit::Nanosecond,
        }
    }

    fn from_arrow(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::Second => Self::S,
            TimeUnit::Millisecond => Self::Ms,
            TimeUnit::Microsecond => Self::Us,
            TimeUnit::Nanosecond => Self::Ns,
        }
    }
}

impl Type {
    /// Returns the Arrow type.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Null => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float16 => DataType::Float16,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } if *precision > 38 => {
                DataType::Decimal256(*precision, *scale)
            }
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::String => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::FixedBinary { bytes } => DataType::FixedSizeBinary(*bytes),
            Self::Date => DataType::Date32,
            Self::Time { unit: unit @ (Unit::S | Unit::Ms) } => DataType::Time32(unit.to_arrow()),
            Self::Time { unit } => DataType::Time64(unit.to_arrow()),
            Self::Timestamp { unit, zone } => {
                DataType::Timestamp(unit.to_arrow(), zone.as_deref().map(Arc::from))
            }
            Self::Duration { unit } => DataType::Duration(unit.to_arrow()),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List { item } => DataType::List(Arc::new(item.to_arrow())),
            Self::Struct { fields } => {
                DataType::Struct(fields.iter().map(Field::to_arrow).collect())
            }
            Self::Map { key, value } => {
                let entries = Fields::from(vec![key.to_arrow(), value.to_arrow()]);
                let entries = ArrowField::new("entries", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
        }
    }

    fn from_arrow(kind: &DataType, path: &str) -> Result<Self, Error> {
        Ok(match kind {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float16 => Self::Float16,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale)
                if is_decimal(*precision, *scale) =>
            {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::FixedSizeBinary(bytes) if *bytes > 0 => Self::FixedBinary { bytes: *bytes },
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => {
                Self::Time { unit: Unit::from_arrow(*unit) }
            }
            DataType::Timestamp(unit, zone) => Self::Timestamp {
                unit: Unit::from_arrow(*unit),
                zone: zone.as_deref().map(str::to_owned),
            },
            DataType::Duration(unit) => Self::Duration { unit: Unit::from_arrow(*unit) },
            DataType::Interval(_) => Self::Interval,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => {
                Self::List { item: Box::new(field_from_arrow(item, path)?) }
            }
            DataType::Struct(fields) => Self::Struct { fields: fields_from_arrow(fields, path)? },
            DataType::Map(entries, _) => map_from_arrow(entries, path)?,
            DataType::Dictionary(_, value) => Self::from_arrow(value, path)?,
            DataType::RunEndEncoded(_, value) => Self::from_arrow(value.data_type(), path)?,
            other @ (DataType::Union(..)
            | DataType::FixedSizeBinary(_)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)) => return Err(unsupported(path, other)),
        })
    }
}

/// Writes the type in one word and its parameters: `timestamp(us, UTC)`, `list<int64>`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::FixedBinary { bytes } => write!(f, "fixed_binary({bytes})"),
            Self::Time { unit } => write!(f, "time({})", unit.word()),
            Self::Timestamp { unit, zone: None } => write!(f, "timestamp({})", unit.word()),
            Self::Timestamp { unit, zone: Some(zone) } => {
                write!(f, "timestamp({}, {zone})", unit.word())
            }
            Self::Duration { unit } => write!(f, "duration({})", unit.word()),
            Self::List { item } => write!(f, "list<{}>", item.kind),
            Self::Map { key, value } => write!(f, "map<{}, {}>", key.kind, value.kind),
            Self::Struct { fields } => {
                f.write_str("struct<")?;
                for (at, field) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", field.name, field.kind)?;
                }
                f.write_str(">")
            }
            plain => f.write_str(plain.word()),
        }
    }
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
        }
    }
}

impl Type {
    fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Decimal { .. } => "decimal",
            Self::String => "string",
            Self::Binary => "binary",
            Self::FixedBinary { .. } => "fixed_binary",
            Self::Date => "date",
            Self::Time { .. } => "time",
            Self::Timestamp { .. } => "timestamp",
            Self::Duration { .. } => "duration",
            Self::Interval => "interval",
            Self::List { .. } => "list",
            Self::Struct { .. } => "struct",
            Self::Map { .. } => "map",
        }
    }
}

pub(super) fn fields_from_arrow(fields: &Fields, path: &str) -> Result<Vec<Field>, Error> {
    let mut out: Vec<Field> = Vec::with_capacity(fields.len());
    for field in fields {
        let field = field_from_arrow(field, path)?;
        if out.iter().any(|have| have.name == field.name) {
            return Err(Error::Duplicate(join(path, &field.name)));
        }
        out.push(field);
    }
    Ok(out)
}

/// Whether files of every format hold such decimals.
fn is_decimal(precision: u8, scale: i8) -> bool {
    (1..=76).contains(&precision) && i16::from(scale) <= i16::from(precision)
}

/// Refuses columns that a dataset cannot keep, since its files have no place for them.
pub(super) fn check_kept(fields: &[Field]) -> Result<(), Error> {
    let mut seen = 0;
    fields.iter().try_for_each(|field| check_field(field, "", 1, &mut seen))
}

fn check_field(field: &Field, path: &str, depth: usize, seen: &mut usize) -> Result<(), Error> {
    let path = join(path, &field.name);
    let unusable = |why| Err(Error::Unusable { column: path.clone(), why });
    *seen += 1;
    if field.name.is_empty() {
        return unusable("has no name; give it one");
    }
    if depth > NESTING_MAX {
        return unusable("is nested too deep; flatten it");
    }
    if *seen > COLUMNS_MAX {
        return unusable("is one column too many, nested ones included; leave some out");
    }
    let mut inner = |field: &Field| check_field(field, &path, depth + 1, &mut *seen);
    match &field.kind {
        Type::Interval | Type::Decimal { scale: ..0, .. } => {
            let kind = field.kind.to_string();
            Err(Error::Unsupported { column: path, kind })
        }
        Type::Struct { fields } if fields.is_empty() => {
            unusable("is a struct without fields; leave it out")
        }
        Type::Map { key, .. } if key.nullable => {
            unusable("has keys that may be null; say `\"nullable\": false` in its key")
        }
        Type::List { item } => inner(item),
        Type::Struct { fields } => fields.iter().try_for_each(inner),
        Type::Map { key, value } => inner(key).and_then(|()| inner(value)),
        _ => Ok(()),
    }
}

fn field_from_arrow(field: &ArrowField, path: &str) -> Result<Field, Error> {
    let kind = Type::from_arrow(field.data_type(), &join(path, field.name()))?;
    Ok(Field { name: field.name().clone(), kind, nullable: field.is_nullable() })
}

fn map_from_arrow(entries: &ArrowField, path: &str) -> Result<Type, Error> {
    match entries.data_type() {
        DataType::Struct(pair) if pair.len() == 2 => Ok(Type::Map {
            key: Box::new(field_from_arrow(&pair[0], path)?),
            value: Box::new(field_from_arrow(&pair[1], path)?),
        }),
        other => Err(unsupported(path, other)),
    }
}

fn unsupported(column: &str, kind: &DataType) -> Error {
    Error::Unsupported { column: column.into(), kind: kind.to_string() }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

pub(super) fn merge_fields(have: &[Field], new: &[Field], path: &str) -> Result<Vec<Field>, Error> {
    let mut out = Vec::with_capacity(have.len().max(new.len()));
    for field in have {
        match new.iter().find(|other| other.name == field.name) {
            Some(other) => out.push(merge_field(field, other, path)?),
            // The new rows lack it.
            None => out.push(Field { nullable: true, ..field.clone() }),
        }
    }
    for field in new {
        if !have.iter().any(|other| other.name == field.name) {
            // The old rows lack it.
            out.push(Field { nullable: true, ..field.clone() });
        }
    }
    Ok(out)
}

fn merge_field(have: &Field, new: &Field, path: &str) -> Result<Field, Error> {
    let path = join(path, &have.name);
    let nullable = have.nullable || new.nullable;
    let kind = merge_type(&have.kind, &new.kind, &path)?;
    Ok(Field { name: have.name.clone(), kind, nullable })
}

fn merge_type(have: &Type, new: &Type, path: &str) -> Result<Type, Error> {
    Ok(match (have, new) {
        (a, b) if a == b => a.clone(),
        // A column that had only nulls takes the first type that it meets.
        (Type::Null, other) | (other, Type::Null) => other.clone(),
        (Type::Struct { fields: a }, Type::Struct { fields: b }) => {
            Type::Struct { fields: merge_fields(a, b, path)? }
        }
        (Type::List { item: a }, Type::List { item: b }) => {
            let kind = merge_type(&a.kind, &b.kind, path)?;
            let nullable = a.nullable || b.nullable;
            Type::List { item: Box::new(Field { kind, nullable, ..(**a).clone() }) }
        }
        (Type::Map { key, value: a }, Type::Map { key: other, value: b })
            if key.kind == other.kind =>
        {
            let kind = merge_type(&a.kind, &b.kind, path)?;
            let value = Field { kind, nullable: a.nullable || b.nullable, ..(**a).clone() };
            Type::Map { key: key.clone(), value: Box::new(value) }
        }
        (a, b) => {
            return Err(Error::Conflict {
                column: path.into(),
                have: a.to_string(),
                new: b.to_string(),
            });
        }
    })
}
