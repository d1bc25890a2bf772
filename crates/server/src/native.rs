//! The native API, `/v1`: the words of the core over HTTP.
//!
//! Each handler says what it is in its `utoipa::path`: address, id, what a token must allow, every status. The
//! description, the tokens' scopes and the log of changes all come from that.

mod access;
mod audit;
mod datasets;
mod destinations;
mod documents;
mod exports;
mod rows;
mod runs;
mod sql;
mod views;

use axum::Router;
use serde_json::{Value, json};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Core;
use crate::http::operations::SCHEME;

/// Returns the routes and their description.
pub(crate) fn parts() -> (Router<Core>, Value) {
    let info = InfoBuilder::new()
        .title("Sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Rows in, exports out. See docs/api.md."));
    let empty = OpenApiBuilder::new().info(info.build()).build();
    let (router, description) = OpenApiRouter::with_openapi(empty)
        .routes(routes!(datasets::list, datasets::create))
        .routes(routes!(datasets::show, datasets::update, datasets::drop))
        .routes(routes!(datasets::commits))
        .routes(routes!(datasets::batch))
        .routes(routes!(rows::add))
        .routes(routes!(views::list, views::create))
        .routes(routes!(views::show, views::drop))
        .routes(routes!(documents::list))
        .routes(routes!(documents::show, documents::write, documents::remove))
        .routes(routes!(destinations::list, destinations::create))
        .routes(routes!(destinations::show, destinations::update, destinations::delete))
        .routes(routes!(sql::query))
        .routes(routes!(exports::list))
        .routes(routes!(exports::plan))
        .routes(routes!(exports::show))
        .routes(routes!(runs::list, runs::create))
        .routes(routes!(runs::show))
        .routes(routes!(runs::parts))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::manifest))
        .routes(routes!(runs::file))
        .routes(routes!(audit::list))
        .routes(routes!(access::workspaces, access::create_workspace))
        .routes(routes!(access::principals, access::create_principal))
        .routes(routes!(access::disable_principal))
        .routes(routes!(access::tokens, access::create_token))
        .routes(routes!(access::revoke_token))
        .split_for_parts();
    let mut description = serde_json::to_value(&description).expect("a description is JSON");
    description["components"]["securitySchemes"][SCHEME] =
        json!({ "type": "http", "scheme": "bearer" });
    (router, description)
}
