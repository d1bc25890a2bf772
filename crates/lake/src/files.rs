//! Writes rows as durable data files of the lake's object store.
//!
//! Contract: batches go in, in order; zstd-1 Parquet files come out, each under a name never used before,
//! durable when [`FilesWriter::finish`] returns. Row groups and files end at the limits of
//! [`model::limits`]; nothing but the row group being built and its finished bytes is in memory. Encoding
//! runs off the async threads, columns side by side, while the caller makes the next batch. After an
//! error, and after [`FilesWriter::discard`], none of its files is left. It commits nothing.

mod encoder;
mod statistics;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use model::dataset::{ColumnStatistics, NewFile};
use model::ports::{ObjectError, Objects, Put, Upload};
use model::{BatchId, Code, Failure, Fault, FileId, ObjectKey, PortError, SchemaId, limits};
use tokio::task::{JoinError, JoinHandle};

use crate::tail;
use encoder::Encoder;
pub(crate) use statistics::{batch_rows, codec_of, statistics_of};

/// Threads of one import: each holds a block of input and its rows, so more would cost memory.
const THREADS_MAX: usize = 16;

/// Bytes of rows or text that are worked on in some hundred microseconds.
const BRIEF_BYTES: usize = 16 << 10;

/// Writes the rows it is given as data files under one folder.
#[derive(Debug)]
pub(crate) struct FilesWriter {
    objects: Arc<dyn Objects>,
    folder: String,
    schema: SchemaRef,
    file_bytes_max: u64,
    /// Rows that are few enough for the tail so far.
    held: Held,
    /// What the footers of files shall say.
    note: Option<Note>,
    open: Option<Open>,
    /// The encoder at work on the latest batch.
    working: Option<JoinHandle<(Encoder, Result<Bytes, FilesError>)>>,
    done: Vec<Written>,
}

/// Something that a file says about itself, in its footer.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// Its name.
    pub(crate) key: &'static str,
    /// What it says.
    pub(crate) value: String,
}

/// Rows that wait for whether they become a file of the tail.
#[derive(Debug, Default)]
struct Held {
    rows: Vec<RecordBatch>,
    bytes: usize,
    /// Bytes up to which they may wait.
    bytes_max: usize,
}

/// A data file that is whole and durable but in no commit yet, or one for the tail.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The id minted for it.
    pub(crate) id: FileId,
    /// Where it lies.
    pub(crate) key: ObjectKey,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Bytes of the object.
    pub(crate) bytes: u64,
    /// SHA-256 of the object, bare lower-case hex.
    pub(crate) sha256: String,
    /// The codec of its column chunks.
    pub(crate) codec: String,
    /// Statistics of its top-level columns.
    pub(crate) statistics: BTreeMap<String, ColumnStatistics>,
    /// The bytes of a file of the tail, which no object has.
    pub(crate) tail: Option<Bytes>,
}

impl Written {
    /// Returns the file as a commit lists it, with rows of that commit.
    pub(crate) fn into_new(self, batch: BatchId, schema_id: SchemaId) -> NewFile {
        NewFile {
            id: self.id,
            batch,
            key: self.key,
            schema_id,
            rows: self.rows,
            bytes: self.bytes,
            sha256: self.sha256,
            codec: self.codec,
            statistics: self.statistics,
            place: 0,
            runs: Vec::new(),
            tail: self.tail,
        }
    }
}

/// A file being written.
struct Open {
    id: FileId,
    key: ObjectKey,
    upload: Box<dyn Upload>,
    bytes: u64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("key", &self.key)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl FilesWriter {
    /// Makes a writer of files with this schema, named `folder/<file id>.parquet`. Does no I/O.
    pub(crate) fn new(objects: Arc<dyn Objects>, folder: String, schema: SchemaRef) -> Self {
        let file_bytes_max = limits::DATA_FILE_BYTES;
        Self {
            objects,
            folder,
            schema,
            file_bytes_max,
            held: Held::default(),
            note: None,
            open: None,
            working: None,
            done: Vec::new(),
        }
    }

    /// Makes files end at `bytes` instead of the limit.
    pub(crate) fn with_file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes_max = bytes;
        self
    }

    /// Makes rows that are no more than `bytes` together one file of the tail.
    pub(crate) fn with_tail(mut self, bytes: usize) -> Self {
        self.held.bytes_max = bytes;
        self
    }

