//! What browsers and apps send: events, and who somebody is.
//!
//! Contract: a message becomes rows of the canonical datasets in one commit a dataset, durable before the answer, or nothing. The same message again
//! adds nothing. `docs/dialects/liferay.md`, LR-30 to LR-36.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use model::{Code, OrganizationId, WorkspaceId, access, digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::answers::shown;
use super::{IDENTITY, KIND, PUBLISHER, Settings};
use crate::canonical::{self, Rows};
use crate::http::problem::Problem;
use crate::http::{Client, Doors, body, caller};

/// The header in which a message without a token names its workspace (LR-31).
const PROJECT: &str = "osb-asah-project-id";

/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// LR-33: characters and numbers that a message may have.
const CONTEXT_CHARS_MAX: usize = 2048;
const NAME_CHARS_MAX: usize = 255;
const VALUE_CHARS_MAX: usize = 1024;
const PROPERTIES_MAX: usize = 25;

/// LR-33: minutes that an event may be old when it comes.
const OLD_MINUTES_MAX: i64 = 60;

/// Minutes by which a client's clock may be ahead.
const AHEAD_MINUTES_MAX: i64 = 5;

/// Minutes of a session, where nobody says which it is.
const SESSION_MINUTES: i64 = 30;

/// Some events of one user (LR-32). What is not named here is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: Option<String>,
    #[serde(default)]
    channel_id: Value,
    #[serde(default)]
    data_source_id: Value,
    #[serde(default)]
    user_id: String,
    email_address_hashed: Option<String>,
    protocol_version: Option<String>,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    id: Option<String>,
    application_id: Option<String>,
    #[serde(default, rename = "eventId")]
    name: String,
    #[serde(rename = "eventDate")]
    date: Option<String>,
    #[serde(default)]
    properties: Map<String, Value>,
}

/// Who a user is (LR-35).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    #[serde(default)]
    channel_id: Value,
    #[serde(default)]
    data_source_id: Value,
    #[serde(default)]
    user_id: String,
    email_address_hashed: Option<String>,
    #[serde(rename = "identity")]
    person: Option<Person>,
}

#[derive(Debug, Deserialize)]
struct Person {
    email: Option<String>,
    name: Option<String>,
}

/// Takes events in.
pub(super) async fn publish(
    State(doors): State<Doors>,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let (workspace, headers, body) = enter(&doors, &client, request, PUBLISHER).await?;
    let bytes = message(&headers, body).await?;
    let message: Message = read(&bytes)?;
    let rows = message.rows(doors.core.clock.now())?;
    canonical::take(&doors.core, &workspace, rows).await?;
    Ok(done())
}

/// Takes in who somebody is.
pub(super) async fn identify(
    State(doors): State<Doors>,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let (workspace, headers, body) = enter(&doors, &client, request, IDENTITY).await?;
    let bytes = message(&headers, body).await?;
    let identity: Identity = read(&bytes)?;
    // First who they are, then which browser is theirs: in between nothing is named that is not there.
    for rows in identity.rows(&digest::sha256_hex(&bytes))? {
        canonical::take(&doors.core, &workspace, rows).await?;
    }
    Ok(done())
}

/// LR-30: what clients of the vendor expect.
fn done() -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], "[]").into_response()
}

/// Returns the workspace that a message is for (LR-31).
async fn enter(
    doors: &Doors,
    client: &Client,
    request: Request,
    path: &'static str,
) -> Result<(WorkspaceId, HeaderMap, Body), Problem> {
    let (parts, body) = request.into_parts();
    let settings: Settings = doors.core.dialects.of(&KIND);
    let has_token = parts.headers.contains_key(header::AUTHORIZATION);
    if has_token || !settings.publisher_open {
        let caller = caller::look(doors, &parts).await?;
        return Ok((caller.workspace, parts.headers, body));
    }
    client.begins(doors, ("liferay.publisher.open", path))?;
    let Parts { headers, .. } = parts;
    let named = headers.get(PROJECT).map(|name| name.to_str().unwrap_or("?"));
    let organization = OrganizationId::default_organization();
    let name = named.unwrap_or(access::DEFAULT);
    let found = doors.core.access.workspace(&organization, name).await?;
    Ok((found.id, headers, body))
}

