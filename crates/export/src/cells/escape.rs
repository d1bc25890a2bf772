//! Strings as JSON, and the fast search for bytes that need care.
//!
//! Several bytes are looked at in one step; only `"`, `\` and control characters are escaped, so UTF-8
//! goes through as it is.

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, StringArrayType};
use arrow::datatypes::DataType;

use super::{AnyCell, Cell, Out, Text};

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// What stands behind the backslash, by byte; `u` for `\u00XX`, 0 where nothing is escaped.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Appends UTF-8 text as a JSON string, quotes included.
pub(crate) fn string(text: &[u8], out: &mut Text) {
    out.push(b'"');
    let mut rest = text;
    if !is_plain(text) {
        while let Some(at) = find_escaped(rest) {
            out.extend_from_slice(&rest[..at]);
            escape(rest[at], out);
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Tells whether nothing in the text is escaped. The last block overlaps the one before, so that no byte
/// is looked at by itself.
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<16>() else {
        return match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(first), Some(last)) => plain_block(first) && plain_block(last),
            _ => text.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0),
        };
    };
    text.as_chunks::<16>().0.iter().all(plain_block) && plain_block(last)
}

/// Without a branch inside, so that the compiler compares all bytes at once.
#[inline]
fn plain_block<const N: usize>(block: &[u8; N]) -> bool {
    let escaped =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    block.iter().fold(0, |found, byte| found | escaped(*byte)) == 0
}

/// Returns where the first of up to a few single bytes stands.
pub(crate) fn find_any<const N: usize>(text: &[u8], wanted: [u8; N]) -> Option<usize> {
    find(
        text,
        |word| wanted.iter().fold(0, |found, byte| found | equal(word, *byte)),
        |byte| wanted.contains(&byte),
    )
}

/// Returns the cells of a string column as JSON strings.
pub(super) fn strings(array: &ArrayRef) -> Option<AnyCell> {
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(Strings(array.as_string::<i32>().clone())),
        DataType::LargeUtf8 => Box::new(Strings(array.as_string::<i64>().clone())),
        DataType::Utf8View => Box::new(Strings(array.as_string_view().clone())),
        _ => return None,
    })
}

struct Strings<A>(A);

impl<A: Array + Send> Cell for Strings<A>
where
    for<'a> &'a A: StringArrayType<'a>,
{
    fn write(&self, row: usize, out: &mut Out) {
        string(ArrayAccessor::value(&&self.0, row).as_bytes(), &mut out.bytes);
    }
}

fn find_escaped(text: &[u8]) -> Option<usize> {
    let special = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        control | equal(word, b'"') | equal(word, b'\\')
    };
    find(text, special, |byte| ESCAPES[usize::from(byte)] != 0)
}

/// Marks bytes of the word that equal `byte`. Bytes above the first marked one may be marked wrongly.
fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ (ONES * u64::from(byte));
    diff.wrapping_sub(ONES) & !diff & HIGHS
}

fn find(text: &[u8], words: impl Fn(u64) -> u64, bytes: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, rest) = text.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let found = words(u64::from_le_bytes(*chunk));
        if found != 0 {
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|byte| bytes(*byte)).map(|at| chunks.len() * 8 + at)
}

fn escape(byte: u8, out: &mut Text) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match ESCAPES[usize::from(byte)] {
        b'u' => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> String {
        let mut out = Text::default();
        string(text.as_bytes(), &mut out);
        String::from_utf8(out.into_vec()).expect("UTF-8 stays UTF-8")
    }

    #[test]
    fn control_characters_quotes_and_backslashes_are_escaped_and_nothing_else() {
        assert_eq!(
            json("a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}"),
            r#""a\"b\\c\n\r\t\b\f\u0001\u001f""#
        );
        assert_eq!(json("é\u{7f}/\u{2028}😀"), "\"é\u{7f}/\u{2028}😀\"");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>(), tail in "[a-z\"\\\\\u{0}-\u{1f}é]{0,40}") {
            let text = text + &tail;
            prop_assert_eq!(serde_json::from_str::<String>(&json(&text)).expect("valid"), text);
        }

        #[test]
        fn the_fast_search_finds_what_the_slow_one_finds(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let slow = text.iter().position(|byte| [b',', b'"', 0x80].contains(byte));
            prop_assert_eq!(find_any(&text, [b',', b'"', 0x80]), slow);
            let slow = text.iter().position(|byte| *byte < 0x20 || [b'"', b'\\'].contains(byte));
            prop_assert_eq!(find_escaped(&text), slow);
            prop_assert_eq!(is_plain(&text), slow.is_none());
        }
    }
}
