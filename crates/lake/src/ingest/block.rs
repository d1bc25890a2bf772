//! Records of a text file, some mebibytes at a time: the unit of work of inference and decoding.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::Reason;
use super::shape::Mixing;

/// Characters of a bad record that are kept.
const TEXT_CHARS_MAX: usize = 100_000;

/// Consecutive records of one file.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The text of the records, and anything.
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
    /// Bytes of the file, as stored, read since the block before.
    pub(super) raw_bytes: u64,
    /// Where the buffer goes back to.
    pub(super) spare: Arc<Spare>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.spare.put(std::mem::take(&mut self.bytes));
    }
}

/// Buffers of blocks that are done, to be filled again: as many as were in use at once.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// Returns a buffer, empty if there is none.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Where a record lies in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The line it begins on, from 1.
    pub(super) line: u64,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    pub(super) line: u64,
}

/// A record that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRecord {
    /// The line of the trouble.
    pub(super) line: u64,
    pub(super) reason: Reason,
    pub(super) text: String,
}

/// How the records of a file are read.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The file's place in the import.
    pub(super) file: usize,
    /// The names of the columns, for CSV; JSON has none.
    pub(super) header: Option<Vec<String>>,
    /// The name of the column that becomes `received_at`.
    pub(super) received: Option<String>,
    /// Whether bad records are passed over.
    pub(super) lenient: bool,
}

impl Layout {
    /// Returns what values of different kinds meet in.
    pub(super) fn mixing(&self) -> Mixing {
        match (&self.header, self.lenient) {
            (Some(_), _) => Mixing::Text,
            (None, true) => Mixing::KeepFirst,
            (None, false) => Mixing::Refuse,
        }
    }
}

impl Block {
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.spans.iter().map(|span| self.record(*span))
    }

    pub(super) fn record(&self, span: Span) -> Record<'_> {
        Record { bytes: &self.bytes[span.start..span.end], line: span.line }
    }
}

impl<'a> Record<'a> {
    pub(super) fn text(&self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.bytes).map_err(|_| Reason::Utf8)
    }

    /// Returns the lines before the first byte that is not UTF-8.
    #[expect(clippy::naive_bytecount, reason = "once, for a message")]
    fn lines_before_bad_byte(&self) -> u64 {
        let good = match std::str::from_utf8(self.bytes) {
            Ok(_) => 0,
            Err(error) => error.valid_up_to(),
        };
        self.bytes[..good].iter().filter(|&&b| b == b'\n').count() as u64
    }
}

impl BadRecord {
    pub(super) fn new(record: &Record<'_>, reason: Reason) -> Self {
        let lines = match &reason {
            Reason::Utf8 => record.lines_before_bad_byte(),
            other => other.lines(),
        };
        Self { line: record.line + lines, reason, text: kept_text(record.bytes) }
    }
}

/// Returns what is kept of a bad record's or row's text.
pub(super) fn kept_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => text[..at].to_owned(),
        None => text.into_owned(),
    }
}
