//! Turns single values of Arrow arrays into text.
//!
//! A [`Cell`] is made once per column and batch, by looking at the column's type; after that every row
//! costs one virtual call and no allocation. Arrays may be sliced, dictionary encoded or run-end encoded;
//! only their values show. A cell does not look at its own column's nulls: whoever asks checks first,
//! because formats differ in what a null is. What text each type becomes is told in `docs/formats.md`.

mod dictionary;
mod escape;
mod nested;
mod scalar;
mod temporal;
mod text;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

pub(crate) use crate::deflate::Cell as Place;
pub(crate) use dictionary::Dictionaries;
pub(crate) use escape::{find_any, string as json_string};
pub(crate) use nested::Object;
pub(crate) use text::Text;

/// Where text goes, with the count of values that could not be written.
#[derive(Default)]
pub(crate) struct Out {
    /// The text.
    pub(crate) bytes: Text,
    /// Where the values lie in the text, if a compressor wants to know.
    pub(crate) places: Option<Vec<Place>>,
    /// Values that the format cannot hold and that were written as null.
    pub(crate) lost: u64,
    /// Room for text on its way, kept so that no value needs an allocation.
    pub(crate) scratch: Vec<u8>,
}

impl Out {
    /// Forgets everything but the buffers, and notes the places of values from now on if they are wanted.
    pub(crate) fn restart(&mut self, places: bool) {
        self.bytes.truncate(0);
        self.lost = 0;
        self.places = places.then(|| {
            let mut kept = self.places.take().unwrap_or_default();
            kept.clear();
            kept
        });
    }

    /// Gives back buffers of more than so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let places = self.places.as_ref().map_or(0, Vec::capacity) * size_of::<Place>();
        if self.bytes.capacity() + self.scratch.capacity() + places > bytes {
            *self = Self::default();
        }
    }

    /// Forgets the places of values behind `start`.
    pub(crate) fn forget_places(&mut self, start: usize) {
        if let Some(places) = &mut self.places {
            let kept = places.partition_point(|place| (place.start as usize) < start);
            places.truncate(kept);
        }
    }

    /// Notes that the value of a column stands between `start` and the end of the text.
    #[inline]
    pub(crate) fn place(&mut self, column: u32, start: usize) {
        let end = self.bytes.len();
        if let Some(places) = &mut self.places {
            // Places are hints; none is needed so far behind.
            if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
                places.push(Place { start, end, column });
            }
        }
    }
}

/// The values of one column as text.
pub(crate) trait Cell: Send {
    /// Appends the value of that row, which is not null.
    fn write(&self, row: usize, out: &mut Out);
}

/// A [`Cell`] of any type.
pub(crate) type AnyCell = Box<dyn Cell>;

/// How integers of 64 bits and decimals stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int64 {
    /// As numbers.
    Number,
    /// As strings, for readers whose numbers are doubles.
    Text,
}

/// What becomes of null fields of JSON objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// They are left out.
    Omit,
    /// They are written as `null`.
    Keep,
}

/// How instants are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instants {
    /// As ISO 8601: `2020-02-29T12:30:00.123Z`.
    Iso,
    /// As databases print them: `2020-02-29 12:30:00.123 UTC`.
    Sql,
}

/// The choices that JSON leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How integers of 64 bits and decimals stand.
    pub(crate) int64: Int64,
    /// What becomes of null fields.
    pub(crate) nulls: Nulls,
    /// How instants are written.
    pub(crate) instants: Instants,
}

/// A type that has no text form; schemas with it are refused before rows are read.
#[derive(Debug, thiserror::Error)]
#[error("a value of type `{0}` has no text form; cast it first")]
pub(crate) struct NoText(DataType);

/// How a scalar's plain text stands in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is: a number or a boolean.
    Bare,
    /// As it is, or as a string if [`Int64::Text`] is asked for.
    Wide,
    /// Between quotes; its text holds nothing that JSON escapes.
    Quoted,
}

/// Makes cells for the columns of a batch.
pub(crate) struct Maker<'a> {
    rules: Rules,
    dictionaries: &'a Dictionaries,
    /// Columns without columns inside, counted so far.
    leaves: u32,
}

impl<'a> Maker<'a> {
    /// Makes one for a batch.
    pub(crate) fn new(rules: Rules, dictionaries: &'a Dictionaries) -> Self {
        Self { rules, dictionaries, leaves: 0 }
    }

