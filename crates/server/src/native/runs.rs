//! Runs: opened here, worked on by the executor, looked at and fetched.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use chrono::{DateTime, TimeDelta, Utc};
use model::export::{Advance, Definition, RunKey};
use model::format::FormatSpec;
use model::limits::RUNS_OPEN_MAX;
use model::part::{Part, PartId};
use model::ports::LedgerError;
use model::relation::Relation;
use model::run::{RunProgress, RunStatus};
use model::{Code, RunId, digest};
use run::Request;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::exports::{ExportBody, permit};
use crate::http::body::{Asked, JsonBody, Segment, Segments, key};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::download::serve;
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};
use crate::{Core, files};

/// Seconds that a request waits for a run at most.
const WAIT_SECONDS_MAX: u32 = 60;

/// One execution of an export.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunBody {
    /// Never changes.
    id: String,
    /// `planning`, `running`, `sealing`, `sealed`, `failed` or `cancelled`.
    state: &'static str,
    /// Whether somebody works on it.
    active: bool,
    /// Whether it was asked to stop.
    cancel_asked: bool,
    /// The saved export that it belongs to.
    export: Option<String>,
    /// Whether its seal moves the cursor of that export.
    moves_cursor: bool,
    /// What is exported.
    #[schema(value_type = Object)]
    relation: Relation,
    /// As what.
    #[schema(value_type = Object)]
    format: FormatSpec,
    /// Where to.
    destination: String,
    /// Rows after this commit,
    from_commit: u64,
    /// up to this one.
    to_commit: u64,
    /// What its manifest says, once that is fixed.
    manifest: Option<SumsBody>,
    /// How far it has come; not in lists.
    metrics: Option<MetricsBody>,
    /// Why it failed, or why it could not be finished yet.
    error: Option<String>,
    /// When it was opened.
    created_at: DateTime<Utc>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
}

/// What a manifest says.
#[derive(Debug, Serialize, ToSchema)]
struct SumsBody {
    /// SHA-256 of the manifest.
    sha256: String,
    /// Rows of all files.
    rows: u64,
    /// Bytes of all files.
    bytes: u64,
    /// Files.
    files: u64,
}

/// How far a run has come.
#[derive(Debug, Serialize, ToSchema)]
struct MetricsBody {
    /// Parts that there are; each makes one file.
    parts: u64,
    /// Parts that are written.
    parts_written: u64,
    /// Rows that are to be read.
    rows_planned: u64,
    /// Rows that were read for the parts that are written.
    rows_read: u64,
    /// Rows in their files.
    rows: u64,
    /// Bytes of their files.
    bytes: u64,
    /// Milliseconds since it was opened, until it ended.
    duration_ms: u64,
}

impl RunBody {
    fn of(core: &Core, status: RunStatus) -> Self {
        let now = core.clock.now();
        let waits = !status.state.is_final() && !status.leased;
        let error = status.error.clone().or_else(|| status.delay.filter(|_| waits));
        let Definition { relation, format, destination, .. } = status.definition;
        let until = status.ended_at.unwrap_or(now);
        let took = until.signed_duration_since(status.created_at).num_milliseconds();
        let metrics = |progress: RunProgress| MetricsBody {
            parts: progress.parts,
            parts_written: progress.parts_written,
            rows_planned: progress.rows_planned,
            rows_read: progress.rows_read,
            rows: progress.rows,
            bytes: progress.bytes,
            duration_ms: took.max(0).unsigned_abs(),
        };
        Self {
            id: status.id.to_string(),
            state: status.state.as_str(),
            active: status.leased,
            cancel_asked: status.cancel_asked,
            export: status.export_name,
            moves_cursor: status.advance == Advance::Cursor,
            relation,
            format,
            destination,
            from_commit: status.from.0,
            to_commit: status.to.0,
            manifest: status.sums.map(|sums| SumsBody {
                sha256: sums.sha256,
                rows: sums.rows,
                bytes: sums.bytes,
                files: sums.files,
            }),
            metrics: status.progress.map(metrics),
            error,
            created_at: status.created_at,
            ended_at: status.ended_at,
        }
    }
}

