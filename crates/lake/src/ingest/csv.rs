//! Cuts one CSV record into its fields.
//!
//! Contract: RFC 4180 with a comma, a double quote and doubled quotes; a quote inside an unquoted field is
//! an ordinary character. Says of each field whether it was quoted, so that `""` and nothing differ.

use std::borrow::Cow;

use model::limits;

use super::error::Reason;

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) quoted: bool,
}

impl Cell<'_> {
    /// Returns whether there is nothing at all between the commas.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && self.text.is_empty()
    }
}

/// Calls `each` with every field of the record; returns how many there are.
pub(super) fn cells<'a>(
    record: &'a str,
    mut each: impl FnMut(usize, Cell<'a>) -> Result<(), Reason>,
) -> Result<usize, Reason> {
    let mut rest = record;
    let mut count = 0;
    loop {
        let (cell, after) = cell(rest)?;
        each(count, cell)?;
        count += 1;
        match after {
            Some(after) => rest = after,
            None => return Ok(count),
        }
    }
}

/// Reads the header: one name for each column.
pub(super) fn header(record: &str) -> Result<Vec<String>, Reason> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    cells(record, |at, cell| {
        let name = cell.text.into_owned();
        if name.is_empty() {
            return Err(Reason::Unnamed { column: at + 1 });
        }
        if at >= limits::COLUMNS_MAX {
            return Err(Reason::TooManyColumns);
        }
        if !seen.insert(name.clone()) {
            return Err(Reason::Twice { name });
        }
        names.push(name);
        Ok(())
    })?;
    Ok(names)
}

fn cell(rest: &str) -> Result<(Cell<'_>, Option<&str>), Reason> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let comma = memchr::memchr(b',', rest.as_bytes());
        let text = Cow::Borrowed(&rest[..comma.unwrap_or(rest.len())]);
        return Ok((Cell { text, quoted: false }, comma.map(|at| &rest[at + 1..])));
    };
    let mut from = 0;
    let end = loop {
        let Some(at) = memchr::memchr(b'"', &quoted.as_bytes()[from..]).map(|at| from + at) else {
            return Err(Reason::OpenQuote);
        };
        if quoted.as_bytes().get(at + 1) != Some(&b'"') {
            break at;
        }
        from = at + 2;
    };
    let text = &quoted[..end];
    let text = if from == 0 { Cow::Borrowed(text) } else { Cow::Owned(text.replace("\"\"", "\"")) };
    let cell = Cell { text, quoted: true };
    match quoted.as_bytes().get(end + 1) {
        None => Ok((cell, None)),
        Some(b',') => Ok((cell, Some(&quoted[end + 2..]))),
        Some(_) => Err(Reason::AfterQuote),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn all(record: &str) -> Result<Vec<(String, bool)>, Reason> {
        let mut out = Vec::new();
        cells(record, |_, cell| {
            out.push((cell.text.into_owned(), cell.quoted));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn cuts_fields() {
        let check = |record: &str, want: &[(&str, bool)]| {
            let want: Vec<_> = want.iter().map(|(t, q)| ((*t).to_owned(), *q)).collect();
            assert_eq!(all(record).unwrap(), want, "{record}");
        };
        check("a,b", &[("a", false), ("b", false)]);
        check("a,", &[("a", false), ("", false)]);
        check(r#"a,"""#, &[("a", false), ("", true)]);
        check(r#""x ""y"", z",5" disk"#, &[("x \"y\", z", true), ("5\" disk", false)]);
        check("\"two\nlines\"", &[("two\nlines", true)]);
        assert_eq!(
            all(r#""a"b,c"#).unwrap_err().to_string(),
            "text follows a closing quote; double the quotes inside a field"
        );
    }

    #[test]
    fn checks_the_header() {
        assert_eq!(header("a,,b").unwrap_err().to_string(), "column 2 of the header has no name");
        assert_eq!(header("a,b,a").unwrap_err().to_string(), "the name `a` appears twice");
    }

    proptest! {
        #[test]
        fn reads_what_the_csv_crate_writes(fields in prop::collection::vec(any::<String>(), 1..5)) {
            let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            writer.write_record(&fields).unwrap();
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let read: Vec<String> = all(text.strip_suffix('\n').unwrap()).unwrap().into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(read, fields);
        }
    }
}
