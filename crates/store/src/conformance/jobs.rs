//! Cases of saved exports and of the jobs that come of them.

use chrono::{DateTime, TimeDelta, Utc};
use model::access::Workspace;
use model::document::Basis;
use model::export::{Advance, Begin, Export, ExportState, NewRun, OpenSlot, SaveExport};
use model::job::{AfterFailure, Job, JobLease, Shift, SlotFailure, Task};
use model::limits::{EXPORT_VERSIONS_MAX, FAILED_AGAIN_SECONDS, FAILURES_MAX};
use model::ports::{Lease, LedgerError};
use model::relation::Source;
use model::run::RunState;
use model::schedule::{Due, Mode, Schedule, Slot, Trigger};
use model::{CommitNumber, JobId, OrganizationId, WorkspaceId};

use super::{Rig, again, append, at, definition, incremental, ranged, refused, workspace};

fn hourly(mode: Mode) -> Schedule {
    Schedule { trigger: Trigger::Every { minutes: 60 }, mode, ..Schedule::default() }
}

fn windows() -> Schedule {
    hourly(Mode::Window { lag_minutes: 0 })
}

fn saving(name: &str, schedule: Schedule) -> SaveExport {
    SaveExport {
        workspace: workspace(),
        name: name.into(),
        definition: definition(),
        schedule,
        watches: None,
        restart: false,
        begin: <_>::default(),
        bound: None,
        author: "pr_1".into(),
        now: at(5),
    }
}

fn hour(n: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(at(0).timestamp() / 3600 + n)
}

impl Rig {
    async fn save(&self, save: &SaveExport) -> Export {
        self.exports.save_export(save, &Basis::Nothing).await.unwrap()
    }

    async fn edit(&self, save: &SaveExport, seen: &Export) -> Result<Export, LedgerError> {
        self.exports.save_export(save, &Basis::Etag(seen.tag())).await
    }

    /// Makes the slots of an export jobs that are due at an instant.
    async fn fire_at(&self, name: &str, now: DateTime<Utc>) -> Due {
        let export = self.ledger.export(&workspace(), name).await.unwrap();
        let due = export.schedule.due(export.next_at.unwrap(), now, export.covered).unwrap();
        assert!(self.exports.fire(&export, &due, now).await.unwrap());
        due
    }

    async fn waiting_at(&self, now: DateTime<Utc>) -> Vec<Job> {
        self.jobs.waiting(Shift::Exports, 100, now).await.unwrap()
    }

    /// Takes the one slot that waits.
    async fn claimed(&self, now: DateTime<Utc>) -> (Job, JobLease) {
        let job = self.waiting_at(now).await.remove(0);
        let lease = self.jobs.claim(&job.id, job.epoch, false).await.unwrap().unwrap();
        (job, lease)
    }

    /// Opens a run of a saved export, and brings it to a state.
    async fn run_in_saved(&self, name: &str, version: u64, state: RunState) -> Lease {
        let new = NewRun { version: Some(version), ..incremental(name) };
        let lease = self.open(&new).await.lease;
        self.bring(&lease, state).await;
        lease
    }

    async fn found(&self, name: &str) -> Export {
        self.ledger.export(&workspace(), name).await.unwrap()
    }
}

fn failure(why: &str, may_help: bool) -> SlotFailure<'_> {
    SlotFailure { why, may_help, version: None }
}

fn for_slot(export: &str, lease: &JobLease) -> NewRun {
    let slot = OpenSlot { lease: lease.clone(), is_window: false };
    NewRun { slot: Some(slot), ..incremental(export) }
}

/// Returns what jobs are, as words: a run by its id, a slot by its hour, a ticket by its relation.
pub(super) fn words(jobs: &[Job]) -> Vec<String> {
    let word = |job: &Job| match &job.task {
        Task::Run { run, .. } => run.to_string(),
        Task::Slot { slot, .. } => ((slot.at - hour(0)).num_minutes() / 60).to_string(),
        Task::Ticket { definition, .. } => definition.relation.source.label().to_owned(),
        Task::Chore(chore) => panic!("{chore:?} is no export"),
    };
    jobs.iter().map(word).collect()
}

