//! Cases of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::dataset::{
    CommitKind, CommitRun, Committed, IngestKey, NewCommit, NewDataset, NewFile, Removal, Unsealed,
    View, Window,
};
use model::limits::TAIL_BYTES_MAX;
use model::ports::{CatalogError, Spare};
use model::{BatchId, CommitNumber, DatasetId, FileId, SchemaId, WorkspaceId};
use tokio::task::JoinSet;

use super::{Rig, append, at, new_dataset, new_file, refused, schema, step, workspace};

fn view(name: &str) -> View {
    View {
        name: name.into(),
        sql: "SELECT 1".into(),
        time_column: None,
        window: Window::Input,
        created_at: at(3),
    }
}

fn keyed(dataset: &DatasetId, key: &str, fingerprint: &str) -> NewCommit {
    NewCommit { key: Some(IngestKey::new(key, fingerprint)), ..append(dataset, 10) }
}

pub async fn a_new_workspace_has_no_head(rig: &Rig) {
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap(), None);
    refused!(
        rig.catalog.head(&WorkspaceId::new("other")).await,
        CatalogError::NotFound { what: "workspace", .. }
    );
    refused!(
        rig.catalog.create_dataset(&WorkspaceId::new("other"), &new_dataset("a"), at(0)).await,
        CatalogError::NotFound { what: "workspace", .. }
    );
}

pub async fn datasets_are_listed_by_name(rig: &Rig) {
    let mut made = Vec::new();
    for name in ["b", "B", "a_1", "订单", "a"] {
        let new = new_dataset(name);
        made.push(rig.catalog.create_dataset(&workspace(), &new, at(0)).await.unwrap());
    }
    made.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(rig.catalog.datasets(&workspace()).await.unwrap(), made);
    assert_eq!(rig.catalog.dataset(&workspace(), "订单").await.unwrap(), made[4]);
}

pub async fn names_are_unique(rig: &Rig) {
    rig.orders().await;
    rig.catalog.create_view(&workspace(), &view("recent")).await.unwrap();
    for (name, taken) in [("orders", "dataset"), ("recent", "view")] {
        refused!(
            rig.catalog.create_dataset(&workspace(), &new_dataset(name), at(0)).await,
            CatalogError::Exists { what, name: n } if *what == taken && n == name
        );
        refused!(
            rig.catalog.create_view(&workspace(), &view(name)).await,
            CatalogError::Exists { what, .. } if *what == taken
        );
    }
    assert_eq!(rig.catalog.datasets(&workspace()).await.unwrap().len(), 1);
}

pub async fn a_dropped_name_is_free_and_its_files_stay(rig: &Rig) {
    let old = rig.commits(1).await;
    rig.catalog.drop_dataset(&workspace(), "orders", at(2)).await.unwrap();
    refused!(rig.catalog.dataset(&workspace(), "orders").await, CatalogError::NotFound { .. });
    refused!(
        rig.catalog.drop_dataset(&workspace(), "orders", at(2)).await,
        CatalogError::NotFound { what: "dataset", .. }
    );
    refused!(rig.catalog.commit(&append(&old, 1), at(2)).await, CatalogError::Moved);
    let new = rig.orders().await;
    assert_ne!(old, new);
    let by_name = rig.catalog.snapshot(&workspace(), "orders", None).await.unwrap();
    assert_eq!((by_name.dataset.id, by_name.files.len()), (new, 0));
    let by_id = rig.catalog.snapshot(&workspace(), old.as_str(), None).await.unwrap();
    assert_eq!((by_id.dataset.id, by_id.files.len()), (old, 1));
    assert_eq!(
        rig.commit(&append(&rig.catalog.dataset(&workspace(), "orders").await.unwrap().id, 1))
            .await,
        2
    );
}

pub async fn views_read_back(rig: &Rig) {
    for name in ["b", "a"] {
        rig.catalog.create_view(&workspace(), &view(name)).await.unwrap();
    }
    assert_eq!(rig.catalog.view(&workspace(), "b").await.unwrap(), view("b"));
    assert_eq!(rig.catalog.views(&workspace()).await.unwrap(), [view("a"), view("b")]);
    rig.catalog.drop_view(&workspace(), "b").await.unwrap();
    refused!(
        rig.catalog.drop_view(&workspace(), "b").await,
        CatalogError::NotFound { what: "view", .. }
    );
    rig.catalog.create_dataset(&workspace(), &new_dataset("b"), at(0)).await.unwrap();
}

