//! Liferay Analytics Cloud: report exports by `GET`, whose scripts run unchanged.
//!
//! Rules and sources: `docs/dialects/liferay.md`. A report is a view; a job is a ticket by type and exact window; its files are held and given out
//! at the URL that asked for them.

mod answers;
mod dates;
mod export;
mod publisher;
mod read;
mod reports;

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::middleware;
use axum::routing::{get, post};
use model::access::Scope;
use model::dataset::{View, Window};
use serde::Deserialize;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::{Dialect, Door, Example, Rule};
use crate::http::Doors;
use crate::http::problem::Problem;
use reports::REPORTS;

/// Where reports are asked for and fetched.
const EXPORT: &str = "/api/reports/export/{type}";

/// Where it is said what there is.
const LINKS: &str = "/api/reports";

/// The same as some clients write it.
const LINKS_SLASH: &str = "/api/reports/";

/// Where it is listed, and whatever else is asked for there (LR-40).
const READ: &str = "/api/reports/{*rest}";

/// Where events are sent to.
const PUBLISHER: &str = "/liferay/publisher";

/// The same as the vendor's configuration writes it.
const PUBLISHER_SLASH: &str = "/liferay/publisher/";

/// Where it is said who somebody is.
const IDENTITY: &str = "/liferay/publisher/identity";

/// Seconds for which a browser need not ask again whether it may send.
const PREFLIGHT_SECONDS: u64 = 86_400;

/// What the dialect is called.
const NAME: &str = "liferay";

/// The dialect, described as data.
pub(super) static KIND: Dialect = Dialect {
    name: NAME,
    summary: "Liferay Analytics Cloud: report exports",
    settings: include_str!("liferay/settings.toml"),
    rules: &[
        ("keep_hours", Rule::Whole(1, 24 * 365)),
        ("retention_months", Rule::Whole(0, 1200)),
        ("rows", Rule::OneOf(&["current", "rest"])),
        ("integers", Rule::OneOf(&["string", "number"])),
        ("timestamps", Rule::OneOf(&["sql", "iso"])),
        ("container", Rule::OneOf(&["lines", "zip"])),
    ],
    check: |_, _| Ok(()),
    scopes: &[Scope::ExportRun, Scope::DataRead],
    enrols: false,
    views,
    examples,
    operations: &[
        door(Method::GET, EXPORT, "liferay.export", Scope::ExportRun),
        door(Method::GET, LINKS, "liferay.links", Scope::DataRead),
        door(Method::GET, LINKS_SLASH, "liferay.links", Scope::DataRead),
        door(Method::GET, READ, "liferay.read", Scope::DataRead),
        door(Method::POST, PUBLISHER, "liferay.publish", Scope::DataWrite),
        door(Method::POST, PUBLISHER_SLASH, "liferay.publish", Scope::DataWrite),
        door(Method::POST, IDENTITY, "liferay.identify", Scope::DataWrite),
    ],
    routes,
    open_routes,
    own: |router| router,
    dress,
    files: None,
    works: None,
    calls_per_second: |_| 0,
};

const fn door(method: Method, path: &'static str, id: &'static str, scope: Scope) -> Door {
    Door { method, path, id, scope }
}

/// How the dialect is served.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Hours for which data is held, from the end of its job on.
    keep_hours: u32,
    /// Months of 30 days before now that may be asked for; 0 for all.
    retention_months: u32,
    /// Which generation's rows.
    rows: Rows,
    /// How integers of 64 bits are written.
    integers: Integers,
    /// How timestamps are written.
    timestamps: Timestamps,
    /// What holds the data where a client does not say.
    container: Container,
    /// Whether messages need no token.
    publisher_open: bool,
}

/// The generation of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rows {
    /// Those of 2023 and later.
    Current,
    /// The resources of the older API.
    Rest,
}

/// How integers of 64 bits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Integers {
    String,
    Number,
}

/// How timestamps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Timestamps {
    Sql,
    Iso,
}

/// What holds the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Container {
    /// JSON Lines.
    Lines,
    /// A ZIP archive with JSON Lines in it.
    Zip,
}

fn routes(_: &Doors) -> Router<Doors> {
    Router::new()
        .route(EXPORT, get(export::export))
        .route(LINKS, get(read::links))
        .route(LINKS_SLASH, get(read::links))
        .route(READ, get(read::read))
}

/// LR-30: browsers send messages from the pages of other hosts.
fn open_routes(_: &Doors) -> Router<Doors> {
    let from_anywhere = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        // Mirrored: for a browser `*` does not stand for `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(Duration::from_secs(PREFLIGHT_SECONDS));
    Router::new()
        .route(PUBLISHER, post(publisher::publish))
        .route(PUBLISHER_SLASH, post(publisher::publish))
        .route(IDENTITY, post(publisher::identify))
        // Before the layer, which answers what this would refuse.
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_method()))
        .layer(from_anywhere)
}

/// LR-02: errors look as the vendor's do, also those that arise before the dialect is asked.
fn dress(router: Router) -> Router {
    router
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_method()))
        .layer(middleware::map_response(answers::dress))
}

fn views() -> Vec<View> {
    let view = |name: &str, sql: &str, time: Option<&str>, window| View {
        name: name.to_owned(),
        sql: sql.trim_end().to_owned(),
        time_column: time.map(str::to_owned),
        window,
        created_at: chrono::DateTime::UNIX_EPOCH,
    };
    let of = |report: &reports::Report| {
        let current = &report.current;
        let forms = [Some(current), report.rest.as_ref()];
        let views = forms.into_iter().flatten().map(|form| {
            let window = if form.time.is_some() { Window::Output } else { Window::Input };
            view(form.view, form.sql, form.time, window)
        });
        views.collect::<Vec<_>>()
    };
    REPORTS.iter().flat_map(of).collect()
}

fn examples(example: &Example<'_>) -> Vec<String> {
    let Example { url, token, day, .. } = example;
    let window = format!("fromDate={day}T00:00:00.000Z&toDate={day}T23:59:59.999Z");
    let of = |kind: &str| {
        format!(
            "curl -sS -L -H 'Authorization: Bearer {}' '{url}/api/reports/export/{kind}?{window}'",
            token.reveal()
        )
    };
    vec![of("page"), of("event")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_has_its_views_once() {
        let views = views();
        let names: std::collections::BTreeSet<_> = views.iter().map(|view| &view.name).collect();
        assert_eq!((names.len(), views.len()), (11, 11), "{names:?}");
    }
}
