//! What can be wrong with a destination before anything is written to it.

use model::{Code, Failure, Fault};
use objects::s3::SettingError;

use super::fields::SETTINGS;

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
    #[error("the URL of the destination cannot be read: {source}")]
    Url {
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
    #[error("the destination is of kind `{kind}` and no local folder")]
    NotLocal {
        /// Its kind.
        kind: &'static str,
    },
    /// A field that the kind does not have.
    #[error("destinations of kind `{kind}` have no {field}; {known}")]
    UnknownField {
        /// The kind.
        kind: &'static str,
        /// The field with its name, unless that may be a secret in the wrong place.
        field: String,
        /// Where it was given.
        among: &'static str,
        /// The nearest one, or all there are.
        known: String,
    },
    /// A secret among what is shown, or the other way about.
    #[error("the field `{field}` of kind `{kind}` belongs to the {belongs}; give it there")]
    Misfiled {
        /// The kind.
        kind: &'static str,
        /// The field.
        field: String,
        /// Where it was given.
        among: &'static str,
        /// Where it belongs.
        belongs: &'static str,
    },
    /// A field that has to be given.
    #[error("a place of kind `{kind}` needs `{field}` among its {belongs}; give it{environment}")]
    MissingField {
        /// The kind.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// Where it belongs.
        belongs: &'static str,
        /// How the command line is told, with a comma before it.
        environment: String,
    },
    /// A field that cannot be read. What it holds is not repeated.
    #[error("the field `{field}` of the destination must be {expected}")]
    BadField {
        /// The field.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// Something about a bucket.
    #[error(transparent)]
    S3(#[from] SettingError),
}

impl Error {
    /// Returns the part of a destination that is wrong: `url`, `settings` or `secrets`.
    pub fn part(&self) -> &'static str {
        match self {
            Self::UnknownField { among, .. } | Self::Misfiled { among, .. } => among,
            Self::MissingField { belongs, .. } => belongs,
            Self::S3(SettingError::Bucket | SettingError::Prefix { .. }) => "url",
            Self::BadField { .. } | Self::S3(_) => SETTINGS,
            _ => "url",
        }
    }
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
            | Self::NotLocal { .. }
            | Self::UnknownField { .. }
            | Self::Misfiled { .. }
            | Self::MissingField { .. }
            | Self::BadField { .. } => Code::Invalid,
            Self::S3(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::S3(error) => error.fault(),
            _ => Fault::Request,
        }
    }
}