pub async fn unknown_names_have_a_nearest(rig: &Rig) {
    rig.orders().await;
    rig.catalog.create_view(&workspace(), &view("recent")).await.unwrap();
    refused!(
        rig.catalog.dataset(&workspace(), "ordesr").await,
        CatalogError::NotFound { what: "dataset", nearest: Some(n), .. } if n == "orders"
    );
    refused!(
        rig.catalog.view(&workspace(), "Recents").await,
        CatalogError::NotFound { what: "view", nearest: Some(n), .. } if n == "recent"
    );
    refused!(
        rig.catalog.snapshot(&workspace(), "invoices", None).await,
        CatalogError::NotFound { what: "dataset", nearest: None, .. }
    );
}

pub async fn commits_are_dense_under_concurrency(rig: &Rig) {
    const TASKS: u64 = 6;
    const EACH: u64 = 8;
    let orders = rig.orders().await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (catalog, orders) = (Arc::clone(&rig.catalog), orders.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                catalog.commit(&append(&orders, 1), at(1)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let commits = rig.catalog.commits(&workspace(), "orders", CommitNumber(0), 1000).await.unwrap();
    let numbers: Vec<_> = commits.iter().map(|commit| commit.number.0).collect();
    assert_eq!(numbers, (1..=TASKS * EACH).collect::<Vec<_>>());
    assert!(commits.iter().all(|commit| commit.batches.len() == 1));
    let snapshot = rig.catalog.snapshot(&workspace(), "orders", None).await.unwrap();
    let added: Vec<_> = snapshot.files.iter().map(|file| file.added.0).collect();
    assert_eq!(added, numbers);
}

pub async fn time_never_runs_back(rig: &Rig) {
    let orders = rig.orders().await;
    let mut times = Vec::new();
    for clock in [100, 50, 120, 119] {
        let Committed::New(commit) =
            rig.catalog.commit(&append(&orders, 1), at(clock)).await.unwrap()
        else {
            panic!("no key was given");
        };
        times.push(commit.time);
    }
    assert_eq!(times, [at(100), at(100), at(120), at(120)]);
    let head = rig.catalog.head(&workspace()).await.unwrap();
    assert_eq!(head, Some((CommitNumber(4), at(120))));
    let snapshot = rig.catalog.snapshot(&workspace(), "orders", None).await.unwrap();
    assert_eq!(snapshot.files[1].runs[0].time, at(100));
}

pub async fn create_with_commit_race(rig: &Rig) {
    let creating = || {
        let create = new_dataset("orders");
        NewCommit { create: Some(create.clone()), ..append(&create.id, 4) }
    };
    let (one, two) = (creating(), creating());
    let (first, second) =
        tokio::join!(rig.catalog.commit(&one, at(1)), rig.catalog.commit(&two, at(1)));
    let outcomes = [first, second];
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let moved =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(CatalogError::Moved))).count();
    assert_eq!((won, moved), (1, 1), "{outcomes:?}");
    let head = rig.catalog.head(&workspace()).await.unwrap();
    assert_eq!(head.map(|(number, _)| number.0), Some(1));
    assert_eq!(rig.catalog.datasets(&workspace()).await.unwrap().len(), 1);
    rig.catalog.create_view(&workspace(), &view("recent")).await.unwrap();
    let create = new_dataset("recent");
    let over_view = NewCommit { create: Some(create.clone()), ..append(&create.id, 4) };
    refused!(
        rig.catalog.commit(&over_view, at(1)).await,
        CatalogError::Exists { what: "view", .. }
    );
}