pub async fn open_runs_are_jobs_and_ended_ones_are_not(rig: &Rig) {
    rig.commits(1).await;
    let held = rig.run_in("held", RunState::Running).await;
    let left = rig.run_in("left", RunState::Planning).await;
    rig.ledger.release(&left).await.unwrap();
    for (name, state) in [
        ("sealed", RunState::Sealed),
        ("failed", RunState::Failed),
        ("cancelled", RunState::Cancelled),
    ] {
        rig.run_in(name, state).await;
    }
    let found = rig.waiting_at(at(9)).await;
    assert_eq!(words(&found), [left.run.as_str(), held.run.as_str()]);
    assert_eq!(found.iter().map(|job| job.leased).collect::<Vec<_>>(), [false, true]);
    assert!(found.iter().all(|job| job.epoch == 1 && job.attempts == 0));
    assert_eq!(
        words(&rig.jobs.waiting(Shift::Exports, 1, at(9)).await.unwrap()),
        [left.run.as_str()]
    );
    let lease = JobLease { job: found[0].id.clone(), epoch: 0 };
    rig.jobs.later(&lease, at(60), "it was not there").await.unwrap();
    rig.jobs.tidy(&lease.job).await.unwrap();
    assert_eq!(words(&rig.waiting_at(at(59)).await), [held.run.as_str()]);
    let again = rig.waiting_at(at(60)).await;
    assert_eq!((again.len(), again[0].attempts), (2, 1));
    let status = rig.runs.brief(&workspace(), &left.run).await.unwrap();
    assert_eq!(status.delay.as_deref(), Some("it was not there"));
    let none = JobLease { job: JobId::new("none"), epoch: 0 };
    rig.jobs.later(&none, at(60), "gone").await.unwrap();
}

pub async fn no_workspace_hides_another(rig: &Rig) {
    let other = Workspace {
        id: WorkspaceId::mint(),
        name: "other".into(),
        organization: OrganizationId::default_organization(),
        created_at: at(0),
    };
    rig.access.create_workspace(&other).await.unwrap();
    let other = other.id;
    let open = async |space: &WorkspaceId, name: &str, second| {
        let new = NewRun { workspace: space.clone(), now: at(second), ..incremental(name) };
        let lease = rig.open(&new).await.lease;
        rig.ledger.release(&lease).await.unwrap();
        lease
    };
    // However many runs a workspace has had, and whatever waits elsewhere, its own comes when it has waited longest.
    for name in ["x", "y", "z"] {
        let over = open(&other, name, 3).await;
        rig.bring_on(&over, RunState::Cancelled).await;
    }
    let mut runs = Vec::new();
    for (space, name, second) in
        [(&workspace(), "a", 5), (&workspace(), "b", 5), (&workspace(), "c", 5), (&other, "d", 4)]
    {
        runs.push(open(space, name, second).await.run.to_string());
    }
    let two = rig.jobs.waiting(Shift::Exports, 2, at(9)).await.unwrap();
    assert_eq!(words(&two), [&*runs[3], &*runs[0], &*runs[1]]);
}

pub async fn of_two_who_fire_one_does(rig: &Rig) {
    rig.commits(1).await;
    let export = rig.save(&saving("e", hourly(Mode::Incremental))).await;
    assert_eq!(export.next_at, Some(hour(1)));
    assert!(rig.exports.due_exports(hour(1) - TimeDelta::seconds(1), 10).await.unwrap().is_empty());
    let due = rig.exports.due_exports(hour(1), 10).await.unwrap();
    assert_eq!(due, std::slice::from_ref(&export));
    let slots = export.schedule.due(hour(1), hour(1), None).unwrap();
    assert!(rig.exports.fire(&export, &slots, hour(1)).await.unwrap());
    assert!(!rig.exports.fire(&export, &slots, hour(1)).await.unwrap());
    assert_eq!(words(&rig.waiting_at(hour(1)).await), ["1"]);
    assert_eq!(rig.found("e").await.next_at, Some(hour(2)));
    assert!(rig.exports.due_exports(hour(1), 10).await.unwrap().is_empty());
}

