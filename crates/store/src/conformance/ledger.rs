//! Cases of the ledger: leases, parts, sums, sealing, paging.

use std::sync::Arc;

use model::dataset::{CommitKind, NewCommit, Removal};
use model::export::{Advance, NewRun};
use model::job::Shift;
use model::part::{Part, PartId, Receipt};
use model::ports::{CatalogError, Lease, LedgerError, PinOwner};
use model::run::{FrozenManifest, Intent, RunState, Sidecar};
use model::{CommitNumber, DatasetId, ObjectKey, RunId};
use tokio::task::JoinSet;

use super::{
    Rig, again, append, at, incremental, manifest, part, plan, ranged, receipt, refused, remainder,
    step, workspace,
};

const FIRST: PartId = PartId { sequence: 0, split: 0 };

fn intent(epoch: u64, key: &str) -> Intent {
    Intent { epoch, key: ObjectKey::new(key), token: format!("token-{key}") }
}

async fn all_parts(rig: &Rig, lease: &Lease) -> Vec<Part> {
    rig.ledger.parts(&workspace(), &lease.run, None, 10_000).await.unwrap()
}

pub async fn parts_read_back_in_order(rig: &Rig) {
    let lease = rig.open(&incremental("e")).await.lease;
    let parts: Vec<_> = (0..1203).map(|n| part(n, u64::from(n) + 1)).collect();
    let backwards: Vec<_> = parts.iter().rev().cloned().collect();
    for some in backwards.chunks(500) {
        rig.ledger.add_parts(&lease, some).await.unwrap();
    }
    assert_eq!(all_parts(rig, &lease).await, parts);
    let after = Some(PartId::planned(1100));
    let page = rig.ledger.parts(&workspace(), &lease.run, after, 2).await.unwrap();
    assert_eq!(page, parts[1101..1103]);
    rig.ledger.clear_parts(&lease).await.unwrap();
    assert!(all_parts(rig, &lease).await.is_empty());
    rig.ledger.add_parts(&lease, &[]).await.unwrap();
}

pub async fn parts_must_stay_equal(rig: &Rig) {
    let lease = rig.open(&incremental("e")).await.lease;
    rig.ledger.add_parts(&lease, &[part(0, 5), part(1, 7)]).await.unwrap();
    rig.ledger.add_parts(&lease, &[part(1, 7), part(2, 1)]).await.unwrap();
    refused!(
        rig.ledger.add_parts(&lease, &[part(3, 1), part(1, 8)]).await,
        LedgerError::Unbalanced { .. }
    );
    let written = Part { receipt: Some(receipt(5)), ..part(4, 5) };
    refused!(rig.ledger.add_parts(&lease, &[written]).await, LedgerError::Unbalanced { .. });
    assert_eq!(all_parts(rig, &lease).await, [part(0, 5), part(1, 7), part(2, 1)]);
}

pub async fn plans_must_balance(rig: &Rig) {
    let lease = rig.open(&incremental("e")).await.lease;
    rig.ledger.add_parts(&lease, &[part(0, 5), part(1, 7)]).await.unwrap();
    for wrong in [plan(3, 12), plan(2, 11), plan(0, 0)] {
        refused!(rig.ledger.planned(&lease, &wrong).await, LedgerError::Unbalanced { .. });
    }
    assert_eq!(rig.state(&lease).await, RunState::Planning);
    rig.ledger.planned(&lease, &plan(2, 12)).await.unwrap();
    let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!((run.state, run.plan), (RunState::Running, Some(plan(2, 12))));
}