pub async fn schema_step_race(rig: &Rig) {
    let orders = rig.orders().await;
    let widen = |column: &str| NewCommit {
        schema: Some(step(&["a"], &["a", column])),
        files: vec![new_file(1, schema(&["a", column]).id())],
        ..append(&orders, 0)
    };
    let (one, two) = (widen("b"), widen("c"));
    let (first, second) =
        tokio::join!(rig.catalog.commit(&one, at(1)), rig.catalog.commit(&two, at(1)));
    let moved = [&first, &second].iter().filter(|r| matches!(r, Err(CatalogError::Moved))).count();
    let won = [&first, &second].iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((won, moved), (1, 1));
    assert_eq!(rig.catalog.dataset(&workspace(), "orders").await.unwrap().schema.fields.len(), 2);
    let stays = NewCommit { schema: Some(step(&["a"], &["a"])), ..append(&orders, 1) };
    refused!(rig.catalog.commit(&stays, at(1)).await, CatalogError::Moved);
}

pub async fn keys_repeat_and_are_not_reused(rig: &Rig) {
    let orders = rig.orders().await;
    let first = rig.catalog.commit(&keyed(&orders, "k", "f"), at(1)).await.unwrap();
    let Committed::New(commit) = first else { panic!("the key is new") };
    let repeat = rig.catalog.commit(&keyed(&orders, "k", "f"), at(7)).await.unwrap();
    assert_eq!(repeat, Committed::Repeated(commit.clone()));
    refused!(
        rig.catalog.commit(&keyed(&orders, "k", "other"), at(7)).await,
        CatalogError::KeyReused { commit: CommitNumber(1), .. }
    );
    let known = rig.catalog.key(&workspace(), "orders", "k", at(9)).await.unwrap();
    assert_eq!(known, Some((commit, IngestKey::new("k", "f"))));
    assert_eq!(rig.catalog.key(&workspace(), "orders", "l", at(9)).await.unwrap(), None);
    let answer = IngestKey {
        rejected: 3,
        rejects: Some("rejects.jsonl".into()),
        ..IngestKey::new("l", "f")
    };
    let partial = NewCommit { key: Some(answer.clone()), ..append(&orders, 10) };
    assert_eq!(rig.commit(&partial).await, 2, "refusals use up no number");
    let known = rig.catalog.key(&workspace(), "orders", "l", at(9)).await.unwrap();
    assert_eq!(known.map(|(_, key)| key), Some(answer));
    let files = rig.catalog.snapshot(&workspace(), "orders", None).await.unwrap().files;
    assert_eq!(files.len(), 2);
}

/// What is forgotten is like new, whether or not it was removed.
pub async fn keys_lapse(rig: &Rig) {
    let orders = rig.orders().await;
    let until = |key: &str, fingerprint: &str, second| NewCommit {
        key: Some(IngestKey { until: Some(at(second)), ..IngestKey::new(key, fingerprint) }),
        ..append(&orders, 10)
    };
    rig.commit(&until("a", "f", 100)).await;
    rig.commit(&until("b", "f", 100)).await;
    rig.commit(&keyed(&orders, "c", "f")).await;
    let known = async |key, second| {
        let known = rig.catalog.key(&workspace(), "orders", key, at(second)).await.unwrap();
        known.map(|(commit, _)| commit.number.0)
    };
    assert_eq!([known("a", 99).await, known("a", 100).await], [Some(1), None]);
    let other = until("a", "other", 200);
    refused!(rig.catalog.commit(&other, at(99)).await, CatalogError::KeyReused { .. });
    let again = rig.catalog.commit(&other, at(100)).await.unwrap();
    assert!(matches!(again, Committed::New(commit) if commit.number.0 == 4));
    assert_eq!(known("a", 199).await, Some(4));
    assert_eq!(rig.jobs.forget(at(99), 10).await.unwrap(), 0);
    assert_eq!(rig.jobs.forget(at(300), 1).await.unwrap(), 1);
    assert_eq!(rig.jobs.forget(at(300), 10).await.unwrap(), 1);
    assert_eq!([known("b", 0).await, known("c", 300).await], [None, Some(3)]);
}

/// The same files once more are the same commit, and never `Repeated`: their caller would delete them.
pub async fn a_lost_answer_is_given_again(rig: &Rig) {
    let create = new_dataset("orders");
    let plain = NewCommit { create: Some(create.clone()), ..append(&create.id, 4) };
    let with_key = keyed(&create.id, "k", "f");
    for new in [plain, with_key] {
        let first = rig.catalog.commit(&new, at(1)).await.unwrap();
        assert!(matches!(first, Committed::New(_)));
        assert_eq!(rig.catalog.commit(&new, at(9)).await.unwrap(), first);
    }
    let head = rig.catalog.head(&workspace()).await.unwrap();
    assert_eq!(head, Some((CommitNumber(2), at(1))));
}

