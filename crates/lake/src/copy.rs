//! Parquet out of Parquet without decoding: whole files as they are, or chosen columns chunk by chunk.
//!
//! Only where the rows asked for are whole row groups, nothing computes with the columns, and they are
//! stored with the compression that is asked for. Whatever does not fit is left to be decoded; that
//! follows from the part and its files alone, so a part always has the same bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema as ArrowSchema, TimeUnit};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use model::PortError;
use model::digest::hex;
use model::format::Encoding;
use model::limits::{COPY_FILES_MAX, COPY_GROUPS_MAX};
use model::part::Input;
use model::ports::{Encoded, EncodedChunk, EncodedStream, ReadTask};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::Lake;
use crate::read::{Error, Mapper, decode};

/// Bytes that are read and handed on at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Pieces read ahead.
const PIECES_AHEAD: usize = 4;

/// What the footers of copied files say made them.
const CREATED_BY: &str = "sluice";

impl Lake {
    /// Returns the file of a part, if it can be made by copying.
    pub(crate) async fn copied(
        &self,
        task: &ReadTask,
        encoding: &Encoding,
    ) -> Result<Option<EncodedStream>, PortError> {
        if !encoding.copies {
            return Ok(None);
        }
        let mapper = Mapper::compile(&task.relation, self.limits()).await?;
        if !mapper.passes_columns() {
            return Ok(None);
        }
        if task.inputs.len() > COPY_FILES_MAX {
            return Ok(None);
        }
        let reader = self.reader_of(&task.inputs).await?;
        let mut row_groups = 0;
        let mut sources = Vec::with_capacity(task.inputs.len());
        for input in &task.inputs {
            if reader.tail(&input.key).is_some() {
                return Ok(None);
            }
            let (_, footer) = decode::open(&reader, input).await?;
            let Some(source) = Source::new(input, footer, mapper.output(), &encoding.compression)
            else {
                return Ok(None);
            };
            row_groups += source.groups.len();
            if row_groups > COPY_GROUPS_MAX {
                return Ok(None);
            }
            sources.push(source);
        }
        let objects = Arc::clone(&reader.objects);
        Ok(match sources.as_slice() {
            [only] if only.is_whole() => Some(whole(objects, only)),
            [first, rest @ ..] if rest.iter().all(|source| source.fields == first.fields) => {
                Some(chunks(objects, sources))
            }
            _ => None,
        })
    }
}

/// Row groups of a file and the columns wanted of them.
struct Source {
    input: Input,
    footer: ArrowReaderMetadata,
    /// The columns wanted as the file has them.
    schema: ArrowSchema,
    groups: std::ops::Range<usize>,
    /// The same as Parquet has them.
    fields: Vec<TypePtr>,
    /// The chunks of a row group that belong to them, in that order.
    leaves: Vec<usize>,
}

