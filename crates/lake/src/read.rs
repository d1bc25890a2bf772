//! Turns the input rows of a part into output rows, in order. Touches no database, unless rows are in the
//! tail, as only those of a plan that is not run can be.
//!
//! Contract: the rows are exactly those of the plain reading of the files, filtered and projected; every
//! output row knows how many input rows were read up to it, so a part can be cut behind any of them and
//! the rest read later gives the rest. Decoding and computing run in tasks of their own, one for each of a
//! few row groups, ahead of who takes the rows; dropping the stream stops them.

pub(crate) mod adapt;
pub(crate) mod decode;
mod file;
mod mapper;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use futures::{Stream, StreamExt};
use model::ports::{Positions, ReadTask, RowStream, Rows};
use model::{Code, Failure, Fault, ObjectKey, PortError};
use object_store::client::{HttpError, HttpErrorKind};
use parquet::errors::ParquetError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};

use crate::{Lake, threads};
use decode::{Batches, Group, Piece, Source};
pub(crate) use file::LakeFile;
pub(crate) use mapper::Mapper;

/// Batches that wait between two tasks.
const BATCHES_WAITING: usize = 1;

/// Pieces that are read at the same time: decoding one keeps one core busy.
const PIECES_AHEAD: usize = 2;

/// A condition that lets through no more than one in so many rows is looked at first, and only those rows are
/// decoded.
const FEW: u64 = 4;

impl Lake {
    /// Reads the rows of a part.
    pub(crate) async fn read_rows(&self, task: &ReadTask) -> Result<RowStream, PortError> {
        let mapper = Arc::new(Mapper::compile(&task.relation, self.limits()).await?);
        let reader = self.reader_of(&task.inputs).await?;
        let pieces = decode::pieces(reader, task.inputs.clone(), mapper.columns());
        let total = task.inputs.iter().map(|input| input.rows).sum();
        let (send, take) = channel(BATCHES_WAITING);
        let driving = threads::spawn(drive(mapper, pieces, send, total));
        Ok(Box::pin(Reading { rows: take, driving, done: false }))
    }
}

type Mapped = Result<Option<Rows>, PortError>;

