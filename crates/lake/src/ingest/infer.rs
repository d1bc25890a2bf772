//! Looks at the records of a block and says what is known of its columns.

use model::limits;
use model::schema::Type;

use super::block::{BadRecord, Block, Layout, Record};
use super::csv;
use super::error::Reason;
use super::json::{Cursor, Kind};
use super::shape::{Fields, Mixing, Node, Range, Seen, Shape, Times};
use super::time;

/// Digits that the shortest text of any 64-bit float has at most; a text with more is a code or an exact
/// decimal, which a float would change.
const FLOAT_DIGITS_MAX: usize = 17;

/// Digits of a second that microseconds hold.
pub(super) const MICRO_DIGITS: usize = 6;

/// Returns the shape of a block's rows and how many there are; the first bad record ends it unless bad
/// records are passed over.
pub(super) fn infer(
    block: &Block,
    layout: &Layout,
    time_column: Option<&str>,
) -> Result<(Node, u64), BadRecord> {
    let mut root = Node::new(Shape::Object(Fields::default()), Seen::default());
    let mut rows = 0;
    let mixing = layout.mixing();
    let look = Look { mixing, time_column, received: layout.received.as_deref() };
    for record in block.records() {
        let seen = Seen { file: layout.file, line: record.line };
        let looked = if layout.lenient {
            // A bad record must leave no trace, so it is looked at aside.
            let mut row = Node::new(Shape::Object(Fields::default()), seen);
            look.row(&record, layout, &mut row).map(|()| root.merge(row, mixing))
        } else {
            look.row(&record, layout, &mut root)
        };
        match looked {
            Ok(()) => rows += 1,
            Err(_) if layout.lenient => {}
            Err(reason) => return Err(BadRecord::new(&record, reason)),
        }
        if too_wide(&root) {
            return Err(BadRecord::new(&record, Reason::TooManyColumns));
        }
    }
    Ok((root, rows))
}

/// Cheap for flat rows: only the top level is counted here, all of it at the end.
fn too_wide(root: &Node) -> bool {
    matches!(&root.shape, Shape::Object(fields) if fields.list.len() > limits::COLUMNS_MAX)
}

/// Returns what a cell looks like. Numbers must be written as a number would print, so that codes such as
/// `007` or `+49` stay text.
pub(super) fn cell_shape(text: &str, seen: Seen, timed: bool) -> Shape {
    match text {
        // A quoted nothing may be an empty text or a missing number: the others decide.
        "" => return Shape::Null,
        "true" | "false" => return Shape::Boolean,
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return integer_cell(text, digits).unwrap_or_else(|| text_shape(text, seen, timed));
    }
    if is_float(digits) && keeps_digits(text) {
        return Shape::Float;
    }
    text_shape(text, seen, timed)
}

/// Returns whether a cell leaves a column that was inferred from other cells what it is.
pub(super) fn looks_like(text: &str, kind: &Type) -> bool {
    let shape = || cell_shape(text, Seen::default(), false);
    match kind {
        Type::Int64 | Type::UInt64 => matches!(shape(), Shape::Null | Shape::Integer(_)),
        Type::Float64 => matches!(shape(), Shape::Null | Shape::Integer(_) | Shape::Float),
        _ => true,
    }
}

/// Returns whether a float is the number that is written, but for its last bit.
fn keeps_digits(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|&digit| digit == b'0');
    digits.count() <= FLOAT_DIGITS_MAX && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn integer_cell(text: &str, digits: &str) -> Option<Shape> {
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    if text == "-0" {
        return Some(Shape::Float);
    }
    match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(n), _) => Some(Shape::Integer(Range { negative: n < 0, big: false })),
        (_, Ok(_)) => Some(Shape::Integer(Range { negative: false, big: true })),
        // No number type keeps its digits.
        _ => None,
    }
}

fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole_fits = (whole.is_empty() && fraction.is_some())
        || (all_digits(whole) && (whole == "0" || !whole.starts_with('0')));
    let exponent_fits =
        exponent.is_none_or(|text| all_digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    let a_float = fraction.is_some() || exponent.is_some();
    a_float && whole_fits && fraction.is_none_or(all_digits) && exponent_fits
}

fn text_shape(text: &str, seen: Seen, timed: bool) -> Shape {
    if !timed {
        return Shape::Text(Times::default());
    }
    Shape::Text(match time::instant(text) {
        None => Times { not: Some(seen), ..Times::default() },
        Some(at) => Times {
            not: None,
            zoned: at.zoned.then_some(seen),
            unzoned: (!at.zoned).then_some(seen),
            nanos: at.digits > MICRO_DIGITS,
        },
    })
}

/// Returns a kind as a message names it.
pub(super) fn found(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "a boolean",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// How a record is looked at.
#[derive(Clone, Copy)]
struct Look<'a> {
    mixing: Mixing,
    time_column: Option<&'a str>,
    /// The column whose type is known, whatever it holds: whether that is a time is seen row by row.
    received: Option<&'a str>,
}

