//! Real processes killed at every write, then resumed: nothing lost, nothing twice.
//!
//! The kill falls on a chosen system call (`strace` injects SIGKILL at the n-th), so every point is
//! reached without guessing at times. `SLUICE_KILLS` bounds how many points are tried.

use std::process::Command;

use serde_json::Value;

use crate::helper::{Sluice, manifest, numbers, rows, text};
use crate::postgres::on_postgres;

/// Calls that change what is on disk; the n-th of all of them is where the process dies.
const CALLS: &str = "fdatasync,fsync,link,linkat,unlink,pwrite64";

fn kills() -> usize {
    std::env::var("SLUICE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

/// Runs the program and kills it at the n-th call; returns whether it was killed.
fn killed_at(sluice: &Sluice, n: usize, args: &[&str]) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")])
        .args(["-e", &format!("inject={CALLS}:signal=KILL:when={n}")])
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(args)
        .current_dir(sluice.path(""))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("strace is installed by scripts/test");
    !status.success()
}

#[test]
fn an_import_killed_anywhere_happens_once_when_repeated_with_its_key() {
    let mut n = 1;
    let mut tried = 0;
    loop {
        let sluice = Sluice::new();
        let file = sluice.file("rows.jsonl", numbers(0, 500));
        sluice.ok(&["dataset", "list"]);
        let args = ["import", "d", file.as_str(), "--key", "k"];
        let killed = killed_at(&sluice, n, &args);
        sluice.ok(&args);
        let shown = sluice.json(&["dataset", "show", "d"]);
        assert_eq!(shown["rows"], 500, "killed at call {n}");
        assert_eq!(shown["commit"], 1, "killed at call {n}");
        tried += 1;
        if !killed || tried >= kills() {
            break;
        }
        n += 1;
    }
    assert!(tried > 3, "the import makes more than {tried} calls");
}

#[test]
fn an_export_killed_anywhere_delivers_every_row_once() {
    kill_exports(Sluice::new, kills());
}

#[test]
fn an_export_killed_anywhere_on_postgres_delivers_every_row_once() {
    kill_exports(on_postgres, kills().div_ceil(3));
}

fn kill_exports(start: fn() -> Sluice, most: usize) {
    let mut n = 1;
    let mut step = 1;
    let mut tried = 0;
    loop {
        let sluice = start();
        let first = sluice.file("a.jsonl", numbers(0, 300));
        let second = sluice.file("b.jsonl", numbers(300, 400));
        let out = text(&sluice.path("out"));
        sluice.ok(&["import", "d", &first]);
        let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
        let args = [&export[..], &["--file-rows", "70"]].concat();
        let killed = killed_at(&sluice, n, &args);
        finish(&sluice);
        sluice.ok(&["import", "d", &second]);
        sluice.ok(&args);
        check(&sluice, n);
        tried += 1;
        if !killed || tried >= most {
            break;
        }
        // Small steps where runs begin, larger ones through the long middle.
        if tried % 8 == 0 {
            step += 1;
        }
        n += step;
    }
    assert!(tried > 3, "the export makes more than {tried} calls");
}

/// Resumes whatever is left open.
fn finish(sluice: &Sluice) {
    let runs = sluice.json(&["run", "list"]);
    for run in runs.as_array().expect("an array") {
        if run["resumable"] == true {
            sluice.ok(&["run", "resume", run["id"].as_str().expect("an id")]);
        }
    }
}

fn check(sluice: &Sluice, n: usize) {
    let runs = sluice.json(&["run", "list"]);
    let mut found: Vec<u64> = Vec::new();
    let mut last: Option<String> = None;
    for run in runs.as_array().expect("an array").iter().rev() {
        assert_eq!(run["state"], "sealed", "killed at call {n}");
        let path = run["manifest"].as_str().expect("a path");
        found.extend(rows(path).iter().map(|row| row["n"].as_u64().expect("a number")));
        last = Some(path.to_owned());
    }
    assert_eq!(found, (0..400).collect::<Vec<_>>(), "killed at call {n}");
    let last = last.expect("at least one run");
    sluice.ok(&["verify", &last, "--chain"]);
    let (manifest, folder) = manifest(&last);
    for entry in std::fs::read_dir(folder).expect("the run's folder") {
        let name = entry.expect("an entry").file_name();
        let named = |file: &Value| file["path"].as_str() == name.to_str();
        let files = manifest["files"].as_array().expect("files");
        assert!(
            name == "manifest.json" || files.iter().any(named),
            "{} is left over",
            name.display()
        );
    }
}
