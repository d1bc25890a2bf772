//! Finds repeats by bytes, where knowing the values does not help.
//!
//! There are two ways. [`Near`] is for the remains of keys and short values: one place per hash, in a
//! table that fits the first-level cache, and columns that do not repay it are left alone.
//! [`Far`] is for long values and for text without any: two places per hash, and every byte is
//! remembered.

use super::common::{common_after, word_at};
use super::place::Place;
use super::stream::{BLOCK_BYTES_MAX, Sink, Stream};
use super::token::WINDOW_BYTES;
use std::ops::Range;

/// From this length on text is searched with [`Far`].
pub(super) const LONG_BYTES_MIN: usize = 192;

const NEAR_PLACES: usize = 8192;
const NEAR_LOG2: u32 = NEAR_PLACES.ilog2();
/// The shortest match looked for, and the bits of a word that it leaves out.
const NEAR_BYTES_MIN: usize = 5;
const NEAR_LEFT_OUT: usize = 64 - 8 * NEAR_BYTES_MIN;
/// Each so many bytes without a match make the step to the next place one byte longer.
const NEAR_PATIENCE: usize = 16;

/// Whether searching in the values of a column pays: what it has gained of late.
#[derive(Clone, Copy)]
pub(super) struct Worth {
    gain: i32,
    /// Values passed over since it stopped to pay.
    passed: u32,
}

/// Bounds of the gain, in bytes searched in vain; a column starts with the most.
const GAIN_MAX: i32 = 1000;
const GAIN_MIN: i32 = -500;
/// Bytes searched that one byte covered makes up for.
const GAIN_FACTOR: i32 = 5;
/// Where searching does not pay, one value in so many is searched to see whether that is still so.
const LOOK_AGAIN: u32 = 32;

impl Worth {
    /// Nothing known yet: search.
    pub(super) const NEW: Self = Self { gain: GAIN_MAX, passed: 0 };

    /// Returns whether to search the value at hand.
    #[inline]
    fn ask(&mut self) -> bool {
        if self.gain >= 0 {
            return true;
        }
        self.passed = self.passed.wrapping_add(1);
        self.passed.is_multiple_of(LOOK_AGAIN)
    }

    /// Notes that searching so many bytes covered so many.
    #[inline]
    fn learn(&mut self, searched: usize, covered: usize) {
        let number = |bytes| i32::try_from(bytes).expect("only short text is searched so");
        let change = number(covered) * GAIN_FACTOR - number(searched);
        let weight = if self.gain < 0 { LOOK_AGAIN.cast_signed() } else { 1 };
        self.gain = (self.gain + change * weight).clamp(GAIN_MIN, GAIN_MAX);
    }
}

/// Where short pieces of values were last.
pub(super) struct Near {
    places: Box<[Place; NEAR_PLACES]>,
}

impl Near {
    /// Allocates the table.
    pub(super) fn new() -> Self {
        Self { places: Box::new([Place::ZERO; NEAR_PLACES]) }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.places.fill(Place::ZERO);
    }

    /// Notes that these bytes are at `at`; returns how far back they might have been before.
    #[inline]
    fn note(&mut self, word: u64, at: usize) -> usize {
        let hash = (word << NEAR_LEFT_OUT).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - NEAR_LOG2);
        let place = &mut self.places[hash as usize & (NEAR_PLACES - 1)];
        let now = Place::new(at);
        now.since(std::mem::replace(place, now))
    }
}

const FAR_BUCKETS: usize = 32 * 1024;
const FAR_LOG2: u32 = FAR_BUCKETS.ilog2();
/// A match of this length is good enough not to look for a better one.
const FAR_GOOD_BYTES: usize = 32;
/// Text is searched in pieces of this size, so that blocks can end in between.
const FAR_PIECE_BYTES: usize = BLOCK_BYTES_MAX / 4;
/// As [`NEAR_PATIENCE`].
const FAR_PATIENCE: usize = 512;
/// The shortest match looked for, and the bits of a word that it leaves out.
const FAR_BYTES_MIN: usize = 4;
const FAR_LEFT_OUT: usize = 64 - 8 * FAR_BYTES_MIN;
/// One place in so many within a match is remembered.
const FAR_NOTED_STEP: usize = 2;
/// No more than this much of the end of a match is remembered.
const FAR_NOTED_MAX: usize = 512;

/// Where all pieces of long text were in the last two times.
pub(super) struct Far {
    buckets: Box<[[Place; 2]; FAR_BUCKETS]>,
    used: bool,
}

