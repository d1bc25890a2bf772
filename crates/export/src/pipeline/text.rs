//! Files of text: rows → members on the pool → in order.
//!
//! Three stages, each with a bounded queue behind it: *feed* groups rows into chunks, the pool turns each
//! chunk into members (text, then compressed, while it is in the cache), *seal* takes them in order and
//! hands them on, or ends the file where a maximum of bytes demands it. Chunks and members end behind a
//! row, at places that follow from the rows alone, so neither batches nor threads show in the bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use model::PortError;
use model::limits::{CHUNK_BYTES, MEASURED_ROWS, MEMBER_BYTES, MEMBER_ROWS_MAX};
use model::ports::{Encoded, EncodedChunk, EncodedStream, Positions, RowStream};
use tokio::sync::mpsc;

use super::join::Joiner;
use super::limit::{Limit, Step};
use super::{Answer, Machine, Permit, Share, Tasks, broke_off};
use crate::cells::{Out, Place};
use crate::compress::Codec;
use crate::weigh;

/// Bytes of text at which a member ends though the chunk goes on: a quarter more than is aimed at, so that
/// a chunk that is somewhat longer than expected leaves no stub.
const MEMBER_BYTES_MOST: usize = MEMBER_BYTES + MEMBER_BYTES / 4;

/// Bytes of text that a chunk is expected to have.
const EXPECTED_BYTES: usize = MEMBER_BYTES - MEMBER_BYTES / 16;

/// Bytes of buffers that a thread keeps from one chunk to the next.
const KEPT_BYTES: usize = 8 << 20;

/// A format that writes one row after the other as text.
pub(crate) trait RowFormat: Send + Sync {
    /// Returns what stands in front of the first row.
    fn prologue(&self) -> Vec<u8>;

    /// Returns the writer of a batch's rows; it looks at types, so that rows need not.
    fn writer(&self, batch: &RecordBatch) -> Result<Box<dyn RowWriter>, PortError>;
}

/// Writes the rows of one batch.
pub(crate) trait RowWriter {
    /// Appends a row, its end included.
    fn write(&self, row: usize, out: &mut Out);
}

/// A file of text to be made.
pub(crate) struct TextJob {
    /// How rows become text.
    pub(crate) format: Arc<dyn RowFormat>,
    /// How text is compressed.
    pub(crate) codec: Codec,
    /// Bytes of the finished file at most.
    pub(crate) bytes_max: Option<u64>,
    /// What the maximum's error calls the format: `csv` or `csv` with `gzip`.
    pub(crate) label: String,
}

/// The end of a row in a member, with everything counted up to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Bytes from the member's start.
    pub(super) at: usize,
    /// Rows of the file.
    pub(super) rows: u64,
    /// Input rows read.
    pub(super) read: u64,
    /// Values lost.
    pub(super) lost: u64,
}

/// A piece of the file that can be unpacked by itself.
#[derive(Default)]
pub(super) struct Member {
    /// Its bytes in the file.
    pub(super) packed: Bytes,
    /// What it adds to the file.
    pub(super) sum: Encoded,
    /// How it was made; only if the file has a maximum.
    pub(super) source: Option<Source>,
}

/// What a shorter member can be made of.
#[derive(Clone, Default)]
pub(super) struct Source {
    /// The text.
    pub(super) text: Bytes,
    /// Where values lie in it.
    pub(super) places: Arc<[Place]>,
    /// Ends of rows; `rows` and `lost` count from the member's start until the file's are added.
    pub(super) ends: Arc<[End]>,
}

impl Source {
    /// Makes a member of the text's first bytes.
    pub(super) fn packed(&self, codec: Codec, upto: usize) -> Bytes {
        let places = self.places.partition_point(|place| place.end as usize <= upto);
        codec.member(&self.text[..upto], &self.places[..places])
    }
}

