//! Runs that deliver to named destinations: buckets of the S3 server of `scripts/test`, and folders.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::destinations::files;
use crate::helper::{Sluice, numbers, text};
use crate::runs::{ended, file, id};
use crate::s3::{Bucket, wanted};
use crate::server::{Answer, Server};

/// A secret that must be found nowhere.
const CANARY: &str = "k4n4r13nv0g3l";

/// What allows the servers of tests.
const ALLOW: &str = "[egress]\nallow = [\"127.0.0.0/8\", \"::1\"]\n";

/// A server with ten rows.
fn started(settings: &str) -> (Sluice, Server) {
    let sluice = Sluice::new();
    sluice.configure(settings);
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    (sluice, server)
}

/// A destination in a bucket, with another endpoint than its own.
fn at_endpoint(bucket: &Bucket, name: &str, endpoint: &str) -> Value {
    let secrets = json!({
        "access_key_id": bucket.settings.access_key_id.reveal(),
        "secret_access_key": bucket.settings.secret_access_key.reveal(),
    });
    let settings = json!({ "endpoint": endpoint });
    json!({ "name": name, "url": bucket.url(), "settings": settings, "secrets": secrets })
}

/// Asks for a run that goes on where the one before ended.
fn ask(server: &Server, destination: &str) -> Answer {
    let destination = format!("destination:{destination}");
    let body = json!({ "dataset": "d", "export": "e", "file_rows": 4, "destination": destination });
    server.post("/v1/runs", &body)
}

/// The words of a run that must have failed.
#[track_caller]
fn failed(server: &Server, asked: &Answer, words: &[&str]) -> String {
    let run = ended(server, &id(&asked.ok(201)));
    assert_eq!(run["state"], "failed", "{run}");
    let error = run["error"].as_str().expect("it says why").to_owned();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    error
}

/// A port on which nobody may call, and whether somebody did.
struct Trap(TcpListener);

