//! Rows into bytes.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use crate::failure::PortError;
use crate::format::{Encoding, FormatSpec};
use crate::part::PartId;
use crate::ports::lake::RowStream;
use crate::schema::Schema;

/// What an encoder yields: bytes in order, then, last, the sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodedChunk {
    /// The next bytes of the file.
    Bytes(Bytes),
    /// The file is complete; nothing follows.
    End(Encoded),
}

/// What was encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Input rows consumed. Fewer than were there if the file reached its maximum of bytes.
    pub rows_read: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
    /// Values that the format cannot hold and that were written as null.
    pub values_lost: u64,
}

/// A stream of encoded bytes that ends with [`EncodedChunk::End`] or an error. Dropping it stops the work.
pub type EncodedStream = Pin<Box<dyn Stream<Item = Result<EncodedChunk, PortError>> + Send>>;

/// What a file name template may speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameContext {
    /// The saved export's name, or the relation's.
    pub export: String,
    /// The run.
    pub run: String,
    /// The exclusive lower end of the range.
    pub from: u64,
    /// The inclusive upper end of the range.
    pub to: u64,
    /// When the run was opened.
    pub opened_at: chrono::DateTime<chrono::Utc>,
}

/// Turns rows into the bytes of files.
pub trait Encoder: Send + Sync {
    /// Checks format, compression, options and name template against the columns.
    ///
    /// # Errors
    ///
    /// `Fault::Request`, naming the option and what it may be.
    fn check(&self, spec: &FormatSpec, schema: &Schema) -> Result<Encoding, PortError>;

    /// Renders the file name of a part, extension included: one path below the run's folder. Names of
    /// different parts differ, or the template is refused when `parts > 1`.
    fn name(
        &self,
        encoding: &Encoding,
        context: &NameContext,
        part: PartId,
        parts: u64,
    ) -> Result<String, PortError>;

    /// Encodes rows into one file.
    ///
    /// Shape: the same rows and encoding give the same bytes, however the stream cuts its batches and
    /// however many threads there are. No rows make a complete empty file. If `spec.file_bytes` is set,
    /// the file ends before it would pass it, at a row, with `rows_read` saying how far it came; a single
    /// row that does not fit is an error.
    fn encode(&self, encoding: &Encoding, schema: &Schema, rows: RowStream) -> EncodedStream;
}
