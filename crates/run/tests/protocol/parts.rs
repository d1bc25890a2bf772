//! One part alone: the receipt, and how unclear answers are settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::digest::sha256_hex;
use model::format::FormatSpec;
use model::limits::DELIVERY_TRIES;
use model::part::{Part, PartId, PartTask, Receipt};
use model::ports::{Bind, Encoder, Relations, Stage};
use model::{Code, CommitNumber, Failure, Fault, ObjectKey, RunId};
use run::{DeliverError, PartError, Quiet, Stop, Stores, Watch, Why, run_part};

use crate::objects::Faults;
use crate::process::{At, Handle, Process, Trouble, What};
use crate::world::{Scenario, World};

const KEY: &str = "run/part.txt";

async fn task(world: &Arc<World>, file_bytes: Option<u64>) -> PartTask {
    world.commit_up_to(0);
    let handle = Handle(Process::new(world, None));
    let request = world.request();
    let bind = Bind {
        workspace: request.workspace,
        relation: request.definition.relation,
        from: CommitNumber(0),
        to: CommitNumber(1),
        now: chrono::DateTime::UNIX_EPOCH,
        stage: Stage::Check,
    };
    let bound = handle.bind(&bind).await.unwrap();
    let spec = FormatSpec { file_bytes, options: BTreeMap::new(), ..request.definition.format };
    let encoding = handle.check(&spec, &bound.relation.output).unwrap();
    let part = Part {
        id: PartId::planned(0),
        inputs: bound.inputs,
        name: "part.txt".into(),
        receipt: None,
    };
    let (relation, key) = (bound.relation, ObjectKey::new(KEY));
    PartTask { run: RunId::new("run"), epoch: 1, part, relation, encoding, key, md5: true }
}

async fn run_with(
    process: &Arc<Process>,
    task: &PartTask,
    stop: &Stop,
) -> Result<Receipt, PartError> {
    let handle = Handle(Arc::clone(process));
    let place = Arc::new(handle.clone());
    let stores = Stores {
        relations: Arc::new(handle.clone()),
        encoder: Arc::new(handle.clone()),
        objects: place,
        pauses: Arc::new(handle),
        put_bytes_max: process.world.scenario.put_bytes_max,
    };
    run_part(task, &stores, "token-e1", Watch { progress: &Quiet, stop }).await
}

fn world(put_bytes_max: usize, rows: u64) -> Arc<World> {
    World::new(&Scenario { put_bytes_max, commits: vec![rows], ..Scenario::default() })
}

fn object(world: &World) -> Option<bytes::Bytes> {
    world.store.lock().unwrap().objects.get(KEY).cloned()
}

#[tokio::test]
async fn a_receipt_says_what_is_there() {
    for put_bytes_max in [3, 1000] {
        let world = world(put_bytes_max, 5);
        let task = task(&world, None).await;
        let receipt = run_with(&Process::new(&world, None), &task, &Stop::new()).await.unwrap();
        let bytes = object(&world).unwrap();
        assert_eq!(bytes, "0\n1\n2\n3\n4\n");
        assert_eq!((receipt.rows_read, receipt.rows, receipt.bytes), (5, 5, 10));
        assert_eq!(receipt.sha256, sha256_hex(&bytes));
        assert_eq!(receipt.md5.as_deref(), Some("4e592a405da92527f6f04154a11b6956"));
        assert_eq!(receipt.first_commit, Some(CommitNumber(1)));
    }
}

#[tokio::test]
async fn every_error_of_every_step_is_settled() {
    for put_bytes_max in [3, 1000] {
        for step in 0..9 {
            for at in [At::Before, At::After] {
                let world = world(put_bytes_max, 5);
                let task = task(&world, None).await;
                let trouble = Trouble { step, at, what: What::Error };
                let process = Process::new(&world, Some(trouble));
                let receipt = run_with(&process, &task, &Stop::new()).await.unwrap();
                assert_eq!(receipt.sha256, sha256_hex(&object(&world).unwrap()));
                assert!(world.store.lock().unwrap().uploads.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn the_same_bytes_are_ours_and_other_bytes_are_an_error() {
    // Longer, shorter, and of the same length.
    let foreign = ["0\n1\n2\n3\n4\n5\n", "", "0\n1\n2\n3\n5\n"];
    for put_bytes_max in [3, 1000] {
        let world = world(put_bytes_max, 5);
        let task = task(&world, None).await;
        let process = Process::new(&world, None);
        let first = run_with(&process, &task, &Stop::new()).await.unwrap();
        let second = run_with(&process, &task, &Stop::new()).await.unwrap();
        assert_eq!(first.sha256, second.sha256);
        for bytes in foreign {
            world.store.lock().unwrap().objects.insert(KEY.into(), bytes.into());
            let error = run_with(&process, &task, &Stop::new()).await.unwrap_err();
            assert_eq!((error.code(), error.fault()), (Code::Conflict, Fault::Destination));
            assert!(matches!(error, PartError::Deliver(DeliverError::AnotherFile { .. })));
            assert_eq!(object(&world).unwrap(), bytes, "it was left as it was");
            assert!(world.store.lock().unwrap().uploads.is_empty());
        }
    }
}

#[tokio::test]
async fn a_destination_that_stays_away_is_tried_a_few_times() {
    for put_bytes_max in [3, 1000] {
        let world = world(put_bytes_max, 5);
        let task = task(&world, None).await;
        let process = Process::faulty(&world, None, Some(Faults::new(1, 1000)));
        let error = run_with(&process, &task, &Stop::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(process.pauses(), u64::from(DELIVERY_TRIES) - 1);
        assert_eq!(object(&world), None);
    }
}

#[tokio::test]
async fn a_part_ends_at_its_maximum_and_says_how_far_it_came() {
    let world = world(1000, 5);
    let task = task(&world, Some(20)).await;
    let receipt = run_with(&Process::new(&world, None), &task, &Stop::new()).await.unwrap();
    assert_eq!((receipt.rows_read, receipt.rows, receipt.bytes), (3, 3, 18));
    assert_eq!(object(&world).unwrap(), "00000\n00001\n00002\n");
}

#[tokio::test]
async fn a_stopped_part_leaves_nothing() {
    let world = world(3, 5);
    let task = task(&world, None).await;
    let stop = Stop::new();
    stop.ask(Why::Cancelled);
    let error = run_with(&Process::new(&world, None), &task, &stop).await.unwrap_err();
    assert!(matches!(error, PartError::Stopped));
    assert_eq!(object(&world), None);
    assert!(world.store.lock().unwrap().uploads.is_empty());
}

#[tokio::test]
async fn rows_that_are_all_dropped_make_no_file() {
    let scenario = Scenario { filter: true, commits: vec![1], ..Scenario::default() };
    let world = World::new(&scenario);
    let task = task(&world, None).await;
    let receipt = run_with(&Process::new(&world, None), &task, &Stop::new()).await.unwrap();
    assert_eq!((receipt.rows_read, receipt.rows, receipt.bytes), (1, 0, 0));
    assert_eq!(object(&world), None);
}
