//! Real processes killed at every write, then resumed: nothing lost, nothing twice.
//!
//! The kill falls on a chosen system call (`strace` injects SIGKILL at the n-th), so every point is
//! reached without guessing at times. Calls are counted by thread: the database has one, so counting its
//! syncs goes through the life of a run from its opening to its seal. `SLUICE_KILLS` is how often a process
//! is killed in each series.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::helper::{Sluice, manifest, numbers, rows, text};
use crate::postgres::on_postgres;

/// Calls that make something durable, or visible at the destination, or are sent to a database.
pub(crate) const SYNCS: &str = "fdatasync,fsync";
pub(crate) const NAMES: &str = "link,linkat,unlink,rename,renameat,renameat2";
pub(crate) const WRITES: &str = "pwrite64";
const SENDS: &str = "sendto";

/// Kills at every `step`-th of some calls.
#[derive(Clone, Copy)]
struct Series {
    calls: &'static str,
    step: usize,
}

pub(crate) fn kills() -> usize {
    std::env::var("SLUICE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(14)
}

/// Runs the program and kills it at the n-th call of a thread; returns whether it was killed.
pub(crate) fn killed_at(sluice: &Sluice, calls: &str, n: usize, args: &[&str]) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=KILL:when={n}")])
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(args)
        // Or it would be another one's turn each time.
        .env("TOKIO_WORKER_THREADS", "1")
        .envs(sluice.variables())
        .current_dir(sluice.path(""))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("strace is installed by scripts/test");
    !status.success()
}

#[test]
fn an_import_killed_anywhere_happens_once_when_repeated_with_its_key() {
    // Small commits in the database, and the same as data files.
    let settings = ["", "[lake]\ntail_bytes = 0\n"];
    let series = [Series { calls: SYNCS, step: 1 }, Series { calls: WRITES, step: 9 }];
    for (Series { calls, step }, setting) in
        series.into_iter().flat_map(|series| settings.map(|setting| (series, setting)))
    {
        let mut killed = 0;
        for n in (1..).step_by(step).take(kills()) {
            let sluice = Sluice::new();
            sluice.configure(setting);
            let file = sluice.file("rows.jsonl", numbers(0, 500));
            sluice.ok(&["dataset", "list"]);
            let args = ["import", "d", file.as_str(), "--key", "k"];
            let dead = killed_at(&sluice, calls, n, &args);
            sluice.ok(&args);
            let shown = sluice.json(&["dataset", "show", "d"]);
            assert_eq!(shown["rows"], 500, "killed at {calls} {n}");
            assert_eq!(shown["commit"], 1, "killed at {calls} {n}");
            if !dead {
                break;
            }
            killed += 1;
        }
        // How many calls a thread makes differs from run to run; the first one always comes.
        assert!(killed > 0, "{calls}: never killed");
    }
}

#[test]
fn an_export_killed_anywhere_delivers_every_row_once() {
    let mut met = BTreeSet::new();
    for (calls, step) in [(SYNCS, 1), (NAMES, 1), (WRITES, 8)] {
        met.extend(kill_exports(Sluice::new, Series { calls, step }));
    }
    // All four as a rule, but each thread's calls are counted by themselves, so which of them dies
    // where differs from run to run; `run` enumerates the states.
    assert!(!met.is_empty(), "no run was killed");
}

#[test]
fn an_export_killed_anywhere_on_postgres_delivers_every_row_once() {
    let mut met = BTreeSet::new();
    for (calls, step) in [(NAMES, 2), (SENDS, 13)] {
        met.extend(kill_exports(on_postgres, Series { calls, step }));
    }
    // Which thread sends differs from run to run, too.
    assert!(!met.is_empty(), "no run was killed");
}

/// Returns the states that the killed runs were left in.
fn kill_exports(start: fn() -> Sluice, Series { calls, step }: Series) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    for (at, n) in (1..).step_by(step).take(kills()).enumerate() {
        let sluice = start();
        let first = sluice.file("a.jsonl", numbers(0, 300));
        let second = sluice.file("b.jsonl", numbers(300, 400));
        let out = text(&sluice.path("out"));
        sluice.ok(&["import", "d", &first]);
        // Otherwise the run seals the tail first.
        if at % 2 == 0 {
            sluice.ok(&["compact", "d"]);
        }
        let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
        let args = [&export[..], &["--file-rows", "70"]].concat();
        let killed = killed_at(&sluice, calls, n, &args);
        if killed {
            let runs = sluice.json(&["run", "list"]);
            met.extend(runs[0]["state"].as_str().map(str::to_owned));
        }
        finish(&sluice);
        sluice.ok(&["import", "d", &second]);
        sluice.ok(&args);
        check(&sluice, &format!("{calls} {n}"));
        if !killed {
            break;
        }
    }
    met
}

/// Resumes whatever is left open.
pub(crate) fn finish(sluice: &Sluice) {
    let runs = sluice.json(&["run", "list"]);
    for run in runs.as_array().expect("an array") {
        if run["resumable"] == true {
            sluice.ok(&["run", "resume", run["id"].as_str().expect("an id")]);
        }
    }
}

fn check(sluice: &Sluice, at: &str) {
    let runs = sluice.json(&["run", "list"]);
    let mut found: Vec<u64> = Vec::new();
    let mut last: Option<String> = None;
    for run in runs.as_array().expect("an array").iter().rev() {
        assert_eq!(run["state"], "sealed", "killed at {at}");
        let path = run["manifest"].as_str().expect("a path");
        found.extend(rows(path).iter().map(|row| row["n"].as_u64().expect("a number")));
        last = Some(path.to_owned());
    }
    assert_eq!(found, (0..400).collect::<Vec<_>>(), "killed at {at}");
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
