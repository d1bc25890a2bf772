//! Destinations over HTTP and at the command line, and canaries in all their secrets.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::helper::{Said, Sluice, text};
use crate::server::{Answer, Server};

/// A secret that must be found nowhere.
const CANARY: &str = "k4n4r13nv0g3l";

/// A server that lets tenants have folders below `out`.
fn with_roots() -> (Sluice, String) {
    let sluice = Sluice::new();
    let out = text(&sluice.path("out"));
    std::fs::create_dir(&out).expect("made");
    sluice.configure(&format!("[export]\nroots = [\"{out}\"]\n"));
    let out = std::fs::canonicalize(out).expect("there");
    (sluice, format!("file://{}", out.display()))
}

/// Runs a command that reads `stdin`.
fn fed(sluice: &Sluice, args: &[&str], stdin: &str) -> Said {
    let mut command = sluice.command(args);
    command.env("PLACE_SECRET", format!("{CANARY}-env"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // It may end without reading.
    drop(child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()));
    Said::from(child.wait_with_output().expect("it ends"))
}

fn put(server: &Server, name: &str, etag: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", etag)];
    let headers = if etag.is_empty() { &headers[..1] } else { &headers[..] };
    let path = format!("/v1/destinations/{name}");
    server.send("PUT", &path, (&server.admin, headers), body.to_string().as_bytes())
}

fn delete(server: &Server, name: &str, headers: &[(&str, &str)]) -> Answer {
    server.send("DELETE", &format!("/v1/destinations/{name}"), (&server.admin, headers), b"")
}

#[test]
fn a_destination_is_made_read_changed_and_deleted() {
    let (sluice, out) = with_roots();
    let server = Server::start(&sluice);
    let new = json!({ "name": "partner", "url": format!("{out}/a/../b/"), "settings": { "region": "eu" },
        "secrets": { "token": "t", "password": "p", "never": null } });
    let made = server.post("/v1/destinations", &new);
    let body = made.ok(201);
    assert_eq!(body["secrets"], json!(["password", "token"]));
    assert_eq!((&body["url"], &body["version"]), (&json!(format!("{out}/b")), &json!(1)));
    let shown = server.get("/v1/destinations/partner");
    assert_eq!((shown.ok(200), &shown.etag), (body.clone(), &made.etag));
    assert!(shown.etag.starts_with('"') && shown.etag.len() > 30, "{}", shown.etag);
    let listed = server.get("/v1/destinations").ok(200);
    assert_eq!(listed, json!({ "items": [body], "next": null }));
    server.post("/v1/destinations", &new).problem(409, "conflict", &["`partner` exists"]);
    // What is not built on the present state changes nothing.
    let change = json!({ "url": out, "secrets": { "token": null, "key": "k" } });
    put(&server, "partner", "", &change).problem(428, "invalid", &["If-Match"]);
    for tag in ["\"x\"", &format!("W/{}", made.etag)] {
        put(&server, "partner", tag, &change).problem(412, "conflict", &["read it again"]);
    }
    put(&server, "none", "*", &change).problem(404, "not_found", &["`none`"]);
    assert_eq!(server.get("/v1/destinations/partner").ok(200), shown.json());
    let changed = put(&server, "partner", &made.etag, &change);
    let body = changed.ok(200);
    assert_eq!((&body["secrets"], &body["settings"]), (&json!(["key", "password"]), &json!({})));
    assert_eq!((&body["version"], &body["id"]), (&json!(2), &made.json()["id"]));
    assert_ne!(changed.etag, made.etag);
    put(&server, "partner", &made.etag, &change).problem(412, "conflict", &[]);
    let outdated = [("if-match", &*made.etag)];
    delete(&server, "partner", &outdated).problem(412, "conflict", &[]);
    delete(&server, "partner", &[("if-match", &*changed.etag)]).ok(204);
    delete(&server, "partner", &[]).problem(404, "not_found", &["`partner`"]);
    // Another of the same name is another one.
    let again = server.post("/v1/destinations", &new);
    assert_ne!(again.etag, made.etag);
    put(&server, "partner", &made.etag, &change).problem(412, "conflict", &[]);
    delete(&server, "partner", &[]).ok(204);
    let audit = server.get("/v1/audit").ok(200);
    let actions: Vec<&Value> =
        audit["items"].as_array().expect("items").iter().map(|one| &one["action"]).collect();
    assert!(actions.contains(&&json!("destination.update")), "in the workspace's log: {actions:?}");
}

#[test]
fn a_destination_that_cannot_be_is_refused() {
    let (sluice, out) = with_roots();
    std::os::unix::fs::symlink("/", sluice.path("out/link")).expect("linked");
    let server = Server::start(&sluice);
    let create = |body: Value| server.post("/v1/destinations", &body);
    let at = |url: &str| create(json!({ "name": "a", "url": url }));
    for url in ["file:///tmp", "file:///", &format!("{out}/link/x"), &format!("{out}/../x")] {
        at(url).problem(403, "forbidden", &["export.roots"]);
    }
    at("out").problem(400, "invalid", &["no URL"]);
    at("gopher://x").problem(400, "invalid", &["`gopher`"]);
    at("s3://key:pw@bucket").problem(400, "invalid", &["give what is secret as secrets"]);
    create(json!({ "name": "../a", "url": out })).problem(400, "invalid", &["`../a`"]);
    create(json!({ "name": "a" })).problem(400, "invalid", &["missing field `url`"]);
    let field = |settings: Value, secrets: Value, words: &[&str]| {
        let body = json!({ "name": "a", "url": out, "settings": settings, "secrets": secrets });
        create(body).problem(400, "invalid", words);
    };
    field(json!({ "A b": "x" }), json!({}), &["a-z, 0-9"]);
    field(json!({ "a": "x" }), json!({ "a": "x" }), &["`a` is a setting and a secret"]);
    field(json!({}), json!({ "a": "" }), &["`a` is empty"]);
    field(json!({}), json!({ "a": "x".repeat(20_000) }), &["`a` has more than 16384 bytes"]);
    field(json!({}), json!({ "a": 1 }), &["not a text"]);
    assert_eq!(server.get("/v1/destinations").ok(200)["items"], json!([]));
    // A token that may run exports reads, and changes nothing.
    create(json!({ "name": "a", "url": out })).ok(201);
    let new = json!({ "principal": "admin", "workspace": "default", "scopes": ["export:run"] });
    let reader = server.post("/v1/tokens", &new).ok(201)["text"].as_str().expect("text").to_owned();
    let ask = |method, path| server.send(method, path, (&reader, &[]), b"");
    ask("GET", "/v1/destinations/a").ok(200);
    ask("DELETE", "/v1/destinations/a").problem(403, "forbidden", &["`admin`"]);
}

#[test]
fn destinations_at_the_command_line() {
    let sluice = Sluice::new();
    let key = format!("key={}", sluice.file("key.pem", format!("{CANARY}-file\n")));
    let create = ["destination", "create", "partner", "--url", "out", "--set", "region=eu"];
    let secrets = [
        &["--secret", "first", "--secret", "second", "--secret-env", "third=PLACE_SECRET"][..],
        &["--secret-file", &key],
    ]
    .concat();
    let args = [&create[..], &secrets].concat();
    let short = fed(&sluice, &args, "only one line\n");
    assert!(short.stderr.contains("no line for the secret `second`"), "{}", short.stderr);
    assert_eq!(sluice.json(&["destination", "list"]), json!([]));
    assert!(!sluice.path("sluice-data/secrets.key").exists());
    let made = fed(&sluice, &args, &format!("{CANARY}-1\n{CANARY}-2\n"));
    assert_eq!((made.code, &*made.stderr), (0, ""));
    let shown = sluice.json(&["destination", "show", "partner"]);
    assert_eq!(shown["secrets"], json!(["first", "key", "second", "third"]));
    assert_eq!(sluice.json(&["destination", "list"]), json!([shown]));
    let table = sluice.ok(&["destination", "show", "partner"]);
    assert!(table.contains("(secret, set)") && table.contains("region"), "{table}");
    let opened = crate::secrets::opened(&sluice, "partner");
    let want = [("first", "1"), ("key", "file"), ("second", "2"), ("third", "env")];
    let want = want.map(|(name, end)| (name.to_owned(), format!("{CANARY}-{end}")));
    assert_eq!(opened, want);
    sluice.fails(&create, 2, &["`partner` exists already"]);
    let update = ["destination", "update", "partner"];
    let unset = [&update[..], &["--unset", "first", "--unset", "region", "--set", "path=x"]];
    sluice.ok(&unset.concat());
    sluice.fails(&unset.concat(), 2, &["no such setting or secret"]);
    let shown = sluice.json(&["destination", "show", "partner"]);
    assert_eq!(
        (&shown["secrets"], &shown["version"]),
        (&json!(["key", "second", "third"]), &json!(2))
    );
    assert_eq!(shown["settings"], json!({ "path": "x" }));
    sluice.fails(&["destination", "show", "none"], 2, &["no destination `none`"]);
    sluice.fails(&[&update[..], &["--url", "sluice-data/lake"]].concat(), 2, &["another folder"]);
    sluice.fails(
        &[&update[..], &["--set", "key=x"]].concat(),
        2,
        &["`key` is a setting and a secret"],
    );
    sluice.ok(&["destination", "delete", "partner"]);
    sluice.fails(&["destination", "delete", "partner"], 2, &["no destination `partner`"]);
    let audit = sluice.ok(&["audit"]);
    for action in ["destination.create", "destination.update", "destination.delete"] {
        assert!(audit.contains(action), "{audit}");
    }
}

/// Every file below a folder.
fn files(folder: &Path, each: &mut impl FnMut(&Path, Vec<u8>)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, each);
        } else {
            each(&path, std::fs::read(&path).expect("readable"));
        }
    }
}

