//! Compressors, as data and as code.
//!
//! Text is compressed in members: independent pieces, each of whole rows, that are simply put one behind
//! the other. RFC 1952 (gzip) and RFC 8878 (zstd frames) both say that a reader takes such a
//! file as one. It is what lets one file use every core, with the same bytes for any number of them.

use std::cell::RefCell;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor as Deflater, Crc};
use model::limits::{CHUNK_BYTES, MEASURED_ROWS, MEMBER_BYTES, MEMBER_ROWS_MAX};

use crate::cells::Place;
use crate::deflate::{self, Effort};
use crate::options::{Error, OptionKind, Settings, Values};

/// The version of our own compressor; a test pins bytes that would change with it.
const DEFLATE: &str = "sluice-1";

/// The version of the C library inside `libdeflater`; a test pins bytes that would change with it.
const LIBDEFLATE: &str = "libdeflate-1.26";

/// The level of gzip around text without `gzip.level`: that of our own compressor, which knows where values
/// lie. On wide events it makes fewer bytes than the library's level 4 at a third of the time.
const GZIP_LEVEL: &str = "1";

/// The same inside Parquet, where a library compresses pages.
const GZIP_LEVEL_INSIDE: &str = "4";

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
    options: &[
        OptionKind {
            key: "gzip.level",
            help: "1 is fastest, 9 is smallest",
            default: GZIP_LEVEL,
            values: Values::Whole { least: 1, most: 9 },
            later: false,
        },
        OptionKind {
            key: "gzip.members",
            help: "many members one behind the other, or one, for readers that stop after the first (levels 1 and 2)",
            default: "many",
            values: Values::OneOf(&["many", "one"]),
            later: true,
        },
    ],
};

/// The same inside Parquet.
pub(crate) static GZIP_INSIDE: CompressionKind = CompressionKind {
    name: "gzip",
    summary: "RFC 1952, for old readers",
    suffix: ".gz",
    options: &[OptionKind {
        key: "gzip.level",
        help: "1 is fastest, 9 is smallest",
        default: GZIP_LEVEL_INSIDE,
        values: Values::Whole { least: 1, most: 9 },
        later: false,
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
        later: false,
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
    /// gzip members that are joined to one.
    OneGzip(Effort),
    /// zstd frames of that level.
    Zstd(i32),
}

/// Bytes of a buffer that a thread keeps.
const KEPT_BYTES: usize = 4 << 20;

thread_local! {
    /// Our own compressor of this thread, and where it writes.
    static GUIDED: RefCell<(deflate::Encoder, Vec<u8>)> = RefCell::default();
    /// The compressors of this thread, with their levels: making one costs more than a small member.
    static DEFLATER: RefCell<Option<(i32, Deflater)>> = const { RefCell::new(None) };
    static ZSTANDARD: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
}

impl Codec {
    /// Refuses settings that do not go together.
    pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
        let is_one = settings.compression.name == "gzip" && settings.get("gzip.members") == "one";
        if is_one && effort(settings.level("gzip.level")).is_none() {
            let (key, value) = ("gzip.level".into(), settings.get("gzip.level").into());
            return Err(Error::Value {
                key,
                value,
                allowed: "1 or 2 with `gzip.members=one`".into(),
            });
        }
        Ok(())
    }

    /// Returns the codec that checked settings ask for.
    pub(crate) fn of(settings: &Settings) -> Self {
        match settings.compression.name {
            "gzip" => {
                let level = settings.level("gzip.level");
                let is_one = settings.get("gzip.members") == "one";
                match effort(level).filter(|_| is_one) {
                    Some(effort) => Self::OneGzip(effort),
                    None => Self::Gzip(level),
                }
            }
            "zstd" => Self::Zstd(settings.level("zstd.level")),
            _ => Self::None,
        }
    }

    /// Returns what an encoder id says of it: library, version, level and member size.
    pub(crate) fn id(self) -> String {
        let (library, level) = match self {
            Self::None => return "none".into(),
            Self::Gzip(level) if effort(level).is_some() => (format!("gzip={DEFLATE}"), level),
            Self::Gzip(level) => (format!("gzip={LIBDEFLATE}"), level),
            Self::OneGzip(effort) => {
                let level = if effort == Effort::Fast { 1 } else { 2 };
                (format!("gzip={DEFLATE};members=one"), level)
            }
            Self::Zstd(level) => {
                (format!("zstd=zstd-{}", zstd::zstd_safe::version_string()), level)
            }
        };
        let rows = format!("{MEASURED_ROWS}/{MEMBER_ROWS_MAX}/{CHUNK_BYTES}");
        format!("{library}/{level};member={MEMBER_BYTES}/{rows}")
    }

    /// Tells whether the compressor makes use of the places of values.
    pub(crate) fn wants_places(self) -> bool {
        match self {
            Self::Gzip(level) => effort(level).is_some(),
            Self::OneGzip(_) => true,
            Self::None | Self::Zstd(_) => false,
        }
    }

    /// Compresses one member; `places` say where values lie in it.
    ///
    /// Shape: the same text and places give the same bytes, whatever this thread compressed before.
    pub(crate) fn member(self, text: &[u8], places: &[Place]) -> Bytes {
        match self {
            Self::None => Bytes::copy_from_slice(text),
            Self::Gzip(level) => match effort(level) {
                // A row of 4 GiB is beyond what places can say.
                Some(effort) if u32::try_from(text.len()).is_ok() => {
                    guided(text, places, (effort, End::Last))
                }
                _ => gzip(text, level),
            },
            Self::OneGzip(effort) => guided(text, places, (effort, End::Open)),
            Self::Zstd(level) => zstandard(text, level),
        }
    }
}

/// Returns how hard our own compressor tries at a level; `None` for levels of the library.
fn effort(level: i32) -> Option<Effort> {
    match level {
        1 => Some(Effort::Fast),
        2 => Some(Effort::Dense),
        _ => None,
    }
}

/// The header of a gzip member without a name, a time or a hint of the system: RFC 1952.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes in front of the deflated text in a member.
pub(crate) const GZIP_FRONT: usize = GZIP_HEADER.len();

/// Bytes behind the deflated text of a member that is to be joined: the end of the stream, the checksum, the size.
pub(crate) const GZIP_BACK: usize = deflate::END.len() + 8;

/// How a member ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In its last block.
    Last,
    /// At a whole byte, with an empty last block behind it that can be left out.
    Open,
}

