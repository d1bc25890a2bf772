//! Cases of what is read of runs, and of their keys.

use model::export::{NewRun, RunKey};
use model::limits::KEY_DAYS;
use model::ports::LedgerError;
use model::run::{RunProgress, RunState, Sums};
use model::{RunId, WorkspaceId};
use tokio::task::JoinSet;

use super::{Rig, at, incremental, refused, workspace};

/// Cases of one key at once.
const OPENERS: usize = 6;

fn keyed(export: &str, key: &str, fingerprint: &str) -> NewRun {
    let key = RunKey { key: key.into(), fingerprint: fingerprint.into() };
    NewRun { key: Some(key), ..incremental(export) }
}

pub async fn a_status_tells_how_far_a_run_has_come(rig: &Rig) {
    rig.commits(1).await;
    let lease = rig.run_in("e", RunState::Planning).await;
    let status = rig.runs.status(&workspace(), &lease.run).await.unwrap();
    assert_eq!((status.state, status.progress), (RunState::Planning, Some(RunProgress::default())));
    assert!(status.leased && status.sums.is_none());
    rig.bring_on(&lease, RunState::Running).await;
    rig.bring_on(&lease, RunState::Sealing).await;
    rig.bring_on(&lease, RunState::Sealed).await;
    let status = rig.runs.status(&workspace(), &lease.run).await.unwrap();
    let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
    let progress = RunProgress {
        parts: 2,
        parts_written: 2,
        rows_planned: 12,
        rows_read: 12,
        rows: 12,
        bytes: 120,
    };
    let sha256 = run.manifest.unwrap().sha256;
    assert_eq!(status.progress, Some(progress));
    assert_eq!(status.sums, Some(Sums { sha256, rows: 12, bytes: 120, files: 2 }));
    assert_eq!((status.definition, status.ended_at), (run.definition, run.ended_at));
    let brief = rig.runs.brief(&workspace(), &lease.run).await.unwrap();
    assert_eq!((brief.id, brief.progress), (lease.run.clone(), None));
    let elsewhere = WorkspaceId::new("elsewhere");
    refused!(rig.runs.status(&elsewhere, &lease.run).await, LedgerError::NotFound { .. });
}

pub async fn files_are_found_by_their_place(rig: &Rig) {
    rig.commits(1).await;
    let lease = rig.run_in("e", RunState::Sealed).await;
    let rows = async |number| {
        let found = rig.runs.files(&workspace(), &lease.run, number, 2).await.unwrap();
        found.iter().map(|receipt| receipt.rows).collect::<Vec<_>>()
    };
    assert_eq!((rows(1).await, rows(2).await), (vec![5, 7], vec![7]));
    assert_eq!((rows(0).await, rows(3).await, rows(u64::MAX).await), (vec![], vec![], vec![]));
    let elsewhere = WorkspaceId::new("elsewhere");
    refused!(rig.runs.files(&elsewhere, &lease.run, 1, 1).await, LedgerError::NotFound { .. });
}

pub async fn exports_are_listed_by_name(rig: &Rig) {
    rig.commits(1).await;
    for name in ["held", "failed", "left"] {
        rig.run_in(name, RunState::Running).await;
    }
    rig.run_in("a", RunState::Sealed).await;
    assert_eq!(rig.runs.unfinished_count(&workspace()).await.unwrap(), 3);
    assert_eq!(rig.runs.unfinished_count(&WorkspaceId::new("elsewhere")).await.unwrap(), 0);
    let names = rig.runs.exports(&workspace()).await.unwrap();
    let names: Vec<_> = names.iter().map(|export| export.name.as_str()).collect();
    assert_eq!(names, ["a", "failed", "held", "left"]);
}

pub async fn statuses_are_paged(rig: &Rig) {
    rig.commits(1).await;
    let mut runs = Vec::new();
    for name in ["a", "b", "c"] {
        runs.insert(0, rig.run_in(name, RunState::Planning).await.run);
    }
    let page = async |before: Option<&RunId>, limit| {
        let page = rig.runs.statuses(&workspace(), before, limit).await.unwrap();
        page.into_iter().map(|status| status.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 10).await, runs);
    assert_eq!(page(Some(&runs[0]), 1).await, [runs[1].clone()]);
    assert!(page(Some(&runs[2]), 10).await.is_empty());
}

pub async fn a_key_opens_one_run(rig: &Rig) {
    rig.commits(1).await;
    let mut tasks = JoinSet::new();
    for _ in 0..OPENERS {
        let ledger = rig.ledger.clone();
        tasks.spawn(async move { ledger.open_run(&keyed("e", "k", "f")).await });
    }
    let (mut opened, mut repeated) = (Vec::new(), Vec::new());
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap() {
            Ok(new) => opened.push(new.run.id),
            Err(LedgerError::Repeated { run }) => repeated.push(run),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((opened.len(), repeated.len()), (1, OPENERS - 1));
    assert!(repeated.iter().all(|run| *run == opened[0]));
    refused!(rig.ledger.open_run(&keyed("e", "k", "other")).await, LedgerError::KeyReused { .. });
    let found = rig.runs.keyed(&workspace(), "k", at(6)).await.unwrap();
    assert_eq!(found, Some(("f".into(), opened[0].clone())));
    assert_eq!(rig.runs.keyed(&WorkspaceId::new("elsewhere"), "k", at(6)).await.unwrap(), None);
    // Whoever opens a run that is refused keeps no key.
    let refused = NewRun { to: Some(model::CommitNumber(9)), ..keyed("f", "k2", "f") };
    refused!(rig.ledger.open_run(&refused).await, LedgerError::NoCommit { .. });
    assert_eq!(rig.runs.keyed(&workspace(), "k2", at(6)).await.unwrap(), None);
}

pub async fn keys_are_forgotten_after_days(rig: &Rig) {
    rig.commits(1).await;
    let first = rig.open(&keyed("a", "k", "f")).await.run.id;
    let later = at(6 + KEY_DAYS * 24 * 3600);
    assert_eq!(rig.runs.keyed(&workspace(), "k", later).await.unwrap(), None);
    let again = NewRun { now: later, ..keyed("b", "k", "other") };
    let second = rig.open(&again).await.run.id;
    assert_ne!(first, second);
}
