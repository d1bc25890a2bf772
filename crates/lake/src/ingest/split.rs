//! Cuts decompressed text into blocks of whole records, counting lines.
//!
//! Contract: every record lies in exactly one block, blocks keep the order of the text, and a record's line
//! is right also behind quoted line ends. Memory is one block and one record. Blank lines are no records,
//! except below the header of a CSV file with one column: there each is a row.
//! What is inside a record is not looked at further than needed to find its end.

use std::io::Read;
use std::sync::Arc;

use model::limits;

use super::block::{Block, Span, Spare};

/// Bytes that there is room for at first.
const FIRST_BYTES: usize = 16 << 10;

/// How records follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One a line.
    Lines,
    /// JSON values, in an array or one after another.
    Values,
    /// CSV records, which may hold line ends in quotes.
    Csv,
    /// The same of one column.
    CsvColumn,
}

/// Why the text cannot be cut.
#[derive(Debug)]
pub(super) enum Broken {
    Read(std::io::Error),
    TooLong { line: u64 },
    Unfinished { line: u64 },
    OpenQuote { line: u64 },
    Between { line: u64, expected: &'static str },
}

/// Cuts a reader's text.
pub(super) struct Splitter<R> {
    reader: R,
    /// Text that is in no block yet, and room.
    buffer: Vec<u8>,
    filled: usize,
    spare: Arc<Spare>,
    block_bytes: usize,
    ended: bool,
    scan: Scan,
}

impl<R: Read> Splitter<R> {
    /// Makes blocks of about `block_bytes`. The reader must stand behind a byte order mark.
    pub(super) fn new(reader: R, form: Form, block_bytes: usize) -> Self {
        let state = if form == Form::Values { State::Begin } else { State::FieldStart };
        let scan = Scan {
            form,
            state,
            at: 0,
            start: 0,
            any: false,
            line: 1,
            start_line: 1,
            quote_line: 1,
        };
        let (buffer, spare) = (Vec::new(), Arc::default());
        Self { reader, buffer, filled: 0, spare, block_bytes, ended: false, scan }
    }

    /// Returns the next records; `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Broken> {
        loop {
            self.fill().map_err(Broken::Read)?;
            let mut spans = Vec::new();
            let text = &self.buffer[..self.filled];
            self.scan.run(text, &mut spans)?;
            if self.ended {
                self.scan.finish(text, &mut spans)?;
            }
            let too_long = |span: &&Span| span.end - span.start > limits::RECORD_BYTES_MAX;
            if let Some(span) = spans.iter().find(too_long) {
                return Err(Broken::TooLong { line: span.line });
            }
            let cut = if self.ended { self.filled } else { self.scan.start };
            if self.filled - cut > limits::RECORD_BYTES_MAX {
                return Err(Broken::TooLong { line: self.scan.start_line });
            }
            if !spans.is_empty() {
                return Ok(Some(self.cut(cut, spans)));
            }
            if cut > 0 {
                self.buffer.copy_within(cut..self.filled, 0);
                self.went(cut);
            }
            if self.ended {
                return Ok(None);
            }
        }
    }

    /// Makes a block of the text before `cut`.
    fn cut(&mut self, cut: usize, spans: Vec<Span>) -> Block {
        let mut rest = self.spare.take();
        let kept = &self.buffer[cut..self.filled];
        grow(&mut rest, kept.len());
        rest[..kept.len()].copy_from_slice(kept);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        self.went(cut);
        Block { bytes, spans, raw_bytes: 0, spare: Arc::clone(&self.spare) }
    }

