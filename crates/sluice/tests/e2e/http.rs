//! What is below the API: bytes that are no good requests, too many of them, numbers for operators, an end in good order.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers};
use crate::server::Server;

/// A connection on which anything can be said.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        // Far more than anything here takes: a test ends.
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
        Self(stream)
    }

    pub(crate) fn say(&mut self, text: &str) {
        // The other end may have heard enough.
        drop(self.0.write_all(text.as_bytes()));
    }

    /// Waits until it was told so.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        self.0.read_exact(&mut heard).expect("something comes");
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    /// What comes until the other end closes.
    pub(crate) fn rest(self) -> String {
        String::from_utf8(self.rest_bytes()).expect("text")
    }

    pub(crate) fn rest_bytes(mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // It may break off.
        drop(self.0.read_to_end(&mut heard));
        heard
    }
}

/// What is answered to these bytes.
fn ask(server: &Server, text: &str) -> String {
    let mut raw = Raw::open(server.address());
    raw.say(text);
    raw.rest()
}

/// The status, and the body.
#[track_caller]
fn parts(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), body)
}

/// The beginning of a request that adds rows.
fn upload(server: &Server, more: &str) -> String {
    format!(
        "POST /v1/datasets/d/rows HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\n{more}\r\n",
        server.admin
    )
}

/// An upload that the server has begun to read, and the rest of it.
fn under_way(server: &Server) -> (Raw, String) {
    let rows = numbers(0, 3);
    let mut raw = Raw::open(server.address());
    let length = rows.len();
    let more = format!("content-length: {length}\r\nexpect: 100-continue\r\nconnection: close\r\n");
    raw.say(&upload(server, &more));
    raw.expect("HTTP/1.1 100 Continue\r\n\r\n");
    let (first, rest) = rows.split_at(10);
    raw.say(first);
    (raw, rest.to_owned())
}

const ROW: &str = "8\r\n{\"n\":7}\n\r\n0\r\n\r\n";

