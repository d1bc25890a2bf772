//! Gzip files, unpacked on their way to a client.
//!
//! Contract: each file is one member, of which the place of the deflated text and the bytes of the plain one are known; what comes out is a
//! range of the plain texts one behind the other, each compared with its checksum where it comes to its end. Files before the range are not read. Memory is some hundred KiB for each download.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use futures::{Stream, stream};

use super::download::Packed;

/// Bytes read at once; text unpacks to several times as many.
const READ_BYTES: u64 = 1 << 20;

/// Bytes unpacked at once.
const PIECE_BYTES: usize = 256 << 10;

/// Unpacks a range of what files unpack to.
pub(super) fn unpacked(
    files: Vec<Packed>,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
    let (mut skip, left) = (range.start, range.end - range.start);
    let mut files = VecDeque::from(files);
    while files.front().is_some_and(|file| file.plain <= skip) {
        skip -= files.pop_front().map_or(0, |file| file.plain);
    }
    let state = State { files, open: None, skip, left };
    stream::try_unfold(state, |mut state| async move {
        let piece = state.next().await.inspect_err(|error| {
            tracing::warn!(%error, "a download broke off");
        })?;
        Ok(piece.map(|piece| (piece, state)))
    })
}

/// A download under way.
struct State {
    /// Files that are not begun.
    files: VecDeque<Packed>,
    open: Option<Open>,
    /// Plain bytes that are not wanted.
    skip: u64,
    /// Plain bytes that are still to be sent.
    left: u64,
}

/// A file that is unpacked.
struct Open {
    file: Packed,
    /// Read and not unpacked.
    input: Bytes,
    inflate: Decompress,
    /// The checksum of what was unpacked.
    sum: Hasher,
    /// Whether it was compared with the file's own.
    compared: bool,
}

impl State {
    /// Returns the next bytes; nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, io::Error> {
        while self.left > 0 {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.pop_front() else {
                    return Err(io::Error::other("the files unpack to less than they should"));
                };
                self.open = Some(Open {
                    file,
                    input: Bytes::new(),
                    inflate: Decompress::new(false),
                    sum: Hasher::new(),
                    compared: false,
                });
                continue;
            };
            let mut piece = open.next().await?;
            if piece.is_empty() {
                self.open = None;
                continue;
            }
            let skipped = self.skip.min(piece.len() as u64);
            self.skip -= skipped;
            let skipped = usize::try_from(skipped).expect("no more than the piece");
            piece = piece.slice(skipped..);
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            piece.truncate(most);
            self.left -= piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

impl Open {
    /// Returns the next plain bytes of the file; none at its end.
    async fn next(&mut self) -> Result<Bytes, io::Error> {
        loop {
            if self.input.is_empty() && !self.file.deflated.is_empty() {
                let Range { start, end } = self.file.deflated;
                let until = end.min(start + READ_BYTES);
                let read = self.file.objects.read(&self.file.key, start..until).await;
                self.input = read.map_err(|error| io::Error::other(error.to_string()))?;
                self.file.deflated.start = until;
            }
            let mut out = Vec::with_capacity(PIECE_BYTES);
            let (before, flush) = (self.inflate.total_in(), FlushDecompress::None);
            let status = self.inflate.decompress_vec(&self.input, &mut out, flush);
            let status = status.map_err(io::Error::other)?;
            let taken = usize::try_from(self.inflate.total_in() - before).expect("of the input");
            self.input = self.input.slice(taken..);
            self.sum.update(&out);
            if status == Status::StreamEnd && !self.compared {
                self.compare().await?;
            }
            if !out.is_empty() || status == Status::StreamEnd {
                return Ok(out.into());
            }
            if taken == 0 && self.file.deflated.is_empty() {
                return Err(io::Error::other("a file ends before its text does"));
            }
        }
    }
}

impl Open {
    /// Compares what was unpacked with the checksum behind it.
    async fn compare(&mut self) -> Result<(), io::Error> {
        let at = self.file.deflated.end;
        let read = self.file.objects.read(&self.file.key, at..at + 4).await;
        let read = read.map_err(|error| io::Error::other(error.to_string()))?;
        if self.sum.clone().finalize().to_le_bytes() != *read {
            return Err(io::Error::other("a file is not what was written"));
        }
        self.compared = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use futures::TryStreamExt;
    use model::ObjectKey;
    use model::ports::Objects;
    use objects::Memory;

    use super::*;

    async fn file(objects: &Memory, name: &str, text: &[u8]) -> Packed {
        let mut deflated = DeflateEncoder::new(b"front".to_vec(), Compression::fast());
        deflated.write_all(text).expect("in memory");
        let mut bytes = deflated.finish().expect("in memory");
        let end = bytes.len() as u64;
        bytes.extend_from_slice(&crc32fast::hash(text).to_le_bytes());
        bytes.extend_from_slice(b"size");
        let key = ObjectKey::new(name);
        objects.create(&key, bytes.into()).await.expect("created");
        let (objects, plain) = (Arc::new(objects.clone()), text.len() as u64);
        Packed { objects, key, deflated: 5..end, plain }
    }

    fn text(n: u32, bytes: usize) -> Vec<u8> {
        let words = (0..).flat_map(move |at: u32| format!("{}\n", at.wrapping_mul(n)).into_bytes());
        words.take(bytes).collect()
    }

    #[tokio::test]
    async fn any_range_of_several_files_comes_out() {
        let objects = Memory::default();
        let texts = [text(7919, 700_000), text(104_729, 3), Vec::new(), text(31, 300_000)];
        let mut files = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            files.push(file(&objects, &at.to_string(), text).await);
        }
        let all = texts.concat();
        let len = all.len();
        for range in [0..len, 0..0, 0..1, 699_999..700_004, 700_003..len, len - 1..len, 5..900_000]
        {
            let wanted = range.start as u64..range.end as u64;
            let got: Vec<Bytes> =
                unpacked(files.clone(), wanted).try_collect().await.expect("read");
            assert!(got.concat() == all[range.clone()], "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_or_short_breaks_off() {
        let objects = Memory::default();
        let file = file(&objects, "a", &text(7919, 100_000)).await;
        let read = async |file: Packed| {
            let end = file.plain;
            unpacked(vec![file], 0..end).try_collect::<Vec<Bytes>>().await
        };
        let half = Packed { deflated: 5..1000, ..file.clone() };
        read(half).await.expect_err("it ends too early");
        let longer = Packed { plain: file.plain + 1, ..file.clone() };
        read(longer).await.expect_err("it is not as long as it should be");
        let wrong = Packed { deflated: 5..file.deflated.end + 1, ..file.clone() };
        read(wrong).await.expect_err("its checksum is another one");
        let shifted = Packed { deflated: 6..file.deflated.end, ..file };
        read(shifted).await.expect_err("that is no deflated text");
    }
}
