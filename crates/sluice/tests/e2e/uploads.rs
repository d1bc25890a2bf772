//! Batches that are uploaded in files: one commit, whatever happens on the way.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::crash::{NAMES, SYNCS, WRITES, kills};
use crate::helper::{Sluice, manifest, numbers, rows, text};
use crate::http::Raw;
use crate::server::{Answer, Server};

/// Makes a batch.
#[track_caller]
fn reserve(server: &Server, body: &Value) -> String {
    let made = server.post("/v1/batches", body).ok(201);
    assert_eq!(made["state"], "open");
    made["id"].as_str().expect("an id").to_owned()
}

fn put(server: &Server, batch: &str, name: &str, bytes: impl AsRef<[u8]>) -> Answer {
    let path = format!("/v1/batches/{batch}/files/{name}");
    server.send("PUT", &path, (&server.admin, &[]), bytes.as_ref())
}

fn close(server: &Server, batch: &str) -> Answer {
    server.send("POST", &format!("/v1/batches/{batch}/close"), (&server.admin, &[]), b"")
}

fn show(server: &Server, batch: &str) -> Answer {
    server.get(&format!("/v1/batches/{batch}"))
}

/// The files of a folder and those below it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    // Others make and remove files meanwhile.
    let Ok(entries) = std::fs::read_dir(folder) else { return all };
    for entry in entries.flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.extend([text(&path)]),
        }
    }
    all
}

