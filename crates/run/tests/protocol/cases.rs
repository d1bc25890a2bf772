//! Cases one by one: what fails cleanly, what is refused, what two at once come to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::export::Advance;
use model::manifest::Manifest;
use model::ports::{LedgerError, Progress};
use model::run::{Run, RunState};
use model::{Code, CommitNumber, DatasetId, Failure, Fault, ObjectKey, WorkspaceId};
use run::{Amount, Error, Observer, Quiet};

use crate::cancelling::our_objects;
use crate::check::{check, check_complete, check_no_uploads};
use crate::crashes::{after_crash, job};
use crate::process::{At, Process, Trouble, What};
use crate::world::{Scenario, World};

fn one(rows: u64) -> Scenario {
    Scenario { commits: vec![rows], ..Scenario::default() }
}

pub(crate) fn states(world: &World) -> Vec<RunState> {
    world.books.lock().unwrap().runs.values().map(|row| row.run.state).collect()
}

async fn start(world: &Arc<World>) -> Result<Vec<run::Sealed>, Error> {
    let process = Process::new(world, None);
    process.coordinator().start(&world.request(), Arc::new(Quiet)).await
}

/// Puts a file in the way as soon as the run is known.
#[derive(Debug)]
struct InTheWay(Arc<World>, &'static str);

impl Progress for InTheWay {
    fn add(&self, _: u64, _: u64) {}
}

impl Observer for InTheWay {
    fn holds(&self, run: &Run) {
        let key = format!("{}/{}", run.folder(), self.1);
        self.0.store.lock().unwrap().objects.insert(key, Bytes::from_static(b"foreign"));
    }
}

fn foreign(world: &World) -> Vec<String> {
    let store = world.store.lock().unwrap();
    store.objects.iter().filter(|(_, b)| **b == "foreign").map(|(key, _)| key.clone()).collect()
}

/// Its rows would be those of the new dataset, and the old one's would count as delivered.
#[tokio::test]
async fn a_run_does_not_go_on_over_another_dataset_of_the_same_name() {
    let scenario = one(5);
    let workspace = WorkspaceId::default_workspace();
    let mut planning = 0;
    for step in 0..3 {
        let world = World::new(&scenario);
        world.commit_up_to(0);
        world.lake.lock().unwrap().dataset = Some(DatasetId::new("ds_old"));
        let dead = Process::new(&world, Some(Trouble { step, at: At::After, what: What::Crash }));
        let (coordinator, request) = (dead.coordinator(), world.request());
        let _ = dead.live(coordinator.start(&request, Arc::new(Quiet))).await;
        after_crash(&world).await;
        if states(&world) != [RunState::Planning] {
            continue;
        }
        planning += 1;
        world.lake.lock().unwrap().dataset = Some(DatasetId::new("ds_new"));
        let run = world.books.lock().unwrap().runs.keys().next().cloned().unwrap();
        let coordinator = Process::new(&world, None).coordinator();
        let error = coordinator.resume(&workspace, &run, Arc::new(Quiet)).await.unwrap_err();
        assert!(matches!(error, Error::Ledger(LedgerError::Differs { .. })), "{error:?}");
        assert_eq!((states(&world), our_objects(&world)), (vec![RunState::Failed], 0));
        // The old dataset's rows are still to be delivered.
        world.lake.lock().unwrap().dataset = Some(DatasetId::new("ds_old"));
        start(&world).await.unwrap();
        check_complete(&world);
    }
    assert!(planning > 0, "no crash came while the run was planned");
}

#[tokio::test]
async fn a_foreign_file_in_the_way_fails_the_run_and_stays() {
    let world = World::new(&one(9));
    world.commit_up_to(0);
    let process = Process::new(&world, None);
    let observer = Arc::new(InTheWay(Arc::clone(&world), "part-00001.txt"));
    let error = process.coordinator().start(&world.request(), observer).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Code::Conflict, Fault::Destination));
    assert!(error.to_string().contains("another file is at"), "{error}");
    assert!(matches!(&error, Error::Left { left, .. } if left.len() == 1), "{error:?}");
    assert_eq!(states(&world), [RunState::Failed]);
    assert_eq!((foreign(&world).len(), our_objects(&world)), (1, 1));
    start(&world).await.unwrap();
    check_complete(&world);
}

