//! Stopping a run at every step, alive or dead.

use std::sync::Arc;

use model::WorkspaceId;
use model::ports::{Ledger, LedgerError};
use model::run::RunState;
use run::{Cancelled, Error, Quiet};

use crate::cases::states;
use crate::check::{check, check_complete, check_no_uploads};
use crate::crashes::{SIDES, after_crash, steps_of};
use crate::process::{At, Handle, Life, Process, Trouble, What};
use crate::world::{Scenario, World};

fn scenarios() -> [Scenario; 6] {
    let one = Scenario { commits: vec![7], ..Scenario::default() };
    [
        Scenario { name: "cancel splits", file_rows: None, file_bytes: Some(7), ..one.clone() },
        Scenario { name: "cancel uploads", put_bytes_max: 3, ..one.clone() },
        Scenario { name: "cancel filter", filter: true, file_rows: Some(1), ..one.clone() },
        Scenario { name: "cancel locks", locks: true, ..one.clone() },
        Scenario { name: "cancel into a dataset", to: "dataset:copy", ..one.clone() },
        one,
    ]
}

/// Returns how many objects there are besides the foreign ones.
pub(crate) fn our_objects(world: &World) -> usize {
    world.store.lock().unwrap().objects.len() - 3
}

#[tokio::test]
async fn a_living_holder_stops_at_its_heartbeat_and_takes_everything_away() {
    let workspace = WorkspaceId::default_workspace();
    let (mut cancelled, mut sealed) = (0, 0);
    for scenario in scenarios() {
        for step in 0..steps_of(&scenario).await {
            let world = World::new(&scenario);
            world.commit_up_to(0);
            let holder =
                Process::new(&world, Some(Trouble { step, at: At::After, what: What::Freeze }));
            let (coordinator, request) = (holder.coordinator(), world.request());
            let work =
                tokio::spawn(async move { coordinator.start(&request, Arc::new(Quiet)).await });
            holder.hit().await;
            let run = world.books.lock().unwrap().runs.keys().next().cloned().unwrap();
            let other = Process::new(&world, None);
            match other.coordinator().cancel(&workspace, &run).await {
                Ok(Cancelled::Asked(_)) => {}
                Err(Error::Ledger(LedgerError::State { .. })) => {
                    holder.thaw();
                    work.await.unwrap().unwrap();
                    check_complete(&world);
                    sealed += 1;
                    continue;
                }
                other => panic!("{other:?}"),
            }
            holder.beat();
            holder.thaw();
            match work.await.unwrap() {
                Err(Error::Cancelled { .. }) => {
                    cancelled += 1;
                    assert_eq!(
                        world.books.lock().unwrap().runs[&run].run.state,
                        RunState::Cancelled
                    );
                    assert_eq!(our_objects(&world), 0, "step {step} left something");
                }
                // It was sealing when it heard of it.
                Ok(_) => sealed += 1,
                Err(error) => panic!("{error}"),
            }
            check(&world);
            check_no_uploads(&world);
        }
    }
    assert!(cancelled > 20 && sealed > 5, "{cancelled} cancelled, {sealed} sealed");
}

#[tokio::test]
async fn a_dead_holders_run_ends_at_once_and_only_doubtful_files_stay() {
    let workspace = WorkspaceId::default_workspace();
    for scenario in scenarios() {
        for step in 0..steps_of(&scenario).await {
            for at in SIDES {
                let world = World::new(&scenario);
                world.commit_up_to(0);
                let dead = Process::new(&world, Some(Trouble { step, at, what: What::Crash }));
                let (coordinator, request) = (dead.coordinator(), world.request());
                let _ = dead.live(coordinator.start(&request, Arc::new(Quiet))).await;
                after_crash(&world).await;
                let run = world.books.lock().unwrap().runs.keys().next().cloned();
                let Some(run) = run else { continue };
                let other = Process::new(&world, None);
                match other.coordinator().cancel(&workspace, &run).await {
                    Ok(Cancelled::Ended { run, left }) => {
                        assert_eq!(run.state, RunState::Cancelled);
                        assert_eq!(our_objects(&world), left.len());
                        assert!(left.len() <= scenario.parallel, "only parts that were in flight");
                    }
                    Err(Error::Ledger(LedgerError::State { .. })) => {}
                    other => panic!("{other:?}"),
                }
                check(&world);
            }
        }
    }
}

#[tokio::test]
async fn cancelling_twice_cleans_up_once_more() {
    let workspace = WorkspaceId::default_workspace();
    let [.., scenario] = scenarios();
    let world = World::new(&scenario);
    world.commit_up_to(0);
    let dead = Process::new(&world, Some(Trouble { step: 8, at: At::After, what: What::Crash }));
    let (coordinator, request) = (dead.coordinator(), world.request());
    let _ = dead.live(coordinator.start(&request, Arc::new(Quiet))).await;
    after_crash(&world).await;
    let run = world.books.lock().unwrap().runs.keys().next().cloned().unwrap();
    // The one that cancels dies right after the run has ended in the ledger.
    let trouble = Trouble { step: 2, at: At::After, what: What::Crash };
    let second = Process::new(&world, Some(trouble));
    let coordinator = second.coordinator();
    let _ = second.live(coordinator.cancel(&workspace, &run)).await;
    assert_eq!(world.books.lock().unwrap().runs[&run].run.state, RunState::Cancelled);
    assert!(our_objects(&world) > 0);
    let third = Process::new(&world, None);
    let ended = third.coordinator().cancel(&workspace, &run).await.unwrap();
    let Cancelled::Ended { left, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(our_objects(&world), left.len());
    check(&world);
}

/// Fails at its seal, and loses the power at a step; returns whether it came so far.
async fn failed(world: &Arc<World>, trouble: Option<Trouble>) -> bool {
    world.books.lock().unwrap().full = true;
    world.commit_up_to(0);
    let process = Process::new(world, trouble);
    let coordinator = process.coordinator();
    let (request, quiet) = (world.request(), Arc::new(Quiet));
    match process.live(coordinator.start(&request, quiet)).await {
        Life::Done(done) => {
            done.unwrap_err();
            false
        }
        Life::Crashed => true,
    }
}

#[tokio::test]
async fn a_clean_up_that_broke_off_is_found_and_done() {
    let workspace = WorkspaceId::default_workspace();
    let uploads = Scenario { put_bytes_max: 3, ..Scenario::default() };
    for scenario in [Scenario::default(), uploads] {
        let scenario = Scenario { to: "dataset:copy", commits: vec![7], ..scenario };
        let mut broken_off = 0;
        for step in 0.. {
            let world = World::new(&scenario);
            let trouble = Trouble { step, at: At::After, what: What::Crash };
            if !failed(&world, Some(trouble)).await {
                break;
            }
            after_crash(&world).await;
            let process = Process::new(&world, None);
            let (ledger, now) = (Handle(Arc::clone(&process)), chrono::DateTime::UNIX_EPOCH);
            // What is open fails once more, and is cleaned up by whoever ended it.
            if states(&world).iter().any(|state| !state.is_final()) {
                assert!(!failed(&world, None).await);
            }
            let found = ledger.uncleaned(&workspace, now, 9).await.unwrap();
            broken_off += found.len();
            for run in found {
                process.coordinator().cancel(&workspace, &run).await.unwrap();
            }
            assert!(ledger.uncleaned(&workspace, now, 9).await.unwrap().is_empty());
            // A file of which nobody knows whose it is.
            assert!(our_objects(&world) <= scenario.parallel, "step {step}");
            check(&world);
            check_no_uploads(&world);
        }
        assert!(broken_off > 3, "{broken_off}");
    }
}
