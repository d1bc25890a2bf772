//! Signed addresses of files: made here, and served here to whoever has one.
//!
//! Contract: an address opens one file of one run until the end of its link, and nothing once the link is taken back. Its
//! path is for whoever made it to choose: what is looked at is the query string, and an address that no route
//! takes is looked at for one. The signature covers path, link, file and end, so that nothing of it can be changed.
//! A download that has begun goes on, also beyond the end. Each one is in the log of changes before its first byte is sent.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use model::access::Actor;
use model::limits::{LINK_FILES_MAX, LINK_SECONDS, LINK_SECONDS_MAX};
use model::link::{Closed, Link, LinkKey, NewLink, OpenLink};
use model::ports::{AccessError, Links, Runs};
use model::run::RunStatus;
use model::{Clock, Code, Failure, Fault, LinkId, PortError, RunId, WorkspaceId};
use ring::hmac;
use run::Destinations;
use serde::Deserialize;
use url::Url;

use crate::dialects::{self, AskedFile};
use crate::files;
use crate::http::caller::RequestId;
use crate::http::download::{Download, serve};
use crate::http::problem::Problem;
use crate::http::{Client, Doors, watch};

/// What the log of changes and the metrics call a download.
const OPERATION: &str = "link.download";

/// What stands for every path of an address in metrics.
const ROUTE: &str = "/{link}";

/// What of a run an address opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Its manifest.
    Manifest,
    /// A file by its place in the manifest, from 1.
    File(u64),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::File(number) => write!(f, "{number}"),
        }
    }
}

impl Of {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "manifest" => Some(Self::Manifest),
            text => text.parse().ok().map(Self::File),
        }
    }
}

/// Where clients find this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PublicUrl {
    /// Reads an `http` or `https` URL without a query string; a path is what a proxy in front adds.
    ///
    /// ```
    /// use server::links::PublicUrl;
    /// assert!(PublicUrl::parse("https://exports.example.com/sluice").is_some());
    /// assert!(PublicUrl::parse("exports.example.com").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username() == "";
        (matches!(url.scheme(), "http" | "https") && is_plain && url.password().is_none())
            .then_some(Self(url))
    }

    /// The path that a proxy adds, without a slash at its end.
    fn prefix(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }
}

/// Returns the address of a file, below the URL of the server, under a path of one's own choice.
///
/// ```
/// use chrono::DateTime;
/// use model::link::{Link, LinkKey};
/// use server::links::{Of, PublicUrl, address};
/// let link = Link {
///     id: model::LinkId::new("ln_1"),
///     workspace: model::WorkspaceId::default_workspace(),
///     run: model::RunId::new("r"),
///     author: "ada".into(),
///     created_at: DateTime::UNIX_EPOCH,
///     expires_at: DateTime::UNIX_EPOCH,
///     revoked_at: None,
/// };
/// let at = PublicUrl::parse("https://example.com").expect("a URL");
/// let url = address(&at, &["a b.csv"], (&link, &LinkKey::new([7; 32])), Of::File(1));
/// assert!(url.starts_with("https://example.com/a%20b.csv?link=ln_1&file=1&expires=0&signature="));
/// ```
pub fn address(at: &PublicUrl, path: &[&str], (link, key): (&Link, &LinkKey), of: Of) -> String {
    let mut url = at.0.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let (own, expires) = (&url.path()[at.prefix().len()..], link.expires_at.timestamp());
    let tag = hmac::sign(&signing(key), text(own, &link.id, of, expires).as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(tag);
    url.query_pairs_mut()
        .append_pair("link", link.id.as_str())
        .append_pair("file", &of.to_string())
        .append_pair("expires", &expires.to_string())
        .append_pair("signature", &signature);
    url.into()
}

fn signing(key: &LinkKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.reveal())
}

/// What is signed.
fn text(path: &str, link: &LinkId, of: Of, expires: i64) -> String {
    format!("{path}\n{link}\n{of}\n{expires}")
}

/// Makes links to the files of runs.
#[derive(Clone)]
pub struct Minting {
    /// Where they are kept.
    pub links: Arc<dyn Links>,
    /// The runs.
    pub runs: Arc<dyn Runs>,
    /// Where their files are.
    pub destinations: Arc<dyn Destinations>,
    /// Where keys come from: 256 random bits of the system's.
    pub secret: fn() -> Result<[u8; 32], PortError>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where clients find the server.
    pub at: PublicUrl,
}

