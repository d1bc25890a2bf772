//! Exports that run by themselves, in real processes whose clock a test sets.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Days, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::helper::{Sluice, manifest, text};
use crate::server::{Answer, Server};

/// Looks at something that a server is about to do.
const LOOKS_MAX: u32 = 3600;

/// A clock that servers are told to have.
pub(crate) struct Time {
    clock: PathBuf,
    pub(crate) now: DateTime<Utc>,
}

struct World {
    sluice: Sluice,
    time: Time,
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("a time").with_timezone(&Utc)
}

impl Time {
    /// Makes a clock that lies beside a data folder.
    pub(crate) fn new(sluice: &Sluice, now: &str) -> Self {
        Self::called("clock", sluice, now)
    }

    /// Makes another one.
    pub(crate) fn called(name: &str, sluice: &Sluice, now: &str) -> Self {
        let mut time = Self { clock: sluice.path(name), now: at(now) };
        time.set(at(now));
        time
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> String {
        text(&self.clock)
    }

    /// Sets the clock, whole at once.
    pub(crate) fn set(&mut self, now: DateTime<Utc>) {
        let new = self.clock.with_extension("new");
        std::fs::write(&new, now.to_rfc3339()).expect("written");
        std::fs::rename(new, &self.clock).expect("renamed");
        self.now = now;
    }

    pub(crate) fn serve(&self, sluice: &Sluice) -> Server {
        let clock = text(&self.clock);
        let args = ["serve", "--listen", "127.0.0.1:0", "--test-clock", &clock];
        let mut command = sluice.command(&args);
        command.env("SLUICE_LOG", "off");
        Server::spawn(sluice, command)
    }
}

impl World {
    fn new(now: &str) -> Self {
        let sluice = Sluice::new();
        Self { time: Time::new(&sluice, now), sluice }
    }

    fn set(&mut self, now: DateTime<Utc>) {
        self.time.set(now);
    }

    fn serve(&self) -> Server {
        self.time.serve(&self.sluice)
    }
}

impl Server {
    /// Saves an export of rows of `d`.
    pub(crate) fn save(&self, name: &str, schedule: &Value, on: (&str, &str)) -> Answer {
        let body = json!({ "export": { "dataset": "d", "format": "csv" }, "schedule": schedule });
        let headers = [("content-type", "application/json"), on];
        let path = format!("/v1/exports/{name}");
        self.send("PUT", &path, (&self.admin, &headers), body.to_string().as_bytes())
    }

    pub(crate) fn export(&self, name: &str) -> Value {
        self.get(&format!("/v1/exports/{name}")).ok(200)
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not so: {what}; {}; {}", self.get("/v1/exports").text, self.get("/v1/runs").text);
    }

    /// Runs of an export, oldest first.
    pub(crate) fn runs_of(&self, name: &str) -> Vec<Value> {
        let all = self.get("/v1/runs?limit=1000").ok(200);
        let mut runs = all["items"].as_array().expect("a list").clone();
        runs.retain(|run| run["export"] == name);
        runs.reverse();
        runs
    }

