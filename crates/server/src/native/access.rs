//! Workspaces, principals and tokens of the caller's organization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::access::{self, NewToken, Scope, TokenText};
use model::{Code, PrincipalId, TokenId, WorkspaceId, names};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Core;
use crate::http::body::{Asked, JsonBody, Segment};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// The isolated unit of an organization.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkspaceBody {
    /// Never changes.
    id: String,
    /// Unique within the organization.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl From<access::Workspace> for WorkspaceBody {
    fn from(workspace: access::Workspace) -> Self {
        let access::Workspace { id, name, created_at, .. } = workspace;
        Self { id: id.to_string(), name, created_at }
    }
}

/// Something with a name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    /// Letters, digits, `_`, `-` and `.`.
    name: String,
}

/// Workspaces of the organization, by name.
#[utoipa::path(get, path = "/v1/workspaces", operation_id = "workspace.list", tag = "access",
    params(Paging), security(("token" = ["admin"])),
    responses(
        (status = 200, body = Page<WorkspaceBody>), Problems))]
pub(super) async fn workspaces(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<WorkspaceBody>>, Problem> {
    let all = core.access.workspaces(&caller.grant.organization).await?;
    let seen = all.into_iter().filter(|one| sees(&caller, &one.id)).map(WorkspaceBody::from);
    Ok(Json(paging.cut(seen.collect(), |one| one.name.clone())))
}

/// Whether a token opens a workspace of its organization.
fn sees(caller: &Caller, workspace: &WorkspaceId) -> bool {
    caller.grant.workspace.as_ref().is_none_or(|only| only == workspace)
}

/// Only a token that opens every workspace may change what is the organization's.
pub(super) fn check_whole(caller: &Caller) -> Result<(), Problem> {
    match caller.grant.workspace {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            Code::Forbidden,
            "this token opens one workspace; use one that opens the whole organization",
        )),
    }
}

/// Makes a workspace.
#[utoipa::path(post, path = "/v1/workspaces", operation_id = "workspace.create", tag = "access",
    request_body = Named, security(("token" = ["admin"])),
    responses(
        (status = 201, body = WorkspaceBody), Problems))]
pub(super) async fn create_workspace(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<Named>,
) -> Result<(StatusCode, Extension<Target>, Json<WorkspaceBody>), Problem> {
    check_whole(&caller)?;
    names::check("a workspace", &body.name)?;
    let new = access::Workspace {
        id: WorkspaceId::mint(),
        name: body.name,
        organization: caller.grant.organization,
        created_at: core.clock.now(),
    };
    core.access.create_workspace(&new).await?;
    Ok((StatusCode::CREATED, Extension(Target(new.name.clone())), Json(new.into())))
}

/// A person or a program that acts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PrincipalBody {
    /// Never changes.
    id: String,
    /// Unique within the organization.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// Since when none of its tokens opens anything.
    disabled_at: Option<DateTime<Utc>>,
}

impl From<access::Principal> for PrincipalBody {
    fn from(principal: access::Principal) -> Self {
        let access::Principal { id, name, created_at, disabled_at, .. } = principal;
        Self { id: id.to_string(), name, created_at, disabled_at }
    }
}

/// Principals of the organization, by name.
#[utoipa::path(get, path = "/v1/principals", operation_id = "principal.list", tag = "access",
    params(Paging), security(("token" = ["admin"])),
    responses(
        (status = 200, body = Page<PrincipalBody>), Problems))]
pub(super) async fn principals(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<PrincipalBody>>, Problem> {
    check_whole(&caller)?;
    let all = core.access.principals(&caller.grant.organization).await?;
    let all = all.into_iter().map(PrincipalBody::from).collect();
    Ok(Json(paging.cut(all, |one| one.name.clone())))
}

/// Makes a principal.
#[utoipa::path(post, path = "/v1/principals", operation_id = "principal.create", tag = "access",
    request_body = Named, security(("token" = ["admin"])),
    responses(
        (status = 201, body = PrincipalBody), Problems))]
pub(super) async fn create_principal(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<Named>,
) -> Result<(StatusCode, Extension<Target>, Json<PrincipalBody>), Problem> {
    check_whole(&caller)?;
    names::check("a principal", &body.name)?;
    let new = access::Principal {
        id: PrincipalId::mint(),
        name: body.name,
        organization: caller.grant.organization,
        created_at: core.clock.now(),
        disabled_at: None,
    };
    core.access.create_principal(&new).await?;
    Ok((StatusCode::CREATED, Extension(Target(new.name.clone())), Json(new.into())))
}