/// Bodies that are wrong in all ways that could make a message repeat what is in them.
fn wrong_bodies(out: &str) -> Vec<String> {
    let with = |secrets: Value| json!({ "name": "w", "url": out, "secrets": secrets }).to_string();
    let mut all = vec![
        with(json!(CANARY)),
        with(json!([CANARY])),
        with(json!({ "a": [CANARY] })),
        with(json!({ "a": { "b": CANARY } })),
        with(json!({ (CANARY.to_uppercase()): CANARY })),
        with(json!({ "a": CANARY.repeat(2000) })),
        json!({ "name": "w", "url": out, "settings": CANARY, "secrets": {} }).to_string(),
        json!({ "name": "w", "url": 1, "secrets": { "a": CANARY } }).to_string(),
        json!({ "name": "w", "url": format!("s3://a:{CANARY}@b") }).to_string(),
        json!({ "name": "w", "url": format!("https://a/b?sig={CANARY}") }).to_string(),
        json!({ "name": "partner", "url": out, "secrets": { "a": CANARY } }).to_string(),
        json!({ "name": "w", "url": "file:///etc", "secrets": { "a": CANARY } }).to_string(),
        json!({ "secrets": { "a": CANARY } }).to_string(),
        json!(CANARY).to_string(),
    ];
    let whole = with(json!({ "a": CANARY }));
    all.extend([&whole[..whole.len() - 3], &format!("{whole}{CANARY}")].map(str::to_owned));
    all
}

