//! The keys of the settings, what each may be, and what it is without a choice.
//!
//! Contract: the shipped file is the only list of keys and of defaults; what is here besides are the limits of
//! values, and which values nobody may see. It reads no file and no environment.

use std::fmt;
use std::sync::LazyLock;

use config::{FileFormat, ValueKind};
use model::limits::{BATCH_DAYS_MAX, RERUN_DAYS_MAX, TAIL_COMMIT_BYTES_MAX};
use serde::Serialize;
use server::dialects;
use server::links::PublicUrl;

/// Returns the shipped file: the program's own sections, then those of the dialects.
pub(crate) fn defaults() -> &'static str {
    static ALL: LazyLock<String> =
        LazyLock::new(|| format!("{}{}", include_str!("default.toml"), dialects::settings()));
    &ALL
}

/// What the variable of every key begins with.
const PREFIX: &str = "SLUICE_";

/// Threads that may be asked for; more than any machine has.
const THREADS_MAX: usize = 1024;

/// Seconds that a server may be told to wait for anybody.
const SECONDS_MAX: usize = 3600;

/// Keys whose values nobody may see.
const SECRETS: &[&str] = &[
    "database.url",
    "lake.s3.access_key_id",
    "lake.s3.secret_access_key",
    "lake.s3.session_token",
    "secrets.key",
];

/// What values may be, beyond their type. Every number is here.
const RULES: &[(&str, Rule)] = &[
    ("work.threads", Rule::Whole(0, THREADS_MAX)),
    ("lake.tail_bytes", Rule::Whole(0, TAIL_COMMIT_BYTES_MAX)),
    ("lake.batch_days", Rule::Whole(0, BATCH_DAYS_MAX as usize)),
    ("lake.s3.path_style", Rule::OneOf(&["", "true", "false"])),
    ("export.rerun_days", Rule::Whole(0, RERUN_DAYS_MAX as usize)),
    ("server.listen", Rule::Address),
    ("server.admin_listen", Rule::AddressOrNone),
    ("server.public_url", Rule::UrlOrNone),
    ("server.requests_at_once", Rule::Whole(0, 100_000)),
    ("server.requests_per_second", Rule::Whole(0, 1_000_000)),
    ("server.burst", Rule::Whole(0, 1_000_000)),
    ("server.drain_seconds", Rule::Whole(0, SECONDS_MAX)),
    ("server.head_seconds", Rule::Whole(1, SECONDS_MAX)),
    ("server.idle_seconds", Rule::Whole(1, SECONDS_MAX)),
    ("server.stall_seconds", Rule::Whole(1, SECONDS_MAX)),
    ("log.format", Rule::OneOf(&["text", "json"])),
    ("log.level", Rule::OneOf(&["", "off", "error", "warn", "info", "debug", "trace"])),
];

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// From the one to the other.
    Whole(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A host or its address, and a port.
    Address,
    /// The same, or an empty text.
    AddressOrNone,
    /// Where an HTTP server is, or an empty text.
    UrlOrNone,
    /// Whatever the type takes.
    Any,
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    List(Vec<String>),
}

/// A setting that there is.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its section and its name in it: `server.listen`.
    pub(crate) name: String,
    /// What holds without a choice.
    pub(crate) default: Value,
}

impl Key {
    /// Returns every key, in the order of the shipped file.
    pub(crate) fn all() -> Vec<Self> {
        let tree = parse(defaults()).expect("the shipped file is TOML");
        let default = |name: &String| {
            let mut at = &tree;
            for piece in name.split('.') {
                let ValueKind::Table(table) = at else { break };
                at = &table.get(piece).expect("the scan finds what the parser does").kind;
            }
            Value::of(at).expect("defaults are of the types that settings have")
        };
        let key = |name: String| Self { default: default(&name), name };
        names(defaults()).into_iter().map(key).collect()
    }

