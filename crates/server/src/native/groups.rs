//! Groups of exports: several datasets with one trigger and one destination.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use model::document::Basis;
use model::export::{Export, ExportState};
use model::format::FormatSpec;
use model::group::{Group, GroupExports, GroupTerms};
use model::names;
use model::relation::Selection;
use model::schedule::Schedule;
use run::AskedGroup;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::exports::ExportBody;
use super::saved::{self, SavedBody};
use crate::Core;
use crate::http::body::{Asked, JsonBody, Segment, key};
use crate::http::caller::Caller;
use crate::http::etag::{Etag, On};
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// A group of exports.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupBody {
    /// Unique within the workspace.
    name: String,
    /// Counts its edits, from 1.
    version: u64,
    /// The datasets, in order.
    datasets: Vec<String>,
    /// What is taken of each.
    #[schema(value_type = Object)]
    selection: Selection,
    /// As what.
    #[schema(value_type = Object)]
    format: FormatSpec,
    /// Where to.
    destination: String,
    /// When they run, and what a run covers.
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// The principal that saved it last.
    author: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was saved last.
    updated_at: DateTime<Utc>,
}

impl From<Group> for GroupBody {
    fn from(group: Group) -> Self {
        let GroupTerms { datasets, selection, format, destination, schedule } = group.terms;
        Self {
            name: group.name,
            version: group.version,
            datasets,
            selection,
            format,
            destination,
            schedule,
            author: group.author,
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

/// A group with the exports of its datasets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupExportsBody {
    /// The group.
    #[serde(flatten)]
    group: GroupBody,
    /// The exports of its datasets, in their order; each is called `group.dataset`.
    exports: Vec<SavedBody>,
}

/// A group with its tag.
type Tagged = (Etag, Json<GroupExportsBody>);

fn tagged(GroupExports { group, exports }: GroupExports) -> Tagged {
    let tag = Etag::of(&group.tag());
    let exports = exports.into_iter().map(SavedBody::from).collect();
    (tag, Json(GroupExportsBody { group: group.into(), exports }))
}

/// What a group shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveGroupBody {
    /// The datasets.
    datasets: Vec<String>,
    /// What of each is exported, as what, where to: as a single run is asked for, without `dataset`, `view` and `sql`.
    #[serde(default)]
    export: ExportBody,
    /// When they run by themselves, and what a run covers; as of a saved export.
    #[serde(default)]
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// Deliver everything of each once more, from the first commit on.
    #[serde(default)]
    restart: bool,
}

/// Groups of the workspace, by name.
#[utoipa::path(get, path = "/v1/groups", operation_id = "group.list", tag = "exports",
    params(Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<GroupBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<GroupBody>>, Problem> {
    let all = core.groups.groups(&caller.workspace).await?;
    let all = all.into_iter().map(GroupBody::from).collect();
    Ok(Json(paging.cut(all, |group| group.name.clone())))
}

/// A group, with the exports of its datasets.
#[utoipa::path(get, path = "/v1/groups/{group}", operation_id = "group.show", tag = "exports",
    params(("group" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = GroupExportsBody, headers(("ETag" = String))), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    Ok(tagged(core.groups.group(&caller.workspace, &name).await?))
}

/// Saves a group: a new one with `If-None-Match: *`, an edit with the tag of what was read as `If-Match`.
///
/// Each dataset gets a saved export of its own, `group.dataset`, or none does. One that is named later begins with all of its rows; the export of one
/// that is not named any more is paused.
#[utoipa::path(put, path = "/v1/groups/{group}", operation_id = "group.save", tag = "exports",
    params(("group" = String, Path, description = "Its name: letters, digits, `_`, `-` and `.`"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read"),
        ("If-None-Match" = Option<String>, Header, description = "`*` for a new one")),
    request_body(content = SaveGroupBody, example = json!({
        "datasets": ["orders"], "export": { "format": "csv", "compression": "gzip" },
        "schedule": { "trigger": { "kind": "cron", "cron": "30 2 * * *", "zone": "Europe/Berlin" } } })),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = GroupExportsBody, headers(("ETag" = String))),
        (status = 201, body = GroupExportsBody, headers(("ETag" = String))), Problems))]
