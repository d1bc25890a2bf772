//! What a user may ask of a format, checked in one place.
//!
//! Formats and compressions describe their options as data; from that come the checks here, the help
//! and the reference. Nothing here knows any particular format.

use std::collections::BTreeMap;

use model::format::FormatSpec;
use model::{Code, Failure, Fault};

use crate::compress::CompressionKind;
use crate::formats::{KINDS, Kind};

/// One thing that can be chosen.
#[derive(Debug)]
pub struct OptionKind {
    /// The name, with that of its format or compression in front: `csv.null`.
    pub key: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it may be.
    pub values: Values,
    /// Whether it came later than encoder ids that are kept: those leave it out where it is as it was without it.
    pub later: bool,
}

/// What an option may be.
#[derive(Debug)]
pub enum Values {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number, both ends included.
    Whole {
        /// The least.
        least: i32,
        /// The greatest.
        most: i32,
    },
    /// Text without any of these characters and without control characters.
    TextWithout(&'static str),
}

/// A format with every choice made.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The format.
    pub(crate) format: &'static Kind,
    /// The compression.
    pub(crate) compression: &'static CompressionKind,
    /// Every option of both, by key.
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Reads a spec; everything left out takes its default.
    pub(crate) fn read(spec: &FormatSpec) -> Result<Self, Error> {
        let format = KINDS
            .iter()
            .find(|kind| kind.name == spec.format)
            .ok_or_else(|| Error::unknown("format", &spec.format, names(KINDS.iter().copied())))?;
        let compression = compression(format, spec.compression.as_deref())?;
        let known = || format.options.iter().chain(compression.options);
        let mut values: BTreeMap<_, _> =
            known().map(|option| (option.key, option.default.to_owned())).collect();
        for (key, value) in &spec.options {
            let Some(option) = known().find(|option| option.key == key) else {
                return Err(stranger(key, format, compression));
            };
            option.values.check(key, value)?;
            values.insert(option.key, value.clone());
        }
        Ok(Self { format, compression, values })
    }

    /// Returns what was chosen.
    ///
    /// # Panics
    ///
    /// If neither format nor compression has such an option: a bug of the caller.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.values.get(key).expect("the format declares the option that it asks for")
    }

    /// Returns a level that was chosen.
    pub(crate) fn level(&self, key: &str) -> i32 {
        self.get(key).parse().expect("numbers were checked when they were read")
    }

    /// Returns the format's own options as an encoder id has them: `;nulls=omit`, values percent-encoded.
    pub(crate) fn id(&self) -> String {
        let is_told =
            |option: &&OptionKind| !option.later || self.get(option.key) != option.default;
        let option = |option: &OptionKind| {
            let name = option.key.rsplit('.').next().unwrap_or(option.key);
            format!(";{name}={}", percent(self.get(option.key)))
        };
        self.format.options.iter().filter(is_told).map(option).collect()
    }
}

impl Values {
    fn check(&self, key: &str, value: &str) -> Result<(), Error> {
        let allowed = match self {
            Self::OneOf(words) if words.contains(&value) => return Ok(()),
            Self::OneOf(words) => {
                let nearest = nearest(value, words.iter().copied());
                let hint = nearest.map(|word| format!("; did you mean `{word}`?"));
                format!("{}{}", list(words), hint.unwrap_or_default())
            }
            Self::Whole { least, most } => match value.parse::<i32>() {
                // The text goes into the encoder id, so it has one spelling only.
                Ok(number) if (*least..=*most).contains(&number) && value == number.to_string() => {
                    return Ok(());
                }
                _ => format!("a whole number from {least} to {most}"),
            },
            Self::TextWithout(banned) => {
                if !value.chars().any(|letter| letter.is_control() || banned.contains(letter)) {
                    return Ok(());
                }
                format!("text without any of `{banned}` and without control characters")
            }
        };
        Err(Error::Value { key: key.into(), value: value.into(), allowed })
    }

    /// Says in words what is allowed.
    pub fn describe(&self) -> String {
        match self {
            Self::OneOf(words) => words.join("|"),
            Self::Whole { least, most } => format!("{least}..{most}"),
            Self::TextWithout(_) => "TEXT".into(),
        }
    }
}

fn compression(format: &Kind, asked: Option<&str>) -> Result<&'static CompressionKind, Error> {
    let Some(asked) = asked else {
        return Ok(format.compressions[0]);
    };
    let found = format.compressions.iter().find(|kind| kind.name == asked);
    found.copied().ok_or_else(|| {
        let allowed: Vec<_> = format.compressions.iter().map(|kind| kind.name).collect();
        Error::Compression {
            format: format.name,
            asked: asked.into(),
            hint: hint(asked, allowed.iter().copied()),
            allowed: list(&allowed),
        }
    })
}

/// Says why an option does not belong here: another format's, another compression's, or nobody's.
fn stranger(key: &str, format: &'static Kind, compression: &'static CompressionKind) -> Error {
    for other in KINDS {
        if other.options.iter().any(|option| option.key == key) {
            return Error::Foreign { key: key.into(), owner: other.name, here: format.name };
        }
        for codec in other.compressions {
            if codec.options.iter().any(|option| option.key == key) {
                let here = compression.name;
                return Error::Foreign { key: key.into(), owner: codec.name, here };
            }
        }
    }
    let options = format.options.iter().chain(compression.options);
    Error::unknown("option", key, options.map(|option| option.key).collect())
}

