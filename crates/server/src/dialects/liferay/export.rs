//! `GET /api/reports/export/{type}`: one URL creates a job, says where it stands, and gives its data out.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use model::access::Actor;
use model::export::Definition;
use model::relation::{Relation, Selection, Source};
use model::ticket::{How, NewTicket, Next, Ticket, TicketState};
use model::{Code, RunId, TicketId};
use url::form_urlencoded;

use super::answers::{Status, Subject, later, shown, too_old};
use super::reports::{Form, Report};
use super::{Container, KIND, NAME, Settings, dates};
use crate::bundle::{self, Names, Reads};
use crate::canonical;
use crate::http::Doors;
use crate::http::body::Segment;
use crate::http::caller::{Caller, RequestId};
use crate::http::problem::Problem;
use crate::http::{accept, download, watch};

/// Where the files of jobs are kept.
const PLACE: &str = "managed";

/// The one entry of an archive (LR-12).
const ENTRY: &str = "data.json";

/// Days that a month has (LR-06).
const MONTH_DAYS: i64 = 30;

/// What is asked for, understood.
#[derive(Clone, Debug)]
struct Asked {
    report: &'static Report,
    subject: Subject,
}

impl Asked {
    /// What jobs are told apart by: type and exact instants (LR-10), and how rows are written, which an operator may change.
    fn key(&self, settings: &Settings) -> String {
        let Subject { kind, from, to } = &self.subject;
        let form = self.report.form(settings.rows);
        let style = form.format(settings).options.into_values().collect::<Vec<_>>().join(",");
        let window = (from.timestamp_millis(), to.timestamp_millis());
        format!("{kind}/{}/{}/{}/{style}", window.0, window.1, form.view)
    }
}

/// Answers the one request of the dialect.
pub(super) async fn export(
    State(doors): State<Doors>,
    caller: Caller,
    Segment(kind): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { method, uri, headers, extensions, .. }, _) = request.into_parts();
    let id = extensions.get::<RequestId>().ok_or_else(Problem::broken)?;
    let asked = read(&kind, uri.query().unwrap_or_default())?;
    let settings: Settings = doors.core.dialects.of(&KIND);
    let now = doors.core.clock.now();
    if let Some(refused) = check_age(&settings, asked.subject.from, now) {
        return Ok(refused);
    }
    let this = Exporting { doors: &doors, caller: &caller, id, settings, asked };
    let is_head = method == Method::HEAD;
    let (ticket, how) = match this.find(now).await? {
        Some(ticket) => (ticket, How::Known),
        // LR-11: a look creates nothing.
        None if is_head => return Ok(Status::new_job(&this.asked.subject, now).into_response()),
        None => this.draw(now, None).await?,
    };
    match this.answer((&ticket, how), (&headers, is_head)).await {
        // Its files are gone before their time: they are made anew.
        Err(problem) if problem.code() == "not_found" && !is_head => {
            let TicketState::Ready { run, .. } = &ticket.state else { return Err(problem) };
            tracing::warn!(%run, detail = problem.detail(), "the files of a report are gone");
            let (ticket, how) = this.draw(now, Some(run.clone())).await?;
            this.answer((&ticket, how), (&headers, is_head)).await
        }
        answered => answered,
    }
}

/// Understands a path and a query string, in the vendor's order of checks (LR-03).
fn read(kind: &str, query: &str) -> Result<Asked, Problem> {
    // LR-05: a backslash that was meant for a shell.
    let kind = kind.trim_end_matches('\\');
    let report = Report::named(kind).ok_or_else(|| {
        let known = super::REPORTS.each_ref().map(|report| report.name).join(", ");
        wrong(format!("there is no type `{}`; use one of {known}", shown(kind)))
    })?;
    let [from, to] = ["fromDate", "toDate"].map(|name| value(query, name));
    let is_blank =
        |name: &str| form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == name);
    let (from, to) = match (&from, &to) {
        (Some(from), Some(to)) => (from, to),
        (Some(_), None) if is_blank("toDate") => {
            return Err(wrong("`toDate` is empty; name both dates".into()));
        }
        (Some(_), None) => {
            return Err(wrong(
                "`toDate` is missing; put the address between quotes, or a shell takes the `&` for its own".into(),
            ));
        }
        (None, Some(_)) => return Err(wrong("`fromDate` is missing; name both dates".into())),
        (None, None) => {
            let detail = "`fromDate` and `toDate` are missing; name both dates";
            return Err(wrong(detail.into()));
        }
    };
    let instant = |name: &str, text: &str| {
        dates::parse(text).ok_or_else(|| {
            wrong(format!(
                "`{name}` is `{}`; write it as 2023-01-01T00:00 or 2023-01-01T00:00:01.000Z, in UTC",
                shown(text)
            ))
        })
    };
    let (from, to) = (instant("fromDate", from)?, instant("toDate", to)?);
    if from > to {
        return Err(wrong("`fromDate` is later than `toDate`; swap them".into()));
    }
    Ok(Asked { report, subject: Subject { kind: report.kind(), from, to } })
}

