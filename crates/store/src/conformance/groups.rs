//! Cases of groups: all of their exports or none, datasets that come and go.

use model::document::Basis;
use model::export::{ExportState, NewRun, SaveExport};
use model::group::{GroupExports, GroupTerms, SaveGroup, member};
use model::ports::LedgerError;
use model::relation::Source;
use model::run::RunState;
use model::schedule::{Schedule, Trigger};
use model::{CommitNumber, WorkspaceId};

use super::{Rig, append, at, definition, incremental, refused, workspace};

fn every(minutes: u32) -> Schedule {
    Schedule { trigger: Trigger::Every { minutes }, ..Schedule::default() }
}

fn save(datasets: &[&str], schedule: &Schedule, second: i64) -> SaveGroup {
    let member = |dataset: &&str| {
        let mut definition = definition();
        definition.relation.source = Source::Dataset((*dataset).into());
        SaveExport {
            workspace: workspace(),
            name: member("g", dataset),
            definition,
            schedule: schedule.clone(),
            watches: None,
            restart: false,
            begin: <_>::default(),
            bound: None,
            author: "somebody".into(),
            now: at(second),
        }
    };
    SaveGroup {
        workspace: workspace(),
        name: "g".into(),
        terms: GroupTerms {
            datasets: datasets.iter().map(|&dataset| dataset.into()).collect(),
            selection: <_>::default(),
            format: definition().format,
            destination: definition().destination,
            schedule: schedule.clone(),
        },
        members: datasets.iter().map(member).collect(),
        author: "somebody".into(),
        now: at(second),
    }
}

/// The exports of a group: name, state and version.
fn of(group: &GroupExports) -> Vec<(&str, ExportState, u64)> {
    let exports = group.exports.iter();
    exports.map(|one| (one.name.as_str(), one.state, one.version)).collect()
}

pub async fn each_dataset_has_an_export_of_its_own(rig: &Rig) {
    let new = save(&["b", "a"], &every(5), 1);
    let made = rig.groups.save_group(&new, &Basis::Nothing).await.unwrap();
    assert_eq!(of(&made), [("g.b", ExportState::Active, 1), ("g.a", ExportState::Active, 1)]);
    assert!(
        made.exports.iter().all(|one| one.next_at.is_some() && one.group.as_deref() == Some("g"))
    );
    assert_eq!(rig.groups.group(&workspace(), "g").await.unwrap(), made);
    assert_eq!(rig.groups.groups(&workspace()).await.unwrap(), std::slice::from_ref(&made.group));
    let taken = rig.groups.save_group(&new, &Basis::Nothing).await;
    refused!(taken, LedgerError::Exists { .. });
    // Its exports are the group's to edit.
    let alone = rig.exports.save_export(&new.members[0], &Basis::Anything).await;
    refused!(alone, LedgerError::InGroup { .. });
    let elsewhere = WorkspaceId::new("elsewhere");
    refused!(rig.groups.group(&elsewhere, "g").await, LedgerError::NotFound { .. });
    let state = ExportState::Paused;
    let theirs = rig.groups.set_group_state(&elsewhere, "g", state, at(2)).await;
    refused!(theirs, LedgerError::NotFound { .. });
    let paused = rig.groups.set_group_state(&workspace(), "g", state, at(2)).await.unwrap();
    assert!(paused.exports.iter().all(|one| one.state == state));
    let state = ExportState::Active;
    let active = rig.groups.set_group_state(&workspace(), "g", state, at(3)).await.unwrap();
    assert!(active.exports.iter().all(|one| one.state == state));
}

pub async fn a_group_is_saved_whole_or_not_at_all(rig: &Rig) {
    let mine = SaveExport { name: "g.b".into(), ..save(&["b"], &every(5), 1).members.remove(0) };
    rig.exports.save_export(&mine, &Basis::Nothing).await.unwrap();
    let both = save(&["a", "b"], &every(5), 2);
    let refused = rig.groups.save_group(&both, &Basis::Nothing).await;
    refused!(refused, LedgerError::Exists { .. });
    assert_eq!(rig.groups.groups(&workspace()).await.unwrap(), []);
    let names = rig.runs.exports(&workspace()).await.unwrap();
    assert_eq!(names.len(), 1, "no export was made: {names:?}");
    let first = rig.groups.save_group(&save(&["a"], &every(5), 3), &Basis::Nothing).await.unwrap();
    let seen = Basis::Etag(first.group.tag());
    let next = save(&["a", "c"], &every(5), 4);
    rig.groups.save_group(&next, &seen).await.unwrap();
    refused!(rig.groups.save_group(&next, &seen).await, LedgerError::Changed { .. });
    let absent = SaveGroup { name: "h".into(), ..next };
    refused!(rig.groups.save_group(&absent, &seen).await, LedgerError::NotFound { .. });
}

