//! Answers as the vendor words them.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{BEIJING, RequestTime, access};
use crate::http::problem::Problem;

/// Characters of what a client sent that an answer repeats.
const SHOWN_CHARS: usize = 100;

/// Where a slot stands, in the vendor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Status {
    #[serde(rename = "FINISHED")]
    Finished,
    #[serde(rename = "RUNNING")]
    Running,
    #[serde(rename = "NOT_EXISTS")]
    NotExists,
    #[serde(rename = "ERROR")]
    Error,
}

/// Links of one data type, or of several by name; the container is there in every status (GI-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Links {
    One(Vec<String>),
    All(Vec<(&'static str, Vec<String>)>),
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(links) => links.serialize(serializer),
            Self::All(all) => {
                let mut map = serializer.serialize_map(Some(all.len()))?;
                for (name, links) in all {
                    map.serialize_entry(name, links)?;
                }
                map.end()
            }
        }
    }
}

/// The answer of export 2.0 (GI-06).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Insight {
    pub(super) status: Status,
    pub(super) download_links: Links,
    pub(super) export_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_type: Option<String>,
    pub(super) export_date: String,
    pub(super) export_version: &'static str,
    pub(super) request_time: String,
    pub(super) error_msg: String,
}

/// The answer of export 1.0 (GI-50).
#[derive(Debug, Serialize)]
pub(super) struct InsightV1 {
    pub(super) status: Status,
    pub(super) downlinks: Vec<String>,
}

/// What refuses, in the style of the vendor's platform (GI-04).
#[derive(Debug, Serialize)]
struct Refused<'a> {
    message: &'a str,
    errors: Vec<Reason<'a>>,
}

#[derive(Debug, Serialize)]
struct Reason<'a> {
    code: &'a str,
    message: &'a str,
}

/// Returns the time of a request as answers have it.
pub(super) fn request_time(now: DateTime<Utc>, clock: RequestTime) -> String {
    match clock {
        RequestTime::Beijing => now.with_timezone(&BEIJING).format("%Y-%m-%d %H:%M").to_string(),
        RequestTime::Utc => now.format("%Y-%m-%d %H:%M").to_string(),
    }
}

/// Returns as much of what a client sent as is repeated.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

/// Takes tokens as clients send them, and gives problems the vendor's look, wherever they came from.
pub(super) async fn dress(mut request: Request, next: Next) -> Response {
    access::normalize(request.headers_mut());
    refused(next.run(request).await)
}

/// Gives a problem the vendor's look.
pub(super) fn refused(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let detail = problem.detail();
    let refused = match problem.status() {
        // Nobody learns what was wrong with a token.
        StatusCode::UNAUTHORIZED => Refused { message: "Unauthorized", errors: Vec::new() },
        _ => Refused {
            message: detail,
            errors: vec![Reason { code: problem.code(), message: detail }],
        },
    };
    let mut dressed = (problem.status(), Json(refused)).into_response();
    if let Some(seconds) = problem.retry_after() {
        dressed.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let own = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
    for (name, value) in response.headers().iter().filter(|(name, _)| !own.contains(name)) {
        dressed.headers_mut().append(name, value.clone());
    }
    dressed
}
