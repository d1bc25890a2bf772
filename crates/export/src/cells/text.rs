//! The buffer that text is written into, one short piece after the other.
//!
//! Most pieces are shorter than a memory copy of unknown length is worth: they are copied as a few blocks
//! of a fixed size, which needs room behind the text but no call.

/// Bytes behind the text that are always there to be written over.
const SLACK: usize = 64;

/// Bytes of a [`Piece`] that are copied as one block.
const BLOCK: usize = 32;

/// Text under construction.
#[derive(Default)]
pub(crate) struct Text {
    /// The text and, behind it, room.
    bytes: Vec<u8>,
    len: usize,
}

impl Text {
    /// Returns its bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the text.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Returns the text as a vector of its own.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.len);
        self.bytes
    }

    /// Forgets what stands behind `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Returns the room it has.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Writes over a byte that is there already.
    pub(crate) fn set(&mut self, at: usize, byte: u8) {
        self.bytes[at] = byte;
    }

    /// Appends a byte.
    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.reserve(1);
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Appends bytes of any length.
    #[inline]
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let to = &mut self.bytes[self.len..];
        match bytes.len() {
            0 => {}
            1..4 => {
                to[0] = bytes[0];
                to[bytes.len() / 2] = bytes[bytes.len() / 2];
                to[bytes.len() - 1] = bytes[bytes.len() - 1];
            }
            4..8 => ends::<4>(bytes, to),
            8..16 => ends::<8>(bytes, to),
            16..33 => ends::<16>(bytes, to),
            33..65 => ends::<32>(bytes, to),
            length => to[..length].copy_from_slice(bytes),
        }
        self.len += bytes.len();
    }

    /// Appends the digit 0 so many times.
    pub(crate) fn zeros(&mut self, count: usize) {
        self.room(count)[..count].fill(b'0');
        self.len += count;
    }

    /// Appends a prepared piece.
    #[inline]
    pub(crate) fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Short(block, length) => {
                self.reserve(BLOCK);
                self.bytes[self.len..][..BLOCK].copy_from_slice(block);
                self.len += length;
            }
            Piece::Long(bytes) => self.extend_from_slice(bytes),
        }
    }

    /// Returns room of at least `bytes` behind the text, to be taken with [`Self::advance`].
    #[inline]
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.reserve(bytes);
        &mut self.bytes[self.len..]
    }

    /// Takes `bytes` of the room.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) {
        debug_assert!(self.len + bytes <= self.bytes.len(), "there was room");
        self.len += bytes;
    }

    /// Makes room for `bytes` and a bit.
    #[inline]
    pub(crate) fn reserve(&mut self, bytes: usize) {
        if self.bytes.len() - self.len < bytes + SLACK {
            self.grow(bytes);
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let wanted = self.len + bytes + SLACK;
        self.bytes.resize(wanted.max(self.bytes.len() * 2), 0);
    }
}

/// Copies `N` to `2 * N` bytes as two blocks that may overlap.
#[inline]
fn ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..last + N].copy_from_slice(&from[last..]);
}

/// Text that is appended again and again.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// As many bytes of the block.
    Short([u8; BLOCK], usize),
    /// What is longer than a block.
    Long(Box<[u8]>),
}

impl Piece {
    /// Prepares a piece.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        if bytes.len() > BLOCK {
            return Self::Long(bytes.into());
        }
        let mut block = [0; BLOCK];
        block[..bytes.len()].copy_from_slice(bytes);
        Self::Short(block, bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_stand_one_behind_the_other() {
        let bytes: Vec<u8> = (0..=255).cycle().take(620).collect();
        let (mut text, mut expected) = (Text::default(), Vec::new());
        for length in (0..140).chain([599]) {
            let from = &bytes[length % 7..][..length];
            text.extend_from_slice(from);
            text.piece(&Piece::new(from));
            text.push(b'|');
            text.room(length)[..length].copy_from_slice(from);
            text.advance(length);
            expected.extend_from_slice(&[from, from, b"|", from].concat());
        }
        assert!(text.as_slice() == expected);
        text.truncate(10);
        assert_eq!(text.into_vec(), expected[..10]);
    }
}