/// The files of open batches that lie in the data folder.
fn held(sluice: &Sluice) -> BTreeSet<String> {
    files(&sluice.path("sluice-data/uploads"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

/// Rows as Parquet.
fn parquet(sluice: &Sluice, lines: &str) -> Vec<u8> {
    let (file, out) = (sluice.file("seed.jsonl", lines), text(&sluice.path("seed")));
    sluice.ok(&["import", "seed", &file]);
    let export = ["export", "run", "--dataset", "seed", "--format", "parquet", "--to", &out];
    let (manifest, folder) = manifest(&sluice.ok(&export));
    let part = manifest["files"][0]["path"].as_str().expect("a path");
    std::fs::read(folder.join(part)).expect("there")
}

fn count(server: &Server, dataset: &str) -> Value {
    let sql = format!("SELECT count(*) AS n, count(DISTINCT n) AS d FROM {dataset}");
    server.sql(&sql).remove(0)
}

#[test]
fn several_files_are_one_commit_in_the_order_of_their_names() {
    let sluice = Sluice::new();
    let third = parquet(&sluice, &numbers(200, 300));
    let server = Server::start(&sluice);
    let batch = reserve(&server, &json!({ "dataset": "d" }));
    let csv: Vec<_> = (0..100).map(|n| format!("{n},row {n}")).collect();
    let first = gzip(format!("n,t\n{}\n", csv.join("\n")).as_bytes());
    let second = numbers(100, 200);
    put(&server, &batch, "3.parquet", third).ok(201);
    put(&server, &batch, "2.jsonl", "{\"n\":").ok(201);
    let told = put(&server, &batch, "1.csv.gz", &first).ok(201);
    let sha256 = model::digest::sha256_hex(&first);
    assert_eq!(told, json!({ "name": "1.csv.gz", "bytes": first.len(), "sha256": sha256 }));
    // Once more, and another one with other bytes.
    assert_eq!(put(&server, &batch, "1.csv.gz", &first).ok(200), told);
    put(&server, &batch, "2.jsonl", &second).ok(200);
    let shown = show(&server, &batch).ok(200);
    let names: Vec<_> = shown["upload"]["files"].as_array().expect("files").iter().collect();
    assert_eq!((&shown["state"], names.len(), names[0]), (&"open".into(), 3, &told));
    assert_eq!(held(&sluice).len(), 3);
    let closed = close(&server, &batch).ok(200);
    assert_eq!((&closed["state"], &closed["upload"]["rows"]), (&"closed".into(), &300.into()));
    // The first two are those of the other dataset, which was sealed for its export.
    assert_eq!(closed["commit"], 3);
    assert!(held(&sluice).is_empty(), "{:?}", held(&sluice));
    for again in [close(&server, &batch), show(&server, &batch)] {
        assert_eq!(again.ok(200), closed);
    }
    let commits = server.get("/v1/datasets/d/commits").ok(200);
    assert_eq!(commits["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(commits["items"][0]["batches"], json!([batch]));
    put(&server, &batch, "4.jsonl", numbers(0, 1)).problem(409, "conflict", &["commit 3"]);
    server.stop();
    let out = text(&sluice.path("out"));
    let found = rows(&sluice.ok(&["export", "run", "--dataset", "d", "--to", &out]));
    let found: Vec<_> = found.iter().map(|row| row["n"].as_u64().expect("a number")).collect();
    assert_eq!(found, (0..300).collect::<Vec<_>>());
}

#[test]
fn those_that_close_at_once_get_one_answer() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let batch = reserve(&server, &json!({ "dataset": "d" }));
    for part in 0..3 {
        let name = format!("{part}.jsonl");
        put(&server, &batch, &name, numbers(part * 1000, part * 1000 + 1000)).ok(201);
    }
    let all: BTreeSet<String> = std::thread::scope(|scope| {
        let closing = |_| scope.spawn(|| close(&server, &batch).ok(200).to_string());
        let closing: Vec<_> = (0..4).map(closing).collect();
        closing.into_iter().map(|one| one.join().expect("joined")).collect()
    });
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(count(&server, "d"), json!({ "n": 3000, "d": 3000 }));
    // Another server over the same folder sees the same.
    let other = Server::start(&sluice);
    let next = reserve(&server, &json!({ "dataset": "d" }));
    put(&server, &next, "x.jsonl", numbers(3000, 4000)).ok(201);
    let both: BTreeSet<String> = std::thread::scope(|scope| {
        let closing = [&server, &other].map(|server| {
            let next = &next;
            scope.spawn(move || close(server, next).ok(200).to_string())
        });
        closing.into_iter().map(|one| one.join().expect("joined")).collect()
    });
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(count(&other, "d"), json!({ "n": 4000, "d": 4000 }));
}

#[test]
fn a_bad_file_is_named_mended_and_closed() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let batch = reserve(&server, &json!({ "dataset": "d", "format": "jsonl" }));
    put(&server, &batch, "1.jsonl", numbers(0, 10)).ok(201);
    put(&server, &batch, "2.jsonl", "{\"n\":10,\"t\":\"x\"}\n{\"n\":\n").ok(201);
    for _ in 0..2 {
        close(&server, &batch).problem(400, "invalid", &["`2.jsonl` line 2"]);
        assert_eq!(show(&server, &batch).ok(200)["state"], "open");
    }
    server.get("/v1/datasets/d").problem(404, "not_found", &[]);
    put(&server, &batch, "2.jsonl", numbers(10, 12)).ok(200);
    assert_eq!(close(&server, &batch).ok(200)["upload"]["rows"], 12);
    assert_eq!(count(&server, "d"), json!({ "n": 12, "d": 12 }));
}

#[test]
fn a_batch_comes_in_place_of_others() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let send = |body: Value, lines: String| {
        let batch = reserve(&server, &body);
        put(&server, &batch, "f.jsonl", lines).ok(201);
        close(&server, &batch).ok(200);
        batch
    };
    let one = send(json!({ "dataset": "d" }), numbers(0, 10));
    let two = send(json!({ "dataset": "d" }), numbers(10, 20));
    let three = json!({ "dataset": "d", "replace": [one] });
    let three = send(three, numbers(20, 25));
    assert_eq!(show(&server, &one).ok(200)["state"], "taken_back");
    assert_eq!(count(&server, "d"), json!({ "n": 15, "d": 15 }));
    // What has ended meanwhile cannot be replaced, and the batch stays open.
    let late = reserve(&server, &json!({ "dataset": "d", "replace": [two] }));
    put(&server, &late, "f.jsonl", numbers(0, 1)).ok(201);
    let all = send(json!({ "dataset": "d", "replace": "all" }), numbers(30, 33));
    close(&server, &late).problem(409, "conflict", &[&two]);
    assert_eq!(show(&server, &late).ok(200)["state"], "open");
    assert_eq!(show(&server, &three).ok(200)["state"], "taken_back");
    assert_eq!(show(&server, &all).ok(200)["upload"]["replace"], "all");
    assert_eq!(count(&server, "d"), json!({ "n": 3, "d": 3 }));
}

#[test]
fn bad_requests_change_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let refused = |body: Value, field: &str, words: &[&str]| {
        let said = server.post("/v1/batches", &body).problem(400, "invalid", words);
        assert_eq!(said["field"], field, "{said}");
    };
    refused(json!({}), "body", &["dataset"]);
    refused(json!({ "dataset": "a b" }), "dataset", &["cannot be the name of a dataset"]);
    refused(json!({ "dataset": "d", "format": "xml" }), "body", &["xml"]);
    refused(json!({ "dataset": "d", "fromat": "csv" }), "body", &["fromat"]);
    refused(json!({ "dataset": "d", "replace": [] }), "replace", &["no batch is named"]);
    refused(json!({ "dataset": "d", "replace": ["ba_x"] }), "replace", &["no batch `ba_x`"]);
    refused(json!({ "dataset": "d", "replace": "some" }), "body", &[]);
    let batch = reserve(&server, &json!({ "dataset": "d" }));
    for name in
        ["..%2F..%2Fx", "%2Fetc%2Fpasswd", ".x", "a%2Fb", "a%5Cb", "a%20b", &"x".repeat(129)]
    {
        let said = put(&server, &batch, name, "{}").problem(400, "invalid", &["name of a file"]);
        assert_eq!(said["field"], "file");
    }
    put(&server, &batch, "a%00b", "{}").problem(400, "invalid", &[]);
    put(&server, &batch, "empty.csv", "").problem(400, "invalid", &["is empty"]);
    close(&server, &batch).problem(409, "conflict", &["has no files"]);
    for batch in ["ba_x", "..%2Fx"] {
        put(&server, batch, "f.csv", "a\n1\n").problem(404, "not_found", &["no batch"]);
        close(&server, batch).problem(404, "not_found", &["no batch"]);
    }
    // More than may be is refused before it comes.
    let ask = |more: &str| {
        format!(
            "PUT /v1/batches/{batch}/files/f.csv HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             authorization: Bearer {}\r\n{more}\r\n\r\n",
            server.admin
        )
    };
    let mut raw = Raw::open(server.address());
    raw.say(&ask("content-length: 17179869185"));
    assert!(raw.rest().starts_with("HTTP/1.1 413 "));
    // Half a file is none.
    let mut raw = Raw::open(server.address());
    raw.say(&ask("transfer-encoding: chunked"));
    raw.say("4\r\na\n1\n\r\nnonsense\r\n");
    assert!(raw.rest().starts_with("HTTP/1.1 400 "));
    let mut raw = Raw::open(server.address());
    raw.say(&ask("content-length: 9"));
    raw.say("a\n1\n");
    drop(raw);
    // Nothing says when the server has noticed.
    while server.get("/readyz").status == 200 && !held(&sluice).is_empty() {}
    assert_eq!(show(&server, &batch).ok(200)["upload"]["files"], json!([]));
    // What came in another way is no upload.
    let added = server.rows("d", &numbers(0, 3), &[]).ok(200);
    let other = added["batch"].as_str().expect("an id");
    put(&server, other, "f.csv", "a\n1\n").problem(409, "conflict", &["commit 1"]);
    let path = format!("/v1/batches/{other}");
    let abandoned = server.send("DELETE", &path, (&server.admin, &[]), b"");
    abandoned.problem(409, "conflict", &["commit 1"]);
    assert_eq!(close(&server, other).ok(200), show(&server, other).ok(200));
    assert_eq!(count(&server, "d"), json!({ "n": 3, "d": 3 }));
}

#[test]
fn an_abandoned_batch_leaves_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let batch = reserve(&server, &json!({ "dataset": "d" }));
    put(&server, &batch, "f.jsonl", numbers(0, 3)).ok(201);
    put(&server, &batch, "g.jsonl", numbers(3, 9)).ok(201);
    let path = format!("/v1/batches/{batch}");
    let abandon = || server.send("DELETE", &path, (&server.admin, &[]), b"");
    assert_eq!(abandon().status, 204);
    assert!(held(&sluice).is_empty());
    abandon().problem(404, "not_found", &["no batch"]);
    show(&server, &batch).problem(404, "not_found", &["no batch"]);
    put(&server, &batch, "f.jsonl", "{}").problem(404, "not_found", &["no batch"]);
    close(&server, &batch).problem(404, "not_found", &["no batch"]);
    assert_eq!(server.get("/v1/datasets").ok(200)["items"], json!([]));
}

