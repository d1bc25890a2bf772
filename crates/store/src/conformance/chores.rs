//! Cases of the jobs of upkeep.

use chrono::TimeDelta;
use model::job::{Chore, Job, Shift, Task};
use model::limits::{CLEAN_DAYS, INTENT_DAYS, OVERDUE_SECONDS};
use model::part::PartId;
use model::ports::Lease;
use model::run::{Intent, RunState};
use model::{ObjectKey, WorkspaceId};

use super::catalog::small;
use super::{Rig, at, workspace};

fn chores(jobs: &[Job]) -> Vec<Task> {
    jobs.iter().map(|job| job.task.clone()).collect()
}

pub async fn chores_come_of_what_is_there(rig: &Rig) {
    let orders = rig.orders().await;
    let waiting = async |now| rig.jobs.waiting(Shift::Upkeep, 9, now).await.unwrap();
    rig.jobs.arm(at(100)).await.unwrap();
    assert!(waiting(at(100)).await.is_empty());
    // A small commit, until it is old.
    rig.commit(&small(&orders, 1)).await;
    rig.jobs.arm(at(30)).await.unwrap();
    assert!(waiting(at(30)).await.is_empty());
    for _ in 0..2 {
        rig.jobs.arm(at(200)).await.unwrap();
    }
    let found = waiting(at(200)).await;
    assert_eq!(chores(&found), [Task::Chore(Chore::Seal("orders".into()))]);
    assert!(rig.jobs.waiting(Shift::Exports, 9, at(200)).await.unwrap().is_empty());
    // What others wait for comes first.
    let late = at(100 + 3600);
    let found = waiting(late).await;
    let orders = || "orders".to_owned();
    let all = [Chore::Seal(orders()), Chore::Care(orders()), Chore::Sweep, Chore::Forget];
    let of = |chore: &Chore| {
        let is_it = |job: &&Job| job.task == Task::Chore(chore.clone());
        found.iter().find(is_it).unwrap_or_else(|| panic!("{chore:?}: {found:?}"))
    };
    let [seal, care, _, _] = all.each_ref().map(of);
    assert_eq!((found.len(), &found[0].id), (4, &seal.id));
    // One process has it, until its lease lapses or it is known to be dead.
    let claim = async |job: &Job, dead| rig.jobs.claim(&job.id, job.epoch, dead).await.unwrap();
    let lease = claim(care, false).await.unwrap();
    assert_eq!(claim(care, false).await, None);
    let held = waiting(late).await.into_iter().find(|job| job.id == care.id).unwrap();
    assert!(held.leased);
    let taken = claim(&held, true).await.unwrap();
    rig.jobs.done(&lease, None).await.unwrap();
    rig.jobs.later(&taken, at(9000), "no").await.unwrap();
    assert!(waiting(late).await.iter().all(|job| job.id != care.id));
    let again = waiting(at(9000)).await.into_iter().find(|job| job.id == care.id).unwrap();
    assert_eq!((again.attempts, again.leased), (1, false));
    let lease = claim(&again, false).await.unwrap();
    rig.jobs.renew_job(&lease).await.unwrap();
    rig.jobs.done(&lease, Some(at(20_000))).await.unwrap();
    let again = waiting(at(20_000)).await.into_iter().find(|job| job.id == care.id).unwrap();
    assert_eq!((again.attempts, again.leased), (0, false));
    // What is done once is gone, until there is something to do again.
    let lease = claim(seal, false).await.unwrap();
    rig.jobs.done(&lease, None).await.unwrap();
    assert!(waiting(late).await.iter().all(|job| job.id != seal.id));
    rig.jobs.arm(late).await.unwrap();
    assert!(waiting(late).await.iter().any(|job| job.task == seal.task));
    // Nobody looks after what was dropped.
    rig.catalog.drop_dataset(&workspace(), "orders", at(300)).await.unwrap();
    rig.jobs.arm(late).await.unwrap();
    let left = chores(&waiting(at(90_000)).await);
    assert!(
        left.len() == 2
            && left
                .iter()
                .all(|task| { matches!(task, Task::Chore(Chore::Sweep | Chore::Forget)) })
    );
}