impl Far {
    /// Allocates the table.
    pub(super) fn new() -> Self {
        let buckets = vec![[Place::ZERO; 2]; FAR_BUCKETS].into_boxed_slice();
        Self { buckets: buckets.try_into().expect("made with this length"), used: false }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        if self.used {
            self.buckets.fill([Place::ZERO; 2]);
            self.used = false;
        }
    }

    #[inline]
    fn note(&mut self, word: u64, at: usize) -> [usize; 2] {
        let four = (word & 0xffff_ffff) as u32;
        let hash = four.wrapping_mul(0x9e37_79b1) >> (32 - FAR_LOG2);
        let bucket = &mut self.buckets[hash as usize & (FAR_BUCKETS - 1)];
        let now = Place::new(at);
        let [newer, older] = *bucket;
        *bucket = [now, newer];
        [now.since(newer), now.since(older)]
    }
}

impl Stream<'_> {
    /// Finds repeats in what is left of a value from `at` to `end`.
    pub(super) fn search_near(&mut self, at: usize, end: usize, column: u32) {
        if self.guide.column(column).search.ask() {
            let covered = search_near(self.text, at..end, self.near, &mut self.sink);
            self.guide.column(column).search.learn(end - at, covered);
        }
    }

    /// Finds repeats in long text from `at` to `end`.
    #[inline(never)]
    pub(super) fn search_far(&mut self, mut at: usize, end: usize) {
        self.far.used = true;
        while at < end {
            let piece_end = end.min(at + FAR_PIECE_BYTES);
            search_far(self.text, at..piece_end, self.far, &mut self.sink);
            at = piece_end.max(self.sink.covered());
            self.sink.bound_block(at);
        }
    }
}

/// Finds repeats of five bytes and more; returns how many bytes of the range they cover.
#[inline(never)]
fn search_near(text: &[u8], range: Range<usize>, near: &mut Near, sink: &mut Sink<'_>) -> usize {
    let Range { start: mut at, end } = range;
    let mut won = 0;
    let mut last = at;
    while at + NEAR_BYTES_MIN <= end {
        let Some(word) = word_at(text, at) else { break };
        let distance = near.note(word, at);
        let earlier = at.wrapping_sub(distance);
        let differ = word_at(text, earlier).map_or(u64::MAX, |seen| seen ^ word);
        if (differ << NEAR_LEFT_OUT == 0) & (distance.wrapping_sub(1) < WINDOW_BYTES) {
            let mut length = (differ.trailing_zeros() >> 3) as usize;
            if length == 8 {
                length += common_after(text, earlier + 8, at + 8);
            }
            won += length.min(end - at);
            sink.add(at, length, distance);
            for place in [at + 1, at + 2, at + length - 1] {
                if let Some(word) = word_at(text, place) {
                    near.note(word, place);
                }
            }
            at += length;
            last = at;
        } else {
            at += 1 + (at - last) / NEAR_PATIENCE;
        }
    }
    won
}

/// Finds repeats of four bytes and more.
#[inline(never)]
fn search_far(text: &[u8], range: Range<usize>, far: &mut Far, sink: &mut Sink<'_>) {
    let Range { start: mut at, end } = range;
    let mut last = at;
    while at < end {
        let Some(word) = word_at(text, at) else { break };
        let [newer, older] = far.note(word, at);
        let (mut best, mut distance) = (far_length(text, word, at, newer), newer);
        if best < FAR_GOOD_BYTES {
            let length = far_length(text, word, at, older);
            if length > best {
                (best, distance) = (length, older);
            }
        }
        if best >= FAR_BYTES_MIN {
            sink.add(at, best, distance);
            let noted = (at + 1).max((at + best).saturating_sub(FAR_NOTED_MAX));
            at += best;
            for place in (noted..at).step_by(FAR_NOTED_STEP) {
                let Some(word) = word_at(text, place) else { break };
                far.note(word, place);
            }
            last = at;
        } else {
            at += 1 + (at - last) / FAR_PATIENCE;
        }
    }
}

/// Returns how long the match at this distance is, or 0 if it is too far or shorter than four.
#[inline]
fn far_length(text: &[u8], word: u64, at: usize, distance: usize) -> usize {
    let earlier = at.wrapping_sub(distance);
    let differ = word_at(text, earlier).map_or(u64::MAX, |seen| seen ^ word);
    if (differ << FAR_LEFT_OUT == 0) & (distance.wrapping_sub(1) < WINDOW_BYTES) {
        let length = (differ.trailing_zeros() >> 3) as usize;
        if length == 8 { 8 + common_after(text, earlier + 8, at + 8) } else { length }
    } else {
        0
    }
}
