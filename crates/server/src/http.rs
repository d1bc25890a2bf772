//! What every door shares: who is asking and how often, answers to errors, the log of changes, health, metrics.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod change;
pub(crate) mod download;
pub(crate) mod etag;
pub(crate) mod grants;
pub(crate) mod limits;
pub(crate) mod operations;
mod operators;
pub(crate) mod page;
pub(crate) mod problem;
pub(crate) mod story;
mod unpack;
pub(crate) mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use model::Code;
use model::access::Scope;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::{Core, Settings, dialects, links, native};
pub(crate) use caller::Client;
use caller::RequestId;
use grants::Grants;
use limits::Limits;
use operations::Operations;
use problem::Problem;
use story::Story;

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
    pub(crate) limits: Arc<Limits>,
    pub(crate) grants: Arc<Grants>,
    /// Whether the server was told to stop.
    stopping: Arc<AtomicBool>,
}

impl Doors {
    /// Reads the description of the API.
    pub(crate) fn new(core: Core, settings: &Settings) -> Self {
        let rates = dialects::rates(&core.dialects);
        let metrics = (operators::METRICS, operators::METRICS_ID, Scope::Admin);
        let operations = Operations::of(&native::parts().1).and(metrics);
        Self {
            core,
            operations: Arc::new(dialects::doors().fold(operations, Operations::and_door)),
            limits: Arc::new(Limits::new(settings, &rates)),
            grants: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Says that the server stops; returns whether this is news.
    pub(crate) fn stop(&self) -> bool {
        !self.stopping.swap(true, Ordering::Relaxed)
    }

    /// Returns whether it was told to stop.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Counts a request for which there was no place.
    fn refused(&self) {
        self.core.metrics.refused.inc();
    }
}

/// Returns every route for clients; with the metrics for administrators, if nobody else is shown them.
pub(crate) fn service(doors: &Doors, with_metrics: bool) -> Router {
    let (mut native, description) = native::parts();
    if with_metrics {
        let metrics = get(operators::metrics).with_state(doors.clone());
        native = native.route(operators::METRICS, metrics);
    }
    let native = guard(native.with_state(doors.core.clone()), doors);
    let dialects = dialects::routes(doors, |one| guard(one.with_state(doors.clone()), doors));
    let description = get(move || std::future::ready(Json(description)));
    let open = operators::health(doors).route(operators::DESCRIPTION, description);
    let open = open.merge(native).merge(dialects);
    // The paths of links are not ours to choose.
    finish(open.fallback_service(any(links::serve_or_refuse).with_state(doors.clone())), doors)
}

/// Lets through whoever may, and logs what is changed.
fn guard(router: Router, doors: &Doors) -> Router {
    router
        .route_layer(middleware::from_fn_with_state(doors.clone(), change::log))
        .route_layer(middleware::from_fn_with_state(doors.clone(), caller::admit))
}

/// Returns every route for operators.
pub(crate) fn admin(doors: &Doors) -> Router {
    let metrics = get(operators::metrics).with_state(doors.clone());
    let all = operators::health(doors).route(operators::METRICS, metrics);
    finish(all.fallback(|| std::future::ready(Problem::no_route())), doors)
}

/// Adds what every request goes through.
fn finish(router: Router, doors: &Doors) -> Router {
    router
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_method()))
        .layer(CatchPanicLayer::custom(|_| {
            // What it said went to stderr.
            tracing::error!("a request was broken off by a bug");
            Problem::broken().into_response()
        }))
        .layer(middleware::from_fn_with_state(doors.core.metrics.clone(), name))
}

/// Names each request, and writes the name into the answer and into problems.
async fn name(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let id = RequestId::mint();
    let (story, mut request) = Story::begin(metrics, id.clone(), request);
    if let Some((path, operation)) = operators::find(request.uri().path()) {
        story.is(operation, path);
    }
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
    let value = HeaderValue::from_str(id.as_str()).expect("an id is plain text");
    response.headers_mut().insert(REQUEST_ID, value);
    // A browser must not guess what the bytes are.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    if response.status() == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
    }
    story.answer(response)
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
