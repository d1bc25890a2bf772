//! CSV as in RFC 4180, with backslash escapes on request.
//!
//! A null is the bare null literal; a value that reads like it is quoted, so that the two differ. Nested
//! values are JSON in a cell. What each type becomes is told in `docs/formats.md`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use model::PortError;
use model::ports::{EncodedStream, RowStream};
use model::schema::{Field, Schema, Type};

use super::{Error, Format, Kind, Packing, Task};
use crate::cells::{self, AnyCell, Dictionaries, Instants, Int64, Maker, Nulls, Out, Rules, Text};
use crate::compress::{Codec, GZIP, NONE, ZSTD};
use crate::options::{OptionKind, Settings, Values};
use crate::pipeline::{Machine, RowFormat, RowWriter, TextJob};

/// CSV, described as data.
pub(super) static KIND: Kind = Kind {
    name: "csv",
    summary: "CSV as in RFC 4180",
    version: 1,
    extension: ".csv",
    options: &[
        OptionKind {
            key: "csv.escape",
            help: "a quote inside a quoted field is doubled, or has a backslash in front",
            default: "double",
            values: Values::OneOf(&["double", "backslash"]),
            later: false,
        },
        OptionKind {
            key: "csv.header",
            help: "whether the first line has the columns' names",
            default: "true",
            values: Values::OneOf(&["true", "false"]),
            later: false,
        },
        OptionKind {
            key: "csv.line_breaks",
            help: "line breaks inside fields stay, or each is a space, for readers that go by lines",
            default: "keep",
            values: Values::OneOf(&["keep", "space"]),
            later: true,
        },
        OptionKind {
            key: "csv.line_end",
            help: "how lines end; RFC 4180 says crlf",
            default: "crlf",
            values: Values::OneOf(&["crlf", "lf"]),
            later: false,
        },
        OptionKind {
            key: "csv.null",
            help: "what stands for null; a value that reads like it is quoted",
            default: "",
            values: Values::TextWithout("\","),
            later: false,
        },
    ],
    compressions: &[&NONE, &GZIP, &ZSTD],
    packing: Packing::Around,
    format: &Csv,
};

/// JSON inside cells: whole numbers as numbers, nulls left out.
const NESTED: Rules = Rules { int64: Int64::Number, nulls: Nulls::Omit, instants: Instants::Iso };

#[derive(Debug)]
struct Csv;

impl Format for Csv {
    fn check(&self, settings: &Settings, schema: &Schema) -> Result<(), PortError> {
        if schema.fields.is_empty() {
            return Err(Error::NoColumns { format: KIND.name }.into());
        }
        Ok(Codec::check(settings)?)
    }

    fn id(&self, settings: &Settings, _: Option<u64>) -> String {
        Codec::of(settings).id()
    }

    fn encode(&self, machine: Arc<Machine>, task: Task, rows: RowStream) -> EncodedStream {
        let settings = &task.settings;
        let dialect = Dialect {
            escape: if settings.get("csv.escape") == "double" { b'"' } else { b'\\' },
            one_line: settings.get("csv.line_breaks") == "space",
            line_end: if settings.get("csv.line_end") == "crlf" { b"\r\n" } else { b"\n" },
            null: settings.get("csv.null").as_bytes().into(),
            lone: task.schema.fields.len() == 1 && settings.get("csv.null").is_empty(),
        };
        let header = settings.get("csv.header") == "true";
        let (label, codec) = (task.label(), Codec::of(settings));
        let (fields, nested) = (Dictionaries::default(), Dictionaries::default());
        let dialect = Arc::new(dialect);
        let format = Arc::new(Table { schema: task.schema, dialect, header, fields, nested });
        TextJob { format, codec, bytes_max: task.bytes_max, label }.start(machine, rows)
    }
}

/// How fields are written.
struct Dialect {
    /// What stands in front of a quote inside a quoted field.
    escape: u8,
    /// Whether a line break inside a field is written as a space.
    one_line: bool,
    line_end: &'static [u8],
    null: Box<[u8]>,
    /// Whether a row is one field and null is nothing: then null is quoted too, because to many readers
    /// a line with nothing in it is no row.
    lone: bool,
}

impl Dialect {
    /// Appends a field, between quotes if it needs them.
    fn field(&self, text: &[u8], out: &mut Text) {
        if self.must_quote(text) {
            self.with_care(text, out);
        } else {
            out.extend_from_slice(text);
        }
    }

    /// Appends a field that must be quoted if it is written as it is.
    fn with_care(&self, text: &[u8], out: &mut Text) {
        match self.without_breaks(text) {
            // Its line breaks may have been all that called for quotes.
            Some(line) => self.field(&line, out),
            None => self.quoted(text, out),
        }
    }