/// A link that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The run.
    pub run: RunId,
    /// The files by their place in the manifest, from 1; all without it.
    pub files: Option<Vec<u64>>,
    /// Seconds for which it is open; an hour without it.
    pub seconds: Option<u64>,
    /// Who asks.
    pub author: String,
}

/// A link that was made, with its addresses.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The link.
    pub link: Link,
    /// The address of the manifest.
    pub manifest: String,
    /// Those of files, in the manifest's order.
    pub files: Vec<Linked>,
}

/// An address of a file.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Its place in the manifest, from 1.
    pub number: u64,
    /// What it may be saved as.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// The address.
    pub url: String,
}

impl Minting {
    /// Makes a link, with an address for its manifest and for each file that is wanted.
    ///
    /// # Errors
    ///
    /// [`Error`]: for a run that is not sealed or whose files are elsewhere, for a file that it does not have, and for more
    /// files or a longer time than may be.
    pub async fn mint(&self, wanted: Wanted) -> Result<Minted, Error> {
        let Wanted { workspace, run, files, seconds, author } = wanted;
        let run = files::held(&*self.runs, &*self.destinations, (&workspace, &run)).await?;
        let numbers = numbers(&run, files)?;
        let seconds = seconds.unwrap_or(LINK_SECONDS);
        if !(1..=LINK_SECONDS_MAX).contains(&seconds) {
            return Err(Error::Time);
        }
        let now = self.clock.now();
        let link = Link {
            id: LinkId::mint(now),
            workspace,
            run: run.id,
            author,
            created_at: now,
            expires_at: now + TimeDelta::seconds(seconds.cast_signed()),
            revoked_at: None,
        };
        let new =
            NewLink { link, key: (self.secret)().map(LinkKey::new).map_err(run::Port::from)? };
        let files = self.addresses(&new, &numbers).await?;
        let manifest = self.address(&new, files::MANIFEST, Of::Manifest);
        self.links.create_link(&new).await?;
        Ok(Minted { link: new.link, manifest, files })
    }

    async fn addresses(&self, new: &NewLink, numbers: &[u64]) -> Result<Vec<Linked>, Error> {
        let Link { workspace, run, .. } = &new.link;
        let mut all = Vec::with_capacity(numbers.len());
        for (first, many) in streaks(numbers) {
            let receipts = self.runs.files(workspace, run, first, many).await;
            let receipts = receipts.map_err(files::Error::from)?;
            all.extend((first..).zip(receipts).map(|(number, receipt)| {
                let name = files::name(&receipt).to_owned();
                let url = self.address(new, &name, Of::File(number));
                Linked { number, name, bytes: receipt.bytes, sha256: receipt.sha256, url }
            }));
        }
        Ok(all)
    }

    fn address(&self, new: &NewLink, name: &str, of: Of) -> String {
        address(&self.at, &["links", new.link.id.as_str(), name], (&new.link, &new.key), of)
    }
}

/// Returns which files are wanted, in order.
fn numbers(run: &RunStatus, wanted: Option<Vec<u64>>) -> Result<Vec<u64>, Error> {
    let there = run.sums.as_ref().map_or(0, |sums| sums.files);
    let many = wanted.as_ref().map_or(there, |wanted| wanted.len() as u64);
    if many > LINK_FILES_MAX as u64 {
        return Err(Error::Many { many });
    }
    let Some(mut wanted) = wanted else { return Ok((1..=there).collect()) };
    wanted.sort_unstable();
    wanted.dedup();
    match wanted.iter().find(|number| !(1..=there).contains(*number)) {
        Some(number) => Err(files::Error::missing(run, *number).into()),
        None => Ok(wanted),
    }
}

/// Returns runs of numbers, each by its first and how many there are.
fn streaks(numbers: &[u64]) -> Vec<(u64, u32)> {
    let mut streaks: Vec<(u64, u32)> = Vec::new();
    for number in numbers {
        match streaks.last_mut() {
            Some((first, many)) if *first + u64::from(*many) == *number => *many += 1,
            _ => streaks.push((*number, 1)),
        }
    }
    streaks
}

