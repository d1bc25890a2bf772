//! Exports over HTTP: asked for, worked on by the server, fetched, and finished after a crash.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers};
use crate::server::{Answer, Server};

/// The SHA-256 of bytes, as hex.
fn sha256(bytes: &[u8]) -> String {
    model::digest::sha256_hex(bytes)
}

#[track_caller]
pub(crate) fn id(run: &Value) -> String {
    run["id"].as_str().expect("an id").to_owned()
}

/// Waits for a run's end.
#[track_caller]
pub(crate) fn ended(server: &Server, run: &str) -> Value {
    loop {
        let run = server.get(&format!("/v1/runs/{run}?wait=60")).ok(200);
        if !run["ended_at"].is_null() {
            return run;
        }
    }
}

pub(crate) fn file(server: &Server, run: &str, number: u64, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/v1/runs/{run}/files/{number}");
    server.send("GET", &path, (&server.admin, headers), b"")
}

/// The rows of every file of a sealed run, whose sums are those of its manifest.
#[track_caller]
fn rows(server: &Server, run: &str) -> Vec<Value> {
    let manifest = server.get(&format!("/v1/runs/{run}/manifest")).ok(200);
    let mut rows = Vec::new();
    for (number, entry) in (1..).zip(manifest["files"].as_array().expect("a list")) {
        let answer = file(server, run, number, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(entry["sha256"], sha256(answer.text.as_bytes()));
        rows.extend(
            answer.text.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON")),
        );
    }
    assert_eq!(manifest["totals"]["rows"], rows.len());
    rows
}

#[test]
fn an_export_is_asked_for_and_fetched() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let plan = server.post("/v1/exports/plan", &json!({ "dataset": "d", "file_rows": 4 })).ok(200);
    assert_eq!((&plan["rows"], &plan["files"]), (&10.into(), &3.into()), "{plan}");
    let ask = json!({ "dataset": "d", "file_rows": 4, "export": "partner" });
    let run = id(&server.post("/v1/runs", &ask).ok(201));
    let sealed = ended(&server, &run);
    assert_eq!(
        (&sealed["state"], &sealed["manifest"]["rows"], &sealed["metrics"]["parts_written"]),
        (&"sealed".into(), &10.into(), &3.into()),
        "{sealed}"
    );
    let manifest = server.get(&format!("/v1/runs/{run}/manifest"));
    assert_eq!(sealed["manifest"]["sha256"], sha256(manifest.text.as_bytes()));
    assert_eq!(rows(&server, &run).len(), 10);
    // The rest of a download, and what is not there.
    let whole = file(&server, &run, 2, &[]).text;
    let rest = file(&server, &run, 2, &[("range", "bytes=7-")]);
    assert_eq!((rest.status, &*rest.text), (206, &whole[7..]));
    let tag = format!("\"{}\"", sha256(whole.as_bytes()));
    let known = [("range", "bytes=0-3"), ("if-range", &*tag)];
    assert_eq!(file(&server, &run, 2, &known).text, whole[..4]);
    assert_eq!(file(&server, &run, 2, &[("if-none-match", &tag)]).status, 304);
    file(&server, &run, 2, &[("range", "bytes=9000-")]).problem(416, "invalid", &["range"]);
    for number in [0, 4] {
        file(&server, &run, number, &[]).problem(404, "not_found", &["it has 3"]);
    }
    let parts = server.get(&format!("/v1/runs/{run}/parts?limit=2")).ok(200);
    assert_eq!(parts["next"], "00001");
    let rest = server.get(&format!("/v1/runs/{run}/parts?limit=2&after=00001")).ok(200);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(1), &Value::Null));
    // Only what is new comes next.
    server.rows("d", &numbers(10, 13), &[]).ok(200);
    let next = id(&server.post("/v1/runs", &ask).ok(201));
    ended(&server, &next);
    assert_eq!(rows(&server, &next).len(), 3);
    assert_eq!(server.get("/v1/exports/partner").ok(200)["last_run"], next);
    let listed = server.get("/v1/runs?limit=1").ok(200);
    assert_eq!((&listed["items"][0]["id"], &listed["next"]), (&json!(next), &json!(next)));
    // The command line sees the same.
    assert_eq!(sluice.json(&["run", "list"]).as_array().map(Vec::len), Some(2));
    let folder = sluice.path(&format!("sluice-data/managed/default/partner/{run}/manifest.json"));
    sluice.ok(&["verify", folder.to_str().expect("text")]);
}