pub async fn a_part_is_split_in_the_ledger(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    let whole = part(0, 5);
    let rest = remainder(&whole, 2);
    rig.ledger.finish_part(&lease, FIRST, &receipt(2), Some(&rest)).await.unwrap();
    rig.ledger.finish_part(&lease, FIRST, &receipt(2), Some(&rest)).await.unwrap();
    let last = remainder(&rest, 1);
    rig.ledger.finish_part(&lease, rest.id, &receipt(1), Some(&last)).await.unwrap();
    rig.ledger.finish_part(&lease, FIRST, &receipt(2), Some(&rest)).await.unwrap();
    let parts = all_parts(rig, &lease).await;
    let ids: Vec<_> = parts.iter().map(|part| part.id.to_string()).collect();
    assert_eq!(ids, ["00000", "00000-1", "00000-2", "00001"]);
    let rows: Vec<_> = parts.iter().map(Part::rows_planned).collect();
    assert_eq!(rows, [2, 1, 2, 7]);
    assert_eq!(parts[1].inputs[0].first_row, whole.inputs[0].first_row + 2);
    rig.ledger.finish_part(&lease, last.id, &receipt(2), None).await.unwrap();
    rig.ledger.finish_part(&lease, PartId::planned(1), &receipt(7), None).await.unwrap();
    rig.ledger.freeze(&lease, &manifest(12, 4)).await.unwrap();
}

pub async fn unbalanced_receipts_are_refused(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    let whole = part(0, 5);
    let finish = async |receipt: &Receipt, rest: Option<&Part>| {
        rig.ledger.finish_part(&lease, FIRST, receipt, rest).await
    };
    refused!(finish(&receipt(4), None).await, LedgerError::Unbalanced { .. });
    refused!(finish(&receipt(6), None).await, LedgerError::Unbalanced { .. });
    refused!(
        finish(&receipt(3), Some(&remainder(&whole, 2))).await,
        LedgerError::Unbalanced { .. }
    );
    refused!(
        finish(&receipt(5), Some(&remainder(&whole, 5))).await,
        LedgerError::Unbalanced { .. }
    );
    let elsewhere = Part { id: PartId { sequence: 0, split: 2 }, ..remainder(&whole, 2) };
    refused!(finish(&receipt(2), Some(&elsewhere)).await, LedgerError::Unbalanced { .. });
    let mut other_rows = remainder(&whole, 2);
    other_rows.inputs[0].first_row -= 1;
    refused!(finish(&receipt(2), Some(&other_rows)).await, LedgerError::Unbalanced { .. });
    refused!(
        rig.ledger.finish_part(&lease, PartId::planned(9), &receipt(1), None).await,
        LedgerError::Unbalanced { .. }
    );
    assert_eq!(all_parts(rig, &lease).await, [whole, part(1, 7)]);
    finish(&receipt(5), None).await.unwrap();
    let other = Receipt { bytes: 1, ..receipt(5) };
    refused!(finish(&other, None).await, LedgerError::Unbalanced { .. });
}

pub async fn freezing_checks_the_sums(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    rig.ledger.finish_part(&lease, FIRST, &receipt(5), None).await.unwrap();
    refused!(rig.ledger.freeze(&lease, &manifest(5, 1)).await, LedgerError::Unbalanced { .. });
    let filtered = Receipt { rows: 3, bytes: 30, ..receipt(7) };
    rig.ledger.finish_part(&lease, PartId::planned(1), &filtered, None).await.unwrap();
    let right = manifest(8, 2);
    for wrong in [
        manifest(12, 2),
        FrozenManifest { files: 1, ..right.clone() },
        FrozenManifest { bytes: 81, ..right.clone() },
        FrozenManifest { rows: 7, ..right.clone() },
    ] {
        refused!(rig.ledger.freeze(&lease, &wrong).await, LedgerError::Unbalanced { .. });
    }
    assert_eq!(rig.state(&lease).await, RunState::Running);
    let sidecar = Some(Sidecar { name: "files.jsonl".into(), text: "{}\n".into() });
    let right = FrozenManifest { sidecar, ..right };
    rig.ledger.freeze(&lease, &right).await.unwrap();
    let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!((run.state, run.manifest), (RunState::Sealing, Some(right)));
}