    fn went(&mut self, cut: usize) {
        self.filled -= cut;
        self.scan.start -= cut;
        self.scan.at -= cut;
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let mut left = if self.ended { 0 } else { self.block_bytes };
        while left > 0 {
            if self.filled == self.buffer.len() {
                // Twice as much each time: most bodies over HTTP are far smaller than a block.
                let more = self.filled.max(FIRST_BYTES).min(left);
                grow(&mut self.buffer, self.filled + more);
            }
            let end = self.buffer.len().min(self.filled + left);
            match self.reader.read(&mut self.buffer[self.filled..end]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(got) => {
                    self.filled += got;
                    left -= got;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Makes sure that there is room; what is there already is not cleared again.
fn grow(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    // CSV.
    FieldStart,
    Unquoted,
    Quoted,
    AfterQuote,
    // JSON values.
    Begin,
    Sequence,
    ArrayStart,
    ArrayNext,
    ArrayAfter,
    ArrayDone,
    Value { depth: u32, array: bool },
    Text { depth: u32, array: bool, escaped: bool },
    Scalar { array: bool },
}

/// Where the search for record ends stands.
struct Scan {
    form: Form,
    state: State,
    /// The next byte to look at.
    at: usize,
    /// Where the record that is not complete begins.
    start: usize,
    /// Whether there was a record.
    any: bool,
    line: u64,
    start_line: u64,
    quote_line: u64,
}

impl Scan {
    fn run(&mut self, bytes: &[u8], spans: &mut Vec<Span>) -> Result<(), Broken> {
        match self.form {
            Form::Lines => self.lines(bytes, spans),
            Form::Csv | Form::CsvColumn => self.csv(bytes, spans),
            Form::Values => return self.values(bytes, spans),
        }
        Ok(())
    }

    /// Takes what is left when the text has ended.
    fn finish(&mut self, bytes: &[u8], spans: &mut Vec<Span>) -> Result<(), Broken> {
        match self.state {
            State::Quoted => return Err(Broken::OpenQuote { line: self.quote_line }),
            State::Value { .. } | State::Text { .. } => {
                return Err(Broken::Unfinished { line: self.start_line });
            }
            State::ArrayStart
            | State::ArrayNext
            | State::ArrayAfter
            | State::Scalar { array: true } => {
                return Err(Broken::Between { line: self.line, expected: "`]`" });
            }
            State::Begin | State::Sequence | State::ArrayDone => {}
            State::Scalar { array: false }
            | State::FieldStart
            | State::Unquoted
            | State::AfterQuote => {
                if self.start < bytes.len() {
                    self.end_line(bytes, bytes.len(), spans);
                }
            }
        }
        self.start = bytes.len();
        self.at = bytes.len();
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8], spans: &mut Vec<Span>) {
        while let Some(end) = memchr::memchr(b'\n', &bytes[self.at..]) {
            self.line += 1;
            self.end_line(bytes, self.at + end, spans);
        }
        self.at = bytes.len();
    }

    fn csv(&mut self, bytes: &[u8], spans: &mut Vec<Span>) {
        while let Some(&first) = bytes.get(self.at) {
            let (at, byte) = match (self.state, first) {
                (State::AfterQuote, _) | (State::FieldStart, b'"') => (self.at, first),
                // Between quotes and line ends nothing changes but where a field begins.
                _ => match memchr::memchr2(b'"', b'\n', &bytes[self.at..]) {
                    Some(ahead) => (self.at + ahead, bytes[self.at + ahead]),
                    None => (bytes.len() - 1, bytes[bytes.len() - 1]),
                },
            };
            let begins =
                if at == self.at { self.state == State::FieldStart } else { bytes[at - 1] == b',' };
            self.at = at + 1;
            self.line += u64::from(byte == b'\n');
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::AfterQuote,
                (State::Quoted, _) | (State::AfterQuote, b'"') => State::Quoted,
                (_, b'\n') => {
                    self.end_line(bytes, at, spans);
                    State::FieldStart
                }
                (_, b',') => State::FieldStart,
                (_, b'"') if begins => {
                    self.quote_line = self.line;
                    State::Quoted
                }
                _ => State::Unquoted,
            };
        }
    }

    /// Ends a record before `end`, where the line ends; `self.line` is the next line's number already.
    fn end_line(&mut self, bytes: &[u8], end: usize, spans: &mut Vec<Span>) {
        let text = &bytes[self.start..end];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let blank_is_a_row = self.form == Form::CsvColumn && self.any;
        if blank_is_a_row || !text.trim_ascii().is_empty() {
            self.any = true;
            let line = self.start_line;
            spans.push(Span { start: self.start, end: self.start + text.len(), line });
        }
        self.start = end + 1;
        self.at = end + 1;
        self.start_line = self.line;
    }

    fn values(&mut self, bytes: &[u8], spans: &mut Vec<Span>) -> Result<(), Broken> {
        while let Some(&byte) = bytes.get(self.at) {
            self.state = match self.state {
                State::Value { depth, array } => self.inside(byte, depth, array, spans),
                State::Text { depth, array, escaped } => match byte {
                    _ if escaped => State::Text { depth, array, escaped: false },
                    b'\\' => State::Text { depth, array, escaped: true },
                    b'"' if depth == 0 => self.end_value(self.at + 1, array, spans),
                    b'"' => State::Value { depth, array },
                    _ => State::Text { depth, array, escaped: false },
                },
                State::Scalar { array } => {
                    if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                        self.state = self.end_value(self.at, array, spans);
                        // The byte itself is looked at again.
                        continue;
                    }
                    State::Scalar { array }
                }
                between => self.between(byte, between)?,
            };
            self.line += u64::from(byte == b'\n');
            self.at += 1;
            if !matches!(
                self.state,
                State::Value { .. } | State::Text { .. } | State::Scalar { .. }
            ) {
                self.start = self.at;
            }
        }
        Ok(())
    }

    fn inside(&mut self, byte: u8, depth: u32, array: bool, spans: &mut Vec<Span>) -> State {
        match byte {
            b'"' => State::Text { depth, array, escaped: false },
            b'{' | b'[' => State::Value { depth: depth.saturating_add(1), array },
            b'}' | b']' if depth == 1 => self.end_value(self.at + 1, array, spans),
            b'}' | b']' => State::Value { depth: depth - 1, array },
            _ => State::Value { depth, array },
        }
    }

    fn between(&mut self, byte: u8, state: State) -> Result<State, Broken> {
        let expected = match (state, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => return Ok(state),
            (State::Begin, b'[') => return Ok(State::ArrayStart),
            (State::ArrayStart | State::ArrayAfter, b']') => return Ok(State::ArrayDone),
            (State::ArrayAfter, b',') => return Ok(State::ArrayNext),
            (State::ArrayAfter, _) => "`,` or `]`",
            (State::ArrayDone, _) => "the end of the file",
            (_, b',' | b':' | b']' | b'}') => "an object",
            _ => {
                return Ok(self.begin_value(byte, !matches!(state, State::Begin | State::Sequence)));
            }
        };
        Err(Broken::Between { line: self.line, expected })
    }

    fn begin_value(&mut self, byte: u8, array: bool) -> State {
        self.start = self.at;
        self.start_line = self.line;
        match byte {
            b'{' | b'[' => State::Value { depth: 1, array },
            b'"' => State::Text { depth: 0, array, escaped: false },
            _ => State::Scalar { array },
        }
    }

    fn end_value(&mut self, end: usize, array: bool, spans: &mut Vec<Span>) -> State {
        spans.push(Span { start: self.start, end, line: self.start_line });
        self.start = end;
        if array { State::ArrayAfter } else { State::Sequence }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, form: Form, block: usize) -> Result<Vec<(String, u64)>, Broken> {
        let mut splitter = Splitter::new(text.as_bytes(), form, block);
        let mut out = Vec::new();
        while let Some(block) = splitter.next_block()? {
            for record in block.records() {
                out.push((record.text().unwrap().to_owned(), record.line));
            }
        }
        Ok(out)
    }

    /// The same for every size of block.
    fn check(text: &str, form: Form, want: &[(&str, u64)]) {
        let want: Vec<_> = want.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect();
        for block in [1, 2, 3, 5, 7, 1000] {
            assert_eq!(cut(text, form, block).unwrap(), want, "{text:?} in blocks of {block}");
        }
    }

    fn breaks(text: &str, form: Form, want: &str) {
        for block in [1, 4, 1000] {
            assert_eq!(format!("{:?}", cut(text, form, block).unwrap_err()), want, "{text:?}");
        }
    }

    #[test]
    fn cuts_lines() {
        check("a\nb\r\n\n  \nc", Form::Lines, &[("a", 1), ("b", 2), ("c", 5)]);
        check("", Form::Lines, &[]);
    }

    #[test]
    fn cuts_csv_with_quoted_line_ends() {
        check(
            "a,b\n\"x\ny\",1\n5\" z,2\n",
            Form::Csv,
            &[("a,b", 1), ("\"x\ny\",1", 2), ("5\" z,2", 4)],
        );
        check("\"a\"\"\n\"\r\nb", Form::Csv, &[("\"a\"\"\n\"", 1), ("b", 3)]);
        breaks("a\nb,\"c\nd", Form::Csv, "OpenQuote { line: 2 }");
        check("a,b\n\n \n1,2", Form::Csv, &[("a,b", 1), ("1,2", 4)]);
    }

    proptest! {
        /// Where records end does not depend on where blocks do, nor on how the text is searched.
        #[test]
        fn csv_is_cut_as_byte_by_byte(text in "[a,\"\n\r ]{0,40}", block in 1_usize..9) {
            let mut want = Vec::new();
            let (mut start, mut line, mut start_line) = (0, 1, 1);
            let mut state = State::FieldStart;
            for (at, byte) in text.bytes().enumerate() {
                line += u64::from(byte == b'\n');
                state = match (state, byte) {
                    (State::Quoted, b'"') => State::AfterQuote,
                    (State::Quoted, _) | (State::AfterQuote | State::FieldStart, b'"') => State::Quoted,
                    (_, b'\n' | b',') => State::FieldStart,
                    _ => State::Unquoted,
                };
                if byte == b'\n' && state == State::FieldStart {
                    want.push((text[start..at].to_owned(), start_line));
                    (start, start_line) = (at + 1, line);
                }
            }
            want.push((text[start..].to_owned(), start_line));
            let want: Vec<_> = want.into_iter().filter_map(|(record, line)| {
                let record = record.strip_suffix('\r').unwrap_or(&record);
                (!record.trim_ascii().is_empty()).then(|| (record.to_owned(), line))
            }).collect();
            match cut(&text, Form::Csv, block) {
                Ok(got) => prop_assert_eq!(got, want),
                Err(Broken::OpenQuote { .. }) => prop_assert_eq!(state, State::Quoted),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn an_empty_line_of_one_column_is_a_row() {
        let rows = [("a", 2), ("b", 3), ("", 4), (" \u{c}", 5), ("c", 6)];
        check("\na\nb\n\n \u{c}\nc\n", Form::CsvColumn, &rows);
        check("\r\na\r\nb\r\n\r\n \u{c}\r\nc", Form::CsvColumn, &rows);
    }

    #[test]
    fn cuts_json_values() {
        check(
            "[{\"a\":\"]}\\\"\"},\n {\"b\":[1,{}]}\n]\n",
            Form::Values,
            &[("{\"a\":\"]}\\\"\"}", 1), ("{\"b\":[1,{}]}", 2)],
        );
        check("{}\n{\n}{}", Form::Values, &[("{}", 1), ("{\n}", 2), ("{}", 3)]);
        check("[1, \"a\",\n[2]]", Form::Values, &[("1", 1), ("\"a\"", 1), ("[2]", 2)]);
        check("[]", Form::Values, &[]);
        breaks("[{}\n{}]", Form::Values, "Between { line: 2, expected: \"`,` or `]`\" }");
        breaks("[{},]", Form::Values, "Between { line: 1, expected: \"an object\" }");
        breaks("[{},\n", Form::Values, "Between { line: 2, expected: \"`]`\" }");
        breaks("[]\n\nx", Form::Values, "Between { line: 3, expected: \"the end of the file\" }");
        breaks("{}\n{\"a\":", Form::Values, "Unfinished { line: 2 }");
    }

    #[test]
    fn refuses_records_past_the_limit() {
        let long = format!("{{}}\n{{\"a\":\"{}\"}}\n", "x".repeat(limits::RECORD_BYTES_MAX));
        let line = |form| match cut(&long, form, 1 << 20).unwrap_err() {
            Broken::TooLong { line } => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(Form::Lines), 2);
        assert_eq!(line(Form::Values), 2);
    }
}
