//! Ends a file of text before it passes its maximum of bytes, at a row.
//!
//! Members are held back until it is certain that they stay: a file can only end behind a row, so the
//! last member in which a row ends is kept in hand with everything behind it. When a member does not fit,
//! the file ends behind the last of its rows with which it does, or behind the last row of the member in
//! hand. Everything follows from the text alone, never from time or threads.

use bytes::Bytes;
use model::ports::Encoded;
use model::{Code, Failure, Fault, PortError};

use super::Machine;
use super::text::{End, Member};
use crate::compress::Codec;

/// Bytes that whole members leave free below the maximum: the beginning of a member may, by a whim of a
/// compressor, take some bytes more than all of it, and must still fit in its place.
const SPARE_BYTES: u64 = 1024;

/// What to do next.
pub(super) enum Step {
    /// Hand these on; the file goes on.
    Go(Vec<Bytes>),
    /// Hand these on; the file is complete.
    End(Vec<Bytes>, Encoded),
}

/// The members of one file and its maximum.
pub(super) struct Limit {
    bytes_max: Option<u64>,
    codec: Codec,
    label: String,
    /// Members that may still be cut; a row ends in none but the first.
    held: Vec<Member>,
    /// Bytes in the file before the members in hand.
    sure_bytes: u64,
    /// Bytes of text before the members in hand.
    sure_text: u64,
}

impl Limit {
    /// Makes the limit of a file; without a maximum everything goes through.
    pub(super) fn new(bytes_max: Option<u64>, codec: Codec, label: String) -> Self {
        Self { bytes_max, codec, label, held: Vec::new(), sure_bytes: 0, sure_text: 0 }
    }

    /// Takes the file's next member.
    pub(super) async fn take(
        &mut self,
        machine: &Machine,
        member: Member,
    ) -> Result<Step, PortError> {
        let Some(bytes_max) = self.bytes_max else {
            return Ok(match member.last {
                Some(encoded) => Step::End(vec![member.packed], encoded),
                None => Step::Go(vec![member.packed]),
            });
        };
        let before = self.sure_bytes + self.held.iter().map(packed_bytes).sum::<u64>();
        let after = before + packed_bytes(&member);
        if let Some(encoded) = member.last.filter(|_| after <= bytes_max) {
            let mut bytes = self.release();
            bytes.push(member.packed);
            return Ok(Step::End(bytes, encoded));
        }
        if member.last.is_none() && after + SPARE_BYTES <= bytes_max {
            let bytes = if member.ends.is_empty() { Vec::new() } else { self.release() };
            self.held.push(member);
            return Ok(Step::Go(bytes));
        }
        self.end(machine, member, bytes_max, before).await
    }

    /// Ends the file in `member`, or behind the last row before it.
    async fn end(
        &mut self,
        machine: &Machine,
        member: Member,
        bytes_max: u64,
        before: u64,
    ) -> Result<Step, PortError> {
        let room = bytes_max.saturating_sub(before);
        let (codec, text, ends) = (self.codec, member.text.clone(), member.ends.clone());
        let longest = machine.run(move || longest(codec, &text, &ends, room)).get().await?;
        if let Some((packed, end)) = longest {
            let mut bytes = self.release();
            bytes.push(packed);
            return Ok(Step::End(bytes, self.sum(end)));
        }
        let behind =
            self.held.first().and_then(|held| Some((held.text.clone(), *held.ends.last()?)));
        if let Some((text, end)) = behind {
            let packed = machine.run(move || codec.member(&text.slice(..end.at))).get().await?;
            if self.sure_bytes + packed.len() as u64 <= bytes_max {
                return Ok(Step::End(vec![packed], self.sum(end)));
            }
        }
        // Where a row ends in this member, that row is the first; otherwise it is larger still.
        let needed = match member.ends.first() {
            Some(end) => {
                let text = member.text.slice(..end.at);
                before + machine.run(move || codec.member(&text).len()).get().await? as u64
            }
            None => before + packed_bytes(&member),
        };
        Err(Error::Row { needed, bytes_max, label: self.label.clone() }.into())
    }

    /// Gives up what was in hand: it stays in the file.
    fn release(&mut self) -> Vec<Bytes> {
        let release = |member: Member| {
            self.sure_bytes += packed_bytes(&member);
            self.sure_text += member.text.len() as u64;
            member.packed
        };
        std::mem::take(&mut self.held).into_iter().map(release).collect()
    }

    fn sum(&self, end: End) -> Encoded {
        Encoded {
            rows_read: end.read,
            rows: end.rows,
            uncompressed_bytes: self.sure_text + end.at as u64,
            values_lost: end.lost,
        }
    }
}

fn packed_bytes(member: &Member) -> u64 {
    member.packed.len() as u64
}

/// Returns the longest beginning of the text that ends behind a row and fits, found by halving.
fn longest(codec: Codec, text: &Bytes, ends: &[End], room: u64) -> Option<(Bytes, End)> {
    let mut best = None;
    let (mut fits, mut fails) = (0, ends.len() + 1);
    while fails - fits > 1 {
        let middle = fits.midpoint(fails);
        let end = ends[middle - 1];
        let packed = codec.member(&text.slice(..end.at));
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
        "the smallest file takes {needed} bytes or more as {label}, and a file may have {bytes_max}; raise `--file-size`"
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