pub async fn a_part_of_which_no_row_came_out_is_no_file(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    let nothing = |rows_read| Receipt { rows: 0, bytes: 0, ..receipt(rows_read) };
    rig.ledger.finish_part(&lease, FIRST, &nothing(5), None).await.unwrap();
    let few = Receipt { rows: 3, bytes: 30, ..receipt(7) };
    rig.ledger.finish_part(&lease, PartId::planned(1), &few, None).await.unwrap();
    refused!(rig.ledger.freeze(&lease, &manifest(3, 2)).await, LedgerError::Unbalanced { .. });
    rig.ledger.freeze(&lease, &manifest(3, 1)).await.unwrap();
    assert_eq!(rig.state(&lease).await, RunState::Sealing);
}

pub async fn sealing_moves_the_cursor(rig: &Rig) {
    rig.commits(3).await;
    let lease = rig.run_in("e", RunState::Sealing).await;
    assert_eq!(rig.cursor("e").await, 0);
    rig.ledger.sealed(&lease, at(9)).await.unwrap();
    let export = rig.ledger.export(&workspace(), "e").await.unwrap();
    assert_eq!((export.cursor.0, export.last_run.as_ref()), (3, Some(&lease.run)));
    let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!((run.state, run.ended_at, run.leased), (RunState::Sealed, Some(at(9)), false));
}

pub async fn again_leaves_the_cursor(rig: &Rig) {
    rig.commits(3).await;
    let first = rig.run_in("e", RunState::Sealed).await;
    let second = rig.open(&again("e", Some(1), Some(2))).await.lease;
    rig.bring(&second, RunState::Sealed).await;
    let export = rig.ledger.export(&workspace(), "e").await.unwrap();
    assert_eq!((export.cursor.0, export.last_run), (3, Some(first.run)));
    assert!(rig.ledger.sealed_at(&workspace(), "e", CommitNumber(2)).await.unwrap().is_none());
}

pub async fn calls_repeat(rig: &Rig) {
    rig.commits(1).await;
    let ledger = &rig.ledger;
    let lease = rig.open(&incremental("e")).await.lease;
    for _ in 0..2 {
        ledger.add_parts(&lease, &[part(0, 5)]).await.unwrap();
    }
    for _ in 0..2 {
        ledger.planned(&lease, &plan(1, 5)).await.unwrap();
    }
    for _ in 0..2 {
        ledger.intend(&lease, FIRST, &intent(1, "k")).await.unwrap();
        ledger.finish_part(&lease, FIRST, &receipt(5), None).await.unwrap();
    }
    for _ in 0..2 {
        assert!(!ledger.renew(&lease).await.unwrap());
        ledger.freeze(&lease, &manifest(5, 1)).await.unwrap();
    }
    let other = FrozenManifest { text: "{}".into(), ..manifest(5, 1) };
    refused!(ledger.freeze(&lease, &other).await, LedgerError::State { .. });
    for later in [9, 10] {
        ledger.sealed(&lease, at(later)).await.unwrap();
    }
    let run = ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!(run.ended_at, Some(at(9)), "the repeat changed nothing");
    assert_eq!(ledger.intents(&workspace(), &lease.run).await.unwrap().len(), 1);
    let lease = rig.open(&incremental("e")).await.lease;
    for later in [9, 10] {
        ledger.end(&lease, RunState::Failed, "disk", at(later)).await.unwrap();
        ledger.release(&lease).await.unwrap();
    }
    let run = ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!((run.error.as_deref(), run.ended_at), (Some("disk"), Some(at(9))));
    refused!(ledger.end(&lease, RunState::Failed, "x", at(9)).await, LedgerError::State { .. });
}