pub async fn a_slot_becomes_its_run(rig: &Rig) {
    rig.commits(2).await;
    rig.save(&saving("e", hourly(Mode::Incremental))).await;
    rig.fire_at("e", hour(1)).await;
    let (job, lease) = rig.claimed(hour(1)).await;
    assert_eq!(rig.jobs.claim(&job.id, job.epoch, false).await.unwrap(), None);
    assert!(rig.waiting_at(hour(1)).await[0].leased);
    // Its holder is gone; whoever had it opens nothing.
    rig.jobs.renew_job(&lease).await.unwrap();
    let lease = rig.jobs.claim(&job.id, lease.epoch, true).await.unwrap().unwrap();
    assert_eq!(rig.jobs.claim(&job.id, job.epoch, true).await.unwrap(), None);
    let late = JobLease { epoch: lease.epoch - 1, ..lease.clone() };
    refused!(rig.ledger.open_run(&for_slot("e", &late)).await, LedgerError::SlotTaken);
    assert!(rig.ledger.runs(&workspace(), None, 10).await.unwrap().is_empty());
    let new = for_slot("e", &lease);
    let opened = rig.open(&new).await;
    let again = rig.open(&new).await;
    assert_eq!(again.lease, opened.lease, "after a lost answer");
    refused!(rig.ledger.open_run(&for_slot("e", &lease)).await, LedgerError::Open { .. });
    let found = rig.waiting_at(hour(1)).await;
    assert_eq!(found[0].task, Task::Run { run: new.id.clone(), of_slot: true, of_ticket: false });
    assert_eq!((found.len(), &found[0].id, found[0].leased), (1, &job.id, true));
    rig.bring(&opened.lease, RunState::Sealed).await;
    assert!(rig.waiting_at(hour(9)).await.is_empty());
    assert_eq!(rig.cursor("e").await, 2);
}

pub async fn a_slot_whose_run_failed_is_there_again(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", hourly(Mode::Incremental))).await;
    rig.fire_at("e", hour(1)).await;
    let (job, lease) = rig.claimed(hour(1)).await;
    let run = rig.open(&for_slot("e", &lease)).await.lease;
    // While its run is open nothing has failed.
    let nothing = rig.jobs.failed(&lease, &failure("x", true), hour(1)).await.unwrap();
    assert_eq!(nothing, AfterFailure::Nothing);
    rig.bring_on(&run, RunState::Failed).await;
    let export = rig.found("e").await;
    assert_eq!((export.failures, export.reason.as_deref()), (1, Some("reason")));
    let after = rig.jobs.failed(&lease, &failure("x", true), hour(1)).await.unwrap();
    assert_eq!(after, AfterFailure::Again(at(9 + FAILED_AGAIN_SECONDS)));
    assert_eq!(rig.found("e").await.failures, 1, "its run has counted");
    assert!(rig.waiting_at(at(8 + FAILED_AGAIN_SECONDS)).await.is_empty());
    let (again, lease) = rig.claimed(hour(1)).await;
    assert_eq!((&again.id, words(std::slice::from_ref(&again))), (&job.id, vec!["1".to_owned()]));
    rig.jobs.release(&lease).await.unwrap();
    assert!(!rig.waiting_at(hour(1)).await[0].leased);
    let (_, lease) = rig.claimed(hour(1)).await;
    let run = rig.open(&for_slot("e", &lease)).await.lease;
    rig.bring_on(&run, RunState::Cancelled).await;
    assert!(rig.waiting_at(hour(9)).await.is_empty(), "somebody did not want it");
}

