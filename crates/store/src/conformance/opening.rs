//! Cases of opening runs: ranges, definitions, races.

use std::sync::Arc;

use model::CommitNumber;
use model::export::{Advance, NewRun};
use model::ports::LedgerError;
use model::run::RunState;
use tokio::task::JoinSet;

use super::{Rig, again, append, at, definition, incremental, ranged, refused, workspace};

fn range(run: &model::run::Run) -> (u64, u64) {
    (run.from.0, run.to.0)
}

/// Delivers everything up to the head and returns the range.
async fn deliver(rig: &Rig, new: &NewRun) -> (u64, u64) {
    let opened = rig.open(new).await;
    rig.bring(&opened.lease, RunState::Sealed).await;
    range(&opened.run)
}

pub async fn the_first_use_saves_the_export(rig: &Rig) {
    rig.commits(2).await;
    refused!(
        rig.ledger.export(&workspace(), "hourly").await,
        LedgerError::NotFound { what: "export", nearest: None, .. }
    );
    assert!(rig.ledger.open_run_of(&workspace(), "hourly").await.unwrap().is_none());
    let new = incremental("hourly");
    let opened = rig.open(&new).await;
    let (run, saved) = (&opened.run, rig.ledger.export(&workspace(), "hourly").await.unwrap());
    assert_eq!((saved.cursor.0, &saved.last_run, &saved.definition), (0, &None, &definition()));
    assert_eq!((run.state, run.epoch, range(run)), (RunState::Planning, 1, (0, 2)));
    assert_eq!((run.export.as_ref(), run.leased), (Some(&saved.id), true));
    assert_eq!((&opened.lease.run, opened.lease.epoch), (&new.id, 1));
    assert_eq!(rig.ledger.run(&workspace(), &new.id).await.unwrap(), opened.run);
    refused!(
        rig.ledger.export(&workspace(), "horuly").await,
        LedgerError::NotFound { nearest: Some(n), .. } if n == "hourly"
    );
}

pub async fn ranges_follow_the_cursor(rig: &Rig) {
    let orders = rig.commits(2).await;
    assert_eq!(deliver(rig, &incremental("e")).await, (0, 2));
    rig.commit(&append(&orders, 1)).await;
    rig.commit(&append(&orders, 1)).await;
    assert_eq!(deliver(rig, &ranged("e", Some(2), Some(3))).await, (2, 3));
    assert_eq!(deliver(rig, &ranged("e", None, None)).await, (3, 4));
    assert_eq!(rig.cursor("e").await, 4);
}

pub async fn overlaps_and_gaps_are_refused(rig: &Rig) {
    rig.commits(5).await;
    deliver(rig, &ranged("e", None, Some(3))).await;
    let open = async |from, to| rig.ledger.open_run(&ranged("e", from, to)).await;
    refused!(open(Some(2), None).await, LedgerError::Overlap { cursor: CommitNumber(3), .. });
    refused!(open(Some(0), Some(5)).await, LedgerError::Overlap { .. });
    refused!(open(None, Some(2)).await, LedgerError::Overlap { to: CommitNumber(2), .. });
    refused!(open(Some(4), None).await, LedgerError::Gap { from: CommitNumber(4), .. });
    refused!(open(Some(4), Some(3)).await, LedgerError::Backwards { .. });
    assert!(rig.ledger.runs(&workspace(), None, 10).await.unwrap().len() == 1);
}

pub async fn an_empty_range_is_allowed(rig: &Rig) {
    let new = incremental("before");
    assert_eq!(range(&rig.open(&new).await.run), (0, 0), "before the first commit");
    rig.commits(2).await;
    deliver(rig, &incremental("e")).await;
    assert_eq!(deliver(rig, &incremental("e")).await, (2, 2));
    assert_eq!(rig.cursor("e").await, 2);
}

pub async fn a_commit_beyond_the_head_is_refused(rig: &Rig) {
    rig.commits(2).await;
    for beyond in [3, u64::MAX] {
        refused!(
            rig.ledger.open_run(&ranged("e", None, Some(beyond))).await,
            LedgerError::NoCommit { head: CommitNumber(2), .. }
        );
    }
}

pub async fn again_stays_delivered(rig: &Rig) {
    rig.commits(5).await;
    refused!(rig.ledger.open_run(&again("e", None, None)).await, LedgerError::NotDelivered { .. });
    deliver(rig, &ranged("e", None, Some(3))).await;
    let open = async |from, to| {
        rig.ledger.open_run(&again("e", from, to)).await.map(|opened| range(&opened.run))
    };
    assert_eq!(open(None, None).await.unwrap(), (0, 3));
    assert_eq!(open(Some(1), Some(2)).await.unwrap(), (1, 2), "several at once");
    refused!(open(None, Some(4)).await, LedgerError::NotDelivered { cursor: CommitNumber(3), .. });
    refused!(open(Some(2), Some(1)).await, LedgerError::Backwards { .. });
    refused!(open(None, Some(9)).await, LedgerError::NoCommit { .. });
}

