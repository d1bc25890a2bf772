//! Two servers on one database and one bucket: whatever becomes of either, each slot has one run.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::helper::Sluice;
use crate::postgres::database;
use crate::s3::Bucket;
use crate::schedules::{Time, new};
use crate::server::Server;
use crate::wire::{Trouble, Wire};

/// Minutes that go by.
const MINUTES: u64 = 8;

/// Two data folders of one service; the token of the first opens the second, too.
struct Nodes {
    folders: [Sluice; 2],
    servers: [Option<Server>; 2],
    time: Time,
}

impl Nodes {
    fn start(bucket: &Bucket) -> Self {
        let settings = database() + &bucket.lake();
        Self::with(&[settings.clone(), settings])
    }

    fn with(settings: &[String; 2]) -> Self {
        let folders = [Sluice::new(), Sluice::new()];
        for (folder, settings) in folders.iter().zip(settings) {
            folder.configure(settings);
        }
        let time = Time::new(&folders[0], "2026-05-01T00:00:00Z");
        let first = time.serve(&folders[0]);
        // It becomes a data folder first.
        folders[1].ok(&["dataset", "list"]);
        let token = folders.each_ref().map(|folder| folder.path("sluice-data/admin-token"));
        std::fs::copy(&token[0], &token[1]).expect("copied");
        let second = time.serve(&folders[1]);
        Self { servers: [Some(first), Some(second)], folders, time }
    }

    fn server(&self, n: usize) -> &Server {
        self.servers[n].as_ref().expect("it runs")
    }

    /// Ends a server as a crash would, and starts it again.
    fn crash(&mut self, n: usize) {
        self.servers[n].take().expect("it runs").kill();
        self.servers[n] = Some(self.time.serve(&self.folders[n]));
    }
}

