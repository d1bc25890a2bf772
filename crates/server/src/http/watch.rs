//! Answers whose end is told: to whoever asked for that, or to the log of changes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body::{Frame, SizeHint};
use model::access::{Actor, NewAudit};
use model::{AuditId, OrganizationId, WorkspaceId};
use tokio::runtime::Handle;

use super::caller::RequestId;
use super::problem::Problem;
use crate::Core;

/// Something that is sent out, for the log.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Who has it sent.
    pub(crate) actor: Actor,
    /// The organization.
    pub(crate) organization: OrganizationId,
    /// The workspace.
    pub(crate) workspace: WorkspaceId,
    /// What the log calls it.
    pub(crate) action: &'static str,
    /// What it is.
    pub(crate) target: String,
}

/// Writes a download into the log before its first byte is sent, and what became of it after its last.
pub(crate) async fn told(
    core: &Core,
    (entry, request): (Entry, &RequestId),
    response: Response,
) -> Result<Response, Problem> {
    let now = core.clock.now();
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
    let target = format!("{} {range}", entry.target).trim_end().to_owned();
    let entry = Entry { target, ..entry }.begun(request, now);
    core.access.begin_audit(&entry, now).await?;
    let access = core.access.clone();
    Ok(whole(response, move |is_whole| async move {
        let outcome = if is_whole { "done" } else { "broken_off" };
        if let Err(error) = access.end_audit(&entry.id, outcome, None).await {
            tracing::warn!(%error, audit.id = %entry.id, "the end of a download was not logged");
        }
    }))
}

/// Writes something into the log that is done. What is done stays done where the log cannot be written.
pub(crate) async fn note(core: &Core, (entry, request): (Entry, &RequestId)) {
    let now = core.clock.now();
    let entry = entry.begun(request, now);
    let noted = match core.access.begin_audit(&entry, now).await {
        Ok(()) => core.access.end_audit(&entry.id, "done", None).await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        tracing::error!(%error, audit.id = %entry.id, "what was done was not logged");
    }
}

impl Entry {
    fn begun(self, request: &RequestId, now: DateTime<Utc>) -> NewAudit {
        NewAudit {
            id: AuditId::mint(now),
            actor: self.actor,
            organization: self.organization,
            workspace: Some(self.workspace),
            action: self.action.into(),
            target: self.target,
            request: Some(request.to_string()),
        }
    }
}

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
