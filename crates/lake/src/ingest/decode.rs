//! Turns the records of a block into rows of the dataset.
//!
//! Contract: rows keep the order of the records. A block without bad records is read once; in one with bad
//! records every record is tried by itself, so that each bad one is named.

use std::sync::{Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use model::canonical::RECEIVED_AT;
use model::schema::Schema;

use super::block::{BadRecord, Block, Layout, Record as Line};
use super::column::Record;
use super::error::{IngestError, Reason};
use super::infer::found;
use super::json::{Cursor, Kind};

/// Records for which no room is made before.
const FEW: usize = 16;

/// Reads the records of one file.
pub(super) struct Decoder {
    layout: Layout,
    schema: Schema,
    arrow: SchemaRef,
    /// For CSV, the place of each of the file's columns among the dataset's.
    places: Vec<usize>,
    /// Whether the types were inferred from other records.
    exact: bool,
    /// Columns without room for rows, for the first block that has few.
    spare: Mutex<Option<Record>>,
}

/// The rows of a block and what could not be read.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) batch: RecordBatch,
    pub(super) bad: Vec<BadRecord>,
}

impl Decoder {
    /// Every column of the file is one of the schema's. If it is `exact`, records are also refused that would have
    /// made another schema.
    pub(super) fn new(layout: Layout, schema: &Schema, exact: bool) -> Result<Self, IngestError> {
        let place = |name: &String| {
            let name = match &layout.received {
                Some(given) if given == name => RECEIVED_AT,
                _ => name,
            };
            schema.fields.iter().position(|field| field.name == name)
        };
        let places = layout.header.iter().flatten().map(place).collect::<Option<Vec<_>>>();
        let places = places.expect("the schema was made from the header");
        // Finds columns that text cannot fill before the first row is read.
        let spare = Mutex::new(Some(columns(&layout, schema, 0)?));
        Ok(Self { layout, schema: schema.clone(), arrow: schema.to_arrow(), places, exact, spare })
    }

    /// Decodes a block; where bad records are not passed over, the first one is an error.
    pub(super) fn decode(&self, block: &Block) -> Result<Result<Decoded, BadRecord>, IngestError> {
        let mut rows = self.rows(block)?;
        let mut first_bad = None;
        for line in block.records() {
            if let Err(reason) = self.push(&mut rows, &line) {
                first_bad = Some(BadRecord::new(&line, reason));
                break;
            }
        }
        match first_bad {
            None => Ok(Ok(Decoded { batch: self.batch(rows)?, bad: Vec::new() })),
            Some(bad) if !self.layout.lenient => Ok(Err(bad)),
            Some(_) => self.one_by_one(block).map(Ok),
        }
    }

    fn one_by_one(&self, block: &Block) -> Result<Decoded, IngestError> {
        let mut bad = Vec::new();
        let mut good = Vec::new();
        let mut trial = self.rows(block)?;
        for span in &block.spans {
            let line = block.record(*span);
            match self.push(&mut trial, &line) {
                Ok(()) => good.push(line),
                Err(reason) => {
                    bad.push(BadRecord::new(&line, reason));
                    // A record that broke off left half a row behind.
                    trial = self.rows(block)?;
                }
            }
        }
        let mut rows = self.rows(block)?;
        for line in good {
            self.push(&mut rows, &line).expect("it was good a moment ago");
        }
        Ok(Decoded { batch: self.batch(rows)?, bad })
    }

    fn rows(&self, block: &Block) -> Result<Record, IngestError> {
        let few = block.spans.len() <= FEW;
        let spare = few.then(|| self.spare.lock().unwrap_or_else(PoisonError::into_inner).take());
        let rows = match spare.flatten() {
            Some(rows) => rows,
            None => columns(&self.layout, &self.schema, block.spans.len())?,
        };
        Ok(if self.exact { rows.exact() } else { rows })
    }

    fn push(&self, rows: &mut Record, line: &Line<'_>) -> Result<(), Reason> {
        let text = line.text()?;
        if self.layout.header.is_some() {
            return rows.push_cells(text, &self.places);
        }
        let mut cursor = Cursor::new(text);
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            cursor.skip()?;
            cursor.end()?;
            return Err(Reason::NotObject { found: found(kind) });
        }
        match rows.push_json(&mut cursor, "") {
            Ok(()) => cursor.end(),
            // A record that is no JSON was passed over when the columns were collected.
            Err(unknown @ Reason::Changed { .. }) => {
                let mut cursor = Cursor::new(text);
                cursor.skip()?;
                cursor.end()?;
                Err(unknown)
            }
            Err(reason) => Err(reason),
        }
    }

    fn batch(&self, rows: Record) -> Result<RecordBatch, IngestError> {
        let count = rows.rows();
        let (columns, _): (Vec<ArrayRef>, _) = rows.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options)?)
    }
}

fn columns(layout: &Layout, schema: &Schema, rows: usize) -> Result<Record, IngestError> {
    let columns = Record::new(&schema.fields, "", rows)?;
    Ok(match &layout.received {
        Some(given) => columns.receive(given),
        None => columns,
    })
}
