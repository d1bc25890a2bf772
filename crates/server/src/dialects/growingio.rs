//! GrowingIO's raw data export 2.0: hours and days of rows as packages of CSV, whose scripts run unchanged.
//!
//! Rules and sources: `docs/dialects/growingio.md`. A project is an enrolment of a workspace; a slot is an hour, of which each data type is a ticket
//! that `platform` draws when its time has come. Files are held, and given out at signed addresses.

mod access;
mod answers;
mod enable;
mod files;
mod ingest;
mod insights;
mod platform;
mod rebuild;
mod rules;
mod slots;
mod types;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware;
use axum::routing::{get, post};
use chrono::FixedOffset;
use futures::FutureExt;
use model::Clock;
use model::access::Scope;
use model::dataset::{View, Window};
use model::ports::{Catalog, Enrolments, Tickets};
use run::Destinations;
use serde::Deserialize;
use url::Url;
use utoipa_axum::routes;

use super::{Dialect, Door, Example, Files, Rule};
use crate::Core;
use crate::http::Doors;
use crate::http::problem::Problem;
pub use enable::{Enabled, change_secret, enable};
pub use rebuild::{Rebuilt, Span, rebuild};
pub use slots::Hour;
use types::TYPES;

/// One data type of a slot; all types of one.
const ONE: &str = "/v2/insights/{kind}/{type}/{project}/{date}";
const ALL: &str = "/v2/insights/{kind}/{type}/{project}";

/// Export 1.0.
const V1: &str = "/insights/{project}/{date}";

/// Names for actions.
const RULES: &str = "/projects/{project}/rules.csv";

/// Where codes are made.
const SIGN_IN: &str = "/auth/token";

/// Custom events of servers.
const CUSTOM: &str = "/v3/{project}/s2s/cstm";

/// Batches of the vendor's SDKs.
const COLLECT: &str = "/v3/{project}/{platform}/{kind}";

/// Attributes of users; visitors to be erased.
const USERS: &str = "/{project}/loginUserId";
const ERASE: &str = "/{project}/deleteVisitor";

/// What the dialect is called.
const NAME: &str = "growingio";

/// The kinds of names of a project: `ai`, its uid, and its public key.
const AI: &str = "ai";
const PROJECT: &str = "project";
const CLIENT: &str = "client";

/// Bytes of a package at most: 64 MiB.
const PACKAGE_BYTES_MAX: usize = 64 << 20;

/// Beijing's clock has not been changed since 1991: fixed +08:00.
const BEIJING: FixedOffset = FixedOffset::east_opt(8 * 3600).expect("in range");

/// The dialect, described as data.
pub(super) static KIND: Dialect = Dialect {
    name: NAME,
    summary: "GrowingIO: raw data export 2.0",
    settings: include_str!("growingio/settings.toml"),
    rules: &[
        ("delay_minutes", Rule::Whole(0, 1440)),
        ("night_delay_minutes", Rule::Whole(0, 1440)),
        ("keep_days", Rule::Whole(1, 366)),
        ("package_bytes", Rule::Whole(4096, PACKAGE_BYTES_MAX)),
        ("calls_per_second", Rule::Whole(0, 1_000_000)),
        ("request_time", Rule::OneOf(&["beijing", "utc"])),
    ],
    check,
    scopes: &[Scope::ExportRun, Scope::DataRead],
    enrols: true,
    views,
    examples,
    operations: &[
        door(Method::GET, ONE, "growingio.insights", Scope::ExportRun),
        door(Method::GET, ALL, "growingio.insights.all", Scope::ExportRun),
        door(Method::GET, V1, "growingio.insights.v1", Scope::ExportRun),
        door(Method::GET, RULES, "growingio.rules", Scope::DataRead),
        door(Method::POST, CUSTOM, "growingio.custom", Scope::DataWrite),
        door(Method::POST, COLLECT, "growingio.collect", Scope::DataWrite),
        door(Method::POST, USERS, "growingio.users", Scope::DataWrite),
        door(Method::POST, ERASE, "growingio.erase", Scope::DataWrite),
    ],
    routes,
    open_routes,
    own: |router| router.routes(routes!(rebuild::asked)),
    dress,
    files: Some(Files { takes: files::takes, answer: |asked| files::answer(asked).boxed() }),
    works: Some(|core| platform::work(core).boxed()),
    calls_per_second: |settings| settings.of::<Settings>(&KIND).calls_per_second,
};

