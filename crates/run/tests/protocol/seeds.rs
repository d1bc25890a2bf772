//! Chance: a store and a ledger that fail now and then, a crash somewhere, over many seeds.
//!
//! `SLUICE_SEEDS` says how many seeds (200 without it); a failing seed is in the message and is run
//! alone by `SLUICE_SEED`.

use std::env;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use model::WorkspaceId;

use crate::check::{check, check_complete};
use crate::crashes::{after_crash, job};
use crate::objects::Faults;
use crate::process::{At, Life, Process, Trouble, What};
use crate::world::{Scenario, World};

fn scenario(dice: &Faults) -> Scenario {
    let splits = dice.below(3) == 0;
    Scenario {
        name: "seeded",
        commits: (0..=dice.below(3)).map(|_| dice.below(14)).collect(),
        file_rows: (!splits || dice.below(2) == 0).then(|| 1 + dice.below(5)),
        file_bytes: splits.then(|| 6 + dice.below(20)),
        filter: dice.below(3) == 0,
        parallel: usize::try_from(1 + dice.below(4)).unwrap(),
        put_bytes_max: usize::try_from(dice.below(16)).unwrap(),
        manifest_files_max: usize::try_from(1 + dice.below(4)).unwrap(),
        to: if dice.below(4) == 0 { "dataset:copy" } else { "test://place" },
        ..Scenario::default()
    }
}

async fn one(seed: u64) {
    let dice = Faults::new(seed, 0);
    let world = World::new(&scenario(&dice));
    for life in 0..8 {
        if dice.below(3) == 0 {
            let used: usize =
                world.store.lock().unwrap().objects.values().map(bytes::Bytes::len).sum();
            let more = usize::try_from(dice.below(3000)).unwrap();
            world.store.lock().unwrap().room = Some(used + more);
        }
        let at = if dice.below(2) == 0 { At::Before } else { At::After };
        let trouble = Trouble { step: dice.below(80), at, what: What::Crash };
        let faults = Faults::new(seed * 31 + life, 20 + dice.below(150));
        let process = Process::faulty(&world, Some(trouble), Some(faults));
        let outcome = process.live(job(&process)).await;
        check(&world);
        if matches!(outcome, Life::Crashed) {
            after_crash(&world).await;
            if dice.below(5) == 0 {
                cancel_open(&world).await;
            }
        } else {
            // Whoever gave up may not have been able to give the lease back.
            world.lapse();
        }
        world.store.lock().unwrap().room = None;
    }
    let process = Process::new(&world, None);
    job(&process).await.unwrap_or_else(|error| panic!("{error}"));
    check_complete(&world);
}

async fn cancel_open(world: &Arc<World>) {
    let process = Process::new(world, None);
    let workspace = WorkspaceId::default_workspace();
    let runs: Vec<_> =
        world.books.lock().unwrap().runs.values().map(|row| row.run.clone()).collect();
    for run in runs.iter().filter(|run| !run.state.is_final() && run.manifest.is_none()) {
        process.coordinator().cancel(&workspace, &run.id).await.unwrap();
    }
    check(world);
}

#[tokio::test]
async fn whatever_fails_every_row_is_delivered_once() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SLUICE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SLUICE_SEEDS").unwrap_or(200) + 1,
    };
    for seed in seeds {
        let done = AssertUnwindSafe(one(seed)).catch_unwind().await;
        assert!(done.is_ok(), "seed {seed} failed: run it alone with SLUICE_SEED={seed}");
    }
}
