//! Counting the rows that are really in a file, format by format.
//!
//! Streams: memory is a few buffers, one line of JSON Lines and one decompression window, whatever the
//! file. Written apart from the encoders on purpose: what they get wrong shall not be wrong here too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use model::format::EncoderId;
use model::limits::{VERIFY_EXCESS_BYTES, VERIFY_LINE_BYTES_MAX};
use model::manifest::Manifest;
use parquet::file::metadata::ParquetMetaDataReader;
use serde::de::IgnoredAny;

use super::report::counted;

/// Bytes of one buffer; a file in work has two.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// How the files of a manifest are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Text, and how it is packed.
    Text(Text, Packing),
    /// Parquet, which packs inside.
    Parquet,
}

/// What makes a row in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// A line with one JSON object.
    Lines,
    /// A record of CSV.
    Records(Dialect),
}

/// What of CSV decides where a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The first record names the columns.
    pub(super) header: bool,
    /// Between quotes, a backslash takes the next byte's meaning.
    pub(super) backslash: bool,
    /// Fields of every record.
    pub(super) columns: usize,
}

/// How a text file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    None,
    /// gzip, any number of members.
    Gzip,
    /// zstd, any number of frames.
    Zstd,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Rows.
    pub(super) rows: u64,
    /// Bytes of the text; none for Parquet, which has no such thing.
    pub(super) text_bytes: Option<u64>,
}

/// Why rows could not be counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The file is not of its format; says where and why.
    Broken(String),
    /// There is more text than this many bytes.
    Excess(u64),
}

impl Content {
    /// Returns how a manifest says that its files are to be read; none if this program cannot.
    pub(super) fn of(manifest: &Manifest) -> Option<Self> {
        let text = match manifest.format.as_str() {
            "parquet" => return Some(Self::Parquet),
            "jsonl" => Text::Lines,
            "csv" => Text::Records(Dialect {
                header: option(&manifest.encoder, "header").as_deref() != Some("false"),
                backslash: option(&manifest.encoder, "escape").as_deref() == Some("backslash"),
                columns: manifest.schema.fields.len(),
            }),
            _ => return None,
        };
        let packing = match manifest.compression.as_str() {
            "none" => Packing::None,
            "gzip" => Packing::Gzip,
            "zstd" => Packing::Zstd,
            _ => return None,
        };
        Some(Self::Text(text, packing))
    }
}

/// Counts the rows of a text file.
///
/// Shape: `raw` may be left unread in part; `said` is how long the manifest says that the text is.
pub(super) fn count_text(
    raw: impl Read,
    (text, packing): (Text, Packing),
    said: u64,
) -> Result<Counted, Flaw> {
    let most = said.saturating_add(VERIFY_EXCESS_BYTES);
    let raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    match packing {
        Packing::None => count(raw, text, most),
        Packing::Gzip => count(MultiGzDecoder::new(raw), text, most),
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw);
            count(decoder.map_err(|error| broken_pack(&error))?, text, most)
        }
    }
}

/// Reads the footer of a Parquet file, and no page.
pub(super) fn count_parquet(file: &File) -> Result<Counted, Flaw> {
    let footer = ParquetMetaDataReader::new().parse_and_finish(file);
    let footer = footer.map_err(|_| Flaw::Broken("no Parquet footer that can be read".into()))?;
    let grouped: i64 = footer.row_groups().iter().map(|group| group.num_rows().max(0)).sum();
    let said = footer.file_metadata().num_rows();
    if grouped != said {
        let row_groups = "row groups of a Parquet file that says";
        return Err(Flaw::Broken(format!("{grouped} rows in the {row_groups} {said}")));
    }
    Ok(Counted { rows: u64::try_from(said).unwrap_or(0), text_bytes: None })
}

fn count(unpacked: impl Read, text: Text, most: u64) -> Result<Counted, Flaw> {
    let mut meter = Meter { inner: unpacked, read: 0, most };
    let reader = BufReader::with_capacity(BUFFER_BYTES, &mut meter);
    let rows = match text {
        Text::Lines => lines(reader),
        Text::Records(dialect) => records(reader, dialect),
    };
    if meter.read > most {
        return Err(Flaw::Excess(most));
    }
    Ok(Counted { rows: rows?, text_bytes: Some(meter.read) })
}

fn lines(mut reader: impl BufRead) -> Result<u64, Flaw> {
    let mut line = Vec::new();
    let mut rows = 0;
    loop {
        line.clear();
        let mut limited = (&mut reader).take(VERIFY_LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).map_err(|error| broken_pack(&error))?;
        if line.is_empty() {
            return Ok(rows);
        }
        rows += 1;
        check_object(&line).map_err(|why| Flaw::Broken(format!("line {rows}, which {why}")))?;
    }
}