impl Source {
    /// Returns `None` if the rows or columns cannot be copied.
    fn new(
        input: &Input,
        footer: ArrowReaderMetadata,
        wanted: &ArrowSchema,
        compression: &str,
    ) -> Option<Self> {
        let groups = whole_groups(footer.metadata().row_groups(), input)?;
        let parquet = footer.parquet_schema();
        let (mut arrow, mut fields, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for field in wanted.fields() {
            let (root, stored) = footer.schema().column_with_name(field.name())?;
            if !alike(stored.data_type(), field.data_type()) {
                return None;
            }
            arrow.push(stored.clone());
            fields.push(Arc::clone(&parquet.root_schema().get_fields()[root]));
            let own = |leaf: &usize| parquet.get_column_root_idx(*leaf) == root;
            leaves.extend((0..parquet.num_columns()).filter(own));
        }
        let chosen = &footer.metadata().row_groups()[groups.clone()];
        let mut chunks = chosen.iter().flat_map(|group| leaves.iter().map(|at| group.column(*at)));
        let same = chunks.all(|chunk| name_of(chunk.compression()) == compression);
        let (input, schema) = (input.clone(), ArrowSchema::new(arrow));
        same.then(|| Self { input, footer, schema, groups, fields, leaves })
    }

    /// Tells whether the file has these rows and columns and no others.
    fn is_whole(&self) -> bool {
        let all = self.footer.parquet_schema().root_schema().get_fields();
        self.input.rows == self.input.file_rows && self.fields == all
    }

    fn row_groups(&self) -> &[RowGroupMetaData] {
        &self.footer.metadata().row_groups()[self.groups.clone()]
    }

    fn uncompressed_bytes(&self) -> u64 {
        let chunk = |chunk: &ColumnChunkMetaData| chunk.uncompressed_size().unsigned_abs();
        let groups = self.row_groups().iter();
        groups.flat_map(|group| self.leaves.iter().map(|at| chunk(group.column(*at)))).sum()
    }
}

/// Tells whether two types differ in nullability and in the names of a list's or a map's insides only,
/// which each writer of Parquet chooses for itself.
fn alike(stored: &DataType, wanted: &DataType) -> bool {
    match (stored, wanted) {
        (DataType::Struct(stored), DataType::Struct(wanted)) => {
            let same = |(a, b): (&FieldRef, &FieldRef)| {
                a.name() == b.name() && alike(a.data_type(), b.data_type())
            };
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(same)
        }
        (DataType::List(stored), DataType::List(wanted)) => {
            alike(stored.data_type(), wanted.data_type())
        }
        (DataType::Map(stored, _), DataType::Map(wanted, _)) => {
            match (stored.data_type(), wanted.data_type()) {
                (DataType::Struct(stored), DataType::Struct(wanted)) => {
                    let pairs = stored.iter().zip(wanted);
                    pairs.into_iter().all(|(a, b)| alike(a.data_type(), b.data_type()))
                }
                _ => false,
            }
        }
        // Parquet has no seconds: only Arrow readers would know what the numbers mean.
        (DataType::Timestamp(TimeUnit::Second, _) | DataType::Time32(TimeUnit::Second), _) => false,
        _ => stored == wanted,
    }
}

/// Returns the row groups whose rows are exactly those of the input.
fn whole_groups(groups: &[RowGroupMetaData], input: &Input) -> Option<std::ops::Range<usize>> {
    let mut ends = vec![0];
    for group in groups {
        ends.push(ends.last()? + u64::try_from(group.num_rows()).ok()?);
    }
    // Groups without rows are left to their neighbours.
    let start = ends.iter().position(|end| *end == input.first_row)?;
    let end = ends.iter().rposition(|end| *end == input.first_row + input.rows)?;
    Some(start..end)
}

/// Returns the name by which a compression is asked for.
fn name_of(compression: Compression) -> &'static str {
    match compression {
        Compression::UNCOMPRESSED => "none",
        Compression::SNAPPY => "snappy",
        Compression::GZIP(_) => "gzip",
        Compression::ZSTD(_) => "zstd",
        _ => "",
    }
}

/// Hands out a file as it is.
fn whole(objects: Arc<dyn ObjectStore>, source: &Source) -> EncodedStream {
    let (rows, bytes) = (source.input.rows, source.input.file_bytes);
    let uncompressed_bytes = source.uncompressed_bytes();
    let end = Encoded { rows_read: rows, rows, uncompressed_bytes, values_lost: 0 };
    let (key, path) = (source.input.key.clone(), Path::from(source.input.key.as_str()));
    let starts = (0..bytes).step_by(usize::try_from(PIECE_BYTES).expect("a small number"));
    let (changed, sum) = (source.input.clone(), Sha256::new());
    let pieces = futures::stream::iter(starts)
        .map(move |start| {
            let (objects, path) = (Arc::clone(&objects), path.clone());
            async move { objects.get_range(&path, start..bytes.min(start + PIECE_BYTES)).await }
        })
        .buffered(PIECES_AHEAD)
        .map_err(move |source| Error::Open { key: key.clone(), source: source.into() });
    let hashed = (pieces.boxed(), sum, Some(end));
    futures::stream::unfold(hashed, move |(mut pieces, mut sum, end)| {
        let changed = changed.clone();
        async move {
            let end = end?;
            match pieces.next().await {
                Some(Ok(piece)) => {
                    sum.update(&piece);
                    Some((Ok(EncodedChunk::Bytes(piece)), (pieces, sum, Some(end))))
                }
                Some(Err(error)) => Some((Err(error.into()), (pieces, sum, None))),
                None if hex(&sum.clone().finalize()) == changed.sha256 => {
                    Some((Ok(EncodedChunk::End(end)), (pieces, sum, None)))
                }
                // What is not decoded would not show that it is damaged.
                None => Some((Err(Error::Sum { key: changed.key }.into()), (pieces, sum, None))),
            }
        }
    })
    .boxed()
}

