//! Names of files and folders from templates.
//!
//! A template is a relative path with macros in braces; `{{` and `}}` stand for braces. A macro may say how it is written: `{to:8}` with eight
//! digits, `{date:%Y/%m}` as a time is written in C. Rendering gives
//! names that are safe below any root and differ between parts. Files are never called `manifest*.json`:
//! a run's seal has that name alone.

use crate::failure::{Code, Failure, Fault};
use crate::limits;
use crate::part::PartId;
use crate::ports::NameContext;
use std::fmt::Write;

use chrono::DateTime;
use chrono::format::{Item, StrftimeItems};

/// The template without `--name`.
const DEFAULT: &str = "part-{part}";

/// The macros that the template of a folder may have: what is known before the run's range is.
const OF_FOLDERS: [&str; 4] = ["export", "run", "date", "time"];

/// The macros with what they say, for help and reference.
pub static MACROS: &[(&str, &str)] = &[
    (
        "part",
        "the part's number in five digits, `{part:3}` in three; a remainder of a part has `-1`, `-2`, … behind it",
    ),
    ("export", "the saved export's name, or the relation's"),
    ("run", "the run's id"),
    ("from", "the exclusive lower end of the range of commits; `{from:8}` with zeros in front"),
    ("to", "the inclusive upper end of the range of commits; `{to:8}` with zeros in front"),
    ("date", "the day the run was opened, UTC: `2026-01-31`; `{date:%Y/%m}` as `2026/01`"),
    ("time", "the time of day the run was opened, UTC: `235959`; `{time:%Hh}` as `23h`"),
];

/// Digits that a number may be asked to have; the largest have no more.
const WIDTH_MAX: usize = 20;

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro(Macro),
}

/// A macro, and how it is written.
#[derive(Debug, PartialEq, Eq)]
struct Macro {
    name: &'static str,
    /// Digits of a number.
    width: Option<usize>,
    /// The parts of an instant.
    pattern: Option<String>,
}

/// A parsed template.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

impl Template {
    /// Parses a template, or takes the default one.
    pub fn parse(template: Option<&str>) -> Result<Self, Error> {
        let text = template.unwrap_or(DEFAULT);
        let made = Self { text: text.into(), pieces: pieces(text)? };
        // What is chosen for a run can neither remove nor add a folder, so a sample shows what is wrong with the text.
        let sample = made.fill(|one| match &one.pattern {
            Some(pattern) => DateTime::UNIX_EPOCH.format(pattern).to_string(),
            None => "0".into(),
        });
        check_path(&sample, text, usize::MAX)?;
        Ok(made)
    }

    /// Renders the name of a part, extension included.
    pub fn render(
        &self,
        context: &NameContext,
        part: PartId,
        parts: u64,
        extension: &str,
    ) -> Result<String, Error> {
        let is_part = |piece: &Piece| matches!(piece, Piece::Macro(Macro { name: "part", .. }));
        let numbered = self.pieces.iter().any(is_part);
        if !numbered && parts > 1 {
            return Err(Error::Collision { template: self.text.clone(), parts });
        }
        let mut name = self.fill(|one| value(one, context, part));
        if !numbered && part.split > 0 {
            name.push('-');
            name.push_str(&part.split.to_string());
        }
        name.push_str(extension);
        check_path(&name, &self.text, limits::FILE_NAME_BYTES_MAX)?;
        Ok(name)
    }