/// Reads the body of a message, whatever its type is said to be: a beacon's is text.
async fn message(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "a message is not packed; leave `Content-Encoding` out";
        return Err(Problem::new(Code::Invalid, detail));
    }
    body::whole(body, MESSAGE_BYTES_MAX).await
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let refused = |error: serde_json::Error| {
        wrong(format!("the message is not what is expected: {}", shown(&error.to_string())))
    };
    if bytes.trim_ascii().is_empty() {
        return Err(wrong("the message is empty; send a JSON object"));
    }
    check_objects(&serde_json::from_slice(bytes).map_err(refused)?)?;
    serde_json::from_slice(bytes).map_err(refused)
}

/// Refuses lists where objects are meant, which would be read in the order of the fields.
fn check_objects(message: &Value) -> Result<(), Problem> {
    let check = |name: &str, value: &Value| {
        let is_fine = value.is_object() || value.is_null();
        is_fine.then_some(()).ok_or_else(|| wrong(format!("{name} is no JSON object; send one")))
    };
    if message.is_null() {
        return Err(wrong("the message is `null`; send a JSON object"));
    }
    check("the message", message)?;
    check("`identity`", &message["identity"])?;
    let events = message["events"].as_array().into_iter().flatten();
    events.enumerate().try_for_each(|(place, event)| match event {
        Value::Null => Err(wrong(format!("`events[{place}]` is `null`; leave it out"))),
        event => check(&format!("`events[{place}]`"), event),
    })
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(Code::Invalid, detail)
}

impl Message {
    /// Checks a message and returns its rows (LR-32, LR-33).
    fn rows(&self, now: DateTime<Utc>) -> Result<Rows, Problem> {
        let source = required_number("dataSourceId", &self.data_source_id)?;
        let property = number("channelId", &self.channel_id)?;
        required_text("userId", &self.user_id)?;
        if self.context.is_empty() {
            return Err(wrong("`context` is empty; say of which page the events are"));
        }
        for (name, value) in &self.context {
            if text(value).is_some_and(|text| text.chars().count() > CONTEXT_CHARS_MAX) {
                let detail = format!(
                    "`context.{name}` has more than {CONTEXT_CHARS_MAX} characters; shorten it"
                );
                return Err(wrong(detail));
            }
        }
        if self.events.is_empty() {
            return Err(wrong("`events` is empty; send at least one"));
        }
        let common = self.common((source, property));
        let row = |(place, event): (usize, &Event)| {
            let mut row = event.row(now, &self.user_id)?;
            let id = event.id.clone().or_else(|| Some(format!("{}-{place}", self.id.as_ref()?)));
            let minted = || uuid::Uuid::new_v4().simple().to_string();
            row.insert("id".into(), id.unwrap_or_else(minted).into());
            row.extend(common.clone());
            Ok(Value::Object(row))
        };
        let rows: Result<Vec<Value>, Problem> = self.events.iter().enumerate().map(row).collect();
        let key = self.id.as_ref().filter(|id| !id.is_empty());
        let key = key.map(|id| format!("liferay/{}", digest::sha256_hex(id.as_bytes())));
        Ok(Rows { dataset: "event", all: rows?, key })
    }

