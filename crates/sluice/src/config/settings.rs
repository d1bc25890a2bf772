//! The settings in force, and where each comes from.
//!
//! Contract: the shipped defaults, then a file, then variables of the environment. What is unknown or out of its limits is refused with
//! the key, the place and the remedy, in whichever place it stands; a value that nobody may see is in no message.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use config::ValueKind;
use export::nearest;
use serde::de::DeserializeOwned;
use serde_json::{Map, json};
use server::dialects::{self, Dialect};

use super::keys::{Key, Value, parse, variable};
use crate::failed::Failed;
use crate::output::printable;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The shipped file.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Variable(name) => write!(f, "the variable `{name}`"),
        }
    }
}

/// A setting in force.
struct Setting {
    key: Key,
    value: Value,
    origin: Origin,
}

/// All of them, in the order of the shipped file.
pub(crate) struct Settings {
    all: Vec<Setting>,
}

impl Settings {
    /// Reads a file, if there is one, and the variables.
    pub(crate) fn read(
        file: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failed> {
        let all = Key::all().into_iter().map(|key| Setting {
            value: key.default.clone(),
            key,
            origin: Origin::Default,
        });
        let mut settings = Self { all: all.collect() };
        if let Some(path) = file {
            let unusable = |why: &dyn fmt::Display| {
                Failed::request(format!(
                    "the configuration `{}` is not usable: {why}",
                    path.display()
                ))
            };
            let text = std::fs::read_to_string(path).map_err(|e| unusable(&e))?;
            let tree = parse(&text).map_err(|e| unusable(&e))?;
            settings.take_table("", &tree, &Origin::File(path.to_owned()))?;
        }
        for (name, value) in variables {
            if let Some(name) = name.to_str() {
                settings.take_variable(name, value)?;
            }
        }
        Ok(settings)
    }

    /// Returns them as the structure that has a field for each.
    pub(crate) fn fill<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        let mut root = json!({});
        for Setting { key, value, .. } in &self.all {
            let (section, name) = key.section();
            let mut at = &mut root;
            for piece in section.split('.') {
                at = at
                    .as_object_mut()
                    .expect("a section is an object")
                    .entry(piece)
                    .or_insert_with(|| json!({}));
            }
            at[name] = json!(value);
        }
        let own = root.as_object_mut().expect("sections are in an object");
        let of_dialects = |kind: &&Dialect| own.remove_entry(kind.name);
        let dialects: Map<_, _> = dialects::KINDS.iter().filter_map(of_dialects).collect();
        root["dialects"] = dialects.into();
        // The limits keep values within the fields' types, and a test the names in step.
        serde_json::from_value(root)
            .map_err(|e| Failed::internal(format!("the settings do not fit the program: {e}")))
    }

    /// Returns how many are not the defaults.
    pub(crate) fn chosen(&self) -> usize {
        self.all.iter().filter(|setting| setting.origin != Origin::Default).count()
    }