/// Reads pieces side by side and hands their rows on in order; says `None` when all input rows are done.
async fn drive(
    mapper: Arc<Mapper>,
    pieces: impl Stream<Item = Result<Piece, Error>> + Send,
    send: Sender<Mapped>,
    total: u64,
) {
    let mut pieces = std::pin::pin!(pieces.fuse());
    let (mut tasks, mut begun) = (JoinSet::new(), VecDeque::new());
    let (mut planned, mut read, mut told) = (0, 0, 0);
    loop {
        while begun.len() < PIECES_AHEAD && !pieces.is_done() {
            let Some(piece) = pieces.next().await else { break };
            let (to, from) = channel(BATCHES_WAITING);
            match piece {
                Ok(piece) => {
                    planned += piece.rows;
                    let first = planned - piece.rows;
                    tasks.spawn(map(Arc::clone(&mapper), piece, to, first));
                }
                Err(error) => drop(to.send(Err(error.into())).await),
            }
            begun.push_back((from, planned));
        }
        let Some((mut rows, behind)) = begun.pop_front() else { break };
        while let Some(next) = rows.recv().await {
            let failed = next.is_err();
            if let Ok(rows) = &next {
                read = rows.read_after;
                // Where nothing is left of a batch, the next one tells how far reading has come.
                if rows.batch.num_rows() == 0 {
                    continue;
                }
                told = read;
            }
            if send.send(next.map(Some)).await.is_err() || failed {
                return;
            }
        }
        if read != behind {
            break;
        }
    }
    if read != total {
        // A task stopped without a word: it died.
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

/// Maps the rows of a piece that begins after `read` input rows; ends after the first error.
async fn map(mapper: Arc<Mapper>, piece: Piece, send: Sender<Result<Rows, PortError>>, read: u64) {
    let rows = Mapping { mapper, send, read };
    if let Err(Stop::Failed(error)) = rows.piece(piece).await {
        // Whoever takes the rows may have gone.
        drop(rows.send.send(Err(error)).await);
    }
}

/// A piece on its way.
struct Mapping {
    mapper: Arc<Mapper>,
    send: Sender<Result<Rows, PortError>>,
    /// Input rows before the piece.
    read: u64,
}

/// Why mapping ended before the piece did.
enum Stop {
    Failed(PortError),
    /// Nobody takes the rows any more.
    Unwanted,
}

impl<E: Into<PortError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Mapping {
    async fn piece(&self, piece: Piece) -> Result<(), Stop> {
        let group = match piece.source {
            Source::Made(batches) => return self.all(batches).await,
            Source::Group(group) => group,
        };
        let Some(columns) = self.mapper.early_columns() else {
            return self.all(group.all()?).await;
        };
        let Some(passing) = self.passing(&group, &columns, piece.rows).await? else {
            return self.all(group.all()?).await;
        };
        if !passing.is_empty() {
            self.some(group.some_rows(&passing)?, &passing).await?;
        }
        let batch = RecordBatch::new_empty(Arc::clone(self.mapper.output()));
        let read_after = self.read + piece.rows;
        self.send(Rows { batch, read: Positions::Sparse(Vec::new()), read_after }).await
    }

    async fn send(&self, rows: Rows) -> Result<(), Stop> {
        self.send.send(Ok(rows)).await.map_err(|_| Stop::Unwanted)
    }

    async fn all(&self, mut batches: Batches) -> Result<(), Stop> {
        let mut read = self.read;
        while let Some(batch) = batches.next().await.transpose()? {
            let rows = self.mapper.rows(&batch, read)?;
            read = rows.read_after;
            self.send(rows).await?;
        }
        Ok(())
    }

    /// Returns which of the rows pass the first conditions, by looking at the columns of those alone; `None` if
    /// too many do.
    async fn passing(
        &self,
        group: &Group,
        columns: &[usize],
        rows: u64,
    ) -> Result<Option<Vec<u64>>, Stop> {
        if !group.has_any(columns) {
            return Ok(None);
        }
        let mut batches = group.some_columns(columns)?;
        let (mut passing, mut seen) = (Vec::new(), 0);
        while let Some(batch) = batches.next().await.transpose()? {
            let kept = self.mapper.passing(&batch, columns)?;
            passing.extend(kept.into_iter().map(|row| seen + u64::from(row)));
            seen += batch.num_rows() as u64;
            if passing.len() as u64 > rows / FEW {
                return Ok(None);
            }
        }
        if seen == rows { Ok(Some(passing)) } else { Err(Error::Died.into()) }
    }

    /// Maps the rows that pass, which are counted from the piece's first.
    async fn some(&self, mut batches: Batches, passing: &[u64]) -> Result<(), Stop> {
        let mut left = passing;
        while let Some(batch) = batches.next().await.transpose()? {
            let Some((these, rest)) = left.split_at_checked(batch.num_rows()) else {
                return Err(Error::Died.into());
            };
            let read: Vec<u64> = these.iter().map(|row| self.read + row + 1).collect();
            self.send(self.mapper.passed(&batch, &read)?).await?;
            left = rest;
        }
        if left.is_empty() { Ok(()) } else { Err(Error::Died.into()) }
    }
}

/// Rows on their way from the tasks that make them.
struct Reading {
    rows: Receiver<Mapped>,
    driving: AbortHandle,
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
        self.driving.abort();
    }
}

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of the lake is gone or damaged.
    #[error("could not read the lake's file `{key}`: {}", explained(.source))]
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
    /// A file has other bytes than the catalog says.
    #[error(
        "the lake's file `{key}` has other bytes than were imported; restore it from a backup or \
         take its batch back"
    )]
    Sum {
        /// The file.
        key: ObjectKey,
    },
    /// A task died.
    #[error("reading stopped for an unknown reason; the log has more")]
    Died,
}

/// Returns whether the store of the lake does not answer for now: a file that is gone or damaged is something else.
fn is_away(error: &ParquetError) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    let kind = causes.find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind);
    matches!(
        kind,
        Some(
            HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Timeout
                | HttpErrorKind::Interrupted
        )
    )
}

fn explained(error: &ParquetError) -> String {
    let cause = innermost(error);
    if is_away(error) {
        return format!("{cause}; try again once the lake's store answers");
    }
    format!("{cause}; files of the data folder must not be changed or deleted by hand")
}

/// Returns what is at the bottom of an error: those above it name the server's own paths, which are not for whoever asks for
/// an export.
fn innermost(error: &ParquetError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Open { source, .. } if is_away(source) => Code::Unavailable,
            _ => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Own
    }
}