impl Trap {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    #[track_caller]
    fn nobody_called(&self) {
        let called = self.0.accept().map(|(_, who)| who);
        assert_eq!(called.expect_err("nobody calls").kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn a_run_delivers_to_a_named_bucket() {
    let bucket = Bucket::new();
    let (_sluice, server) = started(ALLOW);
    let place = at_endpoint(&bucket, "partner", bucket.endpoint());
    server.post("/v1/destinations", &place).ok(201);
    let mut rows = Vec::new();
    for (from, to) in [(0, 10), (10, 13)] {
        if from > 0 {
            server.rows("d", &numbers(from, to), &[]).ok(200);
        }
        let run = id(&ask(&server, "partner").ok(201));
        let sealed = ended(&server, &run);
        assert_eq!((&sealed["state"], &sealed["error"]), (&json!("sealed"), &Value::Null));
        assert_eq!(sealed["destination"], "destination:partner");
        let key = format!("e/{run}/manifest.json");
        let manifest = server.get(&format!("/v1/runs/{run}/manifest"));
        assert_eq!(manifest.ok(200)["totals"]["rows"], to - from);
        assert_eq!(manifest.text.as_bytes(), bucket.read(&key).await);
        rows.extend(bucket.check(&format!("{}/{key}", bucket.url())).await);
        assert_eq!(rows, wanted(to));
        file(&server, &run, 1, &[]).problem(409, "conflict", &["a destination of their own"]);
    }
    assert_eq!(bucket.hidden().await, [""; 0]);
    // The same export goes on at its place alone.
    let other = at_endpoint(&bucket, "other", bucket.endpoint());
    server.post("/v1/destinations", &other).ok(201);
    ask(&server, "other").problem(409, "conflict", &["the destination", "`e`"]);
    ask(&server, "none").problem(400, "invalid", &["no destination `none`"]);
}

#[test]
fn what_is_not_allowed_is_not_called() {
    let (bucket, trap) = (Bucket::new(), Trap::new());
    let (sluice, server) = started("");
    let port = trap.port();
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "169.254.169.254"]
    {
        let place = at_endpoint(&bucket, "direct", &format!("http://{host}:{port}"));
        let refused = server.post("/v1/destinations", &place);
        let body = refused.problem(403, "forbidden", &["`egress.allow`"]);
        assert_eq!(body["field"], "settings", "{host}");
    }
    // What a name stands for shows when it is called.
    let place = at_endpoint(&bucket, "by-name", &format!("http://localhost:{port}"));
    server.post("/v1/destinations", &place).ok(201);
    failed(&server, &ask(&server, "by-name"), &["`egress.allow`", "`localhost`"]);
    server.kill();
    // What was allowed once is looked at again.
    sluice.configure(ALLOW);
    let server = Server::start(&sluice);
    let place = at_endpoint(&bucket, "once", &format!("http://127.0.0.1:{port}"));
    server.post("/v1/destinations", &place).ok(201);
    server.kill();
    sluice.configure("");
    let server = Server::start(&sluice);
    ask(&server, "once").problem(403, "forbidden", &["`egress.allow`"]);
    trap.nobody_called();
}

/// Answers every request with a redirect.
fn redirecting(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let answer = format!(
                "HTTP/1.1 301 Moved Permanently\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            // The head, at least; who goes away meanwhile is not there to be answered.
            drop(stream.read(&mut [0; 8 << 10]));
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}

#[test]
fn a_redirect_is_not_followed() {
    let (bucket, trap) = (Bucket::new(), Trap::new());
    let (_sluice, server) = started(ALLOW);
    // The second one might be called, if redirects were followed at all.
    let targets =
        ["http://169.254.169.254/".to_owned(), format!("http://127.0.0.1:{}/", trap.port())];
    for (n, target) in targets.into_iter().enumerate() {
        let name = format!("place{n}");
        let place = at_endpoint(&bucket, &name, &redirecting(target));
        server.post("/v1/destinations", &place).ok(201);
        let error = failed(&server, &ask(&server, &name), &["another region"]);
        assert!(!error.contains("169.254"), "{error}");
    }
    trap.nobody_called();
}

#[test]
fn a_folder_below_the_roots_is_delivered_to() {
    let sluice = Sluice::new();
    for folder in ["out", "outside"] {
        std::fs::create_dir(sluice.path(folder)).expect("made");
    }
    sluice.configure(&format!("[export]\nroots = [\"{}\"]\n", text(&sluice.path("out"))));
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let place = |name: &str, folder: &str| {
        let url = format!("file://{}", text(&sluice.path(folder)));
        server.post("/v1/destinations", &json!({ "name": name, "url": url }))
    };
    place("outside", "outside").problem(403, "forbidden", &["`export.roots`"]);
    place("managed", "sluice-data/managed").problem(403, "forbidden", &["`export.roots`"]);
    place("partner", "out/partner").ok(201);
    let run = id(&ask(&server, "partner").ok(201));
    assert_eq!(ended(&server, &run)["state"], "sealed");
    let manifest = text(&sluice.path(&format!("out/partner/e/{run}/manifest.json")));
    sluice.ok(&["verify", &manifest]);
    assert_eq!(crate::helper::rows(&manifest), wanted(10));
    // A link that leads out, put there after the first run.
    server.rows("d", &numbers(10, 12), &[]).ok(200);
    let there = sluice.path("out/partner");
    std::fs::rename(&there, sluice.path("out/before")).expect("renamed");
    std::os::unix::fs::symlink(sluice.path("outside"), &there).expect("linked");
    ask(&server, "partner").problem(403, "forbidden", &["`export.roots`"]);
    let left = std::fs::read_dir(sluice.path("outside")).expect("a folder").count();
    assert_eq!((left, server.get("/v1/runs").ok(200)["items"][0]["id"].clone()), (0, json!(run)));
    // When it is gone, the export goes on.
    std::fs::remove_file(&there).expect("removed");
    std::fs::rename(sluice.path("out/before"), &there).expect("renamed");
    let next = id(&ask(&server, "partner").ok(201));
    assert_eq!(ended(&server, &next)["state"], "sealed");
    let manifest = text(&sluice.path(&format!("out/partner/e/{next}/manifest.json")));
    assert_eq!(crate::helper::rows(&manifest), wanted(12)[10..]);
    sluice.ok(&["verify", &manifest, "--chain"]);
}

#[test]
fn a_destination_that_fails_is_told_without_its_secrets() {
    let bucket = Bucket::new();
    let sluice = Sluice::new();
    sluice.configure(ALLOW);
    // Not a pipe: nobody reads it before the end.
    let log = sluice.path("log");
    let file = std::fs::File::create(&log).expect("made");
    let server = Server::start_with(&sluice, |command| {
        command.env("SLUICE_LOG", "debug").stderr(file);
    });
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let right = at_endpoint(&bucket, "a", bucket.endpoint());
    let canaries: [(&str, &[&str], &str); 4] = [
        ("wrong", &["secret_access_key"], "check `secret_access_key`"),
        ("unknown", &["access_key_id", "secret_access_key"], "`access_key_id`"),
        ("bucket", &[], "the bucket's name"),
        ("session", &["session_token"], ""),
    ];
    let mut said = Vec::new();
    for (name, fields, words) in canaries {
        let mut place = right.clone();
        place["name"] = json!(name);
        for field in fields {
            place["secrets"][field] = json!(CANARY);
        }
        if name == "bucket" {
            place["url"] = json!("s3://no-such-bucket/x");
        }
        said.push(server.post("/v1/destinations", &place).text);
        let asked = ask(&server, name);
        let run = id(&asked.ok(201));
        let shown = ended(&server, &run);
        if !words.is_empty() {
            said.push(failed(&server, &asked, &[words]));
        }
        said.extend([asked.text, shown.to_string(), sluice.ok(&["run", "show", &run])]);
        said.push(server.get(&format!("/v1/runs/{run}/parts")).text);
    }
    said.extend([server.get("/v1/runs").text, server.get("/v1/audit").text]);
    said.extend([sluice.ok(&["run", "list"]), sluice.ok(&["--json", "audit"])]);
    server.kill();
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("DEBUG") && log.contains("a run did not come to its seal"), "{log}");
    for text in said.into_iter().chain([log]) {
        assert!(!text.contains(CANARY), "{text}");
    }
    files(&sluice.path("sluice-data"), &mut |path, bytes| {
        let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    });
}

/// Passes on to the S3 server what `answers` allow, one on each connection; then it is gone.
fn passing(to: &str, answers: Arc<AtomicUsize>) -> String {
    let to = to.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let near = stream.expect("a connection");
            let left = answers.load(Ordering::SeqCst);
            if left > 0 {
                let far = TcpStream::connect(&to).expect("the server is there");
                // Whoever breaks off ends both sides.
                std::thread::spawn(move || drop(pass(&near, &far, left == usize::MAX)));
                if left < usize::MAX {
                    answers.store(left - 1, Ordering::SeqCst);
                }
            }
        }
    });
    url
}

