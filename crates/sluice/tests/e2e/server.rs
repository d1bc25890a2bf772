//! A server that runs on a data folder, and requests to it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use ureq::http::{Method, Request, Response};

use crate::helper::Sluice;

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Where it listens for operators, if it does.
    admin_address: String,
    /// The first administrator's token.
    pub(crate) admin: String,
    /// What it said before it listened.
    pub(crate) said: Vec<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) etag: String,
    /// Seconds after which to ask again; 0 if nothing is said.
    pub(crate) retry_after: u64,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that it is a problem, whose detail has every word.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str, words: &[&str]) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{self:?}");
        assert_eq!(body["request_id"].as_str().map(str::len), Some(32), "{self:?}");
        for word in words {
            assert!(
                body["detail"].as_str().is_some_and(|text| text.contains(word)),
                "{word}: {self:?}"
            );
        }
        body
    }
}

impl Server {
    /// Starts the program and waits until it listens.
    pub(crate) fn start(sluice: &Sluice) -> Self {
        Self::start_with(sluice, |_| {})
    }

    /// The same with an environment or a log of its own.
    pub(crate) fn start_with(sluice: &Sluice, with: impl FnOnce(&mut Command)) -> Self {
        let mut command = sluice.command(&["serve", "--listen", "127.0.0.1:0"]);
        // What it does is not what a test says.
        command.env("SLUICE_LOG", "error");
        with(&mut command);
        Self::spawn(sluice, command)
    }

    /// The same, with a log of this level that [`Self::log`] returns.
    pub(crate) fn start_logging(sluice: &Sluice, level: &str) -> Self {
        Self::start_with(sluice, |command| {
            command.env("SLUICE_LOG", level).stderr(Stdio::piped());
        })
    }

    /// Starts a command that serves, and waits until it listens.
    pub(crate) fn spawn(sluice: &Sluice, command: Command) -> Self {
        Self::try_spawn(sluice, command).expect("it says where it listens")
    }

    /// The same; none if it ends before that.
    pub(crate) fn try_spawn(sluice: &Sluice, mut command: Command) -> Option<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let (mut said, mut admin_address) = (Vec::new(), String::new());
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines.map(|line| line.expect("text")).find_map(|line| {
            if let Some(found) = line.strip_prefix("health and metrics on http://") {
                found.clone_into(&mut admin_address);
            }
            let address = line.strip_prefix("listening on ").and_then(|at| at.split_once("://"));
            let address = address.map(|(_, address)| address.to_owned());
            said.push(line);
            address
        });
        let Some(address) = address else {
            drop(child.wait());
            return None;
        };
        let admin = std::fs::read_to_string(sluice.path("sluice-data/admin-token"));
        let admin = admin.expect("the token is there").trim().to_owned();
        Some(Self { child, address, admin_address, admin, said })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Tells it something by a signal.
    pub(crate) fn tell(&self, signal: &str) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args([signal, &id]).status();
        assert!(told.expect("told").success());
    }

    /// Waits for its end; returns whether it ended well.
    pub(crate) fn ended(mut self) -> bool {
        self.child.wait().expect("it ended").success()
    }

    /// Stops it, and returns what it logged.
    pub(crate) fn log(mut self) -> String {
        self.tell("-TERM");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut log).expect("text");
        log
    }

    /// Ends it as a crash would, while others talk to it.
    pub(crate) fn kill_now(&self) {
        self.tell("-KILL");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    /// Asks it to stop and waits; returns whether it ended well.
    pub(crate) fn stop(self) -> bool {
        self.tell("-TERM");
        self.ended()
    }

    /// Sends a request. `None` if the connection broke off.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        with: (&str, &[(&str, &str)]),
        body: &[u8],
    ) -> Option<Answer> {
        send(method, &format!("http://{}{path}", self.address), with, body)
    }

    /// Asks for something where operators do.
    #[track_caller]
    pub(crate) fn watch(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.admin_address);
        send("GET", &url, ("", &[]), b"").expect("an answer")
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        with: (&str, &[(&str, &str)]),
        body: &[u8],
    ) -> Answer {
        self.try_send(method, path, with, body).expect("an answer")
    }

    /// Asks for something as the first administrator.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, (&self.admin, &[]), b"")
    }

    /// Sends JSON as the first administrator.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", path, (&self.admin, &headers), body.to_string().as_bytes())
    }

    /// Sends rows as JSON Lines.
    #[track_caller]
    pub(crate) fn rows(&self, dataset: &str, lines: &str, more: &[(&str, &str)]) -> Answer {
        let headers = [&[("content-type", "application/x-ndjson")], more].concat();
        let path = format!("/v1/datasets/{dataset}/rows");
        self.send("POST", &path, (&self.admin, &headers), lines.as_bytes())
    }

    /// The rows of a question.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> Vec<Value> {
        let answer = self.post("/v1/sql", &serde_json::json!({ "sql": sql }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn send(
    method: &str,
    url: &str,
    (token, headers): (&str, &[(&str, &str)]),
    body: &[u8],
) -> Option<Answer> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = Request::builder().method(method).uri(url);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
    let agent: ureq::Agent = config.build().into();
    let sent = match body {
        [] => agent.run(request.body(()).expect("a request")),
        body => agent.run(request.body(body).expect("a request")),
    };
    let mut response: Response<ureq::Body> = sent.ok()?;
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map_or_else(String::new, |value| value.to_str().expect("text").to_owned())
    };
    let (kind, etag) = (header("content-type"), header("etag"));
    let retry_after = header("retry-after").parse().unwrap_or(0);
    let text = response.body_mut().read_to_string().ok()?;
    Some(Answer { status: response.status().as_u16(), kind, etag, retry_after, text })
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