pub async fn one_slot_waits_for_what_there_is(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", hourly(Mode::Full))).await;
    for n in 1..4 {
        rig.fire_at("e", hour(n)).await;
    }
    assert_eq!(words(&rig.waiting_at(hour(3)).await), ["1"]);
    let (_, lease) = rig.claimed(hour(3)).await;
    // One that is being opened may have read the head already.
    rig.fire_at("e", hour(4)).await;
    let full = NewRun { advance: Advance::None, ..for_slot("e", &lease) };
    let run = rig.open(&full).await.lease;
    assert_eq!(words(&rig.waiting_at(hour(4)).await), [run.run.as_str()]);
    rig.bring(&run, RunState::Sealed).await;
    assert_eq!(words(&rig.waiting_at(hour(4)).await), ["4"]);
    assert_eq!(rig.cursor("e").await, 0);
}

pub async fn windows_have_their_runs_in_order(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", windows())).await;
    let due = rig.fire_at("e", hour(3)).await;
    assert_eq!(due.slots.len(), 3);
    assert_eq!(rig.found("e").await.covered, Some(hour(3)));
    for n in 1..4 {
        let waiting = rig.waiting_at(hour(3)).await;
        assert_eq!(words(&waiting), [n.to_string()]);
        let Task::Slot { slot, .. } = &waiting[0].task else { panic!("it is a slot") };
        assert_eq!(*slot, Slot { at: hour(n), since: Some(hour(n - 1)) });
        let (_, lease) = rig.claimed(hour(3)).await;
        let mut new = NewRun { advance: Advance::None, ..for_slot("e", &lease) };
        new.slot = Some(OpenSlot { lease, is_window: true });
        let selection = &mut new.definition.relation.selection;
        (selection.since, selection.until) = (slot.since, Some(slot.at));
        let run = rig.open(&new).await.lease;
        rig.bring(&run, RunState::Sealed).await;
        let saved = rig.found("e").await.definition;
        assert_eq!(saved.relation.selection.since, None, "the window is the slot's");
    }
    assert!(rig.waiting_at(hour(3)).await.is_empty());
}

pub async fn a_run_that_is_asked_for_comes_first(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", hourly(Mode::Incremental))).await;
    rig.fire_at("e", hour(1)).await;
    let asked = rig.open(&incremental("e")).await.lease;
    assert_eq!(words(&rig.waiting_at(hour(1)).await), [asked.run.as_str()]);
    rig.bring(&asked, RunState::Sealed).await;
    assert_eq!(words(&rig.waiting_at(hour(1)).await), ["1"]);
}

pub async fn what_may_help_is_tried_again_until_it_breaks(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", hourly(Mode::Incremental))).await;
    rig.fire_at("e", hour(1)).await;
    let mut now = hour(1);
    for n in 1..FAILURES_MAX {
        let (_, lease) = rig.claimed(now).await;
        let after = rig.jobs.failed(&lease, &failure("no answer", true), now).await.unwrap();
        let AfterFailure::Again(at) = after else { panic!("{n}: {after:?}") };
        let pause = (at - now).num_seconds();
        assert_eq!(pause, (FAILED_AGAIN_SECONDS << (n - 1)).min(3600));
        assert!(rig.waiting_at(at - TimeDelta::seconds(1)).await.is_empty());
        now = at;
    }
    let (_, lease) = rig.claimed(now).await;
    let after = rig.jobs.failed(&lease, &failure("no answer", true), now).await.unwrap();
    assert_eq!(after, AfterFailure::Broken);
    let export = rig.found("e").await;
    assert_eq!((export.state, export.failures), (ExportState::Broken, FAILURES_MAX));
    assert_eq!((export.reason.as_deref(), export.cursor.0), (Some("no answer"), 0));
    assert!(rig.waiting_at(hour(99)).await.is_empty());
    assert!(rig.exports.due_exports(hour(99), 10).await.unwrap().is_empty());
    let active = ExportState::Active;
    let export = rig.exports.set_export_state(&workspace(), "e", active, now).await.unwrap();
    assert_eq!((export.failures, export.reason), (0, None));
    // What somebody has mended meanwhile is tried again; what does not go away by itself breaks it at once.
    let (_, lease) = rig.claimed(now).await;
    let old = SlotFailure { version: Some(0), ..failure("no such column", false) };
    let after = rig.jobs.failed(&lease, &old, now).await.unwrap();
    let AfterFailure::Again(at) = after else { panic!("it is another version: {after:?}") };
    let (_, lease) = rig.claimed(at).await;
    let after = rig.jobs.failed(&lease, &failure("no such column", false), at).await.unwrap();
    assert_eq!(after, AfterFailure::Broken);
    rig.exports.set_export_state(&workspace(), "e", active, now).await.unwrap();
    let (_, lease) = rig.claimed(now).await;
    let run = rig.open(&for_slot("e", &lease)).await.lease;
    rig.bring(&run, RunState::Sealed).await;
    assert_eq!(rig.found("e").await.failures, 0);
}

