//! Nobody sees what is another's: a walk over every operation of the description.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers};
use crate::server::{Answer, Server};

/// Operations whose name makes a thing of the caller's own if it is not there.
const MAKES: [&str; 1] = ["rows.add"];

/// Operations whose first parameter names no thing but a sort of things: nothing is of that sort for others.
const SORTS: [&str; 1] = ["document.list"];

/// Operations that end what the others need, last.
const ENDS: [&str; 6] = [
    "view.drop",
    "dataset.drop",
    "destination.delete",
    "document.remove",
    "token.revoke",
    "principal.disable",
];

/// Where a destination is that nobody delivers to.
const PLACE: &str = "s3://sluice-test/nowhere";

struct Operation {
    method: String,
    path: String,
    id: String,
    params: Vec<String>,
    has_body: bool,
}

fn operations(description: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, one) in methods.as_object().expect("methods") {
            let params = one["parameters"].as_array().into_iter().flatten();
            let params = params.filter(|one| one["in"] == "path");
            let params = params.map(|one| one["name"].as_str().expect("a name").to_owned());
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                id: one["operationId"].as_str().expect("an id").to_owned(),
                params: params.collect(),
                has_body: one.get("requestBody").is_some(),
            });
        }
    }
    all.sort_by_key(|one| ENDS.iter().position(|id| *id == one.id).map_or(0, |at| at + 1));
    all
}

/// A body that the operation takes; what it makes is named by `n`.
fn body(id: &str, n: u32) -> Vec<u8> {
    let body = match id {
        "rows.add" | "batch.upload" => return numbers(0, 2).into_bytes(),
        "batch.create" => json!({ "dataset": format!("sent{n}") }),
        "dataset.create" | "workspace.create" | "principal.create" => {
            json!({ "name": format!("made{n}") })
        }
        "view.create" => json!({ "name": format!("view{n}"), "sql": "SELECT 1 AS one" }),
        "document.write" => json!({ "n": n }),
        "dataset.update" => json!({ "keep_days": 7 }),
        "destination.create" => place(&format!("place{n}")),
        "destination.update" => {
            json!({ "url": PLACE, "secrets": { "secret_access_key": "new" } })
        }
        "export.save" => json!({ "export": { "sql": "SELECT 1 AS one" }, "restart": true,
            "schedule": { "mode": { "kind": "full" } } }),
        "group.save" => json!({ "datasets": ["ledgers"], "restart": true }),
        "run.create" | "export.plan" | "sql.query" => json!({ "sql": "SELECT 1 AS one" }),
        "export.backfill" => json!({}),
        "link.create" => json!({ "expires_in": 60 }),
        "token.create" => json!({ "principal": "admin", "scopes": ["data:read"] }),
        // Hours of a dialect.
        other if other.ends_with(".rebuild") => json!({ "from": "2010120100" }),
        other => panic!("`{other}` takes a body: give it one here"),
    };
    body.to_string().into_bytes()
}

/// A destination to be made.
fn place(name: &str) -> Value {
    let secrets = json!({ "access_key_id": "canary", "secret_access_key": "canary" });
    json!({ "name": name, "url": PLACE, "secrets": secrets })
}

/// The value of a parameter: one of the operation's own, or the one of its name.
fn param<'a>(params: &'a BTreeMap<&str, String>, one: &Operation, name: &str) -> &'a str {
    let special = params.get(&*format!("{name} of {}", one.id));
    special.or_else(|| params.get(name)).unwrap_or_else(|| panic!("`{name}` needs a fixture"))
}

fn send(
    server: &Server,
    one: &Operation,
    params: &BTreeMap<&str, String>,
    (token, n): (&str, u32),
) -> Answer {
    let mut path = one.path.clone();
    for name in &one.params {
        let value = param(params, one, name);
        path = path.replace(&format!("{{{name}}}"), value);
    }
    let kind = if one.id == "rows.add" { "application/x-ndjson" } else { "application/json" };
    let body = if one.has_body { body(&one.id, n) } else { Vec::new() };
    let headers = [("content-type", kind), ("if-match", "*")];
    server.send(&one.method, &path, (token, &headers), &body)
}

/// An answer without what differs between two requests.
fn bare(answer: &Answer, one: &Operation, params: &BTreeMap<&str, String>) -> (u16, String) {
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    let values = one.params.iter().map(|name| param(params, one, name));
    let text = values.fold(body.to_string(), |text, value| text.replace(value, "…"));
    (answer.status, text)
}

