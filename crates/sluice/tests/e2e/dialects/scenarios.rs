//! Scenario files: requests and the answers that they must have, as data.
//!
//! Each file below `scenarios/DIALECT` is a server of its own whose clock stands where the file says; its steps are done in order. A step is a
//! request (`get`, `head`, `post`), rows that come in, a file that is imported, another time, or an end and a new start. `docs/dialects` has the rules that the files name.
//!
//! Words between braces stand for what is only known then: `{ai}`, `{project}`, `{client}`, `{secret}` and `{token}` of a dialect that enrols workspaces, the same
//! of another workspace with `other_` in front, `{tm+5}` the time five minutes from now in milliseconds and `{auth+5}` its signature, `{code}` of the last answer that had one and `{code_before}` of the one before, and
//! `{link}`, `{link1}` … the links of the last answer that had some.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::{DeflateDecoder, GzDecoder};
use serde::Deserialize;
use serde_json::Value;
use ureq::http::Request;

use crate::helper::Sluice;
use crate::schedules::{Time, at};
use crate::server::Server;

/// Times that a step is asked again until its answer is no status.
const LOOKS_MAX: u32 = 1500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    about: String,
    /// Rules that it shows.
    rules: Vec<String>,
    /// The time when it begins.
    #[serde(default = "new_year")]
    now: String,
    /// Settings of the dialect, as lines of its section.
    #[serde(default)]
    settings: String,
    /// Whether its workspaces are not enrolled, with a dialect that enrols them.
    #[serde(default)]
    strange: bool,
    step: Vec<Step>,
}

fn new_year() -> String {
    "2026-01-01T12:00:00Z".into()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    say: String,
    /// The dataset that `lines` go to.
    rows: String,
    /// The dataset that a file of `lines` is imported into, with the column that says when they were received, if any.
    import: String,
    receive_time: String,
    lines: String,
    /// A view to be made: its name, its text and its time column.
    view: Option<NewView>,
    /// The time from now on.
    clock: String,
    get: String,
    head: String,
    post: String,
    delete: String,
    options: String,
    body: String,
    /// `admin` without it, `other` for one of another workspace, `reader` for one that may read only, `none`, or a text of its own.
    token: String,
    headers: BTreeMap<String, String>,
    /// Ask until the answer is no status.
    ready: bool,
    /// Ask until the answer has this status.
    until: String,
    /// What the answer must have, a JSON object; `*` for any text.
    json: Option<Value>,
    /// How many links it must have.
    links: Option<usize>,
    status: u16,
    /// Headers that the answer must have; empty for those that it must not.
    has: BTreeMap<String, String>,
    /// What the one line of the answer must have; `*` for any text.
    line: Option<Value>,
    /// What it must be, to the byte.
    text: Option<String>,
    /// The objects that its lines must be, in any order.
    data: Option<String>,
    /// How many lines it must have.
    count: Option<usize>,
    /// Words that must be in it.
    words: Vec<String>,
    /// How the body is packed: `gzip` or `zip`.
    packed: String,
}

