//! What the matcher hands to the block coder: some literals, then a match.

/// The shortest match that the format can express.
pub(super) const LENGTH_MIN: usize = 3;
/// The longest match that the format can express.
pub(super) const LENGTH_MAX: usize = 258;
/// How far back a match may lie.
pub(super) const WINDOW_BYTES: usize = 32 * 1024;

/// A count of literals and the match that follows them, packed in one word.
#[derive(Clone, Copy)]
pub(super) struct Token(u64);

impl Token {
    /// Packs a token. The match must lie within the limits of the format.
    #[inline]
    pub(super) fn new(literals: usize, length: usize, distance: usize) -> Self {
        debug_assert!((LENGTH_MIN..=LENGTH_MAX).contains(&length));
        debug_assert!((1..=WINDOW_BYTES).contains(&distance));
        Self(literals as u64 | (length as u64) << 32 | (distance as u64 - 1) << 48)
    }

    /// Literals before the match.
    #[inline]
    pub(super) fn literals(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    /// Length of the match.
    #[inline]
    pub(super) fn length(self) -> usize {
        (self.0 >> 32 & 0x1ff) as usize
    }

    /// Distance of the match, less one.
    #[inline]
    pub(super) fn distance_less_one(self) -> u32 {
        (self.0 >> 48) as u32
    }
}