/// What making a run answers: where it is, and what.
pub(super) type Made =
    (StatusCode, [(HeaderName, HeaderValue); 1], Extension<Target>, Json<RunBody>);

/// Opens a run; it is worked on by the server, also after a restart.
///
/// The answer comes when the run is in the ledger, with its range of commits pinned. With an `Idempotency-Key` a
/// repeat finds the run of the first time.
#[utoipa::path(post, path = "/v1/runs", operation_id = "run.create", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat find the first run")),
    request_body(content = ExportBody, example = json!({
        "dataset": "orders", "format": "csv", "compression": "gzip" })),
    security(("token" = ["export:run"])),
    responses(
        (status = 201, body = RunBody), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ExportBody>,
) -> Result<Made, Problem> {
    let key = key(&headers)?.map(|key| RunKey { key, fingerprint: body.fingerprint() });
    if let Some(first) = first(&core, &caller, key.as_ref()).await? {
        return Ok(first);
    }
    let request = body.request(&core, &caller, key).await?;
    open(&core, &caller, &request).await
}

/// Returns the answer of the first time, if the key was used; else refuses one run more than there may be.
pub(super) async fn first(
    core: &Core,
    caller: &Caller,
    key: Option<&RunKey>,
) -> Result<Option<Made>, Problem> {
    let (runs, workspace) = (&core.executor.runs, &caller.workspace);
    if let Some(key) = key
        && let Some((used, run)) = runs.keyed(workspace, &key.key, core.clock.now()).await?
    {
        if used == key.fingerprint {
            return made(core, caller, &run).await.map(Some);
        }
        return Err(LedgerError::KeyReused { key: key.key.clone() }.into());
    }
    if runs.unfinished_count(workspace).await? >= RUNS_OPEN_MAX {
        let detail = format!("the workspace has {RUNS_OPEN_MAX} open runs; wait for some to end");
        return Err(Problem::new(Code::RateLimited, detail));
    }
    Ok(None)
}

/// Opens a run, or finds that of the first time.
pub(super) async fn open(core: &Core, caller: &Caller, request: &Request) -> Result<Made, Problem> {
    permit(caller, &request.definition.destination)?;
    match Box::pin(core.opener.open(request)).await {
        Ok(run) => {
            core.executor.wake.notify_one();
            made(core, caller, &run.id).await
        }
        Err(run::Error::Ledger(LedgerError::Repeated { run })) => made(core, caller, &run).await,
        Err(error) => Err(Problem::from(error).in_body()),
    }
}

async fn made(core: &Core, caller: &Caller, run: &RunId) -> Result<Made, Problem> {
    let status = core.executor.runs.status(&caller.workspace, run).await?;
    let place = format!("/v1/runs/{run}");
    let place = HeaderValue::from_str(&place).expect("an id is plain text");
    let body = RunBody::of(core, status);
    let target = Extension(Target(run.to_string()));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], target, Json(body)))
}

/// Runs of the workspace, newest first.
#[utoipa::path(get, path = "/v1/runs", operation_id = "run.list", tag = "runs",
    params(Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<RunBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<RunBody>>, Problem> {
    let before = paging.after.as_deref().map(RunId::new);
    let limit = paging.limit();
    let runs = &core.executor.runs;
    let found = runs.statuses(&caller.workspace, before.as_ref(), limit + 1).await;
    let found = found.map_err(|error| match error {
        LedgerError::NotFound { .. } => {
            let detail = "`after` is not what `next` said; pass that on";
            Problem::new(Code::Invalid, detail).at("after")
        }
        error => error.into(),
    })?;
    let page = paging.first(found, |run| run.id.to_string());
    Ok(Json(page.map(|status| RunBody::of(&core, status))))
}

/// How long to wait for a run's end.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Waiting {
    /// Seconds to wait for its end before it is shown as it is, up to 60; 0 without it.
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u32>,
}

