//! Builds one column from JSON values or CSV cells.
//!
//! Contract: a value becomes the column's type exactly or is refused with a reason; no digit is rounded
//! away except where decimal text becomes a binary float. After a refusal the column is of no use.

mod data;
mod decimal;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, ListArray, MapArray, NullArray, NullBufferBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, Fields, i256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::NaiveDate;
use model::canonical::RECEIVED_AT;
use model::schema::{Field, Type, Unit};

use super::csv::Cell;
use super::error::{IngestError, Reason};
use super::infer;
use super::json::{Cursor, Kind};
use super::{receive, time};
use data::Data;
use decimal::decimal;

/// Columns whose names are tried before a name is looked up.
const NAMES_AHEAD: usize = 4;

/// Characters of a value shown in a message.
const SHOWN_CHARS: usize = 40;

/// A column being built.
pub(super) struct Column {
    name: String,
    /// The name as JSON mostly writes it; empty if it would need escapes.
    quoted: String,
    /// The name, with those of the structs around it.
    path: String,
    kind: Type,
    nullable: bool,
    data: Data,
}

/// The columns of a row, or of a struct.
pub(super) struct Record {
    columns: Vec<Column>,
    index: HashMap<String, usize>,
    valid: NullBufferBuilder,
    /// For each column the last row that had it, counted from 1.
    last: Vec<usize>,
    /// Whether a cell must look like its column.
    exact: bool,
}

impl Record {
    /// Makes columns with room for some rows.
    pub(super) fn new(fields: &[Field], path: &str, rows: usize) -> Result<Self, IngestError> {
        let columns: Vec<_> =
            fields.iter().map(|field| Column::new(field, path, rows)).collect::<Result<_, _>>()?;
        let index = fields.iter().enumerate().map(|(at, f)| (f.name.clone(), at)).collect();
        let last = vec![0; columns.len()];
        Ok(Self { columns, index, valid: NullBufferBuilder::new(rows), last, exact: false })
    }

    /// Refuses also what fits a column but would have made another type of it: `007` is no number.
    pub(super) fn exact(mut self) -> Self {
        self.exact = true;
        for column in &mut self.columns {
            if let Data::Instant { unit: Unit::Us, digits_max, .. } = &mut column.data {
                *digits_max = infer::MICRO_DIGITS;
            }
        }
        self
    }

    /// Takes `received_at` from the input's column `given`, which every row must have.
    pub(super) fn receive(mut self, given: &str) -> Self {
        let at = self.index.remove(RECEIVED_AT).expect("the plan has that column");
        if let Some(&other) = self.index.get(given) {
            // What the dataset has under that name is not what the input means.
            self.columns[other].quoted.clear();
        }
        self.index.insert(given.to_owned(), at);
        self.columns[at].receive(given);
        self
    }

    pub(super) fn rows(&self) -> usize {
        self.valid.len()
    }

