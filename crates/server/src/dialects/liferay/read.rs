//! The read API: what there is of accounts, individuals, segments and pages, a page at a time.
//!
//! Contract: the resources of the older generation (LR-27) with links, of what is there now. It is for looking things up; whole sets are fetched as
//! reports. `docs/dialects/liferay.md`, LR-40 to LR-43.

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use model::Code;
use model::format::FormatSpec;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Rows;
use super::answers;
use super::reports::{Form, Report};
use crate::answer;
use crate::canonical;
use crate::http::Doors;
use crate::http::body::Segment;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// Where it is.
const BASE: &str = "/api/reports";

/// Things on a page (LR-41).
const PAGE: u64 = 20;

/// Pages that may be asked for.
const PAGES_MAX: u64 = 1_000_000;

/// Characters of what is looked for.
const WORDS_CHARS_MAX: usize = 255;

/// The metrics of pages (LR-43).
const METRICS: [&str; 14] = [
    "avgTimeOnPageMetric",
    "bounceMetric",
    "bounceRateMetric",
    "ctpMetric",
    "ctrMetric",
    "directAccessMetric",
    "entrancesMetric",
    "exitRateMetric",
    "indirectAccessMetric",
    "maxScrollDepthMetric",
    "sessionsMetric",
    "timeOnPageMetric",
    "viewsMetric",
    "visitorsMetric",
];

/// What stands in the report of pages for all events; here they are those between two instants.
const ALL_EVENTS: &str = "FROM event\n";

/// Resources that are listed.
const LISTED: [&str; 4] = ["accounts", "individuals", "pages", "segments"];

/// Says where everything is (LR-41).
pub(super) async fn links() -> Response {
    let link = |name: &str| (name.to_owned(), json!({ "href": format!("{BASE}/{name}") }));
    let links: Map<String, Value> = LISTED.map(link).into_iter().collect();
    answer_with(&json!({ "_links": links }))
}

/// What is asked for, and with which words.
struct Asked<'a> {
    doors: &'a Doors,
    caller: &'a Caller,
    query: &'a str,
    /// The path below [`BASE`].
    path: String,
}

/// A resource that is listed, by SQL.
struct Listing {
    /// `SELECT` without order and limits.
    select: String,
    order: String,
    /// What links to one of them begins with.
    own: &'static str,
    /// The canonical datasets that it reads.
    reads: Vec<&'static str>,
    format: FormatSpec,
}

/// Answers a look at a resource.
pub(super) async fn read(
    State(doors): State<Doors>,
    caller: Caller,
    Segment(rest): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = uri.query().unwrap_or_default();
    let rest = rest.trim_end_matches('/');
    let asked = Asked { doors: &doors, caller: &caller, query, path: rest.to_owned() };
    // An id may have a slash, which the address has as `%2F`.
    let id = rest.split_once('/').map_or("", |(_, id)| id);
    let pieces: Vec<&str> =
        uri.path().trim_start_matches(BASE).trim_matches('/').split('/').collect();
    match pieces[..] {
        ["accounts"] => asked.list(of_report("accounts", "")).await,
        ["individuals"] => asked.list(of_report("individuals", "")).await,
        ["segments"] => asked.list(of_report("segments", "")).await,
        ["pages"] => asked.list(asked.pages(doors.core.clock.now())?).await,
        [own @ ("accounts" | "individuals" | "segments"), _] => asked.one(own, id).await,
        ["segments", id, "individuals"] => {
            asked.row("segments", id).await?;
            asked.list(members(id)?).await
        }
        _ => Ok(answers::unknown()),
    }
}

/// Returns the report whose rows these are.
fn form(own: &str) -> &'static Form {
    let name = own.strip_suffix('s').unwrap_or(own);
    let report = Report::named(name).expect("each is a report");
    report.form(Rows::Rest)
}

fn of_report(own: &'static str, condition: &str) -> Listing {
    let Form { view, reads, .. } = form(own);
    Listing {
        select: format!("SELECT * FROM \"{view}\" {condition}"),
        order: "id".into(),
        own,
        reads: reads.to_vec(),
        format: FormatSpec::new("jsonl"),
    }
}