    /// Lets the files that are completed from now on say something in their footers.
    pub(crate) fn note(&mut self, note: Note) {
        self.note = Some(note);
    }

    /// Returns whether all rows would still go to the tail with so many bytes more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.held.bytes.saturating_add(bytes) < self.held.bytes_max
    }

    /// Takes the next rows; they must have the writer's schema. Waits while earlier rows are encoded.
    /// After an error nothing is left and the writer must not be used again.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<(), PortError> {
        match self.accept(batch).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.clear().await;
                Err(error.into())
            }
        }
    }

    /// Completes the last file and returns all of them, in the order of their rows. No rows, no file.
    pub(crate) async fn finish(mut self) -> Result<Vec<Written>, PortError> {
        match self.close().await {
            Ok(()) => Ok(self.done),
            Err(error) => {
                self.clear().await;
                Err(error.into())
            }
        }
    }

    /// Completes the last file, a data file however few rows there are, and returns all of them.
    pub(crate) async fn finish_file(mut self) -> Result<Vec<Written>, PortError> {
        match self.let_go().await {
            Ok(()) => self.finish().await,
            Err(error) => {
                self.clear().await;
                Err(error.into())
            }
        }
    }

    /// Removes everything that was written.
    pub(crate) async fn discard(mut self) {
        self.clear().await;
    }

    async fn accept(&mut self, batch: RecordBatch) -> Result<(), FilesError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // Rows without values are not for nothing.
        let bytes = batch_bytes(&batch) + batch.num_rows();
        if self.has_room(bytes) {
            self.held.bytes += bytes;
            self.held.rows.push(batch);
            return Ok(());
        }
        self.let_go().await?;
        self.encode(batch).await
    }

    /// Writes the rows that waited as a data file after all, and those that come.
    async fn let_go(&mut self) -> Result<(), FilesError> {
        for batch in std::mem::take(&mut self.held).rows {
            self.encode(batch).await?;
        }
        Ok(())
    }

    async fn encode(&mut self, batch: RecordBatch) -> Result<(), FilesError> {
        let encoder = match self.drain().await? {
            Some(encoder) if self.is_full() => {
                self.end_file(encoder).await?;
                None
            }
            other => other,
        };
        let mut encoder = match encoder {
            Some(encoder) => encoder,
            None => self.open_file().await?,
        };
        self.working = Some(tokio::task::spawn_blocking(move || {
            let bytes = encoder.write(&batch);
            (encoder, bytes)
        }));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.bytes >= self.file_bytes_max)
    }

    async fn open_file(&mut self) -> Result<Encoder, FilesError> {
        let id = FileId::mint();
        let key = ObjectKey::new(format!("{}/{id}.parquet", self.folder));
        let encoder = Encoder::new(&self.schema)?;
        let upload = self.objects.upload(&key, id.as_str()).await.map_err(store(&key))?;
        self.open = Some(Open { id, key, upload, bytes: 0 });
        Ok(encoder)
    }

    /// Waits for the encoder and sends what it has finished.
    async fn drain(&mut self) -> Result<Option<Encoder>, FilesError> {
        let Some(working) = self.working.take() else { return Ok(None) };
        let (encoder, bytes) = working.await.map_err(FilesError::Task)?;
        self.send(bytes?).await?;
        Ok(Some(encoder))
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), FilesError> {
        let open = self.open.as_mut().expect("an encoder works only for an open file");
        if !bytes.is_empty() {
            open.bytes += bytes.len() as u64;
            open.upload.write(bytes).await.map_err(store(&open.key))?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), FilesError> {
        if self.held.rows.is_empty() {
            return self.close_file().await;
        }
        let (schema, rows) = (self.schema.clone(), std::mem::take(&mut self.held.rows));
        let count = rows.iter().map(|batch| batch.num_rows() as u64).sum();
        let encode = move || tail::encode(&schema, &rows);
        let body = aside(self.held.bytes, encode).await.map_err(FilesError::Task)?;
        let body = body.map_err(FilesError::Tail)?;
        let id = FileId::mint();
        self.done.push(Written {
            key: tail::key(&id),
            id,
            rows: count,
            bytes: body.len() as u64,
            sha256: model::digest::sha256_hex(&body),
            codec: "zstd".into(),
            statistics: BTreeMap::new(),
            tail: Some(body),
        });
        Ok(())
    }

    async fn close_file(&mut self) -> Result<(), FilesError> {
        match self.drain().await? {
            Some(encoder) => self.end_file(encoder).await,
            None => Ok(()),
        }
    }

    async fn end_file(&mut self, encoder: Encoder) -> Result<(), FilesError> {
        let (schema, note) = (self.schema.clone(), self.note.clone());
        let (tail, statistics) = tokio::task::spawn_blocking(move || {
            let tail = encoder.finish(note)?;
            let statistics = statistics_of(&tail.metadata, &schema);
            Ok::<_, FilesError>((tail, statistics))
        })
        .await
        .map_err(FilesError::Task)??;
        self.send(tail.bytes).await?;
        let open = self.open.take().expect("an encoder works only for an open file");
        finish_upload(&self.objects, open.upload, &open.key, open.bytes).await?;
        self.done.push(Written {
            id: open.id,
            key: open.key,
            rows: tail.rows,
            bytes: open.bytes,
            sha256: tail.sha256,
            codec: "zstd".into(),
            statistics,
            tail: None,
        });
        Ok(())
    }

    async fn clear(&mut self) {
        if let Some(working) = self.working.take() {
            // Its result is of no use any more; a panic in it was or will be reported by its own error.
            drop(working.await);
        }
        if let Some(open) = self.open.take() {
            if let Err(error) = open.upload.abort().await {
                tracing::warn!(key = %open.key, %error, "an unfinished data file was left behind");
            }
            // `finish` may have made it before its reply was lost.
            remove(&self.objects, &open.key).await;
        }
        for written in std::mem::take(&mut self.done).iter().filter(|done| done.tail.is_none()) {
            remove(&self.objects, &written.key).await;
        }
    }
}

