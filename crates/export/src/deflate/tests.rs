//! Whatever the text and whatever is said of it, inflating gives the text back.

use super::bits::{self, BitWriter};
use super::block::{self, Block};
use super::huffman;
use super::token::Token;
use super::{Cell, Effort, Encoder};
use proptest::prelude::*;
use std::io::Read;

const EFFORTS: [Effort; 2] = [Effort::Fast, Effort::Dense];

/// Encodes, inflates with two other programs, and checks the size.
fn check(encoder: &mut Encoder, text: &[u8], cells: &[Cell]) {
    for effort in EFFORTS {
        let mut packed = vec![1, 2, 3];
        encoder.encode(text, cells, effort, &mut packed);
        assert_eq!(packed[..3], [1, 2, 3], "what was there stays");
        let packed = &packed[3..];
        let bound = text.len() + 5 * (text.len() / 65_535 + 1) + 5 * (text.len() / 128_000) + 8;
        assert!(packed.len() <= bound, "{} bytes made of {}", packed.len(), text.len());

        assert!(inflate(packed) == text, "zlib-rs gives another text");

        let mut inflated = vec![0; text.len()];
        let mut decoder = libdeflater::Decompressor::new();
        let length = decoder.deflate_decompress(packed, &mut inflated);
        assert_eq!(length.expect("libdeflate inflates it"), text.len());
        assert!(inflated == text, "libdeflate gives another text");
    }
}

/// Inflates with zlib-rs.
fn inflate(packed: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::DeflateDecoder::new(packed);
    decoder.read_to_end(&mut inflated).expect("zlib-rs inflates it");
    assert_eq!(decoder.total_in(), packed.len() as u64, "nothing follows the last block");
    inflated
}

fn check_new(text: &[u8], cells: &[Cell]) {
    check(&mut Encoder::new(), text, cells);
}

/// Numbers without any order, always the same ones.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() >> 32).expect("32 bits") % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll().to_le_bytes()[4]).collect()
    }
}

fn at(length: usize) -> u32 {
    u32::try_from(length).expect("test texts are short")
}

/// Rows of `key` and a value from `value`, with right cells.
fn rows(count: usize, mut value: impl FnMut(usize) -> String) -> (Vec<u8>, Vec<Cell>) {
    let (mut text, mut cells) = (Vec::new(), Vec::new());
    for row in 0..count {
        for column in 0..3 {
            text.extend_from_slice(if column == 0 { b"{\"first\":" } else { b",\"other\":" });
            let start = at(text.len());
            text.extend_from_slice(value(row * 3 + column).as_bytes());
            cells.push(Cell { start, end: at(text.len()), column: at(column) });
        }
        text.extend_from_slice(b"}\n");
    }
    (text, cells)
}

#[test]
fn an_empty_text_is_one_empty_block() {
    check_new(&[], &[]);
    let mut out = Vec::new();
    Encoder::new().encode(&[], &[], Effort::Fast, &mut out);
    assert_eq!(out, [3, 0]);
}

#[test]
fn texts_of_one_to_forty_bytes_survive() {
    for length in 1..40 {
        check_new(&vec![b'x'; length], &[]);
        check_new(&Dice(7).bytes(length), &[Cell { start: 0, end: at(length), column: 0 }]);
    }
}

#[test]
fn runs_of_one_byte_survive_at_every_edge() {
    let mut encoder = Encoder::new();
    for edge in [3, 257, 258, 516, 32_768, 65_536, 98_304, 524_288] {
        for length in edge - 2..edge + 3 {
            let text = vec![b'a'; length];
            check(&mut encoder, &text, &[]);
            check(&mut encoder, &text, &[Cell { start: 1, end: at(length), column: 9 }]);
            let thirds = [(0, length / 3), (length / 3, length / 3 * 2), (length / 3 * 2, length)];
            let cells =
                thirds.map(|(start, end)| Cell { start: at(start), end: at(end), column: 0 });
            check(&mut encoder, &text, &cells);
        }
    }
}

#[test]
fn noise_is_stored() {
    for length in [100, 65_534, 65_535, 65_536, 131_070, 131_071, 700_000] {
        let text = Dice(3).bytes(length);
        check_new(&text, &[]);
        let mut out = Vec::new();
        Encoder::new().encode(&text, &[], Effort::Fast, &mut out);
        assert!(out.len() <= length + 5 * (length / 65_535 + 1) + 5 * (length / 262_144));
    }
}

