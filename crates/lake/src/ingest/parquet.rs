//! Parquet files as input: checked whole, then kept byte for byte or read as rows.
//!
//! Contract: a file is kept only if every page of it was decoded once without an error, its columns are
//! those of the dataset in name, order and type, its codec is one the lake keeps and its row groups are
//! within the limits. Every other file is read as rows, which checks it on the way.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use model::ports::{ImportFile, Objects};
use model::schema::{Field, Schema, Type};
use model::{FileId, ObjectKey, PortError, limits};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::convert::relaxed;
use super::error::IngestError;
use super::infer::cell_shape;
use super::receive;
use super::shape::{Mixing, Node, Seen, Shape};
use super::source::{open_raw, read_error};
use crate::files::{FilesError, Written, batch_rows, codec_of, finish_upload, statistics_of};

/// Bytes copied at a time.
const COPY_BYTES: usize = 4 << 20;

/// Bytes of rows in one batch.
const BATCH_BYTES: u64 = 8 << 20;

/// Batches read ahead.
const BATCHES_AHEAD: usize = 2;

/// A Parquet file whose footer was read.
#[derive(Clone, Debug)]
pub(super) struct ParquetInput {
    file: ImportFile,
    metadata: ArrowReaderMetadata,
    /// Its columns.
    pub(super) fields: Vec<Field>,
    pub(super) rows: u64,
}

impl ParquetInput {
    /// Reads the footer.
    pub(super) fn open(file: &ImportFile) -> Result<Self, IngestError> {
        let raw = open_raw(file)?;
        let metadata = ArrowReaderMetadata::load(&raw, ArrowReaderOptions::new())
            .map_err(|source| IngestError::Parquet { file: file.name.clone(), source })?;
        let schema = Schema::from_arrow(metadata.schema())
            .map_err(|source| IngestError::Schema { file: file.name.clone(), source })?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        if rows == 0 {
            return Err(IngestError::NoRows { file: file.name.clone() });
        }
        Ok(Self { file: file.clone(), metadata, fields: relaxed(&schema.fields), rows })
    }

    /// Makes one of its columns `received_at`.
    pub(super) fn receive(&mut self, given: &str) -> Result<(), IngestError> {
        let names = self.fields.iter().map(|field| &field.name);
        receive::Columns::among(names, given).check(&self.file.name, given)?;
        for field in self.fields.iter_mut().filter(|field| field.name == given) {
            *field = receive::column();
        }
        Ok(())
    }