/// Bytes of text that are deflated together: places reach no further.
const GUIDED_BYTES_MAX: usize = 1 << 30;

fn guided(text: &[u8], places: &[Place], (effort, end): (Effort, End)) -> Bytes {
    GUIDED.with_borrow_mut(|(encoder, out)| {
        out.clear();
        out.extend_from_slice(&GZIP_HEADER);
        match end {
            End::Last => encoder.encode(text, places, effort, out),
            End::Open => {
                let mut places = places;
                for piece in text.chunks(GUIDED_BYTES_MAX) {
                    encoder.encode_open(piece, std::mem::take(&mut places), effort, out);
                }
                out.extend_from_slice(&deflate::END);
            }
        }
        let mut sum = Crc::new();
        sum.update(text);
        out.extend_from_slice(&sum.sum().to_le_bytes());
        // The size counts modulo 2^32.
        out.extend_from_slice(&text.len().to_le_bytes()[..4]);
        let packed = Bytes::copy_from_slice(out);
        out.shrink_to(KEPT_BYTES);
        packed
    })
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

    /// Every run of digits.
    fn places(text: &[u8]) -> Vec<Place> {
        let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        let starts = (0..text.len()).filter(|at| digit(*at) && (*at == 0 || !digit(at - 1)));
        let place = |start: usize| {
            let end = (start..=text.len()).find(|at| !digit(*at)).expect("text ends");
            let narrow = |at| u32::try_from(at).expect("small");
            Place { start: narrow(start), end: narrow(end), column: 1 }
        };
        starts.map(place).collect()
    }

    #[test]
    fn members_read_back_also_one_behind_the_other() {
        let (a, b) = (text(2000), text(0));
        let gzip = [
            Codec::Gzip(4).member(&a, &[]),
            Codec::Gzip(4).member(&b, &[]),
            Codec::Gzip(1).member(&a, &places(&a)),
            Codec::Gzip(2).member(&b, &[]),
        ];
        let mut read = String::new();
        let gzip = gzip.concat();
        flate2::read::MultiGzDecoder::new(&gzip[..]).read_to_string(&mut read).expect("valid gzip");
        assert_eq!(read.as_bytes(), [&a[..], &a[..]].concat());
        let zstd = [
            Codec::Zstd(3).member(&a, &[]),
            Codec::Zstd(3).member(&b, &[]),
            Codec::Zstd(1).member(&a, &[]),
        ];
        assert_eq!(zstd::decode_all(&zstd.concat()[..]).expect("valid zstd"), read.as_bytes());
    }

    #[test]
    fn a_member_does_not_depend_on_the_one_before() {
        let levels = [1, 2, 4, 9].map(Codec::Gzip);
        for codec in levels.into_iter().chain([3, 19].map(Codec::Zstd)) {
            let member = |text: &[u8]| codec.member(text, &places(text));
            let first = member(&text(3000));
            member(&text(10_000));
            member(&text(0));
            assert_eq!(member(&text(3000)), first, "{codec:?}");
        }
    }

    /// A newer library may pack otherwise; then the version in the id must change with it.
    #[test]
    fn the_compressors_bytes_are_those_of_the_versions_in_the_id() {
        let text = text(20_000);
        let places = places(&text);
        let sum = |codec: Codec| {
            model::digest::sha256_hex(&codec.member(&text, &places))[..16].to_owned()
        };
        assert_eq!(
            (Codec::Gzip(1).id().as_str(), sum(Codec::Gzip(1)).as_str()),
            ("gzip=sluice-1/1;member=1048576/256/16384/8388608", "32d6f496395a5083")
        );
        assert_eq!(
            (Codec::Gzip(2).id().as_str(), sum(Codec::Gzip(2)).as_str()),
            ("gzip=sluice-1/2;member=1048576/256/16384/8388608", "ae06eb8a021bc767")
        );
        assert_eq!(
            (Codec::Gzip(4).id().as_str(), sum(Codec::Gzip(4)).as_str()),
            ("gzip=libdeflate-1.26/4;member=1048576/256/16384/8388608", "d97d46c8b10f04df")
        );
        assert_eq!(
            (Codec::Zstd(3).id().as_str(), sum(Codec::Zstd(3)).as_str()),
            ("zstd=zstd-1.5.7/3;member=1048576/256/16384/8388608", "2af9e82eb99ed027")
        );
    }
}
