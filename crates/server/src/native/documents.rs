//! Documents: JSON that a client keeps under a kind and an id, with a tag for each version.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::document::{Basis, Document, NewDocument};
use model::names;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::Core;
use crate::http::body::{Asked, JsonBody, Segment, Segments};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::etag::{Etag, On};
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// JSON under a kind and an id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DocumentBody {
    /// What sort of thing it is.
    kind: String,
    /// Its name among those of the kind.
    id: String,
    /// What it says.
    body: Value,
    /// The principal that wrote it last.
    author: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was written last.
    updated_at: DateTime<Utc>,
}

impl From<Document> for DocumentBody {
    fn from(document: Document) -> Self {
        let Document { kind, id, body, author, created_at, updated_at, .. } = document;
        Self { kind, id, body, author, created_at, updated_at }
    }
}

/// A document with its tag.
type Tagged = (Etag, Json<DocumentBody>);

fn tagged(document: Document) -> Tagged {
    (Etag::of(&document.etag), Json(document.into()))
}

/// Documents of a kind, by id.
#[utoipa::path(get, path = "/v1/documents/{kind}", operation_id = "document.list", tag = "documents",
    params(("kind" = String, Path, description = "What sort of thing"), Paging),
    security(("token" = ["data:read"])),
    responses(
        (status = 200, body = Page<DocumentBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Segment(kind): Segment,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<DocumentBody>>, Problem> {
    let (limit, after) = (paging.limit(), paging.after.as_deref());
    let found = core.documents.documents(&caller.workspace, &kind, after, limit + 1).await?;
    Ok(Json(paging.first(found, |document| document.id.clone()).map(DocumentBody::from)))
}

/// A document.
#[utoipa::path(get, path = "/v1/documents/{kind}/{document}", operation_id = "document.show", tag = "documents",
    params(("kind" = String, Path, description = "What sort of thing"),
        ("document" = String, Path, description = "Its id")),
    security(("token" = ["data:read"])),
    responses(
        (status = 200, body = DocumentBody, headers(("ETag" = String))), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segments([kind, id]): Segments<2>,
) -> Result<Tagged, Problem> {
    Ok(tagged(core.documents.document(&caller.workspace, &kind, &id).await?))
}

/// Writes a document: a new one with `If-None-Match: *`, a change with the tag of what was read as `If-Match`.
#[utoipa::path(put, path = "/v1/documents/{kind}/{document}", operation_id = "document.write", tag = "documents",
    params(("kind" = String, Path, description = "What sort of thing: letters, digits, `_`, `-` and `.`"),
        ("document" = String, Path, description = "Its id: the same characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read"),
        ("If-None-Match" = Option<String>, Header, description = "`*` for a new one")),
    request_body = Value, security(("token" = ["data:write"])),
    responses(
        (status = 200, body = DocumentBody, headers(("ETag" = String))),
        (status = 201, body = DocumentBody, headers(("ETag" = String))), Problems))]
pub(super) async fn write(
    State(core): State<Core>,
    caller: Caller,
    Segments([kind, id]): Segments<2>,
    On(basis): On,
    JsonBody(body): JsonBody<Value>,
) -> Result<(StatusCode, Extension<Target>, Tagged), Problem> {
    names::check("a kind", &kind).map_err(|e| Problem::from(e).at("kind"))?;
    names::check("a document", &id).map_err(|e| Problem::from(e).at("document"))?;
    let target = Extension(Target(format!("{kind}/{id}")));
    let (etag, author) = (Etag::mint(), caller.grant.principal.to_string());
    let new = NewDocument { kind, id, body, etag, author };
    let now = core.clock.now();
    let written = core.documents.write_document(&caller.workspace, &new, &basis, now).await?;
    let status = if basis == Basis::Nothing { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, target, tagged(written)))
}

/// Removes a document, if it is as it was read.
#[utoipa::path(delete, path = "/v1/documents/{kind}/{document}", operation_id = "document.remove", tag = "documents",
    params(("kind" = String, Path, description = "What sort of thing"),
        ("document" = String, Path, description = "Its id"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    security(("token" = ["data:write"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn remove(
    State(core): State<Core>,
    caller: Caller,
    Segments([kind, id]): Segments<2>,
    On(basis): On,
) -> Result<StatusCode, Problem> {
    core.documents.remove_document(&caller.workspace, (&kind, &id), &basis).await?;
    Ok(StatusCode::NO_CONTENT)
}