/// Completes an upload under a name never used before, settling a lost reply by the object's size.
pub(crate) async fn finish_upload(
    objects: &Arc<dyn Objects>,
    upload: Box<dyn Upload>,
    key: &ObjectKey,
    bytes: u64,
) -> Result<(), FilesError> {
    let error = match upload.finish().await {
        Ok(Put::Created) => return Ok(()),
        Ok(Put::Exists) => None,
        Err(error) => Some(error),
    };
    // The name is ours alone: whatever whole object has it was made by this very call.
    match objects.info(key).await {
        Ok(Some(info)) if info.bytes == bytes => Ok(()),
        _ => Err(match error {
            Some(source) => FilesError::Store { key: key.clone(), source },
            None => FilesError::Taken { key: key.clone() },
        }),
    }
}

/// Deletes an object that no commit lists; one that cannot be deleted is logged and harms nobody.
pub(crate) async fn remove(objects: &Arc<dyn Objects>, key: &ObjectKey) {
    if let Err(error) = objects.delete(key).await {
        tracing::warn!(%key, %error, "a data file that no commit lists was left behind");
    }
}

/// Runs what blocks off the async threads, unless it is about so few bytes that handing it over would take longer.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if bytes <= BRIEF_BYTES { Ok(job()) } else { tokio::task::spawn_blocking(job).await }
}

/// Returns how many threads work on one import or one file.
pub(crate) fn threads() -> usize {
    // The system is asked once: it looks into several files, and small imports would feel that.
    static THREADS: LazyLock<usize> = LazyLock::new(|| {
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
    });
    *THREADS
}

/// Returns the bytes that the batch's rows take in memory, not those of buffers it is a slice of.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of).sum()
}

fn store(key: &ObjectKey) -> impl FnOnce(ObjectError) -> FilesError {
    let key = key.clone();
    move |source| FilesError::Store { key, source }
}

