//! JSON Lines: one object per row, one row per line, `\n` behind each.
//!
//! What each type becomes is told in `docs/formats.md`. A file without rows is empty.

use std::sync::Arc;

use arrow::array::RecordBatch;
use model::PortError;
use model::ports::{EncodedStream, RowStream};
use model::schema::Schema;

use super::{Error, Format, Kind, Packing, Task};
use crate::cells::{Cell, Dictionaries, Instants, Int64, Maker, Nulls, Object, Out, Rules};
use crate::compress::{Codec, GZIP, NONE, ZSTD};
use crate::options::{OptionKind, Settings, Values};
use crate::pipeline::{Machine, RowFormat, RowWriter, TextJob};

/// JSON Lines, described as data.
pub(super) static KIND: Kind = Kind {
    name: "jsonl",
    summary: "JSON Lines: one JSON object per row and line",
    version: 1,
    extension: ".jsonl",
    options: &[
        OptionKind {
            key: "jsonl.int64",
            help: "integers of 64 bits and decimals as numbers, or as strings for readers whose numbers are doubles",
            default: "number",
            values: Values::OneOf(&["number", "string"]),
            later: false,
        },
        OptionKind {
            key: "jsonl.nulls",
            help: "leave null fields out, or write them as null",
            default: "omit",
            values: Values::OneOf(&["omit", "keep"]),
            later: false,
        },
        OptionKind {
            key: "jsonl.timestamps",
            help: "timestamps as ISO 8601, or as `2026-01-31 12:00:00.123 UTC`",
            default: "iso",
            values: Values::OneOf(&["iso", "sql"]),
            later: true,
        },
    ],
    compressions: &[&NONE, &GZIP, &ZSTD],
    packing: Packing::Around,
    format: &Jsonl,
};

#[derive(Debug)]
struct Jsonl;

impl Format for Jsonl {
    fn check(&self, settings: &Settings, _schema: &Schema) -> Result<(), PortError> {
        Ok(Codec::check(settings)?)
    }

    fn id(&self, settings: &Settings, _: Option<u64>) -> String {
        Codec::of(settings).id()
    }

    fn encode(&self, machine: Arc<Machine>, task: Task, rows: RowStream) -> EncodedStream {
        let settings = &task.settings;
        let int64 = match settings.get("jsonl.int64") {
            "string" => Int64::Text,
            _ => Int64::Number,
        };
        let nulls = match settings.get("jsonl.nulls") {
            "keep" => Nulls::Keep,
            _ => Nulls::Omit,
        };
        let instants = match settings.get("jsonl.timestamps") {
            "sql" => Instants::Sql,
            _ => Instants::Iso,
        };
        let (label, codec) = (task.label(), Codec::of(settings));
        let (rules, dictionaries) = (Rules { int64, nulls, instants }, Dictionaries::default());
        let format = Arc::new(Lines { schema: task.schema, rules, dictionaries });
        TextJob { format, codec, bytes_max: task.bytes_max, label }.start(machine, rows)
    }
}

struct Lines {
    schema: Schema,
    rules: Rules,
    dictionaries: Dictionaries,
}

impl RowFormat for Lines {
    fn prologue(&self) -> Vec<u8> {
        Vec::new()
    }

    fn writer(&self, batch: &RecordBatch) -> Result<Box<dyn RowWriter>, PortError> {
        let (have, schema) = (batch.num_columns(), self.schema.fields.len());
        if have != schema {
            return Err(Error::Shape { have, schema }.into());
        }
        let names = self.schema.fields.iter().map(|field| field.name.as_str());
        let mut maker = Maker::new(self.rules, &self.dictionaries);
        let object = Object::new(names.zip(batch.columns()), &mut maker);
        let object =
            object.map_err(|error| Error::Text { column: "*".into(), source: Box::new(error) })?;
        Ok(Box::new(Line(object)))
    }
}

struct Line(Object);

impl RowWriter for Line {
    fn write(&self, row: usize, out: &mut Out) {
        self.0.write(row, out);
        out.bytes.push(b'\n');
    }
}
