//! Cases of running a sealed run again.

use model::dataset::{CommitKind, NewCommit, Removal};
use model::export::{Advance, Rerun, RunKey};
use model::job::Shift;
use model::part::PartId;
use model::ports::{LedgerError, Spare};
use model::run::RunState;
use model::{CommitNumber, RunId};

use super::{
    Rig, append, at, definition, incremental, manifest, part, plan, receipt, refused, remainder,
    workspace,
};

fn rerun(of: &RunId) -> Rerun {
    Rerun {
        id: RunId::mint(at(20)),
        workspace: workspace(),
        of: of.clone(),
        now: at(20),
        owner: "tests".into(),
        key: None,
        kept_since: at(0),
    }
}

pub async fn a_sealed_run_is_run_again_as_it_was(rig: &Rig) {
    rig.commits(1).await;
    let old = rig.open(&incremental("e")).await.lease;
    let ledger = &rig.ledger;
    ledger.add_parts(&old, &[part(0, 12)]).await.unwrap();
    ledger.planned(&old, &plan(1, 12)).await.unwrap();
    let rest = remainder(&part(0, 12), 5);
    ledger.finish_part(&old, PartId::planned(0), &receipt(5), Some(&rest)).await.unwrap();
    ledger.finish_part(&old, rest.id, &receipt(7), None).await.unwrap();
    ledger.freeze(&old, &manifest(12, 2)).await.unwrap();
    ledger.sealed(&old, at(9)).await.unwrap();
    let cursor = rig.cursor("e").await;
    let new = rerun(&old.run);
    let opened = ledger.open_rerun(&new).await.unwrap();
    let run = &opened.run;
    assert_eq!((run.state, run.advance, run.epoch), (RunState::Running, Advance::Again, 1));
    assert_eq!((run.from, run.to), (CommitNumber(0), CommitNumber(1)));
    assert_eq!((&run.definition, run.plan.as_ref().unwrap().parts), (&definition(), 2));
    let of = async |run: &RunId| ledger.parts(&workspace(), run, None, 9).await.unwrap();
    let (was, is) = (of(&old.run).await, of(&run.id).await);
    assert_eq!(is.len(), 2);
    for (was, is) in was.iter().zip(&is) {
        assert_eq!((&was.id, &was.name, &was.inputs), (&is.id, &is.name, &is.inputs));
        assert_eq!(is.receipt, None);
    }
    // Its answer was lost.
    assert_eq!(ledger.open_rerun(&new).await.unwrap().run, *run);
    let jobs = rig.jobs.waiting(Shift::Exports, 9, at(30)).await.unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let lease = &opened.lease;
    for (id, rows) in [(is[0].id, 5), (is[1].id, 7)] {
        ledger.finish_part(lease, id, &receipt(rows), None).await.unwrap();
    }
    ledger.freeze(lease, &manifest(12, 2)).await.unwrap();
    ledger.sealed(lease, at(21)).await.unwrap();
    assert_eq!(rig.cursor("e").await, cursor);
    // And that one again.
    assert_eq!(ledger.open_rerun(&rerun(&run.id)).await.unwrap().run.state, RunState::Running);
}

pub async fn what_is_not_sealed_or_not_kept_is_not_run_again(rig: &Rig) {
    rig.commits(1).await;
    for (name, state) in [("a", RunState::Running), ("b", RunState::Failed)] {
        let lease = rig.run_in(name, state).await;
        refused!(rig.ledger.open_rerun(&rerun(&lease.run)).await, LedgerError::State { .. });
    }
    let none = rerun(&RunId::new("none"));
    refused!(rig.ledger.open_rerun(&none).await, LedgerError::NotFound { .. });
    let lease = rig.run_in("e", RunState::Sealed).await;
    let late = Rerun { kept_since: at(6), ..rerun(&lease.run) };
    refused!(rig.ledger.open_rerun(&late).await, LedgerError::Gone { .. });
    let key = |fingerprint: &str| Some(RunKey { key: "k".into(), fingerprint: fingerprint.into() });
    let keyed = |text: &str| Rerun { key: key(text), ..rerun(&lease.run) };
    let first = rig.ledger.open_rerun(&keyed("f")).await.unwrap().run.id;
    match rig.ledger.open_rerun(&keyed("f")).await {
        Err(LedgerError::Repeated { run }) => assert_eq!(run, first),
        other => panic!("{other:?}"),
    }
    refused!(rig.ledger.open_rerun(&keyed("g")).await, LedgerError::KeyReused { .. });
    // What failed is no reason to keep anything; the sealed one is still there.
    assert_eq!(rig.runs.unfinished_count(&workspace()).await.unwrap(), 2);
}

pub async fn files_are_kept_for_sealed_runs_that_saw_them(rig: &Rig) {
    let orders = rig.orders().await;
    let (one, two) = (append(&orders, 10), append(&orders, 10));
    rig.commit(&one).await;
    let sealed = rig.run_in("e", RunState::Sealed).await;
    rig.commit(&two).await;
    let remove = vec![one.files[0].id.clone(), two.files[0].id.clone()];
    let remove = Removal::Files(remove);
    let expire = NewCommit::new(workspace(), CommitKind::Expire, orders.clone());
    rig.commit(&NewCommit { remove, ..expire }).await;
    let spare = |kept| Spare {
        merged_before: at(99),
        ended_before: at(99),
        pinned_since: at(0),
        kept_since: at(kept),
    };
    let doomed = async |kept| rig.catalog.doom(&workspace(), &spare(kept), 9).await.unwrap().len();
    // The one that came after it was of no run.
    assert_eq!(doomed(0).await, 1);
    // A rerun holds what it reads, whatever becomes of the other's time.
    let again = rig.ledger.open_rerun(&rerun(&sealed.run)).await.unwrap().lease;
    assert_eq!(doomed(99).await, 1);
    rig.ledger.end(&again, RunState::Failed, "reason", at(30)).await.unwrap();
    assert_eq!(doomed(99).await, 2);
    refused!(rig.ledger.open_rerun(&rerun(&sealed.run)).await, LedgerError::Gone { .. });
}
