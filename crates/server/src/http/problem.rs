//! Errors as `application/problem+json`.
//!
//! Source: RFC 9457. The `type` is always `about:blank`; `code` is what programs decide by.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::ports::{
    AccessError, CatalogError, DocumentError, LedgerError, PlaceError, UploadError,
};
use model::schedule::ScheduleError;
use model::{Code, Failure, PortError};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::caller::RequestId;
use crate::{bundle, canonical, files, links};

/// Why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: Code,
    detail: String,
    field: Option<String>,
    retry_after: Option<u64>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What a caller can do about it: `invalid`, `unauthenticated`, `forbidden`, `not_found`, `gone`, `conflict`, `too_large`,
    /// `rate_limited`, `timeout`, `unavailable` or `internal`.
    code: String,
    /// What is wrong.
    detail: String,
    /// The part of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// The request, as the server's log names it.
    request_id: String,
}

/// What every operation may answer instead.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description alone")]
pub(crate) enum Problems {
    /// What was asked cannot be done.
    #[response(status = "4XX", content_type = "application/problem+json")]
    Request(ProblemBody),
    /// The server, or something that it needs, failed.
    #[response(status = "5XX", content_type = "application/problem+json")]
    Server(ProblemBody),
}

impl Problem {
    /// Makes the answer for a reason; what stands behind the first `; ` of the detail is the remedy.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::with_status(status(code), code, detail)
    }

    /// The same with a status of its own.
    pub(crate) fn with_status(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, retry_after: None }
    }

    /// Names the part of the request that is wrong.
    pub(crate) fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Says after how many seconds it is worth asking again.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Something in a body: what it names and is not there makes the body wrong, not the address.
    pub(crate) fn in_body(self) -> Self {
        match self.code {
            Code::NotFound => Self { status: StatusCode::BAD_REQUEST, code: Code::Invalid, ..self },
            _ => self,
        }
    }

    /// Something in the SQL text of a body.
    pub(crate) fn in_sql(error: PortError) -> Self {
        Self::from(error).at("sql").in_body()
    }

    pub(crate) fn no_route() -> Self {
        Self::new(Code::NotFound, "there is nothing at this address; see /v1/openapi.json")
    }

    pub(crate) fn no_text() -> Self {
        Self::new(Code::Invalid, "the address is not plain UTF-8; write `é` as `%C3%A9`")
    }

    pub(crate) fn no_method() -> Self {
        let detail =
            "this address does not take that method; the header `Allow` says which it takes";
        Self::with_status(StatusCode::METHOD_NOT_ALLOWED, Code::Invalid, detail)
    }

    /// It is not as whoever changes it saw it.
    pub(crate) fn outdated(detail: impl Into<String>) -> Self {
        Self::with_status(StatusCode::PRECONDITION_FAILED, Code::Conflict, detail).at("If-Match")
    }

    /// A bug.
    pub(crate) fn broken() -> Self {
        Self::new(Code::Internal, "the server failed; its log says more under this request's id")
    }

    /// Whether it is the server that fails.
    pub(crate) fn is_bug(&self) -> bool {
        self.code == Code::Internal
    }

    /// Returns the code as programs read it.
    pub(crate) fn code(&self) -> &'static str {
        word(self.code)
    }

    /// Returns what is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns after how many seconds it is worth asking again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// Writes it down as the answer to a request.
    pub(super) fn render(self, id: &RequestId) -> Response {
        let body = ProblemBody {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            code: word(self.code).into(),
            remedy: self.detail.split_once("; ").map(|(_, remedy)| remedy.to_owned()),
            detail: self.detail,
            field: self.field,
            request_id: id.to_string(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    fn of(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error.source();
        while let Some(error) = cause {
            tracing::info!(cause = %error);
            cause = error.source();
        }
        match code {
            // What went wrong inside is nobody's business outside.
            Code::Internal => {
                tracing::error!(%error, "failed");
                Self::broken()
            }
            code => Self::new(code, error.to_string()),
        }
    }
}

/// Rendered by the outermost layer, which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        match error.downcast_ref::<CatalogError>() {
            Some(CatalogError::KeyReused { .. }) => Self::reused(&error.to_string()),
            _ => Self::of(error.code(), error.as_error()),
        }
    }
}

impl Problem {
    /// The same key with another body is an error of its own kind, whatever the state of the dataset.
    fn reused(detail: &str) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::with_status(status, Code::Conflict, detail).at("Idempotency-Key")
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::KeyReused { .. } => Self::reused(&error.to_string()),
            LedgerError::Changed { .. } | LedgerError::Exists { .. } => {
                Self::outdated(error.to_string())
            }
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<run::Error> for Problem {
    fn from(error: run::Error) -> Self {
        match error {
            run::Error::Ledger(error) => error.into(),
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<files::Error> for Problem {
    fn from(error: files::Error) -> Self {
        match error {
            files::Error::Ledger(error) => error.into(),
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<bundle::Error> for Problem {
    fn from(error: bundle::Error) -> Self {
        match error {
            bundle::Error::File(error) => error.into(),
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<canonical::Error> for Problem {
    fn from(error: canonical::Error) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<links::Error> for Problem {
    fn from(error: links::Error) -> Self {
        match error {
            links::Error::File(error) => error.into(),
            links::Error::Access(error) => error.into(),
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Changed { .. } | DocumentError::Exists { .. } => {
                Self::outdated(error.to_string())
            }
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Changed { .. } => Self::outdated(error.to_string()),
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            // It was the client that took so long.
            UploadError::Late { .. } => {
                Self::with_status(StatusCode::REQUEST_TIMEOUT, error.code(), error.to_string())
            }
            error => Self::of(error.code(), &error),
        }
    }
}

impl From<model::destination::BadTerms> for Problem {
    fn from(error: model::destination::BadTerms) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<model::schema::Given> for Problem {
    fn from(error: model::schema::Given) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<model::names::BadName> for Problem {
    fn from(error: model::names::BadName) -> Self {
        Self::of(error.code(), &error).at("name")
    }
}

impl From<model::names::BadFileName> for Problem {
    fn from(error: model::names::BadFileName) -> Self {
        Self::of(error.code(), &error).at("file")
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Gone => StatusCode::GONE,
        Code::Conflict => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns a code as programs read it.
fn word(code: Code) -> &'static str {
    match code {
        Code::Invalid => "invalid",
        Code::Unauthenticated => "unauthenticated",
        Code::Forbidden => "forbidden",
        Code::NotFound => "not_found",
        Code::Gone => "gone",
        Code::Conflict => "conflict",
        Code::TooLarge => "too_large",
        Code::RateLimited => "rate_limited",
        Code::Timeout => "timeout",
        Code::Unavailable => "unavailable",
        Code::Internal => "internal",
    }
}
