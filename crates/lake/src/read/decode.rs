//! Reads rows of Parquet files, in order, as the columns of a table.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN, CommitRun};
use model::part::Input;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::{Encoding, EncodingMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};

use super::Error;
use super::adapt::{adapt, adapt_but_strings, schema_of};
use super::file::LakeFile;
use crate::files::{batch_bytes, batch_rows};
use crate::session::BATCH_ROWS;
use crate::tail::{self, Reader};

/// Bytes of one batch that wide rows may reach: a batch has fewer rows beyond it.
const BATCH_BYTES: u64 = 4 << 20;

/// Files opened at the same time, so that the next footer is there when a file ends.
const OPEN_FILES: usize = 2;

/// The columns to be read.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// Names and types, in the order in which they come out.
    pub(crate) schema: SchemaRef,
    /// Whether `_commit` and `_commit_time` are the virtual columns, not stored ones.
    pub(crate) virtuals: bool,
    /// By column, whether strings may come out with the dictionary that a file has for them; none if empty.
    pub(crate) dictionaries: Vec<bool>,
}

impl Columns {
    /// Returns some of the columns.
    pub(super) fn project(&self, at: &[usize]) -> Result<Self, ArrowError> {
        let may = |at: &usize| self.dictionaries.get(*at) == Some(&true);
        Ok(Self {
            schema: Arc::new(self.schema.project(at)?),
            virtuals: self.virtuals,
            dictionaries: at.iter().map(may).collect(),
        })
    }

    pub(super) fn is_stored(&self, name: &str) -> bool {
        !(self.virtuals && (name == COMMIT_COLUMN || name == COMMIT_TIME_COLUMN))
    }
}

/// Rows that can be read without those before them.
pub(super) struct Piece {
    /// How many.
    pub(super) rows: u64,
    /// Where they are.
    pub(super) source: Source,
}

/// Batches in order, once they are polled.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch, Error>>;

/// Where the rows of a piece are.
pub(super) enum Source {
    /// They need no file.
    Made(Batches),
    /// In a row group.
    Group(Box<Group>),
}

impl Piece {
    fn batches(self) -> Result<Batches, Error> {
        match self.source {
            Source::Made(batches) => Ok(batches),
            Source::Group(group) => group.all(),
        }
    }
}

/// Reads rows in order. Batches never cross inputs and add up to exactly the rows asked for.
pub(crate) fn decode(
    reader: Reader,
    inputs: Vec<Input>,
    columns: Arc<Columns>,
) -> impl Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    pieces(reader, inputs, columns).map(|piece| piece?.batches()).try_flatten()
}

/// Returns the rows in order, in pieces: row groups, as far as they are asked for.
pub(super) fn pieces(
    reader: Reader,
    inputs: Vec<Input>,
    columns: Arc<Columns>,
) -> impl Stream<Item = Result<Piece, Error>> + Send + 'static {
    futures::stream::iter(inputs)
        .map(move |input| pieces_of(reader.clone(), input, Arc::clone(&columns)))
        .buffered(OPEN_FILES)
        .map_ok(|pieces| futures::stream::iter(pieces.into_iter().map(Ok)))
        .try_flatten()
}

/// Reads a file's footer and checks that it is the file that was meant.
pub(crate) async fn open(
    reader: &Reader,
    input: &Input,
) -> Result<(LakeFile, ArrowReaderMetadata), Error> {
    let path = Path::from(input.key.as_str());
    let mut file = LakeFile::new(Arc::clone(&reader.objects), path, input.file_bytes);
    // Part of a file: the page index tells which pages can be left alone.
    let whole = input.rows == input.file_rows;
    let policy = if whole { PageIndexPolicy::Skip } else { PageIndexPolicy::Optional };
    let options = ArrowReaderOptions::new().with_offset_index_policy(policy);
    let footer = ArrowReaderMetadata::load_async(&mut file, options)
        .await
        .map_err(|source| Error::Open { key: input.key.clone(), source })?;
    let rows = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or(0);
    if rows != input.file_rows {
        return Err(Error::Rows { key: input.key.clone(), have: rows, want: input.file_rows });
    }
    Ok((file, footer))
}