pub async fn a_paused_export_stays_where_it_is(rig: &Rig) {
    rig.commits(1).await;
    rig.save(&saving("e", windows())).await;
    rig.fire_at("e", hour(1)).await;
    let turn = async |state| rig.exports.set_export_state(&workspace(), "e", state, hour(1)).await;
    let (_, lease) = rig.claimed(hour(1)).await;
    turn(ExportState::Paused).await.unwrap();
    // Also one that was taken just before.
    let slot = OpenSlot { lease: lease.clone(), is_window: true };
    let late = NewRun { advance: Advance::None, slot: Some(slot), ..incremental("e") };
    refused!(rig.ledger.open_run(&late).await, LedgerError::SlotTaken);
    rig.jobs.release(&lease).await.unwrap();
    assert!(rig.waiting_at(hour(5)).await.is_empty());
    assert!(rig.exports.due_exports(hour(5), 10).await.unwrap().is_empty());
    turn(ExportState::Active).await.unwrap();
    assert_eq!(words(&rig.waiting_at(hour(5)).await), ["1"]);
    assert_eq!(rig.fire_at("e", hour(5)).await.slots.len(), 4, "windows are not lost");
    let none = rig.exports.set_export_state(&workspace(), "f", ExportState::Paused, hour(1)).await;
    refused!(none, LedgerError::NotFound { what: "export", .. });
}

pub async fn new_rows_make_an_export_due(rig: &Rig) {
    let orders = rig.orders().await;
    let other = super::new_dataset("other");
    rig.catalog.create_dataset(&workspace(), &other, at(0)).await.unwrap();
    let trigger = Trigger::OnData { minutes: 1 };
    let schedule = Schedule { trigger, ..Schedule::default() };
    rig.save(&SaveExport { watches: Some(orders.clone()), ..saving("e", schedule) }).await;
    let due = async |second| rig.exports.due_exports(at(second), 10).await.unwrap();
    assert!(due(10).await.is_empty());
    rig.commit(&append(&other.id, 1)).await;
    assert!(due(10).await.is_empty());
    rig.commit(&append(&orders, 1)).await;
    let found = due(10).await;
    assert_eq!(found.len(), 1);
    let slot = Slot { at: at(10), since: None };
    let next = Due { slots: vec![slot], skipped: 0, next: Some(at(70)) };
    assert!(rig.exports.fire(&found[0], &next, at(10)).await.unwrap());
    assert!(due(99).await.is_empty(), "a slot was made for them");
    rig.commit(&append(&orders, 1)).await;
    assert!(due(69).await.is_empty());
    let found = due(70).await;
    let fired = Due { slots: Vec::new(), skipped: 0, next: Some(at(70)) };
    assert!(rig.exports.fire(&found[0], &fired, at(70)).await.unwrap());
    assert!(due(80).await.is_empty());
    // From the first row on once more.
    let schedule = found[0].schedule.clone();
    let restart =
        SaveExport { watches: Some(orders), restart: true, now: at(80), ..saving("e", schedule) };
    rig.edit(&restart, &found[0]).await.unwrap();
    assert_eq!(due(80).await.len(), 1);
}