fn check_object(line: &[u8]) -> Result<(), String> {
    if line.len() as u64 == VERIFY_LINE_BYTES_MAX && !line.ends_with(b"\n") {
        return Err(format!("is longer than {VERIFY_LINE_BYTES_MAX} bytes"));
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err("is not UTF-8".into());
    };
    // The scan builds nothing, so that a line costs no memory beyond itself.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(format!("is not JSON from column {} on", error.column()));
    }
    if text.trim_start().starts_with('{') { Ok(()) } else { Err("is not a JSON object".into()) }
}

/// Where a scan of CSV stands. The `csv` crate is no help here: it skips empty lines, and an empty line
/// is a row of a file with one column.
#[derive(Default)]
struct Records {
    quoted: bool,
    escaped: bool,
    begun: bool,
    separators: usize,
    ended: u64,
}

fn records(mut reader: impl BufRead, dialect: Dialect) -> Result<u64, Flaw> {
    let mut records = Records::default();
    loop {
        let bytes = reader.fill_buf().map_err(|error| broken_pack(&error))?;
        if bytes.is_empty() {
            break;
        }
        for byte in bytes {
            records.step(*byte, dialect)?;
        }
        let read = bytes.len();
        reader.consume(read);
    }
    if records.quoted || records.escaped {
        let last = records.ended + 1;
        return Err(Flaw::Broken(format!("record {last}, which does not end")));
    }
    if records.begun {
        records.end(dialect)?;
    }
    Ok(records.ended.saturating_sub(u64::from(dialect.header)))
}

impl Records {
    fn step(&mut self, byte: u8, dialect: Dialect) -> Result<(), Flaw> {
        if self.escaped {
            self.escaped = false;
            return Ok(());
        }
        match byte {
            b'\n' if !self.quoted => return self.end(dialect),
            b',' if !self.quoted => self.separators += 1,
            // A doubled quote closes and opens again, which comes to the same.
            b'"' => self.quoted = !self.quoted,
            // Only between quotes: a null literal may be a backslash.
            b'\\' if dialect.backslash && self.quoted => self.escaped = true,
            _ => {}
        }
        self.begun = true;
        Ok(())
    }

    fn end(&mut self, dialect: Dialect) -> Result<(), Flaw> {
        self.ended += 1;
        let fields = self.separators + 1;
        self.separators = 0;
        self.begun = false;
        if fields == dialect.columns.max(1) {
            return Ok(());
        }
        let fields = counted(fields as u64, "field");
        Err(Flaw::Broken(format!("record {}, which has {fields}", self.ended)))
    }
}

/// Counts what goes through and fails once it is too much.
struct Meter<R> {
    inner: R,
    read: u64,
    most: u64,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

fn broken_pack(error: &io::Error) -> Flaw {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "compressed data that ends too early",
        _ => "compressed data that cannot be unpacked",
    };
    Flaw::Broken(why.into())
}

