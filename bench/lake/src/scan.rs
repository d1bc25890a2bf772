//! Many small commits against one large one of the same rows.

use std::sync::Arc;
use std::time::Instant;

use model::ports::{Catalog, Upkeep};

use crate::world::{Silent, World, workspace};
use crate::{Result, median, since};

/// Rows of a small commit.
const ROWS: u64 = 50;

/// Times each is measured.
const TIMES: usize = 7;

pub(crate) async fn measure(world: &World, commits: u64) -> Result<()> {
    world.import("large", 0, commits * ROWS).await?;
    let (begin, before) = (Instant::now(), world.store.describe().await?.size_bytes);
    for n in 0..commits {
        world.import("small", n * ROWS, n * ROWS + ROWS).await?;
        world.tend("small").await?;
    }
    let each = begin.elapsed().as_micros() / u128::from(commits.max(1));
    let grown = world.store.describe().await?.size_bytes.saturating_sub(before);
    println!("{commits} commits of {ROWS} rows: {each} µs each, tended");
    compare(world, "as they came").await?;
    let begin = Instant::now();
    let done = world.lake.compact(&workspace(), "small", Arc::new(Silent)).await?;
    println!(
        "compact: {} files into {}, {:.0} ms; the database has grown by {} bytes a commit",
        done.files_merged,
        done.files_written,
        since(begin),
        grown / commits
    );
    compare(world, "compacted").await
}

async fn compare(world: &World, how: &str) -> Result<()> {
    let head = world.store.head(&workspace()).await?.map_or(0, |(number, _)| number.0);
    let files = world.store.snapshot(&workspace(), "small", None).await?.files.len();
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..TIMES {
        let (plan, rows) = world.plan("small", (0, head)).await?;
        let (small, read) = world.scan("small", (0, head)).await?;
        let (large, whole) = world.scan("large", (0, head)).await?;
        let (increment, _) = world.plan("small", (head - 100, head)).await?;
        assert_eq!((rows, read), (whole, whole), "no row is lost");
        for (all, time) in times.iter_mut().zip([plan, small, large, increment]) {
            all.push(time);
        }
    }
    let [plan, small, large, increment] = times.map(median);
    println!(
        "{how} ({files} files): planning all {plan:.0} ms, the newest 100 commits {increment:.0} ms; \
         scan {small:.0} ms, of one large commit {large:.0} ms, ratio {:.2}",
        small / large
    );
    Ok(())
}