/// Passes everything on, or one piece of an answer.
fn pass(near: &TcpStream, far: &TcpStream, whole: bool) -> std::io::Result<()> {
    let (mut from, mut into) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut into));
    let (mut from, mut into) = (far, near);
    if whole {
        std::io::copy(&mut from, &mut into)?;
    } else {
        let mut piece = [0; 8 << 10];
        let bytes = from.read(&mut piece)?;
        into.write_all(&piece[..bytes])?;
    }
    near.shutdown(Shutdown::Both)?;
    far.shutdown(Shutdown::Both)
}

#[test]
fn a_server_that_goes_away_ends_the_run() {
    let bucket = Bucket::new();
    let (_sluice, server) = started(ALLOW);
    let answers = Arc::new(AtomicUsize::new(1));
    let endpoint = passing(bucket.endpoint(), Arc::clone(&answers));
    let place = at_endpoint(&bucket, "partner", &endpoint);
    server.post("/v1/destinations", &place).ok(201);
    let run = id(&ask(&server, "partner").ok(201));
    let shown = ended(&server, &run);
    assert_eq!(shown["state"], "failed", "{shown}");
    let error = shown["error"].as_str().expect("it says why");
    assert!(error.contains("`s3://"), "{error}");
    // When it is back, the next run delivers everything.
    answers.store(usize::MAX, Ordering::SeqCst);
    let next = id(&ask(&server, "partner").ok(201));
    let sealed = ended(&server, &next);
    assert_eq!((&sealed["state"], &sealed["manifest"]["rows"]), (&json!("sealed"), &json!(10)));
}

