//! Saved exports: what they do, when they run by themselves, and how they were edited.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::document::Basis;
use model::export::{Begin, Definition, Export, ExportState, ExportVersion, RunKey, SaveExport};
use model::format::FormatSpec;
use model::relation::Relation;
use model::schedule::{Mode, Schedule};
use model::{Code, CommitNumber, digest, names};
use run::{Request, check_begin, watched};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::exports::{ExportBody, permit};
use super::runs::{self, Made, RunBody};
use crate::Core;
use crate::http::body::{Asked, JsonBody, Segment, key};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::etag::{Etag, On};
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// A saved export.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SavedBody {
    /// Unique in the workspace.
    name: String,
    /// Counts its edits, from 1.
    version: u64,
    /// What is exported.
    #[schema(value_type = Object)]
    relation: Relation,
    /// As what.
    #[schema(value_type = Object)]
    format: FormatSpec,
    /// Where to.
    destination: String,
    /// When it runs by itself, and what its runs cover.
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// `active`; `paused` by somebody; `broken` if its runs fail for a reason that does not go away by itself.
    #[schema(value_type = String)]
    state: ExportState,
    /// Why its last run failed.
    reason: Option<String>,
    /// Runs that failed since the last one that was sealed.
    failures: u32,
    /// When a run is due next; for new rows, the earliest instant at which they start one.
    next_at: Option<DateTime<Utc>>,
    /// The end of the last window that has a run.
    covered_until: Option<DateTime<Utc>>,
    /// The commit up to which everything is delivered.
    cursor: u64,
    /// The commit after which the cursor began; 0 for the first.
    began: u64,
    /// The commit at which it ends, because another export goes on from there.
    bound: Option<u64>,
    /// The run that delivered up to there.
    last_run: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// The group that it is or was in.
    group: Option<String>,
    /// What the first file of a run now would be called, where it was just saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_file: Option<String>,
}

impl From<Export> for SavedBody {
    fn from(export: Export) -> Self {
        let Definition { relation, format, destination, .. } = export.definition;
        let is_active = export.state == ExportState::Active;
        Self {
            name: export.name,
            version: export.version,
            relation,
            format,
            destination,
            schedule: export.schedule,
            state: export.state,
            reason: export.reason,
            failures: export.failures,
            next_at: export.next_at.filter(|_| is_active),
            covered_until: export.covered,
            cursor: export.cursor.0,
            began: export.began.0,
            bound: export.bound.map(|bound| bound.0),
            last_run: export.last_run.map(|run| run.to_string()),
            created_at: export.created_at,
            group: export.group,
            first_file: None,
        }
    }
}

/// A saved export with its tag.
type Tagged = (Etag, Json<SavedBody>);

fn tagged(export: Export) -> Tagged {
    (Etag::of(&export.tag()), Json(export.into()))
}

/// What a saved export shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveBody {
    /// What is exported, as what, where to: as a single run is asked for.
    export: ExportBody,
    /// When it runs by itself, and what its runs cover; when somebody asks, and the commits since the run before, without it.
    #[serde(default)]
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// Where its cursor begins when it is made, or restarted: `beginning`, the first commit, also without it; or `now`, after the newest one. What came before can
    /// be delivered by a backfill.
    #[serde(default)]
    #[schema(value_type = String)]
    begin: Begin,
    /// Deliver everything once more, from the first commit on. What has delivered goes on with another relation, mode or
    /// destination only so.
    #[serde(default)]
    restart: bool,
}

/// Saved exports of the workspace, by name.
#[utoipa::path(get, path = "/v1/exports", operation_id = "export.list", tag = "exports",
    params(Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<SavedBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<SavedBody>>, Problem> {
    let all = core.executor.runs.exports(&caller.workspace).await?;
    let all = all.into_iter().map(SavedBody::from).collect();
    Ok(Json(paging.cut(all, |export| export.name.clone())))
}

/// A saved export.
#[utoipa::path(get, path = "/v1/exports/{export}", operation_id = "export.show", tag = "exports",
    params(("export" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = SavedBody, headers(("ETag" = String))), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    Ok(tagged(core.executor.ledger.export(&caller.workspace, &name).await?))
}

/// Saves an export: a new one with `If-None-Match: *`, an edit with the tag of what was read as `If-Match`.
///
/// An edit takes effect with the next run; one that is open goes on as it was begun.
#[utoipa::path(put, path = "/v1/exports/{export}", operation_id = "export.save", tag = "exports",
    params(("export" = String, Path, description = "Its name: letters, digits, `_`, `-` and `.`"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read"),
        ("If-None-Match" = Option<String>, Header, description = "`*` for a new one")),
    request_body(content = SaveBody, example = json!({
        "export": { "dataset": "orders", "format": "csv", "compression": "gzip" },
        "schedule": { "trigger": { "kind": "cron", "cron": "30 2 * * *", "zone": "Europe/Berlin" } } })),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = SavedBody, headers(("ETag" = String))),
        (status = 201, body = SavedBody, headers(("ETag" = String))), Problems))]