/// Shuts a principal out: none of its tokens opens anything any more.
#[utoipa::path(post, path = "/v1/principals/{principal}/disable", operation_id = "principal.disable",
    tag = "access", params(("principal" = String, Path, description = "Its id or name")),
    security(("token" = ["admin"])),
    responses(
        (status = 200, body = PrincipalBody), Problems))]
pub(super) async fn disable_principal(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<PrincipalBody>, Problem> {
    check_whole(&caller)?;
    let now = core.clock.now();
    let one = core.access.disable_principal(&caller.grant.organization, &name, now).await?;
    Ok(Json(one.into()))
}

/// A key to a workspace, without its text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenBody {
    /// Never changes; no secret.
    id: String,
    /// Who acts with it.
    principal: String,
    /// The only workspace that it opens; every one of the organization without it.
    workspace: Option<String>,
    /// What it allows.
    scopes: Vec<&'static str>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    expires_at: Option<DateTime<Utc>>,
    /// Since when it is taken back.
    revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to a minute.
    used_at: Option<DateTime<Utc>>,
}

impl From<access::Token> for TokenBody {
    fn from(token: access::Token) -> Self {
        Self {
            id: token.id.to_string(),
            principal: token.principal.to_string(),
            workspace: token.workspace.map(|id| id.to_string()),
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            used_at: token.used_at,
        }
    }
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTokenBody {
    /// Who will act with it, by id or name.
    principal: String,
    /// The only workspace that it shall open, by id or name; every one without it.
    workspace: Option<String>,
    /// What it shall allow.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// From when on it shall open nothing.
    expires_at: Option<DateTime<Utc>>,
}

/// A token with its text, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownToken {
    /// The token.
    #[serde(flatten)]
    token: TokenBody,
    /// What to send as `Authorization: Bearer …`.
    text: String,
}

/// Tokens of the organization, oldest first.
#[utoipa::path(get, path = "/v1/tokens", operation_id = "token.list", tag = "access",
    params(Paging), security(("token" = ["admin"])),
    responses(
        (status = 200, body = Page<TokenBody>), Problems))]
pub(super) async fn tokens(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<TokenBody>>, Problem> {
    check_whole(&caller)?;
    let all = core.access.tokens(&caller.grant.organization).await?;
    let mut all: Vec<TokenBody> = all.into_iter().map(TokenBody::from).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(paging.cut(all, |one| one.id.clone())))
}

/// Makes a token; the answer shows its text, this once.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "token.create", tag = "access",
    request_body(content = NewTokenBody, example = json!({
        "principal": "nightly", "scopes": ["data:read"], "expires_at": "2999-01-01T00:00:00Z" })),
    security(("token" = ["admin"])),
    responses(
        (status = 201, body = ShownToken), Problems))]
pub(super) async fn create_token(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<NewTokenBody>,
) -> Result<(StatusCode, Extension<Target>, Json<ShownToken>), Problem> {
    check_whole(&caller)?;
    if body.scopes.is_empty() {
        let detail = "a token without scopes opens nothing; name one of data:write, data:read, export:run, admin";
        return Err(Problem::new(Code::Invalid, detail).at("scopes"));
    }
    let now = core.clock.now();
    if body.expires_at.is_some_and(|expires| expires <= now) {
        let detail = "the token would have expired already; name a later time";
        return Err(Problem::new(Code::Invalid, detail).at("expires_at"));
    }
    let text = (core.secret)().map(TokenText::from_random)?;
    let new = NewToken {
        id: TokenId::mint(),
        principal: body.principal,
        workspace: body.workspace,
        scopes: body.scopes,
        expires_at: body.expires_at,
        sha256: text.sha256(),
    };
    let organization = &caller.grant.organization;
    let token = core.access.create_token(organization, &new, now).await?;
    let target = Target(format!("{}/{}", token.principal, token.id));
    let shown = ShownToken { token: token.into(), text: text.reveal().to_owned() };
    Ok((StatusCode::CREATED, Extension(target), Json(shown)))
}

/// Takes a token back.
#[utoipa::path(post, path = "/v1/tokens/{token}/revoke", operation_id = "token.revoke", tag = "access",
    params(("token" = String, Path, description = "Its id")), security(("token" = ["admin"])),
    responses(
        (status = 200, body = TokenBody), Problems))]
pub(super) async fn revoke_token(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<TokenBody>, Problem> {
    check_whole(&caller)?;
    let (id, now) = (TokenId::new(id), core.clock.now());
    let one = core.access.revoke_token(&caller.grant.organization, &id, now).await?;
    Ok(Json(one.into()))
}
