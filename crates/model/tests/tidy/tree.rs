//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Its path from the repository's root, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl Text {
    /// Returns whether the file's name ends with a dot and this.
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// Returns the repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("two folders up")
}

/// Returns the text files below a folder of the repository by path; none if there is no such folder.
/// What begins with a dot, what is built and what is not text is left out.
pub(crate) fn texts(folder: &str) -> Vec<Text> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy();
            if name.starts_with('.') || name == "target" || name == "sluice-data" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).expect("below the root");
                found.push(Text { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Returns the Rust files of every crate.
pub(crate) fn sources() -> Vec<Text> {
    let mut found = texts("crates");
    found.extend(texts("bench"));
    found.retain(|file| file.is("rs"));
    assert!(found.len() > 20, "the repository's sources were not found");
    found
}

/// Returns the words of a text: runs of letters, digits, `_` and `-`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
        .filter(|word| !word.is_empty())
}