impl Step {
    /// The method and the path of a request, if it is one.
    fn request(&self) -> Option<(&'static str, &str)> {
        let Self { get, head, post, delete, options, .. } = self;
        let all = [
            ("GET", get),
            ("HEAD", head),
            ("POST", post),
            ("DELETE", delete),
            ("OPTIONS", options),
        ];
        all.into_iter().find(|(_, path)| !path.is_empty()).map(|(method, path)| (method, &**path))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewView {
    name: String,
    sql: String,
    time_column: Option<String>,
    #[serde(default)]
    window: Option<String>,
}

/// A server and who talks to it.
struct Stage {
    sluice: Sluice,
    time: Time,
    server: Server,
    tokens: BTreeMap<&'static str, String>,
    /// What words between braces stand for.
    words: BTreeMap<String, String>,
}

/// What a dialect that enrols workspaces says of one.
const NAMES: [(&str, &str); 5] = [
    ("ai", "ai"),
    ("project", "project"),
    ("client", "client_id"),
    ("secret", "secret"),
    ("token", "token"),
];

/// Minutes by which `{tm}` and `{auth}` may be off.
const MINUTES: [i64; 7] = [-11, -10, 0, 1, 5, 10, 11];

struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut all: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

impl Stage {
    fn new(dialect: &str, scenario: &Scenario) -> Self {
        let sluice = Sluice::new();
        let enrols = server::dialects::named(dialect).is_some_and(|kind| kind.enrols);
        // What is limited is shown by scenarios that say so.
        let is_free = !enrols || scenario.settings.contains("calls_per_second");
        let free = if is_free { "" } else { "calls_per_second = 0\n" };
        sluice.configure(&format!("[{dialect}]\n{free}{}\n", scenario.settings));
        let time = Time::new(&sluice, &scenario.now);
        sluice.ok(&["workspace", "create", "other"]);
        let mut words = BTreeMap::new();
        for (workspace, front) in [("default", ""), ("other", "other_")] {
            if enrols && !scenario.strange {
                let clock = time.path();
                let args = [dialect, "enable", workspace, "--test-clock", &clock];
                let shown = sluice.json(&args);
                let word = |(name, key): (&str, &str)| {
                    (format!("{front}{name}"), shown[key].as_str().expect(key).to_owned())
                };
                words.extend(NAMES.map(word));
            }
        }
        let server = time.serve(&sluice);
        let token = |args: &[&str]| {
            let made = sluice.ok(&[&["token", "create", "--principal", "admin"], args].concat());
            made.trim().to_owned()
        };
        let exports = ["--scope", "export:run"];
        let tokens = BTreeMap::from([
            ("admin", server.admin.clone()),
            ("other", token(&[&["--workspace", "other"][..], &exports].concat())),
            ("reader", token(&["--scope", "data:read"])),
            ("none", String::new()),
        ]);
        Self { sluice, time, server, tokens, words }
    }

    /// Puts what words between braces stand for in their place.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.words {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        for minutes in MINUTES {
            let [tm, auth] = ["tm", "auth"].map(|name| match minutes {
                0 => format!("{{{name}}}"),
                minutes => format!("{{{name}{minutes:+}}}"),
            });
            if text.contains(&tm) || text.contains(&auth) {
                let at = self.time.now + chrono::TimeDelta::minutes(minutes);
                let at = at.timestamp_millis().to_string();
                let message =
                    self.fill(&format!("POST\n/auth/token\nproject={{project}}&ai={{ai}}&tm={at}"));
                text =
                    text.replace(&tm, &at).replace(&auth, &hmac(&self.words["secret"], &message));
            }
        }
        while let Some((front, rest)) = text.split_once("{hmac:") {
            let (message, back) = rest.split_once('}').expect("a message");
            text = format!("{front}{}{back}", hmac(&self.words["secret"], message));
        }
        text
    }

    /// Keeps in mind what later steps name.
    fn note(&mut self, got: &Got) {
        let Ok(answer) = serde_json::from_slice::<Value>(&got.body) else { return };
        if let Some(code) = answer["code"].as_str()
            && let Some(before) = self.words.insert("code".into(), code.to_owned())
        {
            self.words.insert("code_before".into(), before);
        }
        for (number, link) in links(&answer).into_iter().enumerate() {
            let name = if number == 0 { "link".into() } else { format!("link{number}") };
            self.words.insert(name, link);
        }
    }

