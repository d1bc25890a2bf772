//! What the README's tour promises, command by command.

use serde_json::json;

use crate::helper::{Sluice, manifest, numbers, rows, text};

#[test]
fn the_same_rows_come_out_in_every_format() {
    let sluice = Sluice::new();
    let file = sluice.file("d.csv", "id,name,at\n1,\"a, b\",2024-05-01T00:00:00Z\n2,,\n");
    sluice.ok(&["dataset", "create", "d", "--time", "at"]);
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let run = |more: &[&str]| {
        let args = [&["export", "run", "--dataset", "d", "--to", &out][..], more].concat();
        let manifest = sluice.ok(&args);
        sluice.ok(&["verify", &manifest]);
        manifest
    };
    let expected =
        [json!({"id":1,"name":"a, b","at":"2024-05-01T00:00:00.000000Z"}), json!({"id":2})];
    assert_eq!(rows(&run(&[])), expected);
    for compression in ["gzip", "zstd"] {
        run(&["--compression", compression]);
        run(&["--format", "csv", "--compression", compression]);
    }
    run(&["--format", "csv", "--option", "csv.escape=backslash"]);
    for compression in ["none", "snappy", "gzip", "zstd"] {
        let path = run(&["--format", "parquet", "--compression", compression]);
        let parquet = &manifest(&path).0["files"][0]["path"];
        assert_eq!(parquet, "part-00000.parquet");
    }
}

#[test]
fn columns_conditions_and_windows_choose_rows() {
    let sluice = Sluice::new();
    let line = |n| format!("{{\"n\":{n},\"at\":\"2024-05-0{n}T00:00:00Z\"}}");
    let lines: Vec<String> = (1..=9).map(line).collect();
    let file = sluice.file("d.jsonl", lines.join("\n"));
    sluice.ok(&["dataset", "create", "d", "--time", "at"]);
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--columns", "n*10 AS x"];
    let window = ["--since", "2024-05-03T00:00:00Z", "--until", "2024-05-06T00:00:00Z"];
    let args = [&export[..], &window, &["--where", "n <> 4"]].concat();
    assert_eq!(rows(&sluice.ok(&args)), [json!({"x":30}), json!({"x":50})]);
}

#[test]
fn a_filter_may_leave_nothing_of_a_part_or_of_the_whole() {
    let sluice = Sluice::new();
    let file = sluice.file("d.jsonl", numbers(0, 100));
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--file-rows", "10"];
    let run = |filter| {
        let path = sluice.ok(&[&export[..], &["--where", filter]].concat());
        sluice.ok(&["verify", &path]);
        let found: Vec<u64> = rows(&path).iter().map(|row| row["n"].as_u64().expect("n")).collect();
        (found, manifest(&path).0["totals"]["files"].clone())
    };
    assert_eq!(run("n IN (3, 55)"), (vec![3, 55], json!(2)));
    assert_eq!(run("n < 0"), (vec![], json!(0)));
    for _ in 0..2 {
        let saved = ["--incremental", "e", "--where", "n = 55"];
        sluice.ok(&[&export[..], &saved].concat());
    }
}

#[test]
fn an_increment_holds_only_what_is_new() {
    let sluice = Sluice::new();
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
    for (from, to) in [(0, 10), (10, 15)] {
        let file = sluice.file("n.jsonl", numbers(from, to));
        sluice.ok(&["import", "d", &file]);
        let path = sluice.ok(&export);
        let found: Vec<u64> = rows(&path).iter().map(|row| row["n"].as_u64().expect("n")).collect();
        assert_eq!(found, (from..to).collect::<Vec<_>>());
    }
    let empty = sluice.ok(&export);
    let (content, _) = manifest(&empty);
    assert_eq!(content["totals"], json!({"rows":0,"bytes":0,"files":0}));
    assert_eq!((&content["from_commit"], &content["to_commit"]), (&json!(4), &json!(4)));
    sluice.ok(&["verify", &empty, "--chain"]);
}

