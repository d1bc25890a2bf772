//! Exports to a bucket, and a lake in one, on the S3 server of `scripts/test`.

use futures::TryStreamExt;
use model::ports::Objects;
use model::{ObjectKey, digest};
use object_store::ObjectStore;
use objects::{Egress, S3, S3Settings, testing};
use serde_json::{Value, json};

use crate::crash::{finish, killed_at, kills};
use crate::helper::{Sluice, numbers, rows, text};

/// A folder of the bucket that is this test's own, and how the program is told of it.
pub(crate) struct Bucket {
    pub(crate) settings: S3Settings,
    store: S3,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let settings = testing::s3();
        let store = S3::new(settings.clone(), Egress::everywhere()).expect("made");
        Self { settings, store }
    }

    pub(crate) fn url(&self) -> String {
        self.settings.place.to_string()
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.settings.endpoint.as_deref().expect("it has one")
    }

    /// A program whose environment has the keys.
    pub(crate) fn sluice(&self) -> Sluice {
        let mut sluice = Sluice::new();
        sluice.set("AWS_ACCESS_KEY_ID", self.settings.access_key_id.reveal());
        sluice.set("AWS_SECRET_ACCESS_KEY", self.settings.secret_access_key.reveal());
        sluice.set("AWS_ENDPOINT_URL", self.endpoint());
        sluice
    }

    /// The settings of a lake in it.
    pub(crate) fn lake(&self) -> String {
        format!(
            "[lake]\ntail_bytes = 0\nstore = \"{}\"\n[lake.s3]\nendpoint = \"{}\"\n\
            access_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
            self.url(),
            self.endpoint(),
            self.settings.access_key_id.reveal(),
            self.settings.secret_access_key.reveal()
        )
    }

    pub(crate) async fn read(&self, key: &str) -> Vec<u8> {
        let key = ObjectKey::new(key);
        let info = self.store.info(&key).await.expect("looked").expect("it is there");
        self.store.read(&key, 0..info.bytes).await.expect("read").to_vec()
    }

    /// The names of what is hidden in it: what unfinished uploads leave.
    pub(crate) async fn hidden(&self) -> Vec<String> {
        let mut names = self.names().await;
        names.retain(|name| name.contains("/."));
        names
    }

    /// The names of everything in it.
    pub(crate) async fn names(&self) -> Vec<String> {
        let listed = self.store.reader().list(None).try_collect::<Vec<_>>().await;
        listed.expect("listed").iter().map(|object| object.location.to_string()).collect()
    }

    /// Reads a manifest by its URL and checks each file against it; returns the rows.
    pub(crate) async fn check(&self, manifest: &str) -> Vec<Value> {
        let key = manifest.strip_prefix(&format!("{}/", self.url())).expect("it is in the bucket");
        let folder = key.strip_suffix("/manifest.json").expect("its name");
        let manifest: Value = serde_json::from_slice(&self.read(key).await).expect("JSON");
        let mut rows = Vec::new();
        for file in manifest["files"].as_array().expect("files") {
            let name = file["path"].as_str().expect("a path");
            let bytes = self.read(&format!("{folder}/{name}")).await;
            assert_eq!(file["bytes"], bytes.len(), "{name}");
            assert_eq!(file["sha256"], digest::sha256_hex(&bytes), "{name}");
            let content = String::from_utf8(bytes).expect("text");
            let before = rows.len();
            rows.extend(content.lines().map(|line| serde_json::from_str(line).expect("JSON")));
            assert_eq!(file["rows"], rows.len() - before, "{name}");
        }
        rows
    }
}

pub(crate) fn wanted(to: u64) -> Vec<Value> {
    (0..to).map(|n| json!({"n": n, "t": format!("row {n}")})).collect()
}

#[tokio::test]
async fn an_export_to_a_bucket_is_what_its_manifest_says() {
    let bucket = Bucket::new();
    let sluice = bucket.sluice();
    // The first file is one upload in pieces, the second one put.
    let first = sluice.file("a.jsonl", numbers(0, 400_000));
    let second = sluice.file("b.jsonl", numbers(400_000, 400_100));
    sluice.ok(&["import", "d", &first]);
    let url = bucket.url();
    let export = ["export", "run", "--dataset", "d", "--to", &url, "--incremental", "e"];
    let manifest = sluice.ok(&export);
    assert!(bucket.check(&manifest).await == wanted(400_000), "other rows");
    sluice.ok(&["import", "d", &second]);
    let next = sluice.ok(&export);
    assert_eq!(bucket.check(&next).await, wanted(400_100)[400_000..]);
    let runs = sluice.json(&["run", "list"]);
    assert_eq!((&runs[0]["manifest"], &runs[1]["manifest"]), (&json!(next), &json!(manifest)));
    assert_eq!(runs[0]["destination"], url);
    assert_eq!(bucket.hidden().await, [""; 0]);
}

#[tokio::test]
async fn an_export_to_a_bucket_killed_anywhere_delivers_every_row_once() {
    let mut killed = 0;
    for n in (1..).step_by(3).take(kills()) {
        let bucket = Bucket::new();
        let sluice = bucket.sluice();
        let file = sluice.file("a.jsonl", numbers(0, 300));
        sluice.ok(&["import", "d", &file]);
        let url = bucket.url();
        let export = ["export", "run", "--dataset", "d", "--to", &url, "--incremental", "e"];
        let args = [&export[..], &["--file-rows", "70"]].concat();
        let dead = killed_at(&sluice, "sendto,writev", n, &args);
        finish(&sluice);
        sluice.ok(&args);
        let runs = sluice.json(&["run", "list"]);
        let mut found = Vec::new();
        for run in runs.as_array().expect("an array").iter().rev() {
            assert_eq!(run["state"], "sealed", "killed at {n}");
            found.extend(bucket.check(run["manifest"].as_str().expect("a URL")).await);
        }
        assert_eq!(found, wanted(300), "killed at {n}");
        if !dead {
            break;
        }
        killed += 1;
    }
    assert!(killed > 0, "never killed");
}

