//! The log of a server, as an operator's collector reads it.

use std::fs::File;

use serde_json::Value;

use crate::helper::Sluice;
use crate::server::Server;

/// Starts a server whose log is JSON, asks it something, stops it, and returns the lines and the request's id.
fn logged(settings: &str, filter: Option<&str>) -> (Vec<Value>, String) {
    let sluice = Sluice::new();
    sluice.configure(&format!("[log]\nformat = \"json\"\n{settings}"));
    let mut command = sluice.command(&["serve", "--listen", "127.0.0.1:0"]);
    match filter {
        Some(filter) => command.env("SLUICE_LOG", filter),
        None => command.env_remove("SLUICE_LOG"),
    };
    command.stderr(File::create(sluice.path("log")).expect("made"));
    let server = Server::spawn(&sluice, command);
    let id = server.get("/v1/datasets/none").problem(404, "not_found", &[])["request_id"].clone();
    let admin = server.admin.clone();
    assert!(server.stop());
    let log = std::fs::read_to_string(sluice.path("log")).expect("written");
    assert!(!log.contains(&admin), "a token is in the log");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("one object a line"));
    (lines.collect(), id.as_str().expect("an id").to_owned())
}

#[test]
fn a_server_says_what_it_answered_with_the_id_of_the_request() {
    let (lines, id) = logged("", None);
    let answered = lines.iter().find(|line| line["request.id"] == *id).expect("it was logged");
    assert_eq!((&answered["level"], &answered["status"]), (&"INFO".into(), &404.into()));
    assert_eq!((&answered["message"], &answered["method"]), (&"answered".into(), &"GET".into()));
    for field in ["timestamp", "target"] {
        assert!(answered[field].is_string(), "{field}: {answered}");
    }
}

#[test]
fn what_happens_within_a_request_has_its_id_too() {
    let (lines, id) = logged("", Some("trace"));
    let within = lines.iter().filter(|line| line["span"]["request.id"] == *id);
    assert!(within.count() > 0, "nothing within the request was logged");
}

#[test]
fn the_level_is_a_setting_and_the_variable_wins() {
    assert!(logged("level = \"error\"\n", None).0.is_empty());
    assert!(!logged("level = \"error\"\n", Some("info")).0.is_empty());
}
