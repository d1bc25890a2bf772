//! How much of the text is the same in two places.

/// The most that [`common_after`] looks at, so that the tokens of one match are not too many.
pub(super) const RUN_BYTES_MAX: usize = 32 * 1024;

/// Returns how many bytes at `earlier` and at `later` are the same, up to the end of the text.
///
/// The result may pass [`RUN_BYTES_MAX`] by less than eight.
#[inline]
pub(super) fn common_after(text: &[u8], earlier: usize, later: usize) -> usize {
    let mut same = 0;
    while same < RUN_BYTES_MAX {
        let (Some(a), Some(b)) = (word_at(text, earlier + same), word_at(text, later + same))
        else {
            return same + common_at_end(text, earlier + same, later + same);
        };
        let differ = a ^ b;
        if differ != 0 {
            return same + (differ.trailing_zeros() >> 3) as usize;
        }
        same += 8;
    }
    same
}

#[cold]
#[inline(never)]
fn common_at_end(text: &[u8], earlier: usize, later: usize) -> usize {
    let pairs = text[later..].iter().zip(&text[earlier..]);
    pairs.take_while(|(a, b)| a == b).count()
}

/// Returns eight bytes from `at`, the first lowest, or nothing if the text ends before.
#[inline]
pub(super) fn word_at(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
