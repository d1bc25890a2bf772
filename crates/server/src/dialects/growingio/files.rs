//! Addresses of files, and what is served there.
//!
//! Contract: `{public_url}/{prefix}_{ai}_{type}_{UTC stamp}/part-NNNNN-{uuid}.csv.gz?Expires=…&Signature=…`, in the shape that clients cut apart
//! (GI-20 to GI-25). Nothing is kept of an address: it is signed under a key that follows from the project's secret, over its path and its end. The uuid
//! stands for the run and the number of the file, so that no two files have the same first digits, which some clients take for a name.

use axum::extract::Query;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use model::access::Actor;
use model::enrolment::Enrolment;
use model::{Code, LinkId, RunId};
use ring::hmac;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::slots::Built;
use super::types::DataType;
use super::{AI, NAME, Settings, answers};
use crate::dialects::AskedFile;
use crate::http::caller::RequestId;
use crate::http::download::serve;
use crate::http::problem::Problem;
use crate::http::watch;
use crate::{Core, files};

/// What the log of changes and the metrics call a download.
const OPERATION: &str = "growingio.download";

/// What stands for every path in metrics.
const ROUTE: &str = "/{folder}/{file}";

/// What a file ends with.
const ENDING: &str = ".csv.gz";

/// Goes into the key of signatures before the secret, so that no other use of it gives the same.
const CONTEXT: &[u8] = b"sluice files";

/// The header with the MD5 of a file (GI-25).
const MD5: HeaderName = HeaderName::from_static("x-amz-meta-md5-hash");

/// Makes addresses of a project.
pub(super) struct Addresses {
    base: String,
    prefix: String,
    ai: String,
    key: hmac::Key,
}

impl Addresses {
    pub(super) async fn of(
        core: &Core,
        enrolment: &Enrolment,
        settings: &Settings,
    ) -> Result<Self, Problem> {
        let base = match &*settings.public_url {
            "" => core.minting.at.to_string(),
            // As it was checked.
            own => Url::parse(own).map_or_else(|_| own.to_owned(), String::from),
        };
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            prefix: settings.prefix.clone(),
            ai: enrolment.name(AI).to_owned(),
            key: key(core, enrolment).await?,
        })
    }

    /// Returns the address of a file by its number from 0.
    pub(super) fn link(&self, (built, number): (&Built, u64), until: DateTime<Utc>) -> String {
        let Self { base, prefix, ai, key } = self;
        let (of, stamp) = (built.of, built.hour.stamp());
        let uuid = uuid_of(&built.run, number);
        let path = format!("/{prefix}_{ai}_{of}_{stamp}/part-{number:05}-{uuid}{ENDING}");
        let expires = until.timestamp();
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, text(&path, expires).as_bytes()));
        format!("{base}{path}?Expires={expires}&Signature={signature}")
    }
}

async fn key(core: &Core, enrolment: &Enrolment) -> Result<hmac::Key, Problem> {
    let secret = core.enrolments.enrolment_secret(&enrolment.workspace, NAME).await?;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    Ok(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, CONTEXT).as_ref()))
}

/// What is signed.
fn text(path: &str, expires: i64) -> String {
    format!("{path}\n{expires}")
}

/// Returns what stands for a file: the digits of its run, those first that differ most, with its number in them.
fn uuid_of(run: &RunId, number: u64) -> Uuid {
    let digits = u128::from_str_radix(run.as_str(), 16).unwrap_or_default();
    Uuid::from_u128(digits.rotate_left(64) ^ (u128::from(number) << 96))
}

/// Returns the run of what stands for a file.
fn run_of(uuid: Uuid, number: u64) -> RunId {
    let digits = (uuid.as_u128() ^ (u128::from(number) << 96)).rotate_left(64);
    RunId::new(format!("{digits:032x}"))
}

/// What an address names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    ai: String,
    run: RunId,
    number: u64,
    name: String,
}

impl Named {
    fn parse(path: &str) -> Option<Self> {
        let (folder, file) = path.strip_prefix('/')?.split_once('/')?;
        let (_, rest) = folder.split_once('_')?;
        let (ai, rest) = rest.split_once('_')?;
        let (of, stamp) = rest.rsplit_once('_')?;
        DataType::named(of)?;
        let is_stamp = stamp.len() == 12 && stamp.bytes().all(|byte| byte.is_ascii_digit());
        let (number, uuid) = file.strip_suffix(ENDING)?.strip_prefix("part-")?.split_once('-')?;
        let is_number = number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_stamp || !is_number {
            return None;
        }
        let (number, uuid) = (number.parse().ok()?, Uuid::parse_str(uuid).ok()?);
        // It was below 2^32 when it was put there.
        let run = u32::try_from(number).is_ok().then(|| run_of(uuid, number))?;
        Some(Self { ai: ai.to_owned(), run, number, name: file.to_owned() })
    }
}

/// Returns whether a path is one of those made here.
pub(super) fn takes(path: &str) -> bool {
    Named::parse(path).is_some()
}

/// The query string of an address.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    expires: i64,
    signature: String,
}

/// Serves a file.
pub(super) async fn answer(asked: AskedFile) -> Response {
    let answered = served(&asked).await;
    answers::refused(answered.unwrap_or_else(IntoResponse::into_response))
}

