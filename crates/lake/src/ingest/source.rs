//! Input files: what they are, their decompressed text, and their records in blocks over all cores.
//!
//! Contract: gzip and zstd are known by their first bytes, whatever the name, with any number of members;
//! a byte order mark is skipped. A form is found by content first, then by name. Every call blocks except
//! [`blocks`], which reads on a thread of its own and holds a few blocks at most.

use std::fs::File;
use std::io::{BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::Either;
use futures::{Stream, StreamExt};
use model::ports::{ImportContent, ImportFile, InputFormat};
use tokio::sync::mpsc;

use super::block::Block;
use super::error::{IngestError, Place, Reason};
use super::split::{Broken, Form, Splitter};
use super::{csv, json};
use crate::files::aside;

/// Bytes looked at to tell what a file is.
const HEAD_BYTES: usize = 64 << 10;

/// Blocks read ahead of the threads that work on them.
const BLOCKS_AHEAD: usize = 2;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const PARQUET: &[u8] = b"PAR1";

/// What an input file is.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: ImportFile,
    pub(super) content: Content,
    /// Bytes as stored.
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Parquet,
    Text(TextContent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextContent {
    pub(super) form: Form,
    codec: Codec,
    /// The names of the columns, for CSV.
    pub(super) header: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Plain,
    Gzip,
    Zstd,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Finds out what a file is.
pub(super) fn look(file: &ImportFile, format: InputFormat) -> Result<Source, IngestError> {
    let name = &file.name;
    let bytes = size(file)?;
    let empty = || IngestError::Empty { file: name.clone() };
    let mut head = Vec::new();
    raw(file)?.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(read_error(name))?;
    let source = |content| Source { file: file.clone(), content, bytes };
    if head.is_empty() {
        return Err(empty());
    }
    if format == InputFormat::Parquet || (format == InputFormat::Auto && head.starts_with(PARQUET))
    {
        return Ok(source(Content::Parquet));
    }
    let codec = match &head {
        head if head.starts_with(GZIP) => Codec::Gzip,
        head if head.starts_with(ZSTD) => Codec::Zstd,
        _ => Codec::Plain,
    };
    let mut text = TextContent { form: Form::Lines, codec, header: None };
    let mut reader = open(file, &text, &Arc::default())?;
    let mut head = Vec::new();
    (&mut reader)
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|e| text_error(name, codec, e))?;
    if head.is_empty() {
        return Err(empty());
    }
    if head.starts_with(PARQUET) {
        let file = name.clone();
        return Err(match codec {
            Codec::Plain => IngestError::NotText { file },
            Codec::Gzip | Codec::Zstd => IngestError::CompressedParquet { file },
        });
    }
    text.form = form_of(&head, name, format);
    if text.form == Form::Csv {
        let header = read_header(file, &text)?;
        if header.len() == 1 {
            text.form = Form::CsvColumn;
        }
        text.header = Some(header);
    }
    Ok(source(Content::Text(text)))
}

/// Returns the bytes of a file that can be read more than once.
fn size(file: &ImportFile) -> Result<u64, IngestError> {
    let name = &file.name;
    let path = match &file.content {
        ImportContent::Path(path) => path,
        ImportContent::Text { bytes, .. } => return Ok(bytes.len() as u64),
    };
    let meta = std::fs::metadata(path).map_err(read_error(name))?;
    if meta.is_dir() {
        return Err(IngestError::NotAFile { file: name.clone() });
    }
    if !meta.is_file() {
        return Err(IngestError::Pipe { file: name.clone() });
    }
    Ok(meta.len())
}

/// Returns the bytes of a file that is in memory; those of others are beyond any measure.
pub(super) fn memory_bytes(file: &ImportFile) -> usize {
    match &file.content {
        ImportContent::Path(_) => usize::MAX,
        ImportContent::Text { bytes, .. } => bytes.len(),
    }
}

/// Opens the bytes of a file as they are stored.
fn raw(file: &ImportFile) -> Result<Box<dyn Read + Send>, IngestError> {
    Ok(match &file.content {
        ImportContent::Path(path) => Box::new(File::open(path).map_err(read_error(&file.name))?),
        ImportContent::Text { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
    })
}

fn form_of(head: &[u8], name: &str, format: InputFormat) -> Form {
    let lower = name.to_ascii_lowercase();
    let stem = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst")).unwrap_or(&lower);
    let ends = |suffix: &str| stem.ends_with(suffix);
    match format {
        InputFormat::Jsonl => Form::Lines,
        InputFormat::Json => Form::Values,
        InputFormat::Csv => Form::Csv,
        InputFormat::Auto | InputFormat::Parquet => match head.trim_ascii_start().first() {
            _ if ends(".csv") => Form::Csv,
            Some(b'[') => Form::Values,
            _ if ends(".jsonl") || ends(".ndjson") => Form::Lines,
            Some(b'{') => lines_or_values(head),
            _ if ends(".json") => Form::Values,
            _ => Form::Csv,
        },
    }
}

/// One object a line if the first line is one.
fn lines_or_values(head: &[u8]) -> Form {
    let first = head.trim_ascii_start().split(|&b| b == b'\n').next().unwrap_or_default();
    let whole = std::str::from_utf8(first).is_ok_and(|text| {
        let mut cursor = json::Cursor::new(text);
        cursor.skip().and_then(|_| cursor.end()).is_ok()
    });
    if whole { Form::Lines } else { Form::Values }
}

fn read_header(file: &ImportFile, text: &TextContent) -> Result<Vec<String>, IngestError> {
    let reader = open(file, text, &Arc::default())?;
    let mut splitter = Splitter::new(reader, Form::Csv, HEAD_BYTES);
    let block = splitter.next_block().map_err(|broken| broken_error(&file.name, text, broken))?;
    let block = block.ok_or_else(|| IngestError::Empty { file: file.name.clone() })?;
    let record = block.records().next().expect("a block has a record");
    let place = Place { file: file.name.clone(), line: record.line };
    record
        .text()
        .and_then(csv::header)
        .map_err(|reason: Reason| IngestError::Record { place, reason })
}

type Text = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// Opens the decompressed text behind a byte order mark; `read` counts the bytes taken from the file.
fn open(file: &ImportFile, text: &TextContent, read: &Arc<AtomicU64>) -> Result<Text, IngestError> {
    let raw = raw(file)?;
    let ahead = memory_bytes(file).min(256 << 10);
    let counted = BufReader::with_capacity(ahead, Counted { raw, read: read.clone() });
    let mut reader: Box<dyn Read + Send> = match text.codec {
        Codec::Plain => Box::new(counted),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(counted)),
        Codec::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(counted)
                .map_err(|error| text_error(&file.name, text.codec, error))?,
        ),
    };
    let mut start = Vec::new();
    (&mut reader)
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut start)
        .map_err(|error| text_error(&file.name, text.codec, error))?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    if let ImportContent::Text { text_bytes_max, .. } = file.content {
        let left = text_bytes_max.saturating_sub(start.len() as u64);
        reader = Box::new(Limited { reader, max: text_bytes_max, left });
    }
    Ok(Cursor::new(start).chain(reader))
}