pub async fn an_edit_says_what_it_is_built_on(rig: &Rig) {
    let first = rig.save(&saving("e", Schedule::default())).await;
    assert_eq!((first.version, first.next_at), (1, None));
    let again = rig.exports.save_export(&saving("e", windows()), &Basis::Nothing).await;
    refused!(again, LedgerError::Exists { .. });
    let other = SaveExport { author: "pr_2".into(), now: at(6), ..saving("e", windows()) };
    let second = rig.edit(&other, &first).await.unwrap();
    assert_eq!((second.version, second.next_at), (2, Some(hour(1))));
    assert_eq!(second.id, first.id);
    refused!(rig.edit(&other, &first).await, LedgerError::Changed { .. });
    refused!(rig.edit(&saving("f", windows()), &first).await, LedgerError::NotFound { .. });
    let versions = async |before, limit| {
        let found = rig.exports.export_versions(&workspace(), "e", before, limit).await.unwrap();
        found.into_iter().map(|one| (one.version, one.author, one.at)).collect::<Vec<_>>()
    };
    let (old, new) = ((1, "pr_1".to_owned(), at(5)), (2, "pr_2".to_owned(), at(6)));
    assert_eq!(versions(None, 10).await, [new.clone(), old.clone()]);
    assert_eq!((versions(None, 1).await, versions(Some(2), 1).await), (vec![new], vec![old]));
    assert_eq!(rig.found("e").await, second);
}

pub async fn old_versions_are_forgotten(rig: &Rig) {
    rig.save(&saving("e", Schedule::default())).await;
    for _ in 0..=EXPORT_VERSIONS_MAX {
        let edit = saving("e", Schedule::default());
        rig.exports.save_export(&edit, &Basis::Anything).await.unwrap();
    }
    let kept = rig.exports.export_versions(&workspace(), "e", None, u32::MAX).await.unwrap();
    assert_eq!(kept.len() as u64, EXPORT_VERSIONS_MAX);
    assert_eq!(kept.last().unwrap().version, 3);
}

pub async fn what_has_delivered_goes_on_or_begins_again(rig: &Rig) {
    rig.commits(2).await;
    let saved = rig.save(&saving("e", Schedule::default())).await;
    rig.run_in("e", RunState::Sealed).await;
    let mut other = saving("e", Schedule::default());
    other.definition.format.format = "csv".into();
    let saved = rig.edit(&other, &saved).await.unwrap();
    assert_eq!((saved.cursor.0, saved.version), (2, 2), "another format goes on");
    other.definition.relation.source = Source::Dataset("others".into());
    refused!(rig.edit(&other, &saved).await, LedgerError::Restart { property: "the relation", .. });
    other.definition = definition();
    other.definition.destination = "file:///elsewhere".into();
    refused!(rig.edit(&other, &saved).await, LedgerError::Restart { .. });
    let full = saving("e", hourly(Mode::Full));
    refused!(rig.edit(&full, &saved).await, LedgerError::Restart { property: "the mode", .. });
    let restart = SaveExport { restart: true, ..other };
    let begun = rig.edit(&restart, &saved).await.unwrap();
    assert_eq!((begun.cursor, &begun.last_run), (CommitNumber(0), &None));
    let new = NewRun { definition: begun.definition.clone(), ..incremental("e") };
    let run = rig.open(&new).await;
    assert_eq!((run.run.from.0, run.run.to.0), (0, 2));
    refused!(rig.edit(&restart, &begun).await, LedgerError::Open { .. });
    // Its first run is open: sealing it would move the cursor of something else.
    let mut other = saving("e", Schedule::default());
    other.definition.relation.source = Source::Dataset("others".into());
    refused!(rig.edit(&other, &begun).await, LedgerError::Open { .. });
}

