//! Small commits, mistaken batches: merged and taken back, and no export notices.

use serde_json::Value;

use crate::helper::{Sluice, manifest, numbers, rows, text};

/// Imports numbered files of ten rows each, which go to the tail; returns the batches.
fn batches(sluice: &Sluice, numbered: std::ops::Range<u64>) -> Vec<String> {
    let batch = |n: u64| {
        let file = sluice.file(&format!("{n}.jsonl"), numbers(n * 10, n * 10 + 10));
        let report = sluice.json(&["import", "d", &file]);
        report["batch"].as_str().expect("a batch").to_owned()
    };
    numbered.map(batch).collect()
}

fn values(path: &str) -> Vec<u64> {
    rows(path).iter().map(|row| row["n"].as_u64().expect("a number")).collect()
}

fn export(sluice: &Sluice, more: &[&str]) -> String {
    let out = text(&sluice.path("out"));
    let args = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
    sluice.ok(&[&args[..], more].concat())
}

fn reset(path: &str) -> Value {
    manifest(path).0["reset"].clone()
}

#[test]
fn merged_files_give_the_same_increments() {
    let sluice = Sluice::new();
    batches(&sluice, 0..6);
    let first = export(&sluice, &["--to-commit", "3"]);
    assert_eq!(values(&first), (0..30).collect::<Vec<_>>());
    // The run has sealed the three small commits it reads, in commit 7; five more follow.
    batches(&sluice, 6..8);
    let shown = sluice.json(&["dataset", "show", "d"]);
    assert_eq!((&shown["files"], &shown["tail"]), (&1.into(), &50.into()));
    let done = sluice.json(&["compact", "d"]);
    assert_eq!((&done["rows_sealed"], &done["files_merged"]), (&50.into(), &2.into()));
    let shown = sluice.json(&["dataset", "show", "d"]);
    assert_eq!((&shown["files"], &shown["tail"]), (&1.into(), &0.into()));
    assert_eq!((&shown["rows"], &shown["batches"]), (&80.into(), &8.into()));
    let second = export(&sluice, &["--to-commit", "5"]);
    assert_eq!(values(&second), (30..50).collect::<Vec<_>>());
    let third = export(&sluice, &[]);
    assert_eq!(values(&third), (50..80).collect::<Vec<_>>());
    assert_eq!(reset(&third), serde_json::json!([]));
    sluice.ok(&["verify", &third, "--chain"]);
    // An older snapshot is still what it was.
    let out = text(&sluice.path("out"));
    let old = ["export", "run", "--dataset", "d", "--to", &out, "--to-commit", "2"];
    assert_eq!(values(&sluice.ok(&old)), (0..20).collect::<Vec<_>>());
    assert!(sluice.ok(&["compact", "d"]).contains("nothing to do"));
    sluice.fails(&["compact", "nobody"], 2, &["nobody"]);
}

#[test]
fn a_batch_is_taken_back_out_of_a_merged_file() {
    let sluice = Sluice::new();
    let ids = batches(&sluice, 0..4);
    sluice.ok(&["compact", "d"]);
    export(&sluice, &[]);
    let said = sluice.ok(&["revert", &ids[1]]);
    assert!(said.contains("10 rows"), "{said}");
    let kept: Vec<u64> = (0..10).chain(20..40).collect();
    let all = sluice.ok(&["sql", "SELECT n FROM d", "--format", "csv"]);
    let all: Vec<u64> = all.lines().skip(1).map(|line| line.parse().expect("a number")).collect();
    assert_eq!(all, kept);
    // No new rows, but the increment says that some have ended.
    let increment = export(&sluice, &[]);
    assert_eq!((values(&increment), reset(&increment)), (Vec::new(), serde_json::json!([6])));
    sluice.ok(&["verify", &increment, "--chain"]);

    sluice.fails(&["revert", &ids[1]], 2, &["commit 6", "nothing left"]);
    sluice.fails(&["revert", &ids[0][..ids[0].len() - 1]], 2, &["no batch", &ids[0]]);
    sluice.fails(&["revert", "nonsense"], 2, &["no batch `nonsense`"]);
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 30);
}

