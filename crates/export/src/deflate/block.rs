//! Codes the tokens of one block in the form that takes the fewest bits.
//!
//! A long block takes its statistics from a sample of the tokens, as counting them all costs a
//! tenth of the time. Such a block is written first and measured after; if it came out larger
//! than the bytes would be if they were merely stored, it is taken back and done over with exact
//! statistics. A short block is always counted exactly. Either way no block is larger than stored.

use super::bits::{BitWriter, PUT_BITS_MAX};
use super::header::Header;
use super::huffman::{
    self, DISTANCE_EXTRA, DISTANCES, END, LENGTH_BASES, LENGTH_EXTRA, LENGTH_SYMBOLS, LENGTHS_FROM,
    LITERALS,
};
use super::token::Token;

/// Longest code in a dynamic block: four literals fit between two flushes of the writer.
const CODE_BITS_MAX: usize = 14;
const _: () = assert!(CODE_BITS_MAX * 4 <= PUT_BITS_MAX);

/// Bytes in a stored block at most.
const STORED_BYTES_MAX: usize = 65_535;

/// Blocks of more tokens than this take their statistics from a sample.
const EXACT_TOKENS_MAX: usize = 8192;
/// Tokens in one piece of the sample.
pub(super) const SAMPLE_TOKENS: usize = 128;
/// One piece in so many is in the sample, chosen as if at random, so that rows cannot keep step.
const SAMPLE_ONE_IN: u32 = 8;

/// The text and tokens of one block.
pub(super) struct Block<'a> {
    /// The bytes that the block stands for, and any that follow them.
    pub(super) text: &'a [u8],
    /// How many bytes the block stands for.
    pub(super) length: usize,
    /// Covers the text from its start; what is left at the end of the block is literals.
    pub(super) tokens: &'a [Token],
    /// Whether this is the last block of the stream.
    pub(super) last: bool,
}

/// Writes `block` in whichever form is smallest.
pub(super) fn write(block: &Block<'_>, writer: &mut BitWriter<'_>) {
    if block.tokens.len() > EXACT_TOKENS_MAX {
        let mark = writer.mark();
        let stored = stored_bits(block, writer);
        let codes = Codes::dynamic(&count_sample(block));
        codes.header.write(block.last, writer);
        write_tokens(block, &codes, writer);
        if writer.bits_since(&mark) <= stored {
            return;
        }
        writer.rewind(&mark);
    }
    write_exact(block, writer);
}

fn write_exact(block: &Block<'_>, writer: &mut BitWriter<'_>) {
    let counts = count_all(block);
    let codes = Codes::dynamic(&counts);
    let dynamic_bits = 3 + codes.header.bits() + codes.bits(&counts);
    let fixed = Codes::fixed();
    let fixed_bits = 3 + fixed.bits(&counts);
    let stored_bits = stored_bits(block, writer);
    if stored_bits < dynamic_bits.min(fixed_bits) {
        write_stored(block, writer);
    } else if fixed_bits <= dynamic_bits {
        writer.write(u64::from(block.last) | 1 << 1, 3);
        write_tokens(block, &fixed, writer);
    } else {
        codes.header.write(block.last, writer);
        write_tokens(block, &codes, writer);
    }
}

/// How often each symbol occurs.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

fn count_all(block: &Block<'_>) -> Counts {
    let mut tally = Tally::new();
    let at = tally.add(block, 0, block.tokens);
    tally.add_literals(&block.text[at..block.length]);
    tally.counts(1, 0)
}

/// Counts a sample, so that every symbol is given a code.
fn count_sample(block: &Block<'_>) -> Counts {
    let mut tally = Tally::new();
    let mut at = 0;
    for (piece, in_sample) in block.tokens.chunks(SAMPLE_TOKENS).zip(sampled()) {
        if in_sample {
            at = tally.add(block, at, piece);
        } else {
            at += piece.iter().map(|token| token.literals() + token.length()).sum::<usize>();
        }
    }
    let mut counts = tally.counts(SAMPLE_ONE_IN, 1);
    // What follows the last token may be long, and of another kind.
    let mut rest = Tally::new();
    rest.add_literals(&block.text[at..block.length]);
    for (count, more) in counts.literals.iter_mut().zip(rest.counts(1, 0).literals) {
        *count += more;
    }
    counts.literals[END] = 1;
    counts
}

/// Tells of each piece in turn whether it is in the sample; the first always is.
pub(super) fn sampled() -> impl Iterator<Item = bool> {
    let dice = std::iter::successors(Some(0u32), |dice| {
        Some(dice.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15))
    });
    dice.map(|dice| dice < u32::MAX / SAMPLE_ONE_IN)
}

/// Counts kept in a form that is quick to add to.
struct Tally {
    // One table per place in a group of four, so that equal neighbours do not wait for each other.
    bytes: [[u32; 256]; 4],
    lengths: [u32; 32],
    distances: [u32; 32],
}