pub(super) async fn save(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    On(basis): On,
    JsonBody(body): JsonBody<SaveBody>,
) -> Result<(StatusCode, Tagged), Problem> {
    names::check("an export", &name)?;
    if basis != Basis::Nothing {
        // Before its body: nobody learns from the order of errors what is there.
        core.executor.ledger.export(&caller.workspace, &name).await?;
    }
    let SaveBody { export, schedule, begin, restart } = body;
    let now = core.clock.now();
    schedule.check(now).map_err(|error| Problem::from(error).at("schedule"))?;
    export.check_saved()?;
    check_begin(begin, &schedule).map_err(|error| Problem::from(error).at("begin"))?;
    let asked = export.request(&core, &caller, None).await?;
    let watches = watched(&*core.catalog, &asked, &schedule).await;
    let watches = watches.map_err(|error| Problem::from(error).in_body())?;
    let permit = core.question()?;
    let checked = core.opener.check_saved(&asked, &name, &schedule);
    let files = Box::pin(checked).await.map_err(|error| Problem::from(error).in_body())?;
    drop(permit);
    let save = SaveExport {
        workspace: caller.workspace.clone(),
        name,
        definition: asked.definition,
        schedule,
        watches,
        begin,
        bound: None,
        restart,
        author: caller.grant.principal.to_string(),
        now,
    };
    let saved = core.executor.exports.save_export(&save, &basis).await?;
    let status = if basis == Basis::Nothing { StatusCode::CREATED } else { StatusCode::OK };
    let (etag, Json(body)) = tagged(saved);
    Ok((status, (etag, Json(SavedBody { first_file: files.into_iter().next(), ..body }))))
}

/// How a saved export was once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionBody {
    /// Counts from 1.
    version: u64,
    /// What was exported.
    #[schema(value_type = Object)]
    relation: Relation,
    /// As what.
    #[schema(value_type = Object)]
    format: FormatSpec,
    /// Where to.
    destination: String,
    /// When it ran.
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// The principal that saved it.
    author: String,
    /// When.
    saved_at: DateTime<Utc>,
}

impl From<ExportVersion> for VersionBody {
    fn from(one: ExportVersion) -> Self {
        let Definition { relation, format, destination, .. } = one.definition;
        let ExportVersion { version, schedule, author, at, .. } = one;
        Self { version, relation, format, destination, schedule, author, saved_at: at }
    }
}

/// How a saved export was edited, newest first.
#[utoipa::path(get, path = "/v1/exports/{export}/versions", operation_id = "export.versions", tag = "exports",
    params(("export" = String, Path, description = "Its name"), Paging),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<VersionBody>), Problems))]
pub(super) async fn versions(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<VersionBody>>, Problem> {
    let before = paging.after.as_deref().map(str::parse).transpose().map_err(|_| {
        let detail = "`after` is not what `next` said; pass that on";
        Problem::new(Code::Invalid, detail).at("after")
    })?;
    let (workspace, limit) = (&caller.workspace, paging.limit());
    let found = core.executor.exports.export_versions(workspace, &name, before, limit + 1).await?;
    Ok(Json(paging.first(found, |one| one.version.to_string()).map(VersionBody::from)))
}

/// Stops an export from running by itself. A run that is open goes on, and runs that are asked for are made.
#[utoipa::path(post, path = "/v1/exports/{export}/pause", operation_id = "export.pause", tag = "exports",
    params(("export" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = SavedBody, headers(("ETag" = String))), Problems))]
pub(super) async fn pause(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    turn(&core, &caller, &name, ExportState::Paused).await
}