/// Files lie in one data folder: a server on another one says so.
#[test]
fn a_batch_is_uploaded_to_the_server_that_made_it() {
    let (sluice, second) = (Sluice::new(), Sluice::new());
    let server = Server::start(&sluice);
    let database = text(&sluice.path("sluice-data/meta.sqlite"));
    second.configure(&format!("[database]\nurl = \"sqlite:{database}\"\n"));
    second.ok(&["dataset", "list"]);
    std::fs::write(second.path("sluice-data/admin-token"), &server.admin).expect("written");
    let other = Server::start(&second);
    let batch = reserve(&server, &json!({ "dataset": "d" }));
    put(&server, &batch, "f.jsonl", numbers(0, 3)).ok(201);
    put(&other, &batch, "g.jsonl", numbers(3, 5)).problem(409, "conflict", &["another server"]);
    close(&other, &batch).problem(409, "conflict", &["another server"]);
    assert_eq!(show(&other, &batch).ok(200), show(&server, &batch).ok(200));
    let path = format!("/v1/batches/{batch}");
    assert_eq!(other.send("DELETE", &path, (&other.admin, &[]), b"").status, 204);
    // Its bytes go when the server that has them looks.
    assert_eq!(held(&sluice).len(), 1);
    server.kill();
    let server = Server::start(&sluice);
    while server.get("/readyz").status == 200 && !held(&sluice).is_empty() {}
    assert!(held(&sluice).is_empty());
}