pub async fn snapshots_are_of_their_time(rig: &Rig) {
    let orders = rig.commits(2).await;
    let wide = schema(&["a", "b"]);
    let widen = NewCommit {
        schema: Some(step(&["a"], &["a", "b"])),
        files: vec![new_file(3, wide.id()), new_file(4, schema(&["a"]).id())],
        ..append(&orders, 0)
    };
    assert_eq!(rig.commit(&widen).await, 3);
    let read = async |at| {
        let at = Some(CommitNumber(at));
        rig.catalog.snapshot(&workspace(), "orders", at).await
    };
    let old = read(2).await.unwrap();
    assert_eq!((old.files.len(), old.dataset.schema), (2, schema(&["a"])));
    assert_eq!(old.schemas.keys().cloned().collect::<Vec<_>>(), [schema(&["a"]).id()]);
    let new = read(3).await.unwrap();
    assert_eq!((new.files.len(), &new.dataset.schema), (4, &wide));
    assert_eq!(new.files.iter().map(|file| file.rows).collect::<Vec<_>>(), [10, 10, 3, 4]);
    assert_eq!((new.schemas.len(), new.schemas.get(&wide.id())), (2, Some(&wide)));
    assert_eq!(new.files[2].statistics, widen.files[0].statistics);
    let none = read(0).await.unwrap();
    assert_eq!((none.files.len(), none.schemas.len()), (0, 0));
    for beyond in [4, u64::MAX] {
        refused!(read(beyond).await, CatalogError::NotFound { what: "commit", .. });
    }
}

pub async fn commits_are_paged(rig: &Rig) {
    let orders = rig.commits(3).await;
    let other = rig.catalog.create_dataset(&workspace(), &new_dataset("other"), at(0)).await;
    rig.commit(&append(&other.unwrap().id, 1)).await;
    rig.commit(&append(&orders, 1)).await;
    let page = async |after, limit| {
        let after = CommitNumber(after);
        let page = rig.catalog.commits(&workspace(), "orders", after, limit).await.unwrap();
        page.iter().map(|commit| commit.number.0).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(2, 2).await, [3, 5]);
    assert!(page(5, 2).await.is_empty());
    assert!(page(u64::MAX, 2).await.is_empty());
}

pub async fn a_file_needs_a_known_schema(rig: &Rig) {
    let orders = rig.orders().await;
    let files = vec![new_file(1, SchemaId::new("0123456789abcdef"))];
    let odd = NewCommit { files, ..append(&orders, 1) };
    refused!(rig.catalog.commit(&odd, at(1)).await, CatalogError::Database { retry: false, .. });
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap(), None);
    refused!(
        rig.catalog.commit(&append(&DatasetId::new("ds_none"), 1), at(1)).await,
        CatalogError::NotFound { what: "dataset", .. }
    );
}

pub async fn a_mark_has_no_dataset(rig: &Rig) {
    let mark = NewCommit {
        kind: CommitKind::Mark,
        batch: None,
        files: Vec::new(),
        ..append(&DatasetId::new("none"), 0)
    };
    let Committed::New(commit) = rig.catalog.commit(&mark, at(6)).await.unwrap() else {
        panic!("no key was given");
    };
    assert_eq!((commit.dataset, commit.files, commit.number.0), (None, 0, 1));
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap(), Some((CommitNumber(1), at(6))));
}

pub async fn a_batch_is_closed_once(rig: &Rig) {
    let orders = rig.orders().await;
    let batch = Some(BatchId::new("batch-1"));
    let first = NewCommit { batch: batch.clone(), ..append(&orders, 1) };
    rig.commit(&first).await;
    let second = NewCommit { batch, ..append(&orders, 1) };
    refused!(rig.catalog.commit(&second, at(1)).await, CatalogError::Exists { what: "batch", .. });
}