    fn fill(&self, value: impl Fn(&Macro) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Macro(one) => value(one),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// Renders the template of a run's folder, relative to the destination's root. It has to name the run, so that no two runs have
/// one folder.
///
/// # Errors
///
/// [`Error`], always the request's fault.
///
/// ```
/// # use model::{naming::folder, ports::NameContext};
/// # let opened_at = "2026-01-31T12:00:00Z".parse().expect("a time");
/// # let (export, run) = ("orders".into(), "r1".into());
/// let context = NameContext { export, run, from: 0, to: 0, opened_at };
/// let rendered = folder("{date:%Y/%m}/{export}-{run}", &context);
/// assert_eq!(rendered.expect("fine"), "2026/01/orders-r1");
/// let error = folder("{date}/{export}", &context).expect_err("of several runs").to_string();
/// assert!(error.contains("add `{run}`"));
/// ```
pub fn folder(template: &str, context: &NameContext) -> Result<String, Error> {
    let parsed = Template::parse(Some(template))?;
    let macros = || {
        parsed.pieces.iter().filter_map(|piece| match piece {
            Piece::Macro(one) => Some(one.name),
            Piece::Text(_) => None,
        })
    };
    if let Some(name) = macros().find(|name| !OF_FOLDERS.contains(name)) {
        return Err(Error::OfFiles { template: template.into(), name });
    }
    if !macros().any(|name| name == "run") {
        return Err(Error::Shared { template: template.into() });
    }
    let folder = parsed.fill(|one| value(one, context, PartId::planned(0)));
    check_path(&folder, template, limits::FILE_NAME_BYTES_MAX)?;
    Ok(folder)
}

/// Checks that the paths of files, below the destination, are no longer than stores take.
///
/// # Errors
///
/// [`Error::Whole`], with the longest.
pub fn check_whole(folder: &str, names: &[String]) -> Result<(), Error> {
    let longest = names.iter().max_by_key(|name| name.len());
    match longest.map(|name| format!("{folder}/{name}")) {
        Some(path) if path.len() > limits::PATH_BYTES_MAX => Err(Error::Whole { path }),
        _ => Ok(()),
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let end = end.ok_or_else(|| Error::Brace { template: template.into() })?;
        let one = read(&rest[..end], template)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Macro(one));
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Reads what stands between two braces.
fn read(text: &str, template: &str) -> Result<Macro, Error> {
    let (asked, how) = match text.split_once(':') {
        Some((name, how)) => (name, Some(how)),
        None => (text, None),
    };
    let known = MACROS.iter().find(|(name, _)| *name == asked);
    let (name, _) = known.ok_or_else(|| Error::Macro {
        template: template.into(),
        name: asked.into(),
        known: MACROS
            .iter()
            .map(|(name, _)| format!("`{{{name}}}`"))
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    let plain = Macro { name, width: None, pattern: None };
    let Some(how) = how else { return Ok(plain) };
    let refuse = |remedy: &'static str| {
        Err(Error::How { template: template.into(), name: name.to_string(), remedy })
    };
    match *name {
        "part" | "from" | "to" => match how.parse() {
            Ok(width @ 1..=WIDTH_MAX) => Ok(Macro { width: Some(width), ..plain }),
            _ => refuse("say how many digits, from 1 to 20: `{to:8}`"),
        },
        "date" | "time" => {
            // Some can be read only.
            let is_written = write!(String::new(), "{}", DateTime::UNIX_EPOCH.format(how)).is_ok();
            let is_known = is_written && StrftimeItems::new(how).all(|item| item != Item::Error);
            if how.is_empty() || !is_known {
                return refuse("use what `strftime` knows: `{date:%Y/%m/%d}`");
            }
            Ok(Macro { pattern: Some(how.to_owned()), ..plain })
        }
        _ => refuse("leave out the colon and what stands behind it"),
    }
}

fn value(one: &Macro, context: &NameContext, part: PartId) -> String {
    let number = |number: u64| match one.width {
        Some(width) => format!("{number:0width$}"),
        None => number.to_string(),
    };
    let instant =
        |usual| context.opened_at.format(one.pattern.as_deref().unwrap_or(usual)).to_string();
    match one.name {
        "part" => match (one.width, part.split) {
            (None, _) => part.to_string(),
            (Some(_), 0) => number(part.sequence.into()),
            (Some(_), split) => format!("{}-{split}", number(part.sequence.into())),
        },
        "export" => one_component(&context.export),
        "run" => one_component(&context.run),
        "from" => number(context.from),
        "to" => number(context.to),
        "date" => instant("%Y-%m-%d"),
        _ => instant("%H%M%S"),
    }
}

/// Names that people chose may hold anything; in a path they must not make folders or leave them.
fn one_component(text: &str) -> String {
    let safe = |letter: char| match letter {
        '/' | '\\' => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    };
    let text: String = text.chars().map(safe).collect();
    match text.as_str() {
        "." | ".." => text.replace('.', "_"),
        _ => text,
    }
}

fn check_path(path: &str, template: &str, bytes_max: usize) -> Result<(), Error> {
    let refuse = |reason: &'static str| Err(Error::Path { template: template.into(), reason });
    if path.chars().any(char::is_control) {
        return refuse("control characters are not allowed");
    }
    if path.contains('\\') {
        return refuse("folders are made with `/`, and `\\` is not allowed");
    }
    if path.starts_with('/') {
        return refuse("it must be relative, without `/` in front");
    }
    for component in path.split('/') {
        if component.is_empty() {
            return refuse("a name between two `/` is missing");
        }
        if component == "." || component == ".." {
            return refuse("`.` and `..` are not allowed");
        }
        let lower = component.to_ascii_lowercase();
        if lower.strip_suffix(".json").is_some_and(|stem| stem.starts_with("manifest")) {
            return refuse("`manifest*.json` is the name of a run's seal");
        }
        if component.len() > bytes_max {
            return Err(Error::Long {
                template: template.into(),
                bytes: component.len(),
                bytes_max,
            });
        }
    }
    Ok(())
}

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A brace without its other half.
    #[error(
        "the file name `{template}` has a single brace; write `{{{{` or `}}}}` for one that stays"
    )]
    Brace {
        /// The template.
        template: String,
    },
    /// No such macro.
    #[error("the file name `{template}` asks for `{{{name}}}`; there is {known}")]
    Macro {
        /// The template.
        template: String,
        /// The macro.
        name: String,
        /// Every macro.
        known: String,
    },
    /// A macro that cannot be written so.
    #[error(
        "the file name `{template}` has `{{{name}:…}}` in a way that it cannot be written; {remedy}"
    )]
    How {
        /// The template.
        template: String,
        /// The macro.
        name: String,
        /// What to write.
        remedy: &'static str,
    },
    /// No safe relative path.
    #[error("the file name `{template}` cannot be used: {reason}")]
    Path {
        /// The template.
        template: String,
        /// Why.
        reason: &'static str,
    },
    /// Too long for common file systems.
    #[error(
        "the file name `{template}` becomes {bytes} bytes long, of at most {bytes_max}; shorten it"
    )]
    Long {
        /// The template.
        template: String,
        /// The length of the longest component.
        bytes: usize,
        /// What it may be.
        bytes_max: usize,
    },
    /// Too long for common stores.
    #[error(
        "the path `{path}` is {} bytes long, of at most {}; shorten the folder or the file name",
        path.len(),
        limits::PATH_BYTES_MAX
    )]
    Whole {
        /// The path.
        path: String,
    },
    /// A macro of file names in that of a folder.
    #[error(
        "the folder `{template}` asks for `{{{name}}}`, which is known of its files only; there is `{{export}}`, `{{run}}`, `{{date}}` and `{{time}}`"
    )]
    OfFiles {
        /// The template.
        template: String,
        /// The macro.
        name: &'static str,
    },
    /// Several runs would have one folder.
    #[error("the folder `{template}` may be that of several runs; add `{{run}}` to it")]
    Shared {
        /// The template.
        template: String,
    },
    /// Several files would have one name.
    #[error("the file name `{template}` is the same for all {parts} files; add `{{part}}` to it")]
    Collision {
        /// The template.
        template: String,
        /// The number of files.
        parts: u64,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Brace { .. }
            | Self::Macro { .. }
            | Self::How { .. }
            | Self::Path { .. }
            | Self::Long { .. }
            | Self::OfFiles { .. }
            | Self::Whole { .. }
            | Self::Shared { .. }
            | Self::Collision { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn context(export: &str) -> NameContext {
        let opened_at = DateTime::from_timestamp(1_767_225_599, 0).expect("in range");
        NameContext { export: export.into(), run: "r1".into(), from: 3, to: 17, opened_at }
    }

    fn render(template: &str, part: PartId, parts: u64) -> Result<String, Error> {
        Template::parse(Some(template))?.render(&context("orders"), part, parts, ".csv")
    }

    #[test]
    fn macros_and_folders_are_rendered() {
        let all = "{export}/{date}/{run}-{from}-{to}-{time}-{{x}}-{part}";
        let expected = "orders/2025-12-31/r1-3-17-235959-{x}-00002.csv";
        assert_eq!(render(all, PartId::planned(2), 9).expect("fine"), expected);
        let default = Template::parse(None).expect("fine");
        let name = default.render(&context("x"), PartId::planned(0).remainder(), 2, ".jsonl.gz");
        assert_eq!(name.expect("fine"), "part-00000-1.jsonl.gz");
    }

    #[test]
    fn macros_say_how_they_are_written() {
        let all = "{date:%Y/%m/%d}/{export}-{time:%Hh}-{from:4}-{to:1}-{part:3}";
        let expected = "2025/12/31/orders-23h-0003-17-002.csv";
        assert_eq!(render(all, PartId::planned(2), 9).expect("fine"), expected);
        let rest = render("{part:2}", PartId::planned(7).remainder(), 9).expect("fine");
        assert_eq!(rest, "07-1.csv");
        for (template, words) in [
            ("{to:x}", "digits"),
            ("{to:0}", "digits"),
            ("{to:21}", "digits"),
            ("{to:}", "digits"),
            ("{date:%Q}", "strftime"),
            ("{date:%#z}", "strftime"),
            ("{date:}", "strftime"),
            ("{run:8}", "leave out"),
            ("{date:%Y/../..}", "`..`"),
            ("{date:/%Y}", "relative"),
            ("{time:%n}", "control"),
        ] {
            let error = Template::parse(Some(template)).expect_err(template).to_string();
            assert!(error.contains(words), "{template}: {error}");
        }
    }

    #[test]
    fn without_part_there_is_one_file_and_its_remainders() {
        assert_eq!(render("all", PartId::planned(0), 1).expect("fine"), "all.csv");
        assert_eq!(render("all", PartId::planned(0).remainder(), 1).expect("fine"), "all-1.csv");
        let error = render("all", PartId::planned(0), 2).expect_err("collides");
        assert_eq!(
            error.to_string(),
            "the file name `all` is the same for all 2 files; add `{part}` to it"
        );
    }

    #[test]
    fn unsafe_templates_are_refused() {
        for template in [
            "",
            "/a",
            "a//b",
            "a/",
            "../a",
            "a/../b",
            "./a",
            "a\0b",
            "a\nb",
            "a\\b",
            "{part",
            "a}b",
            "{nope}",
            "Manifest-1.JSON/x",
        ] {
            assert!(Template::parse(Some(template)).is_err(), "{template}");
        }
        let error = Template::parse(Some("{nope}")).expect_err("unknown");
        assert!(error.to_string().contains("`{nope}`; there is `{part}`, `{export}`"), "{error}");
        let sealed = Template::parse(Some("manifest{part}")).expect("fine so far");
        let error =
            sealed.render(&context("x"), PartId::planned(0), 1, ".json").expect_err("taken");
        assert!(error.to_string().contains("seal"), "{error}");
        let long = "x".repeat(limits::FILE_NAME_BYTES_MAX + 1);
        assert!(matches!(render(&long, PartId::planned(0), 1), Err(Error::Long { .. })));
    }

    #[test]
    fn a_folder_is_of_one_run() {
        let rendered = |template: &str| folder(template, &context("../o"));
        assert_eq!(rendered("{export}/{date:%Y}/{run}").expect("fine"), ".._o/2025/r1");
        for (template, words) in [
            ("{date}/{time}", "add `{run}`"),
            ("{run}/{to}", "known of its files only"),
            ("{run}/{part}", "known of its files only"),
            ("../{run}", "`..`"),
            ("/{run}", "relative"),
            ("{run}/", "missing"),
            ("{run}/manifest.json", "seal"),
        ] {
            let error = rendered(template).expect_err(template).to_string();
            assert!(error.contains(words), "{template}: {error}");
        }
    }

    #[test]
    fn names_that_people_chose_stay_one_component() {
        let template = Template::parse(Some("{export}/{part}")).expect("fine");
        let name = |export| template.render(&context(export), PartId::planned(0), 1, "");
        assert_eq!(name("../a\\b\0").expect("fine"), ".._a_b_/00000");
        assert_eq!(name("..").expect("fine"), "__/00000");
        assert!(name("").is_err());
    }

    proptest! {
        #[test]
        fn any_name_that_is_rendered_is_a_safe_relative_path(template in "[a{}pr/.\\\\]{0,12}(\\{part\\})?", export in any::<String>()) {
            let Ok(parsed) = Template::parse(Some(&template)) else { return Ok(()) };
            let Ok(name) = parsed.render(&context(&export), PartId::planned(1), 1, ".csv") else { return Ok(()) };
            let bad = name.split('/').any(|part| part.is_empty() || part == "." || part == "..");
            prop_assert!(!bad && !name.chars().any(char::is_control), "{}", name);
        }

        #[test]
        fn different_parts_have_different_names(ids in prop::collection::vec((0_u32..3, 0_u32..3), 0..20)) {
            let parsed = Template::parse(Some("{from}{part}{to}")).expect("fine");
            let ids: BTreeSet<_> = ids.into_iter().collect();
            let name = |(sequence, split): &(u32, u32)| {
                parsed.render(&context("x"), PartId { sequence: *sequence, split: *split }, 9, ".csv").expect("fine")
            };
            prop_assert_eq!(ids.iter().map(name).collect::<BTreeSet<_>>().len(), ids.len());
        }
    }
}
