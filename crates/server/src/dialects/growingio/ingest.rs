//! What clients of the vendor send: events, attributes of users, and visitors to be erased.
//!
//! Contract: a request becomes rows in one commit, durable before the answer, or nothing. `docs/dialects/growingio.md`, GI-60 to GI-65, says what is
//! known of each form and what is taken from general knowledge.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use flate2::read::GzDecoder;
use model::access::Actor;
use model::document::{Basis, NewDocument};
use model::enrolment::Enrolment;
use model::{Code, LinkId, digest};
use serde_json::{Map, Value, json};
use std::io::Read;
use url::form_urlencoded;

use super::access::{by_client, is_signed, unauthorized};
use super::answers::shown;
use super::{AI, COLLECT, CUSTOM, ERASE, KIND, NAME, Settings, USERS};
use crate::canonical::{self, Rows};
use crate::http::body::Segments;
use crate::http::caller::RequestId;
use crate::http::problem::Problem;
use crate::http::{Client, Doors, body, caller, watch};

/// Bytes of a request, also of what it unpacks to: 2 MiB.
const BODY_BYTES_MAX: usize = 2 << 20;

/// Events of a batch (GI-62).
const EVENTS_MAX: usize = 500;

/// Rows of attributes: fewer than 100 (GI-63).
const USERS_MAX: usize = 99;

/// Visitors that one request erases.
const VISITORS_MAX: usize = 1000;

/// Characters of names and values of servers' events, and of attributes (GI-61, GI-63).
const CHARS_MAX: usize = 255;

/// What a login id may not be.
const NO_LOGINS: [&str; 3] = ["0", "1", "-1"];

/// The kind of documents that say who is to be erased.
const ERASURE: &str = "erasure-request";

/// Takes custom events of a server in (GI-61).
pub(super) async fn custom(
    State(doors): State<Doors>,
    client: Client,
    Segments([ai]): Segments<1>,
    request: Request,
) -> Result<Response, Problem> {
    let (project, parts, body) = enter(&doors, &client, request, (&ai, CUSTOM)).await?;
    let bytes = body::whole(body, BODY_BYTES_MAX).await?;
    let rows = each(&bytes, |event| {
        if event["t"] != "cstm" {
            return Err("`t` must be `cstm`".into());
        }
        text_of(event, "n").filter(|name| fits(name)).ok_or("`n` must have 1 to 255 characters")?;
        let login = text_of(event, "cs1").unwrap_or_default();
        if !fits(&login) || login.contains(':') || NO_LOGINS.contains(&&*login) {
            return Err(
                "`cs1` must have 1 to 255 characters without `:`, and not be 0, 1 or -1".into()
            );
        }
        short_values(event)?;
        row(event)
    })?;
    keep(&doors, &project, rows, key((&parts, &bytes))).await
}

/// Takes a batch of an SDK in (GI-62).
pub(super) async fn collect(
    State(doors): State<Doors>,
    client: Client,
    Segments([ai, platform, _]): Segments<3>,
    request: Request,
) -> Result<Response, Problem> {
    let (project, parts, body) = enter(&doors, &client, request, (&ai, COLLECT)).await?;
    if parts.headers.contains_key("x-crypt-codec") {
        return Err(body::unsupported("send it without `X-Crypt-Codec`"));
    }
    if body::media_type(&parts.headers).contains("protobuf") {
        return Err(body::unsupported("send JSON"));
    }
    let bytes = unpacked(&parts.headers, body::whole(body, BODY_BYTES_MAX).await?)?;
    let rows = each(&bytes, |event| {
        let mut row = row(event)?;
        row.entry("platform").or_insert_with(|| platform_name(&platform).into());
        Ok(row)
    })?;
    keep(&doors, &project, rows, key((&parts, &bytes))).await
}