async fn served(asked: &AskedFile) -> Result<Response, Problem> {
    let AskedFile { doors, client, parts } = asked;
    let id = parts.extensions.get::<RequestId>().ok_or_else(Problem::broken)?;
    client.begins(doors, (OPERATION, ROUTE))?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Problem::no_method());
    }
    let named = Named::parse(parts.uri.path()).ok_or_else(Problem::no_route)?;
    let Some(enrolment) = open(&doors.core, &named, &parts.uri).await? else {
        client.misses(doors)?;
        return Err(wrong());
    };
    let link = LinkId::new(format!("{NAME}/{}", named.ai));
    doors.limits.fetch(&link)?;
    let (core, workspace) = (&doors.core, &enrolment.workspace);
    let mut file = files::file(core, workspace, &named.run, named.number + 1).await?;
    file.name.clone_from(&named.name);
    let md5 = file.md5.take();
    let mut response = serve(file, &parts.headers).await?;
    if let Some(md5) = md5.and_then(|md5| HeaderValue::from_str(&md5).ok()) {
        response.headers_mut().insert(MD5, md5);
    }
    let sends = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if parts.method == Method::HEAD || !sends {
        return Ok(response);
    }
    let entry = watch::Entry {
        actor: Actor::Link(link),
        organization: enrolment.organization.clone(),
        workspace: workspace.clone(),
        action: OPERATION,
        target: format!("{}/{}", named.run, named.number + 1),
    };
    watch::told(core, (entry, id), response).await
}

/// Returns the project of an address that is signed and whose end has not come (GI-24).
async fn open(core: &Core, named: &Named, uri: &Uri) -> Result<Option<Enrolment>, Problem> {
    let Ok(Query(signed)) = Query::<Signed>::try_from_uri(uri) else { return Ok(None) };
    let Ok(tag) = URL_SAFE_NO_PAD.decode(&signed.signature) else { return Ok(None) };
    let Some(enrolment) = core.enrolments.enrolled(NAME, (AI, &named.ai)).await? else {
        return Ok(None);
    };
    let key = key(core, &enrolment).await?;
    if hmac::verify(&key, text(uri.path(), signed.expires).as_bytes(), &tag).is_err() {
        return Ok(None);
    }
    if signed.expires <= core.clock.now().timestamp() {
        let detail = "the link has expired; ask for the slot again, which makes new ones";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(Some(enrolment))
}

/// Nobody learns what is wrong with it.
fn wrong() -> Problem {
    let detail = "the link is not one that was given out; use it whole and unchanged";
    Problem::new(Code::Forbidden, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::slots::Hour;
    use super::*;

    const AI_OF_ALL: &str = "0123456789abcdef";

    fn addresses() -> Addresses {
        Addresses {
            base: "https://exports.example.com".into(),
            prefix: "sluice".into(),
            ai: AI_OF_ALL.into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, b"k"),
        }
    }

    fn link(run: &RunId, number: u64) -> String {
        let hour = Hour::parse("2017082108").expect("an hour");
        let built = Built { of: "custom_event", hour, run: run.clone(), files: 9 };
        addresses().link((&built, number), DateTime::from_timestamp(60, 0).expect("a time"))
    }

    #[test]
    fn a_link_is_cut_as_clients_cut_it() {
        let run = RunId::mint(DateTime::UNIX_EPOCH);
        let url = link(&run, 3);
        let pieces: Vec<&str> = url.split('/').collect();
        let words: Vec<&str> = pieces[3].split('_').collect();
        assert_eq!(words, ["sluice", AI_OF_ALL, "custom", "event", "201708210000"]);
        let at = url.find("part").expect("a file");
        let name = &url[at..url.find('?').expect("a query")];
        assert_eq!(name, pieces[4].split('?').next().expect("a name"));
        assert!(name.starts_with("part-00003-") && name.ends_with(".csv.gz") && name.len() >= 20);
        assert_eq!(url.matches(AI_OF_ALL).count(), 1);
    }

    #[test]
    fn the_first_digits_tell_files_apart() {
        let runs: Vec<RunId> = (0..50).map(|_| RunId::mint(DateTime::UNIX_EPOCH)).collect();
        let names = runs.iter().flat_map(|run| (0..20).map(|number| link(run, number)));
        let cut = |url: String| {
            let at = url.find("part").expect("a file");
            url[at + 10..at + 20].to_owned()
        };
        let all: BTreeSet<String> = names.map(cut).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn a_path_leads_back_to_the_file() {
        let run = RunId::mint(DateTime::UNIX_EPOCH);
        for number in [0, 7, 99_999, 123_456] {
            let url = url::Url::parse(&link(&run, number)).expect("a URL");
            let named = Named::parse(url.path()).expect("a file");
            assert_eq!((&named.run, named.number, &*named.ai), (&run, number, AI_OF_ALL));
            assert!(takes(url.path()));
        }
        let path = url::Url::parse(&link(&run, 0)).expect("a URL").path().to_owned();
        for (from, to) in [
            ("part-", "port-"),
            (".csv.gz", ".csv"),
            ("custom_event", "custom"),
            ("00000", "0000"),
            ("201708210000", "2017082100"),
            ("/part", "/x/part"),
        ] {
            assert!(!takes(&path.replace(from, to)), "{from}");
        }
        for other in ["/", "/v1/runs", "/links/ln_1/part-00000.csv.gz"] {
            assert!(!takes(other), "{other}");
        }
    }
}
