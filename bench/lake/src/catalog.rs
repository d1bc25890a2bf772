//! A catalog of very many files.

use std::time::Instant;

use model::dataset::{
    ColumnStatistics, CommitKind, Dataset, DatasetKind, NewCommit, NewDataset, NewFile, Removal,
};
use model::ports::Catalog;
use model::schema::{Field, Schema, Type};
use model::{BatchId, Clock, DatasetId, FileId, ObjectKey, clock::SystemClock};

use crate::world::{World, workspace};
use crate::{Result, median, since};

/// Files of one commit.
const FILES: u64 = 1000;

/// Times each is measured.
const TIMES: usize = 7;

pub(crate) async fn measure(world: &World, files: u64) -> Result<()> {
    let alive = dataset(world, "alive").await?;
    let ended = dataset(world, "ended").await?;
    let begin = Instant::now();
    for _ in 0..files / FILES / 2 {
        append(world, &alive, CommitKind::Append).await?;
        // Each in the place of all before.
        append(world, &ended, CommitKind::Replace).await?;
    }
    println!("{files} files in the catalog: {:.1} s", since(begin) / 1000.0);
    let head = world.store.head(&workspace()).await?.map_or(0, |(number, _)| number.0);
    for (name, from, what) in [
        ("ended", 0, "one commit of files among ended ones, all of it"),
        ("alive", head - 2, "one commit of files among others, its increment"),
        ("alive", 0, "all of them"),
    ] {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..TIMES {
            let (time, rows) = world.plan(name, (from, head)).await?;
            times.push(time);
            found = rows;
        }
        println!("planning {what} ({found} files): {:.0} ms", median(times));
    }
    Ok(())
}

async fn dataset(world: &World, name: &str) -> Result<Dataset> {
    let schema =
        Schema { fields: vec![Field { name: "n".into(), kind: Type::Int64, nullable: true }] };
    let new = NewDataset {
        id: DatasetId::mint(),
        name: name.into(),
        kind: DatasetKind::Event,
        time_column: None,
        schema,
    };
    Ok(world.store.create_dataset(&workspace(), &new, SystemClock.now()).await?)
}

/// Commits files of one row that nobody has written: planning does not open them.
async fn append(world: &World, dataset: &Dataset, kind: CommitKind) -> Result<()> {
    let batch = BatchId::mint();
    let file = |place| {
        let id = FileId::mint();
        let bounds = |n: u64| Some(n.into());
        let statistics =
            ColumnStatistics { min: bounds(place), max: bounds(place), nulls: Some(0) };
        NewFile {
            key: ObjectKey::new(format!("data/{}/{id}.parquet", dataset.id)),
            id,
            batch: batch.clone(),
            schema_id: dataset.schema.id(),
            rows: 1,
            bytes: 1000,
            sha256: "0".repeat(64),
            codec: "zstd".into(),
            statistics: [("n".to_owned(), statistics)].into(),
            place,
            runs: Vec::new(),
            tail: None,
        }
    };
    let new = NewCommit {
        files: (0..FILES).map(file).collect(),
        remove: if kind == CommitKind::Replace { Removal::All } else { Removal::Nothing },
        batch: Some(batch.clone()),
        ..NewCommit::new(workspace(), kind, dataset.id.clone())
    };
    world.store.commit(&new, SystemClock.now()).await?;
    Ok(())
}
