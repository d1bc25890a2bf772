//! Finds repeats by value: one question for each cell.
//!
//! For each cell there are two places to look at: where this very value was seen last, and the
//! value above it in the same column. Both are told as a distance between the starts of the two
//! values, so that the key before the value, which is mostly the same, is part of the same match.
//! A match runs on for as long as the text is the same, through any number of cells.

use super::Cell;
use super::Effort;
use super::common::{common_after, word_at};
use super::place::Place;
use super::search::{LONG_BYTES_MIN, Worth};
use super::stream::Stream;
use super::token::WINDOW_BYTES;

/// Places for values; the window has fewer.
const VALUES: usize = 8192;
const VALUES_LOG2: u32 = VALUES.ilog2();
/// Columns that are told apart; more share places.
const COLUMNS: usize = 1024;
/// Values below this are looked for in their own column only, as the key before them should be
/// part of the match; longer ones in all columns.
const SHARED_BYTES_MIN: usize = 20;
/// A match of four bytes pays only if it is no further back than this.
const FOUR_BYTES_REACH: usize = 4096;
/// A key and value shorter than this is looked at together with the next.
const TOGETHER_BYTES_MAX: usize = 5;
/// Cells that end this much before a repeat does are not even noted.
const DEEP_BYTES: usize = 64;
/// The shortest rest of a key that is searched.
const KEY_BYTES_MIN: usize = 5;
/// What is added to a column's number for what is known of its keys.
const KEYS: u32 = 512; // half of `COLUMNS`

/// Returns the shortest rest of a value that is searched.
fn value_bytes_min(effort: Effort) -> usize {
    match effort {
        Effort::Fast => 12,
        Effort::Dense => 6,
    }
}

/// Where values were last.
pub(super) struct Guide {
    /// Start of a value by its hash.
    values: Box<[Place; VALUES]>,
    columns: Box<[Column; COLUMNS]>,
}

/// What is known of a column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// Start of its last value.
    last: u32,
    /// Whether searching in its values pays.
    pub(super) search: Worth,
}

impl Column {
    const NEW: Self = Self { last: 0, search: Worth::NEW };
}

impl Guide {
    /// Allocates the tables.
    pub(super) fn new() -> Self {
        Self { values: Box::new([Place::ZERO; VALUES]), columns: Box::new([Column::NEW; COLUMNS]) }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.values.fill(Place::ZERO);
        self.columns.fill(Column::NEW);
    }

    /// Returns what is known of a column.
    #[inline]
    pub(super) fn column(&mut self, column: u32) -> &mut Column {
        &mut self.columns[column as usize & (COLUMNS - 1)]
    }

    /// Notes that there is a value here; returns how far back its column's last one was, and how
    /// far this same value might have been.
    #[inline]
    fn note(&mut self, text: &[u8], cell: &Cell) -> (usize, usize) {
        let start = cell.start as usize;
        let hash = hash(text, cell);
        let column = self.column(cell.column);
        let above = start.wrapping_sub(column.last as usize);
        column.last = cell.start;
        let place = &mut self.values[hash & (VALUES - 1)];
        let now = Place::new(start);
        let same = now.since(std::mem::replace(place, now));
        (above, same)
    }
}

/// Returns a hash of the value: of its first, middle and last eight bytes, of the length of a
/// shorter one, and of the column unless it is long.
#[inline]
fn hash(text: &[u8], cell: &Cell) -> usize {
    let (start, end) = (cell.start as usize, cell.end as usize);
    let length = end - start;
    // Without a branch for short values, whose three parts are all the same.
    let taken = length.min(8);
    let mask = u64::MAX >> (64 - taken * 8).min(63);
    let at = |at| word_at(text, at).unwrap_or(0) & mask;
    let (first, middle, last) = (at(start), at(start + (length - taken) / 2), at(end - taken));
    let column = if length < SHARED_BYTES_MIN { u64::from(cell.column) << 40 } else { 0 };
    let mixed = (first ^ last.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ middle.wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ (column + taken as u64);
    (mixed.wrapping_mul(0xa076_1d64_78bd_642f) >> (64 - VALUES_LOG2)) as usize
}

impl Stream<'_> {
    /// Finds repeats in the whole text, with the help of `cells`.
    pub(super) fn cells(&mut self, cells: &[Cell]) {
        let mut before = 0;
        for cell in cells {
            let (start, end) = (cell.start as usize, cell.end as usize);
            if start < before || end < start || end > self.text.len() {
                continue; // not as promised
            }
            if end - before <= TOGETHER_BYTES_MAX || end + DEEP_BYTES <= self.sink.covered() {
                continue;
            }
            self.cell(before, cell);
            self.sink.bound_block(end);
            before = end;
        }
        self.rest(before, self.text.len());
    }

    /// Finds repeats from `before`, the end of the value before, to the end of this one.
    #[inline]
    fn cell(&mut self, before: usize, cell: &Cell) {
        let (above, same) = self.guide.note(self.text, cell);
        let (start, end) = (cell.start as usize, cell.end as usize);
        let mut at = before.max(self.sink.covered());
        while at < end {
            let (length, distance) = self.longest(at, above, same, end);
            if length >= 5 || length == 4 && distance < FOUR_BYTES_REACH {
                self.sink.add(at, length, distance);
                at += length;
                if at >= start && distance == same {
                    break; // what follows differs here, and in the value above most likely too
                }
            } else if at < start {
                self.search_key(at, start, cell.column);
                at = start.max(self.sink.covered());
            } else {
                break;
            }
        }
        if at + value_bytes_min(self.effort) <= end {
            self.search_value(at, end, cell.column);
        }
    }

    fn search_key(&mut self, at: usize, end: usize, column: u32) {
        if end - at >= LONG_BYTES_MIN {
            self.search_far(at, end);
        } else if end - at >= KEY_BYTES_MIN {
            self.search_near(at, end, column.wrapping_add(KEYS));
        }
    }

    fn search_value(&mut self, at: usize, end: usize, column: u32) {
        if end - at >= LONG_BYTES_MIN {
            self.search_far(at, end);
        } else {
            self.search_near(at, end, column);
        }
    }

    /// Returns the longer match of the two and its distance; that at `same` if it reaches `end`.
    #[inline]
    fn longest(&self, at: usize, above: usize, same: usize, end: usize) -> (usize, usize) {
        let reach = at.min(WINDOW_BYTES);
        let Some(word) = word_at(self.text, at) else { return (0, 0) };
        let differ = |distance: usize| {
            let seen = word_at(self.text, at.wrapping_sub(distance)).unwrap_or(!word);
            if distance.wrapping_sub(1) < reach { seen ^ word } else { u64::MAX }
        };
        let length = |differ: u64, distance: usize| {
            if differ == 0 {
                8 + common_after(self.text, at + 8 - distance, at + 8)
            } else {
                (differ.trailing_zeros() >> 3) as usize
            }
        };
        let (by_same, by_above) = (differ(same), differ(above));
        let first = length(by_same, same);
        if at + first >= end {
            return (first, same);
        }
        let second = length(by_above, above);
        if second > first { (second, above) } else { (first, same) }
    }

    /// Finds repeats in text that no cell covers.
    fn rest(&mut self, before: usize, end: usize) {
        let at = before.max(self.sink.covered());
        if at < end {
            self.search_far(at, end);
        }
    }
}