pub async fn intents_are_kept(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    let second =
        rig.ledger.take_over(&workspace(), &lease.run, "two", Some(1)).await.unwrap().lease;
    rig.ledger.intend(&second, PartId::planned(1), &intent(2, "b")).await.unwrap();
    rig.ledger.intend(&second, FIRST, &intent(2, "a2")).await.unwrap();
    refused!(
        rig.ledger.intend(&second, PartId::planned(7), &intent(2, "c")).await,
        LedgerError::Unbalanced { .. }
    );
    rig.ledger.end(&second, RunState::Failed, "reason", at(9)).await.unwrap();
    let intents = rig.ledger.intents(&workspace(), &lease.run).await.unwrap();
    assert_eq!(intents, [intent(2, "a2"), intent(2, "b")], "kept after the end, for clean-up");
}

pub async fn a_lease_in_force_is_respected(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    let take = async |dead| rig.ledger.take_over(&workspace(), &lease.run, "two", dead).await;
    refused!(take(None).await, LedgerError::Leased { owner, .. } if owner == "tests");
    // That another holder is dead says nothing of this one.
    refused!(take(Some(0)).await, LedgerError::Leased { .. });
    assert!(rig.ledger.run(&workspace(), &lease.run).await.unwrap().leased);
    let opened = take(Some(1)).await.unwrap();
    assert_eq!((opened.lease.epoch, opened.run.owner.as_str()), (2, "two"));
    assert_eq!(rig.ledger.run(&workspace(), &lease.run).await.unwrap(), opened.run);
    rig.ledger.release(&lease).await.unwrap();
    refused!(take(None).await, LedgerError::Leased { .. });
    rig.ledger.release(&opened.lease).await.unwrap();
    assert!(!rig.ledger.run(&workspace(), &lease.run).await.unwrap().leased);
    assert_eq!(take(None).await.unwrap().lease.epoch, 3);
    let gone = Lease { run: RunId::new("gone"), ..lease.clone() };
    rig.ledger.release(&gone).await.unwrap();
}

pub async fn an_older_lease_changes_nothing(rig: &Rig) {
    for state in [RunState::Planning, RunState::Running, RunState::Sealing, RunState::Sealed] {
        let name = format!("in_{}", state.as_str());
        let old = rig.open(&incremental(&name)).await.lease;
        let new = rig.ledger.take_over(&workspace(), &old.run, "two", Some(1)).await.unwrap().lease;
        rig.bring(&new, state).await;
        let before = rig.ledger.run(&workspace(), &old.run).await.unwrap();
        let parts = all_parts(rig, &new).await;
        assert_all_fenced(rig, &old).await;
        assert_eq!(rig.ledger.run(&workspace(), &old.run).await.unwrap(), before);
        assert_eq!(all_parts(rig, &new).await, parts);
    }
}

async fn assert_all_fenced(rig: &Rig, old: &Lease) {
    let ledger = &rig.ledger;
    refused!(ledger.renew(old).await, LedgerError::Fenced { .. });
    refused!(ledger.add_parts(old, &[part(9, 1)]).await, LedgerError::Fenced { .. });
    refused!(ledger.clear_parts(old).await, LedgerError::Fenced { .. });
    refused!(ledger.planned(old, &plan(2, 12)).await, LedgerError::Fenced { .. });
    refused!(ledger.intend(old, FIRST, &intent(1, "k")).await, LedgerError::Fenced { .. });
    refused!(ledger.finish_part(old, FIRST, &receipt(5), None).await, LedgerError::Fenced { .. });
    refused!(ledger.freeze(old, &manifest(12, 2)).await, LedgerError::Fenced { .. });
    refused!(ledger.sealed(old, at(9)).await, LedgerError::Fenced { .. });
    refused!(ledger.end(old, RunState::Failed, "r", at(9)).await, LedgerError::Fenced { .. });
}