    pub(crate) fn sealed(&self, name: &str) -> usize {
        self.runs_of(name).iter().filter(|run| run["state"] == "sealed").count()
    }
}

/// One row of a day, whose time is noon.
pub(crate) fn row(day: DateTime<Utc>) -> String {
    format!(
        "{{\"at\":\"{}\",\"day\":{}}}\n",
        (day + TimeDelta::hours(12)).to_rfc3339(),
        day.timestamp() / 86_400
    )
}

pub(crate) fn new() -> (&'static str, &'static str) {
    ("if-none-match", "*")
}

/// March 2026 in Berlin has a night in which 02:30 does not come.
#[test]
fn a_month_of_nights() {
    let mut world = World::new("2026-03-01T00:00:00Z");
    let mut server = world.serve();
    let dataset = json!({ "name": "d", "time_column": "at" });
    server.post("/v1/datasets", &dataset).ok(201);
    server.rows("d", &row(world.time.now - TimeDelta::days(1)), &[]).ok(200);
    let nightly =
        json!({ "trigger": { "kind": "cron", "cron": "30 2 * * *", "zone": "Europe/Berlin" } });
    let saved = server.save("nightly", &nightly, new()).ok(201);
    assert_eq!(saved["next_at"], "2026-03-01T01:30:00Z");
    let daily = json!({ "trigger": { "kind": "cron", "cron": "0 0 * * *" },
        "mode": { "kind": "window", "lag_minutes": 90 } });
    server.save("daily", &daily, new()).ok(201);
    for day in 0..31_usize {
        let midnight = at("2026-03-01T00:00:00Z") + Days::new(day as u64);
        if day % 10 == 5 {
            // Nobody was there when it was due.
            server.kill();
            world.set(midnight + TimeDelta::hours(2));
            server = world.serve();
        }
        world.set(midnight + TimeDelta::hours(2));
        server.until("the night's run is sealed", |server| server.sealed("nightly") == day + 1);
        server.until("so is the window's", |server| server.sealed("daily") == day + 1);
        server.rows("d", &row(midnight), &[]).ok(200);
    }
    let runs = server.runs_of("nightly");
    let ends = |run: &Value| (run["from_commit"].as_u64(), run["to_commit"].as_u64());
    assert_eq!(ends(&runs[0]).0, Some(0));
    assert!(runs.windows(2).all(|two| ends(&two[0]).1 == ends(&two[1]).0), "{runs:?}");
    let last = runs.last().and_then(|run| run["id"].as_str()).expect("a run");
    let place = format!("sluice-data/managed/default/nightly/{last}/manifest.json");
    let said = world.sluice.ok(&["verify", "--chain", &text(&world.sluice.path(&place))]);
    assert!(said.contains("31"), "{said}");
    let windows = server.runs_of("daily");
    for two in windows.windows(2) {
        assert_eq!(
            two[0]["relation"]["selection"]["until"],
            two[1]["relation"]["selection"]["since"]
        );
    }
    for run in &windows {
        let id = run["id"].as_str().expect("an id");
        let place = format!("sluice-data/managed/default/daily/{id}/manifest.json");
        let (manifest, _) = manifest(&text(&world.sluice.path(&place)));
        assert_eq!(manifest["totals"]["rows"], 1, "{manifest}");
    }
    assert!(server.stop());
}

#[test]
fn a_schedule_is_edited_paused_and_broken() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let server = world.serve();
    server.rows("d", &row(world.time.now), &[]).ok(200);
    let hourly = json!({ "trigger": { "kind": "every", "minutes": 60 } });
    let first = server.save("e", &hourly, new());
    assert_eq!(first.ok(201)["version"], 1);
    server.save("e", &hourly, new()).problem(412, "conflict", &["`e`"]);
    world.set(world.time.now + TimeDelta::minutes(61));
    server.until("it ran", |server| server.sealed("e") == 1);
    // Paused, it misses what it misses; then one run covers all of that.
    server.post("/v1/exports/e/pause", &json!({})).ok(200);
    world.set(world.time.now + TimeDelta::hours(5));
    server.rows("d", &row(world.time.now), &[]).ok(200);
    assert_eq!(server.export("e")["state"], "paused");
    server.post("/v1/exports/e/resume", &json!({})).ok(200);
    server.until("it ran once", |server| server.sealed("e") == 2);
    assert_eq!(server.export("e")["next_at"], "2026-05-01T07:00:00Z");
    // An edit needs the newest tag.
    let tag = server.get("/v1/exports/e").etag;
    let often = json!({ "trigger": { "kind": "on_data" } });
    assert_eq!(server.save("e", &often, ("if-match", &tag)).ok(200)["version"], 2);
    server.save("e", &often, ("if-match", &first.etag)).problem(412, "conflict", &[]);
    server.rows("d", &row(world.time.now), &[]).ok(200);
    server.until("new rows start a run", |server| server.sealed("e") == 3);
    let versions = server.get("/v1/exports/e/versions").ok(200);
    assert_eq!(versions["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(versions["items"][1]["schedule"], hourly_as_saved());
    // What it reads is gone: it says so, and the cursor stays.
    let cursor = server.export("e")["cursor"].clone();
    let tag = server.get("/v1/exports/e").etag;
    server.save("e", &hourly, ("if-match", &tag)).ok(200);
    let gone = server.send("DELETE", "/v1/datasets/d", (&server.admin, &[("if-match", "*")]), b"");
    gone.ok(204);
    world.set(world.time.now + TimeDelta::hours(2));
    server.until("it is broken", |server| server.export("e")["state"] == "broken");
    let export = server.export("e");
    assert!(export["reason"].as_str().is_some_and(|why| why.contains("`d`")), "{export}");
    assert_eq!((&export["cursor"], &export["next_at"]), (&cursor, &Value::Null));
    assert!(server.stop());
}

fn hourly_as_saved() -> Value {
    json!({ "trigger": { "kind": "every", "minutes": 60 }, "mode": { "kind": "incremental" } })
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let world = World::new("2026-05-01T00:00:00Z");
    let server = world.serve();
    server.rows("d", "{\"n\":1}\n", &[]).ok(200);
    let refused = |schedule: Value, words: &[&str]| {
        server.save("e", &schedule, new()).problem(400, "invalid", words);
    };
    let cron = |cron: &str, zone: &str| json!({ "trigger": { "kind": "cron", "cron": cron, "zone": zone } });
    refused(cron("0 0 30 2 *", "UTC"), &["never"]);
    refused(cron("0 25 * * *", "UTC"), &["`0 25 * * *`"]);
    refused(cron("0 0 * * *", "Nowhere"), &["`Nowhere`", "Europe/Berlin"]);
    refused(json!({ "trigger": { "kind": "every", "minutes": 0 } }), &["1 to"]);
    refused(json!({ "mode": { "kind": "window" } }), &["`cron` or `every`"]);
    let window =
        json!({ "trigger": { "kind": "every", "minutes": 5 }, "mode": { "kind": "window" } });
    refused(window, &["time column"]);
    refused(json!({ "trigger": { "kind": "hourly" } }), &["hourly"]);
    let once = json!({ "export": { "dataset": "d", "from_commit": 1 } });
    let headers = [("content-type", "application/json"), new()];
    let send = |body: &Value| {
        server.send("PUT", "/v1/exports/e", (&server.admin, &headers), body.to_string().as_bytes())
    };
    send(&once).problem(400, "invalid", &["`from_commit`"]);
    send(&json!({ "export": { "dataset": "none" } })).problem(400, "invalid", &["`none`"]);
    let joined = json!({ "export": { "sql": "SELECT count(*) AS n FROM d" } });
    send(&joined).problem(400, "invalid", &["incrementally"]);
    assert_eq!(server.get("/v1/exports").ok(200)["items"], json!([]));
    let clock = text(&world.time.clock);
    let far = ["serve", "--listen", "0.0.0.0:0", "--test-clock", &clock];
    world.sluice.fails(&far, 2, &["--test-clock", "127.0.0.1"]);
}

#[test]
fn the_shell_saves_what_a_server_runs() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let rows = world.sluice.file("rows.jsonl", row(world.time.now));
    world.sluice.ok(&["import", "d", &rows]);
    let save = ["export", "save", "e", "--dataset", "d", "--to", "managed", "--every", "60"];
    // The shell has the machine's clock.
    let saved = world.sluice.json(&save);
    assert_eq!((&saved["name"], &saved["version"]), (&json!("e"), &json!(1)));
    let again = world.sluice.json(&[&save[..], &["--restart"]].concat());
    assert_eq!(again["version"], 2);
    let due = again["next_at"].as_str().map(at).expect("a time");
    let out = world.sluice.ok(&["export", "history", "e"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(world.sluice.ok(&["export", "list"]).contains("every 60 min"));
    assert!(world.sluice.ok(&["export", "pause", "e"]).contains("paused"));
    assert!(world.sluice.ok(&["export", "show", "e"]).contains("paused"));
    world.sluice.ok(&["export", "resume", "e"]);
    let printed = world.sluice.ok(&["export", "now", "e"]);
    assert!(printed.ends_with("manifest.json"), "{printed}");
    world.set(due + TimeDelta::seconds(1));
    let server = world.serve();
    server.until("it ran", |server| server.sealed("e") == 2);
    let folder = ["export", "save", "f", "--dataset", "d", "--to", "out", "--every", "60"];
    world.sluice.fails(&folder, 2, &["destination:"]);
    world.sluice.fails(&["export", "now", "none"], 2, &["`none`"]);
}

#[test]
fn a_group_runs_its_datasets_together_and_takes_in_more() {
    let mut world = World::new("2026-03-01T00:00:00Z");
    let server = world.serve();
    for name in ["a", "b"] {
        server.rows(name, &crate::helper::numbers(0, 5), &[]).ok(200);
    }
    let put = |body: &Value, on: (&str, &str)| {
        let headers = [("content-type", "application/json"), on];
        let body = body.to_string();
        server.send("PUT", "/v1/groups/nightly", (&server.admin, &headers), body.as_bytes())
    };
    let group = |datasets: &[&str]| {
        json!({ "datasets": datasets, "export": { "format": "csv" },
            "schedule": { "trigger": { "kind": "cron", "cron": "0 3 * * *" } } })
    };
    let new = ("if-none-match", "*");
    put(&group(&[]), new).problem(400, "invalid", &["no datasets"]);
    put(&group(&["a", "a"]), new).problem(400, "invalid", &["`a` is named twice"]);
    put(&group(&["a", "nothing"]), new).problem(400, "invalid", &["`nothing`"]);
    let mut wrong = group(&["a"]);
    wrong["export"]["dataset"] = "b".into();
    put(&wrong, new).problem(400, "invalid", &["`datasets`"]);
    wrong["export"] = json!({ "where": "absent > 1" });
    put(&wrong, new).problem(400, "invalid", &["dataset `a`", "absent"]);
    assert_eq!(server.get("/v1/exports").ok(200)["items"], json!([]), "nothing was made");
    let saved = put(&group(&["a"]), new);
    let names = |group: &Value| {
        let exports = group["exports"].as_array().expect("a list").iter();
        exports.map(|one| one["name"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&saved.ok(201)), ["nightly.a"]);
    world.set(at("2026-03-01T03:00:01Z"));
    let cursor = |export: &str| server.export(export)["cursor"].as_u64().expect("a number");
    server.until("it ran by itself", |_| cursor("nightly.a") > 0);
    let edited = put(&group(&["a", "b"]), ("if-match", &saved.etag));
    assert_eq!(names(&edited.ok(200)), ["nightly.a", "nightly.b"]);
    put(&group(&["b"]), ("if-match", &saved.etag)).problem(412, "conflict", &["read it again"]);
    assert_eq!((cursor("nightly.a") > 0, cursor("nightly.b")), (true, 0));
    let path = "/v1/groups/nightly/run";
    let once = [("idempotency-key", "now")];
    let ran = server.send("POST", path, (&server.admin, &once), b"").ok(200);
    let runs = ran["items"].as_array().expect("a list");
    assert!(runs.iter().all(|one| one["run"].is_string()) && runs.len() == 2, "{ran}");
    server.until("all of its rows", |_| cursor("nightly.b") > 0);
    let again = server.send("POST", path, (&server.admin, &once), b"").ok(200);
    assert_eq!(again, ran);
    // An export of a group is the group's.
    let alone = json!({ "export": { "dataset": "a" } }).to_string();
    let headers = [("content-type", "application/json"), ("if-match", "*")];
    let refused =
        server.send("PUT", "/v1/exports/nightly.a", (&server.admin, &headers), alone.as_bytes());
    refused.problem(409, "conflict", &["edit that group"]);
    let shell = |args: &[&str]| world.sluice.ok(args);
    assert!(shell(&["group", "list"]).contains("a, b"));
    assert!(shell(&["group", "pause", "nightly"]).contains("paused"));
    assert!(shell(&["group", "resume", "nightly"]).contains("active"));
    let save = ["group", "save", "nightly", "--dataset", "b", "--to", "managed", "--every", "5"];
    assert!(shell(&save).contains("version 3: 1 export"), "{}", shell(&save));
    assert!(!shell(&["group", "show", "nightly"]).contains("nightly.a"));
    assert_eq!(server.export("nightly.a")["state"], "paused");
    assert_eq!(shell(&["group", "now", "nightly"]).lines().count(), 1);
}
