//! Joins the members of a gzip file to one, for readers that stop after the first.
//!
//! Contract: members come as [`crate::compress::Codec::OneGzip`] makes them, each complete in itself; what goes out is one header, their deflated texts, and one end
//! with the checksum and the size of all. That is shorter than what came in.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::compress::{Codec, GZIP_BACK, GZIP_FRONT};
use crate::deflate;

/// The members of a file on their way to becoming one.
#[derive(Default)]
pub(super) struct Joiner {
    is_on: bool,
    /// The checksum of what has gone out; none before the first member.
    sum: Option<Hasher>,
    bytes: u32,
}

impl Joiner {
    /// Makes one for a file; of other codecs everything goes through.
    pub(super) fn new(codec: Codec) -> Self {
        Self { is_on: matches!(codec, Codec::OneGzip(_)), ..Self::default() }
    }

    /// Takes a member; returns what goes out.
    pub(super) fn take(&mut self, member: Bytes) -> Bytes {
        if !self.is_on || member.is_empty() {
            return member;
        }
        let back = member.len() - GZIP_BACK;
        let word = |at: usize| {
            let bytes = member[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        };
        let (sum, bytes) = (word(member.len() - 8), word(member.len() - 4));
        // The size counts modulo 2^32.
        self.bytes = self.bytes.wrapping_add(bytes);
        let next = Hasher::new_with_initial_len(sum, bytes.into());
        if let Some(sum) = &mut self.sum {
            sum.combine(&next);
            return member.slice(GZIP_FRONT..back);
        }
        self.sum = Some(next);
        member.slice(..back)
    }

    /// Returns what stands behind the last member.
    pub(super) fn end(self) -> Bytes {
        let Some(sum) = self.sum else { return Bytes::new() };
        let (sum, bytes) = (sum.finalize().to_le_bytes(), self.bytes.to_le_bytes());
        [deflate::END.as_slice(), &sum, &bytes].concat().into()
    }
}