/// Takes attributes of users in (GI-63).
pub(super) async fn users(
    State(doors): State<Doors>,
    client: Client,
    Segments([ai]): Segments<1>,
    request: Request,
) -> Result<Response, Problem> {
    let (project, query, bytes) = enter_signed(&doors, &client, request, (&ai, USERS)).await?;
    let all = match read(&bytes)? {
        Value::Array(all) => all,
        one => vec![one],
    };
    if all.is_empty() || all.len() > USERS_MAX {
        return Err(wrong(format!("send 1 to {USERS_MAX} users")));
    }
    let (mut ids, mut rows) = (Vec::new(), Vec::new());
    for (place, user) in all.iter().enumerate() {
        let refused = |why: &str| wrong(format!("user {place}: {why}"));
        let fields = user.as_object().ok_or_else(|| refused("it is no JSON object"))?;
        let id = text_of(user, "loginUserId").filter(|id| fits(id));
        let id = id.ok_or_else(|| refused("`loginUserId` must have 1 to 255 characters"))?;
        let mut attributes = Map::new();
        for (name, value) in fields.iter().filter(|(name, _)| *name != "loginUserId") {
            let text = text(value).filter(|text| text.chars().count() <= CHARS_MAX);
            let text = text.ok_or_else(|| {
                refused(&format!(
                    "`{}` must be a text or a number of up to 255 characters",
                    shown(name)
                ))
            })?;
            attributes.insert(name.clone(), text.into());
        }
        rows.push(json!({ "id": id, "login_id": id, "attributes": attributes }));
        ids.push(id);
    }
    let message = format!("ai={ai}&loginUserId={}", ids.join(","));
    check_signed((&doors, &client), &project, (&message, &query)).await?;
    // The newest of what is known of a user counts, so a repeat changes nothing.
    let rows = Rows { dataset: "individual", all: rows, key: None };
    canonical::take(&doors.core, &project.workspace, rows).await?;
    Ok(done())
}

