//! Who is asking, and in which workspace.

use std::fmt;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::access::{DEFAULT, Grant, Scope, TokenText};
use model::{Code, WorkspaceId};

use super::operations::Operation;
use super::problem::Problem;
use super::story::Story;
use super::{Doors, operators};
use crate::listen::{Peer, client};

/// The header in which a token that opens several workspaces names one.
pub(crate) const WORKSPACE: &str = "sluice-workspace";

/// The name of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(super) fn mint() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever asks, after their token was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// What the token opens.
    pub(crate) grant: Grant,
    /// The workspace that is meant.
    pub(crate) workspace: WorkspaceId,
}

impl Caller {
    /// Refuses what a part of a request asks for unless the token allows that, too.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.grant.allows(scope) {
            return Ok(());
        }
        let scope = scope.as_str();
        let detail =
            format!("this token does not allow that; use one with the scope `{scope}`, too");
        Err(Problem::new(Code::Forbidden, detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::broken)
    }
}

/// Where a request comes from, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: IpAddr,
    story: Arc<Story>,
}

impl Client {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        let story = parts.extensions.get::<Arc<Story>>().ok_or_else(Problem::broken)?;
        let peer = parts.extensions.get::<ConnectInfo<Peer>>();
        let nowhere: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let address = peer.map_or(nowhere, |ConnectInfo(Peer(peer))| client(*peer));
        Ok(Self { address, story: Arc::clone(story) })
    }

    /// Takes a place among all requests, to be held until it is answered.
    pub(crate) fn begins(
        &self,
        doors: &Doors,
        (operation, route): (&str, &str),
    ) -> Result<(), Problem> {
        self.story.is(operation, route);
        if let Some(place) = doors.limits.enter().inspect_err(|_| doors.refused())? {
            self.story.hold(place);
        }
        Ok(())
    }

    /// Lets a token be looked up by its SHA-256, unless too many that open nothing came from here.
    fn guesses(&self, doors: &Doors, sha256: &str) -> Result<(), Problem> {
        doors.limits.guess(sha256, self.address)
    }

    /// Counts somebody who signs in or sends something signed.
    pub(crate) fn signs_in(&self, doors: &Doors) -> Result<(), Problem> {
        doors.limits.sign_in(self.address)
    }

    /// Counts an address of a link that opened nothing.
    pub(crate) fn misses(&self, doors: &Doors) -> Result<(), Problem> {
        doors.limits.miss(self.address)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts)
    }
}

/// Lets a request through if its token allows the operation.
pub(super) async fn admit(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match look(&doors, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Returns who asks, if their token allows the operation that the route is.
pub(crate) async fn look(doors: &Doors, parts: &Parts) -> Result<Caller, Problem> {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let operation = doors.operations.find(&parts.method, path).ok_or_else(Problem::no_method)?;
    let client = Client::of(parts)?;
    // Whoever looks after a server that is full must see it.
    if path == operators::METRICS {
        client.story.is(&operation.id, path);
    } else {
        client.begins(doors, (&operation.id, path))?;
    }
    let (now, changes) = (doors.core.clock.now(), doors.grants.changes());
    let key = (token(&parts.headers)?.sha256(), named(&parts.headers).map(str::to_owned));
    let known = doors.grants.known(&key, now);
    let grant = match &known {
        Some(caller) => caller.grant.clone(),
        None => ask(doors, &key.0, &client).await?,
    };
    doors.limits.ask(&grant.token)?;
    check(&grant, operation)?;
    let caller = if let Some(caller) = known {
        caller
    } else {
        let workspace = workspace(doors, &grant, key.1.as_deref()).await?;
        let caller = Caller { grant, workspace };
        doors.grants.keep(key, (caller.clone(), now), changes);
        caller
    };
    client.story.by(&caller);
    Ok(caller)
}

/// Returns what a token opens; those that open nothing are looked up at a limited rate.
async fn ask(doors: &Doors, sha256: &str, client: &Client) -> Result<Grant, Problem> {
    client.guesses(doors, sha256).map_err(|problem| problem.at("Authorization"))?;
    let grant = doors.core.access.grant(sha256, doors.core.clock.now()).await?;
    doors.limits.remember(sha256, grant.is_some());
    grant.ok_or_else(unknown)
}

fn check(grant: &Grant, operation: &Operation) -> Result<(), Problem> {
    if grant.allows(operation.scope) {
        return Ok(());
    }
    let detail = format!(
        "this token does not allow `{}`; use one with the scope `{}`",
        operation.id,
        operation.scope.as_str()
    );
    Err(Problem::new(Code::Forbidden, detail))
}

/// Returns the workspace that a request names.
fn named(headers: &HeaderMap) -> Option<&str> {
    headers.get(WORKSPACE).map(|value| value.to_str().unwrap_or("?"))
}

fn token(headers: &HeaderMap) -> Result<TokenText, Problem> {
    let value = headers.get(header::AUTHORIZATION).ok_or_else(|| {
        let detail = "this needs a token; send it as `Authorization: Bearer slt_…`";
        Problem::new(Code::Unauthenticated, detail).at("Authorization")
    })?;
    let text = value.to_str().ok().and_then(|value| value.split_once(' '));
    let text = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, text) = text.ok_or_else(|| {
        let detail = "`Authorization` names no token; write it as `Authorization: Bearer slt_…`";
        Problem::new(Code::Unauthenticated, detail).at("Authorization")
    })?;
    TokenText::parse(text.trim()).ok_or_else(unknown)
}

/// Unknown, expired and revoked ones are told alike.
fn unknown() -> Problem {
    let detail = "the token opens nothing: it is unknown, expired or revoked; make another one";
    Problem::new(Code::Unauthenticated, detail).at("Authorization")
}

async fn workspace(
    doors: &Doors,
    grant: &Grant,
    named: Option<&str>,
) -> Result<WorkspaceId, Problem> {
    let found = match (&grant.workspace, named) {
        (Some(only), None) => return Ok(only.clone()),
        (_, named) => {
            let name = named.unwrap_or(DEFAULT);
            doors.core.access.workspace(&grant.organization, name).await
        }
    };
    let found = found.map_err(|error| Problem::from(error).at(WORKSPACE))?;
    match &grant.workspace {
        // As if it was not there.
        Some(only) if *only != found.id => {
            let detail = format!("no workspace `{}`", named.unwrap_or(DEFAULT));
            Err(Problem::new(Code::NotFound, detail).at(WORKSPACE))
        }
        _ => Ok(found.id),
    }
}