/// Returns the rows of an input that is in the tail, with all of their columns.
fn tail_rows(body: &Bytes, input: &Input) -> Result<Vec<RecordBatch>, Error> {
    let key = || input.key.clone();
    let all = tail::decode(body).map_err(|source| Error::Tail { key: key(), source })?;
    let have: u64 = all.iter().map(|batch| batch.num_rows() as u64).sum();
    if have != input.file_rows {
        return Err(Error::Rows { key: key(), have, want: input.file_rows });
    }
    let at = |rows: u64| usize::try_from(rows).expect("rows that are in memory");
    let (mut skip, mut left) = (at(input.first_row), at(input.rows));
    let bytes_max = usize::try_from(BATCH_BYTES).unwrap_or(usize::MAX);
    let mut rows = Vec::with_capacity(all.len());
    for batch in all {
        let first = skip.min(batch.num_rows());
        let taken = left.min(batch.num_rows() - first);
        (skip, left) = (skip - first, left - taken);
        // As small as those of files, because what queries may take is counted by batch.
        let row_bytes = batch_bytes(&batch) / batch.num_rows().max(1);
        let most = (bytes_max / row_bytes.max(1)).clamp(1, BATCH_ROWS);
        let mut at = first;
        while at < first + taken {
            let some = most.min(first + taken - at);
            rows.push(batch.slice(at, some));
            at += some;
        }
    }
    Ok(rows)
}

async fn pieces_of(
    reader: Reader,
    input: Input,
    columns: Arc<Columns>,
) -> Result<Vec<Piece>, Error> {
    let rows = input.rows;
    if let Some(body) = reader.tail(&input.key) {
        let stored = tail_rows(body, &input)?;
        let mut shape = Shape { first: input.first_row, input: Arc::new(input), columns };
        let batches = stored.into_iter().map(move |rows| shape.shape(&rows));
        let source = Source::Made(futures::stream::iter(batches).boxed());
        return Ok(vec![Piece { rows, source }]);
    }
    let (file, footer) = open(&reader, &input).await?;
    let stored = columns.schema.fields().iter().filter(|field| columns.is_stored(field.name()));
    let roots: Vec<usize> =
        stored.filter_map(|field| footer.schema().index_of(field.name()).ok()).collect();
    if roots.is_empty() {
        let shape = Shape { first: input.first_row, input: Arc::new(input), columns };
        let source = Source::Made(futures::stream::iter(shape.without_file()).boxed());
        return Ok(vec![Piece { rows, source }]);
    }
    let wanted = select(footer.metadata(), &input);
    let chosen = wanted.iter().map(|(at, _)| footer.metadata().row_group(*at));
    let batch_rows = batch_rows(chosen, BATCH_BYTES);
    // A merged file names very many commits.
    let input = Arc::new(input);
    let mut first = input.first_row;
    let piece = |(at, rows): (usize, Range<u64>)| {
        let count = rows.end - rows.start;
        let (file, footer, input) = (file.clone(), footer.clone(), Arc::clone(&input));
        let columns = Arc::clone(&columns);
        let group = Group { file, footer, at, rows, first, input, columns, batch_rows };
        first += count;
        Piece { rows: count, source: Source::Group(Box::new(group)) }
    };
    Ok(wanted.into_iter().map(piece).collect())
}

/// A row group of a file and the rows wanted of it.
pub(super) struct Group {
    file: LakeFile,
    footer: ArrowReaderMetadata,
    at: usize,
    /// The rows wanted, counted from the group's start.
    rows: Range<u64>,
    /// The first of them, counted from the file's start.
    first: u64,
    input: Arc<Input>,
    columns: Arc<Columns>,
    batch_rows: usize,
}

impl Group {
    /// Returns all rows wanted.
    pub(super) fn all(&self) -> Result<Batches, Error> {
        let all = std::iter::once((0, self.rows.end - self.rows.start));
        self.read(Arc::clone(&self.columns), all)
    }

    /// Tells whether the file has any of these columns: it may be older than they are.
    pub(super) fn has_any(&self, at: &[usize]) -> bool {
        let fields = self.columns.schema.fields();
        at.iter().any(|at| self.footer.schema().index_of(fields[*at].name()).is_ok())
    }