    /// Returns the codec if the file can be kept as it is in a dataset of these columns.
    pub(super) fn keeps(&self, schema: &Schema) -> Option<&'static str> {
        let all_nullable = schema.fields.iter().all(|field| field.nullable);
        let same = relaxed(&schema.fields) == self.fields && all_nullable;
        let plain = self.metadata.schema().fields().iter().all(|f| reads_as_itself(f.data_type()));
        let small = self.metadata.metadata().row_groups().iter().all(|group| {
            usize::try_from(group.num_rows()).is_ok_and(|rows| rows <= limits::ROW_GROUP_ROWS)
                && usize::try_from(group.total_byte_size())
                    .is_ok_and(|bytes| bytes <= limits::ROW_GROUP_BYTES)
        });
        if same && plain && small { codec_of(self.metadata.metadata()) } else { None }
    }

    /// Returns about how many bytes its rows take.
    pub(super) fn row_bytes(&self) -> usize {
        let groups = self.metadata.metadata().row_groups().iter();
        let bytes: i64 = groups.map(|group| group.total_byte_size().max(0)).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Decodes every page of the file, row groups side by side.
    pub(super) async fn check(&self) -> Result<(), IngestError> {
        let groups = 0..self.metadata.metadata().num_row_groups();
        let rows: Vec<usize> = futures::stream::iter(groups)
            .map(|group| {
                let this = self.clone();
                async move {
                    tokio::task::spawn_blocking(move || this.check_group(group))
                        .await
                        .map_err(IngestError::Task)?
                }
            })
            .buffered(crate::files::threads())
            .try_collect()
            .await?;
        if rows.iter().sum::<usize>() as u64 == self.rows {
            return Ok(());
        }
        let source = parquet::errors::ParquetError::General("rows are missing".into());
        Err(IngestError::Parquet { file: self.file.name.clone(), source })
    }

    fn check_group(&self, group: usize) -> Result<usize, IngestError> {
        let mut rows = 0;
        for batch in self.reader(Some(group), None)? {
            rows += batch.map_err(|source| self.page(source))?.num_rows();
        }
        Ok(rows)
    }

    /// Returns the rows in order, read on a thread of its own.
    pub(super) fn batches(&self) -> impl Stream<Item = Result<RecordBatch, IngestError>> + use<> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let this = self.clone();
        // Ends by itself when the receiver is gone.
        tokio::task::spawn_blocking(move || {
            let reader = match this.reader(None, None) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            for batch in reader {
                let batch = batch.map_err(|source| this.page(source));
                let last = batch.is_err();
                if sender.blocking_send(batch).is_err() || last {
                    return;
                }
            }
        });
        futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        })
    }

    /// Returns what the texts of a column are as times; `None` if the column is not text.
    pub(super) fn times(&self, column: &str, file: usize) -> Result<Option<Node>, IngestError> {
        let at = self.fields.iter().position(|field| field.name == column);
        let Some(at) = at.filter(|&at| self.fields[at].kind == Type::String) else {
            return Ok(None);
        };
        let mut node = Node::default();
        let mut line = 0;
        for batch in self.reader(None, Some(at))? {
            let batch = batch.map_err(|source| self.page(source))?;
            let texts = cast(batch.column(0), &DataType::Utf8)?;
            for text in texts.as_string::<i32>() {
                line += 1;
                let Some(text) = text else { continue };
                let seen = Seen { file, line };
                let shape = match cell_shape(text, seen, true) {
                    Shape::Null => continue,
                    shape => shape,
                };
                node.merge(Node::new(shape, seen), Mixing::Text);
            }
        }
        Ok(Some(node))
    }

    fn reader(
        &self,
        group: Option<usize>,
        column: Option<usize>,
    ) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader, IngestError> {
        let raw: File = open_raw(&self.file)?;
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(raw, self.metadata.clone())
                .with_batch_size(self.batch_rows());
        if let Some(group) = group {
            builder = builder.with_row_groups(vec![group]);
        }
        if let Some(column) = column {
            let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
            builder = builder.with_projection(mask);
        }
        builder
            .build()
            .map_err(|source| IngestError::Parquet { file: self.file.name.clone(), source })
    }

    fn batch_rows(&self) -> usize {
        batch_rows(self.metadata.metadata().row_groups().iter(), BATCH_BYTES)
    }

    fn page(&self, source: arrow::error::ArrowError) -> IngestError {
        IngestError::Page { file: self.file.name.clone(), source }
    }

    /// Copies the file into the lake.
    pub(super) async fn keep(
        &self,
        objects: &Arc<dyn Objects>,
        folder: &str,
        codec: &str,
    ) -> Result<Written, PortError> {
        let id = FileId::mint();
        let key = ObjectKey::new(format!("{folder}/{id}.parquet"));
        let store = |source| FilesError::Store { key: key.clone(), source };
        let mut upload = objects.upload(&key, id.as_str()).await.map_err(store)?;
        let mut raw = open_raw(&self.file)?;
        let (mut bytes, mut sum) = (0, Sha256::new());
        loop {
            let name = self.file.name.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(COPY_BYTES);
                (&mut raw)
                    .take(COPY_BYTES as u64)
                    .read_to_end(&mut chunk)
                    .map_err(read_error(&name))?;
                sum.update(&chunk);
                Ok::<_, IngestError>((raw, sum, Bytes::from(chunk)))
            })
            .await
            .map_err(IngestError::Task)
            .flatten();
            let chunk = match read {
                Ok((file, hash, chunk)) => {
                    (raw, sum) = (file, hash);
                    chunk
                }
                Err(error) => {
                    abandon(upload, &key).await;
                    return Err(error.into());
                }
            };
            if chunk.is_empty() {
                break;
            }
            bytes += chunk.len() as u64;
            if let Err(error) = upload.write(chunk).await {
                abandon(upload, &key).await;
                return Err(store(error).into());
            }
        }
        finish_upload(objects, upload, &key, bytes).await?;
        let statistics = statistics_of(self.metadata.metadata(), self.metadata.schema());
        let sha256 = model::digest::hex(&sum.finalize());
        let (rows, codec, tail) = (self.rows, codec.into(), None);
        Ok(Written { id, key, rows, bytes, sha256, codec, statistics, tail })
    }
}

async fn abandon(upload: Box<dyn model::ports::Upload>, key: &ObjectKey) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%key, %error, "an unfinished data file was left behind");
    }
}

/// Whether a reader that asks for the lake's type of it gets the same values.
fn reads_as_itself(kind: &DataType) -> bool {
    match kind {
        DataType::Date64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Interval(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::RunEndEncoded(..) => false,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            reads_as_itself(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| reads_as_itself(field.data_type())),
        DataType::Dictionary(_, value) => reads_as_itself(value),
        _ => true,
    }
}
