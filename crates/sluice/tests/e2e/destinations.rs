//! Destinations over HTTP and at the command line, and canaries in all their secrets.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::helper::{Said, Sluice, text};
use crate::s3::Bucket;
use crate::server::{Answer, Server};

/// A secret that must be found nowhere.
const CANARY: &str = "k4n4r13nv0g3l";

/// Where a destination is that nobody delivers to.
const PLACE: &str = "s3://sluice-test/in";

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
    let folder = json!({ "name": "folder", "url": format!("{out}/a/../b/") });
    assert_eq!(server.post("/v1/destinations", &folder).ok(201)["url"], format!("{out}/b"));
    delete(&server, "folder", &[]).ok(204);
    let secrets = json!({ "access_key_id": "a", "secret_access_key": "s", "session_token": "t", "never": null });
    let settings = json!({ "region": "eu" });
    let new = json!({ "name": "partner", "url": format!("{PLACE}/"), "settings": settings, "secrets": secrets });
    let made = server.post("/v1/destinations", &new);
    let body = made.ok(201);
    assert_eq!(body["secrets"], json!(["access_key_id", "secret_access_key", "session_token"]));
    assert_eq!((&body["url"], &body["version"]), (&json!(PLACE), &json!(1)));
    let shown = server.get("/v1/destinations/partner");
    assert_eq!((shown.ok(200), &shown.etag), (body.clone(), &made.etag));
    assert!(shown.etag.starts_with('"') && shown.etag.len() > 30, "{}", shown.etag);
    let listed = server.get("/v1/destinations").ok(200);
    assert_eq!(listed, json!({ "items": [body], "next": null }));
    server.post("/v1/destinations", &new).problem(409, "conflict", &["`partner` exists"]);
    // What is not built on the present state changes nothing.
    let change =
        json!({ "url": PLACE, "secrets": { "session_token": null, "access_key_id": "k" } });
    put(&server, "partner", "", &change).problem(428, "invalid", &["If-Match"]);
    for tag in ["\"x\"", &format!("W/{}", made.etag)] {
        put(&server, "partner", tag, &change).problem(412, "conflict", &["read it again"]);
    }
    put(&server, "none", "*", &change).problem(404, "not_found", &["`none`"]);
    assert_eq!(server.get("/v1/destinations/partner").ok(200), shown.json());
    let changed = put(&server, "partner", &made.etag, &change);
    let body = changed.ok(200);
    let left = json!(["access_key_id", "secret_access_key"]);
    assert_eq!((&body["secrets"], &body["settings"]), (&left, &json!({})));
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

/// Fields that the kind does not have, that are in the wrong place, or that miss, are named; what they hold is not.
#[test]
fn fields_are_those_of_the_kind() {
    let (sluice, out) = with_roots();
    let server = Server::start(&sluice);
    let key = json!({ "access_key_id": CANARY, "secret_access_key": CANARY });
    let with = |settings: Value, more: Value| {
        let mut secrets = key.clone();
        secrets.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("one"));
        json!({ "name": "a", "url": PLACE, "settings": settings, "secrets": secrets })
    };
    let refused = |body: &Value, (status, code): (u16, &str), field: &str, words: &[&str]| {
        let answer = server.post("/v1/destinations", body);
        assert_eq!(answer.problem(status, code, words)["field"], field, "{answer:?}");
        assert!(!answer.text.contains(CANARY), "{answer:?}");
    };
    let wrong = (400, "invalid");
    let unknown = with(json!({ "regoin": CANARY }), json!({}));
    refused(&unknown, wrong, "settings", &["`regoin`", "did you mean `region`?"]);
    let unknown = with(json!({}), json!({ "session_tokn": CANARY }));
    refused(&unknown, wrong, "secrets", &["did you mean `session_token`?"]);
    // A name that is near to none may be a secret.
    let swapped = with(json!({}), json!({ CANARY: "session_token" }));
    refused(&swapped, wrong, "secrets", &["they have `region`"]);
    let shown = with(json!({ "session_token": CANARY }), json!({}));
    refused(&shown, wrong, "settings", &["`session_token`", "belongs to the secrets"]);
    let hidden = with(json!({}), json!({ "endpoint": CANARY }));
    refused(&hidden, wrong, "secrets", &["`endpoint`", "belongs to the settings"]);
    let half = json!({ "name": "a", "url": PLACE, "secrets": { "access_key_id": CANARY } });
    refused(&half, wrong, "secrets", &["`secret_access_key` among its secrets"]);
    let folder = json!({ "name": "a", "url": out, "secrets": { "session_token": CANARY } });
    refused(&folder, wrong, "secrets", &["they have none"]);
    for (endpoint, code) in [("localhost", wrong), ("http://10.1.2.3:9", (403, "forbidden"))] {
        let words = if code == wrong { "`endpoint`" } else { "`egress.allow`" };
        refused(&with(json!({ "endpoint": endpoint }), json!({})), code, "settings", &[words]);
    }
    assert_eq!(server.get("/v1/destinations").ok(200)["items"], json!([]));
    // Nor by a change.
    let made = server.post("/v1/destinations", &with(json!({}), json!({})));
    made.ok(201);
    let change = json!({ "url": PLACE, "secrets": { "access_key_id": null } });
    put(&server, "a", &made.etag, &change).problem(400, "invalid", &["`access_key_id`"]);
    put(&server, "a", &made.etag, &json!({ "url": out })).problem(400, "invalid", &["have none"]);
    assert_eq!(server.get("/v1/destinations/a").ok(200), made.json());
}