#[tokio::test]
async fn a_foreign_file_in_the_manifests_place_keeps_the_run_resumable() {
    let world = World::new(&one(9));
    world.commit_up_to(0);
    let process = Process::new(&world, None);
    let observer = Arc::new(InTheWay(Arc::clone(&world), "manifest.json"));
    let error = process.coordinator().start(&world.request(), observer).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Code::Conflict, Fault::Destination));
    assert!(error.to_string().contains("then resume the run "), "{error}");
    assert_eq!(states(&world), [RunState::Sealing]);
    let keys = foreign(&world);
    assert_eq!(keys.len(), 1);
    // Somebody moves it away; the lease was given back, so nobody has to wait.
    world.store.lock().unwrap().objects.remove(&keys[0]);
    let sealed = start(&world).await.unwrap();
    assert_eq!(sealed.len(), 2, "the old one, then one with nothing new");
    assert_eq!((sealed[0].rows, sealed[1].rows), (9, 0));
    check_complete(&world);
}

#[tokio::test]
async fn a_full_disk_fails_the_run_and_a_later_one_delivers_everything() {
    for put_bytes_max in [3, 1000] {
        let scenario = Scenario { put_bytes_max, ..one(14) };
        for room in [0, 4, 9, 14, 20] {
            let world = World::new(&scenario);
            world.commit_up_to(0);
            let used: usize = world.store.lock().unwrap().objects.values().map(Bytes::len).sum();
            world.store.lock().unwrap().room = Some(used + room);
            let error = start(&world).await.unwrap_err();
            assert_eq!((error.code(), error.fault()), (Code::TooLarge, Fault::Destination));
            assert_eq!(states(&world), [RunState::Failed]);
            assert_eq!(our_objects(&world), 0, "room {room}");
            check(&world);
            check_no_uploads(&world);
            world.store.lock().unwrap().room = None;
            assert_eq!(start(&world).await.unwrap()[0].rows, 14);
            check_complete(&world);
        }
    }
}

#[tokio::test]
async fn a_disk_too_full_for_the_manifest_leaves_the_run_to_be_resumed() {
    let world = World::new(&one(9));
    world.commit_up_to(0);
    let used: usize = world.store.lock().unwrap().objects.values().map(Bytes::len).sum();
    world.store.lock().unwrap().room = Some(used + 100);
    let error = start(&world).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(states(&world), [RunState::Sealing]);
    world.store.lock().unwrap().room = None;
    assert_eq!(start(&world).await.unwrap()[0].rows, 9);
    check_complete(&world);
}

