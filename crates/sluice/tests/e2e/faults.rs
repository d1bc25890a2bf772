//! A store that throttles, loses replies, fills up, or forgets who we are, half-way through a delivery.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::helper::{Sluice, numbers};
use crate::s3::{Bucket, wanted};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It passes.
    Pass,
    /// It passes, and its reply is lost.
    Lost,
    /// The store answers with this, and does nothing.
    Answer(u16, &'static str),
}

const SLOW_DOWN: Fate = Fate::Answer(503, "SlowDown");
const FULL: Fate = Fate::Answer(507, "QuotaExceeded");
const UNKNOWN_KEY: Fate = Fate::Answer(403, "InvalidAccessKeyId");

/// Decides by method and query of a request, and how many of its kind came before.
type Script = Arc<dyn Fn(&str, &str, usize) -> Fate + Send + Sync>;

/// A way to the test server on which a script decides.
struct Way {
    address: String,
    script: Arc<Mutex<Script>>,
}

impl Way {
    fn to(bucket: &Bucket) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let store =
            bucket.endpoint().trim_start_matches("http://").trim_end_matches('/').to_owned();
        let pass: Script = Arc::new(|_, _, _| Fate::Pass);
        let script = Arc::new(Mutex::new(pass));
        let (known, seen) = (Arc::clone(&script), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let (store, seen) = (store.clone(), Arc::clone(&seen));
                let script = Arc::clone(&known.lock().expect("nobody panics"));
                std::thread::spawn(move || one(client, &store, (&script, &seen)));
            }
        });
        Self { address, script }
    }

    /// From here on.
    fn becomes(&self, script: impl Fn(&str, &str, usize) -> Fate + Send + Sync + 'static) {
        *self.script.lock().expect("nobody panics") = Arc::new(script);
    }
}

/// Handles the one request of a connection.
fn one(client: TcpStream, store: &str, (script, seen): (&Script, &AtomicUsize)) -> Option<()> {
    let mut from = BufReader::new(client.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let fate = script(method, query, seen.fetch_add(1, Ordering::SeqCst));
    let mut to = client;
    if let Fate::Answer(status, code) = fate {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let head = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        return to.write_all((head + &body).as_bytes()).ok();
    }
    let mut store = TcpStream::connect(store).ok()?;
    store.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).ok()?;
    store.write_all(&body).ok()?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer).ok()?;
    if fate == Fate::Pass { to.write_all(&answer).ok() } else { None }
}

/// A dataset of which one file is delivered in pieces and some at once, and the way to a bucket.
fn world(bucket: &Bucket) -> (Sluice, Way) {
    let mut sluice = bucket.sluice();
    let way = Way::to(bucket);
    sluice.set("AWS_ENDPOINT_URL", format!("http://{}", way.address));
    let file = sluice.file("a.jsonl", numbers(0, ROWS));
    sluice.ok(&["import", "d", &file]);
    (sluice, way)
}

/// Rows that make more than a file which is put at once.
const ROWS: u64 = 500_000;

fn export(bucket: &Bucket) -> Vec<String> {
    let args = ["export", "run", "--dataset", "d", "--incremental", "e", "--file-rows", "460000"];
    let to = ["--to".to_owned(), bucket.url()];
    args.into_iter().map(str::to_owned).chain(to).collect()
}

fn run(sluice: &Sluice, args: &[String]) -> crate::helper::Said {
    sluice.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Every sealed run's rows: together each row once; and nothing is in the bucket but what they name.
#[track_caller]
fn check(bucket: &Bucket, sluice: &Sluice) {
    let runtime = tokio::runtime::Runtime::new().expect("it starts");
    runtime.block_on(async {
        let runs = sluice.json(&["run", "list"]);
        let (mut found, mut named) = (Vec::new(), 0);
        for run in runs.as_array().expect("an array").iter().rev() {
            if run["state"] == "sealed" {
                let manifest = run["manifest"].as_str().expect("a URL");
                found.extend(bucket.check(manifest).await);
                named += 1 + run["files"].as_u64().expect("a count");
            }
        }
        assert!(found == wanted(ROWS), "{} rows", found.len());
        assert_eq!(bucket.names().await.len() as u64, named, "{:?}", bucket.names().await);
    });
}

#[test]
fn a_store_that_throttles_is_waited_for() {
    let bucket = Bucket::new();
    let (sluice, way) = world(&bucket);
    way.becomes(|_, _, nth| if nth % 3 == 1 { SLOW_DOWN } else { Fate::Pass });
    let said = run(&sluice, &export(&bucket));
    assert_eq!(said.code, 0, "{}", said.stderr);
    check(&bucket, &sluice);
}

#[test]
fn a_reply_that_is_lost_doubles_nothing() {
    for lost in ["POST uploadId=", "POST uploads", "PUT partNumber=", "PUT "] {
        let bucket = Bucket::new();
        let (sluice, way) = world(&bucket);
        let (method, begin) = lost.split_once(' ').expect("two words");
        let hit = Arc::new(AtomicUsize::new(0));
        let first = Arc::clone(&hit);
        way.becomes(move |asked, query, _| {
            let is_one = asked == method
                && query.starts_with(begin)
                && (!begin.is_empty() || query.is_empty());
            if is_one && first.fetch_add(1, Ordering::SeqCst) == 0 {
                Fate::Lost
            } else {
                Fate::Pass
            }
        });
        let said = run(&sluice, &export(&bucket));
        assert_eq!(said.code, 0, "{lost}: {}", said.stderr);
        assert!(hit.load(Ordering::SeqCst) > 0, "{lost}: nothing was lost");
        check(&bucket, &sluice);
    }
}

/// The newest run.
fn newest(sluice: &Sluice) -> Value {
    sluice.json(&["run", "list"])[0].clone()
}

#[test]
fn a_store_that_is_full_or_does_not_know_us_any_more_is_told_and_left_clean() {
    for (fate, words) in [(FULL, "no room"), (UNKNOWN_KEY, "`access_key_id`")] {
        let bucket = Bucket::new();
        let (sluice, way) = world(&bucket);
        // The first pieces are there.
        let pieces = AtomicUsize::new(0);
        way.becomes(move |method, query, _| {
            let is_piece = method == "PUT" && query.starts_with("partNumber=");
            let before = pieces.fetch_add(usize::from(is_piece), Ordering::SeqCst);
            let half_way = before > 0;
            // Some objects are deleted by one `POST`.
            let is_write = method == "PUT" || (method == "POST" && !query.starts_with("delete"));
            if half_way && (is_write || fate == UNKNOWN_KEY) { fate } else { Fate::Pass }
        });
        let said = run(&sluice, &export(&bucket));
        assert_eq!(said.code, 4, "{fate:?}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{fate:?}: {}", said.stderr);
        let failed = newest(&sluice);
        assert_eq!(failed["state"], "failed", "{failed}");
        assert!(failed["error"].as_str().is_some_and(|why| why.contains(words)), "{failed}");
        way.becomes(|_, _, _| Fate::Pass);
        if fate == UNKNOWN_KEY {
            // Nothing could be taken away then; the ledger knows what, and it is now.
            assert!(said.stderr.contains("part-00001.jsonl"), "{}", said.stderr);
            sluice.ok(&["run", "cancel", failed["id"].as_str().expect("an id")]);
        }
        let said = run(&sluice, &export(&bucket));
        assert_eq!(said.code, 0, "{fate:?}: {}", said.stderr);
        let sealed = newest(&sluice);
        assert_eq!((&sealed["from_commit"], &sealed["state"]), (&0.into(), &"sealed".into()));
        check(&bucket, &sluice);
    }
}
