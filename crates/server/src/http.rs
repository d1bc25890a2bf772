//! What every door shares: who is asking, answers to errors, the log of changes, health.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod change;
pub(crate) mod download;
pub(crate) mod etag;
pub(crate) mod operations;
pub(crate) mod page;
pub(crate) mod problem;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::Code;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::{Core, native};
use caller::RequestId;
use operations::Operations;
use problem::Problem;

/// The header that names a request, in answers and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request's path and query.
const URI_BYTES_MAX: usize = 8 << 10;

/// Bytes of all its headers.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// Headers that say more about a problem.
const KEPT: [HeaderName; 2] = [header::ALLOW, header::CONTENT_RANGE];

/// What the middleware needs.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) core: Core,
    pub(crate) operations: Arc<Operations>,
}

/// Returns every route.
pub(crate) fn service(core: Core) -> Router {
    let (native, description) = native::parts();
    let operations = Arc::new(Operations::of(&description));
    let doors = Doors { core: core.clone(), operations };
    let guarded = native
        .with_state(core.clone())
        .route_layer(middleware::from_fn_with_state(doors.clone(), change::log))
        .route_layer(middleware::from_fn_with_state(doors, caller::admit));
    Router::new()
        .route("/v1/openapi.json", get(move || std::future::ready(Json(description))))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(ready).with_state(core))
        .merge(guarded)
        .fallback(|| std::future::ready(Problem::no_route()))
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_method()))
        .layer(CatchPanicLayer::custom(|_| {
            // What it said went to stderr.
            tracing::error!("a request was broken off by a bug");
            Problem::broken().into_response()
        }))
        .layer(middleware::from_fn(name))
}

/// Says whether requests can be answered.
async fn ready(State(core): State<Core>) -> Response {
    match core.access.organizations().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let detail = "the metadata database does not answer; try again";
            Problem::new(Code::Unavailable, detail).into_response()
        }
    }
}

/// Names each request, and writes the name into the answer and into problems.
async fn name(mut request: Request, next: Next) -> Response {
    let id = RequestId::mint();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(id.clone());
    let mut response = match check_head(&request) {
        Ok(()) => {
            next.run(request).instrument(tracing::error_span!("request", request.id = %id)).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let kept = KEPT.map(|name| response.headers_mut().remove(&name).map(|value| (name, value)));
        response = problem.render(&id);
        response.headers_mut().extend(kept.into_iter().flatten());
    }
    let status = response.status().as_u16();
    tracing::info!(request.id = %id, %method, path, status, "answered");
    let value = HeaderValue::from_str(id.as_str()).expect("an id is plain text");
    response.headers_mut().insert(REQUEST_ID, value);
    // A browser must not guess what the bytes are.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    if response.status() == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
    }
    response
}

fn check_head(request: &Request) -> Result<(), Problem> {
    let too_large = |status, detail| Err(Problem::with_status(status, Code::TooLarge, detail));
    let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri > URI_BYTES_MAX {
        return too_large(StatusCode::URI_TOO_LONG, "the address has more than 8 KiB; send less");
    }
    let headers = request.headers().iter();
    if headers.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
        > HEADER_BYTES_MAX
    {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return too_large(status, "the headers have more than 32 KiB; send less");
    }
    Ok(())
}
