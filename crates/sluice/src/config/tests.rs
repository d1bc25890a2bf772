//! What is taken, what is refused, and what the pages say of it.

use std::path::Path;

use model::limits::TAIL_COMMIT_BYTES;

use super::keys::{Key, variable};
use super::*;

fn read(file: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sluice.toml");
    std::fs::write(&path, file).expect("written");
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let settings = Settings::read(Some(&path), variables);
    let settings = settings.and_then(|settings| Config::of(&settings).map(|_| settings));
    settings.map_err(|failed| failed.message().replace(&path.display().to_string(), "FILE"))
}

#[track_caller]
fn refused(file: &str, variables: &[(&str, &str)], expected: &str) {
    assert_eq!(read(file, variables).err().as_deref(), Some(expected));
}

#[track_caller]
fn taken(file: &str, variables: &[(&str, &str)]) -> Config {
    let settings = read(file, variables).unwrap_or_else(|said| panic!("{said}"));
    Config::of(&settings).unwrap_or_else(|failed| panic!("{failed:?}"))
}

#[test]
fn the_shipped_file_has_the_fields_of_the_structure() {
    let config = taken("", &[]);
    assert_eq!(config.lake.tail_bytes, TAIL_COMMIT_BYTES);
    assert_eq!((config.log.format, &*config.log.level), (LogFormat::Text, ""));
    // As a file of one's own it changes nothing.
    let settings = read(defaults(), &[]).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(settings.chosen(), Key::all().len());
}

#[test]
fn variables_win_over_the_file_and_the_file_over_defaults() {
    let file = "[work]\nthreads = 3\n[lake]\ntail_bytes = 5\n";
    let config = taken(file, &[("SLUICE_LAKE_TAIL_BYTES", "7"), ("SLUICE_LOG_FORMAT", "json")]);
    assert_eq!((config.work.threads, config.lake.tail_bytes), (3, 7));
    assert_eq!((config.log.format, config.lake.batch_days), (LogFormat::Json, 0));
}

#[test]
fn every_key_is_taken_from_its_variable() {
    for key in Key::all() {
        let default = match &key.default {
            keys::Value::Text(text) => text.clone(),
            keys::Value::List(items) => items.join(","),
            other => other.to_string(),
        };
        let settings = read("", &[(&key.variable(), &default)]);
        let settings = settings.unwrap_or_else(|said| panic!("{}: {said}", key.name));
        assert_eq!(settings.chosen(), 1, "{}", key.name);
    }
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    refused(
        "[work]\nthraeds = 2\n",
        &[],
        "`work.thraeds` in `FILE` is no setting; did you mean `work.threads`?",
    );
    refused("[wrok]\n", &[], "`wrok` in `FILE` is no setting; did you mean `work`?");
    refused(
        "[lake]\nlisten = \"\"\n",
        &[],
        "`lake.listen` in `FILE` is no setting; did you mean `server.listen`?",
    );
    let all = "; `sluice config default` shows all";
    refused("[lake]\nxyz = 1\n", &[], &format!("`lake.xyz` in `FILE` is no setting{all}"));
    refused(
        "\"work.threads\" = 1\n",
        &[],
        "`work.threads` in `FILE` is no setting; did you mean `work`?",
    );
    refused(
        "",
        &[("SLUICE_LAKE_TALE_BYTES", "1")],
        "the variable `SLUICE_LAKE_TALE_BYTES` is no setting; did you mean `SLUICE_LAKE_TAIL_BYTES`?",
    );
    // What belongs to no section is somebody else's.
    for other in ["SLUICE_DIR", "SLUICE_LOG", "SLUICE_KILLS", "SLUICE_TEST_POSTGRES", "SLUICE_X"] {
        taken("", &[(other, "x")]);
    }
}