fn removing(dataset: &DatasetId, kind: CommitKind, files: Vec<FileId>) -> NewCommit {
    let remove = Removal::Files(files);
    NewCommit { remove, ..NewCommit::new(workspace(), kind, dataset.clone()) }
}

async fn files_at(rig: &Rig, at: Option<u64>) -> Vec<FileId> {
    let at = at.map(CommitNumber);
    let snapshot = rig.catalog.snapshot(&workspace(), "orders", at).await.unwrap();
    snapshot.files.into_iter().map(|file| file.id).collect()
}

pub async fn a_removed_file_stays_in_older_snapshots(rig: &Rig) {
    let orders = rig.orders().await;
    let (one, two) = (append(&orders, 10), append(&orders, 5));
    let (first, second) = (one.files[0].id.clone(), two.files[0].id.clone());
    rig.commit(&one).await;
    rig.commit(&two).await;
    let batch = one.batch.clone().unwrap();
    let mut revert = removing(&orders, CommitKind::Revert, vec![first.clone()]);
    revert.take_back = vec![batch.clone()];
    let made = rig.catalog.commit(&revert, at(2)).await.unwrap();
    let Committed::New(commit) = made else { panic!("{made:?}") };
    assert_eq!((commit.rows, commit.rows_removed, commit.files_removed), (0, 10, 1));
    assert_eq!(files_at(rig, Some(2)).await, [first.clone(), second.clone()]);
    assert_eq!(files_at(rig, None).await, std::slice::from_ref(&second));
    let known = rig.catalog.batch(&workspace(), &batch).await.unwrap();
    assert_eq!((known.commit, known.taken_back), (Some(CommitNumber(1)), Some(CommitNumber(3))));
    // What has ended cannot end again, and nothing else happens then.
    refused!(
        rig.catalog.commit(&removing(&orders, CommitKind::Revert, vec![first]), at(3)).await,
        CatalogError::Moved
    );
    let again = NewCommit { remove: Removal::Nothing, ..revert };
    refused!(
        rig.catalog.commit(&again, at(3)).await,
        CatalogError::TakenBack { commit, .. } if commit.0 == 3
    );
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap().unwrap().0.0, 3);
    let all = NewCommit {
        remove: Removal::All,
        ..NewCommit::new(workspace(), CommitKind::Replace, orders.clone())
    };
    rig.commit(&all).await;
    assert!(files_at(rig, None).await.is_empty());
    let known = rig.catalog.batch(&workspace(), &two.batch.unwrap()).await.unwrap();
    assert_eq!(known.taken_back, Some(CommitNumber(4)));
    let gone = BatchId::new("ba_gone");
    refused!(rig.catalog.batch(&workspace(), &gone).await, CatalogError::NotFound { .. });
}

pub async fn a_merged_file_stands_for_what_it_came_from(rig: &Rig) {
    let orders = rig.orders().await;
    let appends = [append(&orders, 10), append(&orders, 5)];
    for append in &appends {
        rig.commit(append).await;
    }
    let old: Vec<FileId> = appends.iter().map(|append| append.files[0].id.clone()).collect();
    let run =
        |commit, first_row| CommitRun { commit: CommitNumber(commit), time: at(1), first_row };
    let mut merged = append(&orders, 15).files.remove(0);
    merged.runs = vec![run(1, 0), run(2, 10)];
    let mut compact = removing(&orders, CommitKind::Compact, old.clone());
    compact.files = vec![merged.clone()];
    let made = rig.catalog.commit(&compact, at(2)).await.unwrap();
    let Committed::New(commit) = made else { panic!("{made:?}") };
    assert_eq!((commit.rows, commit.rows_removed, commit.files_removed), (0, 0, 2));
    for snapshot in [Some(1), Some(2), None] {
        assert_eq!(files_at(rig, snapshot).await, std::slice::from_ref(&merged.id));
    }
    // The answer was lost: it is given again.
    let again = rig.catalog.commit(&compact, at(5)).await.unwrap();
    assert_eq!(again, Committed::New(commit));
    // Somebody else merged the same.
    let late = removing(&orders, CommitKind::Compact, old);
    refused!(rig.catalog.commit(&late, at(3)).await, CatalogError::Moved);
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap().unwrap().0.0, 3);
}