#[test]
fn values_longer_than_the_window_survive() {
    let mut dice = Dice(11);
    let long = String::from_utf8(dice.bytes(70_000).iter().map(|byte| 32 + byte % 64).collect());
    let long = long.expect("it is ASCII");
    let (text, cells) = rows(4, |value| long[value * 100..].to_string());
    check_new(&text, &cells);
    check_new(&text, &[]);
}

#[test]
fn a_repeat_at_exactly_the_window_is_found_and_one_beyond_is_not() {
    for distance in [32_767, 32_768, 32_769] {
        let mut dice = Dice(5);
        let head = dice.bytes(40);
        let mut text = head.clone();
        text.extend(dice.bytes(distance - 40));
        text.extend(&head);
        let cell = |from: usize| Cell { start: at(from), end: at(from + 40), column: 0 };
        check_new(&text, &[]);
        check_new(&text, &[cell(0), cell(distance)]);
    }
}

#[test]
fn blocks_end_at_any_count_of_tokens() {
    // Values of five digits with a repeat make about one token each; the limits are powers of two.
    for limit in [8192, 32 * 1024, 64 * 1024] {
        for count in [limit / 3, limit] {
            let (text, cells) = rows(count, |value| format!("{}", value % 1000 * 7919 % 1000));
            check_new(&text, &cells);
        }
    }
}

#[test]
fn frequencies_that_ask_for_very_long_codes_survive() {
    let (mut text, mut counts) = (Vec::new(), (1usize, 1usize));
    for byte in 0..27 {
        text.extend(std::iter::repeat_n(byte, counts.0));
        counts = (counts.1, counts.0 + counts.1);
    }
    // Mixed, so that there are few repeats and the literals decide.
    let mut dice = Dice(2);
    for place in (1..text.len()).rev() {
        text.swap(place, dice.below(place + 1));
    }
    check_new(&text, &[]);
    check_new(&text[..100_000], &[Cell { start: 0, end: 100_000, column: 0 }]);
}

#[test]
fn only_literals_and_only_one_distance_survive() {
    let all: Vec<u8> = (0..=255).collect();
    check_new(&all, &[]);
    let mut text = b"abcdefg".to_vec();
    text.extend_from_within(..);
    check_new(&text, &[]);
    for _ in 0..12 {
        text.extend_from_within(..);
    }
    check_new(&text, &[]);
}

#[test]
fn a_block_whose_sample_is_not_typical_is_done_over() {
    // What is sampled is of 32 letters; the rest is noise, for which the sample's codes are long.
    let mut dice = Dice(4);
    let (mut text, mut tokens) = (Vec::new(), Vec::new());
    for in_sample in block::sampled().take(100) {
        for _ in 0..block::SAMPLE_TOKENS {
            let mask = if in_sample { 31 } else { 255 };
            text.extend(dice.bytes(50).iter().map(|byte| byte & mask));
            text.extend_from_within(text.len() - 4..);
            tokens.push(Token::new(50, 4, 4));
        }
    }
    let (mut out, mut buffer) = (Vec::new(), bits::buffer());
    let mut writer = BitWriter::new(&mut out, &mut buffer);
    let block = Block { text: &text, length: text.len(), tokens: &tokens, last: true };
    block::write(&block, &mut writer);
    writer.align();
    assert!(out.len() < text.len());
    assert!(inflate(&out) == text);
}

#[test]
fn noise_after_cheap_rows_survives() {
    let mut dice = Dice(8);
    let (mut text, mut cells) = rows(6000, |value| format!("{}", value * 7919 % 9973));
    for _ in 0..3000 {
        let start = at(text.len());
        text.extend(dice.bytes(40));
        cells.push(Cell { start, end: at(text.len()), column: 7 });
        text.extend(b",\"key\":");
    }
    check_new(&text, &cells);
}

#[test]
fn cells_make_rows_smaller() {
    let (text, cells) = rows(5000, |value| format!("\"{}\"", value.wrapping_mul(0x9e37_79b9) % 97));
    check_new(&text, &cells);
    let mut out = Vec::new();
    Encoder::new().encode(&text, &cells, Effort::Fast, &mut out);
    assert!(out.len() < text.len() / 5);
}

