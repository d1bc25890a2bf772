//! Files of a run that vanish or change at the destination between a crash and the resume.

use std::sync::Arc;

use bytes::Bytes;
use model::WorkspaceId;
use model::run::RunState;
use run::{DeliverError, Error, PartError, Quiet, Sealed};

use crate::check::{check, check_complete};
use crate::crashes::{after_crash, steps_of};
use crate::process::{At, Process, Trouble, What};
use crate::world::{Scenario, World};

fn scenarios() -> [Scenario; 4] {
    let one = Scenario { commits: vec![9], ..Scenario::default() };
    [
        Scenario { name: "gone splits", file_rows: None, file_bytes: Some(7), ..one.clone() },
        Scenario { name: "gone uploads", put_bytes_max: 3, ..one.clone() },
        Scenario { name: "gone one by one", parallel: 1, ..one.clone() },
        one,
    ]
}

/// Crashes after a step and lets something happen to every part that is there by then; returns whether
/// there was one.
async fn crash(world: &Arc<World>, step: u64, change: impl Fn(&Bytes) -> Option<Bytes>) -> bool {
    world.commit_up_to(0);
    let dead = Process::new(world, Some(Trouble { step, at: At::After, what: What::Crash }));
    let (coordinator, request) = (dead.coordinator(), world.request());
    let _ = dead.live(coordinator.start(&request, Arc::new(Quiet))).await;
    after_crash(world).await;
    let mut store = world.store.lock().unwrap();
    let parts = store.objects.keys().filter(|key| key.contains("/part-") && !key.contains("other"));
    let parts: Vec<_> = parts.cloned().collect();
    for key in &parts {
        match change(&store.objects[key]) {
            Some(bytes) => store.objects.insert(key.clone(), bytes),
            None => store.objects.remove(key),
        };
    }
    !parts.is_empty()
}

async fn resume(world: &Arc<World>) -> Option<Result<Sealed, Error>> {
    let open = {
        let books = world.books.lock().unwrap();
        let open = books.runs.values().map(|row| &row.run).find(|run| !run.state.is_final());
        open.map(|run| run.id.clone())?
    };
    let workspace = WorkspaceId::default_workspace();
    let coordinator = Process::new(world, None).coordinator();
    Some(coordinator.resume(&workspace, &open, Arc::new(Quiet)).await)
}

#[tokio::test]
async fn what_is_gone_is_written_again_before_the_seal() {
    let mut written_again = 0;
    for scenario in scenarios() {
        for step in 0..steps_of(&scenario).await {
            let world = World::new(&scenario);
            let gone = crash(&world, step, |_| None).await;
            if let Some(sealed) = resume(&world).await {
                sealed.unwrap();
                check_complete(&world);
                written_again += usize::from(gone);
            }
        }
    }
    assert!(written_again > 20, "{written_again}");
}

#[tokio::test]
async fn what_was_changed_is_not_sealed_and_stays() {
    let mut refused = 0;
    for scenario in scenarios() {
        for step in 0..steps_of(&scenario).await {
            for longer in [false, true] {
                let world = World::new(&scenario);
                let other = |bytes: &Bytes| {
                    let mut other = bytes.to_vec();
                    other[0] ^= 1;
                    other.extend(longer.then_some(b'!'));
                    Some(other.into())
                };
                if !crash(&world, step, other).await {
                    continue;
                }
                let Some(result) = resume(&world).await else { continue };
                let error = match result.unwrap_err() {
                    Error::Left { source, .. } | Error::StaysOpen { source, .. } => *source,
                    error => error,
                };
                let another = matches!(
                    error,
                    Error::Deliver(DeliverError::AnotherFile { .. })
                        | Error::Part(PartError::Deliver(DeliverError::AnotherFile { .. }))
                );
                assert!(another, "{error:?}");
                let books = world.books.lock().unwrap();
                let state = books.runs.values().next().unwrap().run.state;
                assert!(matches!(state, RunState::Failed | RunState::Sealing), "{state:?}");
                drop(books);
                check(&world);
                refused += 1;
            }
        }
    }
    assert!(refused > 40, "{refused}");
}