pub async fn cancelling_is_asked_once(rig: &Rig) {
    let lease = rig.run_in("e", RunState::Running).await;
    assert!(!rig.ledger.renew(&lease).await.unwrap());
    for _ in 0..2 {
        assert!(rig.ledger.ask_cancel(&workspace(), &lease.run).await.unwrap().cancel_asked);
    }
    assert!(rig.ledger.renew(&lease).await.unwrap());
    // What was written may still be noted, but nothing more is begun or sealed.
    let asked = rig.ledger.intend(&lease, FIRST, &intent(1, "k")).await;
    refused!(asked, LedgerError::Cancelling { .. });
    rig.ledger.finish_part(&lease, FIRST, &receipt(5), None).await.unwrap();
    rig.ledger.finish_part(&lease, PartId::planned(1), &receipt(7), None).await.unwrap();
    let asked = rig.ledger.freeze(&lease, &manifest(12, 2)).await;
    refused!(asked, LedgerError::Cancelling { .. });
    rig.ledger.end(&lease, RunState::Cancelled, "asked", at(9)).await.unwrap();
    for state in [RunState::Sealing, RunState::Sealed, RunState::Failed] {
        let lease = rig.run_in(&format!("in_{}", state.as_str()), state).await;
        refused!(
            rig.ledger.ask_cancel(&workspace(), &lease.run).await,
            LedgerError::State { state: s, .. } if *s == state
        );
    }
}

pub async fn runs_are_paged(rig: &Rig) {
    let mut opened = Vec::new();
    for clock in [9, 3, 5, 1] {
        let new =
            NewRun { export: None, advance: Advance::None, now: at(clock), ..incremental("") };
        opened.insert(0, rig.open(&new).await.run);
    }
    let page = async |before, limit| rig.ledger.runs(&workspace(), before, limit).await.unwrap();
    assert_eq!(page(None, 10).await, opened, "newest first, by opening, not by clock");
    assert_eq!(page(Some(&opened[1].id), 1).await, opened[2..3]);
    assert!(page(Some(&opened[3].id), 10).await.is_empty());
    refused!(
        rig.ledger.runs(&workspace(), Some(&RunId::new("gone")), 1).await,
        LedgerError::NotFound { what: "run", .. }
    );
}

pub async fn a_predecessor_is_found(rig: &Rig) {
    let orders = rig.commits(2).await;
    let first = rig.run_in("e", RunState::Sealed).await;
    let found = async |to| {
        let run = rig.ledger.sealed_at(&workspace(), "e", CommitNumber(to)).await.unwrap();
        run.map(|run| run.id)
    };
    assert_eq!((found(2).await, found(1).await), (Some(first.run.clone()), None));
    let empty = rig.run_in("e", RunState::Sealed).await;
    assert_eq!(found(2).await, Some(empty.run), "the chain goes on from the empty run");
    rig.commit(&append(&orders, 1)).await;
    rig.run_in("e", RunState::Sealing).await;
    assert_eq!(found(3).await, None);
    assert!(rig.ledger.sealed_at(&workspace(), "f", CommitNumber(2)).await.unwrap().is_none());
}

pub async fn unknown_runs_are_not_found(rig: &Rig) {
    let lease = rig.open(&incremental("e")).await.lease;
    let id = format!("{}x", lease.run);
    let gone = RunId::new(id);
    let near = |result: Result<(), LedgerError>| {
        refused!(
            result,
            LedgerError::NotFound { what: "run", nearest: Some(n), .. } if n == lease.run.as_str()
        );
    };
    let ledger = &rig.ledger;
    near(ledger.run(&workspace(), &gone).await.map(drop));
    near(ledger.parts(&workspace(), &gone, None, 1).await.map(drop));
    near(ledger.intents(&workspace(), &gone).await.map(drop));
    near(ledger.ask_cancel(&workspace(), &gone).await.map(drop));
    near(ledger.take_over(&workspace(), &gone, "two", Some(1)).await.map(drop));
    near(ledger.renew(&Lease { run: gone.clone(), ..lease.clone() }).await.map(drop));
}

