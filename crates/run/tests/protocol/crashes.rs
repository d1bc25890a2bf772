//! The power is cut before and after every step, once and twice in a row.

use std::sync::Arc;

use run::{Error, Quiet};

use crate::check::{check, check_complete, check_no_uploads};
use crate::process::{At, Life, Process, Trouble, What};
use crate::world::{Scenario, World};

pub(crate) const SIDES: [At; 2] = [At::Before, At::After];

/// Does all exports of a scenario that are still to do.
pub(crate) async fn job(process: &Arc<Process>) -> Result<(), Error> {
    let world = &process.world;
    let coordinator = process.coordinator();
    for phase in 0..world.scenario.commits.len() {
        let done = world.lake.lock().unwrap().commits();
        if done > phase + 1 {
            continue;
        }
        world.commit_up_to(phase);
        coordinator.start(&world.request(), Arc::new(Quiet)).await?;
        check(world);
    }
    Ok(())
}

async fn live(world: &Arc<World>, trouble: Option<Trouble>) -> (Arc<Process>, bool) {
    let process = Process::new(world, trouble);
    let crashed = match process.live(job(&process)).await {
        Life::Done(done) => {
            done.unwrap_or_else(|error| panic!("{trouble:?}: {error}"));
            false
        }
        Life::Crashed => true,
    };
    (process, crashed)
}

/// After a crash no process is left: leases lapse, or the lock tells that the holder is dead.
pub(crate) async fn after_crash(world: &World) {
    // Tasks of the dead process are taken down by the runtime, and their locks with them.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // What was pinned stays readable, but a plan made anew is another one.
    world.lake.lock().unwrap().compact();
    if !world.scenario.locks {
        world.lapse();
    }
}

pub(crate) async fn steps_of(scenario: &Scenario) -> u64 {
    let world = World::new(scenario);
    let (process, _) = live(&world, None).await;
    check_complete(&world);
    check_no_uploads(&world);
    let books = world.books.lock().unwrap();
    let mut parts = books.runs.values().flat_map(|row| row.parts.keys());
    assert_eq!(parts.any(|part| part.split > 0), scenario.file_bytes.is_some(), "parts split");
    process.steps()
}

async fn crash_once(scenario: &Scenario) {
    let steps = steps_of(scenario).await;
    assert!(steps > 5);
    for step in 0..steps {
        for at in SIDES {
            let world = World::new(scenario);
            let trouble = Trouble { step, at, what: What::Crash };
            let (_, crashed) = live(&world, Some(trouble)).await;
            assert!(crashed, "{}: step {step} was not met", scenario.name);
            check(&world);
            after_crash(&world).await;
            live(&world, None).await;
            check_complete(&world);
            check_no_uploads(&world);
        }
    }
}

async fn crash_twice(scenario: &Scenario) {
    for step in 0..steps_of(scenario).await {
        for again in 0.. {
            let world = World::new(scenario);
            live(&world, Some(Trouble { step, at: At::After, what: What::Crash })).await;
            after_crash(&world).await;
            // Every other one before the step: between two steps it is the same.
            let at = SIDES[usize::from(again % 2 == 0)];
            let (_, crashed) =
                live(&world, Some(Trouble { step: again, at, what: What::Crash })).await;
            check(&world);
            if !crashed {
                break;
            }
            after_crash(&world).await;
            live(&world, None).await;
            check_complete(&world);
            check_no_uploads(&world);
        }
    }
}

async fn fail_once(scenario: &Scenario) {
    for step in 0..steps_of(scenario).await {
        for at in SIDES {
            let world = World::new(scenario);
            live(&world, Some(Trouble { step, at, what: What::Error })).await;
            check_complete(&world);
            check_no_uploads(&world);
            let sealed = world.books.lock().unwrap().sealed.len();
            assert_eq!(sealed, scenario.commits.len(), "one try more was enough");
        }
    }
}

fn splits() -> Scenario {
    let (file_rows, file_bytes) = (None, Some(13));
    Scenario {
        name: "splits",
        file_rows,
        file_bytes,
        commits: vec![8, 12, 9],
        ..Scenario::default()
    }
}

fn uploads() -> Scenario {
    Scenario { name: "uploads", put_bytes_max: 3, commits: vec![5, 6], ..Scenario::default() }
}

fn split_uploads() -> Scenario {
    let commits = vec![11];
    Scenario { name: "split uploads", put_bytes_max: 3, commits, parallel: 1, ..splits() }
}

