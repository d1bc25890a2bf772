//! Turns batches into the bytes of one Parquet file, columns side by side on all cores.
//!
//! Contract: the bytes returned by [`Encoder::write`] and [`Encoder::finish`], one after another, are the
//! file. It blocks: call it off the async threads. It does no I/O.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{FieldRef, SchemaRef};
use bytes::Bytes;
use model::limits;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory,
    compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};

use super::{FilesError, Note, batch_bytes};

/// Encodes one file.
pub(super) struct Encoder {
    file: SerializedFileWriter<Buffer>,
    groups: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    group: Option<Group>,
    finished_groups: usize,
    rows: u64,
    sum: Sha256,
    threads: usize,
}

/// The end of a file.
pub(super) struct Tail {
    /// The last bytes.
    pub(super) bytes: Bytes,
    /// Rows of the file.
    pub(super) rows: u64,
    /// SHA-256 of all bytes.
    pub(super) sha256: String,
    /// The footer.
    pub(super) metadata: ParquetMetaData,
}

/// A row group being built.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
    bytes: usize,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Encoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, FilesError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_created_by(concat!("sluice ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(Buffer::default(), schema.clone(), Some(properties))?;
        let (file, groups) = writer.into_serialized_writer()?;
        Ok(Self {
            file,
            groups,
            schema: schema.clone(),
            group: None,
            finished_groups: 0,
            rows: 0,
            sum: Sha256::new(),
            threads: crate::files::threads(),
        })
    }

    /// Encodes rows; returns the bytes of the row groups that they completed.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, FilesError> {
        let row_bytes = (batch_bytes(batch) / batch.num_rows().max(1)).max(1);
        let mut done = 0;
        while done < batch.num_rows() {
            let (rows, bytes) = self.group.as_ref().map_or((0, 0), |g| (g.rows, g.bytes));
            let room = limits::ROW_GROUP_BYTES.saturating_sub(bytes) / row_bytes;
            let room = room.min(limits::ROW_GROUP_ROWS - rows).max(1);
            let take = room.min(batch.num_rows() - done);
            self.add(&batch.slice(done, take), take * row_bytes)?;
            done += take;
        }
        Ok(self.take())
    }

    /// Completes the file; what there is to note comes into its footer.
    pub(super) fn finish(mut self, note: Option<Note>) -> Result<Tail, FilesError> {
        self.end_group()?;
        if let Some(Note { key, value }) = note {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let metadata = self.file.finish()?;
        let bytes = self.take();
        let sha256 = model::digest::hex(&self.sum.finalize());
        Ok(Tail { bytes, rows: self.rows, sha256, metadata })
    }

    fn add(&mut self, batch: &RecordBatch, bytes: usize) -> Result<(), FilesError> {
        let mut group = match self.group.take() {
            Some(group) => group,
            None => Group {
                columns: self.groups.create_column_writers(self.finished_groups)?,
                rows: 0,
                bytes: 0,
            },
        };
        group.columns = self.encode(group.columns, batch)?;
        group.rows += batch.num_rows();
        group.bytes += bytes;
        self.rows += batch.num_rows() as u64;
        let full =
            group.rows >= limits::ROW_GROUP_ROWS || group.bytes + 1024 >= limits::ROW_GROUP_BYTES;
        self.group = Some(group);
        if full { self.end_group() } else { Ok(()) }
    }

    fn encode(
        &self,
        columns: Vec<ArrowColumnWriter>,
        batch: &RecordBatch,
    ) -> Result<Vec<ArrowColumnWriter>, FilesError> {
        let mut jobs = Vec::with_capacity(columns.len());
        let mut writers = columns.into_iter();
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            for leaf in leaves(field, array)? {
                let writer = writers.next().expect("one writer for each leaf of the schema");
                jobs.push((writer, leaf));
            }
        }
        side_by_side(jobs, self.threads, |(mut writer, leaf): (_, ArrowLeafColumn)| {
            ArrowColumnWriter::write(&mut writer, &leaf)?;
            Ok(writer)
        })
    }

    fn end_group(&mut self) -> Result<(), FilesError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let chunks: Vec<ArrowColumnChunk> =
            side_by_side(group.columns, self.threads, ArrowColumnWriter::close)?;
        let mut out = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut out)?;
        }
        out.close()?;
        self.file.flush().map_err(ParquetError::from)?;
        self.finished_groups += 1;
        Ok(())
    }

    fn take(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.file.inner_mut().0);
        self.sum.update(&bytes);
        Bytes::from(bytes)
    }
}

fn leaves(field: &FieldRef, array: &Arc<dyn Array>) -> Result<Vec<ArrowLeafColumn>, ParquetError> {
    compute_leaves(field, array)
}

/// Runs a job for each item on up to `threads` threads; results keep the order of the items.
fn side_by_side<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    job: impl Fn(T) -> Result<R, ParquetError> + Sync,
) -> Result<Vec<R>, FilesError> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return Ok(items.into_iter().map(job).collect::<Result<_, _>>()?);
    }
    let count = items.len();
    // Taken one by one, so that one heavy column does not hold up the others.
    let queue = Mutex::new(items.into_iter().enumerate());
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut out = Vec::new();
                    loop {
                        let next = queue.lock().expect("no holder of this lock can panic").next();
                        let Some((at, item)) = next else { return out };
                        out.push((at, job(item)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("an encoder panicked")).collect()
    });
    let mut ordered: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for (at, result) in results {
        ordered[at] = Some(result?);
    }
    Ok(ordered.into_iter().map(|r| r.expect("every item was taken once")).collect())
}

/// What the Parquet writer writes to; emptied after each row group.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