#[test]
fn wrong_values_are_answered_with_key_place_and_limits() {
    let limits = "use a whole number from 0 to 1024";
    for (written, said) in [
        ("1025", "`1025`"),
        ("-1", "`-1`"),
        ("\"x\"", "`\"x\"`"),
        ("1.5", "`1.5`"),
        ("[1]", "a list of other things than texts"),
        ("{ x = 1 }", "a section"),
    ] {
        let file = format!("[work]\nthreads = {written}\n");
        refused(&file, &[], &format!("`work.threads` in `FILE` cannot be {said}; {limits}"));
    }
    for value in ["1025", "", "many"] {
        let place = "the variable `SLUICE_WORK_THREADS`";
        let said = format!("`work.threads` in {place} cannot be `{value}`; {limits}");
        refused("", &[("SLUICE_WORK_THREADS", value)], &said);
    }
    refused("work = 3\n", &[], "`work` in `FILE` is a section; write `[work]`, and its keys below");
    for address in ["8080", ":8080", "localhost:http", ""] {
        let said = read("", &[("SLUICE_SERVER_LISTEN", address)]).err().expect("refused");
        assert!(said.contains("127.0.0.1:8080"), "{said}");
    }
    let said = read("[log]\nformat = \"xml\"\n", &[]).err().expect("refused");
    assert!(said.ends_with("use one of `text`, `json`"), "{said}");
}

#[test]
fn nobody_sees_a_secret() {
    let url = "postgres://user:canary@host/db";
    let file = format!("[database]\nurl = \"{url}\"\n");
    for settings in [read(&file, &[]), read("", &[("SLUICE_DATABASE_URL", url)])] {
        let settings = settings.unwrap_or_else(|said| panic!("{said}"));
        let shown = settings.toml();
        assert!(shown.contains("\n# url = \"(set)\" # ") || shown.contains("[database]\n# url"));
        assert!(!shown.contains("canary") && !settings.json().to_string().contains("canary"));
        // What is shown is a configuration, without the secret.
        assert_eq!(taken(&shown, &[]).database.url, "");
    }
    refused(
        "[database]\nurl = [\"canary\"]\n",
        &[],
        "`database.url` in `FILE` cannot be what it is; use a text, in quotes",
    );
    let said = read("[database]\nurl = \"canary\n", &[]).err().expect("no TOML");
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn what_is_shown_says_where_it_comes_from() {
    let settings = read("[work]\nthreads = 3\n", &[("SLUICE_LOG_LEVEL", "warn")]);
    let settings = settings.unwrap_or_else(|said| panic!("{said}"));
    let shown = settings.toml();
    assert!(shown.contains("\nbatch_days = 0 # default\n"), "{shown}");
    assert!(shown.contains("\nlevel = \"warn\" # SLUICE_LOG_LEVEL\n"), "{shown}");
    let json = settings.json();
    assert_eq!(json["work.threads"]["value"], 3);
    assert!(json["work.threads"]["from"]["file"].is_string(), "{json}");
    assert_eq!(json["log.level"]["from"]["variable"], "SLUICE_LOG_LEVEL");
    assert_eq!(json["server.listen"]["from"]["default"], true);
}

/// The words between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_pages_name_only_settings_that_there_are() {
    let keys = Key::all();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_section = |name: &str| keys.iter().any(|key| key.section().0 == name);
    let is_key = |name: &str| keys.iter().any(|key| key.name == name);
    let mut checked = 0;
    for page in ["README.md", "docs/api.md", "docs/operations.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect("the page is there");
        for name in code(&text).filter(|name| !name.contains(char::is_whitespace)) {
            let wrong = name.rsplit_once('.').is_some_and(|(of, _)| is_section(of));
            assert!(is_key(name) || !wrong, "{page}: `{name}` is no setting");
        }
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        for word in words.filter(|word| word.starts_with("SLUICE_") && !word.ends_with('_')) {
            let of = |key: &&Key| word.starts_with(&format!("{}_", variable(key.section().0)));
            let known = keys.iter().any(|key| key.variable() == word);
            assert!(known || !keys.iter().any(|key| of(&key)), "{page}: {word} is no setting");
        }
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().expect("a first piece");
            taken(block, &[]);
            checked += 1;
        }
    }
    assert!(checked > 0, "no page shows a configuration");
}
