//! Writes bits, lowest first, to the end of a byte vector.
//!
//! Whole bytes gather in a small buffer that stays in the first-level cache; the check that the
//! buffer has room is at the same time the bounds check, so a write costs one test. Up to
//! [`PUT_BITS_MAX`] bits may be put between two calls of [`BitWriter::flush`].

/// Bits that may be put between two flushes: a flush leaves at most 7 of 64 bits.
pub(super) const PUT_BITS_MAX: usize = 57;

/// Bytes gathered before they are appended to the vector.
const BUFFER_BYTES: usize = 4096;

/// The memory that a [`BitWriter`] works in, to be kept between streams.
pub(super) type Buffer = [u8; BUFFER_BYTES];

/// A place in the output to which the writer can go back.
pub(super) struct Mark {
    bytes: usize,
    bits: u64,
    count: u32,
}

/// Appends bits to a vector of bytes.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    buffer: &'a mut Buffer,
    filled: usize,
    bits: u64,
    count: u32,
}

/// Returns memory for a [`BitWriter`].
pub(super) fn buffer() -> Box<Buffer> {
    Box::new([0; BUFFER_BYTES])
}

impl<'a> BitWriter<'a> {
    /// Returns a writer for the same place that is a value of its own, so that the compiler can
    /// keep it in registers. Give its [`BitWriter::place`] back to [`BitWriter::resume`].
    pub(super) fn lend(&mut self) -> BitWriter<'_> {
        BitWriter {
            out: self.out,
            buffer: self.buffer,
            filled: self.filled,
            bits: self.bits,
            count: self.count,
        }
    }

    /// Returns what a writer has to know besides its memory.
    pub(super) fn place(&self) -> (usize, u64, u32) {
        (self.filled, self.bits, self.count)
    }

    /// Goes on where a lent writer stopped.
    pub(super) fn resume(&mut self, place: (usize, u64, u32)) {
        (self.filled, self.bits, self.count) = place;
    }

    /// Starts at a byte boundary after what `out` holds already.
    pub(super) fn new(out: &'a mut Vec<u8>, buffer: &'a mut Buffer) -> Self {
        Self { out, buffer, filled: 0, bits: 0, count: 0 }
    }

    /// Adds the lowest `count` bits of `bits`; those above must be zero.
    #[expect(clippy::inline_always, reason = "keeps the writer in registers: a tenth of the time")]
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.bits |= bits << self.count;
        self.count += count;
    }

    /// Moves whole bytes to the buffer, so that [`PUT_BITS_MAX`] more bits can be put.
    #[expect(clippy::inline_always, reason = "keeps the writer in registers: a tenth of the time")]
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        let word = self.bits.to_le_bytes();
        if let Some(slot) = self.buffer.get_mut(self.filled..self.filled + 8) {
            slot.copy_from_slice(&word);
        } else {
            spill(self.out, &self.buffer[..self.filled]);
            self.filled = 0;
            self.buffer[..8].copy_from_slice(&word);
        }
        self.filled += (self.count >> 3) as usize;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    /// Puts and flushes.
    pub(super) fn write(&mut self, bits: u64, count: u32) {
        self.put(bits, count);
        self.flush();
    }

    /// Fills the last byte with zero bits and appends everything gathered to the vector.
    pub(super) fn align(&mut self) {
        self.count = (self.count + 7) & !7;
        self.flush();
        self.bits = 0;
        self.empty_buffer();
    }

    /// Appends whole bytes; only right after [`BitWriter::align`].
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.empty_buffer();
        self.out.extend_from_slice(bytes);
    }

    /// Returns the number of bits written to the byte begun, 0 to 7.
    pub(super) fn bits_begun(&self) -> u32 {
        self.count & 7
    }

    /// Remembers this place. Anything put must be flushed.
    pub(super) fn mark(&mut self) -> Mark {
        self.empty_buffer();
        Mark { bytes: self.out.len(), bits: self.bits, count: self.count }
    }

    /// Returns the number of bits written since `mark`.
    pub(super) fn bits_since(&self, mark: &Mark) -> u64 {
        let bytes = self.out.len() - mark.bytes + self.filled;
        bytes as u64 * 8 + u64::from(self.count) - u64::from(mark.count)
    }

    /// Forgets everything written since `mark`.
    pub(super) fn rewind(&mut self, mark: &Mark) {
        self.out.truncate(mark.bytes);
        self.filled = 0;
        self.bits = mark.bits;
        self.count = mark.count;
    }

    fn empty_buffer(&mut self) {
        spill(self.out, &self.buffer[..self.filled]);
        self.filled = 0;
    }
}

#[cold]
#[inline(never)]
fn spill(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}
