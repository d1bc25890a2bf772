//! The log of changes: what is asked is written down before it is done, and what came of it after.
//!
//! Rows are not in it: a commit tells of them.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::AuditId;
use model::access::{Actor, NewAudit};

use super::Doors;
use super::caller::{Caller, RequestId};
use super::problem::Problem;

/// Operations that change nothing although they are not `GET`, and those that write commits.
const NOT_LOGGED: [&str; 2] = ["sql.query", "rows.add"];

/// Characters of a target that are kept.
const TARGET_CHARS: usize = 200;

/// What was made, for the log: part of the answer of whatever makes something.
#[derive(Clone, Debug)]
pub(crate) struct Target(pub(crate) String);

/// Logs a change around what makes it.
pub(super) async fn log(
    State(doors): State<Doors>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let operation = doors.operations.find(request.method(), path);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(operation) = operation.filter(|one| changes && !NOT_LOGGED.contains(&&*one.id)) else {
        return next.run(request).await;
    };
    let Ok(params) = params else { return Problem::no_text().into_response() };
    let target: Vec<&str> = params.iter().map(|(_, value)| value).collect();
    let now = doors.core.clock.now();
    let entry = NewAudit {
        id: AuditId::mint(now),
        actor: Actor::Token { principal: caller.grant.principal, token: caller.grant.token },
        organization: caller.grant.organization,
        workspace: operation.in_workspace.then_some(caller.workspace),
        action: operation.id.clone(),
        target: target.join("/").chars().take(TARGET_CHARS).collect(),
        request: request.extensions().get::<RequestId>().map(ToString::to_string),
    };
    if let Err(error) = doors.core.access.begin_audit(&entry, now).await {
        return Problem::from(error).into_response();
    }
    // By itself: whoever hangs up does not stop a change half way, nor keep its outcome out of the log.
    let task = tokio::spawn(async move {
        let response = next.run(request).await;
        // It may have been a token or a principal, and may have been done whatever was answered.
        doors.grants.forget();
        let outcome = response.extensions().get::<Problem>().map_or("done", Problem::code);
        let target = response.extensions().get::<Target>().map(|target| target.0.as_str());
        if let Err(error) = doors.core.access.end_audit(&entry.id, outcome, target).await {
            // The change is made or not, whatever the log says; it says that it does not know.
            tracing::error!(%error, audit.id = %entry.id, "the outcome of a change was not logged");
        }
        response
    });
    task.await.unwrap_or_else(|_| Problem::broken().into_response())
}