/// Text that may not be longer than it may: a few bytes unpack to any number.
struct Limited {
    reader: Box<dyn Read + Send>,
    max: u64,
    left: u64,
}

/// Text went beyond its limit.
#[derive(Debug, thiserror::Error)]
#[error("more than {max} bytes")]
pub(super) struct Beyond {
    max: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.reader.read(buffer)?;
        let beyond = Beyond { max: self.max };
        let left = self.left.checked_sub(got as u64);
        self.left = left.ok_or_else(|| std::io::Error::other(beyond))?;
        Ok(got)
    }
}

struct Counted {
    raw: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.raw.read(buffer)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// Reads a file's first `count` blocks of records on a thread of their own and runs `job` on each, on all cores;
/// results come in the order of the blocks. The header of CSV is left out.
pub(super) fn blocks<R: Send + 'static, J: Fn(Block) -> R + Send + Sync + 'static>(
    source: &Source,
    text: &TextContent,
    (block_bytes, count): (usize, usize),
    job: J,
) -> impl Stream<Item = Result<(R, u64), IngestError>> + use<R, J> {
    let (file, text) = (source.file.clone(), text.clone());
    if count > 0 && is_one_block(&file, &text, block_bytes) {
        let only = aside(memory_bytes(&file), move || {
            let block = Reading::open(&file, &text, block_bytes)?.next()?;
            Ok(block.map(|block| (block.raw_bytes, job(block))))
        });
        let only = futures::stream::once(async {
            only.await.map_err(IngestError::Task).flatten().transpose()
        });
        return Either::Left(
            only.filter_map(|done| async { done.map(|done| done.map(|(raw, done)| (done, raw))) }),
        );
    }
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    // Ends by itself when the receiver is gone.
    tokio::task::spawn_blocking(move || read_blocks(&file, &text, (block_bytes, count), &sender));
    let job = Arc::new(job);
    let blocks = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|block| (block, receiver))
    });
    let done = blocks.map(move |block: Result<Block, IngestError>| {
        let job = job.clone();
        async move {
            let block = block?;
            let raw = block.raw_bytes;
            let done = tokio::task::spawn_blocking(move || job(block)).await;
            Ok((done.map_err(IngestError::Task)?, raw))
        }
    });
    // One more each, so that no thread waits while rows are written.
    Either::Right(done.buffered(2 * crate::files::threads()))
}