pub async fn an_edit_of_the_trigger_leaves_no_gap(rig: &Rig) {
    rig.commits(1).await;
    let saved = rig.save(&saving("e", windows())).await;
    rig.fire_at("e", hour(2)).await;
    let saved = rig.edit(&saving("e", windows()), &saved).await.unwrap();
    assert_eq!(saved.next_at, Some(hour(3)), "nothing about it was changed");
    let late = hourly(Mode::Window { lag_minutes: 90 });
    let saved = rig.edit(&saving("e", late), &saved).await.unwrap();
    assert_eq!(saved.next_at, Some(hour(3) + TimeDelta::minutes(90)));
    let trigger = Trigger::Every { minutes: 7 };
    let other = SaveExport { now: hour(2), ..saving("e", Schedule { trigger, ..windows() }) };
    let saved = rig.edit(&other, &saved).await.unwrap();
    let due = rig.fire_at("e", saved.next_at.unwrap()).await;
    assert_eq!(due.slots[0].since, Some(hour(2)));
}

pub async fn a_run_is_of_the_newest_version(rig: &Rig) {
    rig.commits(1).await;
    let first = rig.save(&saving("e", Schedule::default())).await;
    let mut other = saving("e", Schedule::default());
    other.definition.format.format = "csv".into();
    let second = rig.edit(&other, &first).await.unwrap();
    let of = |export: &Export| NewRun {
        version: Some(export.version),
        definition: export.definition.clone(),
        ..incremental("e")
    };
    refused!(rig.ledger.open_run(&of(&first)).await, LedgerError::Changed { .. });
    // What somebody saved is not what its first run happens to be.
    refused!(rig.ledger.open_run(&incremental("e")).await, LedgerError::Differs { .. });
    rig.open(&of(&second)).await;
}

pub async fn slots_of_what_is_no_more_are_taken_back(rig: &Rig) {
    rig.commits(1).await;
    let saved = rig.save(&saving("e", windows())).await;
    rig.fire_at("e", hour(2)).await;
    let (_, lease) = rig.claimed(hour(2)).await;
    let slot = OpenSlot { lease: lease.clone(), is_window: true };
    let run = NewRun { advance: Advance::None, slot: Some(slot), ..incremental("e") };
    let open = rig.open(&run).await.lease;
    let edited = rig.edit(&saving("e", hourly(Mode::Incremental)), &saved).await.unwrap();
    assert_eq!(edited.covered, None);
    assert_eq!(words(&rig.waiting_at(hour(2)).await), [open.run.as_str()]);
    rig.bring_on(&open, RunState::Failed).await;
    assert!(rig.waiting_at(hour(2)).await.is_empty());
    refused!(rig.ledger.open_run(&for_slot("e", &lease)).await, LedgerError::SlotTaken);
}

pub async fn an_export_may_begin_later_and_end_where_another_goes_on(rig: &Rig) {
    rig.commits(3).await;
    let late = SaveExport { begin: Begin::Now, ..saving("e", Schedule::default()) };
    let late = rig.save(&late).await;
    assert_eq!((late.began, late.cursor), (CommitNumber(3), CommitNumber(3)));
    let before = SaveExport { bound: Some(late.began), ..saving("b", Schedule::default()) };
    assert_eq!(rig.save(&before).await.bound, Some(CommitNumber(3)));
    let orders = rig.catalog.dataset(&workspace(), "orders").await.unwrap().id;
    rig.commit(&append(&orders, 10)).await;
    // What nobody asks for ends at the head, or at the bound.
    for (name, range) in [("e", (3, 4)), ("b", (0, 3))] {
        let run = rig.open(&incremental(name)).await;
        assert_eq!((run.run.from.0, run.run.to.0), range);
        rig.bring(&run.lease, RunState::Sealed).await;
    }
    assert_eq!((rig.cursor("e").await, rig.cursor("b").await), (4, 3));
    let beyond = rig.ledger.open_run(&ranged("b", None, Some(4))).await;
    refused!(beyond, LedgerError::Bound { bound: CommitNumber(3), .. });
    refused!(
        rig.ledger.open_run(&again("e", Some(2), None)).await,
        LedgerError::NotDelivered { .. }
    );
    assert_eq!(rig.open(&again("e", None, None)).await.run.from, CommitNumber(3));
    // Beginning again is from the first commit, unless it is asked for otherwise.
    let edited = SaveExport { restart: true, now: at(6), ..saving("e", Schedule::default()) };
    let edited = rig.exports.save_export(&edited, &Basis::Anything).await.unwrap();
    assert_eq!((edited.began, edited.cursor), (CommitNumber(0), CommitNumber(0)));
}

