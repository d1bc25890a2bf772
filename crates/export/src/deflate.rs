//! A DEFLATE (RFC 1951) encoder that is told where the values lie in the text.
//!
//! Text made from rows and columns repeats itself in known places: a value often equals the one
//! above it in its column, or one seen not long ago, and the key before it always does. So this
//! encoder asks once for each value, not once for each byte, where it was seen before; bytes are
//! searched singly only where that does not help. What it is told is a hint: every match is
//! compared with the text, so a wrong hint costs bytes and never truth.
//!
//! The output is a pure function of text, cells and effort, and is never more than a few bytes
//! larger than stored blocks would be. What is made here is the bare stream; the caller adds the
//! header and checksum of gzip.

mod bits;
mod block;
mod common;
mod guide;
mod header;
mod huffman;
mod place;
mod search;
mod stream;
mod token;

#[cfg(test)]
mod tests;

use stream::Stream;

/// One value in the text. What lies between the value before and `start` is key and punctuation.
///
/// Units: byte offsets in the text. Cells ascend and do not overlap; one that does not keep to
/// that, or lies outside of the text, is ignored. The text may go on after the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Where the value starts, with its quotes if it has any.
    pub(crate) start: u32,
    /// Where the value ends.
    pub(crate) end: u32,
    /// Which column the value is of; values of one column are likely to be alike.
    pub(crate) column: u32,
}

/// A last block without content, which ends a stream at a whole byte.
pub(crate) const END: [u8; 2] = [0x03, 0x00];

/// How much work to spend on looking for repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Looks for whole values, and in the remains of those that are long.
    Fast,
    /// Looks into shorter remains of values too: up to a few percent smaller, and a little slower.
    Dense,
}

/// Compresses texts one after the other in memory that it keeps.
pub(crate) struct Encoder {
    memory: stream::Memory,
}

impl Encoder {
    /// Makes an encoder with all the memory that it needs.
    pub(crate) fn new() -> Self {
        Self { memory: stream::Memory::new() }
    }

    /// Appends one complete raw DEFLATE stream for `text` to `out`.
    ///
    /// Shape: any text, also empty; any cells, also none. What `out` holds already stays.
    ///
    /// # Panics
    ///
    /// If `text` has more than `u32::MAX` bytes, which offsets in cells cannot express.
    pub(crate) fn encode(
        &mut self,
        text: &[u8],
        cells: &[Cell],
        effort: Effort,
        out: &mut Vec<u8>,
    ) {
        self.written(text, cells, effort, out).sink.finish();
    }

    /// Appends the same without its end, up to a whole byte: behind it may stand another, which refers to nothing in this one, or the end of the
    /// stream, [`END`].
    ///
    /// # Panics
    ///
    /// As [`Encoder::encode`].
    pub(crate) fn encode_open(
        &mut self,
        text: &[u8],
        cells: &[Cell],
        effort: Effort,
        out: &mut Vec<u8>,
    ) {
        self.written(text, cells, effort, out).sink.finish_open();
    }

    /// Writes all of a text.
    fn written<'a>(
        &'a mut self,
        text: &'a [u8],
        cells: &[Cell],
        effort: Effort,
        out: &'a mut Vec<u8>,
    ) -> Stream<'a> {
        assert!(u32::try_from(text.len()).is_ok(), "a text has at most 2^32 - 1 bytes");
        let mut stream = Stream::new(text, effort, &mut self.memory, out);
        stream.cells(cells);
        stream
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}