pub(super) async fn save(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    On(basis): On,
    JsonBody(body): JsonBody<SaveGroupBody>,
) -> Result<(StatusCode, Tagged), Problem> {
    names::check("a group", &name)?;
    if basis != Basis::Nothing {
        // Before its body: nobody learns from the order of errors what is there.
        core.groups.group(&caller.workspace, &name).await?;
    }
    let SaveGroupBody { datasets, export, schedule, restart } = body;
    schedule.check(core.clock.now()).map_err(|error| Problem::from(error).at("schedule"))?;
    export.check_saved()?;
    let (selection, format, destination) = export.of_group(&core, &caller).await?;
    let asked = AskedGroup {
        workspace: caller.workspace.clone(),
        name,
        terms: GroupTerms { datasets, selection, format, destination, schedule },
        restart,
        author: caller.grant.principal.to_string(),
    };
    let permit = core.question()?;
    let checked = Box::pin(core.opener.check_group(&*core.catalog, asked)).await;
    let save = checked.map_err(|error| Problem::from(error).in_body())?;
    drop(permit);
    let group = core.groups.save_group(&save, &basis).await?;
    let status = if basis == Basis::Nothing { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, tagged(group)))
}

/// Stops the exports of a group from running by themselves. Runs that are open go on.
#[utoipa::path(post, path = "/v1/groups/{group}/pause", operation_id = "group.pause", tag = "exports",
    params(("group" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = GroupExportsBody, headers(("ETag" = String))), Problems))]
pub(super) async fn pause(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    let now = core.clock.now();
    let paused = ExportState::Paused;
    Ok(tagged(core.groups.set_group_state(&caller.workspace, &name, paused, now).await?))
}

/// Lets the exports of a group run by themselves again.
#[utoipa::path(post, path = "/v1/groups/{group}/resume", operation_id = "group.resume", tag = "exports",
    params(("group" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = GroupExportsBody, headers(("ETag" = String))), Problems))]
pub(super) async fn resume(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    let now = core.clock.now();
    let active = ExportState::Active;
    let group = core.groups.set_group_state(&caller.workspace, &name, active, now).await?;
    core.executor.wake.notify_one();
    Ok(tagged(group))
}

/// Deletes a group with its exports; those that have left it before stay. Not while a run of one of them is open (409).
#[utoipa::path(delete, path = "/v1/groups/{group}", operation_id = "group.delete", tag = "exports",
    params(("group" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn delete(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    core.groups.delete_group(&caller.workspace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of running one export of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupRun {
    /// The export.
    export: String,
    /// Its run.
    run: Option<String>,
    /// Why it has none: the code and the words of the problem.
    code: Option<&'static str>,
    /// The words.
    detail: Option<String>,
}

/// The runs of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupRuns {
    /// In the order of the datasets.
    items: Vec<GroupRun>,
}

/// Runs every export of a group now. One that cannot be run, because a run of it is open, say, holds up no other.
#[utoipa::path(post, path = "/v1/groups/{group}/run", operation_id = "group.run", tag = "exports",
    params(("group" = String, Path, description = "Its name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat find the first runs")),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = GroupRuns), Problems))]
pub(super) async fn run(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    headers: HeaderMap,
) -> Result<Json<GroupRuns>, Problem> {
    let GroupExports { exports, .. } = core.groups.group(&caller.workspace, &name).await?;
    let key = key(&headers)?;
    let mut items = Vec::with_capacity(exports.len());
    for export in exports {
        let Export { name, .. } = &export;
        let name = name.clone();
        let key = key.as_ref().map(|key| format!("{key}/{name}"));
        items.push(match Box::pin(saved::run_one(&core, &caller, export, key)).await {
            Ok(run) => GroupRun { export: name, run: Some(run), code: None, detail: None },
            // It is the server that fails, not one of them.
            Err(problem) if problem.is_bug() => return Err(problem),
            Err(problem) => {
                let detail = Some(problem.detail().to_owned());
                GroupRun { export: name, run: None, code: Some(problem.code()), detail }
            }
        });
    }
    Ok(Json(GroupRuns { items }))
}