/// Why no link is made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing that it could open.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Too many files.
    #[error("{many} files are too many for one answer; name up to {LINK_FILES_MAX} of them")]
    Many {
        /// How many are wanted.
        many: u64,
    },
    /// Too long, or not at all.
    #[error("a link is open for 1 to {LINK_SECONDS_MAX} seconds; name so many")]
    Time,
    /// The metadata database says no, or does not answer.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The system has no random bits.
    #[error(transparent)]
    Key(#[from] run::Port),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::File(error) => error.code(),
            Self::Many { .. } => Code::TooLarge,
            Self::Time => Code::Invalid,
            Self::Access(error) => error.code(),
            Self::Key(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::File(error) => error.fault(),
            Self::Many { .. } | Self::Time => Fault::Request,
            Self::Access(error) => error.fault(),
            Self::Key(error) => error.fault(),
        }
    }
}

/// The query string of an address.
#[derive(Debug, Deserialize)]
struct Signed {
    link: String,
    file: String,
    expires: i64,
    signature: String,
}

impl Signed {
    /// Returns what is opened, if nothing of the address was changed.
    fn check(&self, path: &str, open: &OpenLink) -> Option<Of> {
        let of = Of::parse(&self.file)?;
        let tag = URL_SAFE_NO_PAD.decode(&self.signature).ok()?;
        let text = text(path, &open.link.id, of, self.expires);
        hmac::verify(&signing(&open.key), text.as_bytes(), &tag).ok().map(|()| of)
    }
}

/// Serves what no route takes: an address that is signed, or nothing.
pub(crate) async fn serve_or_refuse(
    State(doors): State<Doors>,
    client: Client,
    request: axum::extract::Request,
) -> Response {
    if let Some(files) = dialects::files(request.uri().path()) {
        let (parts, _) = request.into_parts();
        return (files.answer)(AskedFile { doors, client, parts }).await;
    }
    let is_signed = |query: &str| query.contains("signature=") && query.contains("link=");
    if !request.uri().query().is_some_and(is_signed) {
        return Problem::no_route().into_response();
    }
    let (parts, _) = request.into_parts();
    let Some(id) = parts.extensions.get::<RequestId>() else {
        return Problem::broken().into_response();
    };
    if let Err(problem) = client.begins(&doors, (OPERATION, ROUTE)) {
        return problem.into_response();
    }
    let asked = Asked { doors: &doors, client, id, method: &parts.method, headers: &parts.headers };
    asked.answer(&parts.uri).await.unwrap_or_else(IntoResponse::into_response)
}

/// A request with a signed address.
struct Asked<'a> {
    doors: &'a Doors,
    client: Client,
    id: &'a RequestId,
    method: &'a Method,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    async fn answer(&self, uri: &Uri) -> Result<Response, Problem> {
        if !matches!(*self.method, Method::GET | Method::HEAD) {
            return Err(Problem::no_method());
        }
        let (open, of) = self.open(uri).await?;
        let (core, link) = (&self.doors.core, &open.link);
        match link.closed(core.clock.now()) {
            Some(Closed::Expired) => return Err(gone("has expired")),
            Some(Closed::Revoked) => return Err(gone("was taken back")),
            None => {}
        }
        let file = match of {
            Of::Manifest => files::manifest(core, &link.workspace, &link.run).await?,
            Of::File(number) => files::file(core, &link.workspace, &link.run, number).await?,
        };
        self.told(file, &open, of).await
    }

    /// Returns the link of an address whose signature is right.
    async fn open(&self, uri: &Uri) -> Result<(OpenLink, Of), Problem> {
        let core = &self.doors.core;
        let Ok(Query(signed)) = Query::<Signed>::try_from_uri(uri) else { return Err(wrong()) };
        // No id has any, and not every database takes them.
        if signed.link.contains(char::is_control) {
            return Err(wrong());
        }
        let found = core.minting.links.open_link(&LinkId::new(&*signed.link)).await?;
        let opened = found.and_then(|open| {
            // A proxy may have taken its own path away, or not.
            let prefix = core.minting.at.prefix();
            let own = uri.path().strip_prefix(prefix).filter(|own| own.starts_with('/'));
            let paths = [Some(uri.path()), own];
            let of = paths.into_iter().flatten().find_map(|path| signed.check(path, &open));
            of.map(|of| (open, of))
        });
        let Some((open, of)) = opened else {
            self.client.misses(self.doors)?;
            return Err(wrong());
        };
        self.doors.limits.ask_link(&open.link.id)?;
        Ok((open, of))
    }

    /// Answers, and has it in the log.
    async fn told(&self, file: Download, open: &OpenLink, of: Of) -> Result<Response, Problem> {
        let response = serve(file, self.headers).await?;
        let sends = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if *self.method == Method::HEAD || !sends {
            return Ok(response);
        }
        let (core, link) = (&self.doors.core, &open.link);
        let entry = watch::Entry {
            actor: Actor::Link(link.id.clone()),
            organization: open.organization.clone(),
            workspace: link.workspace.clone(),
            action: OPERATION,
            target: format!("{}/{of}", link.run),
        };
        watch::told(core, (entry, self.id), response).await
    }
}

