//! An export that begins now, and the one that delivers what came before: together every row once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers, rows, text};
use crate::runs::{ended, id};
use crate::server::{Answer, Server};

fn save(server: &Server, name: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    let path = format!("/v1/exports/{name}");
    server.send("PUT", &path, (&server.admin, &headers), body.to_string().as_bytes())
}

/// Waits for a run's seal; returns its range of commits.
#[track_caller]
fn range(server: &Server, run: &Value) -> (u64, u64) {
    let sealed = ended(server, &id(run));
    assert_eq!(sealed["state"], "sealed", "{sealed}");
    let commit = |name: &str| sealed[name].as_u64().expect("a commit");
    (commit("from_commit"), commit("to_commit"))
}

#[test]
fn what_came_before_is_delivered_beside_what_comes() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    for n in 0..3 {
        server.rows("d", &numbers(n * 10, n * 10 + 10), &[]).ok(200);
    }
    let now = json!({ "export": { "dataset": "d" }, "begin": "now" });
    let saved = save(&server, "nightly", &now).ok(201);
    let began = saved["began"].as_u64().expect("a commit");
    assert_eq!((saved["cursor"].as_u64(), began >= 3), (Some(began), true), "{saved}");
    server.rows("d", &numbers(30, 40), &[]).ok(200);
    let live = server.post("/v1/exports/nightly/run", &json!({})).ok(201);
    let backfill = |body: Value| server.post("/v1/exports/nightly/backfill", &body);
    let first = backfill(json!({ "to_commit": 2 })).ok(201);
    assert_eq!((range(&server, &live).0, range(&server, &first)), (began, (0, 2)));
    assert_eq!(first["export"], "nightly.backfill");
    let rest = backfill(json!({})).ok(201);
    assert_eq!(range(&server, &rest), (2, began));
    backfill(json!({})).problem(409, "conflict", &["has delivered everything", "nightly.backfill"]);
    // Nor does anything else of it go further.
    let beyond = json!({ "dataset": "d", "export": "nightly.backfill", "to_commit": began + 1 });
    server.post("/v1/runs", &beyond).problem(409, "conflict", &["another export goes on"]);
    let empty = server.post("/v1/exports/nightly.backfill/run", &json!({})).ok(201);
    assert_eq!(range(&server, &empty), (began, began));
    server.rows("d", &numbers(40, 45), &[]).ok(200);
    let more = server.post("/v1/exports/nightly/run", &json!({})).ok(201);
    range(&server, &more);
    // Each chain is whole, and together they have each row once.
    let mut found = BTreeMap::<u64, u32>::new();
    for run in [&live, &more, &first, &rest, &empty] {
        sluice.ok(&["get", &id(run), "--to", "got"]);
        let export = run["export"].as_str().expect("a name");
        for row in rows(&text(&sluice.path(&format!("got/{export}/{}/manifest.json", id(run))))) {
            *found.entry(row["n"].as_u64().expect("a number")).or_default() += 1;
        }
    }
    assert!(found.len() == 45 && found.values().all(|times| *times == 1), "{found:?}");
    for (export, run) in [("nightly", &more), ("nightly.backfill", &empty)] {
        let manifest = format!("got/{export}/{}/manifest.json", id(run));
        sluice.ok(&["verify", "--chain", &manifest]);
    }
    let again = json!({ "dataset": "d", "export": "nightly", "again": true, "from_commit": 0 });
    server.post("/v1/runs", &again).problem(409, "conflict", &["was not delivered"]);
}

#[test]
fn a_backfill_needs_something_before() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let full = json!({ "export": { "dataset": "d" }, "begin": "now",
        "schedule": { "mode": { "kind": "full" } } });
    let refused = save(&server, "full", &full).problem(400, "invalid", &["incremental"]);
    assert_eq!(refused["field"], "begin");
    save(&server, "whole", &json!({ "export": { "dataset": "d" } })).ok(201);
    let backfill =
        |name: &str, body: Value| server.post(&format!("/v1/exports/{name}/backfill"), &body);
    backfill("whole", json!({})).problem(409, "conflict", &["nothing before it"]);
    backfill("none", json!({})).problem(404, "not_found", &["`none`"]);
    let now = json!({ "export": { "dataset": "d" }, "begin": "now" });
    save(&server, "late", &now).ok(201);
    save(&server, "late.backfill", &json!({ "export": { "dataset": "d" } })).ok(201);
    backfill("late", json!({})).problem(409, "conflict", &["another export", "another name"]);
    let to = ["--to", "managed", "--begin", "now", "--dataset", "d"];
    sluice.ok(&[&["export", "save", "shell"][..], &to].concat());
    let manifest = sluice.ok(&["export", "backfill", "shell"]);
    assert!(manifest.contains("shell.backfill"), "{manifest}");
    sluice.fails(&["export", "backfill", "shell"], 2, &["has delivered everything"]);
    let window = ["--mode", "window", "--every", "5"];
    let args = [&["export", "save", "w"][..], &to, &window].concat();
    sluice.fails(&args, 2, &["incremental"]);
}