    /// Returns the environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        variable(&self.name)
    }

    /// Returns the section, and the name in it.
    pub(crate) fn section(&self) -> (&str, &str) {
        self.name.rsplit_once('.').expect("every key is in a section")
    }

    /// Whether nobody may see its value.
    pub(crate) fn is_secret(&self) -> bool {
        SECRETS.contains(&&*self.name)
    }

    /// Returns what its value may be.
    pub(crate) fn rule(&self) -> Rule {
        let own = RULES.iter().find(|(name, _)| *name == self.name).map(|(_, rule)| *rule);
        own.or_else(|| self.rule_of_dialect()).unwrap_or(Rule::Any)
    }

    fn rule_of_dialect(&self) -> Option<Rule> {
        let (section, name) = self.section();
        let rules = dialects::named(section)?.rules;
        let rule = rules.iter().find(|(of, _)| *of == name)?.1;
        Some(match rule {
            dialects::Rule::Whole(least, most) => Rule::Whole(least, most),
            dialects::Rule::OneOf(words) => Rule::OneOf(words),
        })
    }

    /// Checks a value.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        match (self.rule(), value) {
            (Rule::Whole(least, most), Value::Whole(number)) => {
                usize::try_from(*number).is_ok_and(|number| (least..=most).contains(&number))
            }
            (Rule::OneOf(words), Value::Text(word)) => words.contains(&&**word),
            (Rule::AddressOrNone, Value::Text(address)) if address.is_empty() => true,
            (Rule::Address | Rule::AddressOrNone, Value::Text(address)) => is_address(address),
            (Rule::UrlOrNone, Value::Text(url)) => {
                url.is_empty() || PublicUrl::parse(url).is_some()
            }
            (_, value) => std::mem::discriminant(value) == std::mem::discriminant(&self.default),
        }
    }

    /// Reads a value as a variable has it. `None` if it is not of the key's type.
    pub(crate) fn read(&self, text: &str) -> Option<Value> {
        match self.default {
            Value::Text(_) => Some(Value::Text(text.into())),
            Value::Whole(_) => text.parse().ok().map(Value::Whole),
            Value::Flag(_) => text.parse().ok().map(Value::Flag),
            Value::List(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::List(items.map(str::to_owned).collect()))
            }
        }
    }

    /// Says what to write instead of a value that is refused.
    pub(crate) fn remedy(&self) -> String {
        match (self.rule(), &self.default) {
            (Rule::Whole(least, most), _) => {
                format!("use a whole number from {least} to {most}")
            }
            (Rule::OneOf(words), _) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("use one of {}", words.join(", "))
            }
            (Rule::Address | Rule::AddressOrNone, _) => {
                "use an address and a port, in quotes: `\"127.0.0.1:8080\"`".into()
            }
            (Rule::UrlOrNone, _) => {
                "use a URL without a query, in quotes: `\"https://exports.example.com\"`".into()
            }
            (Rule::Any, Value::Text(_)) => "use a text, in quotes".into(),
            (Rule::Any, Value::Whole(_)) => "use a whole number".into(),
            (Rule::Any, Value::Flag(_)) => "use `true` or `false`".into(),
            (Rule::Any, Value::List(_)) => "use a list of texts: `[\"a\", \"b\"]`".into(),
        }
    }
}

impl Value {
    /// Takes over what the parser found. `None` if no setting is of that type.
    pub(crate) fn of(kind: &ValueKind) -> Option<Self> {
        match kind {
            ValueKind::String(text) => Some(Self::Text(text.clone())),
            ValueKind::I64(number) => Some(Self::Whole(*number)),
            ValueKind::Boolean(flag) => Some(Self::Flag(*flag)),
            ValueKind::Array(items) => {
                let text = |item: &config::Value| match &item.kind {
                    ValueKind::String(text) => Some(text.clone()),
                    _ => None,
                };
                items.iter().map(text).collect::<Option<Vec<_>>>().map(Self::List)
            }
            _ => None,
        }
    }
}

/// As TOML. What JSON writes is TOML, too, but for one character.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).expect("texts and numbers are JSON");
        f.write_str(&text.replace('\u{7f}', "\\u007f"))
    }
}