    /// Returns the number of the next column without columns inside; `None` for others.
    pub(crate) fn leaf(&mut self, array: &ArrayRef) -> Option<u32> {
        if array.data_type().is_nested() && !array.data_type().is_run_ends_type() {
            return None;
        }
        self.leaves += 1;
        Some(self.leaves)
    }

    /// Returns the cells of a column as JSON values.
    pub(crate) fn json(&mut self, array: &ArrayRef) -> Result<AnyCell, NoText> {
        if let Some(cell) = escape::strings(array) {
            return Ok(cell);
        }
        if let Some(cell) = scalar::json_floats(array) {
            return Ok(cell);
        }
        if let Some((cell, form)) = scalar::plain(array, self.rules.instants) {
            return Ok(match (form, self.rules.int64) {
                (Form::Bare, _) | (Form::Wide, Int64::Number) => cell,
                (Form::Quoted, _) | (Form::Wide, Int64::Text) => Box::new(InQuotes(cell)),
            });
        }
        if let Some(cell) = self.dictionaries.cell(array, json_string) {
            return Ok(cell);
        }
        if let Some((values, at)) = indirect(array) {
            return Ok(Box::new(Mapped { at, cell: self.json(&values)? }));
        }
        nested::json(array, self)
    }

    /// Returns the cells of a column as JSON strings, for the keys of objects.
    pub(crate) fn key(&mut self, array: &ArrayRef) -> Result<AnyCell, NoText> {
        if let Some(cell) = escape::strings(array) {
            return Ok(cell);
        }
        if let Some((cell, _)) = scalar::plain(array, self.rules.instants) {
            return Ok(Box::new(InQuotes(cell)));
        }
        if let Some(cell) = self.dictionaries.cell(array, json_string) {
            return Ok(cell);
        }
        if let Some((values, at)) = indirect(array) {
            return Ok(Box::new(Mapped { at, cell: self.key(&values)? }));
        }
        Ok(Box::new(AsString(nested::json(array, self)?)))
    }
}

/// Returns the cells of a scalar column as bare text, strings without quotes or escapes; `None` for nested
/// types.
pub(crate) fn plain(array: &ArrayRef) -> Option<AnyCell> {
    if let Some(cell) = scalar::raw_strings(array) {
        return Some(cell);
    }
    if let Some((cell, _)) = scalar::plain(array, Instants::Iso) {
        return Some(cell);
    }
    let (values, at) = indirect(array)?;
    let cell = plain(&values)?;
    Some(Box::new(Mapped { at, cell }))
}

/// Returns which rows are null, with dictionaries and runs looked through.
pub(crate) fn nulls(array: &ArrayRef) -> Option<NullBuffer> {
    array.logical_nulls().filter(|nulls| nulls.null_count() > 0)
}

/// Returns the values behind a dictionary or runs, and where each row finds its own.
fn indirect(array: &ArrayRef) -> Option<(ArrayRef, Vec<usize>)> {
    use arrow::datatypes::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
    fn runs<R: RunEndIndexType>(array: &ArrayRef) -> (ArrayRef, Vec<usize>) {
        let runs = array.as_run::<R>();
        let at = (0..runs.len()).map(|row| runs.get_physical_index(row)).collect();
        (runs.values().clone(), at)
    }
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            // A dictionary without values has only null keys; nobody asks for its cells.
            let at = match dictionary.values().len() {
                0 => vec![0; dictionary.len()],
                _ => dictionary.normalized_keys(),
            };
            Some((dictionary.values().clone(), at))
        }
        DataType::RunEndEncoded(ends, _) => Some(match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array),
            DataType::Int32 => runs::<Int32Type>(array),
            _ => runs::<Int64Type>(array),
        }),
        _ => None,
    }
}

/// Values reached through a dictionary or runs.
struct Mapped {
    at: Vec<usize>,
    cell: AnyCell,
}

impl Cell for Mapped {
    fn write(&self, row: usize, out: &mut Out) {
        self.cell.write(self.at[row], out);
    }
}

/// Text that needs no escapes, between quotes.
struct InQuotes(AnyCell);

impl Cell for InQuotes {
    fn write(&self, row: usize, out: &mut Out) {
        out.bytes.push(b'"');
        self.0.write(row, out);
        out.bytes.push(b'"');
    }
}

/// JSON text as a JSON string: what a struct or list becomes when it is the key of a map.
struct AsString(AnyCell);

impl Cell for AsString {
    fn write(&self, row: usize, out: &mut Out) {
        let mut inner = Out::default();
        self.0.write(row, &mut inner);
        out.lost += inner.lost;
        json_string(inner.bytes.as_slice(), &mut out.bytes);
    }
}