    /// Returns them as TOML, each with where it comes from. Secrets are comments, so that nobody takes what
    /// stands in their place for a value.
    pub(crate) fn toml(&self) -> String {
        let (mut text, mut section) = (String::new(), "");
        for setting in &self.all {
            let (of, name) = setting.key.section();
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}[{of}]");
                section = of;
            }
            let mark = if setting.is_hidden() { "# " } else { "" };
            let from = match &setting.origin {
                Origin::Default => "default".to_owned(),
                Origin::File(path) => printable(&path.display().to_string()),
                Origin::Variable(name) => name.clone(),
            };
            let _ = writeln!(text, "{mark}{name} = {} # {from}", setting.shown());
        }
        text
    }

    /// Returns them as JSON, each with where it comes from.
    pub(crate) fn json(&self) -> serde_json::Value {
        let entry = |setting: &Setting| {
            let from = match &setting.origin {
                Origin::Default => json!({ "default": true }),
                Origin::File(path) => json!({ "file": path.display().to_string() }),
                Origin::Variable(name) => json!({ "variable": name }),
            };
            let value = json!({
                "value": setting.shown(), "from": from, "variable": setting.key.variable()
            });
            (setting.key.name.clone(), value)
        };
        self.all.iter().map(entry).collect::<Map<_, _>>().into()
    }

    fn take_table(&mut self, path: &str, kind: &ValueKind, origin: &Origin) -> Result<(), Failed> {
        let ValueKind::Table(table) = kind else {
            return Err(Failed::request(format!(
                "`{path}` in {origin} is a section; write `[{path}]`, and its keys below"
            )));
        };
        // In one order, so that the same file is always refused for the same reason.
        let mut names: Vec<_> = table.keys().collect();
        names.sort();
        for name in names {
            let kind = &table[name].kind;
            let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let is_plain = !name.contains('.');
            if is_plain && self.sections().contains(&*full) {
                self.take_table(&full, kind, origin)?;
            } else if is_plain && self.all.iter().any(|setting| setting.key.name == full) {
                self.take(&full, Value::of(kind), &in_words(kind), origin)?;
            } else {
                return Err(Failed::request(format!(
                    "`{full}` in {origin} is no setting{}",
                    self.hint(path, name)
                )));
            }
        }
        Ok(())
    }

    fn take_variable(&mut self, name: &str, value: OsString) -> Result<(), Failed> {
        let origin = Origin::Variable(name.to_owned());
        let known = self.all.iter().find(|setting| setting.key.variable() == name);
        if let Some(setting) = known {
            let key = setting.key.clone();
            let Ok(value) = value.into_string() else {
                return Err(Failed::request(format!("{origin} is not UTF-8; {}", key.remedy())));
            };
            return self.take(&key.name, key.read(&value), &format!("`{value}`"), &origin);
        }
        // The longest section, so that what is most like it is looked for in the right one.
        let begins = |section: &&str| name.starts_with(&format!("{}_", variable(section)));
        let sections = self.sections();
        let section = sections.into_iter().filter(begins).max_by_key(|section| section.len());
        match section {
            None => Ok(()),
            Some(section) => {
                let rest = name[variable(section).len() + 1..].to_lowercase();
                let candidates = self.all.iter().map(|setting| setting.key.section());
                let candidates = candidates.filter(|(of, _)| *of == section).map(|(_, name)| name);
                let near = nearest(&rest, candidates).map_or_else(all_of_them, |near| {
                    format!("; did you mean `{}`?", variable(&format!("{section}.{near}")))
                });
                Err(Failed::request(format!("{origin} is no setting{near}")))
            }
        }
    }

    /// Sets a key. `None` is a value of a type that no key has.
    fn take(
        &mut self,
        name: &str,
        value: Option<Value>,
        text: &str,
        origin: &Origin,
    ) -> Result<(), Failed> {
        let setting = self.all.iter_mut().find(|setting| setting.key.name == name);
        let setting = setting.expect("the caller looked");
        let Some(value) = value.filter(|value| setting.key.takes(value)) else {
            let text = if setting.key.is_secret() { "what it is" } else { text };
            let remedy = setting.key.remedy();
            return Err(Failed::request(format!(
                "`{name}` in {origin} cannot be {text}; {remedy}"
            )));
        };
        setting.value = value;
        setting.origin = origin.clone();
        Ok(())
    }

    /// Returns every section, also those that hold sections only.
    fn sections(&self) -> BTreeSet<&str> {
        let mut sections = BTreeSet::new();
        for (section, _) in self.all.iter().map(|setting| setting.key.section()) {
            let ends = section.match_indices('.').map(|(at, _)| at);
            sections.extend(ends.map(|at| &section[..at]));
            sections.insert(section);
        }
        sections
    }

    /// Says what may have been meant: a name in the same section, the same name in another, or a section.
    fn hint(&self, path: &str, name: &str) -> String {
        let sections = self.sections();
        let keys = || self.all.iter().map(|setting| setting.key.section());
        let near = if path.is_empty() {
            nearest(name, sections.into_iter()).map(str::to_owned)
        } else {
            let beside = keys().filter(|(of, _)| *of == path).map(|(_, name)| name);
            let beside = nearest(name, beside).map(|near| format!("{path}.{near}"));
            beside.or_else(|| {
                let elsewhere = keys().find(|(_, of)| *of == name);
                elsewhere.map(|(of, name)| format!("{of}.{name}"))
            })
        };
        near.map_or_else(all_of_them, |near| format!("; did you mean `{near}`?"))
    }
}

impl Setting {
    /// Whether it has a value that nobody may see.
    fn is_hidden(&self) -> bool {
        self.key.is_secret() && self.value != self.key.default
    }

    fn shown(&self) -> Value {
        if self.is_hidden() { Value::Text("(set)".into()) } else { self.value.clone() }
    }
}

fn all_of_them() -> String {
    "; `sluice config default` shows all".into()
}

/// Returns a value of a file as a message shows it.
fn in_words(kind: &ValueKind) -> String {
    match (Value::of(kind), kind) {
        (Some(value), _) => format!("`{value}`"),
        (None, ValueKind::Table(_)) => "a section".into(),
        (None, ValueKind::Array(_)) => "a list of other things than texts".into(),
        (None, other) => format!("`{other}`"),
    }
}