#[test]
fn nothing_of_an_earlier_text_shows() {
    let mut used = Encoder::new();
    let (text, cells) = rows(3000, |value| format!("\"{}\"", value.wrapping_mul(0x9e37_79b9)));
    for other in [Dice(1).bytes(100_000), vec![b'z'; 300_000], text.clone()] {
        for effort in EFFORTS {
            used.encode(&other, &[], effort, &mut Vec::new());
            let (mut first, mut second) = (Vec::new(), Vec::new());
            used.encode(&text, &cells, effort, &mut first);
            Encoder::new().encode(&text, &cells, effort, &mut second);
            assert!(first == second);
        }
    }
}

/// A text of pieces that recur, and noise.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (0usize..20, 1usize..60).prop_map(|(from, length)| {
            Dice(from as u64).bytes(length).iter().map(|byte| b'a' + byte % 16).collect::<Vec<_>>()
        }),
        2 => (any::<u8>(), 1usize..700).prop_map(|(byte, length)| vec![byte; length]),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (0usize..4, 200usize..40_000).prop_map(|(from, length)| Dice(from as u64).bytes(length)),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Any cells, many of them in order and inside of a text of that length.
fn hints() -> impl Strategy<Value = Vec<Cell>> {
    let ordered = prop::collection::vec((0u32..40, 0u32..80, 0u32..5), 0..300).prop_map(|steps| {
        let mut before = 0;
        let cell = |(gap, length, column)| {
            let start = before + gap;
            before = start + length;
            Cell { start, end: before, column }
        };
        steps.into_iter().map(cell).collect::<Vec<_>>()
    });
    let wild = prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..20)
        .prop_map(|all| all.into_iter().map(|(start, end, column)| Cell { start, end, column }));
    let near = prop::collection::vec((0u32..3000, 0u32..3000, 0u32..2000), 0..200)
        .prop_map(|all| all.into_iter().map(|(start, end, column)| Cell { start, end, column }));
    prop_oneof![
        4 => ordered,
        1 => wild.prop_map(Iterator::collect),
        1 => near.prop_map(Iterator::collect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_with_any_cells_survives(text in texts(), cells in hints()) {
        check_new(&text, &cells);
    }

    #[test]
    fn a_code_is_complete_and_short_enough(
        counts in prop::collection::vec(
            prop_oneof![Just(0u32), 1u32..4, 1u32..100_000, (0u32..32).prop_map(|bits| 1 << bits)],
            2..=huffman::LITERALS,
        ),
        bits_max in 9usize..=15,
    ) {
        let mut lengths = vec![0; counts.len()];
        huffman::fill_lengths(&counts, bits_max, &mut lengths);
        let used = counts.iter().filter(|&&count| count > 0).count();
        let mut sum = 0;
        for (&count, &length) in counts.iter().zip(&lengths) {
            prop_assert_eq!(count > 0, length > 0);
            prop_assert!(usize::from(length) <= bits_max);
            sum += if length > 0 { 1u32 << (15 - length) } else { 0 };
        }
        let expected = match used { 0 => 0, 1 => 1 << 14, _ => 1 << 15 };
        prop_assert_eq!(sum, expected);
        let mut pairs: Vec<_> = counts.iter().zip(&lengths).filter(|pair| *pair.0 > 0).collect();
        pairs.sort_by_key(|&(&count, &length)| (count, std::cmp::Reverse(length)));
        prop_assert!(pairs.is_sorted_by_key(|&(_, &length)| std::cmp::Reverse(length)));
    }

    #[test]
    fn any_text_after_another_gives_the_same_bytes(
        before in texts(),
        text in texts(),
        cells in hints(),
    ) {
        let mut used = Encoder::new();
        for effort in EFFORTS {
            used.encode(&before, &cells, effort, &mut Vec::new());
            let (mut first, mut second) = (Vec::new(), Vec::new());
            used.encode(&text, &cells, effort, &mut first);
            Encoder::new().encode(&text, &cells, effort, &mut second);
            prop_assert!(first == second);
        }
    }
}
