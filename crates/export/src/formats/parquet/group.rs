//! Encodes one row group, its columns in parallel, and finds how much of it fits.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, SchemaRef};
use model::PortError;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescPtr;

use super::super::Error;
use super::{Piece, SLAB_BYTES};
use crate::pipeline::{Answer, Machine, Permit, Share};

/// Bytes that a column's entry in the footer may grow by when its place in the file is known.
const PLACE_BYTES: u64 = 64;

/// Times that a row group is made again with fewer rows once some fit.
const ROUNDS: u32 = 6;

/// An encoded row group.
pub(super) struct Group {
    pub(super) chunks: Vec<ArrowColumnChunk>,
    pub(super) rows: u64,
    /// Input rows read up to and including its last row.
    pub(super) read: u64,
}

/// How much of a row group fits the file.
pub(super) enum Fit {
    /// Everything.
    All(Group),
    /// The first rows; the file is full with them.
    Some(Group),
    /// Not even one row: the file would take so many bytes.
    None { needed: u64 },
}

/// One column, nested ones with every leaf.
struct Column {
    field: FieldRef,
    writers: Vec<ArrowColumnWriter>,
}

impl Column {
    fn write(&mut self, arrays: &[ArrayRef]) -> Result<(), ParquetError> {
        for array in arrays {
            let leaves = compute_leaves(&self.field, array)?;
            for (writer, leaf) in self.writers.iter_mut().zip(&leaves) {
                writer.write(leaf)?;
            }
        }
        Ok(())
    }

    fn close(self) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        self.writers.into_iter().map(ArrowColumnWriter::close).collect()
    }
}

type Busy = Vec<Answer<Result<Column, ParquetError>>>;

/// Makes row groups, one after the other.
pub(super) struct GroupMaker {
    machine: Arc<Machine>,
    schema: SchemaRef,
    /// The leaves of the schema, as Parquet has them.
    stored: SchemaDescPtr,
    share: Share,
    index: usize,
    idle: Vec<Column>,
    busy: Busy,
    busy_permit: Option<Permit>,
    slab: Vec<Piece>,
    slab_bytes: u64,
    /// The whole group's pieces, kept when it may have to be made again.
    kept: Vec<Piece>,
    read: u64,
    rows: usize,
    bytes: u64,
}

