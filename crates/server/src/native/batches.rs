//! Batches: reserved, uploaded file by file, closed by one commit.
//!
//! Contract: a file that was acknowledged is durable, and in the commit unless it was replaced or the batch abandoned.
//! Closing is one commit or none: the id is that of the batch from the beginning, and a repeat is answered like the first
//! time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::dataset::{Batch, DatasetKind};
use model::limits::UPLOAD_FILE_BYTES_MAX;
use model::ports::{CatalogError, Import, InputFormat, Replace, Reserved, UploadError};
use model::upload::{NewUpload, Terms, Upload, UploadFile};
use model::{BatchId, Code, WorkspaceId, names};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Core;
use crate::http::body::{JsonBody, Segment, Segments};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::problem::{Problem, Problems};
use crate::shelf::too_large;

/// What was sent as one unit, or is being sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchBody {
    /// Never changes.
    id: String,
    /// `open`, `closed` or `taken_back`.
    state: &'static str,
    /// Where its rows went, by the dataset's id.
    dataset: Option<String>,
    /// The commit that made its rows visible.
    commit: Option<u64>,
    /// The commit that took them back.
    taken_back: Option<u64>,
    /// What was uploaded; nothing for a batch that came in another way.
    upload: Option<UploadBody>,
}

/// A batch that is uploaded in files.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadBody {
    /// The dataset's name.
    dataset: String,
    /// `event` or `record`, if the dataset is made.
    kind: &'static str,
    /// The time column, if the dataset is made.
    time_column: Option<String>,
    /// The column that says when rows were received elsewhere.
    receive_time: Option<String>,
    /// `auto`, `jsonl`, `json`, `csv` or `parquet`.
    #[schema(value_type = String)]
    format: InputFormat,
    /// What the rows come in place of.
    replace: Option<ReplaceBody>,
    /// When the batch was made.
    created_at: DateTime<Utc>,
    /// Its files, in the order in which their rows are added.
    files: Vec<FileBody>,
    /// When it was closed.
    time: Option<DateTime<Utc>>,
    /// Rows that it added.
    rows: Option<u64>,
}

/// A file of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileBody {
    /// Its name.
    name: String,
    /// Its bytes, as they were sent.
    bytes: u64,
    /// Their SHA-256.
    sha256: String,
}

impl From<UploadFile> for FileBody {
    fn from(UploadFile { name, bytes, sha256, .. }: UploadFile) -> Self {
        Self { name, bytes, sha256 }
    }
}

/// What rows are put in place of: `"all"`, or a list of batches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ReplaceBody {
    /// Every row of the dataset.
    All(AllWord),
    /// The rows of these batches.
    Batches(Vec<String>),
}

/// The word for every row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AllWord {
    /// Every row.
    All,
}

impl From<Replace> for ReplaceBody {
    fn from(replace: Replace) -> Self {
        match replace {
            Replace::All => Self::All(AllWord::All),
            Replace::Batches(batches) => {
                Self::Batches(batches.iter().map(ToString::to_string).collect())
            }
        }
    }
}

impl BatchBody {
    fn of(batch: Batch, upload: Option<Upload>) -> Self {
        Self {
            id: batch.id.to_string(),
            state: match (batch.commit, batch.taken_back) {
                (None, _) => "open",
                (Some(_), None) => "closed",
                (Some(_), Some(_)) => "taken_back",
            },
            dataset: batch.dataset.map(|id| id.to_string()),
            commit: batch.commit.map(|commit| commit.0),
            taken_back: batch.taken_back.map(|commit| commit.0),
            upload: upload.map(UploadBody::from),
        }
    }
}

impl From<Upload> for UploadBody {
    fn from(Upload { terms, created_at, files, closed, .. }: Upload) -> Self {
        let (time, rows) = closed.map(|closed| (closed.time, closed.rows)).unzip();
        Self {
            dataset: terms.dataset,
            kind: terms.kind.as_str(),
            time_column: terms.time_column,
            receive_time: terms.receive_time,
            format: terms.format,
            replace: terms.replace.map(ReplaceBody::from),
            created_at,
            files: files.into_iter().map(FileBody::from).collect(),
            time,
            rows,
        }
    }
}

