//! GrowingIO's scripts: clients written from descriptions of real ones, and hours that are built while everything happens at once.
//!
//! What is written in `docs/dialects/growingio.md` and needs more than a request and its answer: a shell, names that clients cut out of links (GI-21), settings
//! that are refused (GI-23), packages of a limited size (GI-30), servers that die or stand still (GI-11, GI-13).

mod hours;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::scenarios::hmac;
use crate::helper::{Sluice, text};
use crate::schedules::{Time, at};
use crate::server::Server;

/// Times that a slot is asked for before it counts as lost.
const LOOKS_MAX: u32 = 6000;

/// A workspace that is enabled.
struct Project {
    shown: Value,
}

impl Project {
    fn enable(sluice: &Sluice, time: &Time) -> Self {
        let clock = time.path();
        Self { shown: sluice.json(&["growingio", "enable", "default", "--test-clock", &clock]) }
    }

    fn get(&self, name: &str) -> &str {
        self.shown[name].as_str().expect(name)
    }
}

impl Server {
    /// Asks for a slot until it is there, and returns its links.
    fn slot(&self, project: &Project, of: &str) -> Vec<String> {
        let mut said = String::new();
        for _ in 0..LOOKS_MAX {
            let path = of.replace("{ai}", project.get("ai"));
            let answer =
                self.send("GET", &format!("/v2/insights/{path}"), (project.get("token"), &[]), b"");
            let answer = answer.ok(200);
            if answer["status"] == "FINISHED" {
                let links = answer["downloadLinks"].as_array().expect("a list");
                return links.iter().map(|link| link.as_str().expect("a link").into()).collect();
            }
            said = answer.to_string();
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{of} is not there: {said}");
    }

    /// Fetches a link as it is, and unpacks it.
    fn package(&self, link: &str) -> (u64, String) {
        assert!(link.contains(self.address()), "{link}");
        let mut got = ureq::get(link).call().expect("an answer");
        let bytes = got.body_mut().read_to_vec().expect("a whole body");
        let mut text = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
        (bytes.len() as u64, text)
    }
}

/// The settings of a project whose calls are not counted.
fn free(more: &str) -> String {
    format!("[growingio]\ncalls_per_second = 0\n{more}\n")
}

/// Texts that a reader of CSV may take for something else.
const NASTY: [&str; 6] = ["plain", "a,b", "say \"hi\"", "back\\slash", "", " blank "];

/// Rows of every type; their numbers go on from `first`.
fn rows(first: u64, count: u64) -> String {
    let types = [
        "visit",
        "page",
        "action",
        "custom",
        "ad_activation",
        "ad_click",
        "page_variables",
        "conversion_variables",
        "visitor_variables",
    ];
    let mut lines = String::new();
    for n in first..first + count {
        for kind in types {
            let nasty = NASTY[usize::try_from(n % 6).expect("small")];
            let time = at("2025-12-31T00:00:00Z") + TimeDelta::milliseconds(n.cast_signed() * 1001);
            let line = json!({
                "type": kind, "id": format!("{kind}-{n}"), "time": time, "name": format!("event {}", n % 7),
                "user_id": format!("u{}", n % 41), "session_id": format!("s{n}"), "title": nasty,
                "info": nasty, "path": nasty, "properties": { "n": n.to_string(), "text": nasty },
                "action_id": format!("a{n}"), "request_type": "clck",
                "rule_ids": [format!("r{}", n % 3), format!("r{}", n % 5)],
            });
            writeln!(lines, "{line}").expect("in memory");
        }
    }
    lines
}

/// Compares what was fetched of each type with the lake, column by column.
fn check_sums(server: &Server, fetched: &Value) {
    let sums = |kind: &str| {
        let sql = format!(
            "SELECT count(*) AS rows, sum(arrow_cast(arrow_cast(time, 'Timestamp(ms, \"UTC\")'), 'Int64')) AS time,
                 sum(arrow_cast(arrow_cast(_commit_time, 'Timestamp(ms, \"UTC\")'), 'Int64')) AS sent,
                 count(DISTINCT user_id) AS users, sum(CAST(properties['n'] AS BIGINT)) AS n,
                 sum(character_length(properties['text'])) AS text
             FROM event WHERE type = '{kind}'"
        );
        server.sql(&sql)[0].clone()
    };
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    for (name, kind, has) in [
        ("visit", "visit", ["rows", "time", "sent", "users", "", ""]),
        ("page", "page", ["rows", "time", "sent", "users", "", ""]),
        ("action", "action", ["rows", "time", "sent", "users", "", ""]),
        ("custom_event", "custom", ["rows", "time", "sent", "users", "n", "text"]),
        ("ads_track_activation", "ad_activation", ["rows", "", "sent", "users", "n", "text"]),
        ("ads_track_click", "ad_click", ["rows", "time", "", "", "n", "text"]),
        ("pvar", "page_variables", ["rows", "time", "sent", "users", "n", "text"]),
        ("evar", "conversion_variables", ["rows", "time", "sent", "users", "n", "text"]),
        ("vstr", "visitor_variables", ["rows", "time", "sent", "users", "n", "text"]),
    ] {
        let lake = sums(kind);
        assert_eq!(lake["rows"], 4000);
        for column in has.into_iter().filter(|column| !column.is_empty()) {
            let word = if column == "sent" { "sendTime" } else { column };
            let (found, wanted) = (number(&fetched[name][word]), number(&lake[column]));
            assert!((found - wanted).abs() < 1.0, "{name}.{column}: {found} is not {wanted}");
        }
    }
}

#[test]
fn clients_fetch_a_whole_day_that_adds_up_with_the_lake() {
    let sluice = Sluice::new();
    sluice.configure(&free("package_bytes = 4096"));
    let mut time = Time::new(&sluice, "2026-01-01T01:10:00Z");
    let server = time.serve(&sluice);
    let project = Project::enable(&sluice, &time);
    for part in 0..4 {
        server.rows("event", &rows(part * 1000, 1000), &[]).ok(200);
        time.set(time.now + TimeDelta::hours(2));
    }
    time.set(at("2026-01-01T18:00:00Z"));
    let folder = sluice.path("fetched");
    fs::create_dir(&folder).expect("a folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/dialects/growingio.py");
    let url = format!("http://{}", server.address());
    let tm = time.now.timestamp_millis().to_string();
    let names = ["project", "ai", "client_id", "secret"].map(|name| project.get(name).to_owned());
    let python = std::env::var("SLUICE_TEST_DUCKDB");
    let run = Command::new(
        python.expect("SLUICE_TEST_DUCKDB names a Python; run the tests with scripts/test"),
    )
    .arg(script)
    .arg(url)
    .args(&names)
    .args(["20260101", &text(&folder), &tm])
    .output()
    .expect("Python runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let fetched: Value = serde_json::from_slice(&run.stdout).expect("JSON");

    check_sums(&server, &fetched);
    let tags = &fetched["action_tag"];
    assert_eq!(
        (&tags["rows"], &tags["rules"]),
        (&json!(8000), &json!(["r0", "r1", "r2", "r3", "r4"]))
    );
    check_packages(&folder);
}

/// Packages are of a limited size, and filled to three quarters and more but for the last of each type and hour.
fn check_packages(folder: &Path) {
    let mut packages: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("text");
        let (slot, part) = name.split_once("-part-").expect("a package");
        let bytes = entry.metadata().expect("there").len();
        packages.entry(slot.into()).or_default().push((part.into(), bytes));
    }
    let (mut many, mut filled) = (0, 0);
    for files in packages.values_mut() {
        files.sort();
        assert!(files.iter().all(|(_, bytes)| *bytes <= 4096), "{files:?}");
        many += files.len() - 1;
        filled += files[..files.len() - 1].iter().map(|(_, bytes)| bytes).sum::<u64>();
    }
    assert!(many > 20, "{packages:?}");
    assert!(filled >= many as u64 * 4096 * 3 / 4, "{filled} bytes in {many} packages");
}

/// Adds one event with that number, until a server has it.
fn event(server: &Server, number: u64) {
    let line = json!({ "type": "custom", "time": "2026-01-01T00:00:00Z", "user_id": format!("u{number}") });
    let key = format!("k{number}");
    let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", &*key)];
    for _ in 0..LOOKS_MAX {
        let (path, body) = ("/v1/datasets/event/rows", line.to_string());
        let sent = server.try_send("POST", path, (&server.admin, &headers), body.as_bytes());
        if sent.is_some_and(|answer| answer.status == 200) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{number} was not taken");
}

#[test]
fn what_is_signed_is_in_no_log() {
    let sluice = Sluice::new();
    sluice.configure(&free(""));
    let mut time = Time::new(&sluice, "2026-01-01T12:10:00Z");
    let project = Project::enable(&sluice, &time);
    let clock = time.path();
    let mut command = sluice.command(&["serve", "--listen", "127.0.0.1:0", "--test-clock", &clock]);
    let log = sluice.path("log");
    // Into a file: a pipe that nobody reads would hold the server up.
    command.env("SLUICE_LOG", "debug").stderr(fs::File::create(&log).expect("made"));
    let server = Server::spawn(&sluice, command);
    event(&server, 7);
    time.set(at("2026-01-01T13:30:00Z"));
    let links = server.slot(&project, "hour/custom_event/{ai}/2026010120.json");
    server.package(&links[0]);
    let signature = links[0].split("Signature=").nth(1).expect("a signature").to_owned();
    let client = [("x-client-id", project.get("client_id"))];
    let auth = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let path = format!("/auth/token?project=p&ai={}&tm=1&auth={auth}", project.get("ai"));
    assert_eq!(server.send("POST", &path, ("", &client), b"").status, 401);
    let path = format!("/{}/deleteVisitor?auth={auth}", project.get("ai"));
    assert_eq!(server.send("POST", &path, ("", &client), b"{\"visitUserId\":[\"a\"]}").status, 401);
    // As clients send it that take what follows `?` for a part of the path.
    let path = format!("/auth/token%3Fauth={auth}");
    assert_eq!(server.send("POST", &path, ("", &client), b"").status, 404);
    let path = links[0].replace('?', "%3f").split_off(server.address().len() + "http://".len());
    assert_eq!(server.send("GET", &path, ("", &[]), b"").status, 404);
    assert!(server.stop());
    let log = fs::read_to_string(log).expect("the log");
    assert!(log.contains("growingio.download") && log.contains("growingio.sign_in"), "{log}");
    for secret in [&*signature, auth, project.get("secret"), project.get("token")] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn links_that_clients_would_cut_wrongly_are_refused() {
    for (settings, words) in [
        ("[server]\npublic_url = \"https://example.com/sluice\"", "`server.public_url`"),
        ("[growingio]\npublic_url = \"https://partner.example.com\"", "the first `part`"),
        ("[growingio]\nprefix = \"a_b\"", "`growingio.prefix`"),
    ] {
        let sluice = Sluice::new();
        sluice.configure(settings);
        for args in [&["config", "check"][..], &["growingio", "enable"]] {
            sluice.fails(args, 2, &[words]);
        }
        // Nobody uses the dialect yet.
        sluice.configure("");
        sluice.ok(&["growingio", "enable"]);
        sluice.configure(settings);
        sluice.fails(&["serve", "--listen", "127.0.0.1:0"], 2, &[words]);
    }
    let sluice = Sluice::new();
    sluice.configure("[server]\npublic_url = \"https://example.com/sluice\"\n[growingio]\npublic_url = \"https://files.example.com\"");
    sluice.ok(&["config", "check"]);
}

/// Whoever guesses at signatures is slowed down; the documented example of one is what `openssl` makes of it (GI-02).
#[test]
fn an_address_may_not_sign_in_often() {
    let message = "POST\n/auth/token\nproject=nxog09md&ai=0123456789abcdef&tm=1465020309123";
    assert_eq!(
        hmac("s3cret", message),
        "1f3f5c8f67f7a5daafb7eb3fc0048de54fe8ac2bee9dd6171b4e16701aa58c5f"
    );
    let sluice = Sluice::new();
    let project = Project { shown: sluice.json(&["growingio", "enable"]) };
    let server = Server::start(&sluice);
    let client = [("x-client-id", project.get("client_id"))];
    let path = format!("/auth/token?project=p&ai=a&tm=1&auth={}", "0".repeat(64));
    let mut answers = (0..200).map(|_| server.send("POST", &path, ("", &client), b""));
    let refused = answers.find(|answer| answer.status != 401).expect("not that many");
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(refused.text.contains("signs in more often than it may"), "{}", refused.text);
}

/// A project may ask twice a second, unless the settings say something else (GI-18).
#[test]
fn a_project_asks_twice_a_second() {
    let sluice = Sluice::new();
    let project = Project { shown: sluice.json(&["growingio", "enable"]) };
    let server = Server::start(&sluice);
    let path = format!("/v2/insights/hour/{}/2026010120.json", project.get("ai"));
    let ask = || server.send("GET", &path, (project.get("token"), &[]), b"");
    assert_eq!([ask().status, ask().status], [200, 200]);
    let refused = (0..50).map(|_| ask()).find(|answer| answer.status != 200);
    let refused = refused.expect("not that many");
    assert_eq!((refused.status, refused.retry_after), (429, 1), "{}", refused.text);
}

/// Runs a line in a real shell.
fn shell(line: &str) -> String {
    let done = Command::new("bash").args(["-c", line]).output().expect("bash runs");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn what_is_printed_works_as_it_stands() {
    let sluice = Sluice::new();
    let said = sluice.ok(&["growingio", "enable"]);
    let server = Server::start(&sluice);
    let lines: Vec<String> = said
        .lines()
        .filter(|line| line.contains("curl "))
        .map(|line| line.trim().replace("127.0.0.1:8080", server.address()))
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    let code: Value = serde_json::from_str(&shell(&lines[0])).expect(&lines[0]);
    assert_eq!(
        (&code["status"], code["code"].as_str().map(str::len)),
        (&json!("success"), Some(64))
    );
    for line in &lines[1..] {
        let answer: Value = serde_json::from_str(&shell(line)).expect(line);
        assert_eq!(
            (&answer["status"], &answer["errorMsg"]),
            (&json!("NOT_EXISTS"), &json!("it has not ended yet"))
        );
    }
    // A second time it says what there is, and no secret.
    let again = sluice.ok(&["growingio", "enable", "default"]);
    assert!(!again.contains("secret  ") && !again.contains("slt_"), "{again}");
    let secret = sluice.ok(&["growingio", "secret"]);
    assert_eq!(secret.trim().len(), 64, "{secret}");
    assert!(!said.contains(secret.trim()));
    sluice.fails(&["growingio", "enable", "nowhere"], 2, &["no workspace `nowhere`"]);
    sluice.ok(&["workspace", "create", "other"]);
    sluice.fails(&["growingio", "secret", "other"], 2, &["enable it first"]);
    let other = ["--workspace", "other"];
    sluice.fails(
        &[&other[..], &["token", "create", "--for", "growingio"]].concat(),
        2,
        &["`sluice growingio enable`"],
    );
    let log = sluice.ok(&["audit"]);
    assert!(log.contains("growingio.enable") && log.contains("growingio.secret"), "{log}");
}