const fn door(method: Method, path: &'static str, id: &'static str, scope: Scope) -> Door {
    Door { method, path, id, scope }
}

/// How the dialect is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting")]
struct Settings {
    /// Where clients fetch files; empty for where they find the server.
    public_url: String,
    /// What the folder of a file begins with.
    prefix: String,
    /// Minutes after the end of an hour until it is built.
    delay_minutes: u32,
    /// The same of hours that end in the night.
    night_delay_minutes: u32,
    /// Days for which slots can be fetched.
    keep_days: u32,
    /// Bytes of a package at most.
    package_bytes: u64,
    /// Whether `vstr` is among all types.
    vstr: bool,
    /// Whether rows have the columns that were appended later.
    later_columns: bool,
    /// Whether visits have the columns of export 1.0.
    geography_columns: bool,
    /// Calls of one project in a second.
    calls_per_second: u32,
    /// Whether a new code ends those before.
    one_code: bool,
    /// The clock of answers.
    request_time: RequestTime,
    /// Whether what comes in needs no token.
    ingest_open: bool,
}

/// The clock of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RequestTime {
    Beijing,
    Utc,
}

/// What slots are made with.
#[derive(Clone)]
pub struct Ports {
    /// Datasets and commits.
    pub catalog: Arc<dyn Catalog>,
    /// Projects.
    pub enrolments: Arc<dyn Enrolments>,
    /// What is built.
    pub tickets: Arc<dyn Tickets>,
    /// Where files are held.
    pub destinations: Arc<dyn Destinations>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How dialects are served.
    pub settings: super::Settings,
}

impl Ports {
    fn of(core: &Core) -> Self {
        Self {
            catalog: core.catalog.clone(),
            enrolments: core.enrolments.clone(),
            tickets: core.tickets.clone(),
            destinations: core.destinations.clone(),
            clock: core.clock.clone(),
            settings: core.dialects.clone(),
        }
    }

    fn settings(&self) -> Settings {
        self.settings.of(&KIND)
    }
}

/// GI-23: clients cut links at `/`, at `_` and at the first `part`, and take the folder for the first of the path.
fn check(settings: &super::Settings, public_url: &str) -> Result<(), String> {
    let Settings { prefix, public_url: own, .. } = settings.of(&KIND);
    let is_word = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_word || prefix.contains("part") {
        return Err(format!(
            "`growingio.prefix` is `{prefix}`; use letters and digits, without `part` in them"
        ));
    }
    let (key, text) = match &*own {
        "" => ("server.public_url", public_url),
        own => ("growingio.public_url", own),
    };
    if text.is_empty() {
        return Ok(());
    }
    let remedy = "name one under which files can be fetched, in `growingio.public_url`";
    let Ok(url) = Url::parse(text) else {
        return Err(format!("`{key}` is no URL; {remedy}"));
    };
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !is_plain || url.path() != "/" {
        return Err(format!(
            "`{key}` is `{text}`, and links of GrowingIO's clients are http or https without a path; {remedy}"
        ));
    }
    // As it is written in links.
    if url.as_str().contains("part") {
        return Err(format!(
            "`{key}` is `{text}`, and GrowingIO's clients cut links at the first `part`; {remedy}"
        ));
    }
    Ok(())
}

fn routes(_: &Doors) -> Router<Doors> {
    Router::new()
        .route(ONE, get(insights::one))
        .route(ALL, get(insights::all))
        .route(V1, get(insights::v1))
        .route(RULES, get(rules::rules))
}

