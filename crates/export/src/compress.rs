//! Compressors, as data and as code.
//!
//! Text is compressed in members: independent pieces of a fixed uncompressed size that are simply put
//! one behind the other. RFC 1952 (gzip) and RFC 8878 (zstd frames) both say that a reader takes such a
//! file as one. It is what lets one file use every core, with the same bytes for any number of them.

use std::cell::RefCell;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor as Deflater};
use model::limits::MEMBER_BYTES;

use crate::options::{OptionKind, Settings, Values};

/// The version of the C library inside `libdeflater`; a test pins bytes that would change with it.
const LIBDEFLATE: &str = "libdeflate-1.26";

/// The level of gzip without `gzip.level`, for every format. On two public data sets as JSON Lines one core
/// compressed 211 and 226 MB/s at level 4, 397 and 425 at level 1 for 4 % and 35 % more bytes, 144 and 127
/// at level 6 for 6 % and 17 % fewer: 4 is where the steps stop being cheap.
const GZIP_LEVEL: &str = "4";

/// The level of zstd without `zstd.level`, for every format; that of the lake's own files. On the same data
/// level 3 made 8 % fewer and 12 % more bytes, at nine tenths of the speed.
const ZSTD_LEVEL: &str = "1";

/// A compression, described as data.
#[derive(Debug)]
pub struct CompressionKind {
    /// `none`, `gzip`, `zstd` or `snappy`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What the names of text files end with.
    pub suffix: &'static str,
    /// What can be chosen.
    pub options: &'static [OptionKind],
}

/// Bytes as they are.
pub(crate) static NONE: CompressionKind =
    CompressionKind { name: "none", summary: "no compression", suffix: "", options: &[] };

/// RFC 1952, which every reader takes.
pub(crate) static GZIP: CompressionKind = CompressionKind {
    name: "gzip",
    summary: "RFC 1952, which every reader takes",
    suffix: ".gz",
    options: &[OptionKind {
        key: "gzip.level",
        help: "1 is fastest, 9 is smallest",
        default: GZIP_LEVEL,
        values: Values::Whole { least: 1, most: 9 },
    }],
};

/// RFC 8878: smaller and faster than gzip.
pub(crate) static ZSTD: CompressionKind = CompressionKind {
    name: "zstd",
    summary: "RFC 8878, smaller and faster than gzip",
    suffix: ".zst",
    options: &[OptionKind {
        key: "zstd.level",
        help: "1 is fastest, 19 is smallest",
        default: ZSTD_LEVEL,
        values: Values::Whole { least: 1, most: 19 },
    }],
};

/// Fast, and inside Parquet only: as a file of its own it has no common form.
pub(crate) static SNAPPY: CompressionKind =
    CompressionKind { name: "snappy", summary: "fast, for Parquet only", suffix: "", options: &[] };

/// Compresses members of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Not at all.
    None,
    /// gzip members of that level.
    Gzip(i32),
    /// zstd frames of that level.
    Zstd(i32),
}

thread_local! {
    /// The compressors of this thread, with their levels: making one costs more than a small member.
    static DEFLATER: RefCell<Option<(i32, Deflater)>> = const { RefCell::new(None) };
    static ZSTANDARD: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
}

impl Codec {
    /// Returns the codec that checked settings ask for.
    pub(crate) fn of(settings: &Settings) -> Self {
        match settings.compression.name {
            "gzip" => Self::Gzip(settings.level("gzip.level")),
            "zstd" => Self::Zstd(settings.level("zstd.level")),
            _ => Self::None,
        }
    }

    /// Returns what an encoder id says of it: library, version, level and member size.
    pub(crate) fn id(self) -> String {
        let (library, level) = match self {
            Self::None => return "none".into(),
            Self::Gzip(level) => (format!("gzip={LIBDEFLATE}"), level),
            Self::Zstd(level) => {
                (format!("zstd=zstd-{}", zstd::zstd_safe::version_string()), level)
            }
        };
        format!("{library}/{level};member={MEMBER_BYTES}")
    }

    /// Compresses one member.
    ///
    /// Shape: the same text gives the same bytes, whatever this thread compressed before.
    pub(crate) fn member(self, text: &Bytes) -> Bytes {
        match self {
            Self::None => text.clone(),
            Self::Gzip(level) => gzip(text, level),
            Self::Zstd(level) => zstandard(text, level),
        }
    }
}

fn gzip(text: &[u8], level: i32) -> Bytes {
    DEFLATER.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(have, _)| *have != level) {
            let level_checked = CompressionLvl::new(level).expect("options allow 1 to 9");
            *kept = Some((level, Deflater::new(level_checked)));
        }
        let (_, deflater) = kept.as_mut().expect("just made");
        let mut out = vec![0; deflater.gzip_compress_bound(text.len())];
        let length = deflater.gzip_compress(text, &mut out).expect("the bound is large enough");
        // The bound is larger than the text; what is queued shall not hold that much.
        Bytes::copy_from_slice(&out[..length])
    })
}

fn zstandard(text: &[u8], level: i32) -> Bytes {
    ZSTANDARD.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(have, _)| *have != level) {
            let made = zstd::bulk::Compressor::new(level).expect("options allow 1 to 19");
            *kept = Some((level, made));
        }
        let (_, compressor) = kept.as_mut().expect("just made");
        let out = compressor.compress(text).expect("the library's own bound is large enough");
        Bytes::copy_from_slice(&out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn text(rows: u32) -> Bytes {
        let row = |at: u32| {
            format!("{{\"id\":{at},\"name\":\"row {}\"}}\n", at.wrapping_mul(2_654_435_761))
        };
        (0..rows).map(row).collect::<String>().into()
    }

    #[test]
    fn members_read_back_also_one_behind_the_other() {
        let (a, b) = (text(2000), text(0));
        let gzip =
            [Codec::Gzip(4).member(&a), Codec::Gzip(4).member(&b), Codec::Gzip(1).member(&a)];
        let mut read = String::new();
        let gzip = gzip.concat();
        flate2::read::MultiGzDecoder::new(&gzip[..]).read_to_string(&mut read).expect("valid gzip");
        assert_eq!(read.as_bytes(), [&a[..], &a[..]].concat());
        let zstd =
            [Codec::Zstd(3).member(&a), Codec::Zstd(3).member(&b), Codec::Zstd(1).member(&a)];
        assert_eq!(zstd::decode_all(&zstd.concat()[..]).expect("valid zstd"), read.as_bytes());
    }

    #[test]
    fn a_member_does_not_depend_on_the_one_before() {
        for codec in [Codec::Gzip(4), Codec::Gzip(9), Codec::Zstd(3), Codec::Zstd(19)] {
            let first = codec.member(&text(3000));
            codec.member(&text(10_000));
            codec.member(&text(0));
            assert_eq!(codec.member(&text(3000)), first, "{codec:?}");
        }
    }

    /// A newer library may pack otherwise; then the version in the id must change with it.
    #[test]
    fn the_compressors_bytes_are_those_of_the_versions_in_the_id() {
        let sum =
            |codec: Codec| model::digest::sha256_hex(&codec.member(&text(20_000)))[..16].to_owned();
        assert_eq!(
            (Codec::Gzip(4).id().as_str(), sum(Codec::Gzip(4)).as_str()),
            ("gzip=libdeflate-1.26/4;member=1048576", "d97d46c8b10f04df")
        );
        assert_eq!(
            (Codec::Zstd(3).id().as_str(), sum(Codec::Zstd(3)).as_str()),
            ("zstd=zstd-1.5.7/3;member=1048576", "2af9e82eb99ed027")
        );
    }
}