/// Returns a parameter that is not blank.
fn value(query: &str, name: &str) -> Option<String> {
    let mut all = form_urlencoded::parse(query.as_bytes());
    let found = all.find(|(key, _)| key.trim_end_matches('\\') == name);
    let value = found.map(|(_, value)| value.trim_end_matches('\\').to_owned());
    value.filter(|value| !value.trim().is_empty())
}

fn wrong(detail: String) -> Problem {
    Problem::new(Code::Invalid, detail)
}

/// LR-06: refuses a window that begins before the months that may be asked for.
fn check_age(settings: &Settings, from: DateTime<Utc>, now: DateTime<Utc>) -> Option<Response> {
    let months = settings.retention_months;
    let kept = TimeDelta::days(i64::from(months) * MONTH_DAYS);
    let is_old = months > 0 && from < now - kept;
    is_old.then(|| too_old(&format!("`fromDate` is more than {months} months before now")))
}

/// A request at work.
struct Exporting<'a> {
    doors: &'a Doors,
    caller: &'a Caller,
    id: &'a RequestId,
    settings: Settings,
    asked: Asked,
}

impl Exporting<'_> {
    /// Returns the job that this request finds; none where it creates one.
    async fn find(&self, now: DateTime<Utc>) -> Result<Option<Ticket>, Problem> {
        let (core, workspace) = (&self.doors.core, &self.caller.workspace);
        let found = core.tickets.ticket(workspace, NAME, &self.key()).await?;
        let stays = |ticket: &Ticket| matches!(ticket.next(now), Next::Stays | Next::Later(_));
        Ok(found.filter(stays))
    }

    /// Creates a job, or finds the one that somebody else has created meanwhile (LR-10).
    async fn draw(
        &self,
        now: DateTime<Utc>,
        gone: Option<RunId>,
    ) -> Result<(Ticket, How), Problem> {
        let (core, workspace) = (&self.doors.core, &self.caller.workspace);
        let form = self.asked.report.form(self.settings.rows);
        let own = core.catalog.views(workspace).await?;
        if own.iter().all(|view| view.name != form.view) {
            canonical::ensure_for(core, self.caller, form.reads).await?;
        }
        let new = NewTicket {
            id: TicketId::mint(),
            workspace: workspace.clone(),
            door: NAME.into(),
            key: self.key(),
            lane: String::new(),
            range: None,
            definition: self.definition(form).await?,
            held: TimeDelta::hours(self.settings.keep_hours.into()),
            gone,
            now,
        };
        let drawn = core.tickets.draw(&new).await?;
        if drawn.how != How::Known {
            let entry = self.entry("liferay.export.create", new.key);
            watch::note(core, (entry, self.id)).await;
            core.executor.wake.notify_one();
        }
        Ok((drawn.ticket, drawn.how))
    }

    async fn definition(&self, form: &Form) -> Result<Definition, Problem> {
        let (core, Subject { from, to, .. }) = (&self.doors.core, &self.asked.subject);
        let destination = core.destinations.resolve(&self.caller.workspace, PLACE).await?;
        // LR-13: both ends are included, to the millisecond in which they are written.
        let until = *to + TimeDelta::milliseconds(1);
        let selection =
            Selection { since: Some(*from), until: Some(until), ..Selection::default() };
        let relation = Relation { source: Source::View(form.view.into()), selection };
        let format = form.format(&self.settings);
        Ok(Definition { relation, format, destination, meaning: None })
    }

    /// Says where a job stands, or gives its data out.
    async fn answer(
        &self,
        (ticket, how): (&Ticket, How),
        (headers, is_head): (&HeaderMap, bool),
    ) -> Result<Response, Problem> {
        let (of, created) = (&self.asked.subject, ticket.drawn_at);
        let why = ticket.reason.as_deref().unwrap_or("the server failed");
        let status = match &ticket.state {
            TicketState::Ready { run, since, .. } => {
                return self.data((run, *since), (headers, is_head)).await;
            }
            TicketState::Running { since, .. } => Status::running(of, created, *since),
            TicketState::Waiting => match how {
                How::New => Status::new_job(of, created),
                How::Again => Status::new_after_failure(of, created, why),
                How::Known => Status::waiting(of, created),
            },
            // Nobody settles one of this dialect.
            TicketState::Failed | TicketState::Nothing => {
                let now = self.doors.core.clock.now();
                let Next::Later(at) = ticket.next(now) else {
                    return Ok(Status::waiting(of, created).into_response());
                };
                let failed = Status::failed(of, created, (ticket.failures, why), at);
                return Ok(later(failed.into_response(), (at - now).num_seconds()));
            }
        };
        Ok(status.into_response())
    }

    /// Gives the data of a job out (LR-12).
    async fn data(
        &self,
        (run, made_at): (&RunId, DateTime<Utc>),
        (headers, is_head): (&HeaderMap, bool),
    ) -> Result<Response, Problem> {
        let core = &self.doors.core;
        let taken = accept::best(headers, &KINDS_OF_DATA);
        let is_zip = match taken {
            Some(kind) => kind.starts_with("application/zip") || kind.ends_with("octet-stream"),
            None => self.settings.container == Container::Zip,
        };
        let form = match () {
            () if is_zip => bundle::Form::Zip,
            () if accept::takes_gzip(headers) => bundle::Form::Gzip,
            () => bundle::Form::Plain,
        };
        let kind = match (is_zip, taken) {
            (true, _) => "application/zip",
            (false, Some("application/json")) => "application/json",
            (false, _) => "application/x-ndjson",
        };
        let ending = if is_zip { "zip" } else { "json" };
        let stamp = made_at.format("%Y%m%dT%H%M%SZ");
        let file = format!("{}-data-{stamp}.{ending}", self.asked.report.name);
        let names = Names { file: &file, kind, inside: ENTRY };
        // LR-12: a range is of what is sent, and a look sends nothing.
        let mut headers = headers.clone();
        if is_head {
            headers.remove(header::RANGE);
        }
        let reads = if is_head { Reads::Nothing } else { Reads::Bytes };
        let asked = (form, reads);
        let whole = bundle::whole(core, (&self.caller.workspace, run), asked, names).await?;
        let mut response = download::serve(whole, &headers).await?;
        let vary = HeaderValue::from_static("Accept, Accept-Encoding");
        response.headers_mut().insert(header::VARY, vary);
        let sends = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if is_head || !sends {
            return Ok(response);
        }
        let entry = self.entry("liferay.download", format!("{} {run}", self.key()));
        watch::told(core, (entry, self.id), response).await
    }

    fn key(&self) -> String {
        self.asked.key(&self.settings)
    }

    /// Returns what the log says of what is done for this request.
    fn entry(&self, action: &'static str, target: String) -> watch::Entry {
        let grant = self.caller.grant.clone();
        watch::Entry {
            actor: Actor::Token { principal: grant.principal, token: grant.token },
            organization: grant.organization,
            workspace: self.caller.workspace.clone(),
            action,
            target,
        }
    }
}