/// A token for everything in an organization of its own.
fn token(sluice: &Sluice, organization: &str) -> String {
    let at = ["--organization", organization];
    sluice.ok(&["organization", "create", organization]);
    sluice.ok(&[&at[..], &["principal", "create", "admin"]].concat());
    let create = ["token", "create", "--principal", "admin", "--scope", "admin", "--everywhere"];
    sluice.ok(&[&at[..], &create].concat())
}

/// One of everything, and what each parameter is for it.
fn fixtures(server: &Server, token: &str) -> BTreeMap<&'static str, String> {
    let make = |path: &str, body: Value| {
        let json = [("content-type", "application/json")];
        server.send("POST", path, (token, &json), body.to_string().as_bytes()).ok(201)
    };
    let lines = [("content-type", "application/x-ndjson")];
    let rows = numbers(0, 3);
    let added =
        server.send("POST", "/v1/datasets/ledgers/rows", (token, &lines), rows.as_bytes()).ok(200);
    make("/v1/views", json!({ "name": "totals", "sql": "SELECT n FROM ledgers" }));
    make("/v1/destinations", place("partner"));
    let new = [("content-type", "application/json"), ("if-none-match", "*")];
    server.send("PUT", "/v1/documents/policies/newest-wins", (token, &new), b"{}").ok(201);
    let principal = make("/v1/principals", json!({ "name": "extra" }));
    let extra = make("/v1/tokens", json!({ "principal": "extra", "scopes": ["data:read"] }));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let ended = |body: Value, state: &str| {
        let run = text(&make("/v1/runs", body)["id"]);
        let path = format!("/v1/runs/{run}?wait=60");
        assert_eq!(server.send("GET", &path, (token, &[]), b"").ok(200)["state"], state);
        run
    };
    let open = || {
        let batch = text(&make("/v1/batches", json!({ "dataset": "parcels" }))["id"]);
        let path = format!("/v1/batches/{batch}/files/first.jsonl");
        server.send("PUT", &path, (token, &[]), numbers(0, 2).as_bytes()).ok(201);
        batch
    };
    let sql = "SELECT sum(n) / (sum(n) - sum(n)) AS x FROM ledgers";
    let group = json!({ "datasets": ["ledgers"] }).to_string();
    server.send("PUT", "/v1/groups/books", (token, &new), group.as_bytes()).ok(201);
    let late = json!({ "export": { "dataset": "ledgers" }, "begin": "now" }).to_string();
    server.send("PUT", "/v1/exports/late", (token, &new), late.as_bytes()).ok(201);
    let spare = json!({ "export": { "dataset": "ledgers" } }).to_string();
    server.send("PUT", "/v1/exports/spare", (token, &new), spare.as_bytes()).ok(201);
    server.send("PUT", "/v1/groups/spares", (token, &new), group.as_bytes()).ok(201);
    let run = ended(json!({ "dataset": "ledgers", "export": "weekly" }), "sealed");
    let link = text(&make(&format!("/v1/runs/{run}/links"), json!({}))["id"]);
    BTreeMap::from([
        ("export", "weekly".to_owned()),
        ("link", link),
        ("group", "books".to_owned()),
        ("number", "1".to_owned()),
        // One that may be cancelled again.
        ("export of export.backfill", "late".to_owned()),
        ("export of export.delete", "spare".to_owned()),
        ("group of group.delete", "spares".to_owned()),
        ("run of run.cancel", ended(json!({ "sql": sql }), "failed")),
        ("run", run),
        ("dataset", "ledgers".to_owned()),
        ("view", "totals".to_owned()),
        ("destination", "partner".to_owned()),
        ("kind", "policies".to_owned()),
        ("document", "newest-wins".to_owned()),
        ("batch", text(&added["batch"])),
        ("batch of batch.upload", open()),
        ("batch of batch.close", open()),
        ("batch of batch.abandon", open()),
        ("file", "second.jsonl".to_owned()),
        ("principal", text(&principal["id"])),
        ("token", text(&extra["id"])),
    ])
}