/// A batch to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBatchBody {
    /// The dataset that its rows go to; made by the first rows.
    dataset: String,
    /// `auto` (by name and content), `jsonl`, `json`, `csv` or `parquet`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    format: InputFormat,
    /// `event`, or `record` for fragments of records, if the dataset is made.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    kind: DatasetKind,
    /// The column that says when a row happened, if the dataset is made.
    time_column: Option<String>,
    /// What the rows come in place of: `"all"`, or a list of batches. They are added without.
    replace: Option<ReplaceBody>,
    /// The column that says when each row was received elsewhere: kept as `received_at`; whole numbers are milliseconds.
    receive_time: Option<String>,
}

impl NewBatchBody {
    async fn terms(self, core: &Core, workspace: &WorkspaceId) -> Result<Terms, Problem> {
        names::check("a dataset", &self.dataset).map_err(|e| Problem::from(e).at("dataset"))?;
        let replace = match self.replace {
            None => None,
            Some(ReplaceBody::All(AllWord::All)) => Some(Replace::All),
            Some(ReplaceBody::Batches(batches)) if batches.is_empty() => {
                let detail = "no batch is named; leave `replace` out, or say \"all\"";
                return Err(Problem::new(Code::Invalid, detail).at("replace"));
            }
            Some(ReplaceBody::Batches(batches)) => {
                let batches: Vec<_> = batches.into_iter().map(BatchId::new).collect();
                for batch in &batches {
                    let found = core.catalog.batch(workspace, batch).await;
                    found.map_err(|e| Problem::from(e).at("replace").in_body())?;
                }
                Some(Replace::Batches(batches))
            }
        };
        let Self { dataset, format, kind, time_column, receive_time, .. } = self;
        Ok(Terms { dataset, kind, time_column, format, replace, receive_time })
    }
}

/// What making a batch answers: where it is, and what.
type Made = (StatusCode, [(HeaderName, HeaderValue); 1], Extension<Target>, Json<BatchBody>);

/// Makes an open batch: its id is known before there are rows.
#[utoipa::path(post, path = "/v1/batches", operation_id = "batch.create", tag = "datasets",
    request_body = NewBatchBody, security(("token" = ["data:write"])),
    responses(
        (status = 201, body = BatchBody), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<NewBatchBody>,
) -> Result<Made, Problem> {
    let terms = body.terms(&core, &caller.workspace).await?;
    let batch = BatchId::mint();
    let new = NewUpload { batch: batch.clone(), terms, node: core.shelf.node.clone() };
    core.shelf.uploads.reserve(&caller.workspace, &new, core.clock.now()).await?;
    let place = HeaderValue::from_str(&format!("/v1/batches/{batch}"));
    let place = [(header::LOCATION, place.expect("an id is plain text"))];
    let body = shown(&core, &caller.workspace, &batch).await?;
    Ok((StatusCode::CREATED, place, Extension(Target(batch.to_string())), Json(body)))
}

/// A batch.
#[utoipa::path(get, path = "/v1/batches/{batch}", operation_id = "batch.show", tag = "datasets",
    params(("batch" = String, Path, description = "Its id")), security(("token" = ["data:read"])),
    responses(
        (status = 200, body = BatchBody), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<BatchBody>, Problem> {
    Ok(Json(shown(&core, &caller.workspace, &BatchId::new(id)).await?))
}

async fn shown(core: &Core, workspace: &WorkspaceId, id: &BatchId) -> Result<BatchBody, Problem> {
    let batch = core.catalog.batch(workspace, id).await?;
    Ok(BatchBody::of(batch, core.shelf.uploads.upload(workspace, id).await?))
}

/// Uploads a file of an open batch; the answer comes when it is durable.
///
/// The bytes are kept as they are sent: plain, or packed with gzip or zstd. A file of the same name is replaced at once
/// and whole.
#[utoipa::path(put, path = "/v1/batches/{batch}/files/{file}", operation_id = "batch.upload", tag = "datasets",
    params(("batch" = String, Path, description = "The batch's id"),
        ("file" = String, Path, description = "The file's name: letters, digits, `_`, `-` and `.`")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    security(("token" = ["data:write"])),
    responses(
        (status = 200, body = FileBody), (status = 201, body = FileBody), Problems))]