/// Lets an export run by itself again. Slots missed meanwhile are treated as its schedule says; what failed last is tried at once.
#[utoipa::path(post, path = "/v1/exports/{export}/resume", operation_id = "export.resume", tag = "exports",
    params(("export" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = SavedBody, headers(("ETag" = String))), Problems))]
pub(super) async fn resume(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    let export = turn(&core, &caller, &name, ExportState::Active).await?;
    core.executor.wake.notify_one();
    Ok(export)
}

async fn turn(
    core: &Core,
    caller: &Caller,
    name: &str,
    state: ExportState,
) -> Result<Tagged, Problem> {
    let (exports, now) = (&core.executor.exports, core.clock.now());
    Ok(tagged(exports.set_export_state(&caller.workspace, name, state, now).await?))
}

/// Deletes an export. Its runs stay, nothing is kept for its cursor any more, and its name is free.
///
/// Not while a run of it is open, and not as part of a group (409).
#[utoipa::path(delete, path = "/v1/exports/{export}", operation_id = "export.delete", tag = "exports",
    params(("export" = String, Path, description = "Its name")), security(("token" = ["export:run"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn delete(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    core.executor.exports.delete_export(&caller.workspace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs an export now, from its cursor to the newest commit, or over everything.
#[utoipa::path(post, path = "/v1/exports/{export}/run", operation_id = "export.run", tag = "exports",
    params(("export" = String, Path, description = "Its name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat find the first run")),
    security(("token" = ["export:run"])),
    responses(
        (status = 201, body = RunBody), Problems))]
pub(super) async fn run(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    headers: HeaderMap,
) -> Result<Made, Problem> {
    let export = core.executor.ledger.export(&caller.workspace, &name).await?;
    let key = key(&headers)?;
    let (status, place, _, run) = open_one(&core, &caller, export, key).await?;
    Ok((status, place, Extension(Target(name)), run))
}

/// How much of a backfill is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BackfillBody {
    /// Up to this commit; all that is left without it.
    to_commit: Option<u64>,
}

/// Delivers what came before an export began that was saved with `"begin": "now"`.
///
/// It is a run of an export of its own, `NAME.backfill`, with a cursor of its own that ends where the other began: the two never overlap, leave no gap, and
/// do not wait for each other. Asked again it goes on, until everything is delivered (409).
#[utoipa::path(post, path = "/v1/exports/{export}/backfill", operation_id = "export.backfill", tag = "exports",
    params(("export" = String, Path, description = "Its name")),
    request_body(content = BackfillBody, example = json!({ "to_commit": 100 })),
    security(("token" = ["export:run"])),
    responses(
        (status = 201, body = RunBody), Problems))]
pub(super) async fn backfill(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    JsonBody(body): JsonBody<BackfillBody>,
) -> Result<Made, Problem> {
    // Before anything is saved for it.
    let of = core.executor.ledger.export(&caller.workspace, &name).await?;
    permit(&caller, &of.definition.destination)?;
    let author = caller.grant.principal.to_string();
    let (of, to) = ((&caller.workspace, &*name), body.to_commit.map(CommitNumber));
    let asked = core.opener.backfill(&*core.executor.exports, of, (to, &author));
    let asked = Box::pin(asked).await?;
    if let Some(first) = runs::first(&core, &caller, None).await? {
        return Ok(first);
    }
    runs::open(&core, &caller, &asked).await
}

/// Opens a run of a saved export; returns its id.
pub(super) async fn run_one(
    core: &Core,
    caller: &Caller,
    export: Export,
    key: Option<String>,
) -> Result<String, Problem> {
    let (_, _, Extension(Target(run)), _) = open_one(core, caller, export, key).await?;
    Ok(run)
}

async fn open_one(
    core: &Core,
    caller: &Caller,
    export: Export,
    key: Option<String>,
) -> Result<Made, Problem> {
    if matches!(export.schedule.mode, Mode::Window { .. }) {
        return Err(run::Error::WindowNotOver { export: export.name }.into());
    }
    let what = format!("export.run {}", export.id);
    let fingerprint = digest::sha256_hex(what.as_bytes());
    let key = key.map(|key| RunKey { key, fingerprint });
    if let Some(first) = runs::first(core, caller, key.as_ref()).await? {
        return Ok(first);
    }
    runs::open(core, caller, &Request { key, ..Request::of(export, None) }).await
}
