//! Running one part: rows in, one proven file out.
//!
//! Touches no database, so a part may run in another thread, process or cluster. The same part and
//! encoder give the same bytes, therefore a part may be run again at any time, by anybody: whoever comes
//! second finds the same file. Nothing is ever overwritten or deleted here.

mod file;
mod meter;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;

use model::part::{Input, PartTask, Receipt};
use model::ports::{
    Encoded, EncodedChunk, EncodedStream, Encoder, Objects, Progress, ReadTask, Relations,
};
use model::{Code, CommitNumber, Failure, Fault, limits};

use self::file::File;
use self::meter::{Meter, Pace};
use crate::deliver;
use crate::error::Port;
use crate::ports::{Pauses, TokioPauses};
use crate::retry::Tries;
use crate::stop::Stop;

/// What a part works with.
#[derive(Clone)]
pub struct Stores {
    /// Reads rows.
    pub relations: Arc<dyn Relations>,
    /// Makes bytes.
    pub encoder: Arc<dyn Encoder>,
    /// Takes files.
    pub objects: Arc<dyn Objects>,
    /// Waits between tries.
    pub pauses: Arc<dyn Pauses>,
    /// Bytes up to which a file is one create-only put; a larger one is uploaded piece by piece.
    pub put_bytes_max: usize,
}

impl Stores {
    /// Makes the stores with the usual limits and tokio's timer.
    pub fn new(
        relations: Arc<dyn Relations>,
        encoder: Arc<dyn Encoder>,
        objects: Arc<dyn Objects>,
    ) -> Self {
        let pauses = Arc::new(TokioPauses);
        Self { relations, encoder, objects, pauses, put_bytes_max: limits::PUT_BYTES_MAX }
    }
}

/// Who listens to a part and who may stop it.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// Hears of rows read and bytes made; what a second try repeats is not counted again.
    pub progress: &'a dyn Progress,
    /// Stops the part between two chunks.
    pub stop: &'a Stop,
}

/// Runs one part and returns what is at the destination then.
///
/// Shape: a part whose rows are all dropped by a filter makes no file; its receipt has 0 rows and 0
/// bytes. `rows_read` is less than planned only if the file reached its maximum of bytes.
/// `token` is what unfinished uploads carry.
///
/// # Errors
///
/// What can pass is tried [`limits::DELIVERY_TRIES`] times in all. On an error an unfinished upload is
/// gone, but a whole file may be there if the destination's last answer was lost.
pub async fn run_part(
    task: &PartTask,
    stores: &Stores,
    token: &str,
    watch: Watch<'_>,
) -> Result<Receipt, Error> {
    let started = Instant::now();
    let mut tries = Tries::new(&*stores.pauses);
    let splits = task.encoding.spec.file_bytes.is_some();
    let pace = if splits { Pace::AtEnd } else { Pace::Live };
    let mut meter = Meter::new(watch.progress, pace);
    loop {
        let mut file = File::new(task, stores, token);
        match attempt(task, stores, &mut file, (&mut meter, watch.stop, &mut tries)).await {
            Ok(end) => {
                meter.end(end.rows_read);
                return Ok(receipt(task, &file, &end, started));
            }
            Err(error) => {
                file.abandon().await;
                if !tries.again(error.code()).await {
                    return Err(error);
                }
                tracing::warn!(%error, part = %task.part.id, "a part failed; trying again");
            }
        }
    }
}

