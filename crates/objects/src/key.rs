//! What can be the name of an object, in every store alike.
//!
//! A key is relative, with `/` between folders. It never climbs (`..`), never means two things on two
//! systems (`\`, control characters), and never looks like an unfinished upload, which no listing shows.

use model::ObjectKey;
use model::ports::ObjectError;

/// Bytes of a whole key; what common object stores take.
const KEY_BYTES_MAX: usize = 1024;

/// Bytes of one component of a key; what common file systems take.
pub(crate) const COMPONENT_BYTES_MAX: usize = 255;

/// Bytes of an upload's token.
const TOKEN_BYTES_MAX: usize = 128;

/// What the names of unfinished uploads end with; they start with a dot.
pub(crate) const UNFINISHED_SUFFIX: &str = ".part";

/// Checks a key.
pub(crate) fn check(key: &ObjectKey) -> Result<(), ObjectError> {
    if is_key(key.as_str()) { Ok(()) } else { Err(bad(key.as_str())) }
}

/// Checks the name of a folder; `""` is the root.
pub(crate) fn check_folder(folder: &str) -> Result<(), ObjectError> {
    if folder.is_empty() || is_path(folder) { Ok(()) } else { Err(bad(folder)) }
}

/// Checks a token: it becomes part of a file's name.
pub(crate) fn check_token(token: &str) -> Result<(), ObjectError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    if fits && token.bytes().all(plain) { Ok(()) } else { Err(bad(token)) }
}

/// Returns whether the text is the name of an object that a listing shows.
pub(crate) fn is_key(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or(text);
    is_path(text) && !is_unfinished(name)
}

/// Returns whether a file name is that of an unfinished upload.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(UNFINISHED_SUFFIX)
}

fn is_path(text: &str) -> bool {
    text.len() <= KEY_BYTES_MAX && text.split('/').all(is_component)
}

fn is_component(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= COMPONENT_BYTES_MAX
        && !name.contains('\\')
        && !name.contains(char::is_control)
}

fn bad(key: &str) -> ObjectError {
    ObjectError::BadKey { key: key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_names_are_keys() {
        for good in ["a", "a/b.csv", "späße/日本 1.jsonl.gz", ".hidden", "a..b", "x.part"] {
            assert!(is_key(good), "{good}");
        }
    }

    #[test]
    fn names_that_climb_or_mean_two_things_are_not() {
        for bad in
            ["", "/", "/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\\b", "a\0", "a\nb"]
        {
            assert!(!is_key(bad), "{bad:?}");
        }
        assert!(!is_key("a/.b.token.part"), "looks like an unfinished upload");
        assert!(is_key(&"a".repeat(255)) && !is_key(&"a".repeat(256)));
        assert!(!is_key(&["a"; 600].join("/")), "longer than the limit");
    }

    #[test]
    fn a_token_is_a_plain_word() {
        assert!(check_token("run-1_e2.x").is_ok());
        for bad in ["", "a/b", "..\\", "ä", &"t".repeat(129)] {
            assert!(check_token(bad).is_err(), "{bad:?}");
        }
    }
}