    /// Returns what all events of a message have in common.
    fn common(&self, (source, property): (i64, Option<i64>)) -> Map<String, Value> {
        let of = |name: &str| self.context.get(name).and_then(text);
        let url = of("url").and_then(|url| Url::parse(&url).ok());
        let context = serde_json::to_string(&self.context).expect("it has only string keys");
        let columns = [
            ("user_id", Some(self.user_id.clone())),
            ("individual_id", self.email_address_hashed.clone()),
            ("sdk_version", self.protocol_version.clone()),
            ("domain", url.as_ref().and_then(|url| url.host_str().map(str::to_owned))),
            ("path", url.as_ref().map(|url| url.path().to_owned())),
            ("query", url.as_ref().and_then(|url| url.query().map(str::to_owned))),
            ("url", of("url")),
            ("canonical_url", of("canonicalUrl")),
            ("referrer", of("referrer")),
            ("title", of("title")),
            ("description", of("description")),
            ("keywords", of("keywords")),
            ("user_agent", of("userAgent")),
            ("screen_width", of("screenWidth")),
            ("screen_height", of("screenHeight")),
            ("language", of("languageId")),
            ("content_language", of("contentLanguageId")),
            ("timezone_offset", of("timezoneOffset")),
            ("experience_id", of("experienceId")),
            ("variant_id", of("variantId")),
            ("context", Some(context)),
        ];
        let given =
            columns.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into())));
        let mut row: Map<String, Value> = given.collect();
        row.insert("source_id".into(), source.into());
        row.insert("property_id".into(), property.into());
        let experiment = self.context.get("experimentId").and_then(text);
        let experiment: Option<i64> = experiment.and_then(|text| text.parse().ok());
        row.insert("experiment_id".into(), experiment.into());
        row
    }
}

impl Event {
    fn row(&self, now: DateTime<Utc>, user: &str) -> Result<Map<String, Value>, Problem> {
        required_text("eventId", &self.name)?;
        let at = self.at(now)?;
        if self.properties.len() > PROPERTIES_MAX {
            let detail =
                format!("an event has more than {PROPERTIES_MAX} `properties`; send fewer");
            return Err(wrong(detail));
        }
        let mut properties = Map::new();
        for (name, value) in &self.properties {
            let Some(value) = text(value) else { continue };
            if name.chars().count() > NAME_CHARS_MAX {
                let detail = format!(
                    "the name of a property has more than {NAME_CHARS_MAX} characters; shorten it"
                );
                return Err(wrong(detail));
            }
            if value.chars().count() > VALUE_CHARS_MAX {
                let detail = format!(
                    "`properties.{name}` has more than {VALUE_CHARS_MAX} characters; shorten it"
                );
                return Err(wrong(detail));
            }
            properties.insert(name.clone(), value.into());
        }
        let of = |names: &[&str]| names.iter().find_map(|name| properties.get(*name).cloned());
        let asset = of(&["assetId", "entryId", "articleId", "fileEntryId", "formId"]);
        let title = of(&["assetTitle", "title"]);
        let code = of(&["externalReferenceCode"]);
        let object = of(&["objectDefinitionName"]);
        let application = self.application_id.as_deref();
        let is_view = application == Some("Page") && self.name == "pageViewed";
        let session = at.timestamp().div_euclid(SESSION_MINUTES * 60);
        let session = digest::sha256_hex(format!("{user}/{session}").as_bytes());
        let row = json!({
            "type": if is_view { "page" } else { "custom" },
            "application": application,
            "name": self.name,
            "time": at,
            "session_id": session[..32],
            "asset_id": asset,
            "asset_title": title,
            "external_reference_code": code,
            "object_name": object,
            "properties": properties,
        });
        let Value::Object(row) = row else { unreachable!("it was written as an object") };
        Ok(row)
    }

    fn at(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
        let text = self.date.as_deref().unwrap_or_default();
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| {
            wrong(format!("`eventDate` is `{}`; write it as 2026-01-31T12:00:00.000Z", shown(text)))
        })?;
        let at = at.with_timezone(&Utc);
        let oldest = now - TimeDelta::minutes(OLD_MINUTES_MAX);
        let newest = now + TimeDelta::minutes(AHEAD_MINUTES_MAX);
        if (oldest..=newest).contains(&at) {
            return Ok(at);
        }
        Err(wrong(format!(
            "`eventDate` is `{text}`, which is not within the last hour; events are sent when they happen, older ones are imported"
        )))
    }
}

