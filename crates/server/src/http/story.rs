//! What becomes of a request, told when it is over: one line in the log, and the metrics.
//!
//! Contract: a story ends when the last byte of the answer is sent, or nobody waits for it any more. The line names the
//! request, the token and the workspace by id; never a secret, never a control character.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::caller::{Caller, RequestId};
use crate::metrics::{Answered, Metrics, Operation};

/// Characters of an address that are logged.
const PATH_CHARS: usize = 200;

/// What stands where there is nothing.
const NONE: &str = "none";

/// A request, from its head to the end of its answer.
#[derive(Debug)]
pub(crate) struct Story {
    metrics: Arc<Metrics>,
    id: RequestId,
    method: Method,
    path: String,
    begun: Instant,
    /// The operation's id, and the route as the description has it.
    operation: OnceLock<(String, String)>,
    /// Ids of the token and the workspace.
    caller: OnceLock<(String, String)>,
    /// Its place among all.
    place: OnceLock<OwnedSemaphorePermit>,
    received: AtomicU64,
    sent: AtomicU64,
    /// 0 until there is an answer.
    status: AtomicU16,
    /// Whether all of the answer was taken.
    whole: AtomicBool,
}

impl Story {
    /// Begins with a request's head; what its body brings is counted.
    pub(super) fn begin(
        metrics: Arc<Metrics>,
        id: RequestId,
        request: Request,
    ) -> (Arc<Self>, Request) {
        metrics.in_flight.inc();
        let path = shown(request.uri().path());
        let story = Arc::new(Self {
            metrics,
            id,
            method: request.method().clone(),
            path,
            begun: Instant::now(),
            operation: OnceLock::new(),
            caller: OnceLock::new(),
            place: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            status: AtomicU16::new(0),
            whole: AtomicBool::new(false),
        });
        let mut request = request.map(|body| story.clone().count(body, Way::In));
        request.extensions_mut().insert(story.clone());
        (story, request)
    }

    /// Says what is asked for.
    pub(super) fn is(&self, operation: &str, route: &str) {
        // Once: the first to know is the one that looks it up.
        drop(self.operation.set((operation.to_owned(), route.to_owned())));
    }

    /// Says who asks.
    pub(super) fn by(&self, caller: &Caller) {
        drop(self.caller.set((caller.grant.token.to_string(), caller.workspace.to_string())));
    }

    /// Holds a place until the end.
    pub(super) fn hold(&self, place: OwnedSemaphorePermit) {
        drop(self.place.set(place));
    }

    /// Goes on with an answer; ends with the last byte of it.
    pub(super) fn answer(self: Arc<Self>, response: Response) -> Response {
        self.status.store(response.status().as_u16(), Ordering::Relaxed);
        // What has no body is not read.
        let empty = self.method == Method::HEAD || response.body().is_end_stream();
        self.whole.store(empty, Ordering::Relaxed);
        response.map(|body| self.count(body, Way::Out))
    }

    fn count(self: Arc<Self>, body: Body, way: Way) -> Body {
        if body.is_end_stream() && way == Way::In {
            return body;
        }
        Body::new(Counted { body, story: self, way })
    }

    fn passed(&self, way: Way, bytes: u64) {
        let (here, everywhere) = match way {
            Way::In => (&self.received, &self.metrics.received),
            Way::Out => (&self.sent, &self.metrics.sent),
        };
        here.fetch_add(bytes, Ordering::Relaxed);
        everywhere.inc_by(bytes);
    }
}

/// Returns what is logged of a path: nothing of a query string that was sent as a part of it, since there secrets are.
fn shown(path: &str) -> String {
    let query = path.as_bytes().windows(3).position(|three| three.eq_ignore_ascii_case(b"%3f"));
    let path = query.and_then(|at| path.get(..at)).unwrap_or(path);
    path.chars().filter(|c| !c.is_control()).take(PATH_CHARS).collect()
}

impl Drop for Story {
    fn drop(&mut self) {
        let (status, whole) = (*self.status.get_mut(), *self.whole.get_mut());
        let (operation, route) = self.operation.take().unzip();
        let (token, workspace) = self.caller.take().unzip();
        let elapsed = self.begun.elapsed();
        tracing::info!(
            request.id = %self.id,
            method = %self.method,
            route,
            path = self.path,
            status,
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            received = *self.received.get_mut(),
            sent = *self.sent.get_mut(),
            operation,
            token.id = token,
            workspace.id = workspace,
            "{}",
            if whole { "answered" } else { "broken off" }
        );
        let metrics = &self.metrics;
        metrics.in_flight.dec();
        match StatusCode::from_u16(status) {
            Ok(StatusCode::UNAUTHORIZED) => drop(metrics.unauthenticated.inc()),
            Ok(StatusCode::TOO_MANY_REQUESTS) => drop(metrics.rate_limited.inc()),
            _ => {}
        }
        let operation = operation.unwrap_or_else(|| NONE.to_owned());
        let of = Operation { operation: operation.clone() };
        metrics.duration.get_or_create(&of).observe(elapsed.as_secs_f64());
        let answered = Answered { operation, method: method(&self.method), status: class(status) };
        metrics.requests.get_or_create(&answered).inc();
    }
}

/// Returns the class of a status.
fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => NONE,
    }
}

/// Returns a method's name; anybody can make up others.
fn method(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let at = KNOWN.iter().position(|known| known == method);
    at.map_or("other", |at| NAMES[at])
}

/// Where a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    story: Arc<Story>,
    way: Way,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &polled {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.story.passed(self.way, bytes as u64);
                self.body.is_end_stream()
            }
            Some(Err(_)) => false,
            None => true,
        };
        if ended && self.way == Way::Out {
            self.story.whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_query_string_is_shown() {
        assert_eq!(shown("/a/part-0.csv.gz"), "/a/part-0.csv.gz");
        for query in ["%3FExpires=1&Signature=s", "%3fauth=a", "%3F"] {
            assert_eq!(shown(&format!("/a/b{query}")), "/a/b", "{query}");
        }
        assert_eq!(shown(&"/é".repeat(PATH_CHARS)).chars().count(), PATH_CHARS);
    }
}
