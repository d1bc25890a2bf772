//! Folders of runs, as a template calls them.

use std::path::Path;

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers, rows, text};
use crate::runs::{ended, id};
use crate::server::Server;

fn import(sluice: &Sluice, from: u64, to: u64) {
    let file = sluice.file(&format!("{from}.jsonl"), numbers(from, to));
    sluice.ok(&["import", "d", &file]);
}

#[test]
fn a_chain_goes_through_folders_of_any_name() {
    let sluice = Sluice::new();
    let out = text(&sluice.path("out"));
    let export = ["export", "run", "--dataset", "d", "--to", &out, "--incremental", "e"];
    let folder = ["--folder", "{date:%Y/%m}/{export}/at-{run}", "--name", "{export}-{part:2}"];
    let args = [&export[..], &folder].concat();
    let mut manifests = Vec::new();
    for n in 0..3 {
        import(&sluice, n * 10, n * 10 + 10);
        manifests.push(sluice.ok(&args));
    }
    let found: Vec<Value> = manifests.iter().flat_map(|manifest| rows(manifest)).collect();
    assert_eq!(found.len(), 30);
    let last = Path::new(&manifests[2]);
    let folder = last.parent().expect("a folder");
    let name = text(folder.strip_prefix(&out).expect("below the destination"));
    let parts: Vec<&str> = name.split('/').collect();
    let [year, month, export, run] = &parts[..] else { panic!("{name}") };
    assert_eq!((year.len(), month.len(), *export, run.starts_with("at-")), (4, 2, "e", true));
    assert!(folder.join("e-00.jsonl").exists());
    sluice.ok(&["verify", &manifests[2], "--chain"]);
    // A run again lies beside, under its own id.
    let runs = sluice.json(&["run", "list"]);
    let again = sluice.ok(&["run", "rerun", runs[0]["id"].as_str().expect("an id")]);
    assert_ne!(Path::new(&again).parent(), Some(folder));
    assert_eq!(Path::new(&again).parent().and_then(Path::parent), folder.parent());
    sluice.ok(&["verify", &again]);
    let plan =
        sluice.json(&["export", "plan", "--dataset", "d", "--to", &out, "--folder", "x/{run}"]);
    assert!(plan["folder"].as_str().is_some_and(|folder| folder.starts_with("x/")), "{plan}");
    for (template, words) in [
        ("{date}", ["add `{run}`", "several runs"]),
        ("../{run}", ["`..`", "not allowed"]),
        ("/{run}", ["relative", "`/{run}`"]),
        ("{run}/{to}", ["`{to}`", "known of its files only"]),
        ("{nope}", ["`{nope}`", "there is `{part}`"]),
        ("{date:%Q}/{run}", ["strftime", "`{date:%Y/%m/%d}`"]),
    ] {
        let args = ["export", "run", "--dataset", "d", "--to", &out, "--folder", template];
        sluice.fails(&args, 2, &words);
    }
    assert_eq!(sluice.json(&["run", "list"]).as_array().map(Vec::len), Some(4));
}

#[test]
fn files_of_a_named_folder_are_fetched() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    server.rows("d", &numbers(0, 10), &[]).ok(200);
    let save = |folder: &str| {
        let body = json!({ "export": { "dataset": "d", "folder": folder } }).to_string();
        let headers = [("content-type", "application/json"), ("if-none-match", "*")];
        server.send("PUT", "/v1/exports/e", (&server.admin, &headers), body.as_bytes())
    };
    save("{date}").problem(400, "invalid", &["add `{run}`"]);
    let saved = save("{export}-{run}/data").ok(201);
    let first = saved["first_file"].as_str().expect("an example");
    assert!(first.starts_with("e-") && first.ends_with("/data/part-00000.jsonl"), "{first}");
    assert_eq!(saved["format"]["folder"], "{export}-{run}/data");
    let run = server.post("/v1/exports/e/run", &json!({})).ok(201);
    assert_eq!(ended(&server, &id(&run))["state"], "sealed");
    let managed = sluice.path("sluice-data/managed/default");
    assert!(managed.join(format!("e-{}/data/manifest.json", id(&run))).exists());
    let file = server.get(&format!("/v1/runs/{}/files/1", id(&run)));
    assert_eq!((file.status, file.text.lines().count()), (200, 10));
    sluice.ok(&["get", &id(&run), "--to", "got"]);
    let got = sluice.path(&format!("got/e-{}/data/manifest.json", id(&run)));
    sluice.ok(&["verify", &text(&got)]);
    let listed = server.get("/v1/exports/e").ok(200);
    assert!(listed.get("first_file").is_none(), "{listed}");
}
