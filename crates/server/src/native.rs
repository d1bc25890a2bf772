//! The native API, `/v1`: the words of the core over HTTP.
//!
//! Each handler says what it is in its `utoipa::path`: address, id, what a token must allow, every status. The
//! description, the tokens' scopes and the log of changes all come from that.

mod access;
mod audit;
mod batches;
mod datasets;
mod destinations;
mod documents;
mod exports;
mod groups;
mod links;
mod rows;
mod runs;
mod saved;
mod sql;
mod views;

use axum::Router;
use serde_json::{Value, json};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Core;
use crate::dialects;
use crate::http::operations::SCHEME;
use crate::http::problem::ProblemBody;

/// Returns the routes and their description.
pub(crate) fn parts() -> (Router<Core>, Value) {
    let info = InfoBuilder::new()
        .title("Sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Rows in, exports out. See docs/api.md."));
    // What answers come to by way of `Problems` alone is not collected.
    let problem = ComponentsBuilder::new().schema_from::<ProblemBody>().build();
    let empty = OpenApiBuilder::new().info(info.build()).components(Some(problem)).build();
    let router = OpenApiRouter::with_openapi(empty)
        .routes(routes!(datasets::list, datasets::create))
        .routes(routes!(datasets::show, datasets::update, datasets::drop))
        .routes(routes!(datasets::commits))
        .routes(routes!(batches::create))
        .routes(routes!(batches::show, batches::abandon))
        .routes(routes!(batches::upload))
        .routes(routes!(batches::close))
        .routes(routes!(rows::add))
        .routes(routes!(views::list, views::create))
        .routes(routes!(views::show, views::drop))
        .routes(routes!(documents::list))
        .routes(routes!(documents::show, documents::write, documents::remove))
        .routes(routes!(destinations::list, destinations::create))
        .routes(routes!(destinations::show, destinations::update, destinations::delete))
        .routes(routes!(destinations::test))
        .routes(routes!(sql::query))
        .routes(routes!(exports::plan))
        .routes(routes!(saved::list))
        .routes(routes!(saved::show, saved::save, saved::delete))
        .routes(routes!(saved::versions))
        .routes(routes!(saved::pause))
        .routes(routes!(saved::resume))
        .routes(routes!(saved::run))
        .routes(routes!(saved::backfill))
        .routes(routes!(groups::list))
        .routes(routes!(groups::show, groups::save, groups::delete))
        .routes(routes!(groups::pause))
        .routes(routes!(groups::resume))
        .routes(routes!(groups::run))
        .routes(routes!(runs::list, runs::create))
        .routes(routes!(runs::show))
        .routes(routes!(runs::parts))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::rerun))
        .routes(routes!(runs::manifest))
        .routes(routes!(runs::file))
        .routes(routes!(links::create))
        .routes(routes!(links::list))
        .routes(routes!(links::show))
        .routes(routes!(links::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(access::workspaces, access::create_workspace))
        .routes(routes!(access::principals, access::create_principal))
        .routes(routes!(access::disable_principal))
        .routes(routes!(access::tokens, access::create_token))
        .routes(routes!(access::revoke_token));
    let (router, description) = dialects::own(router).split_for_parts();
    let mut description = serde_json::to_value(&description).expect("a description is JSON");
    description["components"]["securitySchemes"][SCHEME] =
        json!({ "type": "http", "scheme": "bearer" });
    (router, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn what_the_description_refers_to_is_in_it() {
        let (_, description) = parts();
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(found.contains(&"#/components/schemas/Problem"), "{found:?}");
        for reference in found {
            let path = reference.strip_prefix('#').expect("within the document");
            assert!(description.pointer(path).is_some(), "{reference}");
        }
    }
}
