//! Answers that are no data: where a job stands, and what is wrong.
//!
//! Contract: one JSON object on one line, all values strings. `DIFFERENCE:` the line ends with a newline, where the vendor's has none, so that polls
//! appended to one file and the data behind them stay valid JSON Lines (LR-09).

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::dates::render;
use crate::http::problem::Problem;

/// Where a job stands (LR-07, LR-08).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    from_date: String,
    created_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_date: Option<String>,
    to_date: String,
    message: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "status")]
    state: &'static str,
}

/// What an answer speaks of.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// In upper case.
    pub(super) kind: String,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Status {
    fn new(of: &Subject, created: DateTime<Utc>, state: &'static str, message: String) -> Self {
        Self {
            from_date: render(of.from),
            created_date: render(created),
            started_date: None,
            to_date: render(of.to),
            message,
            kind: of.kind.clone(),
            state,
        }
    }

    /// It was asked for just now.
    pub(super) fn new_job(of: &Subject, created: DateTime<Utc>) -> Self {
        let message = "A new data export file for this date range and type will be created. Please come back later.";
        Self::new(of, created, "PENDING", message.into())
    }

    /// It was asked for just now, since the one before failed.
    pub(super) fn new_after_failure(of: &Subject, created: DateTime<Utc>, why: &str) -> Self {
        let message = format!(
            "The last data export file for this date range and type failed: {why}. A new one will be created. Please come back later."
        );
        Self::new(of, created, "PENDING", message)
    }

    /// It waits.
    pub(super) fn waiting(of: &Subject, created: DateTime<Utc>) -> Self {
        let message = "A data export file for this date range and type is already scheduled. Please come back later.";
        Self::new(of, created, "PENDING", message.into())
    }

    /// It is being made.
    pub(super) fn running(of: &Subject, created: DateTime<Utc>, started: DateTime<Utc>) -> Self {
        let message = "The data export file for this date range and type is being created. Please come back later.";
        let status = Self::new(of, created, "RUNNING", message.into());
        Self { started_date: Some(render(started)), ..status }
    }

    /// It failed several times, and is not tried before then. `DIFFERENCE:` the vendor never says so and tries for ever (LR-16).
    pub(super) fn failed(
        of: &Subject,
        created: DateTime<Utc>,
        (times, why): (u32, &str),
        again: DateTime<Utc>,
    ) -> Self {
        let message = format!(
            "The data export file for this date range and type failed {times} times in a row: {why}. It is tried again when it is asked for after {}.",
            render(again)
        );
        Self::new(of, created, "ERROR", message)
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        line(StatusCode::OK, &self)
    }
}

/// What is wrong with a request (LR-02).
#[derive(Debug, Serialize)]
struct Wrong<'a> {
    message: &'a str,
    status: &'static str,
}

/// The window begins before what is kept (LR-06), which has a shape of its own.
#[derive(Debug, Serialize)]
struct TooOld<'a> {
    description: &'a str,
    message: &'static str,
}

/// Refuses a window for its age.
pub(super) fn too_old(description: &str) -> Response {
    line(StatusCode::BAD_REQUEST, &TooOld { description, message: "Bad Request" })
}

/// LR-40: of an address that there is not, the vendor's server says so with the status of one that there is.
pub(super) fn unknown() -> Response {
    let message =
        "there is nothing at this address; see /api/reports, and /api/reports/export/{type}";
    line(StatusCode::OK, &Wrong { message, status: "ERROR" })
}

/// Characters of what a client sent that are shown to it.
const SHOWN_CHARS_MAX: usize = 100;

/// Returns what a client sent, or its beginning.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Writes a value as one line of JSON.
fn line(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = serde_json::to_string(value).expect("it has only string keys");
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Gives a problem the vendor's look, wherever it came from.
pub(super) async fn dress(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let wrong = Wrong { message: problem.detail(), status: "ERROR" };
    let mut dressed = line(problem.status(), &wrong);
    if let Some(seconds) = problem.retry_after() {
        dressed.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    let own = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
    for (name, value) in response.headers().iter().filter(|(name, _)| !own.contains(name)) {
        dressed.headers_mut().append(name, value.clone());
    }
    dressed
}

/// Says after how many seconds it is worth asking again.
pub(super) fn later(mut response: Response, seconds: i64) -> Response {
    let seconds = HeaderValue::from(seconds.max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