#[test]
fn every_route_keeps_tenants_apart() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let description = server.send("GET", "/v1/openapi.json", ("", &[]), b"").ok(200);
    assert_eq!(description["openapi"], "3.1.0");
    let (ours, theirs) = (token(&sluice, "ours"), token(&sluice, "theirs"));
    for organization in ["ours", "theirs"] {
        for kind in server::dialects::KINDS.iter().filter(|kind| kind.enrols) {
            sluice.ok(&["--organization", organization, kind.name, "enable"]);
        }
    }
    let params = fixtures(&server, &ours);
    let never: BTreeMap<&str, String> = params
        .iter()
        .map(|(name, value)| (*name, value.chars().rev().collect::<String>() + "zz"))
        .collect();
    let all = operations(&description);
    assert!(all.len() >= 20, "{}", all.len());
    let (makes, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| MAKES.contains(&&*one.id));
    for one in others.into_iter().chain(makes) {
        let asked = send(&server, one, &params, (&theirs, 1));
        let of_nothing = MAKES.contains(&&*one.id) || SORTS.contains(&&*one.id);
        if one.params.is_empty() || of_nothing {
            assert!((200..300).contains(&asked.status), "{}: {asked:?}", one.id);
            for value in params.values().filter(|_| !MAKES.contains(&&*one.id)) {
                // Numbers are everywhere.
                assert!(value.len() < 2 || !asked.text.contains(value), "{}: {asked:?}", one.id);
            }
            continue;
        }
        let none = send(&server, one, &never, (&theirs, 1));
        assert_eq!(bare(&asked, one, &params), bare(&none, one, &never), "{}", one.id);
        assert_eq!(asked.status, 404, "{}: {asked:?}", one.id);
    }
    // Theirs had a dataset of the name by the walk: its rows are its own.
    let json = [("content-type", "application/json")];
    let sql = br#"{"sql":"SELECT count(*) AS n FROM ledgers"}"#;
    let count = |token: &str| server.send("POST", "/v1/sql", (token, &json), sql).text;
    assert_eq!(count(&ours), "{\"n\":3}\n");
    for one in &all {
        let asked = send(&server, one, &params, (&ours, 2));
        assert!((200..300).contains(&asked.status), "{}: {asked:?}", one.id);
    }
}

/// A token of one workspace opens no other, whatever it names.
#[test]
fn a_token_of_one_workspace_opens_no_other() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let make = |path: &str, body: Value| server.post(path, &body).ok(201);
    let shop = make("/v1/workspaces", json!({ "name": "shop" }));
    let create = json!({ "principal": "admin", "workspace": "shop", "scopes": ["data:read"] });
    let bound = make("/v1/tokens", create)["text"].as_str().expect("text").to_owned();
    let in_workspace = |name: &str| {
        server.send("GET", "/v1/datasets", (&bound, &[("sluice-workspace", name)]), b"")
    };
    in_workspace("shop").ok(200);
    in_workspace(shop["id"].as_str().expect("text")).ok(200);
    for name in ["default", "nothing"] {
        let answer = in_workspace(name).problem(404, "not_found", &["no workspace"]);
        assert_eq!(answer["detail"], format!("no workspace `{name}`"));
    }
    server.send("GET", "/v1/tokens", (&bound, &[]), b"").problem(403, "forbidden", &["admin"]);
    let lines = [("content-type", "application/x-ndjson")];
    let wrote = server.send("POST", "/v1/datasets/ledgers/rows", (&bound, &lines), b"{}");
    wrote.problem(403, "forbidden", &["data:write"]);
}

#[test]
fn the_first_token_is_told_once() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let file = sluice.path("sluice-data/admin-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    server.get("/v1/workspaces").ok(200);
    let tokens = sluice.json(&["token", "list"]);
    assert_eq!(tokens.as_array().map(Vec::len), Some(1));
    let before = std::fs::read(&file).expect("there");
    server.kill();
    let server = Server::start(&sluice);
    assert_eq!(std::fs::read(&file).expect("there"), before);
    let entries = |outcome: &str| {
        let all = server.get("/v1/audit").ok(200);
        let all = all["items"].as_array().expect("items").clone();
        all.into_iter().filter(|one| one["outcome"] == outcome).count()
    };
    server.post("/v1/datasets", &json!({ "name": "logged" })).ok(201);
    server.post("/v1/datasets", &json!({ "name": "logged" })).problem(409, "conflict", &[]);
    assert_eq!((entries("done"), entries("conflict")), (1, 1));
    let first = server.get("/v1/audit").ok(200)["items"][0].clone();
    assert_eq!((&first["action"], &first["target"]), (&"dataset.create".into(), &"logged".into()));
    // Taken back, it opens nothing.
    let id = tokens[0]["id"].as_str().expect("an id").to_owned();
    server.send("POST", &format!("/v1/tokens/{id}/revoke"), (&server.admin, &[]), b"").ok(200);
    server.get("/v1/workspaces").problem(401, "unauthenticated", &["revoked"]);
}