impl Identity {
    /// Returns who somebody is, if that is said, and which browser is theirs.
    fn rows(&self, sum: &str) -> Result<Vec<Rows>, Problem> {
        let source = required_number("dataSourceId", &self.data_source_id)?;
        let property = number("channelId", &self.channel_id)?;
        required_text("userId", &self.user_id)?;
        let person = self.person.as_ref();
        let email = person.and_then(|person| person.email.as_deref()).map(str::trim);
        let email = email.filter(|email| !email.is_empty());
        let hashed = self.email_address_hashed.clone().filter(|hash| !hash.is_empty());
        let id = hashed
            .or_else(|| email.map(|email| digest::sha256_hex(email.to_lowercase().as_bytes())));
        let key = |dataset: &str| Some(format!("liferay/{dataset}/{sum}"));
        let mut all = Vec::new();
        if let (Some(id), Some(email)) = (&id, email) {
            let name = person.and_then(|person| person.name.as_deref()).map(str::trim);
            let (first, last) = match name.and_then(|name| name.rsplit_once(' ')) {
                Some((first, last)) => (Some(first), Some(last)),
                None => (name, None),
            };
            let row = json!({ "id": id, "email": email, "first_name": first, "last_name": last });
            all.push(Rows { dataset: "individual", all: vec![row], key: key("individual") });
        }
        let row = json!({ "id": self.user_id, "individual_id": id, "source_id": source, "property_id": property });
        all.push(Rows { dataset: "identity", all: vec![row], key: key("identity") });
        Ok(all)
    }
}

/// Returns a value as text; none for null.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Reads a whole number that may be written as text; none where there is none.
fn number(name: &str, value: &Value) -> Result<Option<i64>, Problem> {
    match text(value).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| wrong(format!("`{name}` is `{}`; send a whole number", shown(&text)))),
    }
}

fn required_number(name: &str, value: &Value) -> Result<i64, Problem> {
    number(name, value)?.ok_or_else(|| wrong(format!("`{name}` is missing; name it")))
}