impl Look<'_> {
    fn row(self, record: &Record<'_>, layout: &Layout, root: &mut Node) -> Result<(), Reason> {
        let seen = Seen { file: layout.file, line: record.line };
        let text = record.text()?;
        match &layout.header {
            Some(header) => self.cells(text, header, seen, root),
            None => self.json(text, seen, root),
        }
    }

    fn cells(
        self,
        text: &str,
        header: &[String],
        seen: Seen,
        root: &mut Node,
    ) -> Result<(), Reason> {
        let Shape::Object(fields) = &mut root.shape else { return Ok(()) };
        let found = csv::cells(text, |at, cell| {
            let Some(name) = header.get(at) else { return Ok(()) };
            let column = fields.entry(name, at);
            if self.received == Some(name) {
                return Ok(());
            }
            let timed = self.time_column == Some(name);
            let node = leaf(cell_shape(&cell.text, seen, timed), seen);
            column.merge(node, self.mixing);
            Ok(())
        })?;
        if found == header.len() {
            Ok(())
        } else {
            Err(Reason::FieldCount { expected: header.len(), found })
        }
    }

    fn json(self, text: &str, seen: Seen, root: &mut Node) -> Result<(), Reason> {
        let mut cursor = Cursor::new(text);
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            // What is not JSON at all is told as such.
            cursor.skip()?;
            cursor.end()?;
            return Err(Reason::NotObject { found: found(kind) });
        }
        let Shape::Object(fields) = &mut root.shape else { return Ok(()) };
        self.fields(&mut cursor, seen, fields)?;
        cursor.end()
    }

    fn fields(
        self,
        cursor: &mut Cursor<'_>,
        seen: Seen,
        fields: &mut Fields,
    ) -> Result<(), Reason> {
        let mut at = 0;
        cursor.object(|cursor, name| {
            let column = fields.entry(&name, at);
            at += 1;
            if self.received == Some(&*name) {
                return cursor.skip().map(drop);
            }
            self.value(cursor, seen, self.time_column == Some(&*name), column)
        })
    }

    /// Inside a column no name means anything.
    fn inside(self) -> Self {
        Self { time_column: None, received: None, ..self }
    }

    fn value(
        self,
        cursor: &mut Cursor<'_>,
        seen: Seen,
        timed: bool,
        into: &mut Node,
    ) -> Result<(), Reason> {
        let shape = match cursor.kind()? {
            Kind::Null => return cursor.null(),
            Kind::Boolean => {
                cursor.boolean()?;
                Shape::Boolean
            }
            Kind::Number => number_shape(cursor.number()?),
            Kind::String => text_shape(&cursor.string()?, seen, timed),
            Kind::Array => {
                if let Shape::List(item) = &mut into.shape {
                    return cursor.array(|cursor| self.value(cursor, seen, false, item));
                }
                let mut item = Node::default();
                cursor.array(|cursor| self.value(cursor, seen, false, &mut item))?;
                Shape::List(Box::new(item))
            }
            Kind::Object => {
                if let Shape::Object(fields) = &mut into.shape {
                    return self.inside().fields(cursor, seen, fields);
                }
                let mut fields = Fields::default();
                self.inside().fields(cursor, seen, &mut fields)?;
                Shape::Object(fields)
            }
        };
        into.merge(Node::new(shape, seen), self.mixing);
        Ok(())
    }
}

fn leaf(shape: Shape, seen: Seen) -> Node {
    if shape == Shape::Null { Node::default() } else { Node::new(shape, seen) }
}

fn number_shape(text: &str) -> Shape {
    if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return Shape::Float;
    }
    match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(n), _) => Shape::Integer(Range { negative: n < 0, big: false }),
        (_, Ok(_)) => Shape::Integer(Range { negative: false, big: true }),
        _ => Shape::Float,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_look_like_what_they_print() {
        let check = |text: &str, want: &str| {
            let got = match cell_shape(text, Seen::default(), false) {
                Shape::Null => "null",
                Shape::Boolean => "boolean",
                Shape::Integer(Range { big: false, .. }) => "int64",
                Shape::Integer(_) => "uint64",
                Shape::Float => "float64",
                _ => "string",
            };
            assert_eq!(got, want, "{text}");
        };
        check("", "null");
        check("true", "boolean");
        check("True", "string");
        check("0", "int64");
        check("-12", "int64");
        check("007", "string");
        check("+4", "string");
        check("9223372036854775808", "uint64");
        check("18446744073709551616", "string");
        check("1.5", "float64");
        check(".5", "float64");
        check("1e9", "float64");
        check("-0", "float64");
        check("1e999", "string");
        check("0.00012345678901234567", "float64");
        check("0.12345678901234567890", "string");
        check("1.", "string");
        check("00.5", "string");
        check("1e", "string");
        check("-", "string");
        check(" 1", "string");
        check("NaN", "string");
        check("2026-01-01", "string");
    }
}