/// Returns whether a file is text in memory that makes one block at most: then one thread does it all.
fn is_one_block(file: &ImportFile, text: &TextContent, block_bytes: usize) -> bool {
    text.codec == Codec::Plain && memory_bytes(file) < block_bytes
}

fn read_blocks(
    file: &ImportFile,
    text: &TextContent,
    (block_bytes, count): (usize, usize),
    sender: &mpsc::Sender<Result<Block, IngestError>>,
) {
    let mut reading = match Reading::open(file, text, block_bytes) {
        Ok(reading) => reading,
        Err(error) => return drop(sender.blocking_send(Err(error))),
    };
    for _ in 0..count {
        let Some(next) = reading.next().transpose() else { return };
        let last = next.is_err();
        if sender.blocking_send(next).is_err() || last {
            return;
        }
    }
}

/// A file being read, block by block.
struct Reading<'a> {
    file: &'a ImportFile,
    text: &'a TextContent,
    splitter: Splitter<Text>,
    /// Bytes taken from the file, and how many of them blocks have told of.
    read: Arc<AtomicU64>,
    reported: u64,
    skip_header: bool,
}

impl<'a> Reading<'a> {
    fn open(
        file: &'a ImportFile,
        text: &'a TextContent,
        block_bytes: usize,
    ) -> Result<Self, IngestError> {
        let read = Arc::default();
        let splitter = Splitter::new(open(file, text, &read)?, text.form, block_bytes);
        let skip_header = text.header.is_some();
        Ok(Self { file, text, splitter, read, reported: 0, skip_header })
    }

    fn next(&mut self) -> Result<Option<Block>, IngestError> {
        let next = self.splitter.next_block();
        let next = next.map_err(|broken| broken_error(&self.file.name, self.text, broken))?;
        Ok(next.map(|mut block| {
            if std::mem::take(&mut self.skip_header) {
                block.spans.remove(0);
            }
            let now = self.read.load(Ordering::Relaxed);
            block.raw_bytes = now - self.reported;
            self.reported = now;
            block
        }))
    }
}

/// Returns the SHA-256 of a file as stored.
pub(super) fn sum(file: &ImportFile) -> Result<[u8; 32], IngestError> {
    use sha2::Digest;
    let mut raw = raw(file)?;
    let mut sum = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match raw.read(&mut buffer).map_err(read_error(&file.name))? {
            0 => return Ok(sum.finalize().into()),
            got => sum.update(&buffer[..got]),
        }
    }
}

/// Opens a local file as it is; what is in memory is text.
pub(super) fn open_raw(file: &ImportFile) -> Result<File, IngestError> {
    match &file.content {
        ImportContent::Path(path) => File::open(path).map_err(read_error(&file.name)),
        ImportContent::Text { .. } => Err(IngestError::NotText { file: file.name.clone() }),
    }
}

/// Says that a file cannot be read.
pub(super) fn read_error(name: &str) -> impl FnOnce(std::io::Error) -> IngestError {
    let file = name.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::NotFound => IngestError::NoFile { file },
        _ => IngestError::Read { file, source },
    }
}

fn text_error(name: &str, codec: Codec, source: std::io::Error) -> IngestError {
    if let Some(beyond) = source.get_ref().and_then(|error| error.downcast_ref::<Beyond>()) {
        return IngestError::Unpacked { file: name.to_owned(), max: beyond.max };
    }
    if codec == Codec::Plain || source.raw_os_error().is_some() {
        return IngestError::Read { file: name.to_owned(), source };
    }
    IngestError::Compressed { file: name.to_owned(), codec: codec.name(), source }
}

fn broken_error(name: &str, text: &TextContent, broken: Broken) -> IngestError {
    let place = |line| Place { file: name.to_owned(), line };
    match broken {
        Broken::Read(source) => text_error(name, text.codec, source),
        Broken::TooLong { line } => IngestError::TooLong { place: place(line) },
        Broken::Unfinished { line } => IngestError::Unfinished { place: place(line) },
        Broken::OpenQuote { line } => IngestError::OpenQuote { place: place(line) },
        Broken::Between { line, expected } => IngestError::Between { place: place(line), expected },
    }
}
