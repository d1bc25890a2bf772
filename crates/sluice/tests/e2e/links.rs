//! Links: addresses that open files without a token for a while, and `get`, which fetches them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::helper::{Sluice, numbers, text};
use crate::http::Raw;
use crate::runs::{ended, file, id};
use crate::schedules::Time;
use crate::server::{Answer, Server};

/// Bytes of a file that no socket holds.
const LARGE: u64 = 24 << 20;

/// Bytes that a stalling proxy lets through.
const PASSED: u64 = 3 << 20;

/// Runs an export of a dataset to its seal.
#[track_caller]
fn sealed(server: &Server, ask: &Value) -> String {
    let run = id(&server.post("/v1/runs", ask).ok(201));
    let ended = ended(server, &run);
    assert_eq!(ended["state"], "sealed", "{ended}");
    run
}

#[track_caller]
fn link(server: &Server, run: &str, ask: &Value) -> Value {
    server.post(&format!("/v1/runs/{run}/links"), ask).ok(201)
}

/// An address as the server is asked for it.
fn path<'a>(server: &Server, url: &'a Value) -> &'a str {
    let at = format!("http://{}", server.address());
    url.as_str().and_then(|url| url.strip_prefix(&*at)).unwrap_or_else(|| panic!("{url}"))
}

/// Asks without a token.
fn open(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.send("GET", path, ("", headers), b"")
}

/// A dataset whose export is one large file.
fn large(sluice: &Sluice, server: &Server) -> String {
    let row = json!({ "t": "x".repeat(1 << 20) }).to_string() + "\n";
    let rows = row.repeat(usize::try_from(LARGE >> 20).expect("few"));
    let input = sluice.file("large.jsonl", rows);
    sluice.ok(&["import", "large", &input]);
    sealed(server, &json!({ "dataset": "large", "format": "jsonl", "compression": "none" }))
}

#[test]
fn a_link_opens_files_without_a_token_until_it_is_taken_back() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let run = sealed(&server, &json!({ "dataset": "d", "file_rows": 4 }));
    let link = link(&server, &run, &json!({}));
    let files = link["files"].as_array().expect("a list");
    assert_eq!(files.len(), 3);
    for (number, one) in (1..).zip(files) {
        let (answer, same) =
            (open(&server, path(&server, &one["url"]), &[]), file(&server, &run, number, &[]));
        assert_eq!((answer.status, &answer.text, &answer.etag), (200, &same.text, &same.etag));
        assert_eq!(one["sha256"], answer.etag.trim_matches('"'));
    }
    let manifest = open(&server, path(&server, &link["manifest_url"]), &[]).ok(200);
    assert_eq!(manifest["totals"]["rows"], 10);
    let first = path(&server, &files[0]["url"]);
    let rest = open(&server, first, &[("range", "bytes=5-")]);
    assert_eq!((rest.status, &*rest.text), (206, &file(&server, &run, 1, &[]).text[5..]));
    assert_eq!(server.send("HEAD", first, ("", &[]), b"").status, 200);
    server.send("POST", first, ("", &[]), b"").problem(405, "invalid", &["method"]);
    // Nothing of it can be changed, and nobody learns which links there are.
    for (from, to) in [
        ("&file=1", "&file=2"),
        ("&expires=", "&expires=9"),
        ("part-00000", "part-00001"),
        ("link=ln_", "link=ln_0"),
        ("&signature=", "&signature=x"),
        ("&file=1", ""),
    ] {
        let changed = first.replace(from, to);
        assert_ne!(changed, first);
        open(&server, &changed, &[]).problem(403, "forbidden", &["unchanged"]);
    }
    open(&server, "/part-00000.jsonl", &[]).problem(404, "not_found", &["nothing"]);
    // Each download is in the log: three files, the manifest, and the rest of one.
    let log = sluice.json(&["audit"]);
    let log = log.as_array().expect("a list").iter().filter(|one| one["action"] == "link.download");
    let log: Vec<(&str, &str)> = log
        .map(|one| (one["target"].as_str().expect("text"), one["outcome"].as_str().unwrap_or("")))
        .collect();
    assert_eq!((log.len(), log[0]), (5, (&*format!("{run}/1"), "done")), "{log:?}");
    assert!(log[4].0.starts_with(&format!("{run}/1 bytes 5-")), "{log:?}");
    let id = link["id"].as_str().expect("an id");
    let shown = server.get(&format!("/v1/links/{id}")).ok(200);
    assert_eq!((&shown["run"], &shown["revoked_at"]), (&run.into(), &Value::Null));
    assert_eq!(server.get("/v1/links").ok(200)["items"], json!([shown]));
    server.send("POST", &format!("/v1/links/{id}/revoke"), (&server.admin, &[]), b"").ok(200);
    open(&server, first, &[]).problem(410, "gone", &["taken back"]);
}

