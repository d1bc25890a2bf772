//! The API as clients use it: rows in, answers out, bad requests.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers};
use crate::server::Server;

#[test]
fn rows_are_durable_when_they_are_acknowledged() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let first = server.rows("d", &numbers(0, 3), &[]).ok(200);
    assert_eq!(
        (&first["rows"], &first["created"], &first["commit"]),
        (&3.into(), &true.into(), &1.into())
    );
    server.kill();
    let server = Server::start(&sluice);
    assert_eq!(
        server.sql("SELECT count(*) AS n, max(t) AS t FROM d"),
        [json!({"n": 3, "t": "row 2"})]
    );
    let array = server.send(
        "POST",
        "/v1/datasets/d/rows",
        (&server.admin, &[("content-type", "application/json; charset=utf-8")]),
        br#"[{"n":3,"t":"row 3"},{"n":4}]"#,
    );
    assert_eq!(array.ok(200)["rows"], 2);
    let packed = |bytes: Vec<u8>, with: &str| {
        let headers = [("content-type", "application/x-ndjson"), ("content-encoding", with)];
        server.send("POST", "/v1/datasets/d/rows", (&server.admin, &headers), &bytes).ok(200)
    };
    packed(zstd::encode_all(numbers(5, 7).as_bytes(), 1).expect("packed"), "zstd");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(numbers(7, 9).as_bytes()).expect("packed");
    packed(gzip.finish().expect("packed"), "gzip");
    assert_eq!(
        server.sql("SELECT count(DISTINCT n) AS n, count(*) AS c FROM d"),
        [json!({"n": 9, "c": 9})]
    );
    let commits = server.get("/v1/datasets/d/commits?limit=3").ok(200);
    assert_eq!(
        (commits["items"].as_array().map(Vec::len), &commits["next"]),
        (Some(3), &"3".into())
    );
    let rest = server.get("/v1/datasets/d/commits?limit=3&after=3").ok(200);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(1), &json!(null)));
    let batch = first["batch"].as_str().expect("a batch");
    assert_eq!(server.get(&format!("/v1/batches/{batch}")).ok(200)["commit"], 1);
    // The command line works beside it.
    assert_eq!(
        sluice.ok(&["sql", "SELECT count(*) AS n FROM d", "--format", "jsonl"]),
        "{\"n\":9}"
    );
    assert!(server.stop(), "it ends well when it is asked to");
}

#[test]
fn a_repeat_with_a_key_adds_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let key = [("idempotency-key", "k1")];
    let first = server.rows("d", &numbers(0, 3), &key).ok(200);
    let again = server.rows("d", &numbers(0, 3), &key).ok(200);
    assert_eq!((&again["commit"], &again["batch"]), (&first["commit"], &first["batch"]));
    assert_eq!((&first["repeated"], &again["repeated"]), (&false.into(), &true.into()));
    let other = server.rows("d", &numbers(0, 4), &key);
    assert_eq!(
        other.problem(422, "conflict", &["k1", "other content"])["field"],
        "Idempotency-Key"
    );
    // At once, from several clients.
    std::thread::scope(|scope| {
        let race = || {
            scope.spawn(|| server.rows("d", &numbers(3, 6), &[("idempotency-key", "k2")]).ok(200))
        };
        let answers: Vec<_> = (0..4).map(|_| race()).collect();
        let answers: Vec<_> =
            answers.into_iter().map(|answer| answer.join().expect("joined")).collect();
        let made = answers.iter().filter(|answer| answer["repeated"] == false).count();
        assert_eq!(made, 1, "{answers:?}");
    });
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 6})]);
}

/// What a server that is killed in between acknowledged is there once; a request without an answer is there whole or not at all.
#[test]
fn killed_while_rows_come_in() {
    let kills: u64 = std::env::var("SLUICE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let sluice = Sluice::new();
    let mut acknowledged = Vec::new();
    let mut asked = 0_u64;
    for kill in 0..kills {
        let server = Server::start(&sluice);
        let (from, enough) = (asked, acknowledged.len() + 20);
        let answered = std::sync::Mutex::new(&mut acknowledged);
        let next = std::sync::atomic::AtomicU64::new(from);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let headers = [("content-type", "application/x-ndjson")];
                        let rows = numbers(n * 10, n * 10 + 10);
                        let sent = server.try_send(
                            "POST",
                            "/v1/datasets/d/rows",
                            (&server.admin, &headers),
                            rows.as_bytes(),
                        );
                        match sent {
                            Some(answer) if answer.status == 200 => {
                                let mut answered = answered.lock().expect("no panic");
                                answered.push(n);
                                if answered.len() as u64 == enough as u64 + kill {
                                    server.kill_now();
                                }
                            }
                            _ => return,
                        }
                    }
                });
            }
        });
        asked = next.into_inner();
    }
    let server = Server::start(&sluice);
    let rows = server
        .sql("SELECT n / 10 AS request, count(*) AS c, count(DISTINCT n) AS d FROM d GROUP BY 1");
    for row in &rows {
        assert_eq!((&row["c"], &row["d"]), (&10.into(), &10.into()), "{row}");
    }
    let there: std::collections::BTreeSet<u64> =
        rows.iter().map(|row| row["request"].as_u64().expect("a number")).collect();
    assert!(acknowledged.len() as u64 >= 20 * kills);
    for n in acknowledged {
        assert!(there.contains(&n), "request {n} was acknowledged");
    }
}

