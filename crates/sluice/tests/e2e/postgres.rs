//! The same program with its metadata in PostgreSQL.

use std::process::Command;

use serde_json::json;

use crate::helper::{Sluice, rows, text};

/// The settings of a database of its own.
pub(crate) fn database() -> String {
    let server = std::env::var("SLUICE_TEST_POSTGRES")
        .expect("SLUICE_TEST_POSTGRES names a server; run the tests with scripts/test");
    let name = format!("e2e_{}", uuid::Uuid::new_v4().simple());
    let made = Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--dbname", &server])
        .args(["--command", &format!("CREATE DATABASE {name}")])
        .status()
        .expect("psql comes with PostgreSQL");
    assert!(made.success(), "the database is made");
    let (address, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("[database]\nurl = \"{address}/{name}\"\n")
}

/// A data folder whose metadata is in a database of its own.
pub(crate) fn on_postgres() -> Sluice {
    let sluice = Sluice::new();
    sluice.configure(&database());
    sluice
}

#[test]
fn import_export_and_verify_work() {
    let sluice = on_postgres();
    let file = sluice.file("d.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    sluice.ok(&["import", "d", &file, "--key", "k"]);
    sluice.ok(&["import", "d", &file, "--key", "k"]);
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
    let path = sluice.ok(&export);
    assert_eq!(rows(&path), [json!({"n":1}), json!({"n":2})]);
    sluice.ok(&["verify", &sluice.ok(&export), "--chain"]);
    assert!(!sluice.path("sluice-data/meta.sqlite").exists());
    let checks = sluice.json(&["doctor"]);
    let found = checks.to_string();
    assert!(found.contains("PostgreSQL"), "{found}");
}