#[test]
fn a_link_that_makes_no_sense_is_refused() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let run = sealed(&server, &json!({ "dataset": "d" }));
    let ask = |run: &str, body: Value| server.post(&format!("/v1/runs/{run}/links"), &body);
    for seconds in [0, 604_801] {
        let refused = ask(&run, json!({ "expires_in": seconds }));
        assert_eq!(refused.problem(400, "invalid", &["1 to 604800"])["field"], "expires_in");
    }
    for number in [0, 2] {
        let refused = ask(&run, json!({ "files": [number] }));
        assert_eq!(refused.problem(400, "invalid", &["no file", "it has 1"])["field"], "files");
    }
    ask(&run, json!({ "files": vec![1; 1001] })).problem(413, "too_large", &["1000"]);
    ask("none", json!({})).problem(404, "not_found", &["none"]);
    let out = text(&sluice.path("out"));
    let elsewhere = sluice.ok(&["export", "run", "--dataset", "d", "--to", &out]);
    let elsewhere = elsewhere.rsplit('/').nth(1).expect("a run");
    ask(elsewhere, json!({})).problem(409, "conflict", &["destination of their own"]);
    assert_eq!(server.get("/v1/links").ok(200)["items"], json!([]));
    sluice.fails(&["link", "create", elsewhere], 2, &["destination of their own"]);
    sluice.fails(&["link", "create", &run, "--expires-in", "0"], 2, &["0", "604800"]);
    sluice.fails(&["link", "revoke", "ln_none"], 2, &["no link `ln_none`"]);
    sluice.configure("[server]\npublic_url = \"exports.example.com\"\n");
    sluice.fails(&["link", "list"], 2, &["server.public_url", "use a URL"]);
}

#[test]
fn a_download_that_began_before_the_end_goes_on() {
    let sluice = Sluice::new();
    let mut time = Time::new(&sluice, "2026-03-01T00:00:00Z");
    let server = time.serve(&sluice);
    let run = large(&sluice, &server);
    let link = link(&server, &run, &json!({ "expires_in": 60 }));
    let path = path(&server, &link["files"][0]["url"]).to_owned();
    let mut raw = Raw::open(server.address());
    raw.say(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    raw.expect("HTTP/1.1 200 OK\r\n");
    time.set(time.now + TimeDelta::seconds(61));
    // The server looks at its clock file each moment.
    while open(&server, &path, &[("range", "bytes=0-0")]).status != 410 {}
    open(&server, &path, &[]).problem(410, "gone", &["expired", "another one"]);
    assert!(raw.rest_bytes().len() as u64 > LARGE);
}

#[test]
fn links_are_made_and_fetched_at_the_command_line() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let run = sealed(&server, &json!({ "dataset": "d", "file_rows": 4, "export": "partner" }));
    sluice.configure(&format!("[server]\nlisten = \"{}\"\n", server.address()));
    let made = sluice.ok(&["link", "create", &run, "--file", "2"]);
    let (manifest, second) = made.split_once('\n').expect("two lines");
    let got = sluice.json(&["get", second, manifest, "--to", "got"]);
    assert_eq!((&got[0]["verified"], &got[1]["verified"]), (&true.into(), &true.into()), "{got}");
    let fetched = std::fs::read_to_string(sluice.path("got/part-00001.jsonl")).expect("there");
    assert_eq!(fetched, file(&server, &run, 2, &[]).text);
    sluice.fails(&["get", second, "--to", "got"], 2, &["is there already"]);
    let again = sluice.json(&["get", second, "--to", "got", "--continue"]);
    assert_eq!(again[0]["new_bytes"], 0);
    sluice.file("got/part-00001.jsonl", "another");
    let args = ["get", second, "--to", "got", "--continue"];
    sluice.fails(&args, 2, &["another file", "move it away"]);
    // All of a run, and its proof.
    sluice.ok(&["get", &run, "--to", "all"]);
    let proof = format!("all/partner/{run}/manifest.json");
    assert!(sluice.ok(&["verify", &proof]).contains("10 rows"));
    // What is refused is said without the signature.
    let changed = second.replace("file=2", "file=1");
    let said = sluice.fails(&["get", &changed, "--to", "new"], 3, &["403", "unchanged"]);
    let signature = second.rsplit('=').next().expect("a signature");
    assert!(!said.contains(signature), "{said}");
    let mixed = ["get", second, &run, "--to", "new"];
    sluice.fails(&mixed, 2, &["by themselves"]);
    sluice.fails(&["get", "http://127.0.0.1/", "--to", "new"], 2, &["no name"]);
    let listed = sluice.json(&["link", "list"]);
    let id = listed[0]["id"].as_str().expect("an id");
    assert!(sluice.ok(&["link", "revoke", id]).contains(id));
    sluice.fails(&["get", second, "--to", "new"], 3, &["410", "taken back"]);
    assert!(!sluice.path("new").exists());
}

