//! Slots of imported history: asked for by people, by the times at which rows were received elsewhere.
//!
//! Contract: each data type of each hour is built anew from all rows whose time of receipt is in it, whatever commit brought them, and replaces
//! what was built before, whose links go on (GI-17).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::ticket::{How, TicketState};
use model::{Code, CommitNumber, Fault, PortError, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::platform::Asked;
use super::slots::{Hour, rebuild_lane, rebuilt_until};
use super::types::TYPES;
use super::{NAME, Ports};
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::problem::Problem;

/// Hours that are asked for at once: a month.
const HOURS_MAX: i64 = 31 * 24;

/// Hours of Beijing, as somebody asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first, as `yyyyMMddHH`.
    pub from: String,
    /// The last, itself included; the first alone without it.
    pub to: Option<String>,
}

impl Span {
    fn hours(&self) -> Result<(Hour, Hour), PortError> {
        let hour = |name: &str, text: &str| {
            Hour::parse(text).ok_or_else(|| {
                refused(format!("`{name}` is no hour; write it as yyyyMMddHH, in Beijing time"))
            })
        };
        let from = hour("from", &self.from)?;
        let to = self.to.as_ref().map_or(Ok(from), |to| hour("to", to))?;
        let many = (to.end() - from.start()).num_hours();
        match many {
            ..=0 => Err(refused("`from` is later than `to`; swap them".into())),
            1..=HOURS_MAX => Ok((from, to)),
            _ => {
                Err(refused(format!("that are {many} hours; ask for {HOURS_MAX} at once at most")))
            }
        }
    }
}

fn refused(text: String) -> PortError {
    PortError::new(Code::Invalid, Fault::Request, text)
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The first hour.
    pub from: String,
    /// The last one.
    pub to: String,
    /// Hours.
    pub hours: u64,
    /// Data types of hours that are built now.
    pub asked: u64,
    /// Those that were being built already.
    pub under_way: u64,
}

/// Has hours built anew.
///
/// # Errors
///
/// Of hours that have not ended, are none or are being built, of a workspace that is not enabled, and whatever the metadata database says.
pub async fn rebuild(
    ports: &Ports,
    workspace: &WorkspaceId,
    span: &Span,
) -> Result<Rebuilt, PortError> {
    let (from, to) = span.hours()?;
    if ports.clock.now() < to.end() {
        return Err(refused(format!("the hour {} has not ended yet; wait for it", to.name())));
    }
    if ports.enrolments.enrolment(workspace, NAME).await?.is_none() {
        let text = "the workspace is not enabled; `sluice growingio enable` does it";
        return Err(PortError::new(Code::NotFound, Fault::Request, text));
    }
    // Before anything is changed: what is being built would be without what came meanwhile.
    let mut hour = from;
    while hour <= to {
        let there = ports.tickets.tickets(workspace, NAME, &hour.keys()).await?;
        if there.iter().any(|ticket| is_under_way(&ticket.state)) {
            let text = format!("the hour {} is being built; wait until it is there", hour.name());
            return Err(PortError::new(Code::Conflict, Fault::Request, text));
        }
        hour = hour.next();
    }
    let head = ports.close(workspace, to.end()).await?;
    let until = rebuilt_until(&ports.settings(), ports.clock.now());
    let mut rebuilt =
        Rebuilt { from: from.name(), to: to.name(), hours: 0, asked: 0, under_way: 0 };
    let mut hour = from;
    while hour <= to {
        let there = ports.tickets.tickets(workspace, NAME, &hour.keys()).await?;
        for of in &TYPES {
            let known = there.iter().find(|ticket| ticket.key == hour.key(of));
            let gone = known.and_then(|ticket| match &ticket.state {
                TicketState::Ready { run, .. } => Some(run.clone()),
                _ => None,
            });
            let range = Some((CommitNumber(0), head));
            let lane = rebuild_lane(of);
            let asked = Asked { of, hour, lane, range, gone, until, at_once: true };
            match ports.draw(workspace, asked).await? {
                How::Known => rebuilt.under_way += 1,
                How::New | How::Again => rebuilt.asked += 1,
            }
        }
        rebuilt.hours += 1;
        hour = hour.next();
    }
    Ok(rebuilt)
}

fn is_under_way(state: &TicketState) -> bool {
    matches!(state, TicketState::Waiting | TicketState::Running { .. })
}

/// `POST /v1/growingio/rebuilds`.
pub(super) async fn asked(
    State(doors): State<Doors>,
    caller: Caller,
    JsonBody(span): JsonBody<Span>,
) -> Result<Response, Problem> {
    let core = &doors.core;
    let rebuilt = rebuild(&Ports::of(core), &caller.workspace, &span).await?;
    core.executor.wake.notify_one();
    let target = Target(format!("{}-{}", rebuilt.from, rebuilt.to));
    Ok((axum::http::StatusCode::ACCEPTED, Extension(target), Json(rebuilt)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: &str, to: Option<&str>) -> Result<i64, String> {
        let span = Span { from: from.into(), to: to.map(str::to_owned) };
        let found = span.hours().map(|(from, to)| (to.end() - from.start()).num_hours());
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn a_span_is_of_whole_hours_both_included() {
        assert_eq!(hours("2010120108", None), Ok(1));
        assert_eq!(hours("2010120100", Some("2010120123")), Ok(24));
        for (from, to, words) in [
            ("20101201", None, "`from` is no hour"),
            ("2010120108", Some("2010120124"), "`to` is no hour"),
            ("2010120109", Some("2010120108"), "swap them"),
            ("2010120100", Some("2011020100"), "at most"),
        ] {
            let said = hours(from, to).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
    }
}