    /// Takes an object.
    pub(super) fn push_json(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Reason> {
        let row = self.rows() + 1;
        let mut next = 0;
        cursor.fields(|cursor| {
            // Mostly the order is that of the columns, with some left out.
            let near = self.columns.iter().skip(next).take(NAMES_AHEAD);
            let mut near = near.map(|column| &column.quoted);
            let near = near.position(|quoted| !quoted.is_empty() && cursor.skip_name(quoted));
            let at = if let Some(near) = near {
                next + near
            } else {
                let name = cursor.name()?;
                let known = self.index.get(&*name).copied();
                known.ok_or_else(|| Reason::Changed { column: join(path, &name) })?
            };
            if std::mem::replace(&mut self.last[at], row) == row {
                return Err(Reason::Twice { name: self.columns[at].name.clone() });
            }
            next = at + 1;
            self.columns[at].push_json(cursor)
        })?;
        self.fill(row)
    }

    /// Takes the cells of a CSV record; `places` says where each belongs.
    pub(super) fn push_cells(&mut self, text: &str, places: &[usize]) -> Result<(), Reason> {
        let row = self.rows() + 1;
        let found = super::csv::cells(text, |at, cell| {
            let Some(&place) = places.get(at) else { return Ok(()) };
            self.last[place] = row;
            let column = &mut self.columns[place];
            if self.exact && !infer::looks_like(&cell.text, &column.kind) {
                return Err(column.not(&cell.text));
            }
            column.push_cell(&cell)
        })?;
        if found != places.len() {
            return Err(Reason::FieldCount { expected: places.len(), found });
        }
        self.fill(row)
    }

    fn fill(&mut self, row: usize) -> Result<(), Reason> {
        for (column, last) in self.columns.iter_mut().zip(&self.last) {
            if *last != row {
                column.push_null()?;
            }
        }
        self.valid.append_non_null();
        Ok(())
    }

    fn push_null(&mut self) {
        for column in &mut self.columns {
            column.push_masked();
        }
        self.valid.append_null();
    }

    pub(super) fn finish(self) -> Result<(Vec<ArrayRef>, NullBufferBuilder), IngestError> {
        let arrays = self.columns.into_iter().map(Column::finish).collect::<Result<_, _>>()?;
        Ok((arrays, self.valid))
    }
}

impl Column {
    fn new(field: &Field, parent: &str, rows: usize) -> Result<Self, IngestError> {
        let path = join(parent, &field.name);
        let data = Data::new(&field.kind, &path, rows)?;
        let (name, kind) = (field.name.clone(), field.kind.clone());
        Ok(Self { quoted: quoted(&name), name, path, kind, nullable: field.nullable, data })
    }

    /// Makes it take when rows were received, which the input calls `given`.
    fn receive(&mut self, given: &str) {
        (self.name, self.path, self.quoted) = (given.into(), given.into(), quoted(given));
        self.nullable = false;
        self.data = Data::Received(Int64Builder::new());
    }

    fn push_null(&mut self) -> Result<(), Reason> {
        if !self.nullable {
            return Err(Reason::Missing { column: self.path.clone() });
        }
        self.push_masked();
        Ok(())
    }

    /// Takes a null that a null around it hides.
    fn push_masked(&mut self) {
        match &mut self.data {
            Data::Null(rows) => *rows += 1,
            Data::Boolean(values) => values.append_null(),
            Data::Integer { values, .. }
            | Data::Time { values, .. }
            | Data::Instant { values, .. }
            | Data::Received(values) => values.append_null(),
            Data::UInt64(values) => values.append_null(),
            Data::Float32 { values, .. } => values.append_null(),
            Data::Float64(values) => values.append_null(),
            Data::Text(values) => values.append_null(),
            Data::Binary(values) => values.append_null(),
            Data::Decimal128(values) => values.append_null(),
            Data::Decimal256(values) => values.append_null(),
            Data::Date(values) => values.append_null(),
            Data::List { offsets, valid, .. } | Data::Map { offsets, valid, .. } => {
                offsets.push(*offsets.last().expect("begins with 0"));
                valid.append_null();
            }
            Data::Struct(record) => record.push_null(),
        }
    }

    /// Takes a JSON value.
    fn push_json(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        match (cursor.kind()?, &mut self.data) {
            (Kind::Null, _) => {
                cursor.null()?;
                self.push_null()
            }
            (Kind::Boolean, Data::Boolean(values)) => {
                values.append_value(cursor.boolean()?);
                Ok(())
            }
            (
                Kind::Number,
                Data::Integer { .. } | Data::UInt64(_) | Data::Float32 { .. } | Data::Float64(_),
            ) => {
                let text = cursor.number()?;
                self.push_number(text, "float64")
            }
            (Kind::Number, Data::Decimal128(_) | Data::Decimal256(_) | Data::Received(_)) => {
                let text = cursor.number()?;
                self.push_text(text)
            }
            (
                Kind::String,
                Data::Text(_)
                | Data::Binary(_)
                | Data::Decimal128(_)
                | Data::Decimal256(_)
                | Data::Date(_)
                | Data::Time { .. }
                | Data::Instant { .. }
                | Data::Received(_),
            ) => {
                let text = cursor.string()?;
                self.push_text(&text)
            }
            (Kind::Array, Data::List { offsets, valid, item }) => {
                let mut count = 0_usize;
                cursor.array(|cursor| {
                    count += 1;
                    item.push_json(cursor)
                })?;
                push_offset(offsets, count, &self.path)?;
                valid.append_non_null();
                Ok(())
            }
            (Kind::Object, Data::Struct(record)) => record.push_json(cursor, &self.path),
            (Kind::Object, Data::Map { .. }) => self.push_map(cursor),
            // Only objects without fields were seen when the column got its type.
            (Kind::Object, Data::Null(rows))
                if cursor.skip()?.trim_matches(['{', '}']).trim().is_empty() =>
            {
                *rows += 1;
                Ok(())
            }
            (kind, _) => Err(self.conflict(kind_name(kind))),
        }
    }