fn open_routes(_: &Doors) -> Router<Doors> {
    Router::new()
        .route(SIGN_IN, post(access::sign_in))
        .route(CUSTOM, post(ingest::custom))
        .route(COLLECT, post(ingest::collect))
        .route(USERS, post(ingest::users))
        .route(ERASE, post(ingest::erase))
}

/// GI-03, GI-04: tokens are taken as clients send them, and errors look as the vendor's do.
fn dress(router: Router) -> Router {
    router
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_method()))
        .layer(middleware::from_fn(answers::dress))
}

fn views() -> Vec<View> {
    let view = |one: &types::DataType| View {
        name: one.view.into(),
        sql: one.sql.trim_end().into(),
        time_column: Some(types::TIME.into()),
        window: Window::Output,
        created_at: chrono::DateTime::UNIX_EPOCH,
    };
    TYPES.iter().map(view).collect()
}

fn examples(example: &Example<'_>) -> Vec<String> {
    let Example { url, token, hour, enrolment, .. } = example;
    let Some(enrolment) = enrolment else { return Vec::new() };
    let (ai, client) = (enrolment.name(AI), enrolment.name(CLIENT));
    let slot = Hour::of(*hour).name();
    let headers = format!("-H 'Authorization: {}' -H 'X-Client-Id: {client}'", token.reveal());
    vec![
        format!("curl -sS {headers} '{url}/v2/insights/hour/page/{ai}/{slot}.json?expire=60'"),
        format!("curl -sS {headers} '{url}/v2/insights/hour/{ai}/{slot}.json?expire=60'"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings as they are shipped, for tests of what depends on them.
    pub(super) fn settings() -> Settings {
        Settings {
            public_url: String::new(),
            prefix: "sluice".into(),
            delay_minutes: 30,
            night_delay_minutes: 90,
            keep_days: 15,
            package_bytes: PACKAGE_BYTES_MAX as u64,
            vstr: false,
            later_columns: false,
            geography_columns: false,
            calls_per_second: 2,
            one_code: false,
            request_time: RequestTime::Beijing,
            ingest_open: false,
        }
    }

    fn checked(own: &str, server: &str, prefix: &str) -> Result<(), String> {
        let Settings { keep_days, .. } = settings();
        let section = serde_json::json!({
            "public_url": own, "prefix": prefix, "delay_minutes": 30, "night_delay_minutes": 90,
            "keep_days": keep_days, "package_bytes": PACKAGE_BYTES_MAX, "vstr": false,
            "later_columns": false, "geography_columns": false, "calls_per_second": 2,
            "one_code": false, "request_time": "beijing", "ingest_open": false,
        });
        let all = serde_json::Map::from_iter([(NAME.to_owned(), section)]);
        check(&crate::dialects::Settings::new(all), server)
    }

    #[test]
    fn links_must_be_cut_as_clients_cut_them() {
        for (own, server, prefix) in [
            ("", "", "sluice"),
            ("", "https://exports.example.com", "ddbf"),
            ("http://10.0.0.1:8080/", "https://example.com/a/path", "a1"),
        ] {
            checked(own, server, prefix).expect(own);
        }
        for (own, server, prefix, words) in [
            ("", "https://example.com/sluice", "a", "`server.public_url`"),
            ("https://example.com/x", "", "a", "without a path"),
            ("", "https://partner.example.com", "a", "the first `part`"),
            ("", "https://PARTNER.example.com", "a", "the first `part`"),
            ("https://:secret@example.com", "", "a", "without a path"),
            ("nowhere", "", "a", "is no URL"),
            ("ftp://example.com", "", "a", "http or https"),
            ("", "", "a_b", "`growingio.prefix`"),
            ("", "", "", "letters and digits"),
            ("", "", "xpartx", "without `part`"),
        ] {
            let refused = checked(own, server, prefix).expect_err(words);
            assert!(refused.contains(words), "{refused}");
        }
    }
}