/// Nobody learns whether there is such a link.
fn wrong() -> Problem {
    let detail = "the address is not one that was given out; use it whole and unchanged";
    Problem::new(Code::Forbidden, detail).at("signature")
}

fn gone(what: &str) -> Problem {
    Problem::new(Code::Gone, format!("the link {what}; ask whoever sent it for another one"))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use model::{OrganizationId, RunId, WorkspaceId};

    use super::*;

    fn open() -> OpenLink {
        let link = Link {
            id: LinkId::new("ln_1"),
            workspace: WorkspaceId::default_workspace(),
            run: RunId::new("r"),
            author: "ada".into(),
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::from_timestamp(60, 0).expect("a time"),
            revoked_at: None,
        };
        let organization = OrganizationId::default_organization();
        OpenLink { link, organization, key: LinkKey::new([7; 32]) }
    }

    fn made(base: &str, path: &[&str], of: Of) -> Url {
        let (at, open) = (PublicUrl::parse(base).expect("a URL"), open());
        Url::parse(&address(&at, path, (&open.link, &open.key), of)).expect("a URL")
    }

    fn opens(path: &str, query: &str) -> Option<Of> {
        let uri: Uri = format!("{path}?{query}").parse().expect("an address");
        let Query(signed) = Query::<Signed>::try_from_uri(&uri).ok()?;
        signed.check(path, &open())
    }

    #[test]
    fn files_behind_each_other_are_asked_for_together() {
        assert_eq!(streaks(&[]), []);
        assert_eq!(streaks(&[1, 2, 3, 5, 9, 10]), [(1, 3), (5, 1), (9, 2)]);
    }

    #[test]
    fn an_address_opens_what_it_was_made_for() {
        for of in [Of::Manifest, Of::File(12)] {
            for path in [&["a.csv"][..], &["x", "ä b+c%.gz"], &["links", "ln_1", "part-0.jsonl"]] {
                let url = made("http://h:1", path, of);
                assert_eq!(opens(url.path(), url.query().expect("one")), Some(of), "{url}");
            }
        }
    }

    #[test]
    fn a_proxy_may_add_a_path() {
        let url = made("https://h/sluice/", &["a.csv"], Of::File(1));
        let own = url.path().strip_prefix("/sluice").expect("below it");
        assert_eq!((own, opens(own, url.query().expect("one"))), ("/a.csv", Some(Of::File(1))));
    }

    #[test]
    fn what_is_changed_opens_nothing() {
        let url = made("http://h", &["a.csv"], Of::File(1));
        let (path, query) = (url.path(), url.query().expect("one"));
        assert_eq!(opens("/b.csv", query), None);
        for (from, to) in [
            ("file=1", "file=2"),
            ("file=1", "file=manifest"),
            ("file=1", "file=x"),
            ("expires=60", "expires=61"),
            ("signature=", "signature=A"),
            ("signature=", "signature=%20"),
        ] {
            let changed = query.replace(from, to);
            assert_ne!(changed, query);
            assert_eq!(opens(path, &changed), None, "{changed}");
        }
        assert_eq!(opens(path, &query[..query.len() - 1]), None);
    }
}