/// A run whose destination is gone stays open, says why, and can be cancelled.
#[test]
fn a_run_without_its_destination_stays_open_and_says_why() {
    let sluice = Sluice::new();
    let out = text(&sluice.path("out"));
    std::fs::create_dir(&out).expect("made");
    sluice.configure(&format!("[export]\nroots = [\"{out}\"]\n"));
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 60_000), &[]).ok(200);
    let url = format!("file://{out}/partner");
    server.post("/v1/destinations", &json!({ "name": "partner", "url": url })).ok(201);
    let body = json!({ "dataset": "d", "export": "e", "file_rows": 20, "destination": "destination:partner" });
    let run = id(&server.post("/v1/runs", &body).ok(201));
    server.kill();
    sluice.ok(&["destination", "delete", "partner"]);
    let server = Server::start(&sluice);
    let shown = loop {
        let shown = server.get(&format!("/v1/runs/{run}?wait=1")).ok(200);
        if !shown["error"].is_null() {
            break shown;
        }
    };
    assert_eq!(
        (&shown["ended_at"], &shown["error"]),
        (&Value::Null, &json!("no destination `partner`"))
    );
    let again = server.post("/v1/runs", &body);
    again.problem(400, "invalid", &["no destination `partner`"]);
    let other = json!({ "name": "partner", "url": format!("file://{out}/other") });
    let cancelled = server.post(&format!("/v1/runs/{run}/cancel"), &json!({})).ok(200);
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    server.post("/v1/destinations", &other).ok(201);
    let next = id(&server
        .post(
            "/v1/runs",
            &json!({ "dataset": "d", "export": "e", "destination": "destination:partner" }),
        )
        .ok(201));
    assert_eq!(ended(&server, &next)["state"], "sealed");
}

/// What is the server's own is named by its key alone.
#[test]
fn a_managed_run_that_fails_shows_no_folder_of_the_server() {
    let (sluice, server) = started("[lake]\ntail_bytes = 0\n");
    let root = text(Path::new(&sluice.path("")));
    let root = root.trim_end_matches('/');
    let export = || server.post("/v1/runs", &json!({ "dataset": "d" }));
    let run = id(&export().ok(201));
    assert_eq!(ended(&server, &run)["state"], "sealed");
    let managed = sluice.path("sluice-data/managed/default");
    std::fs::rename(&managed, sluice.path("away")).expect("renamed");
    let gone = file(&server, &run, 1, &[]);
    assert!(gone.status >= 400 && !gone.text.contains(root), "{gone:?}");
    std::fs::write(&managed, "a file where the folder was").expect("written");
    let error = failed(&server, &export(), &["/part-", "directory"]);
    assert!(!error.contains(root), "{error}");
    std::fs::remove_file(&managed).expect("removed");
    // Nor where the lake lies, once its files are gone behind the plan's back.
    let sql = json!({ "sql": "SELECT n FROM d" });
    let mut lake = Vec::new();
    files(&sluice.path("sluice-data/lake"), &mut |path, _| lake.push(path.to_owned()));
    for path in lake {
        std::fs::remove_file(path).expect("removed");
    }
    for (path, body) in [("/v1/runs", json!({ "dataset": "d" })), ("/v1/sql", sql)] {
        let answer = server.post(path, &body);
        assert!(answer.status == 500 && !answer.text.contains(root), "{answer:?}");
    }
    let said = sluice.run(&["sql", "SELECT n FROM d"]).stderr;
    assert!(said.contains("the lake's file") && !said.contains(root), "{said}");
    let shown = server.get("/v1/runs").text;
    assert!(!shown.contains(root), "{shown}");
}