#[test]
fn destinations_at_the_command_line() {
    let sluice = Sluice::new();
    let key = format!("session_token={}", sluice.file("key.pem", format!("{CANARY}-file\n")));
    let create = ["destination", "create", "partner", "--url", PLACE, "--set", "region=eu"];
    let typed = ["--secret", "access_key_id", "--secret", "secret_access_key"];
    let args = [&create[..], &typed, &["--secret-file", &key]].concat();
    let short = fed(&sluice, &args, "only one line\n");
    let words = "no line for the secret `secret_access_key`";
    assert!(short.stderr.contains(words), "{}", short.stderr);
    // Wrong names are found before anything is read.
    let endpoint = ["--set", "endpoint=http://127.0.0.1:9"];
    let misspelt = [&create[..], &typed, &["--secret", "sesion_token"]].concat();
    sluice.fails(&misspelt, 2, &["did you mean `session_token`?"]);
    sluice.fails(&[&create[..], &["--secret-env", "access_key_id=X"]].concat(), 2, &["needs"]);
    sluice.fails(&[&args[..], &["--set", "session_token=x"]].concat(), 2, &["to the secrets"]);
    assert_eq!(sluice.json(&["destination", "list"]), json!([]));
    assert!(!sluice.path("sluice-data/secrets.key").exists());
    // The operator may name any address.
    let args = [&args[..], &endpoint].concat();
    let made = fed(&sluice, &args, &format!("{CANARY}-1\n{CANARY}-2\n"));
    assert_eq!((made.code, &*made.stderr), (0, ""));
    let shown = sluice.json(&["destination", "show", "partner"]);
    let all = ["access_key_id", "secret_access_key", "session_token"];
    assert_eq!(shown["secrets"], json!(all));
    assert_eq!(sluice.json(&["destination", "list"]), json!([shown]));
    let table = sluice.ok(&["destination", "show", "partner"]);
    assert!(table.contains("(secret, set)") && table.contains("region"), "{table}");
    let opened = |ends: [&str; 3]| {
        let opened = crate::secrets::opened(&sluice, "partner");
        let want = all.into_iter().zip(ends);
        let want = want.map(|(name, end)| (name.to_owned(), format!("{CANARY}-{end}")));
        assert_eq!(opened, want.collect::<Vec<_>>());
    };
    opened(["1", "2", "file"]);
    let again = fed(&sluice, &args, "1\n2\n");
    assert!(again.stderr.contains("`partner` exists already"), "{}", again.stderr);
    let update = ["destination", "update", "partner"];
    let variable = ["--secret-env", "session_token=PLACE_SECRET"];
    assert_eq!(fed(&sluice, &[&update[..], &variable].concat(), "").code, 0);
    opened(["1", "2", "env"]);
    let unset = ["--unset", "session_token", "--unset", "region", "--set", "path_style=true"];
    let unset = [&update[..], &unset].concat();
    sluice.ok(&unset);
    sluice.fails(&unset, 2, &["no such setting or secret"]);
    sluice.fails(&[&update[..], &["--unset", "access_key_id"]].concat(), 2, &["`access_key_id`"]);
    let shown = sluice.json(&["destination", "show", "partner"]);
    assert_eq!((&shown["secrets"], &shown["version"]), (&json!(all[..2]), &json!(3)));
    let settings = json!({ "endpoint": "http://127.0.0.1:9", "path_style": "true" });
    assert_eq!(shown["settings"], settings);
    sluice.fails(&["destination", "show", "none"], 2, &["no destination `none`"]);
    sluice.fails(&[&update[..], &["--url", "sluice-data/lake"]].concat(), 2, &["another folder"]);
    sluice.fails(
        &[&update[..], &["--set", "access_key_id=x"]].concat(),
        2,
        &["`access_key_id` is a setting and a secret"],
    );
    sluice.ok(&["destination", "delete", "partner"]);
    sluice.fails(&["destination", "delete", "partner"], 2, &["no destination `partner`"]);
    let audit = sluice.ok(&["audit"]);
    for action in ["destination.create", "destination.update", "destination.delete"] {
        assert!(audit.contains(action), "{audit}");
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path, each: &mut impl FnMut(&Path, Vec<u8>)) {
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
fn wrong_bodies() -> Vec<String> {
    let key = json!({ "access_key_id": CANARY, "secret_access_key": CANARY });
    let body = |url: Value, secrets: &Value| json!({ "name": "w", "url": url, "secrets": secrets });
    let with = |secrets: Value| body(json!(PLACE), &secrets).to_string();
    let mut all = vec![
        with(json!(CANARY)),
        with(json!([CANARY])),
        with(json!({ "access_key_id": [CANARY] })),
        with(json!({ "access_key_id": { "b": CANARY } })),
        with(json!({ (CANARY.to_uppercase()): CANARY })),
        with(json!({ CANARY: CANARY })),
        with(json!({ "access_key_id": CANARY.repeat(2000) })),
        with(json!({ "access_key_id": CANARY, "no_such": CANARY })),
        json!({ "name": "w", "url": PLACE, "settings": CANARY, "secrets": {} }).to_string(),
        json!({ "name": "w", "url": PLACE, "settings": { "secret_access_key": CANARY } }).to_string(),
        json!({ "name": "w", "url": PLACE, "settings": { "endpoint": format!("http://a:{CANARY}@b") } })
            .to_string(),
        body(json!(1), &key).to_string(),
        body(json!(format!("s3://a:{CANARY}@b")), &key).to_string(),
        body(json!(format!("https://a/b?sig={CANARY}")), &key).to_string(),
        json!({ "name": "partner", "url": PLACE, "secrets": key }).to_string(),
        body(json!("file:///etc"), &key).to_string(),
        json!({ "secrets": key }).to_string(),
        json!(CANARY).to_string(),
    ];
    let whole = with(key);
    all.extend([&whole[..whole.len() - 3], &format!("{whole}{CANARY}")].map(str::to_owned));
    all
}

#[test]
fn a_canary_in_a_secret_is_found_nowhere() {
    let sluice = Sluice::new();
    let log = sluice.path("log");
    let file = std::fs::File::create(&log).expect("made");
    let server = Server::start_with(&sluice, |command| {
        command.env("SLUICE_LOG", "debug").stderr(file);
    });
    let mut said = Vec::new();
    let key = json!({ "access_key_id": CANARY, "secret_access_key": CANARY });
    let new = json!({ "name": "partner", "url": PLACE, "secrets": key });
    let made = server.post("/v1/destinations", &new);
    made.ok(201);
    let secrets = json!({ "secret_access_key": format!("{CANARY}2"), "session_token": CANARY });
    let change = json!({ "url": PLACE, "secrets": secrets });
    said.push(put(&server, "partner", "", &change).text);
    let changed = put(&server, "partner", &made.etag, &change);
    changed.ok(200);
    said.push(put(&server, "partner", &made.etag, &change).text);
    for body in wrong_bodies() {
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
    let create = ["destination", "create", "shell", "--url", PLACE];
    let key = ["--secret", "access_key_id", "--secret", "secret_access_key"];
    let create = [&create[..], &key].concat();
    let update = ["destination", "update", "shell", "--secret-env", "session_token=PLACE_SECRET"];
    let rotate = ["secrets", "rotate"];
    let (show, list) = (["destination", "show", "partner"], ["destination", "list"]);
    let runs: [&[&str]; 7] = [&create, &create, &update, &rotate, &show, &list, &["audit"]];
    for args in runs.into_iter().flat_map(|args| [args.to_vec(), [&["--json"], args].concat()]) {
        let ran = fed(&sluice, &args, &format!("{CANARY}\n{CANARY}\n"));
        said.extend([ran.stdout, ran.stderr]);
    }
    let opened = crate::secrets::opened(&sluice, "partner");
    let changed = format!("{CANARY}2");
    let want =
        [("access_key_id", CANARY), ("secret_access_key", &changed), ("session_token", CANARY)];
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

#[test]
fn a_destination_is_tried_out_step_by_step() {
    let (sluice, out) = with_roots();
    let bucket = Bucket::new();
    let settings = std::fs::read_to_string(sluice.path("sluice-data/sluice.toml")).expect("there");
    sluice.configure(&format!("{settings}[egress]\nallow = [\"127.0.0.0/8\"]\n"));
    let server = Server::start(&sluice);
    let steps = |report: &Value| {
        let steps = report["steps"].as_array().expect("a list").iter();
        let word = |step: &Value, name: &str| step[name].as_str().expect("text").to_owned();
        steps.map(|step| (word(step, "step"), word(step, "state"))).collect::<Vec<_>>()
    };
    let failed = |report: &Value| {
        let red = steps(report).into_iter().filter(|(_, state)| state == "failed");
        red.map(|(step, _)| step).collect::<Vec<_>>()
    };
    let test = |name: &str| {
        let path = format!("/v1/destinations/{name}/test");
        server.send("POST", &path, (&server.admin, &[]), b"")
    };
    let folder = json!({ "name": "folder", "url": format!("{out}/in") });
    server.post("/v1/destinations", &folder).ok(201);
    let report = test("folder").ok(200);
    assert_eq!((&report["ok"], steps(&report).len()), (&json!(true), 6), "{report}");
    test("none").problem(404, "not_found", &["`none`"]);
    let make = |name: &str, secret: &str| {
        let endpoint = format!("endpoint={}", bucket.endpoint());
        let url = bucket.url();
        let args = ["destination", "create", name, "--url", &url, "--set", &endpoint];
        let secrets = ["--secret", "access_key_id", "--secret", "secret_access_key"];
        let key = bucket.settings.access_key_id.reveal();
        let said = fed(&sluice, &[&args[..], &secrets].concat(), &format!("{key}\n{secret}\n"));
        assert_eq!(said.code, 0, "{}", said.stderr);
    };
    make("bucket", bucket.settings.secret_access_key.reveal());
    let report = sluice.json(&["destination", "test", "bucket"]);
    assert_eq!((&report["ok"], steps(&report).len()), (&json!(true), 10), "{report}");
    make("shut", CANARY);
    let said = sluice.run(&["--json", "destination", "test", "shut"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stderr.contains("authenticate failed"), "{}", said.stderr);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(failed(&report), ["authenticate"]);
    let red = report["steps"].as_array().expect("a list").iter();
    let red = red.clone().find(|step| step["state"] == "failed").expect("one");
    assert_eq!(red["remedy"], "check `secret_access_key`");
    assert!(!said.stdout.contains(CANARY) && !said.stderr.contains(CANARY));
    assert_eq!(test("bucket").ok(200)["ok"], true);
    sluice.configure(&settings);
    sluice.fails(&["destination", "test", "bucket"], 2, &["egress.allow"]);
    let weak = json!({ "principal": "admin", "scopes": ["export:run"] });
    let token = server.post("/v1/tokens", &weak).ok(201)["text"].as_str().expect("text").to_owned();
    let path = "/v1/destinations/folder/test";
    server.send("POST", path, (&token, &[]), b"").problem(403, "forbidden", &["admin"]);
}