    /// Returns all rows wanted, with some of the columns.
    pub(super) fn some_columns(&self, at: &[usize]) -> Result<Batches, Error> {
        let columns = self.columns.project(at);
        let columns =
            columns.map_err(|source| Error::Adapt { key: self.input.key.clone(), source })?;
        let all = std::iter::once((0, self.rows.end - self.rows.start));
        self.read(Arc::new(columns), all)
    }

    /// Returns some of the rows wanted, which ascend and are counted from the first; without the virtual
    /// columns.
    pub(super) fn some_rows(&self, rows: &[u64]) -> Result<Batches, Error> {
        let runs = rows.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len() as u64));
        self.read(Arc::clone(&self.columns), runs)
    }

    /// Reads runs of rows: where each begins, counted from the first row wanted, and how many it has.
    fn read(
        &self,
        columns: Arc<Columns>,
        runs: impl Iterator<Item = (u64, u64)>,
    ) -> Result<Batches, Error> {
        let key = self.input.key.clone();
        let error = move |source| Error::Open { key: key.clone(), source };
        let footer = with_dictionaries(&self.footer, self.at, &columns).map_err(&error)?;
        let stored = columns.schema.fields().iter().filter(|field| columns.is_stored(field.name()));
        let roots = stored.filter_map(|field| footer.schema().index_of(field.name()).ok());
        let mask = ProjectionMask::roots(footer.parquet_schema(), roots.collect::<Vec<_>>());
        let group_rows = footer.metadata().row_group(self.at).num_rows();
        let selection = selection(u64::try_from(group_rows).unwrap_or(0), self.rows.start, runs);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.file.clone(), footer);
        let batches = builder
            .with_projection(mask)
            .with_batch_size(self.batch_rows)
            .with_row_groups(vec![self.at])
            .with_row_selection(selection)
            .build()
            .map_err(&error)?;
        let mut shape = Shape { first: self.first, input: Arc::clone(&self.input), columns };
        Ok(batches.map(move |batch| shape.shape(&batch.map_err(&error)?)).boxed())
    }
}

fn selection(group_rows: u64, first: u64, runs: impl Iterator<Item = (u64, u64)>) -> RowSelection {
    let count = |rows: u64| usize::try_from(rows).expect("rows of a row group that fits in memory");
    let mut selectors = Vec::new();
    let mut at = 0;
    for (start, rows) in runs {
        let start = first + start;
        selectors.extend([RowSelector::skip(count(start - at)), RowSelector::select(count(rows))]);
        at = start + rows;
    }
    selectors.push(RowSelector::skip(count(group_rows.saturating_sub(at))));
    selectors.into()
}

/// Says which strings of a row group come out with a dictionary: those that may and of which every page
/// has one; to make dictionaries for others would cost more than it saves.
fn with_dictionaries(
    footer: &ArrowReaderMetadata,
    group: usize,
    columns: &Columns,
) -> Result<ArrowReaderMetadata, ParquetError> {
    let (schema, stored) = (footer.schema(), footer.metadata().row_group(group));
    let wanted = columns.schema.fields().iter().zip(&columns.dictionaries);
    let wanted = wanted.filter(|(field, may)| **may && columns.is_stored(field.name()));
    let names: HashSet<&str> = wanted.map(|(field, _)| field.name().as_str()).collect();
    let mut chunks = stored.columns().iter();
    let field = |field: &FieldRef| {
        let kind = with_dictionary(field.data_type(), &mut chunks);
        if kind == *field.data_type() || !names.contains(field.name().as_str()) {
            return Arc::clone(field);
        }
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    let fields: Fields = schema.fields().iter().map(field).collect();
    if fields == *schema.fields() {
        return Ok(footer.clone());
    }
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(footer.metadata()), options)
}

/// Returns the type with dictionaries where its chunks have them; takes the chunks of the type.
fn with_dictionary<'a>(
    kind: &DataType,
    chunks: &mut impl Iterator<Item = &'a ColumnChunkMetaData>,
) -> DataType {
    let mut inner = |field: &FieldRef| {
        let kind = with_dictionary(field.data_type(), chunks);
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    match kind {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match chunks.next() {
            Some(chunk) if has_dictionary(chunk) => {
                DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into())
            }
            _ => kind.clone(),
        },
        other => {
            chunks.next();
            other.clone()
        }
    }
}

