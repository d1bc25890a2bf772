//! Exports that deliver into a dataset: their seal is a commit.

use serde_json::{Value, json};

use crate::crash::{NAMES, SYNCS, WRITES, finish, killed_at, kills};
use crate::helper::{Sluice, numbers, text};
use crate::runs::{ended, id};
use crate::server::Server;

/// The one number that a query returns.
#[track_caller]
fn number(sluice: &Sluice, sql: &str) -> u64 {
    let row = sluice.json(&["sql", sql]);
    row["x"].as_u64().unwrap_or_else(|| panic!("{sql}: {row}"))
}

fn import(sluice: &Sluice, dataset: &str, from: u64, to: u64) {
    let file = sluice.file(&format!("{dataset}-{from}.jsonl"), numbers(from, to));
    sluice.ok(&["import", dataset, &file]);
}

#[test]
fn rows_arrive_all_at_once_and_each_once() {
    let sluice = Sluice::new();
    import(&sluice, "d", 0, 10_000);
    let run = |args: &[&str]| {
        let all = ["export", "run", "--dataset", "d", "--to", "dataset:copy?batch=file"];
        sluice.json(&[&all[..], &["--incremental", "into"], args].concat())
    };
    let first = run(&["--file-rows", "3000", "--columns", "n, t, n * 2 as twice"]);
    let expected = json!(["dataset:copy?batch=file", 10_000, 4]);
    assert_eq!(json!([first["manifest"], first["rows"], first["files"]]), expected, "{first}");
    let rows = "SELECT count(distinct n) * 1000000 + count(*) AS x FROM copy WHERE twice = n * 2";
    assert_eq!(number(&sluice, rows), 10_000_010_000);
    // A commit for each batch, all of them seen at once.
    let commits = "SELECT count(distinct _commit) AS x FROM copy";
    assert_eq!(number(&sluice, commits), 4);
    import(&sluice, "d", 10_000, 10_500);
    run(&["--file-rows", "3000", "--columns", "n, t, n * 2 as twice"]);
    run(&["--file-rows", "3000", "--columns", "n, t, n * 2 as twice"]);
    assert_eq!(number(&sluice, rows), 10_500_010_500);
    assert_eq!(number(&sluice, commits), 5);
    // A batch is taken back by itself; the rest stays, also after everything was merged.
    sluice.ok(&["compact", "copy"]);
    let batch = format!("{}-00001", first["id"].as_str().expect("an id"));
    sluice.ok(&["revert", &batch]);
    assert_eq!(number(&sluice, "SELECT count(*) AS x FROM copy"), 7_500);
    assert_eq!(number(&sluice, "SELECT count(*) AS x FROM copy WHERE n BETWEEN 3000 AND 5999"), 0);
    // The copy is a dataset like any other.
    let out = text(&sluice.path("out"));
    let manifest = sluice.ok(&["export", "run", "--dataset", "copy", "--to", &out]);
    sluice.ok(&["verify", &manifest]);
}

#[test]
fn a_whole_export_comes_in_the_place_of_the_one_before() {
    let sluice = Sluice::new();
    import(&sluice, "d", 0, 100);
    let run = |sql: &str| {
        sluice.ok(&["export", "run", "--sql", sql, "--to", "dataset:sums?write=replace"]);
    };
    let sums = "SELECT n % 10 AS k, count(*) AS c FROM d GROUP BY n % 10 ORDER BY k";
    run(sums);
    run(sums);
    let state = "SELECT count(*) * 1000 + sum(c) AS x FROM sums";
    assert_eq!(number(&sluice, state), 10_100);
    import(&sluice, "d", 100, 150);
    run(sums);
    assert_eq!(number(&sluice, state), 10_150);
    run("SELECT n AS k, n AS c FROM d WHERE n < 0");
    assert_eq!(number(&sluice, "SELECT count(*) AS x FROM sums"), 0);
    // Parquet is copied as it is, and the rows are as they were.
    sluice.ok(&["export", "run", "--dataset", "d", "--to", "dataset:same"]);
    let both = "SELECT count(*) AS x FROM d JOIN same ON d.n = same.n AND d.t = same.t";
    assert_eq!(number(&sluice, both), 150);
}