/// Parses TOML. The error says where and what, but shows no piece of the text, which may hold a secret.
pub(crate) fn parse(text: &str) -> Result<ValueKind, String> {
    let source = config::File::from_str(text, FileFormat::Toml);
    match config::Source::collect(&source) {
        Ok(table) => Ok(ValueKind::Table(table)),
        Err(error) => {
            let error = error.to_string();
            // The text stands behind a line number and a bar.
            let is_said = |line: &&str| {
                let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
                !line.starts_with('|')
            };
            Err(error.lines().filter(is_said).collect::<Vec<_>>().join(": "))
        }
    }
}

/// Returns the environment variable that sets a key.
pub(crate) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "_").to_uppercase())
}

/// Returns the keys of a file as plain as the shipped one, in its order.
fn names(text: &str) -> Vec<String> {
    let (mut section, mut names) = ("", Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            names.push(format!("{section}.{name}"));
        }
    }
    names
}

fn is_address(text: &str) -> bool {
    let pieces = text.rsplit_once(':');
    pieces.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(kind: &ValueKind, path: &str, found: &mut Vec<String>) {
        let ValueKind::Table(table) = kind else {
            found.push(path.to_owned());
            return;
        };
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            leaves(&value.kind, &path, found);
        }
    }

    #[test]
    fn the_scan_finds_what_the_parser_finds() {
        let (mut parsed, mut scanned) = (Vec::new(), names(defaults()));
        leaves(&parse(defaults()).expect("TOML"), "", &mut parsed);
        parsed.sort();
        scanned.sort();
        assert_eq!(parsed, scanned);
    }

    #[test]
    fn every_key_has_a_comment_and_a_variable_of_its_own() {
        let keys = Key::all();
        let variables: std::collections::BTreeSet<_> = keys.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), keys.len());
        let lines: Vec<_> = defaults().lines().collect();
        for (above, line) in lines.iter().zip(&lines[1..]) {
            let is_key = line.contains(" = ") && !line.starts_with('#');
            assert!(!is_key || above.starts_with("# "), "{line}");
        }
    }

    #[test]
    fn the_comments_say_the_limits_and_defaults_are_within_them() {
        let mut comment = String::new();
        let mut keys = Key::all().into_iter();
        for line in defaults().lines() {
            if let Some(more) = line.strip_prefix('#') {
                comment.push_str(more);
                continue;
            }
            if line.contains(" = ") {
                let key = keys.next().expect("a key a line");
                assert!(key.takes(&key.default), "{key:?}");
                match key.rule() {
                    Rule::Whole(least, most) => {
                        assert!(comment.contains(&format!("from {least} to {most}")), "{key:?}");
                    }
                    Rule::OneOf(words) => {
                        assert!(words.iter().all(|word| comment.contains(word)), "{key:?}");
                    }
                    Rule::Address | Rule::AddressOrNone | Rule::UrlOrNone | Rule::Any => {
                        assert!(!matches!(key.default, Value::Whole(_)), "{key:?} has no limit");
                    }
                }
            }
            comment.clear();
        }
        assert!(keys.next().is_none());
    }

    #[test]
    fn secrets_and_rules_are_of_keys_that_there_are() {
        let keys = Key::all();
        let named = SECRETS.iter().chain(RULES.iter().map(|(name, _)| name));
        for name in named {
            assert!(keys.iter().any(|key| key.name == *name), "{name}");
        }
    }

    #[test]
    fn values_are_written_as_toml() {
        let texts = ["", "a\"b\\c", "tab\t, line\n, bell\u{7}, del\u{7f}, é"].map(String::from);
        let list = Value::List(texts.to_vec());
        let ValueKind::Table(table) = parse(&format!("a = {list}")).expect("TOML") else {
            panic!("a table");
        };
        assert_eq!(Value::of(&table["a"].kind), Some(list));
    }

    #[test]
    fn an_error_shows_no_piece_of_the_text() {
        let said = parse("[database]\nurl = \"postgres://u:canary@h/d\n").expect_err("no TOML");
        assert!(said.contains("line 2") && !said.contains("canary"), "{said}");
    }
}