/// An append of `rows` rows to the tail.
pub(super) fn small(dataset: &DatasetId, rows: u64) -> NewCommit {
    let mut new = append(dataset, rows);
    let body = Bytes::from(format!("{rows} rows of {}", new.files[0].id));
    new.files[0].bytes = body.len() as u64;
    new.files[0].tail = Some(body);
    new
}

pub async fn small_commits_are_kept_until_they_are_sealed(rig: &Rig) {
    let orders = rig.orders().await;
    assert_eq!(rig.catalog.unsealed(&orders).await.unwrap(), Unsealed::default());
    let news = [small(&orders, 10), append(&orders, 5), small(&orders, 7)];
    for new in &news {
        let Committed::New(commit) = rig.catalog.commit(new, at(4)).await.unwrap() else {
            panic!("no key was used");
        };
        assert_eq!(commit.files, u64::from(new.files[0].tail.is_none()));
    }
    let ids: Vec<FileId> = news.iter().map(|new| new.files[0].id.clone()).collect();
    assert_eq!(files_at(rig, None).await, ids);
    let bodies = rig.catalog.tail(&[ids[2].clone(), ids[0].clone()]).await.unwrap();
    let body = |n: usize| news[n].files[0].tail.clone().unwrap();
    assert_eq!(bodies, [body(2), body(0)]);
    let tail = rig.catalog.unsealed(&orders).await.unwrap();
    let bytes = (body(0).len() + body(2).len()) as u64;
    assert_eq!(tail, Unsealed { files: 2, rows: 17, bytes, since: Some(at(4)) });
    let files = rig.catalog.tail_files(&orders).await.unwrap();
    assert!(files.iter().all(|file| file.in_tail));
    assert_eq!(files.iter().map(|file| &file.id).collect::<Vec<_>>(), [&ids[0], &ids[2]]);

    // Those of the first end, those of the third do not: one file cannot stand for both.
    rig.commit(&removing(&orders, CommitKind::Revert, vec![ids[0].clone()])).await;
    // What has ended is there until it is sealed.
    assert_eq!(rig.catalog.unsealed(&orders).await.unwrap(), tail);
    let run =
        |commit, first_row| CommitRun { commit: CommitNumber(commit), time: at(4), first_row };
    let sealed = |rows: u64, runs: Vec<CommitRun>, files: Vec<FileId>| {
        let mut new = removing(&orders, CommitKind::Compact, files);
        new.files = vec![NewFile { runs, ..append(&orders, rows).files.remove(0) }];
        new
    };
    let both = sealed(17, vec![run(1, 0), run(3, 10)], vec![ids[0].clone(), ids[2].clone()]);
    refused!(rig.catalog.commit(&both, at(5)).await, CatalogError::Moved);
    let ended = sealed(10, vec![run(1, 0)], vec![ids[0].clone()]);
    rig.commit(&ended).await;
    let bytes = body(2).len() as u64;
    let tail = rig.catalog.unsealed(&orders).await.unwrap();
    assert_eq!(tail, Unsealed { files: 1, rows: 7, bytes, since: Some(at(4)) });
    let ended = &ended.files[0].id;
    assert_eq!(files_at(rig, Some(3)).await, [ended, &ids[1], &ids[2]].map(Clone::clone));
    assert_eq!(files_at(rig, None).await, ids[1..]);
    refused!(rig.catalog.tail(&ids[..1]).await, CatalogError::Moved);
    let last = sealed(7, vec![run(3, 0)], vec![ids[2].clone()]);
    rig.commit(&last).await;
    assert_eq!(rig.catalog.unsealed(&orders).await.unwrap(), Unsealed::default());
    // Nothing of it is left to be deleted from the object store.
    let spare =
        Spare { merged_before: at(9), ended_before: at(0), pinned_since: at(0), kept_since: at(0) };
    assert!(rig.catalog.doom(&workspace(), &spare, 10).await.unwrap().is_empty());
}

