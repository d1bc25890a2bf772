//! Two processes: one froze at some step and its lease lapsed, another took the run over; then the
//! first one goes on as if nothing had happened. It must not do any harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::WorkspaceId;
use model::ports::LedgerError;
use model::run::RunState;
use run::{Error, Quiet};
use tokio::task::JoinHandle;

use crate::check::{check, check_complete, check_no_uploads};
use crate::crashes::{SIDES, steps_of};
use crate::process::{At, Process, Trouble, What};
use crate::world::{Scenario, World};

type Outcome = Result<Vec<run::Sealed>, Error>;

fn scenarios() -> [Scenario; 6] {
    let commits = vec![7];
    let one = Scenario { commits: commits.clone(), ..Scenario::default() };
    [
        Scenario { name: "zombie splits", file_rows: None, file_bytes: Some(7), ..one.clone() },
        Scenario { name: "zombie uploads", put_bytes_max: 3, ..one.clone() },
        Scenario { name: "zombie filter", filter: true, file_rows: Some(1), ..one.clone() },
        Scenario { name: "zombie sidecar", manifest_files_max: 1, parallel: 3, ..one.clone() },
        Scenario { name: "zombie into a dataset", to: "dataset:copy", ..one.clone() },
        one,
    ]
}

/// Starts an export and waits until it is frozen.
async fn frozen(world: &Arc<World>, step: u64, at: At) -> (Arc<Process>, JoinHandle<Outcome>) {
    world.commit_up_to(0);
    let old = Process::new(world, Some(Trouble { step, at, what: What::Freeze }));
    let (coordinator, request) = (old.coordinator(), world.request());
    let work = async move { coordinator.start(&request, Arc::new(Quiet)).await };
    let task = tokio::spawn(work);
    old.hit().await;
    world.lapse();
    (old, task)
}

fn check_late(outcome: Outcome) {
    match outcome {
        // `Ok`: it froze before it had opened a run, or after everything was done.
        Ok(_)
        | Err(
            Error::Ledger(
                LedgerError::Fenced { .. }
                | LedgerError::Open { .. }
                | LedgerError::Leased { .. }
                | LedgerError::State { .. },
            )
            | Error::Over { .. },
        ) => {}
        Err(other) => panic!("the old process ended with {other:?}"),
    }
}

fn objects(world: &World) -> BTreeMap<String, Bytes> {
    world.store.lock().unwrap().objects.clone()
}

async fn taken_over(scenario: &Scenario, beats: bool) {
    for step in 0..steps_of(scenario).await {
        for at in SIDES {
            let world = World::new(scenario);
            let (old, late) = frozen(&world, step, at).await;
            let new = Process::new(&world, None);
            new.coordinator().start(&world.request(), Arc::new(Quiet)).await.unwrap();
            check_complete(&world);
            let (before, sealed) = (objects(&world), world.books.lock().unwrap().sealed.clone());
            if beats {
                old.beat();
            }
            old.thaw();
            check_late(late.await.unwrap());
            check_complete(&world);
            check_no_uploads(&world);
            let (after, books) = (objects(&world), world.books.lock().unwrap());
            assert!(before.iter().all(|(key, bytes)| after.get(key) == Some(bytes)));
            assert!(books.sealed.starts_with(&sealed));
        }
    }
}

#[tokio::test]
async fn a_late_process_does_no_harm_after_a_take_over() {
    for scenario in scenarios() {
        taken_over(&scenario, false).await;
    }
}

#[tokio::test]
async fn a_late_process_that_hears_of_it_by_heartbeat_does_no_harm() {
    for scenario in scenarios() {
        taken_over(&scenario, true).await;
    }
}

/// The new process stops at some step, too, and the old one goes on in between.
#[tokio::test]
async fn a_late_process_between_two_others_does_no_harm() {
    let [splits, uploads, ..] = scenarios();
    for scenario in [splits, uploads] {
        let steps = steps_of(&scenario).await;
        for step in 0..steps {
            for second in (step % 3..steps).step_by(3) {
                between(&scenario, step, second).await;
            }
        }
    }
}

async fn between(scenario: &Scenario, step: u64, second: u64) {
    let world = World::new(scenario);
    let (old, late) = frozen(&world, step, At::Before).await;
    let trouble = Trouble { step: second, at: At::After, what: What::Crash };
    let new = Process::new(&world, Some(trouble));
    let (coordinator, request) = (new.coordinator(), world.request());
    let _ = new.live(coordinator.start(&request, Arc::new(Quiet))).await;
    check(&world);
    old.thaw();
    check_late(late.await.unwrap());
    check(&world);
    world.lapse();
    let last = Process::new(&world, None);
    last.coordinator().start(&world.request(), Arc::new(Quiet)).await.unwrap();
    check_complete(&world);
}

/// What it staged is its own, and what its successor staged is not.
#[tokio::test]
async fn a_late_process_leaves_what_its_successor_staged() {
    let workspace = WorkspaceId::default_workspace();
    let commits = vec![7];
    let scenario = Scenario { name: "zombie staged", staged: true, commits, ..Scenario::default() };
    let steps = steps_of(&scenario).await;
    let mut resumed = 0;
    for (step, second) in (0..steps).flat_map(|step| (0..steps).map(move |second| (step, second))) {
        let world = World::new(&scenario);
        let (old, late) = frozen(&world, step, At::Before).await;
        let run = world.books.lock().unwrap().runs.keys().next().cloned();
        let Some(run) = run else { continue };
        let trouble = Trouble { step: second, at: At::After, what: What::Crash };
        let new = Process::new(&world, Some(trouble));
        let _ = new.live(new.coordinator().resume(&workspace, &run, Arc::new(Quiet))).await;
        old.thaw();
        check_late(late.await.unwrap());
        check(&world);
        world.lapse();
        let last = Process::new(&world, None);
        last.coordinator().resume(&workspace, &run, Arc::new(Quiet)).await.unwrap();
        check(&world);
        assert_eq!(world.books.lock().unwrap().runs[&run].run.state, RunState::Sealed);
        resumed += 1;
    }
    assert!(resumed > 100, "{resumed}");
}

/// The new process does not go on but cancels: what is sealed stays sealed, what is cancelled stays so.
#[tokio::test]
async fn a_late_process_does_no_harm_after_a_cancel() {
    let workspace = WorkspaceId::default_workspace();
    for scenario in scenarios() {
        for step in 0..steps_of(&scenario).await {
            let world = World::new(&scenario);
            let (old, late) = frozen(&world, step, At::After).await;
            let run = world.books.lock().unwrap().runs.keys().next().cloned();
            let Some(run) = run else { continue };
            let new = Process::new(&world, None);
            let cancelled = new.coordinator().cancel(&workspace, &run).await.is_ok();
            check(&world);
            old.thaw();
            let outcome = late.await.unwrap();
            assert_eq!(outcome.is_ok(), !cancelled, "step {step}");
            check_late(outcome);
            check(&world);
            check_no_uploads(&world);
            let state = world.books.lock().unwrap().runs[&run].run.state;
            let expected = if cancelled { RunState::Cancelled } else { RunState::Sealed };
            assert_eq!(state, expected);
            let next = Process::new(&world, None);
            next.coordinator().start(&world.request(), Arc::new(Quiet)).await.unwrap();
            check_complete(&world);
        }
    }
}