    fn send(&self, step: &Step) -> Got {
        let (method, path) = step.request().expect("one");
        let path = self.fill(path);
        let url = match &*path {
            link if link.starts_with("http") => link.to_owned(),
            path => format!("http://{}{path}", self.server.address()),
        };
        let mut request = Request::builder().method(method).uri(url);
        let name = if step.token.is_empty() { "admin" } else { &step.token };
        let token = self.fill(self.tokens.get(name).map_or(name, String::as_str));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &step.headers {
            request = request.header(name, self.fill(value));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .accept("")
            .accept_encoding("");
        let agent: ureq::Agent = config.build().into();
        let body = self.fill(&step.body);
        let sent = if body.is_empty() {
            agent.run(request.body(()).expect("a request"))
        } else {
            agent.run(request.body(body.as_bytes()).expect("a request"))
        };
        let mut response = sent.expect("an answer");
        let text = |value: &ureq::http::HeaderValue| value.to_str().expect("text").to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let body = response.body_mut().read_to_vec().expect("a whole body");
        Got { status, headers, body }
    }

    fn ask(&self, step: &Step) -> Got {
        let mut got = self.send(step);
        for _ in 0..LOOKS_MAX {
            let is_there = match &*step.until {
                "" => !step.ready || !is_status(&got.body),
                until => status(&got.body).as_deref() == Some(until),
            };
            if is_there {
                return got;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            got = self.send(step);
        }
        panic!("never ready: {}", String::from_utf8_lossy(&got.body));
    }

    fn play(&mut self, step: &Step) {
        if !step.clock.is_empty() {
            self.time.set(at(&step.clock));
        }
        if !step.rows.is_empty() {
            let answer = self.server.rows(&step.rows, &step.lines, &[]);
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        if !step.import.is_empty() {
            let file = self.sluice.file("lines.jsonl", &step.lines);
            let mut args = vec!["import", &step.import, &file];
            if !step.receive_time.is_empty() {
                args.extend(["--receive-time", &step.receive_time]);
            }
            let clock = self.time.path();
            args.extend(["--test-clock", &clock]);
            self.sluice.ok(&args);
        }
        if let Some(NewView { name, sql, time_column, window }) = &step.view {
            let window = window.as_deref().unwrap_or("output");
            let view = serde_json::json!({
                "name": name, "sql": sql, "time_column": time_column, "window": window
            });
            self.server.post("/v1/views", &view).ok(201);
        }
        if step.request().is_some() {
            let got = self.ask(step);
            self.note(&got);
            let json = step.json.as_ref().map(|wanted| self.fill(&wanted.to_string()));
            let json = json.map(|wanted| serde_json::from_str(&wanted).expect("JSON"));
            check(&Step { json, ..step.clone() }, got);
        }
    }
}

/// Signs as the vendors' pages tell people to try it.
pub(super) fn hmac(secret: &str, message: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    openssl.stdin.take().expect("piped").write_all(message.as_bytes()).expect("written");
    let done = openssl.wait_with_output().expect("it ends");
    let text = String::from_utf8(done.stdout).expect("text");
    text.trim().rsplit(' ').next().expect("a digest").to_owned()
}

/// Returns every link of an answer, in order.
fn links(answer: &Value) -> Vec<String> {
    let found = [&answer["downloadLinks"], &answer["downlinks"]];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let all = found.into_iter().flat_map(|value| match value {
        Value::Object(all) => all.values().flat_map(list).collect(),
        other => list(other),
    });
    all.filter_map(|link| Some(link.as_str()?.to_owned())).collect()
}

fn status(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    Some(answer["status"].as_str()?.to_owned())
}

/// Whether a body says where a job stands.
fn is_status(body: &[u8]) -> bool {
    matches!(status(body).as_deref(), Some("PENDING" | "RUNNING"))
}

fn check(step: &Step, got: Got) {
    let body = match &*step.packed {
        "" => got.body,
        // It is a part of something packed.
        "none" => Vec::new(),
        "gzip" => {
            let mut text = Vec::new();
            GzDecoder::new(&got.body[..]).read_to_end(&mut text).expect("gzip");
            text
        }
        "zip" => unzip(&got.body),
        other => panic!("`{other}` is no way to pack"),
    };
    let text = String::from_utf8(body).expect("text");
    let wanted = if step.status == 0 { 200 } else { step.status };
    assert_eq!(got.status, wanted, "{text}");
    for (name, value) in &step.has {
        let found = got.headers.get(name).map_or("", String::as_str);
        assert!(found == value || (value == "*" && !found.is_empty()), "{name}: `{found}`");
    }
    if let Some(wanted) = &step.line {
        assert!(text.ends_with('\n') && text.lines().count() == 1, "one line: {text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_has(&line, wanted);
    }
    if let Some(wanted) = &step.json {
        assert_has(&serde_json::from_str(&text).expect("JSON"), wanted);
    }
    if let Some(count) = step.links {
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(links(&answer).len(), count, "{text}");
    }
    if let Some(wanted) = &step.text {
        assert_eq!(text, *wanted);
    }
    if let Some(count) = step.count {
        assert_eq!(text.lines().count(), count, "{text}");
    }
    for word in &step.words {
        assert!(text.contains(word), "{word}: {text}");
    }
    if let Some(wanted) = &step.data {
        let sorted = |text: &str| {
            let lines = text.lines().filter(|line| !line.is_empty());
            let mut lines: Vec<Value> =
                lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
            lines.sort_by_key(ToString::to_string);
            lines
        };
        assert!(text.is_empty() || text.ends_with('\n'), "lines end: {text}");
        let (got, wanted) = (sorted(&text), sorted(wanted));
        assert_eq!(got, wanted);
    }
}

/// Asserts that an object has the fields of another; `*` stands for any text.
fn assert_has(line: &Value, wanted: &Value) {
    for (name, value) in wanted.as_object().expect("an object") {
        let found = &line[name];
        let is_any = value == "*" && found.as_str().is_some_and(|text| !text.is_empty());
        let is_absent = value == "" && found.is_null();
        assert!(is_any || is_absent || found == value, "{name} is {found}, not {value}: {line}");
    }
}

/// Returns the first entry of an archive, whose sizes are in its ZIP64 field.
fn unzip(archive: &[u8]) -> Vec<u8> {
    assert_eq!(archive[..4], *b"PK\x03\x04");
    let short = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let start = 30 + short(26) + short(28);
    assert_eq!(archive[30..30 + short(26)], *b"data.json");
    let mut text = Vec::new();
    DeflateDecoder::new(&archive[start..]).read_to_end(&mut text).expect("deflated");
    text
}

#[test]
fn every_scenario_is_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    for dialect in files(&root) {
        let name = dialect.file_name().expect("a name").to_str().expect("text").to_owned();
        let page = root.join(format!("../docs/dialects/{name}.md"));
        let rules = fs::read_to_string(page).expect("a page for each dialect");
        let mut shown = String::new();
        for file in files(&dialect) {
            let text = fs::read_to_string(&file).expect("text");
            let scenario: Scenario =
                toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(!scenario.rules.is_empty(), "{} names its rules", file.display());
            for rule in &scenario.rules {
                assert!(rules.contains(&format!("| {rule} |")), "{rule} of {}", file.display());
            }
            shown.push_str(&scenario.rules.join(" "));
            let mut stage = Stage::new(&name, &scenario);
            for (number, step) in scenario.step.iter().enumerate() {
                // What fails says where.
                let place = (file.display(), number + 1, &scenario.about, &step.say);
                let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    stage.play(step);
                }));
                if let Err(panic) = played {
                    eprintln!("{}: step {}, {}: {}", place.0, place.1, place.2, place.3);
                    std::panic::resume_unwind(panic);
                }
            }
        }
        // What needs more than requests is shown by a test of the dialect, which names it.
        let test = root.join(format!("../crates/sluice/tests/e2e/dialects/{name}.rs"));
        shown.push_str(&fs::read_to_string(test).unwrap_or_default());
        for line in rules.lines() {
            let rule = line.strip_prefix("| ").and_then(|rest| rest.split_once(" | "));
            if let Some((rule, _)) = rule.filter(|(rule, _)| rule.contains('-')) {
                assert!(shown.contains(rule), "{rule} is shown by nothing");
            }
        }
    }
}
