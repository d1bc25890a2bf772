//! Files of text: rows → text on the pool → members → compressed on the pool → in order.
//!
//! Four stages, each with a bounded queue behind it: *feed* groups rows into chunks, *cut* takes their
//! text in order and cuts it into members at fixed distances from the file's start, *seal* takes the
//! compressed members in order and hands them on, or ends the file where a maximum of bytes demands it.
//! Since a member is cut from the text alone, how rows were grouped cannot show in it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use model::PortError;
use model::limits::{CHUNK_BYTES, CHUNK_ROWS, MEMBER_BYTES};
use model::ports::{Encoded, EncodedChunk, EncodedStream, Positions, RowStream};
use tokio::sync::mpsc;

use super::limit::{Limit, Step};
use super::{Answer, Machine, Permit, Tasks, broke_off};
use crate::cells::Out;
use crate::compress::Codec;
use crate::weigh;

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

/// A piece of the file's text.
pub(super) struct Member {
    /// Its text, at most [`MEMBER_BYTES`].
    pub(super) text: Bytes,
    /// Its bytes in the file.
    pub(super) packed: Bytes,
    /// Ends of rows in it; empty if the file has no maximum.
    pub(super) ends: Vec<End>,
    /// What the whole file comes to, if this is its last member.
    pub(super) last: Option<Encoded>,
}

impl TextJob {
    /// Makes the file. Work begins when the stream is first polled, which must be inside a runtime.
    pub(crate) fn start(self, machine: Arc<Machine>, rows: RowStream) -> EncodedStream {
        let start = async move {
            let (feed_to, cut_from) = mpsc::channel(machine.window());
            let (cut_to, seal_from) = mpsc::channel(machine.window());
            let (seal_to, out) = mpsc::channel(2);
            let mut tasks = Tasks::new();
            let ends = if self.bytes_max.is_some() { Ends::Kept } else { Ends::Dropped };
            let feeder = Feeder::new(Arc::clone(&machine), Arc::clone(&self.format), ends);
            let cutter = Cutter::new(Arc::clone(&machine), self.codec, self.format.prologue());
            tasks.spawn(feeder.run(rows, feed_to));
            tasks.spawn(cutter.run(cut_from, cut_to));
            tasks.spawn(self.seal(machine, seal_from, seal_to));
            deliver(out, tasks)
        };
        Box::pin(futures::stream::once(start).flatten())
    }