    fn push_map(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        let Data::Map { offsets, valid, key, value } = &mut self.data else {
            return Err(self.conflict("struct"));
        };
        let mut names = std::collections::HashSet::new();
        cursor.object(|cursor, name| {
            if !names.insert(name.clone().into_owned()) {
                return Err(Reason::Twice { name: name.into_owned() });
            }
            key.push_cell(&Cell { text: name, quoted: true })?;
            value.push_json(cursor)
        })?;
        push_offset(offsets, names.len(), &self.path)?;
        valid.append_non_null();
        Ok(())
    }

    /// Takes a CSV cell.
    fn push_cell(&mut self, cell: &Cell<'_>) -> Result<(), Reason> {
        if cell.is_null() {
            return self.push_null();
        }
        let text = &*cell.text;
        match &mut self.data {
            Data::Text(_) | Data::Binary(_) => self.push_text(text),
            // A quoted nothing is an empty text only where texts are.
            _ if text.is_empty() => self.push_null(),
            Data::Null(_) => Err(self.conflict("string")),
            Data::Boolean(values) => match text {
                "true" => {
                    values.append_value(true);
                    Ok(())
                }
                "false" => {
                    values.append_value(false);
                    Ok(())
                }
                _ => Err(self.not(text)),
            },
            Data::Integer { .. } | Data::UInt64(_) | Data::Float32 { .. } | Data::Float64(_) => {
                self.push_number(text, "string")
            }
            Data::List { .. } | Data::Struct(_) | Data::Map { .. } => {
                let mut cursor = Cursor::new(text);
                self.push_json(&mut cursor)?;
                cursor.end()
            }
            _ => self.push_text(text),
        }
    }

    fn push_number(&mut self, text: &str, other: &str) -> Result<(), Reason> {
        let taken = match &mut self.data {
            Data::Integer { values, min, max } => match text.parse::<i64>() {
                Ok(n) if (*min..=*max).contains(&n) => {
                    values.append_value(n);
                    Some(())
                }
                _ => None,
            },
            Data::UInt64(values) => text.parse().ok().map(|n| values.append_value(n)),
            // Digits that come to infinity would be another number.
            Data::Float32 { values, max } => text
                .parse()
                .ok()
                .filter(|n: &f32| n.abs() <= *max || !has_digits(text))
                .map(|n| values.append_value(n)),
            Data::Float64(values) => text
                .parse()
                .ok()
                .filter(|n: &f64| n.is_finite() || !has_digits(text))
                .map(|n| values.append_value(n)),
            _ => None,
        };
        match taken {
            Some(()) => Ok(()),
            None if other == "float64"
                && matches!(self.data, Data::Integer { .. } | Data::UInt64(_))
                && text.contains(['.', 'e', 'E']) =>
            {
                Err(self.conflict(other))
            }
            None => Err(self.not(text)),
        }
    }

