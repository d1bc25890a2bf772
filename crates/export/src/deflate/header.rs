//! The header of a dynamic block: its code lengths, run-length coded and then Huffman coded.

use super::bits::BitWriter;
use super::huffman::{self, DISTANCES, LENGTHS_FROM, LITERALS};

/// Symbols for code lengths: 0 to 15, and three kinds of repeat.
const KINDS: usize = 19;
/// Longest code for these symbols.
const KIND_BITS_MAX: usize = 7;
/// The order in which the lengths of these codes are sent.
const KIND_ORDER: [usize; KINDS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Extra bits of the repeats 16 (of the length before), 17 and 18 (of zero).
const REPEAT_EXTRA: [u8; 3] = [2, 3, 7];

/// A header that is ready to be written.
pub(super) struct Header {
    literals: usize,
    distances: usize,
    kinds: usize,
    kind_lengths: [u8; KINDS],
    /// Symbol and extra bits.
    items: [(u8, u8); LITERALS + DISTANCES],
    item_count: usize,
}

impl Header {
    /// The header of blocks that have none.
    pub(super) fn none() -> Self {
        Self {
            literals: 0,
            distances: 0,
            kinds: 0,
            kind_lengths: [0; KINDS],
            items: [(0, 0); LITERALS + DISTANCES],
            item_count: 0,
        }
    }

    /// Prepares the header for these code lengths.
    pub(super) fn new(literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> Self {
        let mut header = Self::none();
        header.literals = used(literals, LENGTHS_FROM);
        header.distances = used(distances, 1);
        let mut lengths = [0; LITERALS + DISTANCES];
        let all = header.literals + header.distances;
        lengths[..header.literals].copy_from_slice(&literals[..header.literals]);
        lengths[header.literals..all].copy_from_slice(&distances[..header.distances]);
        for run in lengths[..all].chunk_by(|a, b| a == b) {
            header.add_run(run[0], run.len());
        }
        let mut counts = [0; KINDS];
        for (symbol, _) in &header.items[..header.item_count] {
            counts[usize::from(*symbol)] += 1;
        }
        huffman::fill_lengths(&counts, KIND_BITS_MAX, &mut header.kind_lengths);
        header.kinds = used(&KIND_ORDER.map(|kind| header.kind_lengths[kind]), 4);
        header
    }

    fn add_run(&mut self, length: u8, mut left: usize) {
        if length == 0 {
            while left >= 11 {
                let part = left.min(138);
                self.add(18, part - 11);
                left -= part;
            }
            if left >= 3 {
                self.add(17, left - 3);
                left = 0;
            }
        } else {
            self.add(length, 0);
            left -= 1;
            while left >= 3 {
                let part = left.min(6);
                self.add(16, part - 3);
                left -= part;
            }
        }
        for _ in 0..left {
            self.add(length, 0);
        }
    }

    fn add(&mut self, symbol: u8, extra: usize) {
        let extra = u8::try_from(extra).expect("a repeat has at most 7 extra bits");
        self.items[self.item_count] = (symbol, extra);
        self.item_count += 1;
    }

    /// Returns the bits that the header takes, without the three that tell the kind of block.
    pub(super) fn bits(&self) -> u64 {
        let items = self.items[..self.item_count].iter();
        let items = items.map(|&(symbol, _)| {
            u64::from(self.kind_lengths[usize::from(symbol)] + extra_bits(symbol))
        });
        14 + self.kinds as u64 * 3 + items.sum::<u64>()
    }

    /// Writes the kind of block and the header.
    pub(super) fn write(&self, last: bool, writer: &mut BitWriter<'_>) {
        writer.write(u64::from(last) | 2 << 1, 3);
        writer.write(self.literals as u64 - 257, 5);
        writer.write(self.distances as u64 - 1, 5);
        writer.write(self.kinds as u64 - 4, 4);
        for &kind in &KIND_ORDER[..self.kinds] {
            writer.write(u64::from(self.kind_lengths[kind]), 3);
        }
        let mut codes = [0; KINDS];
        huffman::fill_codes(&self.kind_lengths, &mut codes);
        for &(symbol, extra) in &self.items[..self.item_count] {
            let symbol_at = usize::from(symbol);
            writer.put(u64::from(codes[symbol_at]), u32::from(self.kind_lengths[symbol_at]));
            writer.write(u64::from(extra), u32::from(extra_bits(symbol)));
        }
    }
}

fn extra_bits(symbol: u8) -> u8 {
    symbol.checked_sub(16).map_or(0, |repeat| REPEAT_EXTRA[usize::from(repeat)])
}

/// Returns how many lengths there are up to the last that is not zero, but at least `least`.
fn used(lengths: &[u8], least: usize) -> usize {
    lengths.iter().rposition(|&length| length > 0).map_or(least, |last| least.max(last + 1))
}
