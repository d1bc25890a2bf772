//! A place in the text, kept short.

/// The lowest 16 bits of a place.
///
/// That is half the memory, and enough to tell distances twice as long as the window. A place
/// that is too old, or was never noted, looks like a wrong one, which is found out when the text
/// is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u16);

impl Place {
    /// The start of the text, or nothing noted.
    pub(super) const ZERO: Self = Self(0);

    /// Shortens a place.
    #[inline]
    pub(super) fn new(at: usize) -> Self {
        let [low, high, ..] = at.to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }

    /// Returns how far before `self` the other is, if it is less than 65,536.
    #[inline]
    pub(super) fn since(self, earlier: Self) -> usize {
        usize::from(self.0.wrapping_sub(earlier.0))
    }
}
