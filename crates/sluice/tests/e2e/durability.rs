//! The order of system calls, which kill -9 cannot show: file synced → folder synced → commit.

use std::process::Command;

use crate::helper::{Sluice, numbers, text};

/// One call in the trace: its name and the file it was about.
#[derive(Debug)]
struct Call {
    name: String,
    what: String,
}

/// Runs the program under `strace` and returns the calls that matter, in order.
fn trace(sluice: &Sluice, args: &[&str]) -> Vec<Call> {
    let log = sluice.path("trace.log");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=fdatasync,fsync,link,linkat,renameat2"])
        .arg("-o")
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(args)
        .current_dir(sluice.path(""))
        .stdout(std::process::Stdio::null())
        .status()
        .expect("strace is installed by scripts/test");
    assert!(status.success(), "{args:?}");
    let text = std::fs::read_to_string(&log).expect("a trace");
    std::fs::remove_file(&log).expect("removed");
    text.lines().filter_map(parse).collect()
}

/// Reads `PID name(args) = result`; unfinished calls count where they were begun.
fn parse(line: &str) -> Option<Call> {
    let (_, call) = line.split_once(char::is_whitespace)?;
    let (name, what) = call.trim_start().split_once('(')?;
    Some(Call { name: name.to_owned(), what: what.to_owned() })
}

#[track_caller]
fn position(calls: &[Call], after: usize, what: &str, is: impl Fn(&Call) -> bool) -> usize {
    match calls[after..].iter().position(is) {
        Some(at) => after + at,
        None => panic!("no {what} after call {after} of {calls:#?}"),
    }
}

fn is_sync(call: &Call, part: &str) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync") && call.what.contains(part)
}

fn is_link(call: &Call, part: &str) -> bool {
    matches!(call.name.as_str(), "link" | "linkat" | "renameat2") && call.what.contains(part)
}

#[test]
fn a_data_file_is_durable_before_its_commit() {
    let sluice = Sluice::new();
    // Too much for the tail.
    let file = sluice.file("rows.jsonl", numbers(0, 200_000));
    // The folder and its database are made first, so that only the import is in the trace.
    sluice.ok(&["dataset", "list"]);
    let calls = trace(&sluice, &["import", "d", &file]);
    let synced = position(&calls, 0, "sync of the data file", |c| is_sync(c, "/lake/data/"));
    let linked = position(&calls, synced, "link of the data file", |c| is_link(c, ".parquet"));
    let folder = position(&calls, linked, "sync of its folder", |c| is_sync(c, "/lake/data/"));
    let parents = |c: &Call| is_sync(c, "/lake>") || is_sync(c, "/lake/data>");
    position(&calls, 0, "sync of the new folders' parents", parents);
    position(&calls, folder, "sync of the database", |c| is_sync(c, "meta.sqlite-wal"));
}

#[test]
fn a_small_commit_is_synced_in_the_database_and_makes_no_file() {
    let sluice = Sluice::new();
    let file = sluice.file("rows.jsonl", numbers(0, 100));
    sluice.ok(&["import", "d", &file]);
    let calls = trace(&sluice, &["import", "d", &file]);
    let syncs = calls.iter().filter(|call| is_sync(call, "meta.sqlite-wal>")).count();
    // The commit's own; SQLite adds one when it begins a new log and one when the last process closes it.
    assert!((1..=3).contains(&syncs), "{calls:#?}");
    let files = calls.iter().filter(|call| call.what.contains("/lake/")).count();
    assert_eq!(files, 0, "{calls:#?}");
}

#[test]
fn an_exported_file_is_durable_before_its_manifest_and_that_before_the_seal() {
    let sluice = Sluice::new();
    let file = sluice.file("rows.jsonl", numbers(0, 1000));
    sluice.ok(&["import", "d", &file]);
    let out = text(&sluice.path("out"));
    let calls = trace(&sluice, &["export", "run", "--dataset", "d", "--to", &out]);
    let synced = position(&calls, 0, "sync of the file", |c| is_sync(c, "/out/d/"));
    let linked = position(&calls, synced, "link of the file", |c| is_link(c, ".jsonl"));
    let folder = position(&calls, linked, "sync of its folder", |c| is_sync(c, "/out/d/"));
    let frozen = position(&calls, folder, "ledger write", |c| is_sync(c, "meta.sqlite-wal"));
    let manifest = position(&calls, frozen, "manifest", |c| is_link(c, "manifest.json"));
    let folder = position(&calls, manifest, "sync of its folder", |c| is_sync(c, "/out/d/"));
    position(&calls, folder, "seal", |c| is_sync(c, "meta.sqlite-wal"));
}
