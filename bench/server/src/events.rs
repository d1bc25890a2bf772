//! Events of about a kilobyte, each with an id of its own.
//!
//! Contract: row `n` is always the same for a file. The lines are those of `bench-generate`, some 800 bytes each, with a trace
//! id and the path of a visit added until they have [`LINE_BYTES`]; where the file ends it begins again, with other ids.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;

use crate::Failed;

/// Bytes that a line has at least.
const LINE_BYTES: usize = 1000;

/// How every line begins.
const BEGINNING: &str = "{\"event_id\":\"";

/// Digits of the id that are the row's number; the rest stays what it was.
const DIGITS: usize = 16;

/// Where visits lead.
const SECTIONS: [&str; 8] =
    ["shop", "blog", "konto", "produkte", "hilfe", "suche", "checkout", "angebote"];

/// The lines of a file, one behind the other.
#[derive(Debug)]
pub(crate) struct Events {
    text: Vec<u8>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
}

impl Events {
    /// Reads the lines of a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("`{}`: {error}", path.display()))?;
        Self::of(&text).map_err(|why| format!("`{}`: {why}", path.display()).into())
    }

    fn of(lines: &str) -> Result<Self, String> {
        let (mut text, mut starts) = (String::with_capacity(lines.len() * 5 / 4), vec![0]);
        for line in lines.lines() {
            let inside = line.strip_suffix('}').filter(|line| {
                let id = line.strip_prefix(BEGINNING).and_then(|rest| rest.get(..DIGITS));
                id.is_some_and(|id| id.bytes().all(|digit| digit.is_ascii_hexdigit()))
            });
            let inside = inside.ok_or("these are no events of `bench-generate`")?;
            let start = text.len();
            text.push_str(inside);
            lengthen(&mut text, start, starts.len() as u64);
            text.push_str("\"}\n");
            starts.push(text.len());
        }
        match starts.len() {
            1 => Err("there are no events".into()),
            _ => Ok(Self { text: text.into_bytes(), starts }),
        }
    }

    /// Returns the mean bytes of a line.
    pub(crate) fn line_bytes(&self) -> usize {
        self.text.len() / (self.starts.len() - 1)
    }

    /// Returns `count` rows from number `first` on.
    pub(crate) fn body(&self, first: u64, count: u64) -> Bytes {
        let lines = self.starts.len() as u64 - 1;
        let rows = usize::try_from(count).expect("a body fits into memory");
        let mut body = Vec::with_capacity(rows * (self.line_bytes() + 64));
        for row in first..first + count {
            let at = usize::try_from(row % lines).expect("it is in memory");
            let id = body.len() + BEGINNING.len();
            body.extend_from_slice(&self.text[self.starts[at]..self.starts[at + 1]]);
            body[id..id + DIGITS].copy_from_slice(id_of(row).as_bytes());
        }
        body.into()
    }
}

/// Returns what the id of a row begins with; ids are in the order of rows.
pub(crate) fn id_of(row: u64) -> String {
    format!("{row:016x}")
}

/// Adds columns to the line that begins at `start`, up to the last quote.
fn lengthen(text: &mut String, start: usize, line: u64) {
    let mut number = line;
    let mut next = || {
        // SplitMix64.
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let (high, low, span) = (next(), next(), next());
    write!(text, ",\"trace\":\"00-{high:016x}{low:016x}-{span:016x}-01\",\"visit\":\"/")
        .expect("text takes text");
    while text.len() - start < LINE_BYTES {
        let page = next();
        let section = SECTIONS[usize::try_from(page % 8).expect("below 8")];
        write!(text, "{section}/artikel-{}>/", (page >> 8) % 5000).expect("text takes text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = concat!(
        "{\"event_id\":\"cc9c143a25c287646ab7e22510676eea\",\"n\":1}\n",
        "{\"event_id\":\"22450c8f871a9eaefcbc1e4bbf883fef\",\"n\":2}\n",
    );

    #[test]
    fn rows_are_whole_events_with_ids_of_their_own() {
        let events = Events::of(TWO).expect("events");
        let body = events.body(1, 3);
        let rows: Vec<serde_json::Value> = body
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let ids: Vec<_> = rows.iter().map(|row| row["event_id"].as_str().expect("text")).collect();
        assert_eq!(
            ids,
            [
                "0000000000000001fcbc1e4bbf883fef",
                "00000000000000026ab7e22510676eea",
                "0000000000000003fcbc1e4bbf883fef"
            ]
        );
        assert_eq!([&rows[0]["n"], &rows[1]["n"]], [2, 1]);
        assert!((LINE_BYTES..LINE_BYTES + 40).contains(&events.line_bytes()));
        assert_eq!(events.body(1, 3), [events.body(1, 1), events.body(2, 2)].concat());
    }

    #[test]
    fn other_files_are_refused() {
        for text in ["", "{\"id\":1}\n", "{\"event_id\":\"short\"}\n"] {
            assert!(Events::of(text).is_err(), "{text}");
        }
    }
}