/// A row of a minute, at its beginning.
fn row(nodes: &Nodes, minute: u64) -> String {
    format!("{{\"at\":\"{}\",\"minute\":{minute}}}\n", nodes.time.now.to_rfc3339())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_has_one_run_whatever_becomes_of_a_node() {
    let bucket = Bucket::new();
    let mut nodes = Nodes::start(&bucket);
    let dataset = json!({ "name": "d", "time_column": "at" });
    nodes.server(0).post("/v1/datasets", &dataset).ok(201);
    nodes.server(0).rows("d", &row(&nodes, 0), &[]).ok(200);
    let minutely = json!({ "kind": "every", "minutes": 1 });
    let window = json!({ "trigger": minutely, "mode": { "kind": "window" } });
    nodes.server(0).save("new", &json!({ "trigger": minutely }), new()).ok(201);
    nodes.server(1).save("window", &window, new()).ok(201);
    for minute in 0..MINUTES {
        let n = usize::from(minute % 2 == 0);
        if minute > 0 {
            nodes.server(n).rows("d", &row(&nodes, minute), &[]).ok(200);
        }
        let now = nodes.time.now + TimeDelta::minutes(1);
        nodes.time.set(now);
        // Somewhere in the middle of what is due now.
        std::thread::sleep(Duration::from_millis(minute * 37));
        if minute == MINUTES / 2 {
            nodes.server(n).tell("-STOP");
        } else if minute % 3 != 0 {
            nodes.crash(n);
        }
        let other = nodes.server(1 - n);
        let count = usize::try_from(minute + 1).expect("few");
        other.until("what is new is sealed", |server| server.sealed("new") == count);
        other.until("so is the window", |server| server.sealed("window") == count);
        if minute == MINUTES / 2 {
            nodes.server(n).tell("-CONT");
        }
    }
    let server = nodes.server(0);
    let (news, windows) = (server.runs_of("new"), server.runs_of("window"));
    for runs in [&news, &windows] {
        let sealed = runs.iter().filter(|run| run["state"] == "sealed").count();
        assert_eq!((sealed as u64, runs.len()), (MINUTES, sealed), "{runs:?}");
    }
    check(&bucket, &news, &windows).await;
}

/// The second node reaches the database and the store by wires that break, or on which nothing passes any more.
#[tokio::test(flavor = "multi_thread")]
async fn each_slot_has_one_run_although_a_node_is_cut_off() {
    let bucket = Bucket::new();
    let (direct, lake) = (database(), bucket.lake());
    let (database, store) = (Wire::to(&address(&direct)), Wire::to(&address(bucket.endpoint())));
    let by_wire = direct.replace(&address(&direct), &database.address)
        + &lake.replace(&address(bucket.endpoint()), &store.address);
    let mut nodes = Nodes::with(&[direct + &lake, by_wire]);
    let dataset = json!({ "name": "d", "time_column": "at" });
    nodes.server(0).post("/v1/datasets", &dataset).ok(201);
    nodes.server(0).rows("d", &row(&nodes, 0), &[]).ok(200);
    let hourly = json!({ "kind": "every", "minutes": 60 });
    let window = json!({ "trigger": hourly, "mode": { "kind": "window" } });
    nodes.server(0).save("new", &json!({ "trigger": hourly }), new()).ok(201);
    nodes.server(0).save("window", &window, new()).ok(201);
    let troubles = [(&database, Trouble::Silent), (&store, Trouble::Broken)];
    let troubles =
        troubles.into_iter().chain([(&database, Trouble::Broken), (&store, Trouble::Silent)]);
    let start = nodes.time.now;
    for (hour, (wire, trouble)) in (0_u32..).zip(troubles) {
        if hour > 0 {
            nodes.server(0).rows("d", &row(&nodes, hour.into()), &[]).ok(200);
        }
        let count = usize::try_from(hour + 1).expect("few");
        // So that it is the second one's work, and somewhere in the middle of it.
        nodes.server(0).tell("-STOP");
        let next = start + TimeDelta::hours(i64::from(hour) + 1);
        nodes.time.set(next);
        std::thread::sleep(Duration::from_millis(60 + u64::from(hour) * 40));
        wire.becomes(trouble);
        if std::ptr::eq(wire, &raw const store) && trouble == Trouble::Silent {
            // Who waits for an answer holds on to what it has, for minutes.
            std::thread::sleep(Duration::from_secs(3));
            wire.becomes(Trouble::Nothing);
        }
        nodes.server(0).tell("-CONT");
        // What failed is tried again as time goes by, and what the other node holds is free after a while.
        let both =
            |server: &Server| ["new", "window"].iter().all(|name| server.sealed(name) == count);
        let mut looks = 0;
        while !both(nodes.server(0)) {
            looks += 1;
            let runs = || nodes.server(0).get("/v1/runs").text;
            assert!(looks < 3600, "{trouble:?} in hour {hour}: {}", runs());
            std::thread::sleep(Duration::from_millis(50));
            // Who is cut off may be the one that tries, with ever longer pauses.
            if looks % 20 == 0 {
                let now = nodes.time.now + TimeDelta::seconds(1);
                nodes.time.set(now);
            }
        }
        wire.becomes(Trouble::Nothing);
        nodes.server(1).until("it is back", |server| {
            let with = (&*server.admin, &[][..]);
            server.try_send("GET", "/v1/exports", with, b"").is_some_and(|a| a.status == 200)
        });
    }
    let server = nodes.server(0);
    let sealed = |name| {
        let runs = server.runs_of(name);
        runs.into_iter().filter(|run| run["state"] == "sealed").collect::<Vec<_>>()
    };
    check(&bucket, &sealed("new"), &sealed("window")).await;
}

/// The host and the port of a URL in a text.
fn address(text: &str) -> String {
    let (_, rest) = text.split_once("://").expect("a URL");
    let authority = rest.split(['/', '"', '\n']).next().expect("an authority");
    authority.rsplit('@').next().expect("a host").to_owned()
}

/// Small commits are sealed and old rows removed, also when the node that did so dies.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_goes_on_whatever_becomes_of_a_node() {
    let bucket = Bucket::new();
    let settings = database() + &bucket.lake().replace("tail_bytes = 0\n", "");
    let mut nodes = Nodes::with(&[settings.clone(), settings]);
    let dataset = json!({ "name": "d", "time_column": "at" });
    nodes.server(0).post("/v1/datasets", &dataset).ok(201);
    nodes.server(0).rows("d", &row(&nodes, 0), &[]).ok(200);
    nodes.folders[1].ok(&["dataset", "keep", "d", "--days", "1"]);
    let in_tail = || nodes.folders[1].json(&["dataset", "show", "d"])["tail"].clone();
    assert_eq!(in_tail(), 1);
    let later = nodes.time.now + TimeDelta::minutes(2);
    nodes.time.set(later);
    nodes.server(1).until("it is sealed", |_| in_tail() == 0);
    nodes.servers[0].take().expect("it runs").kill();
    let later = nodes.time.now + TimeDelta::hours(26);
    nodes.time.set(later);
    let count = |server: &Server| server.sql("SELECT count(*) AS x FROM d")[0]["x"].clone();
    nodes.server(1).until("old rows are removed", |server| count(server) == 0);
    nodes.servers[0] = Some(nodes.time.serve(&nodes.folders[0]));
}

