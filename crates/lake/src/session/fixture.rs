//! A small lake for tests: Parquet files in memory, listed by a catalog in memory.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema, TimeUnit};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use model::clock::ManualClock;
use model::dataset::{
    Committed, DatasetKind, NewCommit, NewDataset, NewFile, SchemaStep, View, Window,
};
use model::ports::{
    Bind, Bound, Catalog, ObjectError, ObjectInfo, Objects, Put, Query, ReadTask, Relations, Rows,
    Stage, Upload,
};
use model::relation::{Relation, Selection, Source};
use model::schema::Schema;
use model::{BatchId, Clock, CommitNumber, DatasetId, FileId, ObjectKey, PortError, WorkspaceId};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::testing::{MemoryCatalog, clock};
use crate::{Lake, Limits};

/// A lake and the hands to fill it.
pub(crate) struct World {
    pub(crate) lake: Lake,
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) store: Arc<InMemory>,
    pub(crate) clock: Arc<ManualClock>,
    _scratch: tempfile::TempDir,
}

pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::default_workspace()
}

/// One row of the usual table.
pub(crate) type Row = (Option<i64>, Option<&'static str>, Option<f64>);

/// Makes rows of the usual table: a number, a text, a float and a time that follows the number.
pub(crate) fn rows(rows: &[Row]) -> RecordBatch {
    let times = rows.iter().map(|row| row.0.map(|n| n * 1_000_000));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>())),
        ("Text", Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>())),
        ("f", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
        ("at", Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
    ];
    let kinds = [
        DataType::Int64,
        DataType::Utf8,
        DataType::Float64,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    ];
    let fields: Vec<Field> =
        columns.iter().zip(kinds).map(|((name, _), kind)| Field::new(*name, kind, true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).expect("columns fit")
}

/// Makes rows with the numbers given.
pub(crate) fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let texts = ["a", "b", "c"];
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let all: Vec<Row> = range
        .map(|n| {
            let text = texts[usize::try_from(n.rem_euclid(3)).expect("small")];
            (Some(n), Some(text), Some(n as f64 / 2.0))
        })
        .collect();
    rows(&all)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let catalog = Arc::new(MemoryCatalog::default());
        let store = Arc::new(InMemory::new());
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let clock = clock();
        let lake = Lake::new(
            catalog.clone(),
            Arc::new(StoreObjects(store.clone())),
            store.clone(),
            scratch.path().to_owned(),
            clock.clone(),
        )
        .with_limits(limits);
        Self { lake, catalog, store, clock, _scratch: scratch }
    }

    /// Commits one file of rows, in row groups of `group` rows.
    pub(crate) async fn add(&self, name: &str, batch: &RecordBatch, group: usize) -> CommitNumber {
        let mut bytes = Vec::new();
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a schema");
        writer.write(batch).expect("rows fit");
        let footer = writer.close().expect("rows fit");
        let key = ObjectKey::new(format!("data/{}.parquet", FileId::mint()));
        let size = bytes.len() as u64;
        let sha256 = model::digest::sha256_hex(&bytes);
        self.store.put(&Path::from(key.as_str()), bytes.into()).await.expect("memory");
        let schema = Schema::from_arrow(&batch.schema()).expect("kept types");
        let known = self.catalog.dataset(&workspace(), name).await.ok();
        let (create, step, id) = if let Some(dataset) = known {
            let next = dataset.schema.evolve(&schema).expect("additive");
            let seen = dataset.schema.id();
            let step = (seen != next.id()).then_some(SchemaStep { seen, next });
            (None, step, dataset.id)
        } else {
            let id = DatasetId::mint();
            let new = NewDataset {
                id: id.clone(),
                name: name.into(),
                kind: DatasetKind::Event,
                time_column: schema.field("at").map(|_| "at".into()),
                schema: schema.clone(),
            };
            (Some(new), None, id)
        };
        let batch_id = BatchId::mint();
        let file = NewFile {
            id: FileId::mint(),
            batch: batch_id.clone(),
            key,
            schema_id: schema.id(),
            rows: batch.num_rows() as u64,
            bytes: size,
            sha256,
            codec: "zstd".into(),
            statistics: crate::files::statistics_of(&footer, &batch.schema()),
            place: 0,
            runs: Vec::new(),
            tail: None,
        };
        let commit = NewCommit {
            create,
            schema: step,
            batch: Some(batch_id),
            files: vec![file],
            ..NewCommit::new(workspace(), model::dataset::CommitKind::Append, id)
        };
        self.clock.advance(TimeDelta::seconds(1));
        match self.catalog.commit(&commit, self.clock.now()).await.expect("no race") {
            Committed::New(commit) | Committed::Repeated(commit) => commit.number,
        }
    }

    pub(crate) async fn view(&self, name: &str, sql: &str, time: Option<&str>, window: Window) {
        let view = View {
            name: name.into(),
            sql: sql.into(),
            time_column: time.map(str::to_owned),
            window,
            created_at: self.clock.now(),
        };
        self.catalog.create_view(&workspace(), &view).await.expect("a new name");
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) async fn bind_all(
        &self,
        source: Source,
        selection: Selection,
    ) -> Result<Bound, PortError> {
        self.lake.bind(&self.ask(source, selection).await).await
    }

    /// Asks for everything up to the head, only to be checked.
    pub(crate) async fn ask(&self, source: Source, selection: Selection) -> Bind {
        let head = self.catalog.head(&workspace()).await.expect("memory");
        Bind {
            workspace: workspace(),
            relation: Relation { source, selection },
            from: CommitNumber(0),
            to: head.map_or(CommitNumber(0), |(number, _)| number),
            now: self.now(),
            stage: Stage::Check,
        }
    }

    /// Reads what was bound, and looks through dictionaries.
    pub(crate) async fn read(&self, bound: &Bound) -> Result<Vec<Rows>, PortError> {
        let task =
            ReadTask { relation: Arc::new(bound.relation.clone()), inputs: bound.inputs.clone() };
        let rows = self.lake.read(&task).await?.map_ok(|rows| {
            let schema = rows.batch.schema();
            let plain = |(field, column): (&FieldRef, &ArrayRef)| {
                let column = match column.as_any_dictionary_opt() {
                    Some(dictionary) => cast(column, dictionary.values().data_type()),
                    None => Ok(Arc::clone(column)),
                };
                let column = column.expect("a dictionary has its values");
                let kind = column.data_type().clone();
                (Arc::new(field.as_ref().clone().with_data_type(kind)), column)
            };
            let pairs = schema.fields().iter().zip(rows.batch.columns()).map(plain);
            let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = pairs.unzip();
            let options = RecordBatchOptions::new().with_row_count(Some(rows.batch.num_rows()));
            let schema = Arc::new(ArrowSchema::new(fields));
            let batch = RecordBatch::try_new_with_options(schema, columns, &options);
            Rows { batch: batch.expect("columns of one length"), ..rows }
        });
        rows.try_collect().await
    }

    /// Runs a query and returns its rows as CSV without a header.
    pub(crate) async fn sql(&self, sql: &str) -> Result<String, PortError> {
        let (_, rows) = self.lake.sql(&workspace(), sql, self.now()).await?;
        let rows: Vec<RecordBatch> = rows.try_collect().await?;
        Ok(csv(&rows))
    }
}

