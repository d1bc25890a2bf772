//! Organizations, workspaces, principals and tokens at the command line.

use crate::helper::{Sluice, numbers};
use crate::server::Server;

#[test]
fn workspaces_have_their_own_datasets() {
    let sluice = Sluice::new();
    let file = sluice.file("a.jsonl", numbers(0, 3));
    sluice.ok(&["import", "d", &file]);
    sluice.ok(&["workspace", "create", "shop"]);
    sluice.ok(&["--workspace", "shop", "import", "d", &file, "--key", "k"]);
    sluice.ok(&["--workspace", "shop", "import", "other", &file]);
    let count = |workspace: &str| {
        let sql =
            ["--workspace", workspace, "sql", "SELECT count(*) AS n FROM d", "--format", "jsonl"];
        sluice.ok(&sql)
    };
    assert_eq!((count("default"), count("shop")), ("{\"n\":3}".into(), "{\"n\":3}".into()));
    sluice.fails(&["commits", "other"], 2, &["no dataset `other`"]);
    sluice.fails(&["--workspace", "shoop", "dataset", "list"], 2, &["no workspace `shoop`"]);
    sluice.fails(&["workspace", "create", "shop"], 2, &["`shop` exists already"]);
    sluice.fails(&["workspace", "create", "a b"], 2, &["a workspace", "a b"]);
    sluice.ok(&["organization", "create", "acme"]);
    let acme = |args: &[&str]| sluice.json(&[&["--organization", "acme"], args].concat());
    assert_eq!(acme(&["workspace", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(acme(&["dataset", "list"]), serde_json::json!([]));
    sluice.fails(
        &["--organization", "acme", "--workspace", "shop", "dataset", "list"],
        2,
        &["no workspace `shop`"],
    );
}

#[test]
fn tokens_are_shown_once_and_changes_are_logged() {
    let sluice = Sluice::new();
    sluice.ok(&["principal", "create", "nightly"]);
    let create =
        ["token", "create", "--principal", "nightly", "--scope", "data:read", "--days", "30"];
    let token = sluice.ok(&create);
    assert!(token.starts_with("slt_") && token.len() == 68, "{token}");
    let listed = sluice.json(&["token", "list"]);
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(listed[0]["scopes"], serde_json::json!(["data:read"]));
    assert!(!listed.to_string().contains(&token[4..]), "no secret is listed");
    sluice.ok(&["token", "revoke", &id]);
    assert!(sluice.json(&["token", "list"])[0]["revoked_at"].is_string());
    sluice.ok(&["principal", "disable", "nightly"]);
    sluice.fails(&create, 2, &["`nightly` is disabled"]);
    sluice.fails(
        &["token", "create", "--principal", "x", "--scope", "root"],
        2,
        &["data:read, export:run"],
    );
    sluice.fails(&["token", "revoke", "tk_1"], 2, &["no token `tk_1`"]);
    sluice.ok(&["dataset", "create", "orders"]);
    let entries = |args: &[&str]| -> Vec<String> {
        let all = sluice.json(args);
        let entry = |entry: &serde_json::Value| {
            [&entry["action"], &entry["target"], &entry["outcome"]]
                .map(|text| text.as_str().unwrap_or("-"))
                .join(" ")
        };
        all.as_array().expect("a list").iter().map(entry).collect()
    };
    assert_eq!(entries(&["audit"]), ["dataset.create orders done"]);
    let changes = entries(&["audit", "--of-organization"]);
    let revoked = format!("token.revoke {id} done");
    assert_eq!(
        changes[..4],
        [
            "principal.create nightly done",
            "token.create nightly done",
            &revoked,
            "principal.disable nightly done"
        ]
    );
    assert_eq!(changes[4..], ["token.create nightly failed", "token.revoke tk_1 failed"]);
}

#[test]
fn a_token_revoked_beside_the_server_opens_nothing_soon() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    sluice.ok(&["principal", "create", "nightly"]);
    let token = sluice.ok(&["token", "create", "--principal", "nightly", "--scope", "data:read"]);
    let status = || server.send("GET", "/v1/datasets", (&token, &[]), b"").status;
    assert_eq!([status(), status()], [200, 200]);
    let tokens = sluice.json(&["token", "list"]);
    let all = tokens.as_array().expect("tokens");
    let id = all.iter().find(|one| one["scopes"][0] == "data:read").expect("there")["id"].clone();
    sluice.ok(&["token", "revoke", id.as_str().expect("an id")]);
    // It looks again after a moment.
    while status() != 401 {}
}