pub(super) async fn upload(
    State(core): State<Core>,
    caller: Caller,
    Segments([id, name]): Segments<2>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<FileBody>), Problem> {
    names::check_file(&name)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > UPLOAD_FILE_BYTES_MAX) {
        return Err(too_large(UPLOAD_FILE_BYTES_MAX));
    }
    let _place = core.gates.uploads.try_acquire().map_err(|_| {
        let detail = "the server takes as many files as it can at once; try again";
        Problem::new(Code::Unavailable, detail).after(1)
    })?;
    let of = (&BatchId::new(id), name);
    let (file, is_new) = core.shelf.put(&caller.workspace, of, body).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(file.into())))
}

/// Closes a batch: the rows of its files, in the order of their names, become one commit. A repeat is answered like the
/// first time; after an error the batch is open as before.
#[utoipa::path(post, path = "/v1/batches/{batch}/close", operation_id = "batch.close", tag = "datasets",
    params(("batch" = String, Path, description = "Its id")), security(("token" = ["data:write"])),
    responses(
        (status = 200, body = BatchBody), Problems))]
pub(super) async fn close(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<BatchBody>, Problem> {
    let (workspace, id) = (&caller.workspace, BatchId::new(id));
    // Whoever comes meanwhile gets the answer of who was first.
    let _turn = core.gates.closing.take((workspace.clone(), id.clone())).await;
    if let Some(upload) = open(&core, workspace, &id).await?
        && let Err(problem) = import(&core, workspace, &upload).await
    {
        match open(&core, workspace, &id).await? {
            Some(now) if now.version == upload.version => return Err(problem),
            Some(_) => return Err(CatalogError::Reopened { batch: id }.into()),
            // Another server was faster.
            None => {}
        }
    }
    core.shelf.tidy().await;
    Ok(Json(shown(&core, workspace, &id).await?))
}

/// Returns a batch's upload, if it is open.
async fn open(
    core: &Core,
    workspace: &WorkspaceId,
    id: &BatchId,
) -> Result<Option<Upload>, Problem> {
    let upload = core.shelf.uploads.upload(workspace, id).await?;
    if upload.is_none() {
        // One that came in another way is closed.
        core.catalog.batch(workspace, id).await?;
    }
    Ok(upload.filter(|upload| upload.closed.is_none()))
}

/// Imports the files of a batch.
async fn import(core: &Core, workspace: &WorkspaceId, upload: &Upload) -> Result<(), Problem> {
    let batch = upload.batch.clone();
    if upload.node != core.shelf.node {
        return Err(UploadError::Elsewhere { batch }.into());
    }
    if upload.files.is_empty() {
        let detail = format!("the batch `{batch}` has no files; upload one first, or abandon it");
        return Err(Problem::new(Code::Conflict, detail));
    }
    let _place = core.gates.imports.acquire().await;
    let terms = upload.terms.clone();
    let import = Import {
        workspace: workspace.clone(),
        dataset: terms.dataset,
        kind: terms.kind,
        time_column: terms.time_column,
        schema: None,
        receive_time: terms.receive_time,
        live: false,
        files: upload.files.iter().map(|file| core.shelf.content(file)).collect(),
        format: terms.format,
        replace: terms.replace,
        batch: Some(Reserved { id: batch, version: upload.version }),
        key: None,
        key_days: None,
        rejects: None,
    };
    let report = core.ingest.import(&import, Arc::new(run::Quiet)).await;
    let report = report.map_err(|error| Problem::from(error).in_body())?;
    core.came_in((import.workspace, import.dataset), &report);
    Ok(())
}

/// Gives an open batch up and removes its files.
#[utoipa::path(delete, path = "/v1/batches/{batch}", operation_id = "batch.abandon", tag = "datasets",
    params(("batch" = String, Path, description = "Its id")), security(("token" = ["data:write"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn abandon(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    core.shelf.uploads.abandon(&caller.workspace, &BatchId::new(id)).await?;
    core.shelf.tidy().await;
    Ok(StatusCode::NO_CONTENT)
}