pub async fn datasets_come_and_go(rig: &Rig) {
    rig.commits(2).await;
    let first = save(&["orders"], &every(5), 1);
    rig.groups.save_group(&first, &Basis::Nothing).await.unwrap();
    let lease = rig.run_in("g.orders", RunState::Sealed).await;
    assert_eq!(rig.state(&lease).await, RunState::Sealed);
    // A dataset that comes begins at the beginning; what has not changed is not edited.
    let more = save(&["orders", "late"], &every(5), 2);
    let more = rig.groups.save_group(&more, &Basis::Anything).await.unwrap();
    assert_eq!(
        of(&more),
        [("g.orders", ExportState::Active, 1), ("g.late", ExportState::Active, 1)]
    );
    assert_eq!(more.exports[1].cursor, CommitNumber(0));
    // One that goes stays where it was, but for the run that is open.
    let orders = rig.catalog.dataset(&workspace(), "orders").await.unwrap().id;
    rig.commit(&append(&orders, 10)).await;
    let open = rig.open(&incremental("g.orders")).await.lease;
    let less = save(&["late"], &every(7), 3);
    let less = rig.groups.save_group(&less, &Basis::Anything).await.unwrap();
    assert_eq!(of(&less), [("g.late", ExportState::Active, 2)]);
    let gone = rig.ledger.export(&workspace(), "g.orders").await.unwrap();
    assert_eq!((gone.state, gone.cursor), (ExportState::Paused, CommitNumber(2)));
    assert!(gone.reason.unwrap().contains("left the group"));
    rig.bring(&open, RunState::Sealed).await;
    // Again changes nothing of what has left.
    rig.groups.save_group(&save(&["late"], &every(7), 3), &Basis::Anything).await.unwrap();
    assert_eq!(rig.cursor("g.orders").await, 3);
    // And goes on from there when it comes back.
    let back = save(&["late", "orders"], &every(7), 4);
    let back = rig.groups.save_group(&back, &Basis::Anything).await.unwrap();
    assert_eq!(
        of(&back),
        [("g.late", ExportState::Active, 2), ("g.orders", ExportState::Active, 2)]
    );
    assert_eq!(back.exports[1].cursor, CommitNumber(3));
    // Whoever was stopped before is so afterwards; who comes into a group that is stopped waits.
    let paused = ExportState::Paused;
    rig.groups.set_group_state(&workspace(), "g", paused, at(5)).await.unwrap();
    for datasets in [&["late"][..], &["late", "orders", "more"]] {
        let edit = save(datasets, &every(7), 6);
        let group = rig.groups.save_group(&edit, &Basis::Anything).await.unwrap();
        assert!(of(&group).iter().all(|(_, state, _)| *state == paused), "{group:?}");
    }
    // So does one that ran when it left.
    rig.groups.set_group_state(&workspace(), "g", ExportState::Active, at(7)).await.unwrap();
    let edit = |datasets: &[&str]| save(datasets, &every(7), 8);
    rig.groups.save_group(&edit(&["late", "more"]), &Basis::Anything).await.unwrap();
    rig.groups.set_group_state(&workspace(), "g", paused, at(9)).await.unwrap();
    let back = edit(&["late", "orders", "more"]);
    let back = rig.groups.save_group(&back, &Basis::Anything).await.unwrap();
    assert!(of(&back).iter().all(|(_, state, _)| *state == paused), "{back:?}");
    // Nothing but what had left makes no group that is stopped.
    rig.groups.set_group_state(&workspace(), "g", ExportState::Active, at(10)).await.unwrap();
    for datasets in [&["late"][..], &["orders", "new"]] {
        let group = rig.groups.save_group(&edit(datasets), &Basis::Anything).await.unwrap();
        assert!(of(&group).iter().all(|(_, state, _)| *state == ExportState::Active), "{group:?}");
    }
}

pub async fn a_group_goes_with_its_exports(rig: &Rig) {
    let both = save(&["a", "b"], &every(5), 1);
    let made = rig.groups.save_group(&both, &Basis::Nothing).await.unwrap();
    let delete = async |name| rig.exports.delete_export(&workspace(), name).await;
    refused!(delete("g.a").await, LedgerError::InGroup { .. });
    let without = save(&["a"], &every(5), 2);
    rig.groups.save_group(&without, &Basis::Etag(made.group.tag())).await.unwrap();
    let group = async || rig.groups.delete_group(&workspace(), "g").await;
    let held = rig.ledger.export(&workspace(), "g.a").await.unwrap();
    let new =
        NewRun { version: Some(held.version), definition: held.definition, ..incremental("g.a") };
    let open = rig.open(&new).await.lease;
    rig.bring(&open, RunState::Running).await;
    refused!(group().await, LedgerError::Open { .. });
    rig.bring_on(&open, RunState::Failed).await;
    group().await.unwrap();
    refused!(group().await, LedgerError::NotFound { .. });
    refused!(rig.ledger.export(&workspace(), "g.a").await, LedgerError::NotFound { .. });
    // What had left stays, and goes by itself.
    let left = rig.ledger.export(&workspace(), "g.b").await.unwrap();
    assert_eq!(left.group, None);
    delete("g.b").await.unwrap();
    let again = rig.groups.save_group(&both, &Basis::Nothing).await.unwrap();
    assert_eq!(of(&again), of(&made));
}