#[test]
fn a_repeated_request_finds_its_run() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let ask = |key: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = body.to_string();
        server.send("POST", "/v1/runs", (&server.admin, &headers), body.as_bytes())
    };
    let all: BTreeSet<String> = std::thread::scope(|scope| {
        let asked = || scope.spawn(|| id(&ask("k", json!({ "dataset": "d" })).ok(201)));
        let asked: Vec<_> = (0..4).map(|_| asked()).collect();
        asked.into_iter().map(|one| one.join().expect("joined")).collect()
    });
    assert_eq!(all.len(), 1, "{all:?}");
    let other = ask("k", json!({ "dataset": "d", "format": "csv" }));
    assert_eq!(other.problem(422, "conflict", &["`k`"])["field"], "Idempotency-Key");
    ask("", json!({ "dataset": "d" })).problem(400, "invalid", &["key is empty"]);
    assert_eq!(server.get("/v1/runs").ok(200)["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn bad_requests_open_no_run() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let refused = |body: Value, words: &[&str]| {
        server.post("/v1/runs", &body).problem(400, "invalid", words);
        server.post("/v1/exports/plan", &body).problem(400, "invalid", words);
    };
    refused(json!({}), &["name one of"]);
    refused(json!({ "dataset": "d", "view": "v" }), &["name one of"]);
    refused(json!({ "dataset": "dd" }), &["no dataset `dd`"]);
    refused(json!({ "dataset": "d", "format": "xml" }), &["xml"]);
    refused(json!({ "dataset": "d", "where": "m > 1" }), &["m"]);
    refused(json!({ "sql": "SELECT * FROM read_csv('/etc/passwd')" }), &["read_csv"]);
    refused(json!({ "dataset": "d", "again": true }), &["export"]);
    refused(json!({ "dataset": "d", "export": "a b" }), &["cannot be the name"]);
    refused(json!({ "dataset": "d", "compress": "gzip" }), &["compress"]);
    refused(json!({ "dataset": "d", "to_commit": 9 }), &["no commit `9`"]);
    for place in ["file:///tmp", "/tmp", "../x", "managed:///x", ""] {
        refused(json!({ "dataset": "d", "destination": place }), &["delivers to `managed`"]);
    }
    let since =
        json!({ "dataset": "d", "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z" });
    refused(since, &["before it begins"]);
    assert_eq!(server.get("/v1/runs").ok(200)["items"], json!([]));
    server.get("/v1/runs/run_x").problem(404, "not_found", &["no run `run_x`"]);
    server.get("/v1/runs?after=run_x").problem(400, "invalid", &["`after`"]);
    server.get("/v1/runs/run_x/files/..%2F1").problem(404, "not_found", &["no run"]);
}

#[test]
fn a_run_that_fails_says_why_and_leaves_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let sql = "SELECT sum(n) / (sum(n) - sum(n)) AS x FROM d";
    let run = id(&server.post("/v1/runs", &json!({ "sql": sql })).ok(201));
    let failed = ended(&server, &run);
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().is_some_and(|why| why.contains("zero")), "{failed}");
    let path = format!("/v1/runs/{run}/manifest");
    server.get(&path).problem(409, "conflict", &["is failed"]);
    file(&server, &run, 1, &[]).problem(409, "conflict", &["is failed"]);
    // Once more is fine.
    server.post(&format!("/v1/runs/{run}/cancel"), &json!({})).ok(200);
    let sealed = id(&server.post("/v1/runs", &json!({ "dataset": "d" })).ok(201));
    ended(&server, &sealed);
    let path = format!("/v1/runs/{sealed}/cancel");
    server.post(&path, &json!({})).problem(409, "conflict", &["is sealed"]);
}

