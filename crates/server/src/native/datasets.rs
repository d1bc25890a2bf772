//! Datasets, their commits and batches.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::dataset::{Commit, Dataset, DatasetKind, KeepBasis, NewDataset};
use model::schema::Schema;
use model::{Code, CommitNumber, DatasetId, names};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::Core;
use crate::http::body::{Asked, JsonBody, Segment};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::etag::{Etag, IfMatch};
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// Days for which rows may be kept: a hundred years.
const KEEP_DAYS_MAX: u32 = 36_500;

/// A named table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DatasetBody {
    /// Never changes.
    id: String,
    /// Unique among the workspace's datasets and views.
    name: String,
    /// `event` or `record`.
    kind: &'static str,
    /// The column that says when a row happened.
    time_column: Option<String>,
    /// The columns, as in `{"fields": [{"name": "price", "type": "float64"}]}`.
    #[schema(value_type = Object)]
    schema: Schema,
    /// Days after which rows are removed.
    keep_days: Option<u32>,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        Self {
            id: dataset.id.to_string(),
            name: dataset.name,
            kind: dataset.kind.as_str(),
            time_column: dataset.time_column,
            schema: dataset.schema,
            keep_days: dataset.keep_days,
            created_at: dataset.created_at,
        }
    }
}

/// A dataset to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDatasetBody {
    /// Letters, digits, `_`, `-` and `.`.
    name: String,
    /// `event`, or `record` for fragments of records.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    kind: DatasetKind,
    /// The column that says when a row happened.
    time_column: Option<String>,
    /// The columns; those of the first rows without it.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
}

/// Datasets of the workspace, by name.
#[utoipa::path(get, path = "/v1/datasets", operation_id = "dataset.list", tag = "datasets",
    params(Paging), security(("token" = ["data:read"])),
    responses(
        (status = 200, body = Page<DatasetBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<DatasetBody>>, Problem> {
    let all = core.catalog.datasets(&caller.workspace).await?;
    let all = all.into_iter().map(DatasetBody::from).collect();
    Ok(Json(paging.cut(all, |dataset| dataset.name.clone())))
}

/// Makes a dataset without rows.
#[utoipa::path(post, path = "/v1/datasets", operation_id = "dataset.create", tag = "datasets",
    request_body = NewDatasetBody, security(("token" = ["data:write"])),
    responses(
        (status = 201, body = DatasetBody), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<NewDatasetBody>,
) -> Result<(StatusCode, Extension<Target>, Json<DatasetBody>), Problem> {
    names::check("a dataset", &body.name)?;
    let schema = match &body.schema {
        Some(written) => Schema::given(written).map_err(|e| Problem::from(e).at("schema"))?,
        None => Schema::default(),
    };
    if let Some(column) = &body.time_column {
        schema.check_time(column).map_err(|e| Problem::from(e).at("time_column"))?;
    }
    let new = NewDataset {
        id: DatasetId::mint(),
        name: body.name,
        kind: body.kind,
        time_column: body.time_column,
        schema,
    };
    let made = core.catalog.create_dataset(&caller.workspace, &new, core.clock.now()).await?;
    Ok((StatusCode::CREATED, Extension(Target(made.name.clone())), Json(made.into())))
}

/// A dataset.
#[utoipa::path(get, path = "/v1/datasets/{dataset}", operation_id = "dataset.show", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name")), security(("token" = ["data:read"])),
    responses(
        (status = 200, body = DatasetBody, headers(("ETag" = String))), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    Ok(tagged(core.catalog.dataset(&caller.workspace, &name).await?))
}

/// A dataset with its tag.
type Tagged = (Etag, Json<DatasetBody>);

fn tagged(dataset: Dataset) -> Tagged {
    (tag(&dataset), Json(dataset.into()))
}

/// Returns the tag of what of a dataset can be changed.
fn tag(dataset: &Dataset) -> Etag {
    Etag::new(dataset.id.as_str(), dataset.keep_days.map_or(0, u64::from))
}

/// What of a dataset can be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetChange {
    /// Days after which rows are removed, from 1 to 36500; null keeps them.
    #[schema(minimum = 1, maximum = 36500)]
    keep_days: Option<u32>,
}

/// Changes how a dataset is kept, if it is as it was read.
#[utoipa::path(put, path = "/v1/datasets/{dataset}", operation_id = "dataset.update", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name"),
        ("If-Match" = String, Header, description = "The `ETag` that was read")),
    request_body = DatasetChange, security(("token" = ["data:write"])),
    responses(
        (status = 200, body = DatasetBody, headers(("ETag" = String))), Problems))]
pub(super) async fn update(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    seen: IfMatch,
    JsonBody(body): JsonBody<DatasetChange>,
) -> Result<Tagged, Problem> {
    let found = core.catalog.dataset(&caller.workspace, &name).await?;
    seen.demand(&tag(&found))?;
    if body.keep_days.is_some_and(|days| !(1..=KEEP_DAYS_MAX).contains(&days)) {
        let detail = format!("`keep_days` is from 1 to {KEEP_DAYS_MAX}; leave it out to keep all");
        return Err(Problem::new(Code::Invalid, detail).at("keep_days"));
    }
    let workspace = &caller.workspace;
    let on = KeepBasis::Days(found.keep_days);
    if !core.catalog.keep(workspace, &name, body.keep_days, on).await? {
        return Err(Problem::outdated("the dataset was changed meanwhile; read it again"));
    }
    Ok(tagged(core.catalog.dataset(workspace, &name).await?))
}

/// Takes a dataset out of sight; its name is free again.
#[utoipa::path(delete, path = "/v1/datasets/{dataset}", operation_id = "dataset.drop", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name")), security(("token" = ["data:write"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn drop(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    core.catalog.drop_dataset(&caller.workspace, &name, core.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One change of the workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommitBody {
    /// Ascending within the workspace.
    number: u64,
    /// When it was made.
    time: DateTime<Utc>,
    /// `append`, `replace`, `revert`, `erase`, `compact` or `expire`.
    kind: &'static str,
    /// The batches that it closed.
    batches: Vec<String>,
    /// Rows added.
    rows: u64,
    /// Bytes stored for them.
    bytes: u64,
    /// Rows removed.
    rows_removed: u64,
}

impl From<Commit> for CommitBody {
    fn from(commit: Commit) -> Self {
        Self {
            number: commit.number.0,
            time: commit.time,
            kind: commit.kind.as_str(),
            batches: commit.batches.iter().map(ToString::to_string).collect(),
            rows: commit.rows,
            bytes: commit.bytes,
            rows_removed: commit.rows_removed,
        }
    }
}

/// Commits of a dataset, oldest first.
#[utoipa::path(get, path = "/v1/datasets/{dataset}/commits", operation_id = "commit.list", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name"), Paging),
    security(("token" = ["data:read"])),
    responses(
        (status = 200, body = Page<CommitBody>), Problems))]
pub(super) async fn commits(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<CommitBody>>, Problem> {
    let after = paging.after.as_deref().unwrap_or("0").parse().map(CommitNumber);
    let after = after.map_err(|_| {
        Problem::new(Code::Invalid, "`after` is not what `next` said; pass that on").at("after")
    })?;
    let limit = paging.limit();
    let found = core.catalog.commits(&caller.workspace, &name, after, limit + 1).await?;
    Ok(Json(paging.first(found, |commit| commit.number.to_string()).map(CommitBody::from)))
}
