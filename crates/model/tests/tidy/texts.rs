//! Names that stay where they belong, rules that exist, links that lead somewhere.

use std::path::Path;

use crate::none;
use crate::tree::{self, Text};

/// Vendors, in two halves, or this file would name them.
const VENDORS: [(&str, &str); 3] = [("ado", "be"), ("life", "ray"), ("growing", "io")];

/// What the ids of a dialect's rules begin with: `AD-12`.
const RULES: [&str; 3] = ["AD", "GI", "LR"];

fn vendor_words(file: &Text) -> Vec<String> {
    if file.path.split('/').any(|piece| piece.trim_end_matches(".rs") == "dialects") {
        return Vec::new();
    }
    let text = file.text.to_lowercase();
    let found = VENDORS.iter().filter(|(a, b)| text.contains(&format!("{a}{b}")));
    found.map(|(a, b)| format!("{}: `{a}{b}` belongs to its dialect", file.path)).collect()
}

/// Returns the rule ids in a text: two letters of a dialect, a hyphen, two digits.
fn rules(text: &str) -> Vec<&str> {
    let is_rule = |word: &&str| {
        let id = word.split_once('-');
        id.is_some_and(|(dialect, number)| {
            RULES.contains(&dialect)
                && number.len() == 2
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    tree::words(text).filter(is_rule).collect()
}

fn unknown_rules(file: &Text, known: &[&str]) -> Vec<String> {
    let cited = rules(&file.text).into_iter();
    let unknown = cited.filter(|rule| !known.contains(rule));
    unknown.map(|rule| format!("{}: `{rule}` is not in docs/dialects", file.path)).collect()
}

/// Returns the relative targets of a Markdown text's links.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let paths = targets.filter_map(|target| target.split('#').next());
    paths.filter(|path| !path.is_empty() && !path.contains(':')).collect()
}

fn dead_links(file: &Text, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(&file.path).parent().expect("a file lies in a folder");
    let dead = links(&file.text).into_iter().filter(|link| !exists(&folder.join(link)));
    dead.map(|link| format!("{}: `{link}` leads nowhere", file.path)).collect()
}

fn prose() -> Vec<Text> {
    let mut files = tree::texts("");
    files.retain(|file| file.is("md"));
    files
}

#[test]
fn vendors_are_named_in_their_dialects_only() {
    none(&tree::texts("crates").iter().flat_map(vendor_words).collect::<Vec<_>>());
}

#[test]
fn cited_rules_exist() {
    let dialects = tree::texts("docs/dialects");
    let known: Vec<_> = dialects.iter().flat_map(|file| rules(&file.text)).collect();
    let files = tree::sources();
    let elsewhere = files.iter().filter(|file| !file.path.contains("/tests/tidy"));
    none(&elsewhere.flat_map(|file| unknown_rules(file, &known)).collect::<Vec<_>>());
}

#[test]
fn links_lead_somewhere() {
    let root = tree::root();
    let files = prose();
    assert!(!files.is_empty(), "no prose was found");
    none(
        &files
            .iter()
            .flat_map(|file| dead_links(file, |path| root.join(path).exists()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn decisions_are_numbered_and_say_when_to_look_again() {
    let decisions = tree::texts("docs/decisions");
    let mut complaints = Vec::new();
    for (index, file) in decisions.iter().enumerate() {
        if !file.path.starts_with(&format!("docs/decisions/{:04}-", index + 1)) {
            complaints.push(format!("{}: its number is not {:04}", file.path, index + 1));
        }
        for heading in ["## Context", "## Choice", "## Rejected", "## Revisit"] {
            if !file.text.lines().any(|line| line == heading) {
                complaints.push(format!("{}: no `{heading}`", file.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn bad_texts_are_complained_about() {
    let file = |path: &str, text: &str| Text { path: path.into(), text: text.into() };
    let vendor = format!("what {}{} calls it", VENDORS[0].0.to_uppercase(), VENDORS[0].1);
    assert_eq!(vendor_words(&file("crates/lake/src/a.rs", &vendor)).len(), 1);
    assert!(vendor_words(&file("crates/server/src/dialects/a.rs", &vendor)).is_empty());
    let cites = file("crates/a.rs", "Source: rule LR-03, GI-07; UTF-8, SHA-25");
    assert_eq!(unknown_rules(&cites, &["LR-03"]), ["crates/a.rs: `GI-07` is not in docs/dialects"]);
    let linked =
        file("docs/a.md", "[a](b.md#c) [d](https://example.com) [e](../gone.md) [f](#here)");
    assert_eq!(
        dead_links(&linked, |path| path == Path::new("docs/b.md")),
        ["docs/a.md: `../gone.md` leads nowhere"]
    );
}