/// Starts a server that is killed at the n-th of some calls of a thread; none if that comes before it listens.
fn doomed(sluice: &Sluice, calls: &str, n: usize) -> Option<Server> {
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=KILL:when={n}")])
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("SLUICE_LOG", "error")
        .env("TOKIO_WORKER_THREADS", "1")
        .current_dir(sluice.path(""));
    Server::try_spawn(sluice, command)
}

/// Uploads two files and closes the batch, as far as the server lives; returns which files it acknowledged.
fn upload(server: &Server, batch: &str, parts: &[String; 2]) -> Vec<usize> {
    let with = (&*server.admin, &[][..]);
    let mut acknowledged = Vec::new();
    for (at, lines) in parts.iter().enumerate() {
        let path = format!("/v1/batches/{batch}/files/{at}.jsonl");
        match server.try_send("PUT", &path, with, lines.as_bytes()) {
            Some(answer) if answer.status < 300 => acknowledged.push(at),
            Some(answer) => panic!("{answer:?}"),
            None => return acknowledged,
        }
    }
    let path = format!("/v1/batches/{batch}/close");
    server.try_send("POST", &path, with, b"").iter().for_each(|answer| drop(answer.ok(200)));
    acknowledged
}

#[test]
fn an_upload_killed_anywhere_is_open_or_closed() {
    let parts = [numbers(0, 3000), numbers(3000, 5000)];
    for (calls, step) in [(SYNCS, 1), (NAMES, 1), (WRITES, 7)] {
        let mut states = BTreeSet::new();
        for n in (2..).step_by(step).take(kills().div_ceil(2)) {
            let sluice = Sluice::new();
            sluice.configure("[lake]\ntail_bytes = 0\n");
            let server = Server::start(&sluice);
            let batch = reserve(&server, &json!({ "dataset": "d" }));
            server.kill();
            let Some(server) = doomed(&sluice, calls, n) else { continue };
            let acknowledged = upload(&server, &batch, &parts);
            server.kill();
            let server = Server::start(&sluice);
            let shown = show(&server, &batch).ok(200);
            let state = shown["state"].as_str().expect("a word").to_owned();
            for at in &acknowledged {
                let sha256 = model::digest::sha256_hex(parts[*at].as_bytes());
                let kept = shown["upload"]["files"].as_array().expect("files").iter();
                let kept = kept.filter(|file| file["sha256"] == *sha256);
                assert_eq!(kept.count(), 1, "{calls} {n}: {shown}");
            }
            let rows = if state == "open" {
                server.get("/v1/datasets/d").problem(404, "not_found", &[]);
                upload(&server, &batch, &parts);
                close(&server, &batch).ok(200)["upload"]["rows"].clone()
            } else {
                assert_eq!(close(&server, &batch).ok(200), shown);
                shown["upload"]["rows"].clone()
            };
            assert_eq!(rows, 5000, "{calls} {n}");
            assert_eq!(count(&server, "d"), json!({ "n": 5000, "d": 5000 }), "{calls} {n}");
            // What was never a file may wait for a day; what was one is gone.
            let left = held(&sluice);
            assert!(left.iter().all(|path| path.contains(".upload.")), "{calls} {n}: {left:?}");
            states.insert((state, acknowledged.len()));
        }
        // Which thread is killed differs from run to run: several places as a rule, at least one.
        assert!(!states.is_empty(), "{calls}: never killed");
    }
}

/// A batch keeps when its rows were received elsewhere, as an import of files does.
#[test]
fn a_column_may_say_when_rows_were_received() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let batch = reserve(&server, &json!({ "dataset": "d", "receive_time": "sent" }));
    assert_eq!(show(&server, &batch).ok(200)["upload"]["receive_time"], "sent");
    put(&server, &batch, "a.jsonl", "{\"n\":1,\"sent\":1700000000123}\n").ok(201);
    close(&server, &batch).ok(200);
    let rows = server.sql("SELECT n, CAST(received_at AS STRING) AS at FROM d");
    assert_eq!(rows, [json!({ "n": 1, "at": "2023-11-14T22:13:20.123Z" })]);
    let batch = reserve(&server, &json!({ "dataset": "d", "receive_time": "received" }));
    put(&server, &batch, "a.jsonl", "{\"n\":1,\"sent\":1}\n").ok(201);
    close(&server, &batch).problem(400, "invalid", &["`a.jsonl`", "`received`"]);
}
