//! The keys of secrets: made once, given by whoever runs several nodes, rotated beside a server and under kill -9.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use model::clock::SystemClock;
use model::destination::{NewDestination, Terms};
use model::ports::Places;
use model::{Clock, DestinationId, SecretText, WorkspaceId};
use serde_json::json;
use store::{FixedKeys, KeyRing, Store};

use crate::crash::{NAMES, SYNCS, WRITES, killed_at, kills};
use crate::helper::{Sluice, text};
use crate::postgres::on_postgres;
use crate::server::Server;

/// Where a destination is that nobody delivers to.
const PLACE: &str = "s3://sluice-test/nowhere";

/// The variable that gives keys.
const VARIABLE: &str = "SLUICE_SECRETS_KEY";

fn key_file(sluice: &Sluice) -> String {
    std::fs::read_to_string(sluice.path("sluice-data/secrets.key")).expect("the keys are there")
}

/// Does something with the folder's database and its own keys.
fn with_store<T>(sluice: &Sluice, work: impl AsyncFnOnce(&Store) -> T) -> T {
    let keys = FixedKeys(KeyRing::parse(&key_file(sluice)).expect("keys"));
    let url = format!("sqlite:{}", sluice.path("sluice-data/meta.sqlite").display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&url).await.expect("opened").with_keys(Arc::new(keys));
        let done = work(&store).await;
        store.close().await;
        done
    })
}

/// The secrets of a destination, opened with the folder's own keys as whoever delivers does it.
pub(crate) fn opened(sluice: &Sluice, name: &str) -> Vec<(String, String)> {
    let open = with_store(sluice, async |store| {
        let open = store.open_destination(&WorkspaceId::default_workspace(), name).await;
        open.unwrap_or_else(|e| panic!("{e}"))
    });
    let text = |(name, secret): (String, model::SecretText)| (name, secret.reveal().to_owned());
    open.secrets.into_iter().map(text).collect()
}

/// Makes a destination with two secrets, each read from one file.
fn create(sluice: &Sluice, name: &str) -> Vec<String> {
    let file = sluice.file("secret", format!("secret of {name}"));
    let mut args: Vec<String> =
        ["destination", "create", name, "--url", PLACE].map(str::to_owned).into();
    for secret in ["access_key_id", "secret_access_key"] {
        args.extend(["--secret-file".to_owned(), format!("{secret}={file}")]);
    }
    args
}

/// Destinations with more secrets than any kind has today, as the store takes them.
fn made(sluice: &Sluice, names: &[&str], count: usize) {
    let text = |name: &str| SecretText::new(format!("secret of {name}"));
    let new = |name: &str| NewDestination {
        id: DestinationId::mint(),
        name: name.to_owned(),
        terms: Terms {
            url: PLACE.to_owned(),
            settings: BTreeMap::new(),
            secrets: (0..count).map(|n| (format!("s{n}"), Some(text(name)))).collect(),
        },
    };
    with_store(sluice, async |store| {
        for name in names {
            let (workspace, now) = (WorkspaceId::default_workspace(), SystemClock.now());
            let made = store.create_destination(&workspace, &new(name), now).await;
            made.unwrap_or_else(|e| panic!("{e}"));
        }
    });
}

