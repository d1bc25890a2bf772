//! `GET /v2/insights/…` and `GET /insights/…`: where a slot stands, and links to its files.
//!
//! Contract: a look creates nothing. Whatever is wrong with a slot is told by a status, with HTTP 200, because clients never look at anything else
//! (GI-06); links are made anew for each look, and nothing is written for them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use model::enrolment::Enrolment;
use url::form_urlencoded;

use super::answers::{Insight, InsightV1, Links, Status, request_time, shown};
use super::files::Addresses;
use super::slots::{Built, Kind, LINK_MINUTES_MAX, Looked, Slot, Standing};
use super::types::{DataType, TYPES};
use super::{KIND, NAME, Settings, access};
use crate::http::Doors;
use crate::http::body::Segments;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// Minutes for which links are open without a choice (GI-09).
const MINUTES: i64 = 5;

/// What the minutes may be called.
const EXPIRE: [&str; 3] = ["expire", "minutes", "minute"];

/// The digits by which export 1.0 tells a day from an hour (GI-50).
const DAY_DIGITS: usize = 8;

/// Answers for one data type.
pub(super) async fn one(
    State(doors): State<Doors>,
    caller: Caller,
    Segments([kind, name, ai, date]): Segments<4>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let looking = Looking::begin(&doors, &caller, &headers).await?;
    let found = if let Some(of) = DataType::named(&name) {
        looking.at((&kind, &ai, &date), &uri, &[of]).await?
    } else {
        let known = TYPES.each_ref().map(|one| one.name).join(", ");
        let text = format!("there is no data type `{}`; use one of {known}", shown(&name));
        (Status::Error, text, Vec::new())
    };
    let (status, error, links) = found;
    let links = links.into_iter().map(|(_, link)| link).collect();
    let words = (kind, Some(name), date);
    Ok(looking.answer((status, error), Links::One(links), words))
}

/// Answers for all data types.
pub(super) async fn all(
    State(doors): State<Doors>,
    caller: Caller,
    Segments([kind, ai, date]): Segments<3>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let looking = Looking::begin(&doors, &caller, &headers).await?;
    let types = TYPES.iter().filter(|one| looking.settings.vstr || one.name != "vstr");
    let types: Vec<&'static DataType> = types.collect();
    let (status, error, links) = looking.at((&kind, &ai, &date), &uri, &types).await?;
    let of = |one: &&'static DataType| {
        let own = links.iter().filter(|(name, _)| *name == one.name);
        (one.name, own.map(|(_, link)| link.clone()).collect())
    };
    let links = Links::All(types.iter().map(of).collect());
    Ok(looking.answer((status, error), links, (kind, None, date)))
}

/// Answers as export 1.0 did: seven types in one list, an hour or a day by the digits of the date (GI-50).
pub(super) async fn v1(
    State(doors): State<Doors>,
    caller: Caller,
    Segments([ai, date]): Segments<2>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let looking = Looking::begin(&doors, &caller, &headers).await?;
    let types: Vec<&'static DataType> = TYPES.iter().filter(|one| one.v1).collect();
    let is_day = plain(&date).len() == DAY_DIGITS;
    let kind = if is_day { "day" } else { "hour" };
    let (status, _, links) = looking.at((kind, &ai, &date), &uri, &types).await?;
    let downlinks = links.into_iter().map(|(_, link)| link).collect();
    Ok(Json(InsightV1 { status, downlinks }).into_response())
}

/// Returns a date without the ending that it has in addresses.
fn plain(date: &str) -> &str {
    date.strip_suffix(".json").unwrap_or(date)
}

/// A look at slots.
struct Looking<'a> {
    doors: &'a Doors,
    caller: &'a Caller,
    settings: Settings,
    /// The project whose the token is.
    enrolment: Option<Enrolment>,
    now: DateTime<Utc>,
}