#[test]
fn bytes_that_are_no_good_requests_change_nothing() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let token = format!("authorization: Bearer {}\r\n", server.admin);
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    };
    let many = |count: usize| "x-a: 1\r\n".repeat(count);
    let long = |bytes: usize| format!("x-long: {}\r\n", "x".repeat(bytes));
    let with_body = |more: &str| upload(&server, &format!("connection: close\r\n{more}"));
    // What is asked, the status, and the code of the problem if there can be one.
    let cases = [
        (get("/v1/../healthz", ""), 404, "not_found"),
        (get("/v1/%2e%2e/healthz", ""), 404, "not_found"),
        (get("//healthz", ""), 404, "not_found"),
        (get("/healthz/", ""), 404, "not_found"),
        (get("/healthz%00", ""), 404, "not_found"),
        (get("/v1/datasets/a%00b", &token), 400, "invalid"),
        (get("/v1/datasets/..%2f..%2fd", &token), 404, "not_found"),
        (get("/heal\0thz", ""), 400, ""),
        (get("/heal thz", ""), 400, ""),
        (get("/healthz", "no colon\r\n"), 400, ""),
        (get("/healthz", &long(100_000)), 431, "too_large"),
        (get("/healthz", &long(1 << 20)), 431, ""),
        (get("/healthz", &many(1000)), 431, ""),
        (get("/v1/datasets", &"authorization: Bearer x\r\n".repeat(2)), 401, "unauthenticated"),
        (
            "GET http://elsewhere/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
            404,
            "not_found",
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 404, "not_found"),
        ("CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 404, "not_found"),
        ("BREW /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 405, "invalid"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03\r\n\r\n".into(), 400, ""),
        (with_body("content-length: 8\r\ncontent-length: 9\r\n"), 400, ""),
        (with_body("content-length: +8\r\n"), 400, ""),
        (with_body("content-length: -1\r\n"), 400, ""),
        (with_body("transfer-encoding: gzip\r\n"), 400, ""),
        (with_body("transfer-encoding: chunked, identity\r\n"), 400, ""),
        (with_body("transfer-encoding: chunked\r\n") + "ZZ\r\n", 400, "invalid"),
        (
            with_body("transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0") + ROW,
            400,
            "",
        ),
    ];
    for (text, status, code) in cases {
        let answer = ask(&server, &text);
        let shown = &text[..text.len().min(200)];
        let (got, body) = parts(&answer);
        assert_eq!(got, status, "{shown:?}: {answer}");
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        assert_eq!(body["code"].as_str().unwrap_or_default(), code, "{shown:?}: {answer}");
    }
    // Another protocol: there is nothing that it would understand.
    assert_eq!(ask(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "");
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 3})]);
    assert_eq!(server.get("/v1/datasets").ok(200)["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn unusual_requests_are_read_right() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let close = "host: x\r\nconnection: close\r\n\r\n";
    // Old, without a body, by the whole address.
    assert_eq!(parts(&ask(&server, "GET /healthz HTTP/1.0\r\n\r\n")), (200, "ok\n"));
    assert_eq!(parts(&ask(&server, &format!("HEAD /healthz HTTP/1.1\r\n{close}"))), (200, ""));
    assert_eq!(parts(&ask(&server, &format!("HEAD /v1/datasets HTTP/1.1\r\n{close}"))), (401, ""));
    let whole = format!("GET http://elsewhere/healthz HTTP/1.1\r\n{close}");
    assert_eq!(parts(&ask(&server, &whole)), (200, "ok\n"));
    // One behind the other.
    let both = format!("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\n{close}");
    let answer = ask(&server, &both);
    let (first, second) = answer.split_once("HTTP/1.1 200").expect("two answers");
    assert!(first.starts_with("HTTP/1.1 404") && second.ends_with("ok\n"), "{answer}");
    // Two lengths: chunks count, and nothing behind them is taken for a request.
    let two = upload(&server, "content-length: 4\r\ntransfer-encoding: chunked\r\n");
    let answer = ask(&server, &format!("{two}{ROW}GET /healthz HTTP/1.1\r\n{close}"));
    let (status, body) = parts(&answer);
    assert_eq!((status, answer.matches("HTTP/1.1").count()), (200, 1), "{answer}");
    assert_eq!(serde_json::from_str::<Value>(body).expect("JSON")["rows"], 1);
    // Whoever asks before sending a body is told first, unless it is refused.
    let (mut raw, rest) = under_way(&server);
    raw.say(&rest);
    assert_eq!(parts(&raw.rest()).0, 200);
    let expecting = upload(&server, "content-length: 8\r\nexpect: 100-continue\r\n");
    let refused = expecting.replace(&server.admin, "nothing");
    let mut raw = Raw::open(server.address());
    raw.say(&refused);
    raw.expect("HTTP/1.1 401");
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 4})]);
}

#[test]
fn heads_that_do_not_come_are_not_waited_for() {
    let sluice = Sluice::new();
    sluice.configure("[server]\nhead_seconds = 1\nidle_seconds = 1\n");
    let server = Server::start(&sluice);
    assert_eq!(ask(&server, ""), "");
    assert_eq!(ask(&server, "GET /heal"), "");
    assert_eq!(ask(&server, "GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n"), "");
    // The second one on a connection.
    let answer = ask(&server, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /heal");
    assert_eq!(parts(&answer), (200, "ok\n"));
}

#[test]
fn a_full_server_refuses_and_can_be_watched() {
    let sluice = Sluice::new();
    sluice.configure("[server]\nrequests_at_once = 1\nadmin_listen = \"127.0.0.1:0\"\n");
    let server = Server::start(&sluice);
    let (mut raw, rest) = under_way(&server);
    let refused = server.get("/v1/datasets");
    refused.problem(503, "unavailable", &["try again"]);
    assert_eq!(refused.retry_after, 1);
    for path in ["/healthz", "/readyz"] {
        assert_eq!((server.get(path).status, server.watch(path).status), (200, 200), "{path}");
    }
    let metrics = server.watch("/metrics");
    assert_eq!(metrics.kind, "text/plain; version=0.0.4; charset=utf-8");
    number(&metrics.text, "sluice_requests_refused_total", 1);
    raw.say(&rest);
    assert_eq!(parts(&raw.rest()).0, 200);
    // The place is free when the answer is sent, which is a moment before or after the client has it.
    while server.get("/v1/datasets").status == 503 {}
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 3})]);
}

