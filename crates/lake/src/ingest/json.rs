//! Reads JSON values from text that is known to be UTF-8.
//!
//! Contract: RFC 8259, nothing more; numbers are handed out as written, so that no digit is lost. Nesting
//! ends at [`limits::NESTING_MAX`]. It builds no tree and keeps no state between values.

use std::borrow::Cow;

use model::limits;

use super::error::Reason;

/// What a value is, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// A place in a JSON text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Returns the kind of the next value without taking it.
    pub(super) fn kind(&mut self) -> Result<Kind, Reason> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(self.invalid("a value")),
        }
    }

    pub(super) fn null(&mut self) -> Result<(), Reason> {
        self.word("null", "`null`")
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Reason> {
        if self.peek() == Some(b't') {
            self.word("true", "`true`").map(|()| true)
        } else {
            self.word("false", "`false`").map(|()| false)
        }
    }

    /// Takes a number as written.
    pub(super) fn number(&mut self) -> Result<&'a str, Reason> {
        self.space();
        let start = self.at;
        self.skip_one(b'-');
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.invalid("a digit")),
        }
        if self.skip_one(b'.') {
            self.some_digits()?;
        }
        if self.skip_one(b'e') || self.skip_one(b'E') {
            if !self.skip_one(b'+') {
                self.skip_one(b'-');
            }
            self.some_digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Takes a string, borrowed where it has no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Reason> {
        self.space();
        if !self.skip_one(b'"') {
            return Err(self.invalid("a string"));
        }
        let start = self.at;
        self.plain();
        if self.byte() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut out = self.text[start..self.at].to_owned();
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.invalid("`\"` at the end of a string")),
            }
            let start = self.at;
            self.plain();
            out.push_str(&self.text[start..self.at]);
        }
    }

    /// Takes an object, calling `field` with each name at each value.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.fields(|cursor| {
            let name = cursor.name()?;
            field(cursor, name)
        })
    }

    /// Takes a field's name with the colon.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>, Reason> {
        let name = self.string()?;
        if self.take(b':') { Ok(name) } else { Err(self.invalid("`:`")) }
    }

    /// Takes a field's name with the colon if it is written so, in its quotes.
    pub(super) fn skip_name(&mut self, quoted: &str) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(rest) = rest.strip_prefix(quoted.as_bytes()) else { return false };
        if rest.first() != Some(&b':') {
            return false;
        }
        self.at += quoted.len() + 1;
        true
    }

    /// Takes an object, calling `field` at each name.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.enter(b'{')?;
        if self.take(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.invalid("a field name in double quotes"));
            }
            field(self)?;
            if self.take(b'}') {
                self.leave();
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.invalid("`,` or `}`"));
            }
        }
    }

    /// Takes an array, calling `item` at each value.
    pub(super) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.enter(b'[')?;
        if self.take(b']') {
            self.leave();
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take(b']') {
                self.leave();
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.invalid("`,` or `]`"));
            }
        }
    }

    /// Takes a value of any kind and returns its text.
    pub(super) fn skip(&mut self) -> Result<&'a str, Reason> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Null => self.null()?,
            Kind::Boolean => drop(self.boolean()?),
            Kind::Number => drop(self.number()?),
            Kind::String => drop(self.string()?),
            Kind::Array => self.array(|cursor| cursor.skip().map(drop))?,
            Kind::Object => self.object(|cursor, _| cursor.skip().map(drop))?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Checks that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.invalid("the end of the record")),
        }
    }

    fn enter(&mut self, open: u8) -> Result<(), Reason> {
        self.depth += 1;
        if self.depth > limits::NESTING_MAX {
            return Err(Reason::TooDeep);
        }
        if self.take(open) { Ok(()) } else { Err(self.invalid("`{` or `[`")) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.byte()
    }

    fn skip_one(&mut self, byte: u8) -> bool {
        let there = self.byte() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        self.skip_one(byte)
    }

    fn word(&mut self, word: &str, expected: &'static str) -> Result<(), Reason> {
        self.space();
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.invalid(expected));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.invalid("a digit")) } else { Ok(()) }
    }

    /// Skips what stands for itself in a string, eight bytes at once.
    fn plain(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let (blocks, end) = rest.as_chunks::<8>();
        for (at, block) in blocks.iter().enumerate() {
            let stops = stops(u64::from_le_bytes(*block));
            if stops != 0 {
                self.at += at * 8 + stops.trailing_zeros() as usize / 8;
                return;
            }
        }
        let stop = end.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
        self.at += blocks.len() * 8 + stop.unwrap_or(end.len());
    }

    fn escape(&mut self) -> Result<char, Reason> {
        self.at += 1;
        let plain = match self.byte() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.invalid("an escape such as `\\n`")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Reason> {
        let high = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&high) {
            if self.byte() != Some(b'\\') {
                return Err(self.invalid("the second half of a surrogate pair"));
            }
            self.at += 1;
            if self.byte() != Some(b'u') {
                return Err(self.invalid("the second half of a surrogate pair"));
            }
            let low = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.invalid("the second half of a surrogate pair"));
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.invalid("the first half of a surrogate pair"))
    }

    /// Takes `uXXXX`, standing at the `u`.
    fn four_digits(&mut self) -> Result<u32, Reason> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.invalid("four hexadecimal digits"))?;
        self.at += 5;
        Ok(code)
    }

    #[expect(clippy::naive_bytecount, reason = "once, for a message")]
    fn invalid(&self, expected: &'static str) -> Reason {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let lines = before.iter().filter(|&&b| b == b'\n').count();
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        Reason::Json { lines: lines as u64, column: before.len() - line_start + 1, expected }
    }
}

/// Marks the bytes that do not stand for themselves in a string by their highest bits; above the lowest mark
/// there may be wrong ones.
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & (ONES << 7);
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    is(b'"') | is(b'\\') | below(word, 0x20)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn fails(text: &str) -> String {
        let mut cursor = Cursor::new(text);
        cursor.skip().and_then(|_| cursor.end()).unwrap_err().to_string()
    }

    #[test]
    fn names_what_it_expected_and_where() {
        assert_eq!(fails(r#"{"a" 1}"#), "invalid JSON at column 6: expected `:`");
        assert_eq!(fails(r#"{"a":1"#), "invalid JSON at column 7: expected `,` or `}`");
        assert_eq!(fails("[1,]"), "invalid JSON at column 4: expected a value");
        assert_eq!(fails("01"), "invalid JSON at column 2: expected the end of the record");
        assert_eq!(
            fails("{a:1}"),
            "invalid JSON at column 2: expected a field name in double quotes"
        );
        assert_eq!(
            fails("\"\\ud800x\""),
            "invalid JSON at column 8: expected the second half of a surrogate pair"
        );
        assert_eq!(
            fails("\"\u{1}\""),
            "invalid JSON at column 2: expected `\"` at the end of a string"
        );
        assert_eq!(fails(&"[".repeat(33)), "values are nested deeper than 32; flatten them");
    }

    proptest! {
        #[test]
        fn strings_come_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Cursor::new(&json).string().unwrap(), text);
        }

        #[test]
        fn accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE.+\\- tfnul\\\\]{0,12}") {
            let mut cursor = Cursor::new(&text);
            let ours = cursor.skip().and_then(|_| cursor.end()).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