pub async fn what_somebody_waits_for_comes_first(rig: &Rig) {
    for (name, from) in [("a", 0), ("b", 0)] {
        rig.save(&saving(name, hourly(Mode::Incremental))).await;
        rig.fire_at(name, hour(2 + from)).await;
    }
    let asked = rig.open(&NewRun { now: hour(3), ..incremental("c") }).await;
    rig.ledger.release(&asked.lease).await.unwrap();
    let waiting = rig.waiting_at(hour(4)).await;
    assert_eq!(words(&waiting)[0], asked.run.id.as_str());
    assert_eq!(waiting.len(), 3);
}

pub async fn a_deleted_export_leaves_its_runs_and_its_name(rig: &Rig) {
    rig.commits(1).await;
    let first = rig.save(&saving("e", hourly(Mode::Incremental))).await;
    let sealed = rig.run_in_saved("e", first.version, RunState::Sealed).await;
    let open = rig.run_in_saved("e", first.version, RunState::Running).await;
    let delete = async |name| rig.exports.delete_export(&workspace(), name).await;
    refused!(delete("none").await, LedgerError::NotFound { .. });
    match delete("e").await {
        Err(LedgerError::Open { run, .. }) => assert_eq!(run, open.run),
        other => panic!("{other:?}"),
    }
    rig.bring_on(&open, RunState::Failed).await;
    rig.fire_at("e", hour(2)).await;
    delete("e").await.unwrap();
    assert!(rig.waiting_at(hour(9)).await.is_empty());
    assert!(rig.exports.due_exports(hour(9), 9).await.unwrap().is_empty());
    refused!(rig.ledger.export(&workspace(), "e").await, LedgerError::NotFound { .. });
    refused!(delete("e").await, LedgerError::NotFound { .. });
    let hidden = format!("deleted {}", first.id);
    refused!(rig.ledger.export(&workspace(), &hidden).await, LedgerError::NotFound { .. });
    assert!(rig.runs.exports(&workspace()).await.unwrap().is_empty());
    let run = rig.ledger.run(&workspace(), &sealed.run).await.unwrap();
    assert_eq!(run.export_name.as_deref(), Some("e"));
    // Another one of that name begins at the beginning, and knows nothing of it.
    let second = rig.save(&saving("e", hourly(Mode::Incremental))).await;
    assert_eq!((second.cursor, second.last_run.as_ref()), (CommitNumber(0), None));
    assert_eq!(rig.ledger.sealed_at(&workspace(), "e", CommitNumber(1)).await.unwrap(), None);
    // Whoever read it before has it deleted under their hands.
    delete("e").await.unwrap();
    let late = NewRun { version: Some(second.version), ..incremental("e") };
    refused!(rig.ledger.open_run(&late).await, LedgerError::NotFound { .. });
    // The backfill of what came before goes with it.
    let of = |bound| SaveExport { bound, ..saving("e", hourly(Mode::Incremental)) };
    rig.save(&of(None)).await;
    let backfill = SaveExport { name: "e.backfill".into(), ..of(Some(CommitNumber(1))) };
    rig.save(&backfill).await;
    delete("e").await.unwrap();
    assert!(rig.runs.exports(&workspace()).await.unwrap().is_empty());
}