pub async fn an_empty_run_seals(rig: &Rig) {
    let lease = rig.open(&incremental("e")).await.lease;
    rig.ledger.planned(&lease, &plan(0, 0)).await.unwrap();
    rig.ledger.freeze(&lease, &manifest(0, 0)).await.unwrap();
    rig.ledger.sealed(&lease, at(9)).await.unwrap();
    assert_eq!((rig.state(&lease).await, rig.cursor("e").await), (RunState::Sealed, 0));
}

pub async fn ending_frees_the_export(rig: &Rig) {
    rig.commits(1).await;
    for state in [RunState::Failed, RunState::Cancelled] {
        let lease = rig.run_in("e", state).await;
        let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
        assert_eq!((run.state, run.error.as_deref()), (state, Some("reason")));
        refused!(
            rig.ledger.take_over(&workspace(), &lease.run, "two", Some(1)).await,
            LedgerError::State { .. }
        );
    }
    assert_eq!(rig.cursor("e").await, 0);
    rig.open(&ranged("e", Some(0), Some(1))).await;
}

pub async fn finishing_in_parallel(rig: &Rig) {
    const PARTS: u32 = 24;
    let lease = rig.open(&incremental("e")).await.lease;
    let parts: Vec<_> = (0..PARTS).map(|n| part(n, 2)).collect();
    rig.ledger.add_parts(&lease, &parts).await.unwrap();
    rig.ledger.planned(&lease, &plan(PARTS.into(), 48)).await.unwrap();
    let mut tasks = JoinSet::new();
    for part in parts {
        let (ledger, lease) = (Arc::clone(&rig.ledger), lease.clone());
        tasks.spawn(async move {
            ledger
                .finish_part(&lease, part.id, &receipt(1), Some(&remainder(&part, 1)))
                .await
                .unwrap();
            ledger.finish_part(&lease, part.id.remainder(), &receipt(1), None).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    rig.ledger.freeze(&lease, &manifest(48, 48)).await.unwrap();
}

/// Opens a run whose parts are written, and returns the commit that its rows would be.
async fn written(rig: &Rig, name: &str, dataset: &DatasetId) -> (Lease, NewCommit) {
    let lease = rig.run_in(name, RunState::Running).await;
    for (id, rows) in [(FIRST, 5), (PartId::planned(1), 7)] {
        rig.ledger.finish_part(&lease, id, &receipt(rows), None).await.unwrap();
    }
    (lease, append(dataset, 12))
}

pub async fn a_run_into_a_dataset_is_sealed_by_its_commit(rig: &Rig) {
    let orders = rig.orders().await;
    rig.commit(&append(&orders, 1)).await;
    let (lease, first) = written(rig, "e", &orders).await;
    // Several batches are seen together.
    let same = Some(step(&["a"], &["a"]));
    let commits = [first, NewCommit { schema: same, ..append(&orders, 3) }];
    let frozen = manifest(12, 2);
    let seal = async |lease: &Lease, commits: &[NewCommit]| {
        rig.ledger.seal_into(lease, &frozen, commits, at(9)).await
    };
    let head = async || rig.catalog.head(&workspace()).await.unwrap().map(|(head, _)| head);
    let before = head().await;
    let stale = Lease { epoch: lease.epoch + 1, ..lease.clone() };
    refused!(seal(&stale, &commits).await, LedgerError::Fenced { .. });
    // The second is refused after the first was made.
    let one_of_two = |second: NewCommit| [commits[0].clone(), second];
    let unknown = NewCommit { dataset: DatasetId::new("ds_none"), ..commits[1].clone() };
    refused!(seal(&lease, &one_of_two(unknown)).await, LedgerError::Catalog(_));
    let moved = NewCommit { schema: Some(step(&["b"], &["b"])), ..commits[1].clone() };
    match seal(&lease, &one_of_two(moved)).await {
        Err(LedgerError::Catalog(error)) => assert!(matches!(*error, CatalogError::Moved)),
        other => panic!("{other:?}"),
    }
    let wrong = rig.ledger.seal_into(&lease, &manifest(11, 2), &commits, at(9)).await;
    refused!(wrong, LedgerError::Unbalanced { .. });
    // What was refused has left nothing.
    assert_eq!((head().await, rig.state(&lease).await), (before, RunState::Running));
    assert_eq!(rig.cursor("e").await, 0);
    seal(&lease, &commits).await.unwrap();
    let run = rig.ledger.run(&workspace(), &lease.run).await.unwrap();
    assert_eq!((run.state, run.manifest.as_ref()), (RunState::Sealed, Some(&frozen)));
    assert_eq!(rig.cursor("e").await, run.to.0);
    let made = head().await.unwrap();
    assert_eq!(Some(made.0), before.map(|before| before.0 + 2));
    for (number, commit) in (made.0 - 1..).zip(&commits) {
        let batch = commit.batch.as_ref().unwrap();
        let known = rig.catalog.batch(&workspace(), batch).await.unwrap();
        let expected = (Some(CommitNumber(number)), Some(&orders));
        assert_eq!((known.commit, known.dataset.as_ref()), expected);
    }
    // Its answer was lost; and nobody else can seal or end it.
    seal(&lease, &commits).await.unwrap();
    assert_eq!(head().await, Some(made));
    refused!(
        rig.ledger.end(&lease, RunState::Failed, "late", at(10)).await,
        LedgerError::State { .. }
    );
    assert!(rig.jobs.waiting(Shift::Exports, 9, at(30)).await.unwrap().is_empty());
    // A range without rows is sealed without a commit.
    let lease = rig.open(&incremental("e")).await.lease;
    rig.ledger.planned(&lease, &plan(0, 0)).await.unwrap();
    rig.ledger.seal_into(&lease, &manifest(0, 0), &[], at(11)).await.unwrap();
    assert_eq!((rig.state(&lease).await, head().await), (RunState::Sealed, Some(made)));
    // What was asked to stop is not sealed.
    let (lease, commit) = written(rig, "f", &orders).await;
    rig.ledger.ask_cancel(&workspace(), &lease.run).await.unwrap();
    refused!(seal(&lease, &[commit]).await, LedgerError::Cancelling { .. });
}

pub async fn an_older_snapshot_replaces_no_newer_one(rig: &Rig) {
    let orders = rig.orders().await;
    rig.commit(&append(&orders, 1)).await;
    let (old, rows) = written(rig, "old", &orders).await;
    rig.commit(&append(&orders, 1)).await;
    let (new, newer) = written(rig, "new", &orders).await;
    let over =
        |new: NewCommit| NewCommit { kind: CommitKind::Replace, remove: Removal::All, ..new };
    let frozen = manifest(12, 2);
    rig.ledger.seal_into(&new, &frozen, &[over(newer)], at(9)).await.unwrap();
    let late = rig.ledger.seal_into(&old, &frozen, &[over(rows.clone())], at(9)).await;
    refused!(late, LedgerError::Replaced { .. });
    // What was made since is as new.
    let made = super::new_dataset("made");
    rig.catalog.create_dataset(&workspace(), &made, at(9)).await.unwrap();
    rig.commit(&append(&made.id, 1)).await;
    let into = over(append(&made.id, 12));
    let late = rig.ledger.seal_into(&old, &frozen, &[into], at(9)).await;
    refused!(late, LedgerError::Replaced { .. });
    assert_eq!(rig.state(&old).await, RunState::Running);
    // Beside what is there they are fine.
    rig.ledger.seal_into(&old, &frozen, &[rows], at(9)).await.unwrap();
    let kept = rig.catalog.pins(&workspace(), &orders).await.unwrap();
    assert!(kept.iter().all(|pin| !matches!(pin.owner, PinOwner::Run(_))), "{kept:?}");
}
