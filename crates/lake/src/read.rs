//! Turns the input rows of a part into output rows, in order. Touches no database, unless rows are in the
//! tail, as only those of a plan that is not run can be.
//!
//! Contract: the rows are exactly those of the plain reading of the files, filtered and projected; every
//! output row knows how many input rows were read up to it, so a part can be cut behind any of them and
//! the rest read later gives the rest. Decoding and computing run in tasks of their own, a few batches
//! ahead of who takes the rows; dropping the stream stops them.

pub(crate) mod adapt;
pub(crate) mod decode;
mod file;
mod mapper;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use futures::{Stream, StreamExt};
use model::ports::{Positions, ReadTask, RowStream, Rows};
use model::{Code, Failure, Fault, ObjectKey, PortError};
use parquet::errors::ParquetError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;

use crate::Lake;
pub(crate) use mapper::Mapper;

/// Batches that wait between two tasks.
const BATCHES_WAITING: usize = 1;

impl Lake {
    /// Reads the rows of a part.
    pub(crate) async fn read_rows(&self, task: &ReadTask) -> Result<RowStream, PortError> {
        let mapper = Mapper::compile(&task.relation, self.limits()).await?;
        let columns = mapper.columns();
        let reader = self.reader_of(&task.inputs).await?;
        let stored = decode::decode(reader, task.inputs.clone(), columns);
        let total = task.inputs.iter().map(|input| input.rows).sum();
        let (send_stored, take_stored) = channel(BATCHES_WAITING);
        let (send_rows, take_rows) = channel(BATCHES_WAITING);
        let decoding = tokio::spawn(forward(stored, send_stored)).abort_handle();
        let mapping = tokio::spawn(map(mapper, take_stored, send_rows, total)).abort_handle();
        Ok(Box::pin(Reading { rows: take_rows, tasks: [decoding, mapping], done: false }))
    }
}

async fn forward(
    batches: impl Stream<Item = Result<RecordBatch, Error>> + Send,
    send: Sender<Result<RecordBatch, Error>>,
) {
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.next().await {
        if send.send(batch).await.is_err() {
            return;
        }
    }
}

/// Maps batch after batch; says `None` when all input rows are done.
async fn map(
    mapper: Mapper,
    mut batches: Receiver<Result<RecordBatch, Error>>,
    send: Sender<Result<Option<Rows>, PortError>>,
    total: u64,
) {
    let (mut read, mut told) = (0, 0);
    while let Some(batch) = batches.recv().await {
        let rows = batch
            .map_err(PortError::from)
            .and_then(|batch| mapper.rows(&batch, read).map_err(PortError::from));
        match rows {
            Ok(rows) => {
                read = rows.read_after;
                // Where nothing is left of a batch, the next one tells how far reading has come.
                if rows.batch.num_rows() == 0 {
                    continue;
                }
                told = read;
                if send.send(Ok(Some(rows))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = send.send(Err(error)).await;
                return;
            }
        }
    }
    if read != total {
        // The decoder stopped without a word: it died.
        let _ = send.send(Err(Error::Died.into())).await;
        return;
    }
    if told < total {
        let batch = RecordBatch::new_empty(Arc::clone(mapper.output()));
        let rows = Rows { batch, read: Positions::Sparse(Vec::new()), read_after: total };
        if send.send(Ok(Some(rows))).await.is_err() {
            return;
        }
    }
    let _ = send.send(Ok(None)).await;
}

/// Rows on their way from the tasks that make them.
struct Reading {
    rows: Receiver<Result<Option<Rows>, PortError>>,
    tasks: [AbortHandle; 2],
    done: bool,
}

impl Stream for Reading {
    type Item = Result<Rows, PortError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let next = match std::task::ready!(self.rows.poll_recv(context)) {
            Some(Ok(Some(rows))) => return Poll::Ready(Some(Ok(rows))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(Error::Died.into())),
        };
        self.done = true;
        Poll::Ready(next)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of the lake is gone or damaged.
    #[error(
        "could not read the lake's file `{key}`: {source}; files of the data folder must not be \
         changed or deleted by hand"
    )]
    Open {
        /// The file.
        key: ObjectKey,
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// A file has other rows than the catalog says.
    #[error(
        "the lake's file `{key}` has {have} rows instead of {want}; files of the data folder must \
         not be changed by hand"
    )]
    Rows {
        /// The file.
        key: ObjectKey,
        /// Its rows.
        have: u64,
        /// The catalog's rows.
        want: u64,
    },
    /// A file has columns that do not fit the table.
    #[error("the columns of the lake's file `{key}` do not fit its dataset: {source}")]
    Adapt {
        /// The file.
        key: ObjectKey,
        /// The cause.
        #[source]
        source: ArrowError,
    },
    /// Rows in the metadata database are damaged.
    #[error("the rows `{key}` in the metadata database cannot be read: {source}")]
    Tail {
        /// Their name.
        key: ObjectKey,
        /// The cause.
        #[source]
        source: ArrowError,
    },
    /// A task died.
    #[error("reading stopped for an unknown reason; the log has more")]
    Died,
}

impl Failure for Error {
    fn code(&self) -> Code {
        Code::Internal
    }

    fn fault(&self) -> Fault {
        Fault::Own
    }
}
