//! Names that people give to datasets, views, exports and files.
//!
//! They appear in SQL, in paths and in links, so they are kept to what is safe in all three.

use crate::failure::{Code, Failure, Fault};
use crate::limits::NAME_CHARS_MAX;

/// A name that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot be the name of {what}: use 1 to {NAME_CHARS_MAX} letters, digits, `_`, `-` or `.`, beginning with a letter or `_`"
)]
pub struct BadName {
    /// What it was to name, with its article.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

impl Failure for BadName {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

/// Checks a name: letters and digits of any script, `_`, `-`, `.`; first a letter or `_`.
///
/// ```
/// use model::names::check;
/// assert!(check("a dataset", "orders_2024").is_ok());
/// assert!(check("a dataset", "订单").is_ok());
/// assert!(check("a dataset", "../etc").is_err());
/// assert!(check("a dataset", "").is_err());
/// ```
pub fn check(what: &'static str, name: &str) -> Result<(), BadName> {
    let first = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let rest = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if first && rest && name.chars().count() <= NAME_CHARS_MAX && name.len() <= 255 {
        Ok(())
    } else {
        Err(BadName { what, name: name.into() })
    }
}

/// A name that a file of an upload cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot be the name of a file: use 1 to {NAME_CHARS_MAX} letters, digits, `_`, `-` or `.`, beginning with a letter, a digit or `_`"
)]
pub struct BadFileName {
    /// The name.
    pub name: String,
}

impl Failure for BadFileName {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

/// Checks the name of a file: like other names, but many files begin with a date or a number.
///
/// ```
/// use model::names::check_file;
/// assert!(check_file("2026-01-31.csv.gz").is_ok());
/// for bad in ["", ".hidden", "..", "a/b", "-x"] {
///     assert!(check_file(bad).is_err());
/// }
/// ```
pub fn check_file(name: &str) -> Result<(), BadFileName> {
    let rest = name.strip_prefix(|first: char| first.is_alphanumeric() || first == '_');
    match rest.map(|_| check("a file", &format!("_{name}"))) {
        Some(Ok(())) => Ok(()),
        _ => Err(BadFileName { name: name.into() }),
    }
}
