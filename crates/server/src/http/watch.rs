//! Answers whose end is told.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// Has `then` done once the answer is sent or nobody waits for it any more, and says which; not if the server ends before.
pub(crate) fn whole<F: Future<Output = ()> + Send + 'static>(
    response: Response,
    then: impl FnOnce(bool) -> F + Send + 'static,
) -> Response {
    let length = response.headers().get(header::CONTENT_LENGTH);
    let left = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(u64::MAX);
    let then = Box::new(move |is_whole| drop(Handle::current().spawn(then(is_whole))));
    response.map(|body| Body::new(Watched { body, left, then: Some(then) }))
}

struct Watched {
    body: Body,
    /// Bytes that are still to be sent.
    left: u64,
    then: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.left = self.left.saturating_sub(bytes as u64);
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

impl Drop for Watched {
    fn drop(&mut self) {
        // Outside of a runtime nothing can be done any more.
        if let (Some(then), Ok(_)) = (self.then.take(), Handle::try_current()) {
            then(self.left == 0);
        }
    }
}
