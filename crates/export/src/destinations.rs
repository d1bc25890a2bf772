//! Where files go: places by URL, and the stores behind them.
//!
//! A kind of destination is one file in the folder of this module and one line in the registry below; it
//! describes itself as data ([`Kind`]), with the fields that its places need besides a URL. A saved export
//! keeps a destination as the text that [`canonical`] returns, so that the same place has the same text wherever the
//! command was typed. Nothing here does I/O; no message repeats a whole URL of a foreign scheme, which may hold
//! a password, nor what a field holds.

mod error;
mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::SecretText;
use model::ports::Objects;
use objects::{Egress, S3};
use url::Url;

pub use error::Error;
pub use fields::{Field, Place};

macro_rules! registry {
    ($($module:ident),+ $(,)?) => {
        $(mod $module;)+
        /// Every kind of destination, in the order in which help shows them.
        pub static KINDS: &[&Kind] = &[$(&$module::KIND),+];
    };
}

registry! {
    local,
    s3,
}

/// Schemes that are planned, so that whoever asks for one learns that it is not a typing error.
const NOT_BUILT: &[&str] = &["gs", "az", "abfss", "sftp"];

/// A kind of destination, described as data.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// What has to be known of a place besides its URL.
    pub fields: &'static [Field],
    /// What it does.
    destination: &'static dyn Destination,
}

/// What a kind of destination does.
trait Destination: std::fmt::Debug + Sync {
    /// Returns the one text of the place that a URL names.
    fn canonical(&self, url: &str) -> Result<String, Error>;

    /// Makes the store of a place whose fields are known ones. Does no I/O.
    fn open(&self, place: &Place, egress: &Egress) -> Result<Arc<dyn Objects>, Error>;
}

/// Returns the one text of a place that was given as a path or URL: the same for the same place.
///
/// Shape: a path, relative to `cwd` or absolute, or a URL of a known scheme; out comes a URL, for a local
/// folder an absolute `file://` URL without `.`, `..` or a slash at its end. The folder need not exist.
///
/// # Errors
///
/// [`Error`], always the request's fault.
///
/// ```
/// use std::path::Path;
/// let canonical = |text| export::destinations::canonical(text, Path::new("/data")).expect("local");
/// assert_eq!(canonical("out/./a b/"), "file:///data/out/a%20b");
/// assert_eq!(canonical("file:///data/out/a%20b"), "file:///data/out/a%20b");
/// ```
pub fn canonical(text: &str, cwd: &Path) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    match scheme(text) {
        None => local::url_of(&cwd.join(text)).map(String::from),
        Some(scheme) => kind(&scheme)?.destination.canonical(text),
    }
}

/// Makes the store of a place. Does no I/O: whether it can be written to shows with the first file.
///
/// Only what `egress` allows is called. The folders of this machine are not its business.
///
/// # Errors
///
/// [`Error`], always the request's fault: for a URL that is none, a field that its kind does not have or that
/// misses, and an address that may not be called.
///
/// ```
/// use export::destinations::{Place, open};
/// let egress = objects::Egress::default();
/// let place = Place { url: "s3://exports/a".into(), ..Place::default() };
/// let error = open(&place, &egress).expect_err("no keys");
/// assert!(error.to_string().contains("`access_key_id`"), "{error}");
/// ```
pub fn open(place: &Place, egress: &Egress) -> Result<Arc<dyn Objects>, Error> {
    let kind = kind_of(&place.url)?;
    kind.destination.canonical(&place.url)?;
    place.check(kind)?;
    kind.destination.open(place, egress)
}

/// Checks what is known of a place to be, before it is kept: its settings, and the names alone of its secrets. Does no
/// I/O.
///
/// # Errors
///
/// Like [`open`]; what misses is named as a field, because no environment stands in for a place that is kept.
///
/// ```
/// use export::destinations::check;
/// let (settings, secrets) = ([].into(), ["access_key_id".to_owned()].into());
/// let error = check("s3://exports", &settings, &secrets, &objects::Egress::default());
/// let error = error.expect_err("half a key");
/// assert_eq!((error.part(), error.to_string().contains("AWS")), ("secrets", false));
/// ```
pub fn check(
    url: &str,
    settings: &BTreeMap<String, String>,
    secrets: &BTreeSet<String>,
    egress: &Egress,
) -> Result<(), Error> {
    let known = |name: &String| (name.clone(), SecretText::new("-"));
    let secrets = secrets.iter().map(known).collect();
    let place = Place { url: url.to_owned(), settings: settings.clone(), secrets };
    match open(&place, egress) {
        Ok(_) => Ok(()),
        Err(Error::MissingField { kind, field, belongs, .. }) => {
            Err(Error::MissingField { kind, field, belongs, environment: String::new() })
        }
        Err(error) => Err(error),
    }
}

/// Makes the store of a bucket for what is no destination: the lake's own files.
///
/// # Errors
///
/// Like [`open`].
pub fn bucket(place: &Place, egress: &Egress) -> Result<S3, Error> {
    s3::KIND.destination.canonical(&place.url)?;
    place.check(&s3::KIND)?;
    s3::open(place, egress)
}

/// Returns the kind of a place by its URL.
///
/// # Errors
///
/// [`Error`], always the request's fault.
pub fn kind_of(url: &str) -> Result<&'static Kind, Error> {
    kind(&scheme(url).ok_or_else(|| Error::NoScheme { text: url.to_owned() })?)
}

/// Returns the folder of a local destination's URL.
///
/// # Errors
///
/// [`Error`]; a URL of another kind is [`Error::NotLocal`].
///
/// ```
/// let path = export::destinations::local_path("file:///data/a%20b").expect("local");
/// assert_eq!(path, std::path::Path::new("/data/a b"));
/// ```
pub fn local_path(url: &str) -> Result<PathBuf, Error> {
    let kind = kind_of(url)?;
    if kind.name != local::KIND.name {
        return Err(Error::NotLocal { kind: kind.name });
    }
    local::path_of(&parse(url)?)
}

/// Returns the scheme in lower case; `None` for a path. A single colon does not make a URL, because file
/// names may have one, except in `file:`.
fn scheme(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let is_word = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    (is_word && (rest.starts_with("//") || (scheme == "file" && rest.starts_with('/'))))
        .then_some(scheme)
}

fn kind(scheme: &str) -> Result<&'static Kind, Error> {
    let found = KINDS.iter().find(|kind| kind.schemes.contains(&scheme));
    found.copied().ok_or_else(|| {
        let scheme = scheme.to_owned();
        if NOT_BUILT.contains(&scheme.as_str()) {
            return Error::NotBuilt { scheme, built: built() };
        }
        Error::Unknown { scheme, built: built(), planned: listed(NOT_BUILT.iter().copied()) }
    })
}

fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|source| Error::Url { source })
}

fn built() -> String {
    listed(KINDS.iter().flat_map(|kind| kind.schemes.iter().copied()))
}

fn listed<'a>(schemes: impl Iterator<Item = &'a str>) -> String {
    schemes.map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