/// Writes batches as CSV without a header, rows separated by `;`.
pub(crate) fn csv(batches: &[RecordBatch]) -> String {
    let mut out = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut out);
    for batch in batches {
        writer.write(batch).expect("flat columns");
    }
    drop(writer);
    let text = String::from_utf8(out).expect("text");
    text.trim_end().replace('\n', ";")
}

/// Objects over the memory that the lake reads from.
#[derive(Debug)]
pub(crate) struct StoreObjects(Arc<InMemory>);

struct StoreUpload(Arc<InMemory>, Path, Vec<u8>);

#[async_trait]
impl Upload for StoreUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.2.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        self.0.put(&self.1, self.2.into()).await.expect("memory");
        Ok(Put::Created)
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        Ok(())
    }
}

#[async_trait]
impl Objects for StoreObjects {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        self.0.put(&Path::from(key.as_str()), bytes.into()).await.expect("memory");
        Ok(Put::Created)
    }

    async fn upload(&self, key: &ObjectKey, _: &str) -> Result<Box<dyn Upload>, ObjectError> {
        Ok(Box::new(StoreUpload(self.0.clone(), Path::from(key.as_str()), Vec::new())))
    }

    async fn abort(&self, _: &ObjectKey, _: &str) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        let meta = self.0.head(&Path::from(key.as_str())).await.ok();
        Ok(meta.map(|meta| ObjectInfo { key: key.clone(), bytes: meta.size }))
    }

    async fn read(
        &self,
        key: &ObjectKey,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, ObjectError> {
        let path = Path::from(key.as_str());
        let bytes = self.0.get_range(&path, range).await;
        bytes.map_err(|_| ObjectError::NotFound { path: key.to_string() })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let _ = self.0.delete(&Path::from(key.as_str())).await;
        Ok(())
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let prefix = Path::from(folder);
        let found = self.0.list(Some(&prefix)).map(|meta| {
            let meta = meta.expect("memory");
            ObjectInfo { key: ObjectKey::new(meta.location.to_string()), bytes: meta.size }
        });
        Ok(found.collect().await)
    }
}