#[tokio::test]
async fn of_two_at_once_exactly_one_proceeds() {
    let world = World::new(&one(20));
    world.commit_up_to(0);
    let (a, b) = tokio::join!(start(&world), start(&world));
    let error = match (a, b) {
        (Ok(sealed), Err(error)) | (Err(error), Ok(sealed)) => {
            assert_eq!(sealed.len(), 1);
            error
        }
        other => panic!("{other:?}"),
    };
    let Error::Ledger(LedgerError::Open { .. } | LedgerError::Leased { .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(states(&world), [RunState::Sealed]);
    check_complete(&world);
}

#[tokio::test]
async fn of_two_after_a_dead_holder_exactly_one_proceeds() {
    let world = World::new(&Scenario { locks: true, ..one(20) });
    world.commit_up_to(0);
    let dead = Process::new(&world, Some(Trouble { step: 6, at: At::After, what: What::Crash }));
    let _ = dead.live(job(&dead)).await;
    after_crash(&world).await;
    let run = world.books.lock().unwrap().runs.keys().next().cloned().unwrap();
    let workspace = WorkspaceId::default_workspace();
    let resume = async || {
        let process = Process::new(&world, None);
        process.coordinator().resume(&workspace, &run, Arc::new(Quiet)).await
    };
    let (a, b) = tokio::join!(resume(), resume());
    assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "{a:?} {b:?}");
    check_complete(&world);
}

#[tokio::test]
async fn a_living_holder_keeps_its_run() {
    let world = World::new(&one(9));
    world.commit_up_to(0);
    let trouble = Trouble { step: 5, at: At::After, what: What::Freeze };
    let holder = Process::new(&world, Some(trouble));
    let (coordinator, request) = (holder.coordinator(), world.request());
    let work = tokio::spawn(async move { coordinator.start(&request, Arc::new(Quiet)).await });
    holder.hit().await;
    let refused = start(&world).await.unwrap_err();
    assert!(matches!(refused, Error::Ledger(LedgerError::Leased { .. })), "{refused:?}");
    holder.beat();
    holder.thaw();
    work.await.unwrap().unwrap();
    assert!(world.books.lock().unwrap().renewed > 0, "the lease was renewed");
    check_complete(&world);
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_written() {
    type Change = fn(&mut run::Request);
    let cases: [(&str, Change, Code); 8] = [
        ("no name", |r| r.export = None, Code::Invalid),
        ("format", |r| r.definition.format.format = "xml".into(), Code::Invalid),
        ("place", |r| r.definition.destination = "ftp://x".into(), Code::Invalid),
        ("refused template", |r| r.definition.format.name = Some("same".into()), Code::Invalid),
        ("colliding template", |r| r.definition.format.name = Some("!same".into()), Code::Invalid),
        ("name outside", |r| r.definition.format.name = Some("!../x".into()), Code::Invalid),
        (
            "increment of a shuffle",
            |r| r.definition.relation.source = model::relation::Source::Sql("select".into()),
            Code::Invalid,
        ),
        (
            "backwards",
            |r| (r.from, r.to) = (Some(CommitNumber(1)), Some(CommitNumber(0))),
            Code::Invalid,
        ),
    ];
    for (name, change, code) in cases {
        let world = World::new(&one(9));
        world.commit_up_to(0);
        let mut request = world.request();
        change(&mut request);
        let process = Process::new(&world, None);
        let coordinator = process.coordinator();
        let error = coordinator.start(&request, Arc::new(Quiet)).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), (code, Fault::Request), "{name}: {error}");
        assert_eq!(process.steps(), 0, "{name}: {:?}", process.log.lock().unwrap());
    }
}

#[tokio::test]
async fn a_range_that_was_delivered_is_refused_without_again() {
    let world = World::new(&Scenario { commits: vec![4, 4], ..Scenario::default() });
    for phase in 0..2 {
        world.commit_up_to(phase);
        start(&world).await.unwrap();
    }
    for (from, to) in [(None, Some(1)), (Some(0), Some(1)), (Some(1), None)] {
        let (from, to) = (from.map(CommitNumber), to.map(CommitNumber));
        let request = run::Request { from, to, ..world.request() };
        let process = Process::new(&world, None);
        let error = process.coordinator().start(&request, Arc::new(Quiet)).await.unwrap_err();
        assert!(matches!(error, Error::Ledger(LedgerError::Overlap { .. })), "{error:?}");
    }
    assert_eq!(states(&world), [RunState::Sealed; 2]);
    check_complete(&world);
}

/// The first file is written when the name of the second one turns out to be the same.
#[tokio::test]
async fn a_split_without_a_name_for_the_rest_fails_and_leaves_nothing() {
    let world = World::new(&Scenario { file_rows: None, file_bytes: Some(13), ..one(5) });
    world.commit_up_to(0);
    let mut request = world.request();
    request.definition.format.name = Some("same".into());
    let process = Process::new(&world, None);
    let error = process.coordinator().start(&request, Arc::new(Quiet)).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Code::Invalid, Fault::Request));
    assert_eq!((states(&world), our_objects(&world)), (vec![RunState::Failed], 0));
    assert_eq!(world.store.lock().unwrap().deleted.len(), 1, "one file was there");
    check(&world);
}