/// What data may be asked for as, the vendor's own first among those that are alike.
const KINDS_OF_DATA: [&str; 7] = [
    "application/x-ndjson",
    "application/json",
    "application/zip",
    "application/octet-stream",
    "application/jsonl",
    "text/plain",
    "application/x-zip-compressed",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: &str, query: &str) -> Result<String, String> {
        let words = |Asked { subject: Subject { kind, from, to }, .. }: Asked| {
            format!("{kind}/{}/{}", from.timestamp_millis(), to.timestamp_millis())
        };
        read(kind, query).map(words).map_err(|problem| problem.detail().to_owned())
    }

    fn day(ms: &str) -> String {
        format!("PAGE/1640995201000/{ms}")
    }

    #[test]
    fn what_shells_leave_in_an_address_is_left_out() {
        let expected = Ok(day("1641427199000"));
        for query in [
            "fromDate=2022-01-01T00:00:01.000Z&toDate=2022-01-05T23:59:59.000Z",
            "fromDate=2022-01-01'T'00:00:01.000'Z'&toDate=2022-01-05'T'23:59:59.000'Z'",
            "fromDate=2022-01-01%27T%2700:00:01.000%27Z%27&toDate=2022-01-05%27T%2723:59:59.000%27Z%27",
            r"fromDate\=2022-01-01T00:00:01.000Z\&toDate\=2022-01-05T23:59:59.000Z",
            "toDate=2022-01-05T23%3A59%3A59.000Z&fromDate=2022-01-01T00%3A00%3A01.000Z&other=1",
        ] {
            assert_eq!(asked("page", query), expected, "{query}");
            assert_eq!(asked(r"Page\", query), expected, "{query}");
        }
    }

    #[test]
    fn each_mistake_has_its_words() {
        let from = "fromDate=2022-01-01T00:00";
        for (kind, query, words) in [
            ("pages", "", "no type `pages`"),
            ("page", "", "are missing"),
            ("page", from, "takes the `&` for its own"),
            ("page", "toDate=2022-01-01T00:00", "`fromDate` is missing"),
            ("page", "fromDate=&toDate=2022-01-01T00:00", "`fromDate` is missing"),
            (
                "page",
                "fromDate=2022-01-01T24:00&toDate=2022-01-03T00:00",
                "`fromDate` is `2022-01-01T24:00`",
            ),
            ("page", "fromDate=2022-01-01T00:00&toDate=2022-01-01T00:00%2B01:00", "`toDate` is"),
            ("page", "fromDate=2022-01-02T00:00&toDate=2022-01-01T00:00", "swap them"),
        ] {
            let refused = asked(kind, query).expect_err(query);
            assert!(refused.contains(words), "{query}: {refused}");
        }
        assert!(asked("page", &format!("{from}&toDate=2022-01-01T00:00")).is_ok());
    }
}