fn names<'a>(kinds: impl Iterator<Item = &'a Kind>) -> Vec<&'static str> {
    kinds.map(|kind| kind.name).collect()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn hint<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(asked, known).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// Returns the known word that is most like the one asked for, if any is close.
pub fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |word: &'a str| (strsim::jaro_winkler(asked, word), word);
    let best = known.map(near).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then_some(best.1)
}

/// Keeps letters, digits and `-_.`; everything else becomes `%XX`.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&model::digest::hex(&[byte]));
        }
    }
    out
}

/// What is wrong with what was asked of a format.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing has that name.
    #[error("no {what} `{asked}`{hint}; there is {allowed}")]
    Unknown {
        /// `format` or `option`.
        what: &'static str,
        /// The name.
        asked: String,
        /// The nearest name, as half a sentence, or nothing.
        hint: String,
        /// Every name.
        allowed: String,
    },
    /// The format cannot be compressed that way.
    #[error("`{format}` cannot be compressed with `{asked}`{hint}; use one of {allowed}")]
    Compression {
        /// The format.
        format: &'static str,
        /// The compression.
        asked: String,
        /// The nearest name, as half a sentence, or nothing.
        hint: String,
        /// Those that work.
        allowed: String,
    },
    /// The option belongs to something else.
    #[error("`{key}` is an option of `{owner}`, and this export uses `{here}`; leave it out")]
    Foreign {
        /// The option.
        key: String,
        /// Whose it is.
        owner: &'static str,
        /// What is used instead.
        here: &'static str,
    },
    /// The option cannot be that.
    #[error("`{key}` cannot be `{value}`; it is {allowed}")]
    Value {
        /// The option.
        key: String,
        /// The value.
        value: String,
        /// What it may be.
        allowed: String,
    },
}

impl Error {
    fn unknown(what: &'static str, asked: &str, known: Vec<&str>) -> Self {
        let allowed = match list(&known) {
            none if none.is_empty() => "none here".into(),
            some => some,
        };
        Self::Unknown { what, asked: asked.into(), hint: hint(asked, known.into_iter()), allowed }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. }
            | Self::Compression { .. }
            | Self::Foreign { .. }
            | Self::Value { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        format: &str,
        compression: Option<&str>,
        options: &[(&str, &str)],
    ) -> Result<Settings, Error> {
        let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let compression = compression.map(str::to_owned);
        let spec = FormatSpec {
            format: format.into(),
            compression,
            options,
            file_rows: None,
            file_bytes: None,
            name: None,
            folder: None,
            md5: false,
        };
        Settings::read(&spec)
    }

    fn refused(format: &str, compression: Option<&str>, options: &[(&str, &str)], message: &str) {
        let error = read(format, compression, options).expect_err("refused");
        assert_eq!(error.to_string(), message);
        assert_eq!(error.fault(), Fault::Request);
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest_and_all() {
        refused(
            "json",
            None,
            &[],
            "no format `json`; did you mean `jsonl`?; there is `jsonl`, `csv`, `parquet`",
        );
        refused("orc", None, &[], "no format `orc`; there is `jsonl`, `csv`, `parquet`");
        refused(
            "jsonl",
            Some("gz"),
            &[],
            "`jsonl` cannot be compressed with `gz`; did you mean `gzip`?; use one of `none`, `gzip`, `zstd`",
        );
        refused(
            "csv",
            Some("snappy"),
            &[],
            "`csv` cannot be compressed with `snappy`; use one of `none`, `gzip`, `zstd`",
        );
        refused(
            "jsonl",
            None,
            &[("jsonl.int46", "string")],
            "no option `jsonl.int46`; did you mean `jsonl.int64`?; there is `jsonl.int64`, `jsonl.nulls`, `jsonl.timestamps`",
        );
    }

    #[test]
    fn options_of_something_else_are_refused() {
        refused(
            "jsonl",
            None,
            &[("csv.header", "true")],
            "`csv.header` is an option of `csv`, and this export uses `jsonl`; leave it out",
        );
        refused(
            "jsonl",
            Some("zstd"),
            &[("gzip.level", "1")],
            "`gzip.level` is an option of `gzip`, and this export uses `zstd`; leave it out",
        );
    }

    #[test]
    fn values_are_checked() {
        refused(
            "jsonl",
            None,
            &[("jsonl.int64", "strng")],
            "`jsonl.int64` cannot be `strng`; it is `number`, `string`; did you mean `string`?",
        );
        for level in ["0", "10", "06", "+6", "x", ""] {
            let error = read("csv", Some("gzip"), &[("gzip.level", level)]).expect_err("refused");
            assert!(error.to_string().ends_with("it is a whole number from 1 to 9"), "{error}");
        }
        let error = read("csv", None, &[("csv.null", "a,b")]).expect_err("refused");
        assert!(error.to_string().starts_with("`csv.null` cannot be `a,b`"), "{error}");
    }

    #[test]
    fn ids_escape_what_could_be_taken_for_their_own_signs() {
        let settings = read("csv", None, &[("csv.null", r"\N;=")]).expect("allowed");
        assert!(settings.id().contains(";null=%5cN%3b%3d"), "{}", settings.id());
    }
}
