//! The main job: `sluice demo`.

use crate::helper::{Sluice, manifest};

fn manifests(sluice: &Sluice) -> Vec<String> {
    let runs = sluice.json(&["run", "list"]);
    let runs = runs.as_array().expect("an array").iter().rev();
    runs.map(|run| {
        assert_eq!(run["state"], "sealed");
        run["manifest"].as_str().expect("a path").to_owned()
    })
    .collect()
}

#[test]
fn the_demo_proves_what_it_exports_and_can_be_repeated() {
    let sluice = Sluice::new();
    let said = sluice.ok(&["demo"]);
    assert!(said.contains("541,909"), "{said}");
    let first = manifests(&sluice);
    let sums: Vec<u64> = first
        .iter()
        .map(|path| manifest(path).0["totals"]["rows"].as_u64().expect("a number"))
        .collect();
    assert_eq!(sums, [500_000, 41_909]);
    sluice.ok(&["verify", &first[1], "--chain"]);

    sluice.ok(&["demo"]);
    let again = manifests(&sluice);
    assert_eq!(again[..2], first[..]);
    let (last, _) = manifest(again.last().expect("runs"));
    assert_eq!(last["totals"]["rows"], 0);
    sluice.ok(&["verify", again.last().expect("runs"), "--chain"]);
    let entries: Vec<_> = std::fs::read_dir(sluice.path("")).expect("the folder").collect();
    assert_eq!(entries.len(), 1, "everything lies in the data folder");
}