/// A server whose dataset `d` has three rows.
fn with_rows(sluice: &Sluice) -> Server {
    let server = Server::start(sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    server
}

#[test]
fn bad_rows_change_nothing() {
    let sluice = Sluice::new();
    let server = with_rows(&sluice);
    let rows = |body: &[u8], headers: &[(&str, &str)]| {
        server.send("POST", "/v1/datasets/d/rows", (&server.admin, headers), body)
    };
    let lines = [("content-type", "application/x-ndjson")];
    rows(b"{\"n\":1}\n{\"n\":", &lines).problem(400, "invalid", &["line 2", "invalid JSON"]);
    rows(b"{\"n\":\"one\"}\n", &lines).problem(400, "invalid", &["`n`", "int64"]);
    rows(b"", &lines).problem(400, "invalid", &["empty"]);
    let cells = [("content-type", "text/csv")];
    rows(b"n\n1\n", &cells).problem(415, "invalid", &["application/x-ndjson"]);
    rows(b"{}", &[]).problem(415, "invalid", &["application/x-ndjson"]);
    let brotli = [lines[0], ("content-encoding", "br")];
    rows(b"{}", &brotli).problem(415, "invalid", &["gzip or zstd"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(numbers(0, 1000).as_bytes()).expect("packed");
    let half = gzip.finish().expect("packed");
    rows(&half[..half.len() / 2], &lines).problem(400, "invalid", &["gzip"]);
    // Some kilobytes that unpack to hundreds of mebibytes.
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("packed");
    let blank = [vec![b' '; 1 << 20], b"\n".to_vec()].concat();
    for _ in 0..300 {
        bomb.write_all(&blank).expect("packed");
    }
    let bomb = bomb.finish().expect("packed");
    assert!(bomb.len() < 100_000);
    rows(&bomb, &lines).problem(413, "too_large", &["unpacks to more than"]);
    rows(&vec![b' '; (32 << 20) + 1], &lines).problem(413, "too_large", &["send less"]);
    server.rows("a%2F..%2Fb", "{}", &[]).problem(400, "invalid", &["cannot be the name"]);
    let key = "k".repeat(5000);
    server.rows("d", "{}", &[("idempotency-key", &key)]).problem(400, "invalid", &["key"]);
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 3})]);
}

