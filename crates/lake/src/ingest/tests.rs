//! Imports end to end, on a catalog and an object store in memory.

#![expect(clippy::unwrap_used, clippy::format_collect, reason = "tests")]

mod bad;
mod depth;
mod fuzz;
mod once;
mod receive;
mod tables;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::RecordBatch;
use bytes::Bytes;
use model::WorkspaceId;
use model::dataset::DatasetKind;
use model::ports::{
    Catalog, Import, ImportContent, ImportFile, ImportReport, Ingest, InputFormat, Progress,
};
use model::schema::Schema;

use super::plan::Depth;
use super::{Furthest, Importing};
use crate::Lake;
use crate::testing::{self, MemoryCatalog, MemoryObjects};

/// A lake in memory with a folder for input files.
struct Bench {
    folder: tempfile::TempDir,
    objects: Arc<MemoryObjects>,
    catalog: Arc<MemoryCatalog>,
    lake: Lake,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Progress for Told {
    fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Bench {
    fn new() -> Self {
        Self::on(MemoryObjects::default())
    }

    fn on(objects: MemoryObjects) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (objects, catalog) = (Arc::new(objects), Arc::new(MemoryCatalog::default()));
        let reader = Arc::new(object_store::memory::InMemory::new());
        let scratch = folder.path().join("scratch");
        let lake = Lake::new(catalog.clone(), objects.clone(), reader, scratch, testing::clock())
            .with_tail_bytes(0);
        Self { folder, objects, catalog, lake, told: Arc::default() }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> ImportFile {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        ImportFile::at(name, path)
    }

    fn import(&self, files: &[(&str, &[u8])]) -> Import {
        Import {
            workspace: WorkspaceId::default_workspace(),
            dataset: "d".into(),
            kind: DatasetKind::Event,
            time_column: None,
            schema: None,
            receive_time: None,
            live: false,
            files: files.iter().map(|(name, bytes)| self.file(name, bytes)).collect(),
            format: InputFormat::Auto,
            replace: None,
            batch: None,
            key: None,
            key_days: None,
            rejects: None,
        }
    }

    async fn run(&self, import: &Import) -> Result<ImportReport, model::PortError> {
        self.lake.import(import, self.told.clone()).await
    }

    async fn take(&self, name: &str, text: &str) -> ImportReport {
        self.run(&self.import(&[(name, text.as_bytes())])).await.unwrap()
    }

    /// Imports and returns the message of the error; nothing may be left behind by it.
    async fn refuse(&self, name: &str, bytes: &[u8]) -> String {
        self.refuse_import(&self.import(&[(name, bytes)])).await
    }

    async fn refuse_import(&self, import: &Import) -> String {
        let (keys, commits) = (self.objects.keys(), self.catalog.commit_count());
        let error = self.run(import).await.unwrap_err();
        assert_eq!(self.objects.keys(), keys, "{error}");
        assert_eq!(self.catalog.commit_count(), commits, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    }

    async fn schema(&self) -> String {
        let workspace = WorkspaceId::default_workspace();
        let dataset = self.catalog.dataset(&workspace, "d").await.unwrap();
        columns(&dataset.schema)
    }

    /// Returns every data file's rows, in order.
    async fn batches(&self) -> Vec<RecordBatch> {
        self.batches_of("d").await
    }

    async fn batches_of(&self, dataset: &str) -> Vec<RecordBatch> {
        let workspace = WorkspaceId::default_workspace();
        let snapshot = self.catalog.snapshot(&workspace, dataset, None).await.unwrap();
        let mut out = Vec::new();
        for file in &snapshot.files {
            let bytes = self.objects.bytes(&file.key).unwrap();
            assert_eq!(model::digest::sha256_hex(&bytes), file.sha256);
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            out.extend(reader.map(Result::unwrap));
        }
        out
    }

    /// Returns every row as JSON, nulls left out.
    async fn rows(&self) -> Vec<String> {
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        for batch in self.batches().await {
            writer.write(&batch).unwrap();
        }
        writer.finish().unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn rejects(&self) -> PathBuf {
        self.folder.path().join("rejects.jsonl")
    }
}

fn columns(schema: &Schema) -> String {
    let of = |field: &model::schema::Field| {
        let mark = if field.nullable { "" } else { "!" };
        format!("{}{mark}: {}", field.name, field.kind)
    };
    schema.fields.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

fn parquet(batch: &RecordBatch, codec: ::parquet::basic::Compression) -> Vec<u8> {
    let properties =
        ::parquet::file::properties::WriterProperties::builder().set_compression(codec).build();
    let mut out = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    out
}

fn bytes_of(bench: &Bench, at: usize) -> Bytes {
    bench.objects.bytes(&model::ObjectKey::new(bench.objects.keys()[at].clone())).unwrap()
}