/// Notes visitors that are to be erased (GI-64).
pub(super) async fn erase(
    State(doors): State<Doors>,
    client: Client,
    Segments([ai]): Segments<1>,
    request: Request,
) -> Result<Response, Problem> {
    let id = request.extensions().get::<RequestId>().cloned().ok_or_else(Problem::broken)?;
    let (project, query, bytes) = enter_signed(&doors, &client, request, (&ai, ERASE)).await?;
    let asked = read(&bytes)?;
    let ids = asked["visitUserId"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Option<Vec<&str>> = ids.iter().map(Value::as_str).collect();
    let ids = ids.filter(|ids| (1..=VISITORS_MAX).contains(&ids.len()));
    let ids = ids.filter(|ids| ids.iter().all(|id| fits(id))).ok_or_else(|| {
        wrong(format!(
            "`visitUserId` must be a list of 1 to {VISITORS_MAX} texts of up to 255 characters"
        ))
    })?;
    let message = format!("projectId={ai}&visitUserId={}", ids.join(","));
    check_signed((&doors, &client), &project, (&message, &query)).await?;
    let (core, now) = (&doors.core, doors.core.clock.now());
    let new = NewDocument {
        kind: ERASURE.into(),
        // The same request once more on that day is the same document.
        id: digest::sha256_hex(format!("{}\n{message}", now.date_naive()).as_bytes())[..32]
            .to_owned(),
        body: json!({
            "dataset": "event", "column": "user_id", "values": ids, "state": "recorded",
            "requested_at": now.to_rfc3339_opts(SecondsFormat::Millis, true), "door": NAME,
        }),
        etag: uuid::Uuid::new_v4().simple().to_string(),
        author: NAME.into(),
    };
    match core.documents.write_document(&project.workspace, &new, &Basis::Nothing, now).await {
        Ok(document) => {
            let entry = watch::Entry {
                actor: Actor::Link(LinkId::new(format!("{NAME}/{ai}"))),
                organization: project.organization.clone(),
                workspace: project.workspace.clone(),
                action: "growingio.erase",
                target: document.id,
            };
            watch::note(core, (entry, &id)).await;
            Ok(done())
        }
        Err(error) if model::Failure::code(&error) == Code::Conflict => Ok(done()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the project of an `ai`, whether or not there is a token (GI-60).
async fn enter(
    doors: &Doors,
    client: &Client,
    request: Request,
    (ai, route): (&str, &'static str),
) -> Result<(Enrolment, Parts, Body), Problem> {
    let (parts, body) = request.into_parts();
    let settings: Settings = doors.core.dialects.of(&KIND);
    if !settings.ingest_open || parts.headers.contains_key(header::AUTHORIZATION) {
        let caller = caller::look(doors, &parts).await?;
        let own = doors.core.enrolments.enrolment(&caller.workspace, NAME).await?;
        let own = own.filter(|own| own.name(AI) == ai).ok_or_else(unknown)?;
        return Ok((own, parts, body));
    }
    client.begins(doors, ("growingio.ingest.open", route))?;
    let found = doors.core.enrolments.enrolled(NAME, (AI, ai)).await?;
    let Some(project) = found else {
        client.misses(doors)?;
        return Err(unknown());
    };
    Ok((project, parts, body))
}

fn unknown() -> Problem {
    Problem::new(Code::NotFound, "there is no such project")
}

/// Returns the project of an `ai` and of a public key, which go together; the signature is still to be looked at.
async fn enter_signed(
    doors: &Doors,
    client: &Client,
    request: Request,
    (ai, route): (&str, &'static str),
) -> Result<(Enrolment, String, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    client.begins(doors, ("growingio.ingest.signed", route))?;
    let public = parts.headers.get("access-token").and_then(|value| value.to_str().ok());
    let project = by_client(&doors.core, public.unwrap_or_default()).await?;
    let Some(project) = project.filter(|one| one.name(AI) == ai) else {
        client.misses(doors)?;
        return Err(unauthorized());
    };
    let bytes = body::whole(body, BODY_BYTES_MAX).await?;
    Ok((project, parts.uri.query().unwrap_or_default().to_owned(), bytes))
}

/// Refuses what is not signed under the project's secret.
async fn check_signed(
    (doors, client): (&Doors, &Client),
    project: &Enrolment,
    (message, query): (&str, &str),
) -> Result<(), Problem> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let auth = pairs.find(|(name, _)| name == "auth").map(|(_, value)| value.into_owned());
    let secret = doors.core.enrolments.enrolment_secret(&project.workspace, NAME).await?;
    if is_signed(secret.reveal(), message, &auth.unwrap_or_default()) {
        return Ok(());
    }
    client.misses(doors)?;
    Err(unauthorized())
}

fn done() -> Response {
    StatusCode::OK.into_response()
}

/// Unpacks a body that says that it is gzip.
fn unpacked(headers: &HeaderMap, bytes: Bytes) -> Result<Bytes, Problem> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if !is("x-compress-codec", "2") && !is("content-encoding", "gzip") {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(&*bytes).take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut plain);
    read.map_err(|_| wrong("the body is said to be gzip and is not".into()))?;
    if plain.len() > BODY_BYTES_MAX {
        let detail =
            format!("the body unpacks to more than {BODY_BYTES_MAX} bytes; send less at once");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    Ok(plain.into())
}

fn read(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("the body is no JSON: {}", shown(&error.to_string()))))
}

fn wrong(detail: String) -> Problem {
    Problem::new(Code::Invalid, detail)
}

/// Reads a list of events and makes a row of each; the first that cannot be is named by its place.
fn each(
    bytes: &[u8],
    make: impl Fn(&Value) -> Result<Map<String, Value>, String>,
) -> Result<Vec<Value>, Problem> {
    let Value::Array(all) = read(bytes)? else {
        return Err(wrong("the body is no list; send events between brackets".into()));
    };
    if all.is_empty() || all.len() > EVENTS_MAX {
        return Err(wrong(format!("send 1 to {EVENTS_MAX} events at once")));
    }
    let rows = all.iter().enumerate().map(|(place, event)| {
        let row = if event.is_object() { make(event) } else { Err("it is no JSON object".into()) };
        row.map(Value::Object).map_err(|why| wrong(format!("event {place}: {why}")))
    });
    rows.collect()
}

/// Returns what makes a repeat of a request add nothing: it is the same if it was sent at the same time (GI-65).
fn key((parts, bytes): (&Parts, &[u8])) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let sent = pairs.find(|(name, _)| name == "stm").map(|(_, sent)| sent.into_owned())?;
    let path = parts.uri.path();
    let sum = digest::sha256_hex(&[path.as_bytes(), b"\n", sent.as_bytes(), b"\n", bytes].concat());
    Some(format!("{NAME}/{sum}"))
}

async fn keep(
    doors: &Doors,
    project: &Enrolment,
    all: Vec<Value>,
    key: Option<String>,
) -> Result<Response, Problem> {
    let rows = Rows { dataset: "event", all, key };
    canonical::take(&doors.core, &project.workspace, rows).await?;
    Ok(done())
}

fn fits(text: &str) -> bool {
    (1..=CHARS_MAX).contains(&text.chars().count())
}

/// Returns a text or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn text_of(event: &Value, key: &str) -> Option<String> {
    text(&event[key])
}

/// Refuses values of `var` that are too long or neither texts nor numbers.
fn short_values(event: &Value) -> Result<(), String> {
    let all = event["var"].as_object().into_iter().flatten();
    for (name, value) in all {
        let is_fine = text(value).is_some_and(|text| text.chars().count() <= CHARS_MAX);
        if !is_fine {
            let name = shown(name);
            return Err(format!(
                "`var.{name}` must be a number, or a text of up to 255 characters"
            ));
        }
    }
    Ok(())
}

/// Returns the type of rows that an event of that `t` becomes.
fn kind(t: &str) -> Option<&'static str> {
    Some(match t {
        "vst" => "visit",
        "page" => "page",
        "clck" | "chng" | "sbmt" | "imp" => "action",
        "cstm" => "custom",
        "pvar" => "page_variables",
        "evar" => "conversion_variables",
        "vstr" => "visitor_variables",
        _ => return None,
    })
}