/// A run, and how far it has come.
#[utoipa::path(get, path = "/v1/runs/{run}", operation_id = "run.show", tag = "runs",
    params(("run" = String, Path, description = "Its id"), Waiting), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = RunBody), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
    Asked(waiting): Asked<Waiting>,
) -> Result<Json<RunBody>, Problem> {
    let (workspace, run) = (&caller.workspace, RunId::new(id));
    let seconds = i64::from(waiting.wait.unwrap_or_default().min(WAIT_SECONDS_MAX));
    let until = core.clock.now() + TimeDelta::seconds(seconds);
    while core.clock.now() < until {
        if core.executor.runs.brief(workspace, &run).await?.state.is_final() {
            break;
        }
        core.executor.wait().await;
    }
    let status = core.executor.runs.status(workspace, &run).await?;
    Ok(Json(RunBody::of(&core, status)))
}

/// A part of a run: one file, unless no rows come out of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartBody {
    /// Its place in the run.
    id: String,
    /// The file's name, relative to the run's folder.
    name: String,
    /// Rows that it reads.
    rows_planned: u64,
    /// What became of it, once it is written.
    receipt: Option<ReceiptBody>,
}

/// What became of a part.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiptBody {
    /// Rows that came out.
    rows: u64,
    /// Bytes of the file.
    bytes: u64,
    /// Bytes before compression.
    uncompressed_bytes: u64,
    /// SHA-256 of the file.
    sha256: String,
    /// The least commit among the rows read.
    first_commit: Option<u64>,
    /// The greatest commit among them.
    last_commit: Option<u64>,
    /// Values that the format cannot hold, written as null.
    values_lost: u64,
    /// Milliseconds that it took.
    duration_ms: u64,
}

impl From<Part> for PartBody {
    fn from(part: Part) -> Self {
        let rows_planned = part.rows_planned();
        let receipt = part.receipt.map(|receipt| ReceiptBody {
            rows: receipt.rows,
            bytes: receipt.bytes,
            uncompressed_bytes: receipt.uncompressed_bytes,
            sha256: receipt.sha256,
            first_commit: receipt.first_commit.map(|commit| commit.0),
            last_commit: receipt.last_commit.map(|commit| commit.0),
            values_lost: receipt.values_lost,
            duration_ms: receipt.duration_ms,
        });
        Self { id: part.id.to_string(), name: part.name, rows_planned, receipt }
    }
}

/// Parts of a run, in order.
#[utoipa::path(get, path = "/v1/runs/{run}/parts", operation_id = "run.parts", tag = "runs",
    params(("run" = String, Path, description = "Its id"), Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<PartBody>), Problems))]
pub(super) async fn parts(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<PartBody>>, Problem> {
    let after = paging.after.as_deref().map(|text| PartId::parse(text).ok_or(text)).transpose();
    let after = after.map_err(|_| {
        let detail = "`after` is not what `next` said; pass that on";
        Problem::new(Code::Invalid, detail).at("after")
    })?;
    let (limit, run) = (paging.limit(), RunId::new(id));
    let ledger = &core.executor.ledger;
    let found = ledger.parts(&caller.workspace, &run, after, limit + 1).await?;
    Ok(Json(paging.first(found, |part| part.id.to_string()).map(PartBody::from)))
}

/// Stops a run and takes away what it wrote; one that is sealed or being sealed stays.
#[utoipa::path(post, path = "/v1/runs/{run}/cancel", operation_id = "run.cancel", tag = "runs",
    params(("run" = String, Path, description = "Its id")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = RunBody), Problems))]