/// Where something stands, what to say of it, and links by data type.
type Found = (Status, String, Vec<(&'static str, String)>);

impl<'a> Looking<'a> {
    async fn begin(
        doors: &'a Doors,
        caller: &'a Caller,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let enrolment = access::project(doors, caller, headers).await?;
        doors.limits.ask_door(NAME, &caller.workspace)?;
        let core = &doors.core;
        Ok(Self {
            doors,
            caller,
            settings: core.dialects.of(&KIND),
            enrolment,
            now: core.clock.now(),
        })
    }

    async fn at(
        &self,
        (kind, ai, date): (&str, &str, &str),
        uri: &Uri,
        types: &[&'static DataType],
    ) -> Result<Found, Problem> {
        let nothing = |status, text: String| Ok((status, text, Vec::new()));
        let Some(kind) = Kind::named(kind) else {
            let text = format!("`{}` is no kind of export; use hour or day", shown(kind));
            return nothing(Status::Error, text);
        };
        let minutes = match minutes(uri.query().unwrap_or_default()) {
            Ok(minutes) => minutes,
            Err(text) => return nothing(Status::Error, text),
        };
        // GI-05: whose it is, nobody learns.
        let Some(enrolment) = self.enrolment.as_ref().filter(|own| own.name(super::AI) == ai)
        else {
            return nothing(Status::NotExists, "there is no such project".into());
        };
        let slot = match Slot::parse(kind, plain(date)) {
            Ok(slot) => slot,
            Err(text) => return nothing(Status::NotExists, text),
        };
        match self.look(enrolment, slot, types).await? {
            Standing::Missing(text) => nothing(Status::NotExists, text.into()),
            Standing::Running => nothing(Status::Running, String::new()),
            Standing::Failed(text) => nothing(Status::Error, text),
            Standing::Finished(built) => {
                let links = self.links(enrolment, &built, minutes).await?;
                Ok((Status::Finished, String::new(), links))
            }
        }
    }

    async fn look(
        &self,
        enrolment: &Enrolment,
        slot: Slot,
        types: &[&'static DataType],
    ) -> Result<Standing, Problem> {
        let hours = slot.hours();
        let keys = hours.iter().flat_map(|hour| types.iter().map(|of| hour.key(of)));
        let keys: Vec<String> = keys.chain(hours.iter().map(|hour| hour.empty_key())).collect();
        let workspace = &self.caller.workspace;
        let tickets = self.doors.core.tickets.tickets(workspace, NAME, &keys).await?;
        let tickets: BTreeMap<_, _> =
            tickets.into_iter().map(|ticket| (ticket.key.clone(), ticket)).collect();
        let (settings, now) = (&self.settings, self.now);
        let Enrolment { since, covered, .. } = *enrolment;
        let looked = Looked { settings, since, covered, now, tickets };
        Ok(looked.standing(slot, types))
    }

    async fn links(
        &self,
        enrolment: &Enrolment,
        built: &[Built],
        minutes: i64,
    ) -> Result<Vec<(&'static str, String)>, Problem> {
        if built.iter().all(|one| one.files == 0) {
            return Ok(Vec::new());
        }
        let until = self.now + TimeDelta::minutes(minutes);
        let addresses = Addresses::of(&self.doors.core, enrolment, &self.settings).await?;
        let link = |one: &Built, number| (one.of, addresses.link((one, number), until));
        let links =
            built.iter().flat_map(|one| (0..one.files).map(move |number| link(one, number)));
        Ok(links.collect())
    }

    fn answer(
        &self,
        (status, error_msg): (Status, String),
        download_links: Links,
        (kind, data_type, date): (String, Option<String>, String),
    ) -> Response {
        let digits = Kind::named(&kind).map_or(DAY_DIGITS, Kind::digits);
        let insight = Insight {
            status,
            download_links,
            export_type: shown(&kind),
            data_type: data_type.map(|name| shown(&name)),
            export_date: shown(plain(&date)).chars().take(digits).collect(),
            export_version: "v2",
            request_time: request_time(self.now, self.settings.request_time),
            error_msg,
        };
        Json(insight).into_response()
    }
}

/// Returns for how many minutes links shall be open (GI-09).
fn minutes(query: &str) -> Result<i64, String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let Some((name, text)) = pairs.find(|(name, _)| EXPIRE.contains(&&**name)) else {
        return Ok(MINUTES);
    };
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let minutes =
        text.parse().ok().filter(|minutes| is_plain && (1..=LINK_MINUTES_MAX).contains(minutes));
    minutes.ok_or_else(|| {
        let text = shown(&text);
        format!("`{name}` is `{text}`; it must be a whole number of minutes from 1 to {LINK_MINUTES_MAX}, which are 7 days")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_have_three_names_and_limits() {
        assert_eq!(minutes(""), Ok(5));
        assert_eq!(minutes("other=7"), Ok(5));
        for (query, expected) in [("expire=1", 1), ("minutes=60", 60), ("a=b&minute=10080", 10_080)]
        {
            assert_eq!(minutes(query), Ok(expected), "{query}");
        }
        for query in [
            "expire=0",
            "minute=10081",
            "minutes=",
            "expire=1.5",
            "expire=-5",
            "expire=+5",
            "expire=99999999999999999999",
        ] {
            let said = minutes(query).expect_err(query);
            assert!(said.contains("from 1 to 10080"), "{said}");
        }
    }
}