    /// Returns the text with a space for each CR, LF or CRLF, if it has some that may not stay.
    fn without_breaks(&self, text: &[u8]) -> Option<Vec<u8>> {
        if !self.one_line || cells::find_any(text, [b'\r', b'\n']).is_none() {
            return None;
        }
        let mut line = Vec::with_capacity(text.len());
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'\n' if text[..at].ends_with(b"\r") => {}
                b'\r' | b'\n' => line.push(b' '),
                other => line.push(*other),
            }
        }
        Some(line)
    }

    fn must_quote(&self, text: &[u8]) -> bool {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        text.is_empty()
            || text == &*self.null
            || blank(text.first())
            || blank(text.last())
            || cells::find_any(text, [b'"', b',', b'\r', b'\n', self.escape]).is_some()
    }

    fn quoted(&self, text: &[u8], out: &mut Text) {
        out.push(b'"');
        let mut rest = text;
        while let Some(at) = cells::find_any(rest, [b'"', self.escape]) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(&[self.escape, rest[at]]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        out.push(b'"');
    }
}

struct Table {
    schema: Schema,
    dialect: Arc<Dialect>,
    header: bool,
    /// Strings as fields, and inside nested values.
    fields: Dictionaries,
    nested: Dictionaries,
}

impl Table {
    fn column(
        &self,
        field: &Field,
        array: &ArrayRef,
        maker: &mut Maker<'_>,
    ) -> Result<Column, Error> {
        let (leaf, nulls) = (maker.leaf(array), cells::nulls(array));
        if !self.dialect.lone {
            let write = |text: &[u8], out: &mut Text| self.dialect.field(text, out);
            if let Some(cell) = self.fields.cell(array, write) {
                return Ok(Column { nulls, cell, care: Care::Plain, leaf });
            }
        }
        let plain = cells::plain(array);
        let nested = plain.is_none();
        let cell = plain.map_or_else(|| maker.json(array), Ok);
        let cell = cell
            .map_err(|error| Error::Text { column: field.name.clone(), source: Box::new(error) })?;
        let care = match field.kind {
            Type::String | Type::Binary | Type::FixedBinary { .. } => Care::Look,
            // Numbers and times hold nothing special, but may read like the null literal.
            _ if !nested && self.dialect.null.is_empty() => Care::Plain,
            _ => Care::Look,
        };
        Ok(Column { nulls, cell, care, leaf })
    }
}

impl RowFormat for Table {
    fn prologue(&self) -> Vec<u8> {
        let mut out = Text::default();
        if !self.header {
            return Vec::new();
        }
        for (at, field) in self.schema.fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.dialect.field(field.name.as_bytes(), &mut out);
        }
        out.extend_from_slice(self.dialect.line_end);
        out.into_vec()
    }

    fn writer(&self, batch: &RecordBatch) -> Result<Box<dyn RowWriter>, PortError> {
        let (have, schema) = (batch.num_columns(), self.schema.fields.len());
        if have != schema {
            return Err(Error::Shape { have, schema }.into());
        }
        let pairs = self.schema.fields.iter().zip(batch.columns());
        let mut maker = Maker::new(NESTED, &self.nested);
        let columns = pairs.map(|(field, array)| self.column(field, array, &mut maker));
        let columns = columns.collect::<Result<_, Error>>()?;
        Ok(Box::new(Record { columns, dialect: Arc::clone(&self.dialect) }))
    }
}

/// Whether a column's text may need quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    Plain,
    Look,
}

struct Column {
    nulls: Option<NullBuffer>,
    cell: AnyCell,
    care: Care,
    leaf: Option<u32>,
}

struct Record {
    columns: Vec<Column>,
    dialect: Arc<Dialect>,
}

impl RowWriter for Record {
    fn write(&self, row: usize, out: &mut Out) {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.bytes.push(b',');
            }
            self.field(column, row, out);
        }
        out.bytes.extend_from_slice(self.dialect.line_end);
    }
}

impl Record {
    fn field(&self, column: &Column, row: usize, out: &mut Out) {
        if column.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            let null: &[u8] = if self.dialect.lone { b"\"\"" } else { &self.dialect.null };
            out.bytes.extend_from_slice(null);
            return;
        }
        let start = out.bytes.len();
        column.cell.write(row, out);
        if column.care == Care::Look {
            self.look(start, out);
        }
        if let Some(leaf) = column.leaf {
            out.place(leaf, start);
        }
    }

    /// Puts the field that begins at `start` between quotes if it needs them.
    fn look(&self, start: usize, out: &mut Out) {
        let text = &out.bytes.as_slice()[start..];
        if text.is_empty() && self.dialect.lone {
            // It reads as the null of the same file.
            out.lost += 1;
        }
        if self.dialect.must_quote(text) {
            out.scratch.clear();
            out.scratch.extend_from_slice(&out.bytes.as_slice()[start..]);
            out.bytes.truncate(start);
            self.dialect.with_care(&out.scratch, &mut out.bytes);
            // Quotes have moved what lies in a nested value.
            out.forget_places(start);
        }
    }
}
