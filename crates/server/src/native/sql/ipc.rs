//! Rows as an Arrow IPC stream.
//!
//! Contract: the first bytes hold the columns and the first rows, so that what goes wrong with those can still be told; the
//! last say that it ends there, without which it is no whole stream.

use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use model::ports::SqlStream;
use model::schema::Schema;
use model::{Code, Fault, PortError};

/// Writes rows that have these columns.
pub(super) fn stream(
    schema: &Schema,
    rows: SqlStream,
) -> Result<impl Stream<Item = Result<Bytes, PortError>> + Send + use<>, PortError> {
    let writer = StreamWriter::try_new(Vec::new(), &schema.to_arrow()).map_err(broken)?;
    Ok(stream::try_unfold((Some(writer), rows), async |(writer, mut rows)| {
        let Some(mut writer) = writer else { return Ok(None) };
        Ok(Some(match rows.try_next().await? {
            Some(batch) => {
                writer.write(&batch).map_err(broken)?;
                (std::mem::take(writer.get_mut()).into(), (Some(writer), rows))
            }
            None => (writer.into_inner().map_err(broken)?.into(), (None, rows)),
        }))
    }))
}

fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::caused(Code::Internal, Fault::Own, "rows could not be written as Arrow", source)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use arrow_ipc::reader::StreamReader;
    use futures::StreamExt;
    use model::schema::{Field, Type};

    use super::*;

    fn schema() -> Schema {
        Schema { fields: vec![Field::new("n", Type::Int64)] }
    }

    fn rows(numbers: &[i64]) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_new(schema().to_arrow(), vec![values]).unwrap()
    }

    async fn bytes_of(batches: Vec<RecordBatch>) -> Vec<Bytes> {
        let rows = stream::iter(batches.into_iter().map(Ok)).boxed();
        stream(&schema(), rows).unwrap().try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn rows_come_back() {
        for batches in [vec![], vec![rows(&[1, 2])], vec![rows(&[1]), rows(&[]), rows(&[2, 3])]] {
            let bytes = bytes_of(batches.clone()).await;
            assert_eq!(bytes.len(), batches.len() + 1);
            let whole = bytes.concat();
            let read: Result<Vec<_>, _> =
                StreamReader::try_new(&whole[..], None).unwrap().collect();
            assert_eq!(read.unwrap(), batches);
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_first_is_told_before_any_bytes() {
        let wrong = PortError::new(Code::Invalid, Fault::Source, "divided by zero");
        let rows = stream::iter([Err(wrong)]).boxed();
        let mut bytes = Box::pin(stream(&schema(), rows).unwrap());
        assert_eq!(bytes.next().await.unwrap().unwrap_err().to_string(), "divided by zero");
    }
}
