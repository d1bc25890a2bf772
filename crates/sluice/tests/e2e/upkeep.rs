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

#[test]
fn damaged_files_are_named_and_a_scrub_finds_a_changed_byte() {
    let sluice = Sluice::new();
    sluice.configure("[lake]\ntail_bytes = 0\n");
    let ids = batches(&sluice, 0..3);
    sluice.ok(&["doctor", "--scrub"]);
    let id = sluice.json(&["dataset", "show", "d"])["id"].as_str().expect("an id").to_owned();
    let folder = sluice.path("sluice-data/lake/data").join(id);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    let name = |n: usize| files[n].file_name().expect("a name").to_string_lossy().into_owned();
    let mut bytes = std::fs::read(&files[0]).expect("readable");
    bytes[30] ^= 1;
    std::fs::write(&files[0], &bytes).expect("written");
    assert!(sluice.ok(&["doctor"]).contains("3 up to 1.0 MiB"));
    let said = sluice.run(&["doctor", "--scrub"]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stdout.contains(&name(0)) && said.stdout.contains("have changed"));

    std::fs::remove_file(&files[1]).expect("there");
    let said = sluice.run(&["doctor"]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stdout.contains(&name(1)) && said.stdout.contains("10 rows"), "{}", said.stdout);
    sluice.fails(&["sql", "SELECT max(t) FROM d"], 1, &[&name(1)]);
    sluice.fails(&["compact", "d"], 1, &["could not read"]);
    let shown = sluice.json(&["dataset", "show", "d"]);
    assert_eq!((&shown["rows"], &shown["files"]), (&30.into(), &3.into()));
    // What was lost is imported again in its place.
    let file = sluice.file("again.jsonl", numbers(0, 30));
    let args = [
        &["import", "d", &file, "--replace"][..],
        &ids.iter().map(String::as_str).collect::<Vec<_>>(),
    ];
    sluice.ok(&args.concat());
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 30);
    sluice.ok(&["sql", "SELECT * FROM d"]);
}

#[test]
fn rules_remove_old_rows_and_say_what_is_in_their_way() {
    let sluice = Sluice::new();
    sluice.ok(&["dataset", "create", "d", "--time", "at"]);
    let file = sluice.file(
        "d.jsonl",
        "{\"n\":1,\"at\":\"2020-01-01T00:00:00Z\"}\n{\"n\":2,\"at\":\"2999-01-01T00:00:00Z\"}\n",
    );
    sluice.ok(&["import", "d", &file]);
    sluice.fails(&["expire", "d"], 2, &["no retention rule", "--before"]);
    sluice.fails(&["dataset", "keep", "d"], 2, &["--forever"]);
    sluice.fails(&["dataset", "keep", "d", "--days", "0"], 2, &["--days"]);
    sluice.fails(&["dataset", "keep", "nobody", "--days", "3"], 2, &["nobody"]);
    assert!(sluice.ok(&["dataset", "keep", "d", "--days", "30"]).contains("30 days"));
    export(&sluice, &[]);
    sluice.ok(&["import", "d", &file]);
    let shown = sluice.ok(&["dataset", "show", "d"]);
    for part in ["keep     30 days", "tail     2 rows of 1 small commit", "the export `e` needs"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let said = sluice.ok(&["upkeep"]);
    assert!(said.contains("not all is done for `d`: the export `e`"), "{said}");
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 4);
    assert!(sluice.ok(&["doctor"]).contains("export `e` needs rows of `d` after commit 2"));
    export(&sluice, &[]);
    let said = sluice.json(&["upkeep"]);
    assert_eq!(said["datasets"][0]["rows_removed"], 2);
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 2);
    assert!(sluice.ok(&["expire", "d"]).contains("nothing to do"));
    sluice.ok(&["dataset", "keep", "d", "--forever"]);
    assert_eq!(sluice.json(&["dataset", "show", "d"])["keep_days"], Value::Null);
}

#[test]
fn several_processes_at_once_lose_and_double_nothing() {
    let sluice = Sluice::new();
    batches(&sluice, 0..1);
    let sluice = &sluice;
    std::thread::scope(|scope| {
        for importer in 1..3 {
            scope.spawn(move || {
                for n in 0..8 {
                    let from = importer * 1000 + n * 10;
                    let file = sluice.file(&format!("{from}.jsonl"), numbers(from, from + 10));
                    sluice.ok(&["import", "d", &file]);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                for _ in 0..6 {
                    // One is told where the other was faster with everything.
                    let said = sluice.run(&["compact", "d"]);
                    assert!(
                        said.code == 0 || said.stderr.contains("nothing is lost"),
                        "{}",
                        said.stderr
                    );
                }
            });
        }
        scope.spawn(move || {
            for _ in 0..4 {
                export(sluice, &[]);
            }
        });
    });
    let last = export(sluice, &[]);
    sluice.ok(&["verify", &last, "--chain"]);
    let wanted = (0..10).chain(1000..1080).chain(2000..2080).collect::<Vec<_>>();
    let mut found = Vec::new();
    let folder = std::path::Path::new(&last).ancestors().nth(2).expect("above the run's own");
    for run in std::fs::read_dir(folder).expect("there") {
        let path = run.expect("readable").path().join("manifest.json");
        found.extend(values(&text(&path)));
    }
    found.sort_unstable();
    assert_eq!(found, wanted);
    let all = sluice.ok(&["sql", "SELECT n FROM d ORDER BY n", "--format", "csv"]);
    let all: Vec<u64> = all.lines().skip(1).map(|line| line.parse().expect("a number")).collect();
    assert_eq!(all, wanted);
    sluice.ok(&["doctor", "--scrub"]);
}