fn required_text(name: &str, value: &str) -> Result<(), Problem> {
    match value.chars().count() {
        0 => Err(wrong(format!("`{name}` is missing; name it"))),
        1..=NAME_CHARS_MAX => Ok(()),
        _ => Err(wrong(format!("`{name}` has more than {NAME_CHARS_MAX} characters; shorten it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T12:00:00Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().expect("a time")
    }

    fn message(change: impl FnOnce(&mut Value)) -> Result<Rows, String> {
        let mut message = json!({
            "id": "m1", "channelId": "7", "dataSourceId": 8, "userId": "u1", "emailAddressHashed": "ab",
            "context": { "url": "https://e.com/a?b=c", "title": "T", "screenWidth": 1920, "experimentId": "x" },
            "events": [{ "applicationId": "Page", "eventId": "pageViewed", "eventDate": NOW,
                "properties": { "viewDuration": 12, "assetId": "as", "nothing": null } }],
        });
        change(&mut message);
        let message: Message = serde_json::from_value(message).expect("a message");
        message.rows(now()).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn a_message_becomes_rows() {
        let rows = message(|_| ()).expect("fine");
        let row = &rows.all[0];
        for (name, value) in [
            ("id", json!("m1-0")),
            ("type", json!("page")),
            ("name", json!("pageViewed")),
            ("property_id", json!(7)),
            ("source_id", json!(8)),
            ("domain", json!("e.com")),
            ("path", json!("/a")),
            ("query", json!("b=c")),
            ("screen_width", json!("1920")),
            ("experiment_id", json!(null)),
            ("asset_id", json!("as")),
            ("properties", json!({ "viewDuration": "12", "assetId": "as" })),
            ("individual_id", json!("ab")),
        ] {
            assert_eq!(row[name], value, "{name}");
        }
        assert_eq!((rows.dataset, rows.all.len()), ("event", 1));
        let again = message(|_| ()).expect("fine");
        assert_eq!((again.key, again.all), (rows.key, rows.all), "a repeat is the same");
    }

    #[test]
    fn every_column_is_one_of_the_canonical_dataset() {
        let canonical =
            |name| model::canonical::Canonical::named(name).expect("it is one").schema();
        let identity = json!({ "dataSourceId": 1, "userId": "u", "identity": { "email": "A@E.com", "name": "Ada B L" } });
        let identity: Identity = serde_json::from_value(identity).expect("an identity");
        let mut all = identity.rows("sum").expect("fine");
        all.push(message(|_| ()).expect("fine"));
        for Rows { dataset, all: rows, .. } in all {
            let schema = canonical(dataset);
            for name in rows[0].as_object().expect("a row").keys() {
                assert!(schema.field(name).is_some(), "{dataset}.{name}");
            }
        }
    }

    #[test]
    fn an_identity_says_who_a_browser_is() {
        let read = |value: Value| {
            let identity: Identity = serde_json::from_value(value).expect("an identity");
            identity.rows("sum").map_err(|problem| problem.detail().to_owned())
        };
        let said = json!({ "dataSourceId": 1, "userId": "u", "identity": { "email": " Ada@Example.com ", "name": "Ada L" } });
        let rows = read(said).expect("fine");
        let id = digest::sha256_hex(b"ada@example.com");
        assert_eq!(
            rows[0].all[0],
            json!({ "id": id, "email": "Ada@Example.com", "first_name": "Ada", "last_name": "L" })
        );
        assert_eq!((rows[1].dataset, &rows[1].all[0]["individual_id"]), ("identity", &json!(id)));
        let hashed = read(json!({ "dataSourceId": 1, "userId": "u", "emailAddressHashed": "ff" }))
            .expect("fine");
        assert_eq!((hashed.len(), &hashed[0].all[0]["individual_id"]), (1, &json!("ff")));
        assert!(read(json!({ "userId": "u" })).is_err_and(|said| said.contains("dataSourceId")));
        assert!(read(json!({ "dataSourceId": 1 })).is_err_and(|said| said.contains("userId")));
    }

    #[test]
    fn what_is_beyond_a_limit_is_named() {
        let long = |chars: usize| Value::from("x".repeat(chars));
        let refused = |change: fn(&mut Value, Value), value: Value, words: &str| {
            let said = message(|message| change(message, value)).err().expect(words);
            assert!(said.contains(words), "{words}: {said}");
        };
        refused(|m, v| m["context"] = v, json!({}), "`context` is empty");
        refused(|m, v| m["context"]["title"] = v, long(2049), "`context.title`");
        refused(|m, v| m["events"] = v, json!([]), "`events` is empty");
        refused(|m, v| m["userId"] = v, json!(""), "`userId` is missing");
        refused(|m, v| m["dataSourceId"] = v, json!(null), "`dataSourceId` is missing");
        refused(|m, v| m["channelId"] = v, json!("abc"), "send a whole number");
        refused(|m, v| m["events"][0]["eventId"] = v, json!(""), "`eventId` is missing");
        refused(|m, v| m["events"][0]["eventId"] = v, long(256), "`eventId` has more");
        refused(
            |m, v| m["events"][0]["eventDate"] = v,
            json!("yesterday"),
            "`eventDate` is `yesterday`",
        );
        refused(
            |m, v| m["events"][0]["eventDate"] = v,
            json!("2026-01-01T10:59:59Z"),
            "within the last hour",
        );
        refused(
            |m, v| m["events"][0]["eventDate"] = v,
            json!("2026-01-01T12:05:01Z"),
            "within the last hour",
        );
        refused(|m, v| m["events"][0]["properties"]["k"] = v, long(1025), "`properties.k`");
        let many: Map<String, Value> = (0..26).map(|n| (n.to_string(), json!(n))).collect();
        refused(|m, v| m["events"][0]["properties"] = v, many.into(), "more than 25");
        let fits = |m: &mut Value| {
            m["context"]["title"] = "x".repeat(2048).into();
            m["events"][0]["eventId"] = "x".repeat(255).into();
            m["events"][0]["eventDate"] = json!("2026-01-01T11:00:00Z");
        };
        assert!(message(fits).is_ok());
    }
}
