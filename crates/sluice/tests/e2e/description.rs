//! The server against its own description.

use std::path::Path;
use std::process::Command;

/// Thousands of requests that the description allows, and more that it does not: see `scripts/fuzz-api`.
#[test]
fn the_server_keeps_to_its_description() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fuzz-api");
    let asked = Command::new(script).arg(env!("CARGO_BIN_EXE_sluice")).output().expect("bash");
    let said = [asked.stdout, asked.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(asked.status.success(), "{}", said.concat());
    assert!(said[0].contains("operations were answered with 2xx"), "{}", said.concat());
}
