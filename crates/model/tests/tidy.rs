//! The layout of the repository, as a test: what a reader may rely on without looking.
//!
//! Reads the repository's files and what cargo says of its packages; changes nothing. Each rule is a
//! function from text to complaints, so that each has a test in which it complains.

#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/registries.rs"]
mod registries;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/texts.rs"]
mod texts;
#[path = "tidy/tree.rs"]
mod tree;

/// Fails with every complaint on a line of its own.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}\n", complaints.len(), complaints.join("\n"));
}
