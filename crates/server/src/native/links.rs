//! Links: addresses of files that open without a token for a while.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::link::Link;
use model::{LinkId, RunId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::body::{Asked, JsonBody, Segment};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};
use crate::links::{self, Linked, Minted, Wanted};
use crate::{Core, files};

/// What opens files of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkBody {
    /// Never changes.
    id: String,
    /// The run.
    run: String,
    /// The id of the principal who made it; of one that was made at the command line, who and where.
    author: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    expires_at: DateTime<Utc>,
    /// When it was taken back.
    revoked_at: Option<DateTime<Utc>>,
}

impl From<Link> for LinkBody {
    fn from(link: Link) -> Self {
        Self {
            id: link.id.to_string(),
            run: link.run.to_string(),
            author: link.author,
            created_at: link.created_at,
            expires_at: link.expires_at,
            revoked_at: link.revoked_at,
        }
    }
}

/// A link with its addresses, which are shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownLink {
    /// The link.
    #[serde(flatten)]
    link: LinkBody,
    /// Where the manifest is.
    manifest_url: String,
    /// Where the files are.
    files: Vec<LinkedFile>,
}

/// Where a file is.
#[derive(Debug, Serialize, ToSchema)]
struct LinkedFile {
    /// Its place in the manifest, from 1.
    number: u64,
    /// What it may be saved as.
    name: String,
    /// Its bytes.
    bytes: u64,
    /// Their SHA-256.
    sha256: String,
    /// Its address, which opens without a token.
    url: String,
}

impl From<Linked> for LinkedFile {
    fn from(one: Linked) -> Self {
        let Linked { number, name, bytes, sha256, url } = one;
        Self { number, name, bytes, sha256, url }
    }
}

/// A link to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewLinkBody {
    /// Seconds until it opens nothing any more, up to 604800; 3600 without it.
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in: Option<u64>,
    /// The files whose addresses are wanted, by their place in the manifest; without it all, if there are no more than 1000.
    files: Option<Vec<u64>>,
}

/// What making a link answers: where it is, and its addresses.
type Made = (StatusCode, [(HeaderName, HeaderValue); 1], Extension<Target>, Json<ShownLink>);

/// Makes a link to the files of a sealed run in the managed destination.
///
/// The addresses open without a token until the link expires or is revoked; each download is in the log of changes.
#[utoipa::path(post, path = "/v1/runs/{run}/links", operation_id = "link.create", tag = "links",
    params(("run" = String, Path, description = "Its id")),
    request_body(content = NewLinkBody, example = json!({ "expires_in": 86400 })),
    security(("token" = ["export:run"])),
    responses(
        (status = 201, body = ShownLink), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
    JsonBody(body): JsonBody<NewLinkBody>,
) -> Result<Made, Problem> {
    let wanted = Wanted {
        workspace: caller.workspace,
        run: RunId::new(id),
        files: body.files,
        seconds: body.expires_in,
        author: caller.grant.principal.to_string(),
    };
    let minted = core.minting.mint(wanted).await.map_err(|error| match error {
        error @ links::Error::Time => Problem::from(error).at("expires_in"),
        error @ links::Error::File(files::Error::NoFile { .. }) => {
            Problem::from(error).in_body().at("files")
        }
        error => error.into(),
    });
    let Minted { link, manifest, files } = minted?;
    let place = HeaderValue::from_str(&format!("/v1/links/{}", link.id)).expect("plain text");
    let target = Extension(Target(format!("{}/{}", link.run, link.id)));
    let files = files.into_iter().map(LinkedFile::from).collect();
    let shown = ShownLink { link: link.into(), manifest_url: manifest, files };
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], target, Json(shown)))
}

/// Links of the workspace, newest first, also those that are over.
#[utoipa::path(get, path = "/v1/links", operation_id = "link.list", tag = "links",
    params(Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<LinkBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<LinkBody>>, Problem> {
    let before = paging.after.as_deref().map(LinkId::new);
    let found =
        core.minting.links.links(&caller.workspace, before.as_ref(), paging.limit() + 1).await?;
    Ok(Json(paging.first(found, |link| link.id.to_string()).map(LinkBody::from)))
}

/// A link; its addresses are not shown again.
#[utoipa::path(get, path = "/v1/links/{link}", operation_id = "link.show", tag = "links",
    params(("link" = String, Path, description = "Its id")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = LinkBody), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<LinkBody>, Problem> {
    Ok(Json(core.minting.links.link(&caller.workspace, &LinkId::new(id)).await?.into()))
}

/// Takes a link back: its addresses open nothing any more. Downloads that have begun go on.
#[utoipa::path(post, path = "/v1/links/{link}/revoke", operation_id = "link.revoke", tag = "links",
    params(("link" = String, Path, description = "Its id")), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = LinkBody), Problems))]
pub(super) async fn revoke(
    State(core): State<Core>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<LinkBody>, Problem> {
    let (id, now) = (LinkId::new(id), core.clock.now());
    Ok(Json(core.minting.links.revoke_link(&caller.workspace, &id, now).await?.into()))
}