    fn push_text(&mut self, text: &str) -> Result<(), Reason> {
        let taken = match &mut self.data {
            Data::Text(values) => {
                values.append_value(text);
                Some(())
            }
            Data::Binary(values) => BASE64
                .decode(text)
                .ok()
                .filter(|bytes| fits(&self.kind, bytes.len()))
                .map(|bytes| values.append_value(bytes)),
            Data::Decimal128(values) => decimal(text, &self.kind)
                .and_then(|digits| digits.parse().ok())
                .map(|n| values.append_value(n)),
            Data::Decimal256(values) => decimal(text, &self.kind)
                .and_then(|digits| i256::from_string(&digits))
                .map(|n| values.append_value(n)),
            Data::Date(values) => time::date(text).map(|date| values.append_value(days(date))),
            Data::Time { values, unit } => {
                time::time_of_day(text, *unit).map(|n| values.append_value(n))
            }
            Data::Instant { values, unit, zoned, digits_max } => time::instant(text)
                .filter(|at| at.zoned == *zoned && at.digits <= *digits_max)
                .and_then(|at| at.count(*unit))
                .map(|n| values.append_value(n)),
            Data::Received(values) => receive::micros(text).map(|n| values.append_value(n)),
            _ => None,
        };
        taken.ok_or_else(|| self.not(text))
    }

    fn conflict(&self, new: &str) -> Reason {
        Reason::Type { column: self.path.clone(), have: self.kind.to_string(), new: new.into() }
    }

    fn not(&self, text: &str) -> Reason {
        Reason::Value { column: self.path.clone(), have: self.kind.to_string(), value: shown(text) }
    }

    fn finish(self) -> Result<ArrayRef, IngestError> {
        let arrow = self.kind.to_arrow();
        let array: ArrayRef = match self.data {
            Data::Null(rows) => Arc::new(NullArray::new(rows)),
            Data::Boolean(mut values) => Arc::new(values.finish()),
            Data::Integer { mut values, .. }
            | Data::Time { mut values, .. }
            | Data::Instant { mut values, .. }
            | Data::Received(mut values) => Arc::new(values.finish()),
            Data::UInt64(mut values) => Arc::new(values.finish()),
            Data::Float32 { mut values, .. } => Arc::new(values.finish()),
            Data::Float64(mut values) => Arc::new(values.finish()),
            Data::Text(mut values) => Arc::new(values.finish()),
            Data::Binary(mut values) => Arc::new(values.finish()),
            Data::Decimal128(mut values) => Arc::new(values.finish()),
            Data::Decimal256(mut values) => Arc::new(values.finish()),
            Data::Date(mut values) => Arc::new(values.finish()),
            Data::List { offsets, mut valid, item } => {
                let DataType::List(field) = &arrow else { unreachable!("a list is a list") };
                let offsets = OffsetBuffer::new(offsets.into());
                let items = item.finish()?;
                Arc::new(ListArray::try_new(field.clone(), offsets, items, valid.finish())?)
            }
            Data::Struct(record) => {
                let DataType::Struct(fields) = &arrow else { unreachable!("a struct is a struct") };
                let (arrays, mut valid) = record.finish()?;
                Arc::new(StructArray::try_new(fields.clone(), arrays, valid.finish())?)
            }
            Data::Map { offsets, mut valid, key, value } => {
                let DataType::Map(entries, _) = &arrow else { unreachable!("a map is a map") };
                let pair = pair_fields(entries);
                let pairs = StructArray::try_new(pair, vec![key.finish()?, value.finish()?], None)?;
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, valid.finish(), false)?)
            }
        };
        if array.data_type() == &arrow {
            return Ok(array);
        }
        // 64-bit counts become the 32-bit types by way of `int32`.
        let narrow = matches!(arrow, DataType::Time32(_));
        let array = if narrow { cast(&array, &DataType::Int32)? } else { array };
        Ok(cast(&array, &arrow)?)
    }
}

/// Returns a name as JSON mostly writes it.
fn quoted(name: &str) -> String {
    let plain = !name.contains(|c: char| matches!(c, '"' | '\\') || c.is_control());
    if plain { format!("\"{name}\"") } else { String::new() }
}

