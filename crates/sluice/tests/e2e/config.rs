//! Settings as an operator gives them: a file, variables, and the commands that check and show them.

use crate::helper::{Said, Sluice, text};

fn with(sluice: &Sluice, variable: (&str, &str), args: &[&str]) -> Said {
    let output = sluice.command(args).env(variable.0, variable.1).output();
    Said::from(output.expect("the program starts"))
}

#[test]
fn settings_are_checked_and_shown_without_a_data_folder() {
    let sluice = Sluice::new();
    let shipped = sluice.ok(&["config", "default"]);
    let file = sluice.file("own.toml", &shipped);
    let said = sluice.ok(&["config", "check", &file]);
    assert!(said.contains("own.toml: fine"), "{said}");
    assert_eq!(sluice.ok(&["config", "check"]), "no file: fine, 0 settings chosen");
    let shown = sluice.ok(&["config", "show"]);
    assert!(shown.contains("listen = \"127.0.0.1:8080\" # default"), "{shown}");
    let said = with(&sluice, ("SLUICE_WORK_THREADS", "3"), &["--json", "config", "show"]);
    let shown: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(shown["work.threads"]["value"], 3);
    assert_eq!(shown["work.threads"]["from"]["variable"], "SLUICE_WORK_THREADS");
    assert!(!sluice.path("sluice-data").exists());
}

#[test]
fn wrong_settings_are_refused_before_anything_is_made() {
    let sluice = Sluice::new();
    let file = sluice.file("own.toml", "[server]\nlistne = \"127.0.0.1:1\"\n");
    for args in [&["config", "check", &file][..], &["--config", &file, "dataset", "list"]] {
        sluice.fails(args, 2, &["`server.listne`", "own.toml", "did you mean `server.listen`?"]);
    }
    let missing = text(&sluice.path("missing.toml"));
    sluice.fails(&["config", "check", &missing], 2, &["missing.toml"]);
    for (name, value, word) in [
        ("SLUICE_WORK_THREADS", "many", "from 0 to 1024"),
        ("SLUICE_WORK_THRAEDS", "3", "did you mean `SLUICE_WORK_THREADS`?"),
        ("SLUICE_LOG", "a=b=c", "`a=b=c`"),
    ] {
        let said = with(&sluice, (name, value), &["dataset", "list"]);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{name}");
        assert!(said.stderr.contains(name) && said.stderr.contains(word), "{}", said.stderr);
    }
    // What needs no settings works with wrong ones.
    let said = with(&sluice, ("SLUICE_WORK_THREADS", "many"), &["completions", "bash"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(!sluice.path("sluice-data").exists());
}

#[test]
fn the_doctor_says_what_is_wrong_with_the_settings() {
    let sluice = Sluice::new();
    sluice.ok(&["dataset", "list"]);
    sluice.configure("[log]\nformat = \"xml\"\n");
    let said = sluice.run(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("`log.format`"), "{}", said.stdout);
}