/// Holds what lies in the bucket against the runs: each minute once in each export, a chain of what is new, and nothing else.
async fn check(bucket: &Bucket, news: &[Value], windows: &[Value]) {
    let mut known = BTreeSet::new();
    let mut before: Option<(Value, String)> = None;
    for (minute, run) in (0..).zip(news) {
        let (manifest, key) = delivered(bucket, run, &mut known).await;
        assert_eq!(rows(bucket, run, &manifest).await, [minute]);
        match before {
            None => assert_eq!(manifest["previous"], Value::Null),
            Some((previous, sha256)) => {
                assert_eq!(manifest["from_commit"], previous["to_commit"]);
                assert_eq!(manifest["previous"]["sha256"], sha256);
            }
        }
        before = Some((manifest, model::digest::sha256_hex(&bucket.read(&key).await)));
    }
    for (minute, run) in (0..).zip(windows) {
        let (manifest, _) = delivered(bucket, run, &mut known).await;
        assert_eq!(rows(bucket, run, &manifest).await, [minute]);
    }
    let managed: BTreeSet<String> =
        bucket.names().await.into_iter().filter(|name| name.starts_with("managed/")).collect();
    assert_eq!(managed, known, "nothing else is there");
}

fn folder(run: &Value) -> String {
    let (export, id) =
        (run["export"].as_str().expect("a name"), run["id"].as_str().expect("an id"));
    format!("managed/default/{export}/{id}")
}

/// The manifest of a run and its key; notes what it names as known.
async fn delivered(bucket: &Bucket, run: &Value, known: &mut BTreeSet<String>) -> (Value, String) {
    let folder = folder(run);
    let key = format!("{folder}/manifest.json");
    let manifest: Value = serde_json::from_slice(&bucket.read(&key).await).expect("JSON");
    for file in manifest["files"].as_array().expect("files") {
        known.insert(format!("{folder}/{}", file["path"].as_str().expect("a path")));
    }
    known.insert(key.clone());
    (manifest, key)
}

/// The minutes of the rows of a manifest.
async fn rows(bucket: &Bucket, run: &Value, manifest: &Value) -> Vec<u64> {
    let mut minutes = Vec::new();
    for file in manifest["files"].as_array().expect("files") {
        let key = format!("{}/{}", folder(run), file["path"].as_str().expect("a path"));
        let bytes = bucket.read(&key).await;
        assert_eq!(file["sha256"], model::digest::sha256_hex(&bytes));
        let text = String::from_utf8(bytes).expect("text");
        let minute = |line: &str| line.rsplit(',').next().and_then(|cell| cell.parse::<u64>().ok());
        minutes.extend(text.lines().skip(1).map(|line| minute(line).expect("a number")));
    }
    minutes
}