fn push_offset(offsets: &mut Vec<i32>, count: usize, path: &str) -> Result<(), Reason> {
    let last = *offsets.last().expect("begins with 0");
    let next = i32::try_from(count).ok().and_then(|count| last.checked_add(count));
    offsets.push(next.ok_or_else(|| Reason::TooLarge { column: path.to_owned() })?);
    Ok(())
}

fn pair_fields(entries: &ArrowField) -> Fields {
    match entries.data_type() {
        DataType::Struct(pair) => pair.clone(),
        _ => unreachable!("the entries of a map are structs"),
    }
}

fn fits(kind: &Type, bytes: usize) -> bool {
    match kind {
        Type::FixedBinary { bytes: want } => usize::try_from(*want) == Ok(bytes),
        _ => true,
    }
}

fn has_digits(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Days since 1970.
fn days(date: NaiveDate) -> i32 {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
    i32::try_from(date.signed_duration_since(epoch).num_days()).expect("years have four digits")
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
    .replace(['\n', '\r'], " ")
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Number => "number",
        Kind::String => "string",
        Kind::Array => "list",
        Kind::Object => "struct",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::util::display::{ArrayFormatter, FormatOptions};

    use super::*;

    /// Reads one value of a JSON object's field `x`.
    fn read(kind: Type, json: &str) -> Result<String, String> {
        let mut record = Record::new(&[Field::new("x", kind)], "", 1).unwrap();
        let text = format!("{{\"x\":{json}}}");
        record.push_json(&mut Cursor::new(&text), "").map_err(|reason| reason.to_string())?;
        let (columns, _) = record.finish().unwrap();
        let options = FormatOptions::default();
        Ok(ArrayFormatter::try_new(&columns[0], &options).unwrap().value(0).to_string())
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        let check = |precision, scale, json: &str, want: Option<&str>| {
            let kind = Type::Decimal { precision, scale };
            assert_eq!(read(kind, json).ok().as_deref(), want, "{json} as ({precision}, {scale})");
        };
        check(18, 4, "1.5", Some("1.5000"));
        check(18, 4, "1e-05", None);
        check(18, 5, "1e-05", Some("0.00001"));
        check(9, 2, "1.5e-2", None);
        check(9, 0, "15e-3", None);
        check(9, 0, "1.50e1", Some("15"));
        check(9, 2, "-12.3400", Some("-12.34"));
        check(9, 2, "-0.00", Some("0.00"));
        check(4, 2, "99.99", Some("99.99"));
        check(4, 2, "100", None);
        check(9, 2, &"1".repeat(257), None);
        check(9, 2, "1e400", None);
        check(9, 2, "0e400", Some("0.00"));
        check(76, 2, "1e70", Some(&format!("1{}.00", "0".repeat(70))));
        check(38, 0, "1e38", None);
        check(9, 2, "\"1.25\"", Some("1.25"));
        check(9, 2, "\"1.2x\"", None);
    }

    #[test]
    fn no_number_becomes_infinite() {
        for (kind, json) in
            [(Type::Float64, "1e400"), (Type::Float32, "1e300"), (Type::Float16, "65505")]
        {
            let said = read(kind.clone(), json).unwrap_err();
            assert_eq!(said, format!("column `x` is `{kind}`, which `{json}` is not"));
        }
        assert_eq!(read(Type::Float64, "1e308").unwrap(), "1e308");
    }

    #[test]
    fn a_float32_is_rounded_once() {
        let read = read(Type::Float32, "7.038531e-26").unwrap();
        assert_eq!(read.parse::<f32>().unwrap().to_bits(), 0x15ae_43fd);
    }

    #[test]
    fn a_field_of_an_item_is_found_by_its_own_name() {
        let fields = vec![Field::new("id", Type::Int64), Field::new("item.id", Type::Int64)];
        let item = Box::new(Field::new("item", Type::Struct { fields }));
        let list = || Type::List { item: item.clone() };
        assert_eq!(read(list(), r#"[{"item.id":7}]"#).unwrap(), "[{id: , item.id: 7}]");
        assert_eq!(read(list(), r#"[{"item.id":2,"id":1}]"#).unwrap(), "[{id: 1, item.id: 2}]");
    }
}
