//! Random histories of a dataset, held against a plain list of rows.
//!
//! Rows come, are replaced, taken back and merged, by processes that die between any two writes; after
//! every step each snapshot, count and increment must be what the list says. `SLUICE_SEEDS` says how many
//! histories (12 without it); the seed that failed is in the message and is run alone by `SLUICE_SEED`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod catalog;
mod crash;
mod dice;
mod objects;
mod rows;
mod world;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use dice::Dice;
use world::World;

/// Steps of one history.
const STEPS: u64 = 14;

async fn history(url: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = World::open(url, seed).await;
    for _ in 0..STEPS {
        world.step(&mut dice).await;
        world.check(&mut dice).await;
    }
    world.check_all().await;
}

async fn histories(url: &str) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SLUICE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SLUICE_SEEDS").unwrap_or(12) + 1,
    };
    for seed in seeds {
        let done = AssertUnwindSafe(history(url, seed)).catch_unwind().await;
        assert!(done.is_ok(), "seed {seed} failed: run it alone with SLUICE_SEED={seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_rows_are_those_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    histories(&format!("sqlite:{}", folder.path().join("meta.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_stopped_at_any_step_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    crash::everywhere(&format!("sqlite:{}", folder.path().join("meta.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_rows_are_those_of_the_model() {
    let server = std::env::var("SLUICE_TEST_POSTGRES")
        .expect("SLUICE_TEST_POSTGRES names a server; run the tests with scripts/test");
    let name = format!("history_{}", uuid::Uuid::new_v4().simple());
    let made = std::process::Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--dbname", &server])
        .args(["--command", &format!("CREATE DATABASE {name}")])
        .status();
    assert!(made.unwrap().success());
    let (address, _) = server.rsplit_once('/').unwrap();
    histories(&format!("{address}/{name}")).await;
}
