//! Bodies: read whole up to a limit, then understood or refused as problems.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::Code;
use model::limits::KEY_CHARS_MAX;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Time in which a body must be there: one that stalls keeps a place that others wait for.
const BODY_TIME_MAX: Duration = Duration::from_mins(1);

/// Bytes of a JSON body that describes something.
const JSON_BYTES_MAX: usize = 1 << 20;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let detail = format!("the body is not what is expected: {error}");
            Problem::new(Code::Invalid, detail).at("body")
        })
    }
}

async fn json_bytes(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    if media_type(&parts.headers) != "application/json" {
        return Err(unsupported("send `Content-Type: application/json`"));
    }
    whole(body, JSON_BYTES_MAX).await
}

/// A JSON body with secrets: what is wrong with it is told without repeating any of it.
#[derive(Debug)]
pub(crate) struct SecretBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for SecretBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let said = error.to_string();
            // Names of fields are ours, texts of syntax too; a wrong value would be told as it is.
            let told = if error.is_data() && !said.starts_with("missing field") {
                format!("a field is unknown or has a value of the wrong type at line {line} column {column}")
            } else {
                said
            };
            let detail = format!("the body is not what is expected: {told}");
            Problem::new(Code::Invalid, detail).at("body")
        })
    }
}

/// A query string.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(asked)| Self(asked)).map_err(|error| {
            let detail = format!("the query string is not what is expected: {error}");
            Problem::new(Code::Invalid, detail).at("query")
        })
    }
}

/// Reads a whole body; more bytes than may be, or half a body, change nothing.
pub(crate) async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, bytes_max).collect());
    let read = read.await.map_err(|_| {
        let detail = "the body took too long to come; send less at once";
        Problem::with_status(StatusCode::REQUEST_TIMEOUT, Code::Timeout, detail).at("body")
    })?;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let detail = format!("the body has more than {bytes_max} bytes; send less at once");
            Problem::new(Code::TooLarge, detail).at("body")
        } else {
            Problem::new(Code::Invalid, "the body ended too early; send it again").at("body")
        }
    })?;
    Ok(read.to_bytes())
}

/// Returns the media type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default().split(';').next().unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

/// Refuses a body of the wrong kind.
pub(crate) fn unsupported(remedy: &str) -> Problem {
    let detail = format!("the body is of a kind that is not taken here; {remedy}");
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::with_status(status, Code::Invalid, detail).at("Content-Type")
}

/// The header that makes a repeat harmless.
pub(crate) const KEY: &str = "idempotency-key";

/// Returns the key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let bad = |detail: String| Problem::new(Code::Invalid, detail).at("Idempotency-Key");
    match value.to_str() {
        Ok("") => Err(bad("the key is empty; leave it out".into())),
        Ok(text) if text.len() > KEY_CHARS_MAX => {
            let detail =
                format!("the key has more than {KEY_CHARS_MAX} characters; use a shorter one");
            Err(bad(detail))
        }
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(bad("the key is not plain text; use letters and digits".into())),
    }
}

/// The one name or id in a path.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Segments([one]) = Segments::from_request_parts(parts, state).await?;
        Ok(Self(one))
    }
}

/// The names or ids in a path, in order.
#[derive(Debug)]
pub(crate) struct Segments<const N: usize>(pub(crate) [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Segments<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = RawPathParams::from_request_parts(parts, state).await;
        let read = read.map_err(|_| Problem::no_text())?;
        let all: Vec<String> = read.iter().map(|(_, text)| text.to_owned()).collect();
        if all.iter().any(|text| text.contains(char::is_control)) {
            return Err(Problem::no_text());
        }
        all.try_into().map(Self).map_err(|_| Problem::no_text())
    }
}