/// A way to a server on which answers stop after so many bytes in all, but the connections stay.
struct Stalling {
    address: String,
}

impl Stalling {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (to, left) = (server.address().to_owned(), Arc::new(AtomicU64::new(PASSED)));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, left) = (client.expect("a client"), Arc::clone(&left));
                let server = TcpStream::connect(&to).expect("connected");
                let (asked, asking) =
                    (client.try_clone().expect("two"), server.try_clone().expect("two"));
                std::thread::spawn(move || pass(asked, asking, None));
                std::thread::spawn(move || pass(server, client, Some(&left)));
            }
        });
        Self { address }
    }
}

/// Passes bytes on, for as long as some are left.
fn pass(mut from: TcpStream, mut to: TcpStream, left: Option<&AtomicU64>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let taken = left.map(|left| left.fetch_sub(read as u64, Ordering::SeqCst));
        if taken.is_some_and(|before| before < read as u64 || before > PASSED) {
            // Holds the connection until the other end is gone.
            let _held = to;
            drop(from.read_to_end(&mut buffer));
            return;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

#[test]
fn a_download_that_was_killed_goes_on() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let run = large(&sluice, &server);
    let link = link(&server, &run, &json!({}));
    let url = link["files"][0]["url"].as_str().expect("a URL");
    let slow = url.replace(server.address(), &Stalling::before(&server).address);
    let mut killed = sluice.command(&["get", &slow, "--to", "got", "--parallel", "4"]);
    let mut killed = killed.stdout(Stdio::null()).spawn().expect("it starts");
    let note = sluice.path("got/part-00000.jsonl.partial.json");
    let came = || {
        let note: Value = serde_json::from_slice(&std::fs::read(&note).ok()?).ok()?;
        let pieces = note["pieces"].as_array()?;
        let bytes = |name: &str| pieces.iter().filter_map(|one| one[name].as_u64()).sum::<u64>();
        Some((pieces.len(), bytes("at") - bytes("from")))
    };
    let (pieces, noted) = loop {
        if let Some((pieces, noted)) = came().filter(|(_, noted)| *noted > PASSED / 2) {
            break (pieces, noted);
        }
    };
    killed.kill().expect("it runs");
    killed.wait().expect("it ended");
    assert_eq!(pieces, 4);
    assert!(!sluice.path("got/part-00000.jsonl").exists());
    // Other than before, and nothing that came is fetched again.
    let got = sluice.json(&["get", url, "--to", "got", "--continue", "--parallel", "2"]);
    let (bytes, fetched) = (&got[0]["bytes"], got[0]["new_bytes"].as_u64().expect("a count"));
    let bytes = bytes.as_u64().expect("a count");
    assert!(fetched <= bytes - noted && got[0]["verified"] == true, "{noted}: {got}");
    assert_eq!(got[0]["sha256"], link["files"][0]["sha256"]);
    let left = std::fs::read_dir(sluice.path("got")).expect("a folder").count();
    assert_eq!(left, 1, "nothing but the file is left");
}