/// Puts the chunks of the columns into a new file.
fn chunks(objects: Arc<dyn ObjectStore>, sources: Vec<Source>) -> EncodedStream {
    let (send, mut take) = mpsc::channel(PIECES_AHEAD);
    let store = Store { objects, handle: Handle::current() };
    // Parquet is written by code that blocks.
    tokio::task::spawn_blocking(move || {
        let sink = Sink { send: send.clone(), piece: BytesMut::new() };
        let last = match splice(&store, &sources, sink) {
            Ok(end) => Ok(EncodedChunk::End(end)),
            Err(error) => Err(error.into()),
        };
        // Whoever listened may have gone.
        drop(send.blocking_send(last));
    });
    futures::stream::poll_fn(move |context| take.poll_recv(context)).boxed()
}

fn splice(store: &Store, sources: &[Source], sink: Sink) -> Result<Encoded, Error> {
    let first = &sources[0];
    let error = |source: &Source| {
        let key = source.input.key.clone();
        move |source| Error::Open { key, source }
    };
    let mut properties = WriterProperties::builder().set_created_by(CREATED_BY.into()).build();
    add_encoded_arrow_schema_to_metadata(&first.schema, &mut properties);
    let schema = Type::group_type_builder("arrow_schema").with_fields(first.fields.clone()).build();
    let schema = Arc::new(schema.map_err(error(first))?);
    let mut file =
        SerializedFileWriter::new(sink, schema, Arc::new(properties)).map_err(error(first))?;
    let mut end = Encoded::default();
    for source in sources {
        for group in source.row_groups() {
            let mut into = file.next_row_group().map_err(error(source))?;
            for leaf in &source.leaves {
                let chunk = group.column(*leaf);
                let object = store.chunk(source, chunk);
                append(&object, chunk, group.num_rows(), &mut into).map_err(error(source))?;
            }
            into.close().map_err(error(source))?;
        }
        end.rows += source.input.rows;
        end.uncompressed_bytes += source.uncompressed_bytes();
    }
    end.rows_read = end.rows;
    file.finish().and_then(|_| Ok(file.inner_mut().flush()?)).map_err(error(first))?;
    Ok(end)
}

fn append(
    object: &Object<'_>,
    chunk: &ColumnChunkMetaData,
    rows: i64,
    into: &mut SerializedRowGroupWriter<'_, Sink>,
) -> Result<(), ParquetError> {
    let close = ColumnCloseResult {
        bytes_written: chunk.compressed_size().unsigned_abs(),
        rows_written: rows.unsigned_abs(),
        metadata: chunk.clone(),
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    into.append_column(object, close)
}

/// Objects, read by code that blocks.
struct Store {
    objects: Arc<dyn ObjectStore>,
    handle: Handle,
}

impl Store {
    /// The object up to the end of a chunk, so that no more is read.
    fn chunk<'a>(&'a self, source: &Source, chunk: &ColumnChunkMetaData) -> Object<'a> {
        let path = Path::from(source.input.key.as_str());
        let (start, bytes) = chunk.byte_range();
        Object { store: self, path, bytes: (start + bytes).min(source.input.file_bytes) }
    }
}

struct Object<'a> {
    store: &'a Store,
    path: Path,
    bytes: u64,
}

impl Length for Object<'_> {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Object<'_> {
    type T = Pieces;

    fn get_read(&self, start: u64) -> Result<Pieces, ParquetError> {
        let (objects, handle) = (Arc::clone(&self.store.objects), self.store.handle.clone());
        let (path, bytes) = (self.path.clone(), self.bytes);
        Ok(Pieces { objects, handle, path, bytes, at: start, piece: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let range = start..start + length as u64;
        Ok(self.store.handle.block_on(self.store.objects.get_range(&self.path, range))?)
    }
}

/// The bytes of an object from some place on.
struct Pieces {
    objects: Arc<dyn ObjectStore>,
    handle: Handle,
    path: Path,
    bytes: u64,
    at: u64,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.at < self.bytes {
            let range = self.at..self.bytes.min(self.at + PIECE_BYTES);
            self.at = range.end;
            self.piece = self.handle.block_on(self.objects.get_range(&self.path, range))?;
        }
        let taken = buffer.len().min(self.piece.len());
        buffer[..taken].copy_from_slice(&self.piece.split_to(taken));
        Ok(taken)
    }
}

/// Takes the bytes of the new file and hands them on.
struct Sink {
    send: mpsc::Sender<Result<EncodedChunk, PortError>>,
    piece: BytesMut,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() as u64 >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the file");
        self.send.blocking_send(Ok(EncodedChunk::Bytes(piece))).map_err(gone)
    }
}

#[cfg(test)]
mod tests;