/// There are four places for questions, and four clients that hold them and read nothing.
#[test]
fn answers_that_nobody_reads_are_cut_off() {
    let sluice = Sluice::new();
    sluice.configure("[server]\nstall_seconds = 1\n");
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 1000), &[]).ok(200);
    let sql = json!({"sql": "SELECT a.n, repeat('x', 1000) AS x FROM d AS a, d AS b"}).to_string();
    let head = format!(
        "POST /v1/sql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        server.admin,
        sql.len()
    );
    let ask = |_| {
        let mut raw = Raw::open(server.address());
        raw.say(&format!("{head}{sql}"));
        raw.expect("HTTP/1.1 200 OK\r\n");
        raw
    };
    let asking: Vec<Raw> = (0..4).map(ask).collect();
    while !server.get("/metrics").text.contains("sluice_questions_in_flight 0\n") {}
    assert_eq!(server.sql("SELECT count(*) AS n FROM d"), [json!({"n": 1000})]);
    drop(asking);
}

#[test]
fn a_token_asks_only_so_often() {
    let sluice = Sluice::new();
    sluice.configure("[server]\nrequests_per_second = 1\nburst = 3\n");
    let server = Server::start(&sluice);
    let answers = || (0..).map(|_| server.get("/v1/datasets"));
    let allowed = answers().take_while(|answer| answer.status == 200).count();
    assert!(allowed >= 2, "{allowed}");
    let refused = answers().find(|answer| answer.status != 200).expect("one is refused");
    refused.problem(429, "rate_limited", &["more often", "wait"]);
    assert_eq!(refused.retry_after, 1);
    // Before its body is read.
    let refused = (0..).find_map(|_| {
        let mut raw = Raw::open(server.address());
        raw.say(&upload(
            &server,
            "content-length: 8\r\nexpect: 100-continue\r\nconnection: close\r\n",
        ));
        raw.say("{\"n\":7}\n");
        let answer = raw.rest();
        answer.starts_with("HTTP/1.1 429").then_some(answer)
    });
    assert!(refused.is_some_and(|answer| answer.to_lowercase().contains("\r\nretry-after: 1\r\n")));
    // Another token has its own rate; health has none.
    let other = sluice.ok(&[
        "token",
        "create",
        "--principal",
        "admin",
        "--scope",
        "data:read",
        "--everywhere",
    ]);
    server.send("GET", "/v1/datasets", (&other, &[]), b"").ok(200);
    assert!((0..10).all(|_| server.get("/healthz").status == 200));
}

#[test]
fn tokens_are_not_guessed_fast() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.get("/v1/datasets").ok(200);
    let guess = |n: u32| {
        let token = format!("slt_{n:064x}");
        server.send("GET", "/v1/datasets", (&token, &[]), b"")
    };
    let refused = (0..10_000).map(guess).find(|answer| answer.status != 401);
    refused.expect("it is refused").problem(429, "rate_limited", &["too many tokens", "wait"]);
    // Whoever is known is not held up by them.
    server.get("/v1/datasets").ok(200);
}

/// Checks a metric that must be at least so much.
#[track_caller]
fn number(text: &str, name: &str, at_least: u32) {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value: f64 = line.and_then(|value| value.parse().ok()).unwrap_or(-1.0);
    assert!(value >= f64::from(at_least), "{name}: {text}");
}