fn filtered() -> Scenario {
    Scenario {
        name: "filter",
        filter: true,
        file_rows: Some(1),
        parallel: 3,
        ..Scenario::default()
    }
}

fn empty() -> Scenario {
    Scenario { name: "empty", commits: vec![0, 4, 0], ..Scenario::default() }
}

fn sidecar() -> Scenario {
    Scenario { name: "sidecar", manifest_files_max: 1, ..Scenario::default() }
}

fn staged() -> Scenario {
    Scenario { name: "staged", staged: true, commits: vec![7], ..Scenario::default() }
}

fn into_dataset() -> Scenario {
    let commits = vec![5, 0, 4];
    Scenario { name: "into a dataset", to: "dataset:copy", commits, ..Scenario::default() }
}

fn locks() -> Scenario {
    Scenario { name: "locks", locks: true, ..Scenario::default() }
}

#[tokio::test]
async fn one_crash_at_every_step_of_a_chain() {
    crash_once(&Scenario::default()).await;
    crash_once(&Scenario { name: "one by one", parallel: 1, ..Scenario::default() }).await;
}

#[tokio::test]
async fn one_crash_at_every_step_with_split_parts() {
    crash_once(&splits()).await;
    crash_once(&split_uploads()).await;
    // Several pages of parts, and chains of remainders of different length after a resume.
    crash_once(&Scenario { commits: vec![26], ..splits() }).await;
}

#[tokio::test]
async fn one_crash_at_every_step_of_uploads() {
    crash_once(&uploads()).await;
}

#[tokio::test]
async fn one_crash_at_every_step_with_parts_that_are_filtered_away() {
    crash_once(&filtered()).await;
}

#[tokio::test]
async fn one_crash_at_every_step_of_empty_ranges() {
    crash_once(&empty()).await;
}

#[tokio::test]
async fn one_crash_at_every_step_with_a_list_beside_the_manifest() {
    crash_once(&sidecar()).await;
}

#[tokio::test]
async fn one_crash_at_every_step_where_locks_tell_of_the_dead() {
    crash_once(&locks()).await;
}

#[tokio::test]
async fn one_crash_at_every_step_into_a_dataset() {
    crash_once(&into_dataset()).await;
    crash_once(&Scenario { to: "dataset:copy?batch=file", ..split_uploads() }).await;
}

#[tokio::test]
async fn two_crashes_at_every_pair_of_steps_into_a_dataset() {
    crash_twice(&Scenario { commits: vec![4, 3], ..into_dataset() }).await;
}

#[tokio::test]
async fn two_crashes_at_every_pair_of_steps_of_a_chain() {
    let commits = vec![4, 0, 3];
    crash_twice(&Scenario { name: "twice", commits, ..Scenario::default() }).await;
}

#[tokio::test]
async fn two_crashes_at_every_pair_of_steps_with_split_uploads() {
    // The steps of a larger one repeat these.
    let small = Scenario { commits: vec![5], ..split_uploads() };
    crash_twice(&small).await;
}

#[tokio::test]
async fn one_error_at_every_step_is_tried_again() {
    let scenarios = [Scenario::default(), splits(), uploads(), filtered(), sidecar()];
    for scenario in scenarios.into_iter().chain([into_dataset()]) {
        fail_once(&scenario).await;
    }
}

/// A staged relation has no cursor, so its open run is resumed by its id.
#[tokio::test]
async fn one_crash_at_every_step_of_a_staged_relation() {
    stage_and_crash(&staged()).await;
    stage_and_crash(&Scenario { to: "dataset:copy", ..staged() }).await;
}

async fn stage_and_crash(scenario: &Scenario) {
    for step in 0..steps_of(scenario).await {
        for at in SIDES {
            let world = World::new(scenario);
            let (_, crashed) = live(&world, Some(Trouble { step, at, what: What::Crash })).await;
            assert!(crashed);
            after_crash(&world).await;
            let process = Process::new(&world, None);
            let open: Vec<_> = world.books.lock().unwrap().runs.keys().cloned().collect();
            for run in &open {
                let workspace = model::WorkspaceId::default_workspace();
                process.coordinator().resume(&workspace, run, Arc::new(Quiet)).await.unwrap();
            }
            check_complete(&world);
            check_no_uploads(&world);
            assert_eq!(world.books.lock().unwrap().sealed.len(), open.len());
        }
    }
}