#[test]
fn a_hard_maximum_of_bytes_is_kept() {
    let sluice = Sluice::new();
    let file = sluice.file("n.jsonl", numbers(0, 5000));
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let path =
        sluice.ok(&["export", "run", "--dataset", "d", "--to", &out, "--file-size", "20KiB"]);
    let (content, _) = manifest(&path);
    let files = content["files"].as_array().expect("files");
    assert!(files.len() > 5 && files.iter().all(|f| f["bytes"].as_u64().expect("n") <= 20 * 1024));
    assert_eq!(rows(&path).len(), 5000);
    sluice.ok(&["verify", &path]);
}

#[test]
fn a_plan_writes_nothing_and_says_what_would_be() {
    let sluice = Sluice::new();
    let file = sluice.file("n.jsonl", numbers(0, 100));
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let args = ["export", "plan", "--dataset", "d", "--to", &out, "--file-rows", "30"];
    let plan = sluice.json(&args);
    assert_eq!(plan["rows"], 100);
    assert_eq!(plan["parts"].as_array().expect("parts").len(), 4);
    assert!(!sluice.path("out").exists());
    assert_eq!(sluice.json(&["run", "list"]), json!([]));
}

#[test]
fn views_and_sql_answer_and_export() {
    let sluice = Sluice::new();
    let file = sluice.file("n.jsonl", numbers(0, 100));
    sluice.ok(&["import", "d", &file]);
    sluice.ok(&["view", "create", "few", "SELECT n, t FROM d WHERE n < 3"]);
    let out = text(&sluice.path("out"));
    assert_eq!(rows(&sluice.ok(&["export", "run", "--view", "few", "--to", &out])).len(), 3);
    let sql = "SELECT n % 2 AS odd, count(*) AS rows FROM d GROUP BY n % 2 ORDER BY odd";
    let path = sluice.ok(&["export", "run", "--sql", sql, "--to", &out]);
    assert_eq!(rows(&path), [json!({"odd":0,"rows":50}), json!({"odd":1,"rows":50})]);
    assert_eq!(sluice.ok(&["sql", "SELECT sum(n) AS s FROM few", "--format", "csv"]), "s\n3");
    let commits = sluice.ok(&["sql", "SELECT DISTINCT _commit AS c FROM d", "--format", "jsonl"]);
    assert_eq!(commits, "{\"c\":1}");
    let history = sluice.json(&["commits", "d"]);
    assert_eq!((&history[0]["kind"], &history[0]["rows"]), (&json!("append"), &json!(100)));
}

#[test]
fn columns_may_be_added_and_older_rows_lack_them() {
    let sluice = Sluice::new();
    let a = sluice.file("a.jsonl", "{\"n\":1,\"s\":{\"x\":1}}\n");
    let b = sluice.file("b.jsonl", "{\"n\":2,\"s\":{\"x\":2,\"y\":[1]},\"m\":true}\n");
    sluice.ok(&["import", "d", &a]);
    sluice.ok(&["import", "d", &b]);
    let out = text(&sluice.path("out"));
    let path = sluice.ok(&["export", "run", "--dataset", "d", "--to", &out]);
    let expected = [json!({"n":1,"s":{"x":1}}), json!({"n":2,"s":{"x":2,"y":[1]},"m":true})];
    assert_eq!(rows(&path), expected);
}

#[test]
fn the_doctor_finds_a_healthy_folder_healthy() {
    let sluice = Sluice::new();
    let checks = sluice.json(&["doctor"]);
    assert!(checks.as_array().expect("an array").iter().all(|check| check["ok"] == true));
}

#[test]
fn several_processes_import_into_one_folder() {
    let sluice = Sluice::new();
    let children: Vec<_> = (0..4)
        .map(|n| {
            let file = sluice.file(&format!("{n}.jsonl"), numbers(n * 10, n * 10 + 10));
            sluice.command(&["import", "d", &file]).spawn().expect("the program starts")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    let shown = sluice.json(&["dataset", "show", "d"]);
    assert_eq!((&shown["rows"], &shown["commit"]), (&json!(40), &json!(4)));
}