#[test]
fn bad_requests_change_nothing() {
    let sluice = Sluice::new();
    let server = with_rows(&sluice);
    let refused = |path: &str, body: serde_json::Value, status: u16, code: &str, words: &[&str]| {
        server.post(path, &body).problem(status, code, words)
    };
    refused("/v1/datasets", json!({"name": "d"}), 409, "conflict", &["`d` exists already"]);
    refused("/v1/datasets", json!({"name": "a b"}), 400, "invalid", &["a b"]);
    refused("/v1/datasets", json!({"name": "x", "colour": 1}), 400, "invalid", &["colour"]);
    let columns = |field: serde_json::Value| json!({"name": "x", "schema": {"fields": [field]}});
    let reserved = columns(json!({"name": "_commit", "type": "int64"}));
    refused("/v1/datasets", reserved, 400, "invalid", &["`_commit` is reserved"]);
    let unknown = columns(json!({"name": "a", "type": "int64", "colour": 1}));
    refused("/v1/datasets", unknown, 400, "invalid", &["`colour`"]);
    let mut timeless = columns(json!({"name": "a", "type": "int64"}));
    timeless["time_column"] = json!("a");
    refused("/v1/datasets", timeless, 400, "invalid", &["`a` is `int64`"]);
    refused("/v1/views", json!({"name": "v", "sql": "DELETE FROM d"}), 400, "invalid", &[]);
    let column = refused("/v1/sql", json!({"sql": "SELECT x FROM d"}), 400, "invalid", &["x"]);
    assert_eq!(column["field"], "sql");
    let file = json!({"sql": "SELECT * FROM '/etc/passwd'"});
    refused("/v1/sql", file, 400, "invalid", &["passwd"]);
    server.get("/v1/datasets/e").problem(404, "not_found", &["no dataset `e`"]);
    server.rows("orders", "{\"n\":1}\n", &[]).ok(200);
    let near =
        server.get("/v1/datasets/ordesr").problem(404, "not_found", &["did you mean `orders`"]);
    assert_eq!(near["remedy"], "did you mean `orders`?");
    server.get("/v1/datasets?limit=x").problem(400, "invalid", &["query string"]);
    server.get("/v1/nothing").problem(404, "not_found", &["openapi.json"]);
    server.get("/v1/../../etc/passwd").problem(404, "not_found", &[]);
    server.send("PUT", "/v1/datasets", (&server.admin, &[]), b"x").problem(405, "invalid", &[]);
    server.get("/v1/datasets/a%00b").problem(400, "invalid", &["UTF-8"]);
    server.get("/v1/datasets/%ff").problem(400, "invalid", &["UTF-8"]);
    for token in ["", "slt_1", &format!("slt_{}", "0".repeat(64))] {
        server.send("GET", "/v1/datasets", (token, &[]), b"").problem(401, "unauthenticated", &[]);
    }
    let long = [("x-long", &*"x".repeat(100_000))];
    let answer = server.send("GET", "/v1/datasets", (&server.admin, &long), b"");
    answer.problem(431, "too_large", &["send less"]);
    let path = format!("/v1/datasets/{}", "x".repeat(9000));
    server.get(&path).problem(414, "too_large", &["send less"]);
    let names = server.get("/v1/datasets").ok(200);
    assert_eq!(names["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.get("/v1/views").ok(200)["items"], json!([]));
}

/// The connection says more, or less, than it promised.
#[test]
fn half_a_body_changes_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let head = format!(
        "POST /v1/datasets/d/rows HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/x-ndjson\r\n",
        server.admin
    );
    let raw = |rest: &str| {
        let mut stream = std::net::TcpStream::connect(server.address()).expect("connected");
        stream.write_all(format!("{head}{rest}").as_bytes()).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("closed");
        let mut answer = String::new();
        // It may close without a word.
        drop(stream.read_to_string(&mut answer));
        answer
    };
    let row = "{\"n\":7}\n";
    let answer = raw(&format!("content-length: 100\r\n\r\n{row}"));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = raw(&format!("transfer-encoding: chunked\r\n\r\n8\r\n{row}\r\n"));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = raw(&format!(
        "content-length: 8\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{row}\r\n0\r\n\r\n"
    ));
    assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    let there = server.sql("SELECT count(*) AS n FROM d WHERE n = 7");
    // The body is whole: it may be taken although nobody waits for the answer any more.
    let is_refused = answer.starts_with("HTTP/1.1 4");
    assert!(there == [json!({"n": 0})] || !is_refused, "{there:?} {answer}");
}

/// What a server knows of a dataset may be a moment old.
#[test]
fn rows_go_to_what_is_there_now() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let row = |value: Value| json!({ "n": value }).to_string();
    let add = |value: Value| server.rows("d", &row(value), &[]);
    assert_eq!(add(json!(1)).ok(200)["created"], true);
    assert_eq!(add(json!(2)).ok(200)["created"], false);
    server.send("DELETE", "/v1/datasets/d", (&server.admin, &[]), b"").ok(204);
    assert_eq!(add(json!("a text")).ok(200)["created"], true);
    assert_eq!(server.sql("SELECT n FROM d"), [json!({"n": "a text"})]);
    // By another process: one that this one does not hear of.
    sluice.ok(&["dataset", "drop", "d"]);
    let schema = sluice.file("s.json", r#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    sluice.ok(&["dataset", "create", "d", "--schema", &schema]);
    add(json!("a text")).problem(400, "invalid", &["n"]);
    add(json!(3)).ok(200);
    let file = sluice.file("more.jsonl", r#"{"n": 4, "m": 5}"#);
    sluice.ok(&["import", "d", &file]);
    add(json!(6)).ok(200);
    let both = json!({ "n": 7, "m": 8 }).to_string();
    server.rows("d", &both, &[]).ok(200);
    assert_eq!(server.sql("SELECT sum(n) AS n, sum(m) AS m FROM d"), [json!({"n": 20, "m": 13})]);
}
