//! Slots of imported history: asked for by people, by the times at which rows were received elsewhere.
//!
//! Contract: each data type of each hour is built anew from all rows whose time of receipt is in it, whatever commit brought them, and replaces
//! what was built before, whose links go on (GI-17). All that is asked for at once is asked for, or nothing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::{Code, CommitNumber, Fault, PortError, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::platform::Asked;
use super::slots::{Hour, rebuild_lane, rebuilt_until};
use super::types::TYPES;
use super::{NAME, Ports};
use crate::Core;
use crate::http::body::JsonBody;
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::problem::{Problem, Problems};

/// Hours that are asked for at once: a month.
const HOURS_MAX: i64 = 31 * 24;

/// Hours of Beijing, as somebody asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = RebuildSpan)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rebuilt {
    /// The first hour.
    pub from: String,
    /// The last one.
    pub to: String,
    /// Hours.
    pub hours: u64,
    /// Data types of hours that are built now.
    pub asked: u64,
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
    // What is being built would be without what came meanwhile, so it is waited for.
    let head = ports.close(workspace, to.end()).await?;
    let until = rebuilt_until(&ports.settings(), ports.clock.now());
    let (mut all, mut hour) = (Vec::new(), from);
    while hour <= to {
        let range = Some((CommitNumber(0), head));
        all.extend(TYPES.iter().map(|of| Asked { of, hour, lane: rebuild_lane(of), range, until }));
        hour = hour.next();
    }
    let asked = all.len() as u64;
    // All or none: half an hour would pass for a whole one.
    ports.redraw(workspace, all).await?;
    let hours = (to.end() - from.start()).num_hours().unsigned_abs();
    Ok(Rebuilt { from: from.name(), to: to.name(), hours, asked })
}

/// Has hours of imported history built, all of them or none.
///
/// For a workspace that is enabled for GrowingIO. A server builds them one after another; each can be fetched when it is there.
#[utoipa::path(post, path = "/v1/growingio/rebuilds", operation_id = "growingio.rebuild", tag = "exports",
    request_body = Span, security(("token" = ["export:run"])),
    responses(
        (status = 202, body = Rebuilt), Problems))]
pub(super) async fn asked(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(span): JsonBody<Span>,
) -> Result<(StatusCode, Extension<Target>, Json<Rebuilt>), Problem> {
    let rebuilt = rebuild(&Ports::of(&core), &caller.workspace, &span).await?;
    core.executor.wake.notify_one();
    let target = Target(format!("{}-{}", rebuilt.from, rebuilt.to));
    Ok((StatusCode::ACCEPTED, Extension(target), Json(rebuilt)))
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
