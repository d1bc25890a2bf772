//! Proves that what was exported is what its manifest says, with no database and no server.
//!
//! Reads a manifest, reads every file it names from the first byte to the last, and holds length,
//! checksum and rows, counted really, against what was sealed; follows the chain of predecessors back to
//! commit 0 if asked. What is wrong is a list of [`Difference`]s, not an error: an error is only that
//! the manifest asked for cannot be read. Changes nothing, opens nothing outside of the manifests'
//! folders, and streams, so that memory does not grow with files.
//!
//! It does not compare rows with the lake: that the sealed rows are the range's is the run's promise.

mod chain;
mod content;
mod file;
mod manifest;
mod report;

use std::io;
use std::path::{Path, PathBuf};

use model::limits::MANIFEST_BYTES_MAX;
use model::manifest::VERSION;
use model::{Code, Failure, Fault};
use serde::Serialize;

use chain::Walk;
use manifest::Sealed;

pub use report::{Difference, Kind, Report, Verified};

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chain {
    /// This manifest only.
    One,
    /// This manifest and every one before it, down to commit 0.
    Follow,
}

/// Verifies the manifest at a path, on every core.
///
/// Shape: the path of a manifest in; what was read and how it differs out. All is well if
/// [`Report::is_good`].
///
/// # Errors
///
/// Only if the manifest itself cannot be read as one: [`Fault::Source`].
///
/// ```
/// use export::verify::{Chain, Error, verify};
/// let error = verify("no/manifest.json".as_ref(), Chain::One).expect_err("it is not there");
/// assert!(matches!(error, Error::Missing { .. }));
/// ```
pub fn verify(manifest: &Path, chain: Chain) -> Result<Report, Error> {
    let mut report = Report::new(chain);
    let mut walk = Walk::default();
    let mut next = Some(Sealed::read(manifest)?);
    while let Some(here) = next {
        here.check(&mut report);
        next = match chain {
            Chain::One => None,
            Chain::Follow => walk.back(&here, &mut report),
        };
    }
    Ok(report)
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("no manifest at `{path}`; give the path of a `manifest.json`", path = .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is a folder, or something stranger.
    #[error("`{path}` is no file; give the path of the `manifest.json` in it", path = .path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// The file system does not give it.
    #[error("manifest `{path}` cannot be read: {reason}", path = .path.display(), reason = .source.kind())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any manifest.
    #[error("`{path}` has more than {MANIFEST_BYTES_MAX} bytes; no manifest is that large", path = .path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
    },
    /// It is not JSON.
    #[error(
        "`{path}` is not JSON at line {line}, column {column}; if it was a manifest, it is damaged",
        path = .path.display(), line = .source.line(), column = .source.column()
    )]
    NoJson {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is JSON of something else.
    #[error("`{path}` is not a manifest: it has no `version` with a number", path = .path.display())]
    NoManifest {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is of a version that this program does not know.
    #[error(
        "manifest `{path}` has version {found}, and this program knows version {VERSION}; use a newer one",
        path = .path.display()
    )]
    Version {
        /// The path.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A property is missing, unknown or of another type.
    #[error("`{path}` is not a manifest of version {VERSION}: {source}", path = .path.display())]
    Form {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Self::Missing { path, source }
            }
            _ => Self::Read { path, source },
        }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::NotFound,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Read { .. } => Code::Unavailable,
            Self::NoFile { .. }
            | Self::NoJson { .. }
            | Self::NoManifest { .. }
            | Self::Version { .. }
            | Self::Form { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Source
    }
}

#[cfg(test)]
mod tests;