/// Short keys that are columns of text.
const TEXTS: [(&str, &str); 9] = [
    ("u", "user_id"),
    ("s", "session_id"),
    ("cs1", "login_id"),
    ("d", "domain"),
    ("p", "path"),
    ("q", "query"),
    ("rf", "referrer"),
    ("tl", "title"),
    ("n", "name"),
];

/// Makes a row of an event in short keys; when it was sent is not looked at (GI-10).
fn row(event: &Value) -> Result<Map<String, Value>, String> {
    let t = event["t"].as_str().unwrap_or_default();
    let kind = kind(t).ok_or_else(|| format!("`t` is `{}`; that is no event", shown(t)))?;
    let mut row = Map::from_iter([
        ("id".to_owned(), uuid::Uuid::new_v4().simple().to_string().into()),
        ("type".to_owned(), kind.into()),
        (
            "time".to_owned(),
            time(&event["tm"]).ok_or("`tm` must be a time in milliseconds")?.into(),
        ),
    ]);
    if kind == "action" {
        row.insert("request_type".into(), t.into());
    }
    if let Some(at) = time(&event["ptm"]) {
        row.insert("page_time".into(), at.into());
    }
    for (key, column) in TEXTS {
        if let Some(text) = text_of(event, key).filter(|text| !text.is_empty()) {
            row.insert(column.into(), text.into());
        }
    }
    if let Some(var) = event["var"].as_object() {
        let pairs =
            var.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?.into())));
        row.insert("properties".into(), Value::Object(pairs.collect()));
    }
    Ok(row)
}

/// Reads milliseconds since 1970.
fn time(value: &Value) -> Option<String> {
    let millis = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    let at: DateTime<Utc> = DateTime::from_timestamp_millis(millis)?;
    // What text has four digits of a year.
    let is_plain = (0..=253_402_300_799_999).contains(&millis);
    is_plain.then(|| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Returns a platform as rows name it.
fn platform_name(of: &str) -> String {
    match of {
        "android" => "Android".into(),
        "ios" => "iOS".into(),
        "web" => "Web".into(),
        other => shown(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_short_keys_becomes_a_row_of_known_columns() {
        let event = json!({ "u": "u1", "s": "s1", "t": "clck", "tm": 1_465_020_309_123_i64, "ptm": "1465020309000",
            "d": "e.com", "p": "/a", "q": "b=c", "rf": "https://r", "tl": "T", "n": "N", "cs1": 7,
            "var": { "price": 9.5, "name": "x", "none": null } });
        let row = row(&event).expect("a row");
        for (name, value) in [
            ("type", json!("action")),
            ("request_type", json!("clck")),
            ("time", json!("2016-06-04T06:05:09.123Z")),
            ("page_time", json!("2016-06-04T06:05:09.000Z")),
            ("login_id", json!("7")),
            ("referrer", json!("https://r")),
            ("properties", json!({ "price": "9.5", "name": "x" })),
        ] {
            assert_eq!(row[name], value, "{name}");
        }
        let schema = model::canonical::Canonical::named("event").expect("it is one").schema();
        assert!(row.keys().all(|name| schema.field(name).is_some()), "{row:?}");
        assert!(!row.contains_key("received_at"));
    }

    #[test]
    fn what_is_no_event_is_named_by_its_place() {
        let refused = |text: &str| {
            let problem = each(text.as_bytes(), row).expect_err(text);
            problem.detail().to_owned()
        };
        for (text, words) in [
            ("{}", "no list"),
            ("[]", "1 to 500"),
            ("[", "no JSON"),
            (r#"[{"t":"cstm","tm":1},{"t":"what","tm":1}]"#, "event 1: `t` is `what`"),
            (r#"[{"t":"cstm"}]"#, "event 0: `tm`"),
            (r#"[{"t":"cstm","tm":253402300800000}]"#, "event 0: `tm`"),
            ("[7]", "event 0: it is no JSON object"),
        ] {
            let said = refused(text);
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn values_of_servers_are_short() {
        let long = "x".repeat(256);
        for (var, fine) in [
            (json!({ "a": "x", "b": 1.5 }), true),
            (json!({ "a": long }), false),
            (json!({ "a": true }), false),
            (json!({ "a": null }), false),
        ] {
            assert_eq!(short_values(&json!({ "var": var })).is_ok(), fine, "{var}");
        }
    }
}
