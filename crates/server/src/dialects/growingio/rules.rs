//! `GET /projects/{uid}/rules.csv`: names for the rules of actions.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use model::Code;
use model::format::FormatSpec;

use super::{NAME, PROJECT, access};
use crate::answer;
use crate::canonical;
use crate::http::Doors;
use crate::http::body::Segment;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// The newest fragment of each rule (GI-51).
const RULES: &str = r#"SELECT
    id AS "ruleId",
    last_value(name ORDER BY _commit) FILTER (WHERE name IS NOT NULL) AS "eventName",
    last_value(type ORDER BY _commit) FILTER (WHERE type IS NOT NULL) AS "eventType"
FROM rule
WHERE id IS NOT NULL
GROUP BY id
ORDER BY id"#;

/// Answers with the rules of a project.
pub(super) async fn rules(
    State(doors): State<Doors>,
    caller: Caller,
    Segment(uid): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let enrolment = access::project(&doors, &caller, &headers).await?;
    if enrolment.is_none_or(|own| own.name(PROJECT) != uid) {
        return Err(Problem::new(Code::NotFound, "there is no such project"));
    }
    doors.limits.ask_door(NAME, &caller.workspace)?;
    let core = &doors.core;
    canonical::ensure_for(core, &caller, &["rule"]).await?;
    let options =
        [("csv.escape", "backslash"), ("csv.line_breaks", "space"), ("csv.line_end", "lf")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let format = FormatSpec { compression: Some("none".into()), options, ..FormatSpec::new("csv") };
    let text = answer::text(core, &caller.workspace, (RULES, &format)).await?;
    Ok(([(header::CONTENT_TYPE, "text/csv")], text).into_response())
}
