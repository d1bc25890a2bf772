//! Rows of a question in SQL, written in a format of exports.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use model::format::FormatSpec;
use model::ports::{EncodedChunk, Positions, Rows, SqlStream};
use model::schema::Schema;
use model::{Code, Fault, PortError, WorkspaceId};

use crate::Core;

/// The bytes of an answer.
pub(crate) type Answer = Pin<Box<dyn Stream<Item = Result<Bytes, PortError>> + Send>>;

/// Bytes of an answer that is held in memory.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Writes rows.
pub(crate) fn encoded(
    core: &Core,
    spec: &FormatSpec,
    schema: &Schema,
    rows: SqlStream,
) -> Result<Answer, PortError> {
    let encoding = core.encoder.check(spec, schema)?;
    let mut read = 0;
    let rows = rows.map_ok(move |batch| {
        let first = read;
        read += batch.num_rows() as u64;
        Rows { batch, read: Positions::Dense { first }, read_after: read }
    });
    let encoded = core.encoder.encode(&encoding, schema, rows.boxed());
    let bytes = encoded.try_filter_map(async |chunk| {
        Ok(match chunk {
            EncodedChunk::Bytes(bytes) => Some(bytes),
            EncodedChunk::End(_) => None,
        })
    });
    Ok(bytes.boxed())
}

/// Answers a question as one text, which has to be short.
pub(crate) async fn text(
    core: &Core,
    workspace: &WorkspaceId,
    (sql, format): (&str, &FormatSpec),
) -> Result<Vec<u8>, PortError> {
    let (schema, rows) = core.query.sql(workspace, sql, core.clock.now()).await?;
    let mut bytes = encoded(core, format, &schema, rows)?;
    let mut text = Vec::new();
    while let Some(piece) = bytes.try_next().await? {
        text.extend_from_slice(&piece);
        if text.len() > TEXT_BYTES_MAX {
            let message = "the answer has more than 16 MiB; fetch it as a report";
            return Err(PortError::new(Code::TooLarge, Fault::Request, message));
        }
    }
    Ok(text)
}
