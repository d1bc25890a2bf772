//! Views: named SQL.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::dataset::{View, Window};
use model::names;
use model::ports::CatalogError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::body::{Asked, JsonBody, Segment};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};
use crate::{Core, dialects};

/// A named `SELECT`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViewBody {
    /// Unique among the workspace's datasets and views.
    name: String,
    /// One `SELECT`.
    sql: String,
    /// The column that windows of time use.
    time_column: Option<String>,
    /// Whether such a window applies to the rows that go in (`input`) or that come out (`output`).
    #[schema(value_type = String)]
    window: Window,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl From<View> for ViewBody {
    fn from(view: View) -> Self {
        let View { name, sql, time_column, window, created_at } = view;
        Self { name, sql, time_column, window, created_at }
    }
}

/// A view to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewViewBody {
    /// Letters, digits, `_`, `-` and `.`.
    name: String,
    /// One `SELECT` over datasets and views of the workspace.
    sql: String,
    /// The column that windows of time use.
    time_column: Option<String>,
    /// `output`, or `input` if such a window applies to the rows that go in.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    window: Window,
}

/// Views of the workspace, by name.
#[utoipa::path(get, path = "/v1/views", operation_id = "view.list", tag = "views",
    params(Paging), security(("token" = ["data:read"])),
    responses(
        (status = 200, body = Page<ViewBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<ViewBody>>, Problem> {
    let all = core.catalog.views(&caller.workspace).await?;
    let all = all.into_iter().map(ViewBody::from).collect();
    Ok(Json(paging.cut(all, |view| view.name.clone())))
}

/// Makes a view.
#[utoipa::path(post, path = "/v1/views", operation_id = "view.create", tag = "views",
    request_body(content = NewViewBody, example = json!({
        "name": "all-orders", "sql": "SELECT * FROM orders" })),
    security(("token" = ["data:write"])),
    responses(
        (status = 201, body = ViewBody), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<NewViewBody>,
) -> Result<(StatusCode, Extension<Target>, Json<ViewBody>), Problem> {
    names::check("a view", &body.name)?;
    let now = core.clock.now();
    let checked = core.query.check_view(&caller.workspace, &body.name, &body.sql, now).await;
    let columns = checked.map_err(Problem::in_sql)?;
    if let (Some(column), Window::Output) = (&body.time_column, body.window) {
        columns.check_time(column).map_err(|e| Problem::from(e).at("time_column"))?;
    }
    let NewViewBody { name, sql, time_column, window } = body;
    let view = View { name, sql, time_column, window, created_at: now };
    core.catalog.create_view(&caller.workspace, &view).await?;
    Ok((StatusCode::CREATED, Extension(Target(view.name.clone())), Json(view.into())))
}

/// A view of the workspace, or one that every workspace has.
#[utoipa::path(get, path = "/v1/views/{view}", operation_id = "view.show", tag = "views",
    params(("view" = String, Path, description = "Its name")), security(("token" = ["data:read"])),
    responses(
        (status = 200, body = ViewBody), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<ViewBody>, Problem> {
    match (core.catalog.view(&caller.workspace, &name).await, dialects::view(&name)) {
        (Err(CatalogError::NotFound { .. }), Some(own)) => Ok(Json(own.into())),
        (found, _) => Ok(Json(found?.into())),
    }
}

/// Removes a view.
#[utoipa::path(delete, path = "/v1/views/{view}", operation_id = "view.drop", tag = "views",
    params(("view" = String, Path, description = "Its name")), security(("token" = ["data:write"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn drop(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    core.catalog.drop_view(&caller.workspace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
