//! What is there for those who run the server: health and metrics.
//!
//! None of it is in the description of the API, and none has a limit, so that a full server can still be watched.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::{Code, limits};

use super::Doors;
use super::problem::Problem;
use crate::metrics;

/// The address of the description of the API.
pub(super) const DESCRIPTION: &str = "/v1/openapi.json";

/// The address of the metrics.
pub(super) const METRICS: &str = "/metrics";

/// What asking for them is called.
pub(super) const METRICS_ID: &str = "metrics.show";

const HEALTH: &str = "/healthz";
const READY: &str = "/readyz";

/// Addresses that are not described, and what the metrics call asking for them.
const PLAIN: [(&str, &str); 4] = [
    (HEALTH, "health.live"),
    (READY, "health.ready"),
    (METRICS, METRICS_ID),
    (DESCRIPTION, "description.show"),
];

/// Returns an address and what asking for it is called, if it is not described.
pub(super) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    PLAIN.into_iter().find(|(plain, _)| *plain == path)
}

/// Returns the routes of health.
pub(super) fn health(doors: &Doors) -> Router {
    Router::new()
        .route(HEALTH, get(|| std::future::ready("ok\n")))
        .route(READY, get(ready).with_state(doors.clone()))
}

/// Says whether requests can be answered.
async fn ready(State(doors): State<Doors>) -> Response {
    if doors.is_stopping() {
        let detail = "the server is stopping; ask another one, or this one later";
        return Problem::new(Code::Unavailable, detail).into_response();
    }
    match doors.core.access.organizations().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let detail = "the metadata database does not answer; try again";
            Problem::new(Code::Unavailable, detail).into_response()
        }
    }
}

/// Writes the metrics down.
pub(super) async fn metrics(State(doors): State<Doors>) -> Response {
    let core = &doors.core;
    let asked = limits::QUESTIONS_AT_ONCE - core.gates.questions.available_permits();
    core.metrics.questions.set(i64::try_from(asked).expect("there are few"));
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], core.metrics.text()).into_response()
}