impl TextJob {
    /// Makes the file. Work begins when the stream is first polled, which must be inside a runtime.
    pub(crate) fn start(self, machine: Arc<Machine>, rows: RowStream) -> EncodedStream {
        let start = async move {
            let (feed_to, seal_from) = mpsc::channel(machine.window());
            let (seal_to, out) = mpsc::channel(2);
            let mut tasks = Tasks::new();
            let feeder = Feeder::new(Arc::clone(&machine), &self);
            tasks.spawn(feeder.run(rows, feed_to));
            tasks.spawn(self.seal(machine, seal_from, seal_to));
            deliver(out, tasks)
        };
        Box::pin(futures::stream::once(start).flatten())
    }

    async fn seal(
        self,
        machine: Arc<Machine>,
        fed: mpsc::Receiver<Fed>,
        out: mpsc::Sender<Result<EncodedChunk, PortError>>,
    ) {
        let mut members = Members::new(fed);
        let mut joiner = Joiner::new(self.codec);
        let mut limit = Limit::new(self.bytes_max, self.codec, self.label);
        loop {
            let step = match members.next().await {
                Ok(Some((member, last))) => limit.take(&machine, member, last).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            let (bytes, end) = match step {
                Ok(Step::Go(bytes)) => (bytes, None),
                Ok(Step::End(bytes, encoded)) => (bytes, Some(Ok(EncodedChunk::End(encoded)))),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let mut bytes: Vec<_> = bytes.into_iter().map(|bytes| joiner.take(bytes)).collect();
            if let Some(Ok(_)) = &end {
                bytes.push(std::mem::take(&mut joiner).end());
            }
            for bytes in bytes.into_iter().filter(|bytes| !bytes.is_empty()) {
                if out.send(Ok(EncodedChunk::Bytes(bytes))).await.is_err() {
                    return;
                }
            }
            if let Some(end) = end {
                // Whoever listens has all of it, or has gone.
                drop(out.send(end).await);
                return;
            }
        }
    }
}

/// Hands on what the tasks send, ends after the end or an error, and turns silence into an error.
pub(crate) fn deliver(
    out: mpsc::Receiver<Result<EncodedChunk, PortError>>,
    tasks: Tasks,
) -> EncodedStream {
    Box::pin(futures::stream::unfold(Some((out, tasks)), |state| async {
        let (mut out, tasks) = state?;
        match out.recv().await {
            Some(Ok(EncodedChunk::Bytes(bytes))) => {
                Some((Ok(EncodedChunk::Bytes(bytes)), Some((out, tasks))))
            }
            Some(end) => Some((end, None)),
            None => Some((Err(broke_off()), None)),
        }
    }))
}

/// What the feeder tells, in order.
enum Fed {
    Chunk(Answer<Result<Vec<Member>, PortError>>, Permit),
    Failed(PortError),
    /// No more rows; so many input rows were read.
    Done(u64),
}

/// The members of the file in order; each waits until it is known whether it is the last.
struct Members {
    fed: mpsc::Receiver<Fed>,
    /// Members, the last of each chunk with the chunk's memory.
    ready: VecDeque<(Member, Option<Permit>)>,
    /// Of everything taken so far.
    sum: Encoded,
    over: bool,
}

impl Members {
    fn new(fed: mpsc::Receiver<Fed>) -> Self {
        Self { fed, ready: [].into(), sum: Encoded::default(), over: false }
    }

    /// Returns the next member, with what the whole file comes to if it is the last; `None` if the feeder
    /// has gone without a word.
    async fn next(&mut self) -> Result<Option<(Member, Option<Encoded>)>, PortError> {
        while self.ready.len() < 2 && !self.over {
            match self.fed.recv().await {
                Some(Fed::Chunk(members, permit)) => {
                    for member in members.get().await?? {
                        self.add(member);
                    }
                    if let Some((_, last)) = self.ready.back_mut() {
                        *last = Some(permit);
                    }
                }
                Some(Fed::Failed(error)) => return Err(error),
                Some(Fed::Done(rows_read)) => {
                    self.sum.rows_read = rows_read;
                    self.over = true;
                }
                None => return Ok(None),
            }
        }
        let Some((member, _permit)) = self.ready.pop_front() else { return Ok(None) };
        let last = self.ready.is_empty().then_some(self.sum);
        Ok(Some((member, last)))
    }

    fn add(&mut self, mut member: Member) {
        if let Some(source) = &mut member.source {
            let (rows, lost) = (self.sum.rows, self.sum.values_lost);
            let end = |end: &End| End { rows: rows + end.rows, lost: lost + end.lost, ..*end };
            source.ends = source.ends.iter().map(end).collect();
        }
        self.sum.rows += member.sum.rows;
        self.sum.values_lost += member.sum.values_lost;
        self.sum.uncompressed_bytes += member.sum.uncompressed_bytes;
        self.ready.push_back((member, None));
    }
}

/// Rows of one batch and where they came from.
#[derive(Clone)]
struct Slice {
    batch: RecordBatch,
    read: Arc<Positions>,
    first: usize,
}

/// How chunks become members.
#[derive(Clone)]
struct Recipe {
    format: Arc<dyn RowFormat>,
    codec: Codec,
    /// Whether the file has a maximum of bytes.
    limited: bool,
}

struct Feeder {
    machine: Arc<Machine>,
    recipe: Recipe,
    /// What stands in front of the first row, until that is sent.
    prologue: Vec<u8>,
    chunk: Chunk,
    /// Rows of a chunk, once they are measured.
    rows_most: Option<usize>,
    /// Whether a chunk was sent.
    sent: bool,
}

/// Rows that wait to be sent.
#[derive(Clone, Default)]
struct Chunk {
    slices: Vec<Slice>,
    rows: usize,
    bytes: u64,
}

impl Feeder {
    fn new(machine: Arc<Machine>, job: &TextJob) -> Self {
        let (format, codec) = (Arc::clone(&job.format), job.codec);
        let prologue = format.prologue();
        let recipe = Recipe { format, codec, limited: job.bytes_max.is_some() };
        let (chunk, rows_most, sent) = (Chunk::default(), None, false);
        Self { machine, recipe, prologue, chunk, rows_most, sent }
    }

    async fn run(mut self, rows: RowStream, out: mpsc::Sender<Fed>) {
        match self.feed(rows, &out).await {
            Ok(read) => drop(out.send(Fed::Done(read)).await),
            Err(Stop::Failed(error)) => drop(out.send(Fed::Failed(error)).await),
            Err(Stop::Unwanted) => {}
        }
    }

    /// Sends all rows; returns how many input rows were read.
    async fn feed(&mut self, mut rows: RowStream, out: &mpsc::Sender<Fed>) -> Result<u64, Stop> {
        let share = self.machine.share();
        let mut read_after = 0;
        while let Some(rows) = rows.next().await.transpose()? {
            read_after = rows.read_after;
            let (batch, read) = (rows.batch, Arc::new(rows.read));
            let mut first = 0;
            for (row, bytes) in weigh::rows(&batch).into_iter().enumerate() {
                self.chunk.rows += 1;
                self.chunk.bytes += bytes;
                let most = self.rows_most.unwrap_or(MEASURED_ROWS);
                if self.chunk.rows < most && self.chunk.bytes < CHUNK_BYTES {
                    continue;
                }
                self.chunk.take(&batch, &read, first..row + 1);
                first = row + 1;
                self.full(&share, out).await?;
            }
            self.chunk.take(&batch, &read, first..batch.num_rows());
        }
        if self.chunk.rows > 0 || !self.sent {
            self.flush(&share, out).await?;
        }
        Ok(read_after)
    }

    /// Sends a full chunk. The first rows of the file are measured instead, and stay.
    async fn full(&mut self, share: &Share, out: &mpsc::Sender<Fed>) -> Result<(), Stop> {
        if self.rows_most.is_none() {
            let (chunk, format) = (self.chunk.clone(), Arc::clone(&self.recipe.format));
            let length = self.machine.run(move || measure(&*format, &chunk)).get().await??;
            let rows = EXPECTED_BYTES.saturating_mul(self.chunk.rows) / length.max(1);
            self.rows_most = Some(rows.clamp(self.chunk.rows, MEMBER_ROWS_MAX));
        }
        if Some(self.chunk.rows) == self.rows_most || self.chunk.bytes >= CHUNK_BYTES {
            self.flush(share, out).await?;
        }
        Ok(())
    }

    /// Sends the chunk to the pool.
    async fn flush(&mut self, share: &Share, out: &mpsc::Sender<Fed>) -> Result<(), Stop> {
        let chunk = std::mem::take(&mut self.chunk);
        // The text of a row takes about as much as the row.
        let permit = share.take(chunk.bytes * 2).await;
        let (recipe, prologue) = (self.recipe.clone(), std::mem::take(&mut self.prologue));
        self.sent = true;
        let members = self.machine.run(move || recipe.members(&prologue, &chunk));
        out.send(Fed::Chunk(members, permit)).await.map_err(|_| Stop::Unwanted)
    }
}

/// Why feeding ended before the rows did.
enum Stop {
    Failed(PortError),
    /// Nobody takes the file any more.
    Unwanted,
}

impl<E: Into<PortError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Chunk {
    fn take(&mut self, batch: &RecordBatch, read: &Arc<Positions>, rows: std::ops::Range<usize>) {
        if !rows.is_empty() {
            let (first, batch) = (rows.start, batch.slice(rows.start, rows.len()));
            self.slices.push(Slice { batch, read: Arc::clone(read), first });
        }
    }
}

thread_local! {
    /// The buffers of this thread: new ones would cost a page fault for every 4 KiB of text.
    static OUT: RefCell<Out> = RefCell::default();
}

/// Returns the bytes of a chunk's text.
fn measure(format: &dyn RowFormat, chunk: &Chunk) -> Result<usize, PortError> {
    let mut out = Out::default();
    for slice in &chunk.slices {
        let writer = format.writer(&slice.batch)?;
        (0..slice.batch.num_rows()).for_each(|row| writer.write(row, &mut out));
    }
    Ok(out.bytes.len())
}

impl Recipe {
    /// Turns a chunk into one member, or into several if its text is long. Without rows there is one, too.
    fn members(&self, prologue: &[u8], chunk: &Chunk) -> Result<Vec<Member>, PortError> {
        OUT.with_borrow_mut(|out| {
            out.restart(self.codec.wants_places());
            out.bytes.extend_from_slice(prologue);
            let mut members = Vec::with_capacity(1);
            let mut ends = Vec::new();
            let (mut rows, mut rows_before) = (0, 0);
            for slice in &chunk.slices {
                let writer = self.format.writer(&slice.batch)?;
                for row in 0..slice.batch.num_rows() {
                    if out.bytes.len() >= MEMBER_BYTES_MOST && rows > rows_before {
                        members.push(self.member(out, rows - rows_before, &mut ends));
                        rows_before = rows;
                    }
                    writer.write(row, out);
                    rows += 1;
                    if self.limited {
                        let read = slice.read.read(slice.first + row);
                        let lost = out.lost;
                        ends.push(End {
                            at: out.bytes.len(),
                            rows: rows - rows_before,
                            read,
                            lost,
                        });
                    }
                }
            }
            members.push(self.member(out, rows - rows_before, &mut ends));
            out.shrink(KEPT_BYTES);
            Ok(members)
        })
    }

    /// Makes a member of the text and starts the next.
    fn member(&self, out: &mut Out, rows: u64, ends: &mut Vec<End>) -> Member {
        let text = out.bytes.as_slice();
        let places = out.places.as_deref().unwrap_or_default();
        let packed = self.codec.member(text, places);
        let source = self.limited.then(|| Source {
            text: Bytes::copy_from_slice(text),
            places: places.into(),
            ends: std::mem::take(ends).into(),
        });
        let sum = Encoded {
            rows,
            uncompressed_bytes: text.len() as u64,
            values_lost: out.lost,
            ..Encoded::default()
        };
        out.restart(self.codec.wants_places());
        Member { packed, sum, source }
    }
}
