//! What a command prints on stdout: plain lines and tables, or one JSON value with `--json`.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

impl Output {
    /// Prints a value: as JSON, or by `text`.
    pub(crate) fn value<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, value)?;
                writeln!(out)?;
            }
            Self::Text => text(&mut out)?,
        }
        out.flush()
    }
}

/// Returns the text with its control characters written out, so that no terminal obeys them.
pub(crate) fn printable(text: &str) -> String {
    let written = |char: char| match char {
        char if char.is_control() => char.escape_default().to_string(),
        char => char.to_string(),
    };
    text.chars().map(written).collect()
}

/// Says something to the person at the terminal, apart from the result.
pub(crate) fn say(line: &str) {
    // Nobody is there to be told when stderr is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns whether a person watches stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Writes rows under a header, columns padded to their widest cell; numbers to the right.
pub(crate) fn table(out: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let clean = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(clean).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn pad(cell: &str, width: usize) -> String {
    let fill = " ".repeat(width - cell.chars().count());
    let numeric = cell.chars().next().is_some_and(|c| c.is_ascii_digit())
        && cell.chars().all(|c| c.is_ascii_digit() || c == ',');
    if numeric { format!("{fill}{cell}") } else { format!("{cell}{fill}") }
}

/// Writes a count with commas between thousands.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a count of things: `1 row`, `2,000 rows`.
pub(crate) fn counted(value: u64, thing: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(value))
}

/// Writes bytes in the unit that a person would choose.
pub(crate) fn bytes(value: u64) -> String {
    bytesize::ByteSize(value).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(541_909), "541,909");
    }

    #[test]
    fn a_terminal_obeys_no_cell() {
        assert_eq!(printable("a\u{1b}[31m\tb é"), "a\\u{1b}[31m\\tb é");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let mut out = Vec::new();
        let rows = [vec!["a".into(), "1,000".into()], vec!["bcd".into(), "7".into()]];
        table(&mut out, &["name", "rows"], &rows).expect("a vector takes all");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "name  rows\na     1,000\nbcd       7\n");
    }
}