/// Returns the value of a `key=value` of an encoder id, with `%XX` undone.
fn option(encoder: &EncoderId, key: &str) -> Option<String> {
    let mut pairs = encoder.0.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: Dialect = Dialect { header: false, backslash: false, columns: 2 };

    fn csv(text: &str, dialect: Dialect) -> Result<u64, Flaw> {
        let how = (Text::Records(dialect), Packing::None);
        count_text(text.as_bytes(), how, text.len() as u64).map(|counted| counted.rows)
    }

    fn jsonl(text: &[u8]) -> Result<u64, Flaw> {
        let how = (Text::Lines, Packing::None);
        count_text(text, how, text.len() as u64).map(|counted| counted.rows)
    }

    fn broken(why: &str) -> Result<u64, Flaw> {
        Err(Flaw::Broken(why.into()))
    }

    #[test]
    fn records_end_at_line_ends_outside_of_quotes() {
        assert_eq!(csv("", PLAIN), Ok(0));
        assert_eq!(csv("a,b\n", PLAIN), Ok(1));
        assert_eq!(csv("a,b\r\n\"c\r\nd\",e\r\n", PLAIN), Ok(2));
        assert_eq!(csv("\"a\"\"\n,\",b\n", PLAIN), Ok(1));
        assert_eq!(csv("a,b\nc,", PLAIN), Ok(2), "a last line end may be missing");
        assert_eq!(csv("a,b\nc,d\n", Dialect { header: true, ..PLAIN }), Ok(1));
        assert_eq!(csv("", Dialect { header: true, ..PLAIN }), Ok(0));
    }

    #[test]
    fn an_empty_line_is_a_row_of_one_column() {
        let one = Dialect { columns: 1, ..PLAIN };
        assert_eq!(csv("a\n\n\"\"\n\n", one), Ok(4));
        assert_eq!(csv("a\r\n\r\n", one), Ok(2));
    }

    #[test]
    fn backslashes_escape_only_where_the_dialect_says() {
        let backslash = Dialect { backslash: true, ..PLAIN };
        assert_eq!(csv("\"a\\\"\n\",b\n", backslash), Ok(1));
        assert_eq!(csv("\"a\\\\\",\\N\n", backslash), Ok(1));
        assert_eq!(csv("\"a\\\",b\n", PLAIN), Ok(1));
        assert_eq!(csv("\\,b\n", backslash), Ok(1), "a null literal is not quoted");
        assert_eq!(csv("a,\"b\\", backslash), broken("record 1, which does not end"));
    }

    #[test]
    fn records_of_another_width_and_open_quotes_are_broken() {
        assert_eq!(csv("a,b\nc\n", PLAIN), broken("record 2, which has 1 field"));
        assert_eq!(csv("a,b,c\n", PLAIN), broken("record 1, which has 3 fields"));
        assert_eq!(csv("a,b\n\"c,d\n", PLAIN), broken("record 2, which does not end"));
    }

    #[test]
    fn every_line_is_one_object() {
        assert_eq!(jsonl(b""), Ok(0));
        assert_eq!(jsonl(b"{}\n{\"a\":[1,{}]}\n"), Ok(2));
        assert_eq!(jsonl(b"{}\n{}"), Ok(2), "a last line end may be missing");
        assert_eq!(jsonl(b"{}\n\n{}\n"), broken("line 2, which is not JSON from column 0 on"));
        assert_eq!(jsonl(b"{}\n[1]\n"), broken("line 2, which is not a JSON object"));
        assert_eq!(jsonl(b"{\"a\":1}{}\n"), broken("line 1, which is not JSON from column 8 on"));
        assert_eq!(jsonl(b"{\"a\":\"\xff\"}\n"), broken("line 1, which is not UTF-8"));
        let deep = format!("{{\"a\":{}{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(jsonl(deep.as_bytes()), Ok(1), "depth costs no stack");
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstandard(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).expect("memory")
    }

    fn packed(bytes: &[u8], packing: Packing, said: u64) -> Result<Counted, Flaw> {
        count_text(bytes, (Text::Lines, packing), said)
    }

    #[test]
    fn members_and_frames_are_one_text() {
        let good = Ok(Counted { rows: 3, text_bytes: Some(9) });
        let gzip = [gzip(b"{}\n{"), gzip(b""), gzip(b"}\n{}\n")].concat();
        assert_eq!(packed(&gzip, Packing::Gzip, 9), good);
        let zstd = [zstandard(b"{}\n{"), zstandard(b""), zstandard(b"}\n{}\n")].concat();
        assert_eq!(packed(&zstd, Packing::Zstd, 9), good);
    }

    #[test]
    fn packing_that_ends_early_or_goes_on_wrongly_is_broken() {
        let early = Err(Flaw::Broken("compressed data that ends too early".into()));
        let wrong = Err(Flaw::Broken("compressed data that cannot be unpacked".into()));
        for (packing, whole) in
            [(Packing::Gzip, gzip(b"{}\n")), (Packing::Zstd, zstandard(b"{}\n"))]
        {
            assert_eq!(packed(&whole[..whole.len() - 1], packing, 3), early, "{packing:?}");
            let more = [&whole[..], b"{}\n more than a header of any kind"].concat();
            assert_eq!(packed(&more, packing, 3), wrong, "{packing:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let zeros = vec![b' '; usize::try_from(VERIFY_EXCESS_BYTES).expect("fits") + (2 << 20)];
        let bomb = zstandard(&zeros);
        assert!(bomb.len() < 100_000);
        let most = 10 + VERIFY_EXCESS_BYTES;
        assert_eq!(packed(&bomb, Packing::Zstd, 10), Err(Flaw::Excess(most)));
    }

    #[test]
    fn options_are_read_from_the_encoder_id() {
        let id = EncoderId("csv/1;escape=backslash;null=%5cN%3b%;odd;header=false".into());
        assert_eq!(option(&id, "escape").as_deref(), Some("backslash"));
        assert_eq!(option(&id, "null").as_deref(), Some(r"\N;%"));
        assert_eq!(option(&id, "header").as_deref(), Some("false"));
        assert_eq!(option(&id, "csv/1"), None);
        assert_eq!(option(&id, "odd"), None);
    }
}