#[test]
fn what_a_dataset_cannot_take_is_refused_before_anything_is_written() {
    let sluice = Sluice::new();
    import(&sluice, "d", 0, 10);
    let schema = r#"{"fields":[{"name":"n","type":"string"}]}"#;
    let schema = sluice.file("schema.json", schema);
    sluice.ok(&["dataset", "create", "other", "--schema", &schema]);
    sluice.ok(&["view", "create", "v", "SELECT n FROM d"]);
    let fails = |to: &str, more: &[&str], words: &[&str]| {
        let all = ["export", "run", "--dataset", "d", "--to", to];
        sluice.fails(&[&all[..], more].concat(), 2, words);
    };
    fails("dataset:other", &[], &["`other`", "`n` is `string`", "`int64`"]);
    fails("dataset:v", &[], &["view `v` exists already"]);
    fails("dataset:d", &[], &["`d` is read by the export"]);
    fails("dataset:x", &["--format", "csv"], &["takes Parquet", "not csv", "leave `format`"]);
    fails("dataset:x", &["--compression", "gzip"], &["takes Parquet", "`gzip`"]);
    fails("dataset:x", &["--name", "{date}/{part}"], &["leave `name` and `folder` out"]);
    fails("dataset:x", &["--columns", "n as \"_commit\""], &["`_commit`", "another name"]);
    fails("dataset:../x", &[], &["cannot be the name of a dataset"]);
    fails("dataset:x?write=merge", &[], &["`write=merge` is no option", "write=replace"]);
    let replace = "dataset:x?write=replace";
    fails(replace, &["--incremental", "e"], &["only all rows", "`x`", "`full`"]);
    fails(replace, &["--from-commit", "1"], &["only all rows"]);
    let save = ["export", "save", "e", "--dataset", "d", "--to", replace];
    sluice.fails(&save, 2, &["only all rows"]);
    let window = [&save[..], &["--mode", "window", "--every", "60"]].concat();
    sluice.fails(&window, 2, &["only all rows"]);
    import(&sluice, "other_rows", 0, 3);
    let group =
        ["group", "save", "g", "--dataset", "d", "--dataset", "other_rows", "--to", replace];
    let group = [&group[..], &["--mode", "full"]].concat();
    sluice.fails(&group, 2, &["only all rows"]);
    let view = ["export", "run", "--view", "v", "--to", "dataset:d"];
    sluice.fails(&view, 2, &["`d` is read by the export"]);
    let sql = ["export", "run", "--sql", "SELECT count(*) AS n FROM d", "--to", "dataset:d"];
    sluice.fails(&sql, 2, &["`d` is read by the export"]);
    let names = sluice.json(&["dataset", "list"]);
    assert_eq!(names.as_array().map(Vec::len), Some(3), "{names}");
    assert_eq!(sluice.json(&["run", "list"]), json!([]));
    assert!(!sluice.path("sluice-data/lake/data/runs").exists());
}

#[test]
fn a_server_delivers_into_datasets_of_the_workspace() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 50), &[]).ok(200);
    let save = json!({ "export": { "dataset": "d", "destination": "dataset:copy" } });
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    sluice.ok(&["principal", "create", "exporter"]);
    let token = ["token", "create", "--principal", "exporter", "--scope", "export:run"];
    let token = sluice.ok(&token);
    let put = |token: &str| {
        let body = save.to_string();
        server.send("PUT", "/v1/exports/into", (token, &headers), body.as_bytes())
    };
    let refused = put(&token).problem(403, "forbidden", &["`data:write`"]);
    assert_eq!(refused["field"], "destination");
    let saved = put(&server.admin).ok(201);
    assert!(saved.get("first_file").is_none(), "{saved}");
    // Nor does anything run for whoever may not write there.
    for path in ["/v1/exports/into/run", "/v1/exports/into/backfill"] {
        let headers = [("content-type", "application/json")];
        let answer = server.send("POST", path, (&token, &headers), b"{}");
        answer.problem(403, "forbidden", &["`data:write`"]);
    }
    let form = json!([saved["destination"], saved["format"]["format"]]);
    assert_eq!(form, json!(["dataset:copy", "parquet"]));
    let sealed = |body: Value| {
        let run = server.post("/v1/exports/into/run", &body).ok(201);
        let run = ended(&server, &id(&run));
        assert_eq!(run["state"], "sealed", "{run}");
        run
    };
    let run = sealed(json!({}));
    let count = || server.sql("SELECT count(*) AS x FROM copy")[0]["x"].clone();
    assert_eq!(count(), 50);
    let path = format!("/v1/runs/{}", id(&run));
    let manifest = server.get(&format!("{path}/manifest")).ok(200);
    assert_eq!((&manifest["totals"]["rows"], &manifest["format"]), (&50.into(), &"parquet".into()));
    // Its rows are a batch with its id, and are not delivered twice.
    let again = server.post(&format!("{path}/rerun"), &json!({}));
    again.problem(409, "conflict", &["`copy`", "would come twice"]);
    server.get(&format!("{path}/files/1")).problem(409, "conflict", &["are in the dataset `copy`"]);
    let batch = server.get(&format!("/v1/batches/{}", id(&run))).ok(200);
    assert_eq!((&batch["state"], batch["commit"].is_u64()), (&"closed".into(), true), "{batch}");
    server.rows("d", &numbers(50, 60), &[]).ok(200);
    sealed(json!({}));
    assert_eq!(count(), 60);
}

#[test]
fn an_export_into_a_dataset_killed_anywhere_delivers_every_row_once() {
    let mut killed = 0;
    for (calls, step) in [(SYNCS, 2), (NAMES, 2), (WRITES, 9)] {
        for n in (1..).step_by(step).take(kills()) {
            let sluice = Sluice::new();
            import(&sluice, "d", 0, 300);
            let export = ["export", "run", "--dataset", "d", "--to", "dataset:copy"];
            let more = ["--incremental", "e", "--file-rows", "70", "--where", "n <> 7"];
            let args = [&export[..], &more].concat();
            let dead = killed_at(&sluice, calls, n, &args);
            finish(&sluice);
            import(&sluice, "d", 300, 400);
            sluice.ok(&args);
            let rows = "SELECT count(distinct n) * 1000 + count(*) AS x FROM copy";
            assert_eq!(number(&sluice, rows), 399_399, "killed at {calls} {n}");
            let runs = sluice.json(&["run", "list"]);
            let sealed = |run: &Value| run["state"] == "sealed";
            assert!(runs.as_array().expect("runs").iter().all(sealed), "{calls} {n}: {runs}");
            if !dead {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 0, "never killed");
}
