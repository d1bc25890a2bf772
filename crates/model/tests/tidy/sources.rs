//! What every Rust file keeps to.

use crate::none;
use crate::tree::{self, Text};

/// Lines of a file before its tests.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// The part of the program that prints.
const PRINTS: &str = "crates/sluice/src/output";

/// Pieces that no file may hold, and why. Written in two halves, or this file would hold them.
const BANNED: &[(&str, &str, &str)] = &[
    ("#[ign", "ore", "a test runs or is not there"),
    ("tod", "o!(", "what is there is finished"),
    ("unimple", "mented!(", "what is there is finished"),
    ("#[al", "low(", "use `#[expect(…, reason = …)]`, which says why and goes when it may"),
];

/// Marks that need an issue's number.
const MARKS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Returns the lines before the tests at the end.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines.windows(3).position(|three| {
        three[0] == "#[cfg(test)]" && three[1..].iter().any(|line| line.starts_with("mod "))
    });
    tests.unwrap_or(lines.len())
}

fn shape(file: &Text) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.text.starts_with("//! ") {
        complaints.push(format!("{}: does not begin with a `//!` header", file.path));
    }
    if file.path.ends_with("/mod.rs") {
        complaints.push(format!("{}: name it after its folder, beside it", file.path));
    }
    let lines = lines_before_tests(&file.text);
    if lines > LINES_MAX && !LONGER.iter().any(|(path, _)| *path == file.path) {
        complaints.push(format!("{}: {lines} lines before its tests; divide it", file.path));
    }
    complaints
}

fn banned(file: &Text) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut complain = |what: &str| {
            complaints.push(format!("{}:{}: {what}", file.path, number + 1));
        };
        for (head, tail, why) in BANNED {
            if !is_comment(line) && line.contains(&format!("{head}{tail}")) {
                complain(&format!("`{head}{tail}`: {why}"));
            }
        }
        if prints(line) && !file.path.starts_with(PRINTS) && !file.path.starts_with("bench/") {
            complain(&format!("prints to stdout; only `{PRINTS}*` does"));
        }
        if unnumbered_mark(line) {
            complain("a mark without the number of its issue");
        }
    }
    complaints
}

fn prints(line: &str) -> bool {
    let calls = [concat!("print", "!("), concat!("print", "ln!(")];
    let starts = calls.iter().flat_map(|call| line.match_indices(call).map(|(at, _)| at));
    let is_own_word = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    !is_comment(line) && starts.into_iter().any(is_own_word)
}

fn unnumbered_mark(line: &str) -> bool {
    let marked = tree::words(line).any(|word| MARKS.iter().any(|(a, b)| word == format!("{a}{b}")));
    let numbered =
        line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    marked && !numbered
}

fn all(rule: fn(&Text) -> Vec<String>) -> Vec<String> {
    tree::sources().iter().flat_map(rule).collect()
}

#[test]
fn files_have_a_header_a_plain_name_and_an_end() {
    none(&all(shape));
}

#[test]
fn nothing_is_unfinished_switched_off_or_printed_aside() {
    none(&all(banned));
}

#[test]
fn longer_files_are_still_there_and_still_longer() {
    let sources = tree::sources();
    let stale = LONGER.iter().filter(|(path, _)| {
        let file = sources.iter().find(|file| file.path == *path);
        file.is_none_or(|file| lines_before_tests(&file.text) <= LINES_MAX)
    });
    none(&stale.map(|(path, _)| format!("{path}: take it off the list")).collect::<Vec<_>>());
}

#[test]
fn bad_files_are_complained_about() {
    let file = |path: &str, text: String| Text { path: path.into(), text };
    let faults = |path: &str, text: &str| {
        let file = file(path, format!("//! Header.\n{text}"));
        shape(&file).len() + banned(&file).len()
    };
    let joined = |(head, tail, _): &(&str, &str, &str)| format!("    {head}{tail}x)]\n");
    for piece in BANNED {
        assert_eq!(faults("crates/a/src/a.rs", &joined(piece)), 1, "{piece:?}");
    }
    let mark = |rest: &str| format!("// {}{}{rest}", MARKS[0].0, MARKS[0].1);
    assert_eq!(faults("crates/a/src/a.rs", &mark(": later")), 1);
    assert_eq!(faults("crates/a/src/a.rs", &mark("(#12): later")), 0);
    let print = concat!("    print", "ln!(\"x\");");
    assert_eq!(faults("crates/a/src/a.rs", print), 1);
    assert_eq!(faults("crates/sluice/src/output/table.rs", print), 0);
    assert_eq!(faults("crates/a/src/a.rs", concat!("    eprint", "ln!(\"x\");")), 0);
    assert_eq!(faults("crates/a/src/a/mod.rs", ""), 1);
    assert_eq!(shape(&file("crates/a/src/a.rs", "use std::fs;\n".into())).len(), 1);
    assert_eq!(faults("crates/a/src/a.rs", &"x\n".repeat(LINES_MAX)), 1);
    let tested = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(LINES_MAX));
    assert_eq!(faults("crates/a/src/a.rs", &tested), 0);
}