pub(super) async fn cancel(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<RunBody>, Problem> {
    let (workspace, run) = (&caller.workspace, RunId::new(id));
    Box::pin(core.opener.cancel(workspace, &run)).await?;
    let status = core.executor.runs.status(workspace, &run).await?;
    Ok(Json(RunBody::of(&core, status)))
}

/// Opens a run that writes the files of a sealed run again: the same rows under the same names, with the same bytes, in a folder of its own.
///
/// No cursor moves. The files that a run has read are kept for as many days as the operator says (30 without a choice); after that it is 410,
/// as it is where another version of the program wrote them. With an `Idempotency-Key` a repeat finds the run of the first time.
#[utoipa::path(post, path = "/v1/runs/{run}/rerun", operation_id = "run.rerun", tag = "runs",
    params(("run" = String, Path, description = "Its id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat find the first run")),
    security(("token" = ["export:run"])),
    responses(
        (status = 201, body = RunBody), Problems))]
pub(super) async fn rerun(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Made, Problem> {
    let of = RunId::new(id);
    let fingerprint = digest::sha256_hex(format!("rerun {of}").as_bytes());
    let key = key(&headers)?.map(|key| RunKey { key, fingerprint });
    if let Some(first) = first(&core, &caller, key.as_ref()).await? {
        return Ok(first);
    }
    match Box::pin(core.opener.rerun(&caller.workspace, &of, key)).await {
        Ok(run) => {
            core.executor.wake.notify_one();
            made(&core, &caller, &run.id).await
        }
        Err(run::Error::Ledger(LedgerError::Repeated { run })) => made(&core, &caller, &run).await,
        Err(error) => Err(error.into()),
    }
}

/// The manifest of a sealed run, byte by byte as it was delivered.
#[utoipa::path(get, path = "/v1/runs/{run}/manifest", operation_id = "run.manifest", tag = "runs",
    params(("run" = String, Path, description = "Its id")), security(("token" = ["export:run"])),
    responses(
        (status = 200, content_type = "application/json", body = Object),
        (status = 206, content_type = "application/json", body = Vec<u8>), (status = 304), Problems))]
pub(super) async fn manifest(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let file = files::manifest(&core, &caller.workspace, &RunId::new(id)).await?;
    serve(file, &headers).await
}

/// A file of a sealed run in the workspace's managed destination, whole or in part (`Range`).
///
/// Files are numbered from 1, in the manifest's order.
#[utoipa::path(get, path = "/v1/runs/{run}/files/{number}", operation_id = "run.file", tag = "runs",
    params(("run" = String, Path, description = "Its id"),
        ("number" = u64, Path, description = "Its place in the manifest, from 1"),
        ("Range" = Option<String>, Header, description = "Bytes that are wanted")),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, content((Vec<u8> = "application/x-ndjson"), (Vec<u8> = "text/csv"),
            (Vec<u8> = "application/vnd.apache.parquet"), (Vec<u8> = "application/gzip"),
            (Vec<u8> = "application/zstd"), (Vec<u8> = "application/octet-stream"))),
        (status = 206, content((Vec<u8> = "application/x-ndjson"), (Vec<u8> = "text/csv"),
            (Vec<u8> = "application/vnd.apache.parquet"), (Vec<u8> = "application/gzip"),
            (Vec<u8> = "application/zstd"), (Vec<u8> = "application/octet-stream"))),
        (status = 304), Problems))]
pub(super) async fn file(
    State(core): State<Core>,
    caller: Caller,
    Segments([id, number]): Segments<2>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (workspace, run) = (&caller.workspace, RunId::new(id));
    // Whatever the number: of a run that is not there nothing is said.
    files::held(&*core.executor.runs, &*core.destinations, (workspace, &run)).await?;
    let number: u64 = number.parse().map_err(|_| {
        Problem::new(Code::Invalid, "the number of a file is a whole number from 1").at("number")
    })?;
    let file = files::file(&core, workspace, &run, number).await?;
    serve(file, &headers).await
}
