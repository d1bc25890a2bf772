//! Gathers tokens into blocks, for one text.

use super::Effort;
use super::bits::{self, BitWriter};
use super::block::{self, Block};
use super::common::{RUN_BYTES_MAX, word_at};
use super::guide::Guide;
use super::search::{Far, Near};
use super::token::{LENGTH_MAX, LENGTH_MIN, Token};

/// Tokens in a block at most. More makes for stale codes, fewer for more headers.
const BLOCK_TOKENS_MAX: usize = 64 * 1024;
/// Tokens that one match may make on top, with some to spare.
const MATCH_TOKENS_MAX: usize = 2 * RUN_BYTES_MAX / LENGTH_MAX;
/// Bytes that a block stands for at most, more or less: those of one match come on top.
pub(super) const BLOCK_BYTES_MAX: usize = 512 * 1024;

/// What is kept between texts, so that nothing need be allocated for each.
pub(super) struct Memory {
    guide: Guide,
    near: Near,
    far: Far,
    tokens: Vec<Token>,
    buffer: Box<bits::Buffer>,
}

impl Memory {
    /// Allocates everything.
    pub(super) fn new() -> Self {
        Self {
            guide: Guide::new(),
            near: Near::new(),
            far: Far::new(),
            tokens: Vec::with_capacity(BLOCK_TOKENS_MAX + MATCH_TOKENS_MAX),
            buffer: bits::buffer(),
        }
    }
}

/// One text on its way to becoming a stream.
pub(super) struct Stream<'a> {
    pub(super) text: &'a [u8],
    pub(super) effort: Effort,
    pub(super) guide: &'a mut Guide,
    pub(super) near: &'a mut Near,
    pub(super) far: &'a mut Far,
    pub(super) sink: Sink<'a>,
}

impl<'a> Stream<'a> {
    /// Starts a stream at the end of `out`.
    pub(super) fn new(
        text: &'a [u8],
        effort: Effort,
        memory: &'a mut Memory,
        out: &'a mut Vec<u8>,
    ) -> Self {
        memory.guide.clear();
        memory.near.clear();
        memory.far.clear();
        memory.tokens.clear();
        let sink = Sink {
            text,
            tokens: &mut memory.tokens,
            writer: BitWriter::new(out, &mut memory.buffer),
            block_from: 0,
            covered: 0,
        };
        Self {
            text,
            effort,
            guide: &mut memory.guide,
            near: &mut memory.near,
            far: &mut memory.far,
            sink,
        }
    }
}

/// Takes the matches that are found and writes a block whenever there are enough.
pub(super) struct Sink<'a> {
    text: &'a [u8],
    tokens: &'a mut Vec<Token>,
    writer: BitWriter<'a>,
    /// Where the block begun starts.
    block_from: usize,
    /// Everything before this is in a token or in a block that is written.
    covered: usize,
}

impl Sink<'_> {
    /// Returns where the last match ended, or the last block if that is later.
    #[inline]
    pub(super) fn covered(&self) -> usize {
        self.covered
    }

    /// Adds a match of any length from 3 up, and the literals before it. Where those are the same
    /// as what precedes the earlier place, they become part of the match.
    #[inline]
    pub(super) fn add(&mut self, from: usize, length: usize, distance: usize) {
        if self.tokens.len() >= BLOCK_TOKENS_MAX {
            self.write_block(self.covered, false);
        }
        let literals = from - self.covered;
        let back = self.common_before(from, distance).min(literals);
        let (literals, length) = (literals - back, length + back);
        self.covered = from - back + length;
        if length <= LENGTH_MAX {
            self.tokens.push(Token::new(literals, length, distance));
        } else {
            self.add_long(literals, length, distance);
        }
    }

    /// Returns how many bytes before `from` are the same as those before the earlier place, up to
    /// eight; none near the start of the text.
    #[inline]
    fn common_before(&self, from: usize, distance: usize) -> usize {
        let before = |at: usize| word_at(self.text, at.checked_sub(8)?);
        match (before(from), before(from - distance)) {
            (Some(a), Some(b)) => ((a ^ b).leading_zeros() >> 3) as usize,
            _ => 0,
        }
    }

    #[inline(never)]
    fn add_long(&mut self, mut literals: usize, mut length: usize, distance: usize) {
        while length > 0 {
            // What is left must not be too short for a match of its own.
            let part = if length < LENGTH_MAX + LENGTH_MIN && length > LENGTH_MAX {
                length - LENGTH_MIN
            } else {
                length.min(LENGTH_MAX)
            };
            self.tokens.push(Token::new(literals, part, distance));
            literals = 0;
            length -= part;
        }
    }

    /// Ends the block if it stands for enough; everything before `at` that is not covered becomes
    /// literals.
    #[inline]
    pub(super) fn bound_block(&mut self, at: usize) {
        if at > self.block_from + BLOCK_BYTES_MAX {
            self.write_block(at.max(self.covered), false);
        }
    }

    /// Writes the last block.
    pub(super) fn finish(mut self) {
        self.write_block(self.text.len(), true);
        self.writer.align();
    }

    /// Writes what is left, and an empty stored block, which ends at a whole byte.
    pub(super) fn finish_open(mut self) {
        self.write_block(self.text.len(), false);
        self.writer.write(0, 3);
        self.writer.align();
        self.writer.bytes(&[0, 0, 0xff, 0xff]);
    }

    #[cold]
    #[inline(never)]
    fn write_block(&mut self, end: usize, last: bool) {
        let block = Block {
            text: &self.text[self.block_from..],
            length: end - self.block_from,
            tokens: self.tokens,
            last,
        };
        block::write(&block, &mut self.writer);
        self.tokens.clear();
        self.block_from = end;
        self.covered = end;
    }
}