#[test]
fn the_key_is_made_once_by_whoever_needs_it_first() {
    let sluice = Sluice::new();
    sluice.ok(&["destination", "create", "plain", "--url", "out"]);
    assert!(!sluice.path("sluice-data/secrets.key").exists(), "no secret, no key");
    let makers: Vec<_> = (0..4)
        .map(|n| {
            sluice
                .command(&[])
                .args(create(&sluice, &format!("d{n}")))
                .stdout(Stdio::null())
                .spawn()
        })
        .collect();
    for maker in makers {
        assert!(maker.expect("the program starts").wait().expect("it ended").success());
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(sluice.path("sluice-data/secrets.key")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    for n in 0..4 {
        assert_eq!(opened(&sluice, &format!("d{n}")).len(), 2);
    }
    let before = key_file(&sluice);
    let told = sluice.json(&["secrets", "rotate"]);
    assert_eq!((&told["resealed"], &told["not_needed"]), (&json!(8), &json!([])));
    assert_ne!(key_file(&sluice), before);
    assert_eq!(key_file(&sluice).lines().count(), 1);
    assert_eq!(opened(&sluice, "d3").len(), 2);
    // Without its key a secret is lost; the rest works, and the remedy is named.
    std::fs::remove_file(sluice.path("sluice-data/secrets.key")).expect("removed");
    sluice.ok(&["destination", "list"]);
    let args = create(&sluice, "late");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    sluice.fails(&args, 2, &["which is not there", "secrets rotate"]);
    sluice.fails(&["secrets", "rotate"], 1, &["8 secrets could not be opened", "`d0`", "anew"]);
    for n in 0..4 {
        sluice.ok(&["destination", "delete", &format!("d{n}")]);
    }
    sluice.ok(&["secrets", "rotate"]);
    sluice.ok(&args);
    assert_eq!(opened(&sluice, "late").len(), 2);
}

#[test]
fn a_shared_database_needs_a_key_that_is_given() {
    let sluice = on_postgres();
    let args = create(&sluice, "a");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    sluice.fails(&args, 2, &["key_file", VARIABLE]);
    assert!(!sluice.path("sluice-data/secrets.key").exists());
    let run = |keys: &str, args: &[&str]| {
        let output = sluice.command(args).env(VARIABLE, keys).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
    };
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    let (done, said) = run("short", &args);
    assert!(!done && said.contains("number 1 of the keys in `secrets.key`"), "{said}");
    assert!(run(&old, &args).0);
    // A node with another key keeps nothing, and says why.
    let another = create(&sluice, "b");
    let another: Vec<&str> = another.iter().map(String::as_str).collect();
    let (done, said) = run(&new, &another);
    assert!(!done && said.contains("which is not there"), "{said}");
    let both = format!("{new} {old}");
    assert!(run(&both, &another).0, "until a rotation the old key is used");
    let (done, said) = run(&both, &["secrets", "rotate"]);
    assert!(done && said.contains("4 secrets") && said.contains("not needed any more"), "{said}");
    let (done, said) = run(&new, &["--json", "secrets", "rotate"]);
    assert!(done && said.contains("\"resealed\": 0"), "{said}");
    // The same by a file.
    let file = sluice.file("keys", format!("# newest first\n{new}\n"));
    let settings = std::fs::read_to_string(sluice.path("sluice-data/sluice.toml")).expect("there");
    sluice.configure(&format!("{settings}[secrets]\nkey_file = \"{file}\"\n"));
    sluice.ok(&[
        "destination",
        "update",
        "a",
        "--secret-file",
        &format!("secret_access_key={file}"),
    ]);
    sluice.ok(&["secrets", "rotate"]);
    std::fs::remove_file(&file).expect("removed");
    sluice.fails(&["secrets", "rotate"], 2, &["keys of secrets", &file]);
}

/// A copy of a data folder.
fn copy(from: &Sluice) -> Sluice {
    let to = Sluice::new();
    let copied = Command::new("cp")
        .args(["-a", &text(&from.path("sluice-data")), &text(&to.path("sluice-data"))])
        .status();
    assert!(copied.expect("cp is there").success());
    to
}

/// What begins with `secrets` in the data folder.
fn left(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("secrets"))
        .collect()
}

#[test]
fn a_rotation_killed_anywhere_loses_nothing() {
    let first = Sluice::new();
    let names = ["a", "b", "c", "d", "e"];
    // The first secret makes the key.
    let args = create(&first, "key");
    first.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    first.ok(&["destination", "delete", "key"]);
    // More than one transaction takes.
    made(&first, &names, 30);
    let before = key_file(&first);
    let check = |sluice: &Sluice, at: &str| {
        for name in names {
            let all = opened(sluice, name);
            assert_eq!(all.len(), 30, "killed at {at}");
            let whole = |(_, secret): &(String, String)| *secret == format!("secret of {name}");
            assert!(all.iter().all(whole), "killed at {at}: {all:?}");
        }
    };
    let mut met = std::collections::BTreeSet::new();
    for (calls, step) in [(SYNCS, 1), (NAMES, 1), (WRITES, 5)] {
        for n in (1..).step_by(step).take(kills()) {
            let sluice = copy(&first);
            let killed = killed_at(&sluice, calls, n, &["secrets", "rotate"]);
            let at = format!("{calls} {n}");
            met.insert((killed, key_file(&sluice).lines().count()));
            check(&sluice, &at);
            sluice.ok(&["secrets", "rotate"]);
            check(&sluice, &at);
            let after = key_file(&sluice);
            assert!(after.lines().count() == 1 && after != before, "killed at {at}");
            assert_eq!(left(&sluice.path("sluice-data")), ["secrets.key"], "killed at {at}");
            if !killed {
                break;
            }
        }
    }
    assert!(met.contains(&(true, 2)), "no kill came in the middle: {met:?}");
}

#[test]
fn a_first_secret_killed_anywhere_is_there_or_not() {
    for calls in [SYNCS, NAMES] {
        for n in (1..).take(kills()) {
            let sluice = Sluice::new();
            sluice.ok(&["dataset", "list"]);
            let args = create(&sluice, "a");
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let killed = killed_at(&sluice, calls, n, &args);
            if sluice.json(&["destination", "list"]) == json!([]) {
                sluice.ok(&args);
            }
            let all = opened(&sluice, "a");
            assert!(all.len() == 2 && all.iter().all(|(_, secret)| secret == "secret of a"));
            if !killed {
                break;
            }
        }
    }
}

/// A server that was started before goes on, and what it keeps during rotations opens after them.
#[test]
fn a_server_notices_that_keys_were_rotated() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let body = |secret: &str| json!({ "url": PLACE, "secrets": { "secret_access_key": secret } });
    let secrets = json!({ "access_key_id": "id", "secret_access_key": "start" });
    let new = json!({ "name": "a", "url": PLACE, "secrets": secrets });
    server.post("/v1/destinations", &new).ok(201);
    let stopped = std::sync::atomic::AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                let headers = [("content-type", "application/json"), ("if-match", "*")];
                let body = body(&n.to_string()).to_string();
                let with = (&*server.admin, &headers[..]);
                server.send("PUT", "/v1/destinations/a", with, body.as_bytes()).ok(200);
            }
            n
        });
        for _ in 0..8 {
            sluice.ok(&["secrets", "rotate"]);
        }
        stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().expect("no answer was wrong")
    });
    assert_eq!(key_file(&sluice).lines().count(), 1);
    assert_eq!(opened(&sluice, "a")[1], ("secret_access_key".to_owned(), last.to_string()));
    let audit = sluice.json(&["audit", "--of-organization"]);
    let rotations = audit.as_array().expect("a list").iter();
    assert_eq!(rotations.filter(|one| one["action"] == "secrets.rotate").count(), 8);
}