pub async fn what_nobody_asks_for_is_forgotten(rig: &Rig) {
    let mut leases = Vec::new();
    for name in ["sealed", "failed", "open"] {
        let lease = rig.run_in(name, RunState::Running).await;
        let intent = Intent { epoch: 1, key: ObjectKey::new(name), token: "t".into() };
        rig.ledger.intend(&lease, PartId::planned(0), &intent).await.unwrap();
        leases.push(lease);
    }
    rig.bring_on(&leases[0], RunState::Sealing).await;
    rig.bring_on(&leases[0], RunState::Sealed).await;
    rig.bring_on(&leases[1], RunState::Failed).await;
    let later = at(10) + TimeDelta::days(INTENT_DAYS);
    assert_eq!(rig.jobs.forget(at(20), 100).await.unwrap(), 0);
    assert_eq!(rig.jobs.forget(later, 100).await.unwrap(), 1);
    let mut left = Vec::new();
    for lease in &leases {
        left.push(rig.ledger.intents(&workspace(), &lease.run).await.unwrap().len());
    }
    // What failed may have to be cleaned up once more.
    assert_eq!(left, [0, 1, 1]);
}

pub async fn what_failed_is_cleaned_up_and_once_more(rig: &Rig) {
    let mut leases = Vec::new();
    for (name, state) in [
        ("a", RunState::Failed),
        ("b", RunState::Cancelled),
        ("c", RunState::Sealed),
        ("d", RunState::Running),
    ] {
        leases.push(rig.run_in(name, state).await);
    }
    let hours = |hours: i64| at(9) + TimeDelta::hours(hours);
    let uncleaned = async |now| rig.ledger.uncleaned(&workspace(), now, 9).await.unwrap();
    let of = |lease: &Lease| lease.run.clone();
    let mut both = [of(&leases[0]), of(&leases[1])];
    both.sort();
    let mut found = uncleaned(at(9)).await;
    found.sort();
    assert_eq!(found, both);
    let clean = async |lease: &Lease, now| {
        rig.ledger.cleaned(&workspace(), &lease.run, now).await.unwrap();
    };
    for lease in &leases {
        clean(lease, at(9)).await;
    }
    assert!(uncleaned(at(10)).await.is_empty());
    // Whoever froze may have written something since.
    assert_eq!(uncleaned(hours(1)).await.len(), 2);
    clean(&leases[0], hours(1)).await;
    assert_eq!(uncleaned(hours(2)).await, [of(&leases[1])]);
    assert!(uncleaned(hours(24 * (CLEAN_DAYS + 1))).await.is_empty());
    let elsewhere = WorkspaceId::new("ws_other");
    assert!(rig.ledger.uncleaned(&elsewhere, at(9), 9).await.unwrap().is_empty());
}

pub async fn what_is_overdue_comes_first_and_each_workspace_has_its_turn(rig: &Rig) {
    let orders = rig.orders().await;
    rig.jobs.arm(at(0)).await.unwrap();
    rig.commit(&small(&orders, 1)).await;
    let waiting = async |now| rig.jobs.waiting(Shift::Upkeep, 9, now).await.unwrap();
    let first = async |now| waiting(now).await.remove(0).task;
    let seal = Task::Chore(Chore::Seal("orders".into()));
    rig.jobs.arm(at(3600)).await.unwrap();
    assert_eq!(first(at(3600)).await, seal);
    // The others wait for ten minutes now, the seal has just come again.
    let job = waiting(at(3600)).await.remove(0);
    let lease = rig.jobs.claim(&job.id, job.epoch, false).await.unwrap().unwrap();
    rig.jobs.done(&lease, Some(at(3600 + OVERDUE_SECONDS))).await.unwrap();
    assert_ne!(first(at(3600 + OVERDUE_SECONDS)).await, seal);
}
