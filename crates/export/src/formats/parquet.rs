//! Parquet: nested types stay, columns are encoded in parallel, memory is one row group and a bit.
//!
//! Rows are cut into pieces at fixed counts from the file's start, or earlier by the weight of their
//! values, so neither batches nor threads show in the bytes. With a maximum of bytes the last row group
//! is made again with fewer rows until the file fits. What each type becomes is told in
//! `docs/formats.md`.

mod group;
mod pieces;
mod types;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::StreamExt;
use model::PortError;
use model::format::FormatSpec;
use model::limits::{CHUNK_BYTES, CHUNK_ROWS, ROW_GROUP_BYTES, ROW_GROUP_ROWS};
use model::ports::{Encoded, EncodedChunk, EncodedStream, RowStream};
use model::schema::Schema;
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{DEFAULT_CREATED_BY, EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescPtr;
use tokio::sync::mpsc;

use self::group::{Fit, Group, GroupMaker};
use self::pieces::{Piece, Pieces};
use super::{Error, Format, Kind, Packing, Task};
use crate::compress::{GZIP_INSIDE, NONE, SNAPPY, ZSTD};
use crate::options::Settings;
use crate::pipeline::{Machine, Tasks, deliver, limit};

/// Parquet, described as data.
pub(super) static KIND: Kind = Kind {
    name: "parquet",
    summary: "Apache Parquet, nested types kept",
    version: 1,
    extension: ".parquet",
    options: &[],
    compressions: &[&ZSTD, &NONE, &SNAPPY, &GZIP_INSIDE],
    packing: Packing::Inside,
    format: &Parquet,
};

/// The libraries behind two of the compressions; a test holds them against the lock file.
const ZLIB: &str = "zlib-rs-0.6.8";
const SNAP: &str = "snap-1.1.2";

/// What the footer says made the file; without a version, which the encoder id has.
const CREATED_BY: &str = "sluice";

/// Rows that are handed to the columns at once: enough to keep threads busy between two waits.
const SLAB_BYTES: u64 = CHUNK_BYTES;

/// Bytes of one chunk of the stream.
const OUT_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Parquet;

impl Format for Parquet {
    fn check(&self, _settings: &Settings, schema: &Schema) -> Result<(), PortError> {
        Ok(types::check(schema)?)
    }

    fn id(&self, settings: &Settings, bytes_max: Option<u64>) -> String {
        let library = DEFAULT_CREATED_BY.rsplit(' ').next().unwrap_or_default();
        let codec = match settings.compression.name {
            "gzip" => format!("{ZLIB}/{}", settings.level("gzip.level")),
            "zstd" => {
                let version = zstd::zstd_safe::version_string();
                format!("zstd-{version}/{}", settings.level("zstd.level"))
            }
            "snappy" => SNAP.into(),
            plain => plain.into(),
        };
        let index = if bytes_max.is_some() { "none" } else { "page" };
        format!(
            "{codec};copy=1;index={index};library=parquet-{library};group={ROW_GROUP_ROWS}/{ROW_GROUP_BYTES};piece={CHUNK_ROWS}/{CHUNK_BYTES}"
        )
    }

    /// Not with a maximum, which a copy cannot keep, and not where somebody chose how hard to compress.
    fn copies(&self, spec: &FormatSpec) -> bool {
        spec.file_bytes.is_none() && spec.file_rows.is_none() && spec.options.is_empty()
    }

    fn encode(&self, machine: Arc<Machine>, task: Task, rows: RowStream) -> EncodedStream {
        let start = async move {
            let (out, listen) = mpsc::channel(2);
            let mut tasks = Tasks::new();
            tasks.spawn(async move {
                if let Err(error) = encode(machine, task, rows, &out).await {
                    // Whoever listened may have gone.
                    drop(out.send(Err(error)).await);
                }
            });
            deliver(listen, tasks)
        };
        Box::pin(futures::stream::once(start).flatten())
    }
}

type Out = mpsc::Sender<Result<EncodedChunk, PortError>>;

async fn encode(
    machine: Arc<Machine>,
    task: Task,
    rows: RowStream,
    out: &Out,
) -> Result<(), PortError> {
    let label = task.label();
    let schema = types::stored(&task.schema);
    let stored = ArrowSchemaConverter::new().convert(&schema).map_err(Error::Parquet)?;
    let stored = Arc::new(stored);
    let writer = open(&task, &schema, &stored).map_err(Error::Parquet)?;
    let mut file = File { writer, sum: Encoded::default(), sent: 0 };
    let mut pieces = Pieces::new(rows, Arc::clone(&schema));
    let mut maker = GroupMaker::new(machine, schema, stored);
    while pieces.more().await? {
        maker.begin(&file.writer)?;
        while let Some(piece) = pieces.next(maker.rows(), maker.bytes()).await? {
            maker.add(piece, task.bytes_max.is_some()).await?;
        }
        let group = maker.finish().await?;
        let Some(bytes_max) = task.bytes_max else {
            file.append(group, out).await?;
            continue;
        };
        match maker.fit(&file.writer, group, bytes_max).await? {
            Fit::All(group) => file.append(group, out).await?,
            Fit::Some(group) => {
                file.append(group, out).await?;
                return file.close(out, task.bytes_max).await;
            }
            Fit::None { .. } if file.sum.rows > 0 => return file.close(out, task.bytes_max).await,
            Fit::None { needed } => {
                return Err(limit::Error::Row { needed, bytes_max, label }.into());
            }
        }
    }
    file.sum.rows_read = pieces.read_after();
    file.close(out, task.bytes_max).await
}

/// The file being written, with what it comes to.
struct File {
    writer: SerializedFileWriter<Vec<u8>>,
    sum: Encoded,
    sent: u64,
}

impl File {
    async fn append(&mut self, group: Group, out: &Out) -> Result<(), PortError> {
        self.sum.rows += group.rows;
        self.sum.rows_read = group.read;
        let mut row_group = self.writer.next_row_group().map_err(Error::Parquet)?;
        for chunk in group.chunks {
            self.sum.uncompressed_bytes +=
                chunk.close().metadata.uncompressed_size().unsigned_abs();
            chunk.append_to_row_group(&mut row_group).map_err(Error::Parquet)?;
        }
        row_group.close().map_err(Error::Parquet)?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.send(bytes, out).await;
        Ok(())
    }

    async fn close(mut self, out: &Out, bytes_max: Option<u64>) -> Result<(), PortError> {
        self.writer.finish().map_err(Error::Parquet)?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.send(bytes, out).await;
        if let Some(bytes_max) = bytes_max.filter(|most| *most < self.sent) {
            let label = format!("`{}`", KIND.name);
            return Err(limit::Error::Row { needed: self.sent, bytes_max, label }.into());
        }
        drop(out.send(Ok(EncodedChunk::End(self.sum))).await);
        Ok(())
    }

    /// Hands bytes on; nobody listening ends the task by itself.
    async fn send(&mut self, bytes: Vec<u8>, out: &Out) {
        self.sent += bytes.len() as u64;
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(OUT_BYTES));
            drop(out.send(Ok(EncodedChunk::Bytes(piece))).await);
        }
    }
}