pub async fn a_full_tail_takes_nothing_more(rig: &Rig) {
    let orders = rig.orders().await;
    for _ in 0..4 {
        let mut new = small(&orders, 1);
        new.files[0].bytes = TAIL_BYTES_MAX / 4;
        rig.commit(&new).await;
    }
    let head = rig.catalog.head(&workspace()).await.unwrap();
    let refused = rig.catalog.commit(&small(&orders, 1), at(9)).await;
    refused!(refused, CatalogError::TailFull { bytes: TAIL_BYTES_MAX });
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap(), head);
    // Data files are taken all the same.
    rig.commit(&append(&orders, 1)).await;
}

/// What is refused in a crowd is refused alone, and the numbers stay dense.
pub async fn commits_in_a_crowd_have_their_own_answers(rig: &Rig) {
    let orders = rig.orders().await;
    let other = NewDataset { id: DatasetId::mint(), ..new_dataset("other") };
    rig.catalog.create_dataset(&workspace(), &other, at(0)).await.unwrap();
    let seen = Some(step(&["a"], &["a"]));
    let plain = |dataset: &DatasetId, key: &str| {
        let new = NewCommit { schema: seen.clone(), ..small(dataset, 1) };
        NewCommit { key: Some(IngestKey::new(key, key)), ..new }
    };
    let first = plain(&orders, "used");
    rig.commit(&first).await;
    let mut news: Vec<NewCommit> = (0..30).map(|n| plain(&orders, &format!("k{n}"))).collect();
    // Half of the keys come twice, one was used before with the same content, one with other.
    news.extend((0..15).map(|n| plain(&orders, &format!("k{n}"))));
    news.extend((0..5).map(|n| plain(&other.id, &format!("k{n}"))));
    news.push(plain(&orders, "used"));
    let fingerprint = Some(IngestKey::new("used", "other"));
    news.push(NewCommit { key: fingerprint, ..small(&orders, 1) });
    news.push(NewCommit { schema: Some(step(&["b"], &["b"])), ..small(&orders, 1) });
    news.push(NewCommit { batch: first.batch.clone(), ..plain(&orders, "batch") });
    news.push(NewCommit { schema: Some(step(&["a"], &["a", "b"])), ..append(&orders, 1) });
    let mut tasks = JoinSet::new();
    for (n, new) in news.into_iter().enumerate() {
        let catalog = Arc::clone(&rig.catalog);
        tasks.spawn(async move { (n, catalog.commit(&new, at(2)).await) });
    }
    let answers: BTreeMap<usize, _> = tasks.join_all().await.into_iter().collect();
    let answers: Vec<&str> = answers.values().map(answer_name).collect();
    // Those that saw other columns than there are since the last one may have come too late for anything else.
    for (n, answer) in answers[..30].iter().enumerate() {
        let mut both = vec![*answer];
        both.extend(answers[30..45].get(n));
        both.sort_unstable();
        assert!(
            matches!(both[..], ["moved" | "new"] | ["moved", "moved"] | ["new", "repeated"]),
            "{n}: {both:?}"
        );
    }
    assert_eq!(answers[45..50], ["new"; 5]);
    assert_eq!(answers[50..53], ["repeated", "key", "moved"]);
    assert!(matches!(answers[53], "batch" | "moved"), "{}", answers[53]);
    assert_eq!(answers[54..], ["new"]);
    let made = answers.iter().filter(|answer| **answer == "new").count();
    let commits = rig.catalog.commits(&workspace(), "orders", CommitNumber(0), 100).await.unwrap();
    let others = rig.catalog.commits(&workspace(), "other", CommitNumber(0), 100).await.unwrap();
    let mut numbers: Vec<u64> = commits.iter().chain(&others).map(|c| c.number.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=made as u64 + 1).collect::<Vec<_>>());
    let tail = rig.catalog.unsealed(&orders).await.unwrap().files;
    let files = commits.iter().filter(|commit| commit.files == 0).count();
    assert_eq!(tail, files as u64);
}

fn answer_name(answer: &Result<Committed, CatalogError>) -> &'static str {
    match answer {
        Ok(Committed::New(_)) => "new",
        Ok(Committed::Repeated(_)) => "repeated",
        Err(CatalogError::Moved) => "moved",
        Err(CatalogError::KeyReused { .. }) => "key",
        Err(CatalogError::Exists { what: "batch", .. }) => "batch",
        Err(_) => "another error",
    }
}