impl Tally {
    fn new() -> Self {
        Self { bytes: [[0; 256]; 4], lengths: [0; 32], distances: [0; 32] }
    }

    /// Adds tokens that start at `at`; returns where they end.
    fn add(&mut self, block: &Block<'_>, mut at: usize, tokens: &[Token]) -> usize {
        for token in tokens {
            let end = at + token.literals();
            self.add_literals(&block.text[at..end]);
            at = end + token.length();
            self.lengths[usize::from(LENGTH_SYMBOLS[token.length()] & 31)] += 1;
            let (symbol, _) = huffman::distance_symbol(token.distance_less_one());
            self.distances[(symbol & 31) as usize] += 1;
        }
        at
    }

    #[inline]
    fn add_literals(&mut self, bytes: &[u8]) {
        let (groups, rest) = bytes.as_chunks::<4>();
        for group in groups {
            for (table, &byte) in self.bytes.iter_mut().zip(group) {
                table[usize::from(byte)] += 1;
            }
        }
        for (table, &byte) in self.bytes.iter_mut().zip(rest) {
            table[usize::from(byte)] += 1;
        }
    }

    /// Returns the counts times `factor` plus `more`, with one end of block.
    fn counts(&self, factor: u32, more: u32) -> Counts {
        let mut counts = Counts { literals: [0; LITERALS], distances: [0; DISTANCES] };
        let [a, b, c, d] = &self.bytes;
        for byte in 0..256 {
            counts.literals[byte] = (a[byte] + b[byte] + c[byte] + d[byte]) * factor + more;
        }
        counts.literals[END] = 1;
        for (count, found) in counts.literals[LENGTHS_FROM..].iter_mut().zip(self.lengths) {
            *count = found * factor + more;
        }
        for (count, found) in counts.distances.iter_mut().zip(self.distances) {
            *count = found * factor + more;
        }
        counts
    }
}

/// A code word with any extra bits, and from bit 24 its length.
#[derive(Clone, Copy, Default)]
struct Word(u32);

impl Word {
    fn new(bits: u32, count: u32) -> Self {
        Self(bits | count << 24)
    }

    #[inline]
    fn bits(self) -> u64 {
        u64::from(self.0 & 0xff_ffff)
    }

    #[inline]
    fn count(self) -> u32 {
        self.0 >> 24
    }
}

/// The words for everything in a block, laid out for the loop that writes.
struct Codes {
    literal_lengths: [u8; LITERALS],
    distance_lengths: [u8; DISTANCES],
    header: Header,
    literals: [Word; 256],
    /// By length of the match, with the extra bits.
    lengths: [Word; 512],
    /// By symbol, without the extra bits.
    distances: [Word; 32],
    end: Word,
}

impl Codes {
    fn dynamic(counts: &Counts) -> Self {
        let mut literal_lengths = [0; LITERALS];
        huffman::fill_lengths(&counts.literals, CODE_BITS_MAX, &mut literal_lengths);
        if counts.literals.iter().filter(|&&count| count > 0).count() == 1 {
            literal_lengths[0] = 1; // an incomplete code of one literal symbol is not allowed
        }
        let mut distance_lengths = [0; DISTANCES];
        huffman::fill_lengths(&counts.distances, CODE_BITS_MAX, &mut distance_lengths);
        if counts.distances.iter().all(|&count| count == 0) {
            distance_lengths[0] = 1; // allowed to be empty, but older inflaters want one
        }
        let header = Header::new(&literal_lengths, &distance_lengths);
        Self::new(&literal_lengths, distance_lengths, header)
    }

    fn fixed() -> Self {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        Self::new(&lengths, [5; DISTANCES], Header::none())
    }

    /// `literal_lengths` may have the two symbols more that only the fixed code has.
    fn new(literal_lengths: &[u8], distance_lengths: [u8; DISTANCES], header: Header) -> Self {
        let mut codes = [0; 288];
        huffman::fill_codes(literal_lengths, &mut codes);
        let word =
            |symbol: usize| Word::new(u32::from(codes[symbol]), u32::from(literal_lengths[symbol]));
        let mut lengths = [Word::default(); 512];
        for (length, place) in lengths.iter_mut().enumerate().take(259).skip(3) {
            let symbol = usize::from(LENGTH_SYMBOLS[length]);
            let code = word(LENGTHS_FROM + symbol);
            let extra = length as u64 - u64::from(LENGTH_BASES[symbol]);
            let bits = code.bits() | extra << code.count();
            *place = Word::new(
                u32::try_from(bits).expect("15 and 5 bits"),
                code.count() + u32::from(LENGTH_EXTRA[symbol]),
            );
        }
        let mut distance_codes = [0; DISTANCES];
        huffman::fill_codes(&distance_lengths, &mut distance_codes);
        let mut distances = [Word::default(); 32];
        for (symbol, place) in distances.iter_mut().enumerate().take(DISTANCES) {
            let length = u32::from(distance_lengths[symbol]);
            *place = Word::new(u32::from(distance_codes[symbol]), length);
        }
        Self {
            literal_lengths: std::array::from_fn(|symbol| literal_lengths[symbol]),
            distance_lengths,
            header,
            literals: std::array::from_fn(word),
            lengths,
            distances,
            end: word(END),
        }
    }