/// What went wrong while data files were written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// The lake's object store failed.
    #[error("could not store the data file `{key}`: {source}")]
    Store {
        /// The file.
        key: ObjectKey,
        /// The cause.
        #[source]
        source: ObjectError,
    },
    /// An object of another size has the name that was just minted.
    #[error("`{key}` exists already although its name is new; check who else writes to the folder")]
    Taken {
        /// The file.
        key: ObjectKey,
    },
    /// The rows cannot be written as Parquet.
    #[error("could not encode the rows as Parquet: {0}")]
    Encode(#[from] parquet::errors::ParquetError),
    /// The rows cannot be written for the tail.
    #[error("could not encode the rows of a small commit: {0}")]
    Tail(#[source] arrow::error::ArrowError),
    /// The encoder broke off.
    #[error("the Parquet encoder broke off")]
    Task(#[source] tokio::task::JoinError),
}

impl Failure for FilesError {
    fn code(&self) -> Code {
        match self {
            Self::Store { source, .. } => source.code(),
            Self::Taken { .. } => Code::Conflict,
            Self::Encode(_) | Self::Tail(_) | Self::Task(_) => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Own
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::testing::MemoryObjects;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
        ]))
    }

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(from..from + rows);
        let texts = StringArray::from_iter_values((from..from + rows).map(|n| format!("text {n}")));
        RecordBatch::try_new(schema(), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    }

    #[tokio::test]
    async fn writes_row_groups_statistics_and_sums() {
        let objects = Arc::new(MemoryObjects::default());
        let mut writer = FilesWriter::new(objects.clone(), "data/ds".into(), schema());
        for from in (0..300_000).step_by(50_000) {
            writer.write(batch(from, 50_000)).await.unwrap();
        }
        let files = writer.finish().await.unwrap();
        assert_eq!(files.len(), 1);
        let file = &files[0];
        let bytes = objects.bytes(&file.key).unwrap();
        assert_eq!((file.rows, file.bytes), (300_000, bytes.len() as u64));
        assert_eq!(file.sha256, model::digest::sha256_hex(&bytes));
        let numbers = &file.statistics["n"];
        assert_eq!(numbers.min, Some(0.into()));
        assert_eq!(numbers.max, Some(299_999.into()));
        assert_eq!(numbers.nulls, Some(0));
        assert_eq!(file.statistics["s"].min, Some("text 0".into()));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let groups: Vec<i64> = reader
            .metadata()
            .row_groups()
            .iter()
            .map(parquet::file::metadata::RowGroupMetaData::num_rows)
            .collect();
        assert_eq!(groups, [250_000, 50_000]);
        let rows: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let all = arrow::compute::concat_batches(&schema(), &rows).unwrap();
        assert_eq!(all, batch(0, 300_000));
    }

    #[tokio::test]
    async fn starts_a_new_file_past_the_limit_and_discards_all() {
        let objects = Arc::new(MemoryObjects::default());
        let fill = |objects: Arc<MemoryObjects>| async move {
            let mut writer =
                FilesWriter::new(objects, "data/ds".into(), schema()).with_file_bytes(1);
            for from in [0, 250_000, 500_000] {
                writer.write(batch(from, 250_000)).await.unwrap();
            }
            writer
        };
        let files = fill(objects.clone()).await.finish().await.unwrap();
        assert_eq!(files.iter().map(|f| f.rows).collect::<Vec<_>>(), [250_000; 3]);
        assert_eq!(files[1].statistics["n"].min, Some(250_000.into()));
        let kept = objects.keys();
        fill(objects.clone()).await.discard().await;
        assert_eq!(objects.keys(), kept);
    }

    #[tokio::test]
    async fn an_error_leaves_no_object() {
        for fail_at in 1..4 {
            let objects = Arc::new(MemoryObjects::failing_finish(fail_at));
            let mut writer =
                FilesWriter::new(objects.clone(), "data/ds".into(), schema()).with_file_bytes(1);
            let mut failed = false;
            for from in [0, 250_000, 500_000] {
                failed |= writer.write(batch(from, 250_000)).await.is_err();
                if failed {
                    break;
                }
            }
            if !failed {
                writer.finish().await.unwrap_err();
            }
            assert_eq!(objects.keys(), Vec::<String>::new(), "failing finish {fail_at}");
        }
    }

    #[tokio::test]
    async fn a_lost_reply_is_settled_by_looking() {
        let objects = Arc::new(MemoryObjects::losing_replies());
        let mut writer = FilesWriter::new(objects.clone(), "data/ds".into(), schema());
        writer.write(batch(0, 10)).await.unwrap();
        let files = writer.finish().await.unwrap();
        assert_eq!(files[0].rows, 10);
        assert_eq!(objects.keys().len(), 1);
    }

    #[tokio::test]
    async fn no_rows_make_no_file() {
        let objects = Arc::new(MemoryObjects::default());
        let mut writer = FilesWriter::new(objects.clone(), "data/ds".into(), schema());
        writer.write(batch(0, 0)).await.unwrap();
        assert!(writer.finish().await.unwrap().is_empty());
        assert!(objects.keys().is_empty());
    }
}
