//! Liferay's scripts, as they are printed, and clients written from descriptions of real ones.
//!
//! What is written in `docs/dialects/liferay.md` and needs more than a request and its answer: a shell (LR-05), an order (LR-14), an end in the middle of a job,
//! downloads that have begun (LR-15), sums over whole reports. That not more jobs wait than may (LR-19) is a case of the store's suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::helper::Sluice;
use crate::schedules::{Time, at};
use crate::server::{Answer, Server};

/// Times that a job is asked for before it counts as lost.
const LOOKS_MAX: u32 = 6000;

/// Looks for which a server lives that is killed again and again, and how often it is.
const LIFE_LOOKS: u32 = 100;

/// See [`LIFE_LOOKS`].
const LIVES_MAX: u32 = 60;

/// A window around everything.
const ALL: &str = "fromDate=2000-01-01T00:00&toDate=2099-01-01T00:00";

fn path(kind: &str, window: &str) -> String {
    format!("/api/reports/export/{kind}?{window}")
}

/// Whether an answer says where a job stands.
fn state(answer: &Answer) -> Option<String> {
    let line: Value = serde_json::from_str(answer.text.lines().next()?).ok()?;
    let state = line["status"].as_str()?;
    ["PENDING", "RUNNING", "ERROR"].contains(&state).then(|| state.to_owned())
}