impl GroupMaker {
    pub(super) fn new(machine: Arc<Machine>, schema: SchemaRef, stored: SchemaDescPtr) -> Self {
        let share = machine.share();
        Self {
            machine,
            schema,
            stored,
            share,
            index: 0,
            idle: Vec::new(),
            busy: Vec::new(),
            busy_permit: None,
            slab: Vec::new(),
            slab_bytes: 0,
            kept: Vec::new(),
            read: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Returns the rows of the group so far.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the weight of the group so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins the next group of the file.
    pub(super) fn begin(&mut self, file: &SerializedFileWriter<Vec<u8>>) -> Result<(), Error> {
        self.index = file.flushed_row_groups().len();
        let factory = ArrowRowGroupWriterFactory::new(file, Arc::clone(&self.schema));
        self.idle = self.columns(&factory)?;
        self.kept.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Takes the next rows of the group.
    pub(super) async fn add(&mut self, piece: Piece, keep: bool) -> Result<(), PortError> {
        self.rows += piece.read.len();
        self.bytes += piece.bytes;
        self.read = *piece.read.last().expect("pieces are not empty");
        self.slab_bytes += piece.bytes;
        if keep {
            let (batch, read) = (piece.batch.clone(), piece.read.clone());
            self.kept.push(Piece { batch, read, bytes: piece.bytes });
        }
        self.slab.push(piece);
        if self.slab_bytes >= SLAB_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Ends the group and returns it.
    pub(super) async fn finish(&mut self) -> Result<Group, PortError> {
        self.flush().await?;
        self.settle().await?;
        let columns = std::mem::take(&mut self.idle);
        let close = |column: Column| self.machine.run(move || column.close());
        let closing: Vec<_> = columns.into_iter().map(close).collect();
        let mut chunks = Vec::new();
        for column in closing {
            chunks.extend(column.get().await?.map_err(Error::Parquet)?);
        }
        Ok(Group { chunks, rows: self.rows as u64, read: self.read })
    }

    /// Hands what is waiting to the columns, when they are done with what they had.
    async fn flush(&mut self) -> Result<(), PortError> {
        if self.slab.is_empty() {
            return Ok(());
        }
        // First give back what the last slab held: waiting with it in hand could be for ever.
        self.settle().await?;
        let permit = self.share.take(self.slab_bytes).await;
        self.slab_bytes = 0;
        let slab = std::mem::take(&mut self.slab);
        for (at, mut column) in std::mem::take(&mut self.idle).into_iter().enumerate() {
            let arrays: Vec<_> =
                slab.iter().map(|piece| Arc::clone(piece.batch.column(at))).collect();
            self.busy.push(self.machine.run(move || column.write(&arrays).map(|()| column)));
        }
        self.busy_permit = Some(permit);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), PortError> {
        for column in std::mem::take(&mut self.busy) {
            self.idle.push(column.get().await?.map_err(Error::Parquet)?);
        }
        self.busy_permit = None;
        Ok(())
    }

    /// Returns the group, or as many of its first rows as the file has room for.
    ///
    /// Rows are guessed from the size per row and halved between what fits and what does not, so the
    /// answer follows from the rows alone.
    pub(super) async fn fit(
        &mut self,
        file: &SerializedFileWriter<Vec<u8>>,
        group: Group,
        bytes_max: u64,
    ) -> Result<Fit, PortError> {
        let mut size = self.closed_bytes(file, &group)?;
        if size <= bytes_max {
            return Ok(Fit::All(group));
        }
        let kept = std::mem::take(&mut self.kept);
        let before = file.bytes_written() as u64;
        let (mut fits, mut fails, mut tried) = (0_u64, group.rows, group.rows);
        let mut best = None;
        let mut rounds = 0;
        while fails - fits > 1 && (best.is_none() || rounds < ROUNDS) {
            let room = u128::from(bytes_max.saturating_sub(before));
            let guess = room * u128::from(tried) * 31 / (u128::from(size - before).max(1) * 32);
            let guess = u64::try_from(guess).unwrap_or(u64::MAX);
            tried = match rounds {
                0..3 => guess.clamp(fits + 1, fails - 1),
                _ => fits.midpoint(fails),
            };
            let group = self.again(file, &kept, tried).await?;
            size = self.closed_bytes(file, &group)?;
            if size <= bytes_max {
                fits = tried;
                best = Some(group);
            } else {
                fails = tried;
            }
            rounds += 1;
        }
        Ok(best.map_or(Fit::None { needed: size }, Fit::Some))
    }

    /// Makes the group from its first rows only.
    async fn again(
        &mut self,
        file: &SerializedFileWriter<Vec<u8>>,
        kept: &[Piece],
        rows: u64,
    ) -> Result<Group, PortError> {
        self.begin(file)?;
        let mut left = usize::try_from(rows).expect("a group's rows fit");
        for piece in kept {
            let count = left.min(piece.read.len());
            if count == 0 {
                break;
            }
            left -= count;
            let read = piece.read[..count].to_vec();
            let piece = Piece { batch: piece.batch.slice(0, count), read, bytes: piece.bytes };
            self.add(piece, false).await?;
        }
        self.finish().await
    }

    /// Makes the writers of every column for a new group.
    fn columns(&self, factory: &ArrowRowGroupWriterFactory) -> Result<Vec<Column>, Error> {
        let writers = factory.create_column_writers(self.index).map_err(Error::Parquet)?;
        let column = |field: &FieldRef| Column { field: Arc::clone(field), writers: Vec::new() };
        let mut columns: Vec<_> = self.schema.fields().iter().map(column).collect();
        for (leaf, writer) in writers.into_iter().enumerate() {
            columns[self.stored.get_column_root_idx(leaf)].writers.push(writer);
        }
        Ok(columns)
    }

    /// Returns the bytes of the file if it ended behind this group, or a few more.
    fn closed_bytes(
        &self,
        file: &SerializedFileWriter<Vec<u8>>,
        group: &Group,
    ) -> Result<u64, Error> {
        let columns =
            group.chunks.iter().map(|chunk| chunk.close().metadata.clone()).collect::<Vec<_>>();
        let bytes: u64 = group.chunks.iter().map(|chunk| chunk.close().bytes_written).sum();
        let places = PLACE_BYTES * (columns.len() as u64 + 1);
        let schema = Arc::clone(&self.stored);
        let mut row_groups = file.flushed_row_groups().to_vec();
        let this = RowGroupMetaData::builder(Arc::clone(&schema))
            .set_column_metadata(columns)
            .set_num_rows(group.rows.cast_signed())
            .set_total_byte_size(i64::MAX)
            .build()
            .map_err(Error::Parquet)?;
        row_groups.push(this);
        let properties = file.properties();
        let footer = FileMetaData::new(
            properties.writer_version().as_num(),
            i64::MAX,
            Some(properties.created_by().to_owned()),
            properties.key_value_metadata().cloned(),
            schema,
            None,
        );
        let mut sink = Vec::new();
        let metadata = ParquetMetaData::new(footer, row_groups);
        ParquetMetaDataWriter::new(&mut sink, &metadata).finish().map_err(Error::Parquet)?;
        Ok(file.bytes_written() as u64 + bytes + sink.len() as u64 + places)
    }
}
