//! Who changed what.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use model::AuditId;
use model::access::{Actor, Audit};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::check_whole;
use crate::Core;
use crate::http::body::Asked;
use crate::http::caller::Caller;
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// A change that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditBody {
    /// Entries sort by it.
    id: String,
    /// When it was asked for.
    time: DateTime<Utc>,
    /// `{"token": {"principal": …, "token": …}}`, or `{"shell": NAME}`.
    #[schema(value_type = Object)]
    actor: Actor,
    /// What was asked, as `dataset.create`.
    action: String,
    /// What it was done to.
    target: String,
    /// The request's id.
    request: Option<String>,
    /// `done`, or the code of the reason why not; nothing if the process ended before it was known.
    outcome: Option<String>,
}

impl From<Audit> for AuditBody {
    fn from(entry: Audit) -> Self {
        Self {
            id: entry.id.to_string(),
            time: entry.time,
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            request: entry.request,
            outcome: entry.outcome,
        }
    }
}

/// Which changes are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Items at most, up to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before; the first page without it.
    after: Option<String>,
    /// Changes to workspaces, principals and tokens instead; for a token that opens the whole organization.
    #[serde(default)]
    of_organization: bool,
}

/// Changes of the workspace, or of the organization, oldest first.
#[utoipa::path(get, path = "/v1/audit", operation_id = "audit.list", tag = "access",
    params(Which), security(("token" = ["admin"])),
    responses(
        (status = 200, body = Page<AuditBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(which): Asked<Which>,
) -> Result<Json<Page<AuditBody>>, Problem> {
    if which.of_organization {
        check_whole(&caller)?;
    }
    let limit = Paging { limit: which.limit, after: None }.limit();
    let after = which.after.map(AuditId::new);
    let workspace = (!which.of_organization).then_some(&caller.workspace);
    let organization = &caller.grant.organization;
    let page = (after.as_ref(), limit + 1);
    let mut all = core.access.audits(organization, workspace, page).await?;
    let more = all.len() > limit as usize;
    all.truncate(limit as usize);
    let next = all.last().filter(|_| more).map(|entry| entry.id.to_string());
    Ok(Json(Page { items: all.into_iter().map(Into::into).collect(), next }))
}