/// A server that is killed while it works on runs goes on with them when it starts again.
#[test]
fn runs_are_finished_after_a_kill() {
    let kills: u64 = std::env::var("SLUICE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let sluice = Sluice::new();
    let mut runs = Vec::new();
    let mut rows_there = 0;
    for kill in 0..kills {
        let server = Server::start(&sluice);
        let more = numbers(rows_there, rows_there + 20_000);
        server.rows("d", &more, &[]).ok(200);
        rows_there += 20_000;
        let ask = json!({ "dataset": "d", "file_rows": 500, "compression": "gzip" });
        for _ in 0..2 {
            runs.push((id(&server.post("/v1/runs", &ask).ok(201)), rows_there));
        }
        // At different places: a run later in the list of parts each time.
        let (last, _) = runs.last().expect("it was asked for").clone();
        loop {
            let run = server.get(&format!("/v1/runs/{last}")).ok(200);
            let written = run["metrics"]["parts_written"].as_u64().expect("a number");
            if written >= kill * 7 || !run["ended_at"].is_null() {
                break;
            }
        }
        server.kill();
    }
    let server = Server::start(&sluice);
    for (run, rows) in runs {
        let run = ended(&server, &run);
        assert_eq!((&run["state"], &run["manifest"]["rows"]), (&"sealed".into(), &rows.into()));
    }
    assert!(server.stop());
}

/// The names and sums of a sealed run's files.
fn files(server: &Server, run: &str) -> Vec<(Value, Value)> {
    let manifest = server.get(&format!("/v1/runs/{run}/manifest")).ok(200);
    let files = manifest["files"].as_array().expect("a list").iter();
    files.map(|one| (one["path"].clone(), one["sha256"].clone())).collect()
}

#[test]
fn a_sealed_run_is_run_again_with_the_same_bytes() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 100), &[]).ok(200);
    let ask = json!({ "dataset": "d", "export": "partner", "file_rows": 30 });
    let first = id(&server.post("/v1/runs", &ask).ok(201));
    ended(&server, &first);
    server.rows("d", &numbers(100, 120), &[]).ok(200);
    let next = id(&server.post("/v1/runs", &ask).ok(201));
    ended(&server, &next);
    // What it read is merged with others and taken out of the dataset.
    sluice.ok(&["compact", "d"]);
    sluice.ok(&["expire", "d", "--before", "2999-01-01T00:00:00Z"]);
    sluice.ok(&["upkeep"]);
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 0})]);
    let cursor = server.get("/v1/exports/partner").ok(200)["cursor"].clone();
    let again = |headers: &[(&str, &str)]| {
        server.send("POST", &format!("/v1/runs/{first}/rerun"), (&server.admin, headers), b"")
    };
    let key = [("idempotency-key", "once")];
    let second = id(&again(&key).ok(201));
    assert_eq!(id(&again(&key).ok(201)), second);
    let sealed = ended(&server, &second);
    assert_eq!((&sealed["state"], &sealed["moves_cursor"]), (&"sealed".into(), &false.into()));
    assert_eq!(files(&server, &second), files(&server, &first));
    assert_eq!(rows(&server, &first).len(), 100);
    assert_eq!(server.get("/v1/exports/partner").ok(200)["cursor"], cursor);
    // At the command line, of that one.
    let manifest = sluice.ok(&["run", "rerun", &second]);
    assert!(!manifest.contains(&second), "{manifest}");
    // SQL that puts rows together makes them for one run alone.
    let sql = json!({ "sql": "SELECT n % 7 AS k, count(*) AS c FROM d GROUP BY k ORDER BY k" });
    let staged = id(&server.post("/v1/runs", &sql).ok(201));
    ended(&server, &staged);
    let path = format!("/v1/runs/{staged}/rerun");
    let refused = server.send("POST", &path, (&server.admin, &[]), b"");
    refused.problem(409, "conflict", &["put together by SQL", "new run"]);
    assert!(server.stop());
    sluice.configure("[export]\nrerun_days = 0\n");
    let server = Server::start(&sluice);
    let path = format!("/v1/runs/{first}/rerun");
    let gone = server.send("POST", &path, (&server.admin, &[]), b"");
    gone.problem(410, "gone", &["not kept any more", "new run"]);
    sluice.fails(&["run", "rerun", &first], 2, &["not kept any more"]);
}