    async fn seal(
        self,
        machine: Arc<Machine>,
        mut members: mpsc::Receiver<Result<Cut, PortError>>,
        out: mpsc::Sender<Result<EncodedChunk, PortError>>,
    ) {
        let mut limit = Limit::new(self.bytes_max, self.codec, self.label);
        while let Some(cut) = members.recv().await {
            let step = match cut {
                Ok(cut) => match cut.packed.get().await {
                    Ok(packed) => {
                        let member =
                            Member { text: cut.text, packed, ends: cut.ends, last: cut.last };
                        limit.take(&machine, member).await
                    }
                    Err(crashed) => Err(crashed.into()),
                },
                Err(error) => Err(error),
            };
            let (bytes, end) = match step {
                Ok(Step::Go(bytes)) => (bytes, None),
                Ok(Step::End(bytes, encoded)) => (bytes, Some(Ok(EncodedChunk::End(encoded)))),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
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

/// Whether the ends of rows are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Kept,
    Dropped,
}

/// What the feeder tells the cutter, in order.
enum Fed {
    Chunk(Answer<Result<Text, PortError>>, Permit),
    Failed(PortError),
    /// No more rows; so many input rows were read.
    Done(u64),
}

/// Rows of one batch and where they came from.
struct Slice {
    batch: RecordBatch,
    read: Arc<Positions>,
    first: usize,
}

/// The text of a chunk.
struct Text {
    bytes: Vec<u8>,
    rows: u64,
    lost: u64,
    /// Ends of rows, counted from the chunk's start.
    ends: Vec<End>,
}

struct Feeder {
    machine: Arc<Machine>,
    format: Arc<dyn RowFormat>,
    ends: Ends,
    slices: Vec<Slice>,
    rows: usize,
    bytes: u64,
}

impl Feeder {
    fn new(machine: Arc<Machine>, format: Arc<dyn RowFormat>, ends: Ends) -> Self {
        Self { machine, format, ends, slices: Vec::new(), rows: 0, bytes: 0 }
    }

    async fn run(mut self, mut rows: RowStream, out: mpsc::Sender<Fed>) {
        let share = self.machine.share();
        let mut read_after = 0;
        while let Some(next) = rows.next().await {
            let (batch, read) = match next {
                Ok(rows) => {
                    read_after = rows.read_after;
                    (rows.batch, Arc::new(rows.read))
                }
                Err(error) => return drop(out.send(Fed::Failed(error)).await),
            };
            let row_bytes = (weigh::total(&batch) / (batch.num_rows() as u64).max(1)).max(1);
            let mut first = 0;
            while first < batch.num_rows() {
                let count = self.room(row_bytes).min(batch.num_rows() - first);
                self.rows += count;
                self.bytes += row_bytes * count as u64;
                let slice = batch.slice(first, count);
                self.slices.push(Slice { batch: slice, read: Arc::clone(&read), first });
                first += count;
                if self.room(row_bytes) == 0 && !self.flush(&share, &out).await {
                    return;
                }
            }
        }
        if self.rows == 0 || self.flush(&share, &out).await {
            drop(out.send(Fed::Done(read_after)).await);
        }
    }

    /// Returns how many more rows the chunk takes; an empty chunk takes at least one.
    fn room(&self, row_bytes: u64) -> usize {
        let by_bytes = CHUNK_BYTES.saturating_sub(self.bytes) / row_bytes;
        let by_bytes = usize::try_from(by_bytes).unwrap_or(usize::MAX);
        let room = by_bytes.min(CHUNK_ROWS - self.rows);
        if self.rows == 0 { room.max(1) } else { room }
    }

    /// Sends the chunk to the pool; returns whether anybody still wants it.
    async fn flush(&mut self, share: &super::Share, out: &mpsc::Sender<Fed>) -> bool {
        // The text of a row takes about as much as the row.
        let permit = share.take(self.bytes * 2).await;
        let slices = std::mem::take(&mut self.slices);
        let (format, ends, bytes) = (Arc::clone(&self.format), self.ends, self.bytes);
        (self.rows, self.bytes) = (0, 0);
        let text = self.machine.run(move || encode(&*format, &slices, ends, bytes));
        out.send(Fed::Chunk(text, permit)).await.is_ok()
    }
}

fn encode(
    format: &dyn RowFormat,
    slices: &[Slice],
    ends: Ends,
    bytes: u64,
) -> Result<Text, PortError> {
    let mut out = Out::default();
    out.bytes.reserve(usize::try_from(bytes).unwrap_or_default());
    let mut text = Text { bytes: Vec::new(), rows: 0, lost: 0, ends: Vec::new() };
    for slice in slices {
        let writer = format.writer(&slice.batch)?;
        for row in 0..slice.batch.num_rows() {
            writer.write(row, &mut out);
            if ends == Ends::Kept {
                let read = slice.read.read(slice.first + row);
                let rows = text.rows + row as u64 + 1;
                text.ends.push(End { at: out.bytes.len(), rows, read, lost: out.lost });
            }
        }
        text.rows += slice.batch.num_rows() as u64;
    }
    Ok(Text { bytes: out.bytes, lost: out.lost, ..text })
}

/// A member on its way through the compressor.
struct Cut {
    text: Bytes,
    packed: Answer<Bytes>,
    ends: Vec<End>,
    last: Option<Encoded>,
}

/// Cuts the text of the file into members.
struct Cutter {
    machine: Arc<Machine>,
    codec: Codec,
    text: Vec<u8>,
    ends: Vec<End>,
    /// Of everything taken so far.
    sum: Encoded,
}

impl Cutter {
    fn new(machine: Arc<Machine>, codec: Codec, prologue: Vec<u8>) -> Self {
        let uncompressed_bytes = prologue.len() as u64;
        let sum = Encoded { uncompressed_bytes, ..Encoded::default() };
        Self { machine, codec, text: prologue, ends: Vec::new(), sum }
    }

    async fn run(
        mut self,
        mut chunks: mpsc::Receiver<Fed>,
        out: mpsc::Sender<Result<Cut, PortError>>,
    ) {
        while let Some(fed) = chunks.recv().await {
            let more = match fed {
                Fed::Chunk(text, permit) => match text.get().await {
                    Ok(Ok(text)) => self.take(text, permit, &out).await,
                    Ok(Err(error)) => return drop(out.send(Err(error)).await),
                    Err(crashed) => return drop(out.send(Err(crashed.into())).await),
                },
                Fed::Failed(error) => return drop(out.send(Err(error)).await),
                Fed::Done(rows_read) => {
                    self.sum.rows_read = rows_read;
                    let last = Some(self.sum);
                    self.flush(last, &out).await;
                    return;
                }
            };
            if !more {
                return;
            }
        }
    }

    /// Takes the text of a chunk; returns whether anybody still wants it.
    async fn take(
        &mut self,
        chunk: Text,
        permit: Permit,
        out: &mpsc::Sender<Result<Cut, PortError>>,
    ) -> bool {
        let mut ends = chunk.ends.iter().peekable();
        let mut taken = 0;
        while taken < chunk.bytes.len() {
            // A full member waits until more text shows that it is not the last.
            if self.text.len() >= MEMBER_BYTES && !self.flush_full(out).await {
                return false;
            }
            let room = MEMBER_BYTES.saturating_sub(self.text.len());
            let upto = chunk.bytes.len().min(taken + room);
            let start = self.text.len();
            self.text.extend_from_slice(&chunk.bytes[taken..upto]);
            while let Some(end) = ends.next_if(|end| end.at <= upto) {
                self.ends.push(End {
                    at: start + end.at - taken,
                    rows: self.sum.rows + end.rows,
                    read: end.read,
                    lost: self.sum.values_lost + end.lost,
                });
            }
            taken = upto;
        }
        drop(permit);
        self.sum.rows += chunk.rows;
        self.sum.values_lost += chunk.lost;
        self.sum.uncompressed_bytes += chunk.bytes.len() as u64;
        true
    }

    /// Sends what is full; a prologue alone may be longer than a member.
    async fn flush_full(&mut self, out: &mpsc::Sender<Result<Cut, PortError>>) -> bool {
        while self.text.len() >= MEMBER_BYTES {
            let rest = self.text.split_off(MEMBER_BYTES);
            if !self.flush(None, out).await {
                return false;
            }
            if !rest.is_empty() {
                self.text = rest;
            }
        }
        true
    }

    async fn flush(
        &mut self,
        last: Option<Encoded>,
        out: &mpsc::Sender<Result<Cut, PortError>>,
    ) -> bool {
        let full = std::mem::replace(&mut self.text, Vec::with_capacity(MEMBER_BYTES));
        let text = Bytes::from(full);
        let (codec, input) = (self.codec, text.clone());
        let packed = self.machine.run(move || codec.member(&input));
        let ends = std::mem::take(&mut self.ends);
        out.send(Ok(Cut { text, packed, ends, last })).await.is_ok()
    }
}