fn has_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let only = |mask: &EncodingMask| {
        mask.is_only(Encoding::RLE_DICTIONARY) || mask.is_only(Encoding::PLAIN_DICTIONARY)
    };
    chunk.dictionary_page_offset().is_some() && chunk.page_encoding_stats_mask().is_some_and(only)
}

/// Returns the row groups that hold the rows, with the rows wanted counted from the group's start.
fn select(footer: &ParquetMetaData, input: &Input) -> Vec<(usize, Range<u64>)> {
    let end = input.first_row + input.rows;
    let mut groups = Vec::new();
    let mut first = 0;
    for (at, group) in footer.row_groups().iter().enumerate() {
        let behind = first + u64::try_from(group.num_rows()).unwrap_or(0);
        if first < end && behind > input.first_row {
            groups.push((at, first.max(input.first_row) - first..behind.min(end) - first));
        }
        first = behind;
    }
    groups
}

/// Makes table rows out of file rows.
struct Shape {
    input: Arc<Input>,
    columns: Arc<Columns>,
    /// The row of the file that comes next.
    first: u64,
}

impl Shape {
    fn shape(&mut self, file: &RecordBatch) -> Result<RecordBatch, Error> {
        let rows = file.num_rows();
        let column = |(at, field): (usize, &FieldRef)| {
            if !self.columns.is_stored(field.name()) {
                return Ok(self.commits(field.name(), rows));
            }
            match file.column_by_name(field.name()) {
                Some(values) if self.columns.dictionaries.get(at) == Some(&true) => {
                    adapt_but_strings(values, field.data_type())
                }
                Some(values) => adapt(values, field.data_type()),
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        };
        let fields = self.columns.schema.fields();
        let arrays = fields.iter().enumerate().map(column).collect::<Result<Vec<_>, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = &self.columns.schema;
        let batch = arrays
            .and_then(|arrays| {
                let schema = schema_of(schema, &arrays);
                RecordBatch::try_new_with_options(schema, arrays, &options)
            })
            .map_err(|source| Error::Adapt { key: self.input.key.clone(), source })?;
        self.first += rows as u64;
        Ok(batch)
    }

    /// Makes rows of which nothing is stored in the file.
    fn without_file(mut self) -> impl Iterator<Item = Result<RecordBatch, Error>> + Send {
        let empty = Arc::new(Schema::empty());
        std::iter::from_fn(move || {
            let left = self.input.first_row + self.input.rows - self.first;
            let rows = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH_ROWS);
            if rows == 0 {
                return None;
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let file = RecordBatch::try_new_with_options(Arc::clone(&empty), vec![], &options)
                .expect("no columns fit any row count");
            Some(self.shape(&file))
        })
    }

    /// Makes a virtual column for the next rows.
    fn commits(&self, name: &str, rows: usize) -> ArrayRef {
        let runs = runs_of(&self.input.runs, self.first, rows as u64);
        if name == COMMIT_COLUMN {
            let values = runs.flat_map(|(run, rows)| std::iter::repeat_n(run.commit.0, rows));
            return Arc::new(UInt64Array::from_iter_values(values));
        }
        let values =
            runs.flat_map(|(run, rows)| std::iter::repeat_n(run.time.timestamp_micros(), rows));
        Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
    }
}

/// Returns the commits of the rows `[first, first + rows)` with how many rows each has.
fn runs_of(runs: &[CommitRun], first: u64, rows: u64) -> impl Iterator<Item = (&CommitRun, usize)> {
    let end = first + rows;
    runs.iter().enumerate().filter_map(move |(at, run)| {
        let run_end = runs.get(at + 1).map_or(u64::MAX, |next| next.first_row).min(end);
        let run_first = run.first_row.max(first);
        let rows = run_end.checked_sub(run_first).filter(|rows| *rows > 0)?;
        Some((run, usize::try_from(rows).expect("no more than a batch")))
    })
}