fn open(
    task: &Task,
    schema: &SchemaRef,
    stored: &SchemaDescPtr,
) -> Result<SerializedFileWriter<Vec<u8>>, parquet::errors::ParquetError> {
    let level = |key| task.settings.level(key);
    let compression = match task.settings.compression.name {
        "zstd" => Compression::ZSTD(ZstdLevel::try_new(level("zstd.level"))?),
        "gzip" => Compression::GZIP(GzipLevel::try_new(level("gzip.level").unsigned_abs())?),
        "snappy" => Compression::SNAPPY,
        _ => Compression::UNCOMPRESSED,
    };
    // The page index has no size that could be known before the file ends.
    let (statistics, no_index) = match task.bytes_max {
        Some(_) => (EnabledStatistics::Chunk, true),
        None => (EnabledStatistics::Page, false),
    };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_created_by(CREATED_BY.into())
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(no_index)
        .build();
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    SerializedFileWriter::new(Vec::new(), stored.root_schema_ptr(), Arc::new(properties))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoder_id_names_the_libraries_that_are_built_in() {
        let lock = include_str!("../../../../Cargo.lock");
        for library in [ZLIB, SNAP] {
            let (name, version) = library.rsplit_once('-').expect("a name and a version");
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{library}");
        }
    }
}
