//! Ends a file of text before it passes its maximum of bytes, at a row.
//!
//! When a member does not fit, the file ends behind the last of its rows with which it does, or with the
//! member before, in its last row. Everything follows from the text alone, never from time or threads.

use bytes::Bytes;
use model::ports::Encoded;
use model::{Code, Failure, Fault, PortError};

use super::Machine;
use super::text::{End, Member, Source};
use crate::compress::Codec;

/// What to do next.
pub(super) enum Step {
    /// Hand these on; the file goes on.
    Go(Vec<Bytes>),
    /// Hand these on; the file is complete.
    End(Vec<Bytes>, Encoded),
}

/// A file and its maximum.
pub(super) struct Limit {
    bytes_max: Option<u64>,
    codec: Codec,
    label: String,
    /// Bytes in the file.
    bytes: u64,
    /// What the file comes to if it ends here; `None` before the first row.
    here: Option<Encoded>,
}

impl Limit {
    /// Makes the limit of a file; without a maximum everything goes through.
    pub(super) fn new(bytes_max: Option<u64>, codec: Codec, label: String) -> Self {
        Self { bytes_max, codec, label, bytes: 0, here: None }
    }

    /// Takes the file's next member, and what the file comes to if it is the last.
    pub(super) async fn take(
        &mut self,
        machine: &Machine,
        member: Member,
        last: Option<Encoded>,
    ) -> Result<Step, PortError> {
        let after = self.bytes + member.packed.len() as u64;
        let bytes_max = match self.bytes_max {
            Some(most) if after > most => most,
            _ => return Ok(self.keep(member, last)),
        };
        let (codec, source) = (self.codec, member.source.unwrap_or_default());
        let room = bytes_max - self.bytes;
        let from = source.clone();
        let longest = machine.run(move || longest(codec, &from, room)).get().await?;
        if let Some((packed, end)) = longest {
            let sum = self.sum(&end);
            return Ok(Step::End(vec![packed], sum));
        }
        if let Some(encoded) = self.here {
            return Ok(Step::End(Vec::new(), encoded));
        }
        let first = source.ends.first().map(|end| end.at);
        let needed = match first {
            Some(at) => machine.run(move || source.packed(codec, at).len()).get().await? as u64,
            None => after,
        };
        Err(Error::Row { needed, bytes_max, label: self.label.clone() }.into())
    }

    /// Lets a member into the file.
    fn keep(&mut self, member: Member, last: Option<Encoded>) -> Step {
        if let Some(encoded) = last {
            return Step::End(vec![member.packed], encoded);
        }
        if let Some(end) = member.source.as_ref().and_then(|source| source.ends.last()) {
            self.here = Some(self.sum(end));
        }
        self.bytes += member.packed.len() as u64;
        Step::Go(vec![member.packed])
    }

    fn sum(&self, end: &End) -> Encoded {
        let before = self.here.map_or(0, |here| here.uncompressed_bytes);
        Encoded {
            rows_read: end.read,
            rows: end.rows,
            uncompressed_bytes: before + end.at as u64,
            values_lost: end.lost,
        }
    }
}

/// Returns the longest beginning of the text that ends behind a row and fits, found by halving.
fn longest(codec: Codec, source: &Source, room: u64) -> Option<(Bytes, End)> {
    let mut best = None;
    let (mut fits, mut fails) = (0, source.ends.len() + 1);
    while fails - fits > 1 {
        let middle = fits.midpoint(fails);
        let end = source.ends[middle - 1];
        let packed = source.packed(codec, end.at);
        if packed.len() as u64 <= room {
            best = Some((packed, end));
            fits = middle;
        } else {
            fails = middle;
        }
    }
    best
}

/// Why a file cannot stay below its maximum.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// One row alone is too large, or even a file without one.
    #[error(
        "the smallest file takes {needed} bytes or more as {label}, and a file may have {bytes_max}; allow more bytes a file"
    )]
    Row {
        /// Bytes of that file, as far as it was written.
        needed: u64,
        /// The maximum.
        bytes_max: u64,
        /// The format and compression.
        label: String,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Row { .. } => Code::TooLarge,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}