impl Server {
    /// Asks for a report until it is there.
    fn report(&self, kind: &str, window: &str, token: &str) -> String {
        for _ in 0..LOOKS_MAX {
            let answer = self.send("GET", &path(kind, window), (token, &[]), b"");
            assert_eq!(answer.status, 200, "{answer:?}");
            match state(&answer).as_deref() {
                None => return answer.text,
                Some("ERROR") => panic!("{}", answer.text),
                Some(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("{kind} is not there");
    }
}

/// Events of some users, in sessions of ten; every tenth is no view.
fn events(count: u64) -> String {
    let mut lines = String::new();
    for n in 0..count {
        let (user, session, second) = (n % 97, n / 10, n % 86_400);
        let at = at("2025-12-01T00:00:00Z") + TimeDelta::seconds(second.try_into().expect("small"));
        let name = if n.is_multiple_of(10) { "pageUnloaded" } else { "pageViewed" };
        let line = json!({
            "id": format!("e{n}"), "type": "page", "application": "Page", "name": name, "time": at,
            "user_id": format!("u{user}"), "session_id": format!("s{session}"), "property_id": n,
            "canonical_url": format!("https://example.com/{}", n % 31), "title": format!("page {n}"),
            "properties": { "viewDuration": (n % 1000).to_string(), "n": n.to_string() },
        });
        writeln!(lines, "{line}").expect("in memory");
    }
    lines
}

/// Runs a line in a real shell, in a folder.
fn shell(line: &str, folder: &Path) -> String {
    let done = Command::new("bash").args(["-c", line]).current_dir(folder).output();
    let done = done.expect("bash runs");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn a_token_is_shown_whatever_the_datasets_are() {
    let sluice = Sluice::new();
    let own = sluice.file("own.jsonl", "{\"id\":1,\"name\":\"x\"}\n");
    sluice.ok(&["import", "event", &own]);
    let made = sluice.ok(&["token", "create", "--for", "liferay"]);
    assert_eq!(made.matches("/api/reports/export/").count(), 2, "{made}");
    sluice.ok(&["view", "create", "account", "SELECT 1 AS id"]);
    let said = sluice.run(&["dataset", "canonical"]);
    assert_ne!(said.code, 0, "an `event` by no time cannot be it: {}", said.stderr);
    sluice.ok(&["dataset", "drop", "event"]);
    let said = sluice.run(&["dataset", "canonical"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("`account` is a view"), "{}", said.stderr);
}

#[test]
fn the_documented_lines_run_in_a_shell() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("event", &events(50), &[]).ok(200);
    let made = sluice.ok(&["token", "create", "--for", "liferay"]);
    let token = made.split("Bearer ").nth(1).and_then(|rest| rest.split('\'').next());
    let (token, host) = (token.expect("a literal token"), server.address().to_owned());
    let folder = sluice.path("");
    let window = "2025-12-01'T'00:00:00.000'Z'";
    let end = "2025-12-02'T'23:59:59.000'Z'";
    // Of 2022: quotes that bash takes away, headers in the output, `-L` twice, appended to a file.
    let polling = format!(
        r#"curl -sS -L -i -L -H "Authorization:Bearer {token}" http://{host}/api/reports/export/page?fromDate={window}\&toDate={end} >> page-data.json"#
    );
    // Of today: every sign escaped, into a file of its own.
    let today = format!(
        r#"curl -sS -L http://{host}/api/reports/export/page\?fromDate\={window}\&toDate\={end} -H "Authorization: Bearer {token}" -H "Accept: application/zip" --output page.zip"#
    );
    // Between quotes, where backslashes stay.
    let quoted = format!(
        r"curl -sS -H 'Authorization: Bearer {token}' 'http://{host}/api/reports/export/page\?fromDate\={window}\&toDate\={end}'"
            ).replace("'T'", "T").replace("'Z'", "Z");
    let windows = format!(
        r#"curl -sS -g -H "Authorization: Bearer {token}" "http://{host}/api/reports/export/page?fromDate={window}&toDate={end}""#
    );
    for _ in 0..LOOKS_MAX {
        shell(&polling, &folder);
        let said = fs::read_to_string(folder.join("page-data.json")).expect("the file");
        if said.contains("\"views\"") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let said = fs::read_to_string(folder.join("page-data.json")).expect("the file");
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    // What is no header and no end of one is a line of JSON.
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["status"], "PENDING");
    let pages = lines.iter().filter(|line| !line["views"].is_null()).count();
    assert!(pages > 1, "{said}");
    for line in [&quoted, &windows] {
        let said = shell(line, &folder);
        assert_eq!(said.lines().count(), pages, "{line}: {said}");
    }
    shell(&today, &folder);
    let archive = fs::read(folder.join("page.zip")).expect("the archive");
    assert_eq!(archive[..4], *b"PK\x03\x04", "an archive");
    // An ampersand that the shell takes for its own.
    let cut = format!(
        r#"curl -sS -H "Authorization: Bearer {token}" http://{host}/api/reports/export/page?fromDate={window}&toDate={end}; wait"#
    );
    let said = shell(&cut, &folder);
    assert!(said.contains("a shell takes the `&` for its own") && said.ends_with('\n'), "{said}");
    // The lines that are printed work as they stand.
    for line in made.lines() {
        let line = line.replace("127.0.0.1:8080", &host);
        let said = shell(&line, &folder);
        assert!(said.contains("\"status\":\"PENDING\"") || said.contains("\"views\""), "{said}");
    }
}

/// The rows of a report, by a client that does as one of others is described: it splits on newlines, reads each line as JSON, and asks again
/// later as long as one has a status.
fn fetch(server: &Server, kind: &str) -> Vec<BTreeMap<String, Value>> {
    let text = server.report(kind, ALL, &server.admin);
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// Adds up a field, whose numbers are strings.
fn sum(rows: &[BTreeMap<String, Value>], field: &str) -> i64 {
    let number = |row: &BTreeMap<String, Value>| {
        row.get(field).and_then(Value::as_str).and_then(|text| text.parse::<i64>().ok())
    };
    rows.iter().filter_map(number).sum()
}

/// Three fragments of each of some people, browsers, memberships and segments.
fn people(server: &Server) {
    for part in 0..3 {
        let mut lines: [String; 4] = Default::default();
        for n in 0..400 {
            let made = "2025-12-01T00:00:00Z";
            let all = [
                json!({ "id": format!("i{n}"), "email": format!("{part}-{n}@example.com"),
                    "suppressed": n % 50 == 0, "created_at": made }),
                json!({ "id": format!("u{n}"), "individual_id": format!("i{n}"), "created_at": made }),
                json!({ "id": n, "segment_id": n % 7, "status": "ACTIVE", "created_at": made }),
                json!({ "id": n, "name": format!("s{part}"), "individuals": n, "created_at": made }),
            ];
            for (lines, line) in lines.iter_mut().zip(all) {
                writeln!(lines, "{line}").expect("in memory");
            }
        }
        for (name, lines) in ["individual", "identity", "membership", "segment"].iter().zip(&lines)
        {
            server.rows(name, lines, &[]).ok(200);
        }
    }
}

#[test]
fn every_report_adds_up_with_the_lake() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("event", &events(5000), &[]).ok(200);
    people(&server);
    server.rows("account", "{\"id\":\"a\",\"individuals\":3}\n", &[]).ok(200);
    let lake = |sql: &str| {
        let row = &server.sql(sql)[0];
        row.as_object().expect("a row").values().map(|value| value.as_i64().unwrap_or(0)).collect()
    };

    let rows = fetch(&server, "event");
    let sums: Vec<i64> = lake(
        "SELECT count(*), sum(property_id), sum(length(title)), sum(CAST(properties['n'] AS BIGINT)) FROM event",
    );
    let of = |row: &BTreeMap<String, Value>, at: usize| row["properties"][at]["value"].clone();
    let n = rows.iter().map(|row| {
        let values = [of(row, 0), of(row, 1)];
        let names = [&row["properties"][0]["name"], &row["properties"][1]["name"]];
        let at = names.iter().position(|name| *name == "n").expect("it is there");
        values[at].as_str().expect("text").parse::<i64>().expect("a number")
    });
    let titles = rows.iter().map(|row| row["title"].as_str().expect("text").len());
    let titles = i64::try_from(titles.sum::<usize>()).expect("small");
    let count = i64::try_from(rows.len()).expect("small");
    assert_eq!(vec![count, sum(&rows, "channelId"), titles, n.sum()], sums);

    let rows = fetch(&server, "page");
    let sums: Vec<i64> = lake(
        "SELECT count(*) FILTER (WHERE name = 'pageViewed'),
             count(DISTINCT user_id || session_id) FILTER (WHERE name = 'pageViewed'),
             sum(CAST(properties['viewDuration'] AS BIGINT)) FILTER (WHERE name = 'pageUnloaded') FROM event",
    );
    let found = ["views", "entrances", "timeOnPage"].map(|field| sum(&rows, field));
    assert_eq!(found.to_vec(), sums);
    assert_eq!((sum(&rows, "exits"), sum(&rows, "directAccess")), (sums[1], sums[0]));
    let keys: std::collections::BTreeSet<_> = rows
        .iter()
        .map(|row| {
            ["eventDate", "userId", "sessionId", "canonicalUrl"].map(|key| row[key].to_string())
        })
        .collect();
    assert_eq!(keys.len(), rows.len(), "one row for a day, user, session and page");

    let rows = fetch(&server, "individual");
    assert_eq!(rows.len(), 392);
    assert!(
        rows.iter().all(|row| row["emailAddress"].as_str().is_some_and(|at| at.starts_with("2-")))
    );
    let rows = fetch(&server, "identity");
    assert_eq!(rows.len(), 392);
    let rows = fetch(&server, "membership");
    assert_eq!((rows.len(), sum(&rows, "segmentId")), (400, (0..400).map(|n| n % 7).sum()));
    let rows = fetch(&server, "segment");
    assert_eq!((rows.len(), sum(&rows, "individualsCount")), (400, (0..400).sum()));
    assert!(rows.iter().all(|row| row["name"] == "s2"));
    let rows = fetch(&server, "account");
    assert_eq!((rows.len(), &rows[0]["individualsCount"]), (1, &json!(3)));
}

fn time(run: &Value, field: &str) -> DateTime<Utc> {
    at(run[field].as_str().expect("a time"))
}

#[test]
fn jobs_of_a_workspace_run_in_order_and_one_at_a_time() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let names = ["one", "two", "three", "four", "five"];
    let mut tokens = Vec::new();
    for name in names {
        sluice.ok(&["workspace", "create", name]);
        let scopes = ["--scope", "export:run", "--scope", "data:write"];
        let made = [&["--workspace", name, "token", "create", "--principal", "admin"][..], &scopes];
        tokens.push(sluice.ok(&made.concat()).trim().to_owned());
    }
    let kind = [("content-type", "application/x-ndjson")];
    for token in &tokens {
        let rows = events(200);
        let to = "/v1/datasets/event/rows";
        server.send("POST", to, (token, &kind), rows.as_bytes()).ok(200);
    }
    let window = |n: usize| format!("fromDate=2025-01-01T00:00&toDate=2026-01-01T00:0{n}");
    for n in 0..10 {
        for token in &tokens {
            // Of two at once one creates it.
            let ask = || server.send("GET", &path("event", &window(n)), (token, &[]), b"");
            let answers = thread::scope(|scope| {
                [scope.spawn(ask), scope.spawn(ask)].map(|one| one.join().expect("an answer"))
            });
            assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        }
    }
    for token in &tokens {
        for n in 0..10 {
            assert_eq!(server.report("event", &window(n), token).lines().count(), 200);
        }
        let runs = server.send("GET", "/v1/runs?limit=100", (token, &[]), b"").ok(200);
        let runs = runs["items"].as_array().expect("a list").clone();
        assert_eq!(runs.len(), 10, "one run for each job");
        // Newest first.
        for (later, earlier) in runs.iter().zip(&runs[1..]) {
            assert!(time(later, "created_at") >= time(earlier, "ended_at"), "{later} {earlier}");
            let until = |run: &Value| run["relation"]["selection"]["until"].to_string();
            assert!(until(later) > until(earlier), "in the order of asking");
        }
    }
}

#[test]
fn a_server_that_dies_in_the_middle_loses_no_job() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("event", &events(20_000), &[]).ok(200);
    let (page, event) = (path("page", ALL), path("event", ALL));
    assert_eq!(state(&server.get(&page)).as_deref(), Some("PENDING"));
    assert_eq!(state(&server.get(&event)).as_deref(), Some("PENDING"));
    let mut looks = 0;
    while state(&server.get(&page)).as_deref() == Some("PENDING") && looks < LOOKS_MAX {
        looks += 1;
    }
    server.kill();
    let server = Server::start(&sluice);
    let pages = server.report("page", ALL, &server.admin);
    let events = server.report("event", ALL, &server.admin);
    assert_eq!(events.lines().count(), 20_000);
    let views: u64 = pages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|row| row["views"].as_str().expect("text").parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(views, 18_000);
    let runs = server.get("/v1/runs").ok(200);
    let states: Vec<_> =
        runs["items"].as_array().expect("a list").iter().map(|run| &run["state"]).collect();
    assert_eq!(states, ["sealed", "sealed"], "one run for each job");
}

#[test]
fn what_ends_every_server_is_given_up_and_holds_up_no_other() {
    let sluice = Sluice::new();
    let mut server = Server::start(&sluice);
    server.rows("event", &events(20_000), &[]).ok(200);
    // Longer than any server lives here.
    let slow = "SELECT id, time FROM event WHERE \
                (SELECT count(*) FROM event b, event c WHERE concat(b.id, c.id, b.title) LIKE '%x%y%z%') >= 0";
    sluice.ok(&["view", "create", "liferay.event", slow, "--time", "time"]);
    let (event, segment) = (path("event", ALL), path("segment", ALL));
    assert_eq!(state(&server.get(&event)).as_deref(), Some("PENDING"));
    assert_eq!(state(&server.get(&segment)).as_deref(), Some("PENDING"));
    let is_there = |server: &Server| {
        (0..LIFE_LOOKS).any(|_| {
            thread::sleep(Duration::from_millis(10));
            state(&server.get(&segment)).is_none()
        })
    };
    let mut lives = 1;
    while !is_there(&server) {
        assert!(lives < LIVES_MAX, "the job that waits behind it is still held up");
        server.kill();
        server = Server::start(&sluice);
        lives += 1;
    }
    assert!(lives > 5, "it was given up after {lives} lives");
    let said = server.get(&event).text;
    assert!(said.contains("it was begun 5 times") && said.contains("PENDING"), "{said}");
}

#[test]
fn a_download_that_has_begun_goes_on_and_files_go_later() {
    let sluice = Sluice::new();
    let mut time = Time::new(&sluice, "2026-01-01T00:00:00Z");
    let server = time.serve(&sluice);
    server.rows("event", &events(20_000), &[]).ok(200);
    let whole = server.report("event", ALL, &server.admin);
    let agent: ureq::Agent = ureq::Agent::config_builder().accept_encoding("").build().into();
    let url = format!("http://{}{}", server.address(), path("event", ALL));
    let begun = agent.get(&url).header("authorization", format!("Bearer {}", server.admin)).call();
    let mut begun = begun.expect("an answer").into_body().into_reader();
    let mut first = [0; 10];
    begun.read_exact(&mut first).expect("some bytes");
    let run = server.get("/v1/runs").ok(200)["items"][0]["id"].as_str().expect("an id").to_owned();
    let file = format!("/v1/runs/{run}/files/1");
    // The data is over, and the next request begins anew; files are still there.
    time.set(at("2026-01-02T12:00:00Z"));
    assert_eq!(state(&server.get(&path("event", ALL))).as_deref(), Some("PENDING"));
    server.report("event", ALL, &server.admin);
    assert_eq!(server.send("HEAD", &file, (&server.admin, &[]), b"").status, 200);
    let mut rest = String::new();
    begun.read_to_string(&mut rest).expect("the rest");
    assert_eq!(format!("{}{rest}", String::from_utf8_lossy(&first)), whole);
    // A day later they are taken away.
    time.set(at("2026-01-03T01:00:00Z"));
    for _ in 0..LOOKS_MAX {
        if server.send("HEAD", &file, (&server.admin, &[]), b"").status == 404 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.get(&file).status, 404);
    // What is lost before its time is made anew.
    let run = server.get("/v1/runs").ok(200)["items"][0]["id"].as_str().expect("an id").to_owned();
    let window = "fromDate=2020-01-01T00:00&toDate=2030-01-01T00:00";
    let whole = server.report("event", window, &server.admin);
    let newest =
        server.get("/v1/runs").ok(200)["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_ne!(run, newest);
    let files = sluice.path("sluice-data/managed");
    let found = shell(&format!("find . -path '*{newest}*' -type f -delete -print"), &files);
    assert!(found.lines().count() >= 1, "{found}");
    assert_eq!(state(&server.get(&path("event", window))).as_deref(), Some("PENDING"));
    assert_eq!(server.report("event", window, &server.admin), whole);
    let log = server.get("/v1/audit?limit=100").ok(200);
    let downloads = log["items"].as_array().expect("a list").iter();
    let downloads = downloads.filter(|entry| entry["action"] == "liferay.download");
    assert!(downloads.clone().count() >= 3, "{log}");
    // The end of the last one may not be written yet.
    let is_done = |entry: &Value| entry["outcome"] == "done" || entry["outcome"].is_null();
    assert!(downloads.clone().all(is_done), "{log}");
}
