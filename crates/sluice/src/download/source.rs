//! Where bytes come from: an address, or an object of a destination.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::ports::Objects;
use model::{Failure, ObjectKey};
use objects::address::{self, Address, Whole};

use crate::failed::Failed;

/// Bytes read of an object at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Something to be fetched.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// What an address opens.
    Address(Address),
    /// What lies in a destination.
    Object(Arc<dyn Objects>, ObjectKey, Whole),
}

/// Why no bytes come.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Asking again may help; a server may say after how many seconds.
    Again(String, Option<u64>),
    /// It does not.
    Over(Failed),
}

impl From<address::Stopped> for Stopped {
    fn from(stopped: address::Stopped) -> Self {
        match stopped {
            address::Stopped::Again { why, after } => Self::Again(why, after),
            address::Stopped::Over { why } => Self::Over(Failed::source(why)),
        }
    }
}

impl Source {
    /// Asks what it is.
    pub(crate) async fn look(&self) -> Result<Whole, Stopped> {
        match self {
            Self::Object(_, _, whole) => Ok(whole.clone()),
            Self::Address(address) => Ok(address.look().await?),
        }
    }

    /// Asks for a range; hands what comes to `take`, piece by piece.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        whole: &Whole,
        mut take: impl FnMut(Bytes) -> Result<(), Failed> + Send,
    ) -> Result<(), Stopped> {
        match self {
            Self::Object(objects, key, _) => {
                let mut at = range.start;
                while at < range.end {
                    let end = range.end.min(at + CHUNK_BYTES);
                    let bytes = objects.read(key, at..end).await.map_err(|error| {
                        if error.code().can_retry() {
                            Stopped::Again(error.to_string(), None)
                        } else {
                            Stopped::Over(error.into())
                        }
                    })?;
                    take(bytes).map_err(Stopped::Over)?;
                    at = end;
                }
            }
            Self::Address(address) => {
                let mut answer = address.read(range, whole).await?;
                while let Some(bytes) = answer.next().await? {
                    take(bytes).map_err(Stopped::Over)?;
                }
            }
        }
        Ok(())
    }
}