#[test]
fn metrics_tell_what_was_done_and_name_nobody() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("orders_of_ours", &numbers(0, 5), &[("idempotency-key", "k")]).ok(200);
    server.rows("orders_of_ours", &numbers(0, 5), &[("idempotency-key", "k")]).ok(200);
    server.sql("SELECT * FROM orders_of_ours");
    server.get("/v1/datasets/absent").problem(404, "not_found", &[]);
    server.get("/nothing").problem(404, "not_found", &[]);
    server.send("BREW", "/nothing", (&server.admin, &[]), b"").problem(404, "not_found", &[]);
    server.send("GET", "/v1/datasets", ("", &[]), b"").problem(401, "unauthenticated", &[]);
    // Not for everybody.
    server.send("GET", "/metrics", ("", &[]), b"").problem(401, "unauthenticated", &[]);
    let reads = sluice.ok(&[
        "token",
        "create",
        "--principal",
        "admin",
        "--scope",
        "data:read",
        "--everywhere",
    ]);
    server.send("GET", "/metrics", (&reads, &[]), b"").problem(403, "forbidden", &["admin"]);
    // A request is counted when its answer is sent, which is a moment before or after the client has it.
    let is_counted = |text: &str| text.contains("sluice_authentication_failures_total 2");
    let text = (0..1000).map(|_| server.get("/metrics").text).find(|text| is_counted(text));
    let text = text.expect("it comes");
    let of = |labels: &str| format!("sluice_http_requests_total{{{labels}}}");
    number(&text, &of(r#"operation="rows.add",method="POST",status="2xx""#), 2);
    number(&text, &of(r#"operation="sql.query",method="POST",status="2xx""#), 1);
    number(&text, &of(r#"operation="dataset.show",method="GET",status="4xx""#), 1);
    number(&text, &of(r#"operation="none",method="GET",status="4xx""#), 1);
    number(&text, &of(r#"operation="none",method="other",status="4xx""#), 1);
    number(&text, "sluice_http_request_duration_seconds_count{operation=\"rows.add\"}", 2);
    assert!(text.contains("sluice_rows_added_total 5\n"), "{text}");
    assert!(text.contains("sluice_commits_total 1\n"), "{text}");
    number(&text, "sluice_http_requests_in_flight", 1);
    number(&text, "sluice_connections", 1);
    number(&text, "sluice_http_received_bytes_total", 100);
    number(&text, "sluice_http_sent_bytes_total", 100);
    number(&text, "sluice_build_info{version=\"0.1.0\"}", 1);
    number(&text, "process_resident_memory_bytes", 1_000_000);
    for secret in ["orders_of_ours", &server.admin, "\"tk_", "\"ws_", "default"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn requests_under_way_are_answered_when_it_stops() {
    let sluice = Sluice::new();
    sluice.configure("[server]\nadmin_listen = \"127.0.0.1:0\"\n");
    let server = Server::start(&sluice);
    let (mut raw, rest) = under_way(&server);
    assert_eq!(server.watch("/readyz").status, 200);
    server.tell("-TERM");
    while server.watch("/readyz").status == 200 {}
    server.watch("/readyz").problem(503, "unavailable", &["stopping"]);
    assert_eq!(server.watch("/healthz").status, 200);
    // Nobody new is let in.
    while TcpStream::connect(server.address()).is_ok() {}
    raw.say(&rest);
    let answer = raw.rest();
    let (status, body) = parts(&answer);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(serde_json::from_str::<Value>(body).expect("JSON")["rows"], 3);
    assert!(server.ended(), "it ends well");
    assert_eq!(
        sluice.ok(&["sql", "SELECT count(*) AS n FROM d", "--format", "jsonl"]),
        "{\"n\":3}"
    );
}

#[test]
fn told_twice_it_ends_at_once() {
    let sluice = Sluice::new();
    sluice.configure("[server]\ndrain_seconds = 3600\n");
    let server = Server::start(&sluice);
    let (raw, _) = under_way(&server);
    server.tell("-INT");
    while TcpStream::connect(server.address()).is_ok() {}
    server.tell("-TERM");
    assert!(server.ended(), "it ends well");
    assert_eq!(raw.rest(), "");
    assert_eq!(sluice.json(&["dataset", "list"]), json!([]));
}

#[test]
fn what_takes_too_long_is_cut_off() {
    let sluice = Sluice::new();
    sluice.configure("[server]\ndrain_seconds = 1\n");
    let server = Server::start(&sluice);
    let (raw, _) = under_way(&server);
    assert!(server.stop(), "it ends well");
    assert_eq!(raw.rest(), "");
}

#[test]
fn each_request_is_a_line_in_the_log() {
    let sluice = Sluice::new();
    let server = Server::start_logging(&sluice, "info");
    server.get("/v1/datasets/absent%0ahere?q=%1b").problem(400, "invalid", &[]);
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let admin = server.admin.clone();
    let log = server.log();
    let line = |word: &str| {
        let found = log.lines().find(|line| line.contains(word) && line.contains("answered"));
        found.unwrap_or_else(|| panic!("{word}: {log}"))
    };
    let added = line("rows.add");
    let route = "/v1/datasets/{dataset}/rows";
    for word in
        ["POST", route, "status=200", "duration_ms=", "received=", "token.id=", "workspace.id="]
    {
        assert!(added.contains(word), "{word}: {added}");
    }
    assert!(line("dataset.show").contains("status=400"), "{log}");
    assert!(!log.contains(&admin), "{log}");
}