    /// Returns the bits that the symbols of `counts` take, with their extra bits.
    fn bits(&self, counts: &Counts) -> u64 {
        let literals = counts.literals.iter().zip(&self.literal_lengths).enumerate();
        let literals = literals.map(|(symbol, (&count, &length))| {
            let extra = symbol.checked_sub(LENGTHS_FROM).map_or(0, |symbol| LENGTH_EXTRA[symbol]);
            u64::from(count) * u64::from(length + extra)
        });
        let distances = counts.distances.iter().zip(&self.distance_lengths).zip(&DISTANCE_EXTRA);
        let distances = distances
            .map(|((&count, &length), &extra)| u64::from(count) * u64::from(length + extra));
        literals.sum::<u64>() + distances.sum::<u64>()
    }
}

/// Returns the bits that stored blocks take from where the writer is.
fn stored_bits(block: &Block<'_>, writer: &BitWriter<'_>) -> u64 {
    let blocks = block.length.div_ceil(STORED_BYTES_MAX).max(1) as u64;
    let first = (writer.bits_begun() + 3).next_multiple_of(8) - writer.bits_begun();
    u64::from(first) + (blocks - 1) * 8 + blocks * 32 + block.length as u64 * 8
}

fn write_stored(block: &Block<'_>, writer: &mut BitWriter<'_>) {
    let mut left = &block.text[..block.length];
    loop {
        let (piece, rest) = left.split_at(left.len().min(STORED_BYTES_MAX));
        let last = block.last && rest.is_empty();
        writer.write(u64::from(last), 3);
        writer.align();
        let length = u16::try_from(piece.len()).expect("cut to what 16 bits can tell");
        writer.bytes(&length.to_le_bytes());
        writer.bytes(&(!length).to_le_bytes());
        writer.bytes(piece);
        left = rest;
        if left.is_empty() {
            break;
        }
    }
}

fn write_tokens(block: &Block<'_>, codes: &Codes, writer: &mut BitWriter<'_>) {
    let mut at = 0;
    let mut lent = writer.lend();
    for token in block.tokens {
        let end = at + token.literals();
        if at < end {
            write_literals(block.text, at, end, codes, &mut lent);
        }
        at = end + token.length();
        let length = codes.lengths[token.length()];
        let distance = token.distance_less_one();
        let (symbol, extra) = huffman::distance_symbol(distance);
        let code = codes.distances[(symbol & 31) as usize];
        lent.put(length.bits(), length.count());
        lent.put(code.bits(), code.count());
        lent.put(u64::from(distance & ((1 << extra) - 1)), extra);
        lent.flush();
    }
    write_literals(block.text, at, block.length, codes, &mut lent);
    lent.write(codes.end.bits(), codes.end.count());
    let place = lent.place();
    writer.resume(place);
}

/// Keeps the words of the first 0 to 3 of three literals.
static TAIL_MASKS: [[u32; 3]; 4] =
    [[0, 0, 0], [u32::MAX, 0, 0], [u32::MAX, u32::MAX, 0], [u32::MAX, u32::MAX, u32::MAX]];

#[expect(clippy::inline_always, reason = "keeps the writer in registers: a tenth of the time")]
#[inline(always)]
fn write_literals(text: &[u8], from: usize, end: usize, codes: &Codes, writer: &mut BitWriter<'_>) {
    let (groups, rest) = text[from..end].as_chunks::<4>();
    for &group in groups {
        let [a, b, c, d] = group.map(|byte| codes.literals[usize::from(byte)]);
        let left = a.bits() | b.bits() << a.count();
        let right = c.bits() | d.bits() << c.count();
        let left_count = a.count() + b.count();
        writer.put(left | right << left_count, left_count + c.count() + d.count());
        writer.flush();
    }
    // The last 0 to 3 without a branch, which would be guessed wrongly most of the time.
    let mut group = [0; 3];
    if let Some(bytes) = text[end - rest.len()..].first_chunk() {
        group = *bytes;
    } else {
        group[..rest.len()].copy_from_slice(rest);
    }
    let masks = TAIL_MASKS[rest.len() & 3];
    let [a, b, c]: [Word; 3] = std::array::from_fn(|place| {
        Word(codes.literals[usize::from(group[place])].0 & masks[place])
    });
    let bits = a.bits() | (b.bits() | c.bits() << b.count()) << a.count();
    writer.put(bits, a.count() + b.count() + c.count());
    writer.flush();
}