#[tokio::test]
async fn another_definition_under_the_same_name_is_refused_and_named() {
    let world = World::new(&Scenario { commits: vec![4, 4], ..Scenario::default() });
    world.commit_up_to(0);
    start(&world).await.unwrap();
    let mut request = world.request();
    request.definition.format.file_rows = Some(77);
    let process = Process::new(&world, None);
    let error = process.coordinator().start(&request, Arc::new(Quiet)).await.unwrap_err();
    let Error::Ledger(LedgerError::Differs { property: "the format", .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(process.steps(), 0);
}

#[tokio::test]
async fn a_plan_tells_the_parts_and_writes_nothing() {
    let world = World::new(&Scenario { filter: true, ..one(10) });
    world.commit_up_to(0);
    let process = Process::new(&world, None);
    let forecast = process.coordinator().plan(&world.request()).await.unwrap();
    assert_eq!(process.steps(), 0);
    let parts: Vec<_> = forecast.parts.iter().map(|part| (part.name.as_str(), part.rows)).collect();
    let names = ["part-00000.txt", "part-00001.txt", "part-00002.txt", "part-00003.txt"];
    assert_eq!(parts, names.into_iter().zip([3, 3, 3, 1]).collect::<Vec<_>>());
    // 1, 2, 4, 5, 7, 8: the sample saw them all.
    assert_eq!((forecast.rows, forecast.bytes), (Amount::Exact(6), Amount::Estimate(12)));
    assert_eq!(start(&world).await.unwrap()[0].bytes, 12);
}

#[tokio::test]
async fn a_plan_of_a_staged_relation_counts_rows() {
    let world = World::new(&Scenario { staged: true, ..one(10) });
    world.commit_up_to(0);
    let process = Process::new(&world, None);
    let forecast = process.coordinator().plan(&world.request()).await.unwrap();
    assert_eq!((forecast.staged, forecast.rows), (true, Amount::Exact(10)));
    assert_eq!(forecast.bytes, Amount::Unknown);
    assert_eq!((process.steps(), world.lake.lock().unwrap().staged()), (0, 0));
}

#[tokio::test]
async fn delivering_again_does_not_move_the_cursor_and_is_no_link_of_the_chain() {
    let world = World::new(&Scenario { commits: vec![4, 5], ..Scenario::default() });
    let mut moved = Vec::new();
    for phase in 0..2 {
        world.commit_up_to(phase);
        moved.extend(start(&world).await.unwrap());
    }
    let request = run::Request { advance: Advance::Again, ..world.request() };
    let process = Process::new(&world, None);
    let again = process.coordinator().start(&request, Arc::new(Quiet)).await.unwrap();
    assert_eq!((again.len(), again[0].rows), (1, 9));
    check_complete(&world);
    let manifest = |sealed: &run::Sealed| -> Manifest {
        let store = world.store.lock().unwrap();
        serde_json::from_slice(&store.objects[sealed.manifest.as_str()]).unwrap()
    };
    let delivered = manifest(&again[0]);
    assert_eq!((delivered.again, delivered.previous), (true, None));
    assert_eq!((delivered.from_commit, delivered.to_commit), (CommitNumber(0), CommitNumber(2)));

    // The next link goes on from the run that moved the cursor, though another ended there later.
    let next = start(&world).await.unwrap();
    let next = manifest(&next[0]);
    assert!(!next.again);
    assert_eq!(next.previous.unwrap().run, moved[1].run.id);
    check_complete(&world);
}

#[tokio::test]
async fn a_sealed_run_is_resumed_as_it_is_and_an_ended_one_is_not() {
    let world = World::new(&one(4));
    world.commit_up_to(0);
    let sealed = start(&world).await.unwrap().remove(0);
    let process = Process::new(&world, None);
    let (coordinator, workspace) = (process.coordinator(), WorkspaceId::default_workspace());
    let resumed = coordinator.resume(&workspace, &sealed.run.id, Arc::new(Quiet)).await.unwrap();
    assert_eq!(resumed.sha256, sealed.sha256);
    assert_eq!(process.steps(), 0);

    world.store.lock().unwrap().room = Some(0);
    let mut request = world.request();
    request.advance = Advance::Again;
    coordinator.start(&request, Arc::new(Quiet)).await.unwrap_err();
    let failed = world.books.lock().unwrap().runs.keys().last().cloned().unwrap();
    let error = coordinator.resume(&workspace, &failed, Arc::new(Quiet)).await.unwrap_err();
    assert!(matches!(error, Error::Over { state: RunState::Failed, .. }), "{error:?}");
}

#[tokio::test]
async fn another_encoder_does_not_touch_a_run_that_it_did_not_plan() {
    let world = World::new(&one(9));
    world.commit_up_to(0);
    let dead = Process::new(&world, Some(Trouble { step: 6, at: At::After, what: What::Crash }));
    let _ = dead.live(job(&dead)).await;
    after_crash(&world).await;
    world.books.lock().unwrap().encoder = "lines-2".into();
    let error = start(&world).await.unwrap_err();
    assert!(matches!(error, Error::OtherEncoder { .. }), "{error:?}");
    assert_eq!(states(&world), [RunState::Running]);
    world.books.lock().unwrap().encoder = "lines-1".into();
    start(&world).await.unwrap();
    check_complete(&world);
}

/// Counts what it hears.
#[derive(Debug, Default)]
struct Count(Mutex<(u64, u64, u64, u64)>);

impl Progress for Count {
    fn add(&self, rows: u64, bytes: u64) {
        let mut count = self.0.lock().unwrap();
        (count.0, count.1) = (count.0 + rows, count.1 + bytes);
    }
}

impl Observer for Count {
    fn planned(&self, rows: u64, done: u64) {
        let mut count = self.0.lock().unwrap();
        (count.2, count.3) = (rows, done);
    }

    fn left(&self, key: &ObjectKey) {
        panic!("`{key}` was left");
    }
}

#[tokio::test]
async fn progress_adds_up_also_when_a_part_is_tried_again() {
    for put_bytes_max in [3, 1000] {
        for step in 0..20 {
            let world = World::new(&Scenario { put_bytes_max, ..one(9) });
            world.commit_up_to(0);
            let trouble = Trouble { step, at: At::Before, what: What::Error };
            let process = Process::new(&world, Some(trouble));
            let count = Arc::new(Count::default());
            let observer = Arc::clone(&count) as Arc<dyn Observer>;
            let sealed = process.coordinator().start(&world.request(), observer).await.unwrap();
            let bytes = sealed[0].bytes;
            assert_eq!(*count.0.lock().unwrap(), (9, bytes, 9, 0));
        }
    }
}

#[tokio::test]
async fn a_commit_is_made_anew_while_others_change_the_dataset() {
    let world = World::new(&Scenario { to: "dataset:copy", ..one(7) });
    world.books.lock().unwrap().moved = 3;
    world.commit_up_to(0);
    start(&world).await.unwrap();
    check_complete(&world);
    assert_eq!(world.books.lock().unwrap().committed.len(), 1);
}

#[tokio::test]
async fn a_run_fails_whose_rows_the_dataset_refuses_and_takes_its_files_away() {
    let world = World::new(&Scenario { to: "dataset:copy", ..one(7) });
    world.books.lock().unwrap().full = true;
    world.commit_up_to(0);
    let error = start(&world).await.unwrap_err();
    assert!(error.to_string().contains("no dataset `copy`"), "{error}");
    assert_eq!(states(&world), [RunState::Failed]);
    assert_eq!(our_objects(&world), 0);
    check(&world);
    world.books.lock().unwrap().full = false;
    start(&world).await.unwrap();
    check_complete(&world);
}

#[tokio::test]
async fn a_run_into_a_dataset_is_not_run_again() {
    let world = World::new(&Scenario { to: "dataset:copy", ..one(7) });
    world.commit_up_to(0);
    let sealed = start(&world).await.unwrap();
    let process = Process::new(&world, None);
    let workspace = WorkspaceId::default_workspace();
    let again = process.coordinator().rerun(&workspace, &sealed[0].run.id, None).await;
    let error = again.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains("would come twice"), "{error}");
}
