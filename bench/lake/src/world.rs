//! A lake in a temporary folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use futures::TryStreamExt;
use lake::Lake;
use model::clock::SystemClock;
use model::dataset::DatasetKind;
use model::ports::{
    Bind, Catalog, Import, ImportFile, Ingest, InputFormat, Progress, ReadTask, Relations, Stage,
    Upkeep,
};
use model::relation::{Relation, Selection, Source};
use model::{CommitNumber, WorkspaceId};
use object_store::local::LocalFileSystem;
use objects::Local;
use store::Store;

use crate::{Result, since};

/// Nobody watches.
#[derive(Debug)]
pub(crate) struct Silent;

impl Progress for Silent {
    fn add(&self, _: u64, _: u64) {}
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) lake: Lake,
}

pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::default_workspace()
}

impl World {
    pub(crate) async fn open(url: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = format!("sqlite:{}", folder.path().join("meta.sqlite").display());
        let store = Arc::new(Store::open(url.unwrap_or(&own)).await?);
        let files = folder.path().join("lake");
        std::fs::create_dir(&files).expect("a folder of its own");
        let reader = LocalFileSystem::new_with_prefix(&files).expect("it is there");
        let reader = Arc::new(reader);
        let objects = Arc::new(Local::new(files));
        let scratch = folder.path().to_owned();
        let lake = Lake::new(store.clone(), objects, reader, scratch, Arc::new(SystemClock));
        Ok(Self { folder, store, lake })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports rows `[from, to)` as one commit.
    pub(crate) async fn import(&self, dataset: &str, from: u64, to: u64) -> Result<()> {
        let path = self.path("rows.jsonl");
        let row = |n| {
            format!(
                "{{\"id\":{n},\"at\":\"2024-05-01T00:00:{:02}Z\",\"user\":\"user {}\",\"page\":\"/shop/{}\",\"price\":{}.5}}\n",
                n % 60,
                n % 1000,
                n % 77,
                n % 500
            )
        };
        std::fs::write(&path, (from..to).map(row).collect::<String>()).expect("there is room");
        let import = Import {
            workspace: workspace(),
            dataset: dataset.into(),
            kind: DatasetKind::Event,
            time_column: None,
            schema: None,
            receive_time: None,
            live: false,
            files: vec![ImportFile::at("rows", path)],
            format: InputFormat::Jsonl,
            replace: None,
            batch: None,
            key: None,
            key_days: None,
            rejects: None,
        };
        self.lake.import(&import, Arc::new(Silent)).await?;
        Ok(())
    }

    /// Does what is due, as after an import.
    pub(crate) async fn tend(&self, dataset: &str) -> Result<()> {
        let head = self.store.head(&workspace()).await?.map_or(CommitNumber(0), |head| head.0);
        self.lake.tend(&workspace(), dataset, head).await?;
        Ok(())
    }

    /// Plans an export of a range; returns how long it took, in milliseconds, and the number of rows.
    pub(crate) async fn plan(&self, dataset: &str, range: (u64, u64)) -> Result<(f64, u64)> {
        let begin = Instant::now();
        let bound = self.lake.bind(&bind(dataset, range)).await?;
        Ok((since(begin), bound.inputs.iter().map(|input| input.rows).sum()))
    }

    /// Reads a range, every column; returns how long it took, in milliseconds, and the number of rows.
    pub(crate) async fn scan(&self, dataset: &str, range: (u64, u64)) -> Result<(f64, u64)> {
        let bound = self.lake.bind(&bind(dataset, range)).await?;
        let begin = Instant::now();
        let task = ReadTask { relation: Arc::new(bound.relation), inputs: bound.inputs };
        let mut rows = self.lake.read(&task).await?;
        let mut count = 0;
        while let Some(some) = rows.try_next().await? {
            count += some.batch.num_rows() as u64;
        }
        Ok((since(begin), count))
    }
}

fn bind(dataset: &str, (from, to): (u64, u64)) -> Bind {
    Bind {
        workspace: workspace(),
        relation: Relation {
            source: Source::Dataset(dataset.into()),
            selection: Selection::default(),
        },
        from: CommitNumber(from),
        to: CommitNumber(to),
        now: DateTime::UNIX_EPOCH,
        stage: Stage::Check,
    }
}