type Around<'a, 'b> = (&'a mut Meter<'b>, &'a Stop, &'a mut Tries<'b>);

async fn attempt(
    task: &PartTask,
    stores: &Stores,
    file: &mut File<'_>,
    (meter, stop, tries): Around<'_, '_>,
) -> Result<Encoded, Error> {
    let relation = Arc::new(task.relation.clone());
    let read = ReadTask { relation, inputs: task.part.inputs.clone() };
    meter.begin();
    let copied = stores.relations.copy(&read, &task.encoding).await.map_err(Port::from)?;
    let chunks = if let Some(chunks) = copied {
        chunks
    } else {
        let rows = stores.relations.read(&read).await.map_err(Port::from)?;
        stores.encoder.encode(&task.encoding, &task.relation.output, meter.count(rows))
    };
    let end = pump(chunks, file, meter, stop).await?;
    check(task, &end, file.bytes)?;
    if end.rows > 0 {
        file.finish(tries).await?;
    } else {
        file.abandon().await;
        file.forget();
    }
    Ok(end)
}

async fn pump(
    mut chunks: EncodedStream,
    file: &mut File<'_>,
    meter: &mut Meter<'_>,
    stop: &Stop,
) -> Result<Encoded, Error> {
    loop {
        let chunk = tokio::select! {
            biased;
            _ = stop.asked() => return Err(Error::Stopped),
            chunk = chunks.next() => chunk,
        };
        match chunk.ok_or(Error::NoEnd)?.map_err(Port::from)? {
            EncodedChunk::Bytes(bytes) => {
                meter.add(bytes.len() as u64);
                file.write(bytes).await?;
            }
            EncodedChunk::End(end) => return Ok(end),
        }
    }
}

/// Holds what came out against what was planned: the last chance to notice a lost row before it is
/// sealed.
fn check(task: &PartTask, end: &Encoded, bytes: u64) -> Result<(), Error> {
    let planned = task.part.rows_planned();
    let most = task.encoding.spec.file_bytes;
    let whole = end.rows_read == planned;
    // A split needs a reason and must leave less than there was.
    let split = end.rows_read > 0 && end.rows_read < planned && most.is_some();
    if !whole && !split {
        return Err(Error::RowsRead { planned, read: end.rows_read });
    }
    let kept =
        if task.relation.filtered { end.rows <= end.rows_read } else { end.rows == end.rows_read };
    if !kept {
        return Err(Error::RowsKept { read: end.rows_read, written: end.rows });
    }
    match most {
        Some(most) if bytes > most && end.rows > 0 => Err(Error::TooLarge { bytes, most }),
        _ => Ok(()),
    }
}

fn receipt(task: &PartTask, file: &File<'_>, end: &Encoded, started: Instant) -> Receipt {
    let (first_commit, last_commit) = commits(&task.part.inputs, end.rows_read);
    let empty = end.rows == 0;
    Receipt {
        key: task.key.clone(),
        rows_read: end.rows_read,
        rows: end.rows,
        bytes: file.bytes,
        uncompressed_bytes: if empty { 0 } else { end.uncompressed_bytes },
        sha256: file.sha256(),
        md5: file.md5(),
        first_commit,
        last_commit,
        values_lost: end.values_lost,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Returns the least and the greatest commit among the first `rows` input rows.
fn commits(inputs: &[Input], rows: u64) -> (Option<CommitNumber>, Option<CommitNumber>) {
    let mut left = rows;
    let mut found = Vec::new();
    for input in inputs {
        let (first, end) = (input.first_row, input.first_row + left.min(input.rows));
        left -= end - first;
        for (n, run) in input.runs.iter().enumerate() {
            let run_end = input.runs.get(n + 1).map_or(u64::MAX, |next| next.first_row);
            if run.first_row < end && run_end > first {
                found.push(run.commit);
            }
        }
    }
    (found.iter().min().copied(), found.iter().max().copied())
}

/// Why a part made no file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or encoding failed.
    #[error(transparent)]
    Port(#[from] Port),
    /// The file could not be delivered.
    #[error(transparent)]
    Deliver(#[from] deliver::Error),
    /// The encoder stopped in the middle.
    #[error("the encoder ended before the file was complete")]
    NoEnd,
    /// Rows got lost between the lake and the encoder.
    #[error("the part has {planned} rows, but {read} were read")]
    RowsRead {
        /// Rows planned.
        planned: u64,
        /// Rows read.
        read: u64,
    },
    /// Rows got lost or doubled without a filter.
    #[error("{read} rows were read, but {written} were written")]
    RowsKept {
        /// Rows read.
        read: u64,
        /// Rows written.
        written: u64,
    },
    /// The encoder passed the maximum that it was given.
    #[error("the file has {bytes} bytes, more than its maximum of {most}")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The maximum.
        most: u64,
    },
    /// Somebody asked to stop.
    #[error("the part was stopped")]
    Stopped,
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Port(error) => error.code(),
            Self::Deliver(error) => error.code(),
            Self::NoEnd | Self::RowsRead { .. } | Self::RowsKept { .. } | Self::TooLarge { .. } => {
                Code::Internal
            }
            Self::Stopped => Code::Conflict,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Port(error) => error.fault(),
            Self::Deliver(error) => error.fault(),
            Self::NoEnd | Self::RowsRead { .. } | Self::RowsKept { .. } | Self::TooLarge { .. } => {
                Fault::Own
            }
            Self::Stopped => Fault::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::dataset::CommitRun;
    use model::{ObjectKey, SchemaId};

    use super::*;

    fn input(first_row: u64, rows: u64, runs: &[(u64, u64)]) -> Input {
        let time = chrono::DateTime::UNIX_EPOCH;
        let run = |(commit, first_row): &(u64, u64)| CommitRun {
            commit: CommitNumber(*commit),
            time,
            first_row: *first_row,
        };
        Input {
            key: ObjectKey::new("f"),
            file_bytes: 1,
            file_rows: 100,
            sha256: String::new(),
            schema_id: SchemaId::new("s"),
            first_row,
            rows,
            runs: runs.iter().map(run).collect(),
        }
    }

    fn check_commits(inputs: &[Input], rows: u64, expected: Option<(u64, u64)>) {
        let (first, last) = commits(inputs, rows);
        assert_eq!(first.zip(last).map(|(a, b)| (a.0, b.0)), expected);
    }

    #[test]
    fn commits_are_those_of_the_rows_read() {
        let merged = input(5, 10, &[(3, 0), (4, 6), (7, 20)]);
        check_commits(std::slice::from_ref(&merged), 10, Some((3, 4)));
        check_commits(std::slice::from_ref(&merged), 1, Some((3, 3)));
        let last = input(6, 10, &[(3, 0), (4, 6), (7, 20)]);
        check_commits(&[last], 10, Some((4, 4)));
        let next = input(0, 2, &[(9, 0)]);
        check_commits(&[merged.clone(), next.clone()], 10, Some((3, 4)));
        check_commits(&[merged, next], 11, Some((3, 9)));
    }

    #[test]
    fn staged_rows_have_no_commit() {
        check_commits(&[input(0, 5, &[])], 5, None);
    }
}
