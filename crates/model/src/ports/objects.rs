//! Object stores done right.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::failure::{Code, Failure, Fault};
use crate::ids::ObjectKey;

/// What a create-only write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there now, whole and durable.
    Created,
    /// Something was there before; nothing was changed.
    Exists,
}

/// An object by name and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub key: ObjectKey,
    /// Its bytes.
    pub bytes: u64,
}

/// A step of looking whether a place can be used.
#[derive(Debug)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub step: &'static str,
    /// What was seen, or what is wrong.
    pub outcome: Result<String, ObjectError>,
}

/// One place that keeps whole, immutable objects under relative names.
///
/// Nothing is visible before it is whole and durable; nothing that exists is ever overwritten. An error
/// from `create` or `finish` leaves open whether the object is there (the reply may have been lost): the
/// caller settles it by `info` and by comparing bytes.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// Looks at the way to the place, step by step until one is wrong: whether it is found, answers, knows who asks. Where there is no way,
    /// there are no steps.
    async fn reach(&self, _now: DateTime<Utc>) -> Vec<Check> {
        Vec::new()
    }

    /// Creates an object from bytes held in memory. Parents are made as needed.
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError>;

    /// Starts an object that is written piece by piece. What is unfinished is not visible under `key` and
    /// carries `token`, so that [`Objects::abort`] can remove it after a crash.
    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError>;

    /// Removes what an unfinished upload of `key` with `token` left behind; fine if there is nothing.
    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError>;

    /// Returns the object's size, or `None` if there is no object.
    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError>;

    /// Reads bytes of an object; a range past its end is an error.
    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError>;

    /// Deletes an object; fine if it is not there.
    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError>;

    /// Returns the objects below a folder (`""` for all), by name; unfinished uploads are not among them.
    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError>;
}

/// An object being written.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError>;

    /// Makes the object visible under its key, create-only, durable.
    async fn finish(self: Box<Self>) -> Result<Put, ObjectError>;

    /// Removes what was written.
    async fn abort(self: Box<Self>) -> Result<(), ObjectError>;
}

/// What went wrong with an object, by outcome.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The object, as a person would look for it.
        path: String,
    },
    /// The name cannot be an object's (empty, absolute, with `..`).
    #[error("`{key}` cannot be the name of a file here")]
    BadKey {
        /// The name.
        key: String,
    },
    /// Not allowed.
    #[error("may not {action} `{path}`: {source}")]
    Denied {
        /// What was tried: `write`, `read`, `make the folder`, …
        action: &'static str,
        /// The object or folder.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No room left.
    #[error("no room left to write `{path}`; free some space and try again")]
    Full {
        /// The object.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It did not answer, or broke off; asking again may work.
    #[error("could not {action} `{path}`: {source}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The object.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was said about the place is wrong: no such bucket, another region.
    #[error("could not {action} `{path}`: {source}")]
    Misplaced {
        /// What was tried.
        action: &'static str,
        /// The object.
        path: String,
        /// The cause, which says what to set.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else, which stays so.
    #[error("could not {action} `{path}`: {source}")]
    Broken {
        /// What was tried.
        action: &'static str,
        /// The object.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure for ObjectError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::BadKey { .. } | Self::Misplaced { .. } => Code::Invalid,
            Self::Denied { .. } => Code::Forbidden,
            Self::Full { .. } => Code::TooLarge,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Broken { .. } => Code::Internal,
        }
    }

    /// A destination's fault; who uses a store for the lake's own files says so itself.
    fn fault(&self) -> Fault {
        Fault::Destination
    }
}
