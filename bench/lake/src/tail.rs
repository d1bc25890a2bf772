//! Small commits from many threads: how many are durable in a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::dataset::{CommitKind, Dataset, IngestKey, NewCommit, NewFile, SchemaStep};
use model::ports::Catalog;
use model::{BatchId, Clock, FileId, ObjectKey, clock::SystemClock, digest};
use store::Store;

use crate::Result;
use crate::world::{World, workspace};

/// Who commits at the same time.
const WRITERS: u64 = 16;

pub(crate) async fn measure(world: &World, seconds: u64) -> Result<()> {
    world.import("tail", 0, 1).await?;
    let snapshot = world.store.snapshot(&workspace(), "tail", None).await?;
    let ids: Vec<FileId> = snapshot.files.iter().map(|file| file.id.clone()).collect();
    let body = world.store.tail(&ids).await?.remove(0);
    let before = world.store.describe().await?.size_bytes;
    for writers in [1, WRITERS] {
        let made = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let end = begin + Duration::from_secs(seconds);
        let writer = || {
            let (store, made) = (world.store.clone(), made.clone());
            tokio::spawn(write(store, snapshot.dataset.clone(), body.clone(), (made, end)))
        };
        let tasks: Vec<_> = (0..writers).map(|_| writer()).collect();
        // As a server would.
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.tend("tail").await?;
        }
        for task in tasks {
            task.await.expect("no writer panics")?;
        }
        let made = made.load(Ordering::Relaxed);
        let each = body.len();
        let rate = u128::from(made) * 1000 / begin.elapsed().as_millis().max(1);
        println!("one-row commits from {writers} writers: {rate} a second ({each} bytes each)");
    }
    let grown = world.store.describe().await?.size_bytes.saturating_sub(before);
    let all = world.store.head(&workspace()).await?.map_or(1, |(number, _)| number.0);
    println!("the database has grown by {} bytes a commit", grown / all);
    Ok(())
}

async fn write(
    store: Arc<Store>,
    dataset: Dataset,
    body: Bytes,
    (made, end): (Arc<AtomicU64>, Instant),
) -> Result<()> {
    let sha256 = digest::sha256_hex(&body);
    while Instant::now() < end {
        let (id, batch) = (FileId::mint(), BatchId::mint());
        let file = NewFile {
            key: ObjectKey::new(format!("tail/{id}")),
            id,
            batch: batch.clone(),
            schema_id: dataset.schema.id(),
            rows: 1,
            bytes: body.len() as u64,
            sha256: sha256.clone(),
            codec: "zstd".into(),
            statistics: std::collections::BTreeMap::new(),
            place: 0,
            runs: Vec::new(),
            tail: Some(body.clone()),
        };
        let new = NewCommit {
            schema: Some(SchemaStep { seen: dataset.schema.id(), next: dataset.schema.clone() }),
            key: Some(IngestKey::new(batch.as_str(), batch.as_str())),
            batch: Some(batch),
            files: vec![file],
            ..NewCommit::new(workspace(), CommitKind::Append, dataset.id.clone())
        };
        store.commit(&new, SystemClock.now()).await?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
