//! Encoding the first rows of a run, to learn how many bytes a row makes.

use std::sync::Arc;

use futures::StreamExt;

use model::PortError;
use model::format::{Encoding, FormatSpec};
use model::limits::SAMPLE_ROWS;
use model::part::Input;
use model::ports::{EncodedChunk, Encoder, ReadTask, Relations};
use model::relation::BoundRelation;

use crate::cut::{Cut, PartSize};

/// What the first rows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Input rows read.
    pub(crate) rows_read: u64,
    /// Output rows encoded.
    pub(crate) rows: u64,
    /// Bytes they made, compressed.
    pub(crate) bytes: u64,
}

/// Reads up to [`SAMPLE_ROWS`] input rows from the front and encodes them as one file.
pub(crate) async fn sample(
    relations: &dyn Relations,
    encoder: &dyn Encoder,
    relation: &Arc<BoundRelation>,
    (inputs, encoding): (&[Input], &Encoding),
) -> Result<Sample, PortError> {
    // Files hold rows, so the first rows lie in at most that many files.
    let front = inputs.iter().take(SAMPLE_ROWS).cloned().collect();
    let Some(inputs) = Cut::new(front, PartSize::Rows(SAMPLE_ROWS as u64)).next() else {
        return Ok(Sample::default());
    };
    let rows = relations.read(&ReadTask { relation: Arc::clone(relation), inputs }).await?;
    // Anew, since a maximum may show in the encoder's id.
    let spec = FormatSpec { file_bytes: None, ..encoding.spec.clone() };
    let whole = encoder.check(&spec, &relation.output)?;
    let mut chunks = encoder.encode(&whole, &relation.output, rows);
    let mut sample = Sample::default();
    while let Some(chunk) = chunks.next().await {
        match chunk? {
            EncodedChunk::Bytes(bytes) => sample.bytes += bytes.len() as u64,
            EncodedChunk::End(end) => {
                sample.rows_read = end.rows_read;
                sample.rows = end.rows;
            }
        }
    }
    Ok(sample)
}