/// Returns the individuals who are in a segment.
fn members(segment: &str) -> Result<Listing, Problem> {
    let id: i64 = segment.parse().map_err(|_| missing(segment))?;
    let Form { view, reads, .. } = form("memberships");
    let condition = format!(
        "WHERE id IN (SELECT \"individualId\" FROM \"{view}\" WHERE \"segmentId\" = {id} AND status = 'ACTIVE')"
    );
    let mut listing = of_report("individuals", &condition);
    listing.reads.extend(*reads);
    Ok(listing)
}

fn missing(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no `{id}`; list them to see what there is"))
}

fn wrong(detail: String) -> Problem {
    Problem::new(Code::Invalid, detail)
}

/// Writes a text as SQL has it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn answer_with(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, kind, format!("{value}\n")).into_response()
}

impl Asked<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let mut all = form_urlencoded::parse(self.query.as_bytes());
        let found = all.find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        found.filter(|value| !value.is_empty())
    }

    /// Returns which page is meant, from 0.
    fn page(&self) -> Result<u64, Problem> {
        let Some(text) = self.value("page") else { return Ok(0) };
        text.parse().ok().filter(|page| *page < PAGES_MAX).ok_or_else(|| {
            wrong(format!("`page` is `{text}`; use a whole number from 0 to {}", PAGES_MAX - 1))
        })
    }

    /// Answers with a page of a resource (LR-41).
    async fn list(&self, of: Listing) -> Result<Response, Problem> {
        let page = self.page()?;
        let (select, order) = (&of.select, &of.order);
        let sql = format!("{select} ORDER BY {order} LIMIT {PAGE} OFFSET {}", page * PAGE);
        let count = format!("SELECT count(*) AS total FROM ({select})");
        let _permit = self.doors.core.question()?;
        canonical::ensure_for(&self.doors.core, self.caller, &of.reads).await?;
        let results = self.rows(&sql, &of.format).await?;
        let total = self.rows(&count, &FormatSpec::new("jsonl")).await?;
        let total = total.first().and_then(|row| row["total"].as_u64()).unwrap_or_default();
        let mut links = Map::from_iter([("self".to_owned(), self.link(page))]);
        if (page + 1) * PAGE < total {
            links.insert("next".into(), self.link(page + 1));
        }
        if let Some(before) = page.checked_sub(1) {
            links.insert("prev".into(), self.link(before));
        }
        let results: Vec<Value> = results.into_iter().map(|row| with_link(row, of.own)).collect();
        Ok(answer_with(&json!({ "results": results, "total": total, "_links": links })))
    }

    /// Answers with one thing by its id (LR-42).
    async fn one(&self, own: &str, id: &str) -> Result<Response, Problem> {
        Ok(answer_with(&with_link(self.row(own, id).await?, own)))
    }

    async fn row(&self, own: &str, id: &str) -> Result<Value, Problem> {
        if id.chars().count() > WORDS_CHARS_MAX {
            return Err(missing("so long an id"));
        }
        let Form { view, reads, .. } = form(own);
        let sql = format!("SELECT * FROM \"{view}\" WHERE id = {}", quoted(id));
        let _permit = self.doors.core.question()?;
        canonical::ensure_for(&self.doors.core, self.caller, reads).await?;
        let rows = self.rows(&sql, &FormatSpec::new("jsonl")).await?;
        rows.into_iter().next().ok_or_else(|| missing(id))
    }

    fn link(&self, page: u64) -> Value {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let all = form_urlencoded::parse(self.query.as_bytes());
        query.extend_pairs(all.filter(|(name, _)| name != "page"));
        query.append_pair("page", &page.to_string());
        json!({ "href": format!("{BASE}/{}?{}", self.path, query.finish()) })
    }

    async fn rows(&self, sql: &str, format: &FormatSpec) -> Result<Vec<Value>, Problem> {
        let (core, workspace) = (&self.doors.core, &self.caller.workspace);
        let text = answer::text(core, workspace, (sql, format)).await?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows = lines.map(|line| serde_json::from_slice(line).map_err(|_| Problem::broken()));
        rows.collect()
    }

    /// Returns pages with their metrics and those of the time before (LR-43).
    fn pages(&self, now: DateTime<Utc>) -> Result<Listing, Problem> {
        let (since, until) = self.range(now)?;
        let before = since - (until - since);
        let pages = |since: DateTime<Utc>, until: DateTime<Utc>| {
            let instant = |at: DateTime<Utc>| {
                let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
                format!("arrow_cast('{at}', 'Timestamp(us, \"UTC\")')")
            };
            let (since, until) = (instant(since), instant(until));
            let events = format!(
                "FROM (SELECT * FROM event WHERE time >= {since} AND time < {until}) AS event\n"
            );
            form("pages").sql.replace(ALL_EVENTS, &events)
        };
        let metric = |name: &&str| {
            let (now, then) =
                (format!("\"now\"['{name}']['value']"), format!("\"then\"['{name}']['value']"));
            format!(
                "'{name}', named_struct('value', {now}, 'previousValue', {then}, 'trend', named_struct(\
                 'percentage', CASE WHEN {then} <> 0 THEN ({now} - {then}) / {then} * 100 END, \
                 'trendClassification', CASE WHEN {then} IS NULL OR {now} = {then} THEN 'NEUTRAL' \
                 WHEN {now} > {then} THEN 'POSITIVE' ELSE 'NEGATIVE' END))"
            )
        };
        let metrics = METRICS.iter().map(metric).collect::<Vec<_>>().join(", ");
        let words = self.value("keywords").unwrap_or_default();
        if words.chars().count() > WORDS_CHARS_MAX {
            let detail = format!("`keywords` has more than {WORDS_CHARS_MAX} characters");
            return Err(wrong(detail));
        }
        let condition = match &*words {
            "" => String::new(),
            words => {
                let words = quoted(&words.to_lowercase());
                format!(
                    "WHERE strpos(lower(title), {words}) > 0 OR strpos(lower(url), {words}) > 0"
                )
            }
        };
        let select = format!(
            "SELECT title, url, named_struct({metrics}) AS metrics FROM (SELECT title, url, metrics AS \"now\" FROM ({})) AS these \
             LEFT JOIN (SELECT url AS then_url, metrics AS \"then\" FROM ({})) AS those ON then_url = url {condition}",
            pages(since, until),
            pages(before, since),
        );
        let mut format = FormatSpec::new("jsonl");
        format.options.insert("jsonl.nulls".into(), "keep".into());
        Ok(Listing {
            select,
            order: self.order()?,
            own: "pages",
            reads: form("pages").reads.to_vec(),
            format,
        })
    }

    /// Returns the instants between which events count.
    fn range(&self, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
        let key = self.value("rangeKey").unwrap_or_else(|| "30".into());
        let today = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let ago = |days| Ok((now - TimeDelta::days(days), now));
        match &*key {
            "0" => ago(1),
            "1" => Ok((today - TimeDelta::days(1), today)),
            "7" => ago(7),
            "28" => ago(28),
            "30" => ago(30),
            "90" => ago(90),
            key => Err(wrong(format!("`rangeKey` is `{key}`; use 0, 1, 7, 28, 30 or 90"))),
        }
    }

    fn order(&self) -> Result<String, Problem> {
        let metric = self.value("sortMetric").unwrap_or_else(|| "viewsMetric".into());
        if !METRICS.contains(&&*metric) {
            let known = METRICS.join(", ");
            return Err(wrong(format!("`sortMetric` is `{metric}`; use one of {known}")));
        }
        let order = self.value("sortOrder").unwrap_or_else(|| "desc".into()).to_lowercase();
        if !["asc", "desc"].contains(&&*order) {
            return Err(wrong(format!("`sortOrder` is `{order}`; use asc or desc")));
        }
        Ok(format!("metrics['{metric}']['value'] {order}, url"))
    }
}

/// Adds where a thing is, if it has an id.
fn with_link(mut row: Value, own: &str) -> Value {
    let id = row["id"].as_str().map(str::to_owned);
    if let (Some(id), Some(fields)) = (id, row.as_object_mut()) {
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        fields.insert("_links".into(), json!({ "self": { "href": format!("{BASE}/{own}/{id}") } }));
    }
    row
}
