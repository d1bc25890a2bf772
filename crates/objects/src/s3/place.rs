//! Buckets and the folders in them, as people write them.

use std::fmt;

use model::{Code, Failure, Fault};
use url::Url;

use crate::{egress, key};

const SCHEME: &str = "s3://";

/// A folder of a bucket: `s3://bucket/folder`, or all of it.
///
/// The folder's name is taken as it is written, as the tools for S3 do; `%20` is three letters.
///
/// ```
/// use objects::s3::Place;
/// let place = Place::parse("S3://exports/team a/").expect("a place");
/// assert_eq!(place.to_string(), "s3://exports/team a");
/// assert_eq!((place.bucket(), place.prefix()), ("exports", "team a"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    bucket: String,
    prefix: String,
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    ///
    /// [`SettingError::Bucket`] and [`SettingError::Prefix`]. The first does not repeat what was written, which may hold
    /// a password.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let scheme = text.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        let rest = &text[scheme.ok_or(SettingError::Bucket)?.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return Err(SettingError::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if key::check_folder(prefix).is_err() || prefix.contains(['?', '#']) {
            return Err(SettingError::Prefix { prefix: prefix.to_owned() });
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// Returns the bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the folder, without a slash at its ends; empty for the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns something in the folder as a person would look for it.
    pub(super) fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.to_string() } else { format!("{self}/{name}") }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, prefix } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(f, "{SCHEME}{bucket}{slash}{prefix}")
    }
}

fn is_bucket(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte) || b"-.".contains(byte))
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
        && !name.contains("..")
}

/// Reads the URL of a service.
pub(super) fn endpoint(text: &str) -> Result<Url, SettingError> {
    let url = Url::parse(text).map_err(|_| SettingError::Endpoint)?;
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    let spoken = matches!(url.scheme(), "https" | "http") && url.has_host();
    if plain && bare && spoken { Ok(url) } else { Err(SettingError::Endpoint) }
}

/// Returns where Amazon's own service is.
pub(super) fn amazon(region: &str) -> Result<Url, SettingError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = !region.is_empty() && region.bytes().all(is_plain);
    let url = format!("https://s3.{region}.amazonaws.com");
    Url::parse(&url).ok().filter(|_| is_region).ok_or(SettingError::Region)
}

/// What is wrong with the settings of a bucket.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No place.
    #[error(
        "a bucket's folder is written as `s3://bucket/folder`; the bucket's name has 3 to 63 letters `a` to `z`, digits, `-` and `.`, and nothing stands before it"
    )]
    Bucket,
    /// A folder that cannot be.
    #[error("`{prefix}` cannot be a folder of a bucket; name one without `..`, `//`, `?` and `#`")]
    Prefix {
        /// The folder.
        prefix: String,
    },
    /// No endpoint. What was written may hold a password and is not repeated.
    #[error(
        "`endpoint` is no URL of a service; write it as `https://host:port`, without a user's name"
    )]
    Endpoint,
    /// No region of Amazon's.
    #[error("`region` is none of Amazon's; write it like `eu-central-1`, or set `endpoint`")]
    Region,
    /// An address cannot have a bucket's name before it.
    #[error("the `endpoint` is an address, not a host's name; set `path_style` to `true`")]
    Hosted,
    /// The endpoint may not be called.
    #[error(transparent)]
    Egress(#[from] egress::Error),
    /// The client could not be made.
    #[error("the client for S3 could not be made: {source}")]
    Client {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure for SettingError {
    fn code(&self) -> Code {
        match self {
            Self::Bucket | Self::Prefix { .. } | Self::Endpoint | Self::Region | Self::Hosted => {
                Code::Invalid
            }
            Self::Egress(error) => error.code(),
            Self::Client { .. } => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Client { .. } => Fault::Own,
            _ => Fault::Request,
        }
    }
}