pub async fn a_run_without_a_cursor_takes_any_range(rig: &Rig) {
    rig.commits(3).await;
    let open = async |from: Option<u64>, to: Option<u64>| {
        let new = NewRun { export: None, advance: Advance::None, ..ranged("", from, to) };
        rig.ledger.open_run(&new).await.map(|opened| range(&opened.run))
    };
    assert_eq!(open(None, None).await.unwrap(), (0, 3));
    assert_eq!(open(Some(1), Some(2)).await.unwrap(), (1, 2));
    assert_eq!(open(Some(2), Some(2)).await.unwrap(), (2, 2));
    refused!(open(Some(2), Some(1)).await, LedgerError::Backwards { .. });
    refused!(open(None, Some(4)).await, LedgerError::NoCommit { .. });
    refused!(open(Some(9), None).await, LedgerError::Backwards { .. });
}

pub async fn another_definition_differs(rig: &Rig) {
    rig.commits(1).await;
    deliver(rig, &incremental("e")).await;
    let mut other = incremental("e");
    other.definition.destination = "file:///elsewhere".into();
    refused!(
        rig.ledger.open_run(&other).await,
        LedgerError::Differs { property: "the destination", saved, .. } if saved.contains("out")
    );
}

pub async fn what_was_never_sealed_is_defined_anew(rig: &Rig) {
    rig.commits(1).await;
    let first = rig.open(&incremental("e")).await;
    let mut other = incremental("e");
    other.definition.destination = "file:///elsewhere".into();
    // Not while a run of it is open.
    refused!(rig.ledger.open_run(&other).await, LedgerError::Differs { .. });
    rig.ledger.end(&first.lease, RunState::Failed, "no room", at(9)).await.unwrap();
    let second = rig.open(&other).await;
    assert_eq!(second.run.export, first.run.export);
    let saved = rig.ledger.export(&workspace(), "e").await.unwrap();
    assert_eq!(saved.definition, other.definition);
    let failed = rig.ledger.run(&workspace(), &first.run.id).await.unwrap();
    assert_eq!(failed.definition, first.run.definition);
    // From the first seal on it stays.
    for state in [RunState::Running, RunState::Sealing, RunState::Sealed] {
        rig.bring_on(&second.lease, state).await;
    }
    refused!(rig.ledger.open_run(&incremental("e")).await, LedgerError::Differs { .. });
}

pub async fn one_open_run_per_cursor(rig: &Rig) {
    rig.commits(2).await;
    let first = rig.open(&ranged("e", None, Some(1))).await;
    for state in [RunState::Planning, RunState::Running, RunState::Sealing] {
        rig.bring_on(&first.lease, state).await;
        refused!(
            rig.ledger.open_run(&incremental("e")).await,
            LedgerError::Open { run, .. } if *run == first.run.id
        );
        let open = rig.ledger.open_run_of(&workspace(), "e").await.unwrap();
        assert_eq!(open.map(|run| (run.id, run.state)), Some((first.run.id.clone(), state)));
    }
    rig.open(&incremental("another")).await;
    rig.ledger.sealed(&first.lease, at(9)).await.unwrap();
    assert!(rig.ledger.open_run_of(&workspace(), "e").await.unwrap().is_none());
    assert_eq!(range(&rig.open(&incremental("e")).await.run), (1, 2));
}

pub async fn two_openers_at_once(rig: &Rig) {
    const OPENERS: usize = 6;
    rig.commits(1).await;
    let mut tasks = JoinSet::new();
    for _ in 0..OPENERS {
        let ledger = Arc::clone(&rig.ledger);
        tasks.spawn(async move { ledger.open_run(&incremental("e")).await });
    }
    let (mut won, mut refused) = (0, 0);
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap() {
            Ok(_) => won += 1,
            Err(LedgerError::Open { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((won, refused), (1, OPENERS - 1));
}

pub async fn opening_repeats(rig: &Rig) {
    let orders = rig.commits(1).await;
    let new = incremental("e");
    let first = rig.open(&new).await;
    rig.commit(&append(&orders, 1)).await;
    let second = rig.open(&new).await;
    assert_eq!((second.run, &second.lease), (first.run, &first.lease));
    assert_eq!(rig.ledger.runs(&workspace(), None, 10).await.unwrap().len(), 1);
    let other = NewRun { to: Some(CommitNumber(2)), ..new.clone() };
    refused!(rig.ledger.open_run(&other).await, LedgerError::Differs { .. });
    rig.ledger.take_over(&workspace(), &new.id, "other", Some(1)).await.unwrap();
    refused!(rig.ledger.open_run(&new).await, LedgerError::Fenced { .. });
}

pub async fn a_refused_opening_saves_nothing(rig: &Rig) {
    rig.commits(1).await;
    refused!(rig.ledger.open_run(&ranged("e", Some(1), None)).await, LedgerError::Gap { .. });
    refused!(rig.ledger.export(&workspace(), "e").await, LedgerError::NotFound { .. });
    let nowhere = model::WorkspaceId::new("other");
    refused!(
        rig.ledger.open_run(&NewRun { workspace: nowhere, ..incremental("e") }).await,
        LedgerError::NotFound { what: "workspace", .. }
    );
}
