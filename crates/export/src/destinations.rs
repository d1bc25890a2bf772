//! Where files go: places by URL, and the stores behind them.
//!
//! A kind of destination is one file in the folder of this module and one line in the registry below; it
//! describes itself as data ([`Kind`]). A saved export keeps a destination as the text that [`canonical`]
//! returns, so that the same place has the same text wherever the command was typed. Nothing here does
//! I/O; no message repeats a whole URL of a foreign scheme, which may hold a password.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::ports::Objects;
use model::{Code, Failure, Fault};
use url::Url;

macro_rules! registry {
    ($($module:ident),+ $(,)?) => {
        $(mod $module;)+
        /// Every kind of destination, in the order in which help shows them.
        pub static KINDS: &[&Kind] = &[$(&$module::KIND),+];
    };
}

registry! {
    local,
}

/// Schemes that are planned, so that whoever asks for one learns that it is not a typing error.
const NOT_BUILT: &[&str] = &["s3", "gs", "az", "abfss", "sftp"];

/// A kind of destination, described as data.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// What it does.
    destination: &'static dyn Destination,
}

/// What a kind of destination does.
trait Destination: std::fmt::Debug + Sync {
    /// Returns the one text of the place.
    fn canonical(&self, url: &Url) -> Result<String, Error>;

    /// Makes the store. Does no I/O.
    fn open(&self, url: &Url) -> Result<Arc<dyn Objects>, Error>;
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
        Some(scheme) => {
            let kind = kind(&scheme)?;
            kind.destination.canonical(&parse(&scheme, text)?)
        }
    }
}

/// Makes the store of a destination's URL. Does no I/O: whether it can be written to shows with the first file.
///
/// # Errors
///
/// [`Error`], always the request's fault.
pub fn open(url: &str) -> Result<Arc<dyn Objects>, Error> {
    let (kind, url) = resolve(url)?;
    kind.destination.open(&url)
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
    let (kind, url) = resolve(url)?;
    if kind.name != local::KIND.name {
        return Err(Error::NotLocal { scheme: url.scheme().to_owned() });
    }
    local::path_of(&url)
}

fn resolve(text: &str) -> Result<(&'static Kind, Url), Error> {
    let scheme = scheme(text).ok_or_else(|| Error::NoScheme { text: text.to_owned() })?;
    Ok((kind(&scheme)?, parse(&scheme, text)?))
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

fn parse(scheme: &str, text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|source| Error::Url { scheme: scheme.to_owned(), source })
}

fn built() -> String {
    listed(KINDS.iter().flat_map(|kind| kind.schemes.iter().copied()))
}

fn listed<'a>(schemes: impl Iterator<Item = &'a str>) -> String {
    schemes.map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>().join(", ")
}

/// What is wrong with a destination.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was given.
    #[error("the destination is empty; give a folder or a URL")]
    Empty,
    /// Planned, not there.
    #[error(
        "destinations of scheme `{scheme}` are not built yet; use a path or one of these: {built}"
    )]
    NotBuilt {
        /// The scheme.
        scheme: String,
        /// Those that can be used.
        built: String,
    },
    /// Not known at all.
    #[error(
        "no destination has the scheme `{scheme}`; use a path or one of these: {built} (not built yet: {planned})"
    )]
    Unknown {
        /// The scheme.
        scheme: String,
        /// Those that can be used.
        built: String,
        /// Those that will be.
        planned: String,
    },
    /// A path where a URL is needed.
    #[error("`{text}` is no URL; a local folder is written as `file:///…`")]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// Not a URL.
    #[error("the `{scheme}` URL of the destination cannot be read: {source}")]
    Url {
        /// Its scheme.
        scheme: String,
        /// The cause.
        #[source]
        source: url::ParseError,
    },
    /// A file on some other machine.
    #[error(
        "`file://{host}/…` names the host `{host}`; a local folder has three slashes: `file:///…`"
    )]
    Host {
        /// The host.
        host: String,
    },
    /// `?` or `#`, which end the path of a URL.
    #[error("`{url}` has a `{sign}`, which ends the path of a URL; write `{written}` for it")]
    Sign {
        /// The URL.
        url: String,
        /// The sign.
        sign: char,
        /// How it is written inside a path.
        written: &'static str,
    },
    /// A path that no folder can have.
    #[error("`{path}` cannot be a folder's path: it has a zero byte or does not start at the root")]
    Path {
        /// The path.
        path: String,
    },
    /// A local folder is needed.
    #[error("the destination has the scheme `{scheme}` and is no local folder")]
    NotLocal {
        /// Its scheme.
        scheme: String,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Empty
            | Self::NotBuilt { .. }
            | Self::Unknown { .. }
            | Self::NoScheme { .. }
            | Self::Url { .. }
            | Self::Host { .. }
            | Self::Sign { .. }
            | Self::Path { .. }
            | Self::NotLocal { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests;
