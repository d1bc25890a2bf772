//! Putting whole objects at a destination, and settling what an unclear answer means.
//!
//! A store may lose its reply after it did what was asked, refuse, deliver twice, or show an old state.
//! So neither an error nor "it exists" is believed: the object is read back and its SHA-256 compared.
//! The same bytes are ours, whoever put them; other bytes are somebody else's and stay untouched.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use model::digest::{hex, sha256_hex};
use model::ports::{ObjectError, Objects, Put};
use model::{Code, Failure, Fault, ObjectKey};

use crate::retry::Tries;

/// Bytes read back at once when an object is compared.
const COMPARE_BYTES: u64 = 4 << 20;

/// What an object should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Its SHA-256, bare lower-case hex.
    pub(crate) sha256: String,
}

/// What an unclear answer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Our bytes are there.
    Ours,
    /// Nothing is there.
    Absent,
}

/// Creates an object from bytes in memory, create-only, until it is certain that it is there.
pub(crate) async fn put(
    objects: &dyn Objects,
    key: &ObjectKey,
    bytes: Bytes,
    tries: &mut Tries<'_>,
) -> Result<(), Error> {
    let expected = Expected { bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) };
    loop {
        let reply = objects.create(key, bytes.clone()).await;
        let Err(error) = confirm(objects, key, reply, &expected).await else { return Ok(()) };
        if !tries.again(error.code()).await {
            return Err(error);
        }
        tracing::warn!(%error, "a delivery failed; trying again");
    }
}

/// Turns the reply of a create-only write into certainty.
///
/// # Errors
///
/// [`Error::AnotherFile`] if other bytes are there. The reply's own error if nothing is there: then the
/// write may be repeated.
pub(crate) async fn confirm(
    objects: &dyn Objects,
    key: &ObjectKey,
    reply: Result<Put, ObjectError>,
    expected: &Expected,
) -> Result<(), Error> {
    let doubt = match reply {
        Ok(Put::Created) => return Ok(()),
        Ok(Put::Exists) => Error::Unsettled { key: key.clone() },
        Err(error) => Error::Objects(error),
    };
    match settle(objects, key, expected).await {
        Ok(Settled::Ours) => Ok(()),
        Ok(Settled::Absent) => Err(doubt),
        Err(error @ Error::AnotherFile { .. }) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "an unclear answer could not be settled");
            Err(doubt)
        }
    }
}

/// Looks what is at `key`, by size and by SHA-256.
pub(crate) async fn settle(
    objects: &dyn Objects,
    key: &ObjectKey,
    expected: &Expected,
) -> Result<Settled, Error> {
    let Some(info) = objects.info(key).await? else { return Ok(Settled::Absent) };
    let same = info.bytes == expected.bytes
        && sha256_of(objects, key, info.bytes).await? == expected.sha256;
    if same { Ok(Settled::Ours) } else { Err(Error::AnotherFile { key: key.clone() }) }
}

async fn sha256_of(objects: &dyn Objects, key: &ObjectKey, bytes: u64) -> Result<String, Error> {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + COMPARE_BYTES);
        hash.update(objects.read(key, at..end).await?);
        at = end;
    }
    Ok(hex(&hash.finalize()))
}

/// What went wrong with a delivery.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// Something else has the name.
    #[error(
        "another file is at `{key}`; it was left as it is: move it away, or choose another name"
    )]
    AnotherFile {
        /// Where.
        key: ObjectKey,
    },
    /// The destination contradicts itself.
    #[error("the destination says that `{key}` exists, but does not show it; try again")]
    Unsettled {
        /// Where.
        key: ObjectKey,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Objects(error) => error.code(),
            Self::AnotherFile { .. } => Code::Conflict,
            Self::Unsettled { .. } => Code::Unavailable,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Destination
    }
}