#[test]
fn rows_are_put_in_the_place_of_others() {
    let sluice = Sluice::new();
    let ids = batches(&sluice, 0..3);
    let file = sluice.file("new.jsonl", numbers(100, 105));
    sluice.ok(&["import", "d", &file, "--replace", &ids[0], &ids[2]]);
    let count = || sluice.json(&["dataset", "show", "d"])["rows"].clone();
    assert_eq!(count(), 15);
    sluice.fails(&["import", "d", &file, "--replace", &ids[0]], 2, &[&ids[0], "commit 4"]);
    assert_eq!(count(), 15);
    let whole = sluice.file("whole.jsonl", numbers(200, 203));
    let args = ["import", "d", whole.as_str(), "--key", "k", "--replace"];
    sluice.ok(&args);
    sluice.ok(&args);
    assert_eq!(count(), 3);
    let manifest = export(&sluice, &[]);
    assert_eq!(values(&manifest), [200, 201, 202]);
    assert_eq!(reset(&manifest), serde_json::json!([4, 5]));
    sluice.fails(&["import", "new", &file, "--replace", "ba_x"], 2, &["no batch `ba_x`"]);
    let kinds = sluice.json(&["commits", "d"]);
    let last = &kinds.as_array().expect("an array")[4];
    assert_eq!((&last["kind"], &last["rows_removed"]), (&"replace".into(), &15.into()));
}

#[test]
fn old_rows_are_removed_to_the_row_and_not_before_they_were_delivered() {
    let sluice = Sluice::new();
    let line = |n| format!("{{\"n\":{n},\"at\":\"2024-05-{:02}T00:00:00Z\"}}\n", n + 1);
    sluice.ok(&["dataset", "create", "d", "--time", "at"]);
    let import = |from: u64, to: u64| {
        let text: String = (from..to).map(line).collect();
        let file = sluice.file("d.jsonl", format!("{text}{{\"n\":{to}00,\"at\":null}}\n"));
        sluice.ok(&["import", "d", &file]);
    };
    import(0, 10);
    export(&sluice, &[]);
    import(10, 20);
    let before = |time| ["expire", "d", "--before", time];
    sluice.fails(&before("2024-05-15T00:00:00Z"), 2, &["`e`", "commit 2", "4 rows"]);
    let done = sluice.ok(&before("2024-05-05T00:00:00Z"));
    assert!(done.contains("4 rows"), "{done}");
    let all = sluice.ok(&["sql", "SELECT n FROM d", "--format", "csv"]);
    let all: Vec<u64> = all.lines().skip(1).map(|line| line.parse().expect("a number")).collect();
    assert_eq!(all, (4..10).chain([1000]).chain(10..20).chain([2000]).collect::<Vec<_>>());
    export(&sluice, &[]);
    sluice.ok(&before("2024-05-15T00:00:00Z"));
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 8);
    assert!(sluice.ok(&before("2024-05-15T00:00:00Z")).contains("nothing to do"));
    sluice.fails(&["expire", "nobody", "--before", "2024-05-15T00:00:00Z"], 2, &["nobody"]);
    sluice.fails(&["expire", "d", "--before", "yesterday"], 2, &["--before"]);
    // Without a time column the commit's own time counts.
    let file = sluice.file("x.jsonl", numbers(0, 5));
    sluice.ok(&["import", "x", &file]);
    assert!(sluice.ok(&["expire", "x", "--before", "2020-01-01T00:00:00Z"]).contains("nothing"));
    assert!(sluice.ok(&["expire", "x", "--before", "2999-01-01T00:00:00Z"]).contains("5 rows"));
}

#[test]
fn leftovers_are_swept_and_nothing_else() {
    let sluice = Sluice::new();
    batches(&sluice, 0..1);
    let id = sluice.json(&["dataset", "show", "d"])["id"].as_str().expect("an id").to_owned();
    let folder = sluice.path("sluice-data/lake/data").join(id);
    sluice.ok(&["compact", "d"]);
    let file = |n: u32| format!("fi_{n:032x}.parquet");
    let unfinished = format!(".{}.fi_{:032x}.part", file(2), 2);
    let old = [file(1), unfinished.clone(), "notes.txt".to_owned()];
    for name in old.iter().chain([&file(3)]) {
        std::fs::write(folder.join(name), "left").expect("written");
    }
    for name in &old {
        let file = std::fs::File::options().write(true).open(folder.join(name)).expect("there");
        file.set_modified(std::time::UNIX_EPOCH).expect("set");
    }
    let done = sluice.json(&["compact", "d"]);
    assert_eq!(done["swept"]["files"], 1);
    let there = |name: &str| folder.join(name).exists();
    assert!(!there(&file(1)) && !there(&unfinished));
    // Not ours, and too young.
    assert!(there("notes.txt") && there(&file(3)));
    assert_eq!(sluice.json(&["compact", "d"])["swept"]["files"], 0);
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 10);
    sluice.ok(&["sql", "SELECT count(*) FROM d"]);
}