#[test]
fn a_canary_in_a_secret_is_found_nowhere() {
    let (sluice, out) = with_roots();
    let log = sluice.path("log");
    let file = std::fs::File::create(&log).expect("made");
    let server = Server::start_with(&sluice, |command| {
        command.env("SLUICE_LOG", "debug").stderr(file);
    });
    let mut said = Vec::new();
    let new = json!({ "name": "partner", "url": out, "secrets": { "a": CANARY, "b": CANARY } });
    let made = server.post("/v1/destinations", &new);
    made.ok(201);
    let change = json!({ "url": out, "secrets": { "b": format!("{CANARY}2"), "c": CANARY } });
    said.push(put(&server, "partner", "", &change).text);
    let changed = put(&server, "partner", &made.etag, &change);
    changed.ok(200);
    said.push(put(&server, "partner", &made.etag, &change).text);
    for body in wrong_bodies(&out) {
        let json = [("content-type", "application/json"), ("if-match", "*")];
        let text = [("content-type", "text/plain")];
        for (method, path, headers) in [
            ("POST", "/v1/destinations", &json[..]),
            ("POST", "/v1/destinations", &text[..]),
            ("PUT", "/v1/destinations/partner", &json[..]),
        ] {
            let answer = server.send(method, path, (&server.admin, headers), body.as_bytes());
            assert!((400..500).contains(&answer.status), "{method} {body}: {answer:?}");
            said.push(answer.text);
        }
    }
    for path in ["/v1/destinations", "/v1/destinations/partner", "/v1/audit", "/v1/openapi.json"] {
        said.push(server.get(path).text);
    }
    said.extend([made.text, made.etag, changed.text, changed.etag]);
    let create = ["destination", "create", "shell", "--url", "out", "--secret", "s"];
    let update = ["destination", "update", "shell", "--secret-env", "s=PLACE_SECRET"];
    let rotate = ["secrets", "rotate"];
    let (show, list) = (["destination", "show", "partner"], ["destination", "list"]);
    let runs: [&[&str]; 7] = [&create, &create, &update, &rotate, &show, &list, &["audit"]];
    for args in runs.into_iter().flat_map(|args| [args.to_vec(), [&["--json"], args].concat()]) {
        let ran = fed(&sluice, &args, &format!("{CANARY}\n"));
        said.extend([ran.stdout, ran.stderr]);
    }
    let opened = crate::secrets::opened(&sluice, "partner");
    let want = [("a", CANARY), ("b", &format!("{CANARY}2")), ("c", CANARY)];
    assert_eq!(opened, want.map(|(name, text)| (name.to_owned(), text.to_owned())));
    for text in said {
        assert!(!text.to_lowercase().contains(CANARY), "{text}");
    }
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(
        log.contains("DEBUG") && log.contains("/v1/destinations"),
        "it is a log at debug level"
    );
    assert!(!log.to_lowercase().contains(CANARY), "{log}");
    let mut looked = 0;
    files(&sluice.path("sluice-data"), &mut |path, bytes| {
        looked += 1;
        let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    });
    assert!(looked >= 4, "{looked}");
}