#[tokio::test]
async fn an_upload_in_pieces_killed_anywhere_is_delivered_once() {
    let bucket = Bucket::new();
    let sluice = bucket.sluice();
    let file = sluice.file("a.jsonl", numbers(0, 400_000));
    sluice.ok(&["import", "d", &file]);
    for n in [2, 4, 60] {
        let url = format!("{}/{n}", bucket.url());
        let args = ["export", "run", "--dataset", "d", "--to", &url];
        killed_at(&sluice, "sendto,writev", n, &args);
        finish(&sluice);
        let runs = sluice.json(&["run", "list"]);
        assert_eq!(runs[0]["state"], "sealed", "killed at {n}");
        let manifest = runs[0]["manifest"].as_str().expect("a URL");
        assert!(bucket.check(manifest).await == wanted(400_000), "killed at {n}");
    }
    assert_eq!(bucket.hidden().await, [""; 0]);
}

#[test]
fn a_bucket_that_cannot_be_written_to_is_one_clear_line() {
    let bucket = Bucket::new();
    let mut sluice = bucket.sluice();
    let file = sluice.file("a.jsonl", numbers(0, 3));
    sluice.ok(&["import", "d", &file]);
    let export = |to: &str| ["export", "run", "--dataset", "d", "--to", to].map(str::to_owned);
    let fails = |sluice: &Sluice, to: &str, code: i32, words: &[&str]| {
        let args = export(to);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = sluice.fails(&args, code, words);
        assert!(!said.contains("canary"), "{said}");
    };
    fails(&sluice, "s3://B", 2, &["`s3://bucket/folder`"]);
    fails(&sluice, "s3://key:canary@bucket", 2, &["`s3://bucket/folder`"]);
    fails(&sluice, "s3://no-such-bucket/x", 4, &["`s3://no-such-bucket/x/", "the bucket's name"]);
    sluice.set("AWS_SECRET_ACCESS_KEY", "canary");
    fails(&sluice, &bucket.url(), 4, &["`secret_access_key`"]);
    sluice.set("AWS_SECRET_ACCESS_KEY", "");
    fails(&sluice, &bucket.url(), 2, &["`secret_access_key`", "`AWS_SECRET_ACCESS_KEY`"]);
}

#[tokio::test]
async fn a_lake_in_a_bucket_does_what_one_in_a_folder_does() {
    let bucket = Bucket::new();
    let sluice = Sluice::new();
    sluice.configure(&bucket.lake());
    let mut killed = 0;
    for (n, from) in (0..400).step_by(100).enumerate() {
        let file = sluice.file(&format!("{n}.jsonl"), numbers(from, from + 100));
        let args = ["import", "d", &file, "--key", &n.to_string()];
        killed += usize::from(killed_at(&sluice, "sendto,writev", 1 + 2 * n, &args));
        sluice.ok(&args);
    }
    assert!(killed > 0, "never killed");
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
    let manifest = sluice.ok(&export);
    assert_eq!(rows(&manifest), wanted(400));
    sluice.ok(&["compact", "d"]);
    assert_eq!(sluice.json(&["dataset", "show", "d"])["rows"], 400);
    sluice.ok(&["import", "d", &sluice.file("e.jsonl", numbers(400, 410))]);
    let next = sluice.ok(&export);
    assert_eq!(rows(&next), wanted(410)[400..]);
    sluice.ok(&["verify", &next, "--chain"]);
    sluice.ok(&["export", "run", "--dataset", "d", "--to", "dataset:copy"]);
    sluice.ok(&["export", "run", "--dataset", "copy", "--to", "dataset:again", "--where", "n > 4"]);
    assert_eq!(sluice.json(&["dataset", "show", "again"])["rows"], 405);
    let checks = sluice.json(&["doctor"]);
    let store = checks.as_array().expect("checks").iter().find(|one| one["name"] == "lake store");
    assert_eq!(store.expect("it is looked at")["found"], bucket.url());
    let here = std::fs::read_dir(sluice.path("sluice-data/lake")).expect("a folder");
    assert_eq!(here.count(), 0, "nothing lies in the data folder");
    assert!(bucket.names().await.iter().any(|name| name.starts_with("data/")));

    let wrong = bucket.lake().replace("secret_access_key = \"", "secret_access_key = \"canary");
    sluice.configure(&wrong);
    let said = sluice.run(&["doctor"]);
    assert!(said.code == 1 && said.stdout.contains("MEND"), "{}", said.stdout);
    assert!(said.stdout.contains("`secret_access_key`"), "{}", said.stdout);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains("canary"));
}

#[test]
fn settings_of_a_lake_that_cannot_be_are_refused() {
    let bucket = Bucket::new();
    let sluice = Sluice::new();
    for (settings, word) in [
        ("[lake]\nstore = \"folder\"\n", "`lake.store` must be `s3://bucket/folder`"),
        ("[lake]\nstore = \"gs://bucket\"\n", "`lake.store` must be `s3://bucket/folder`"),
        ("[lake]\nstore = \"s3://Bucket\"\n", "`s3://bucket/folder`"),
        ("[lake]\nstore = \"s3://bucket\"\n", "`access_key_id`"),
        ("[lake.s3]\nregoin = \"x\"\n", "regoin"),
    ] {
        sluice.configure(settings);
        sluice.fails(&["dataset", "list"], 2, &[word]);
    }
    sluice.configure(&bucket.lake());
    sluice.ok(&["dataset", "list"]);
}
