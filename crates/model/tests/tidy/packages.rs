//! Which package may depend on which.

use std::process::Command;

use serde_json::Value;

use crate::{none, tree};

/// A package of this workspace and one it names.
struct Edge {
    package: String,
    dependency: String,
    /// Only its tests need it.
    for_tests: bool,
}

/// What each package may name of the others. Data flows one way.
const OURS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("objects", &["model"]),
    ("store", &["model"]),
    ("lake", &["model"]),
    ("export", &["model", "objects"]),
    ("run", &["model"]),
    ("server", &["model", "run"]),
    ("sluice", &["model", "objects", "store", "lake", "export", "run", "server"]),
    ("bench-generate", &[]),
    ("bench-lake", &["model", "objects", "store", "lake"]),
    ("bench-server", &[]),
];

/// What the tests of any package may name besides: light, and there to be tested against.
const FOR_TESTS: &[&str] = &["model", "objects", "store"];

/// Heavy or sensitive crates by the beginning of their names, and who may name them.
const GUARDED: &[(&str, &[&str])] = &[
    ("datafusion", &["lake"]),
    ("sqlx", &["store"]),
    ("rusqlite", &[]),
    ("axum", &["server"]),
    ("tower-http", &["server"]),
    ("aws-", &["objects", "export"]),
    ("azure_", &["objects", "export"]),
    ("google-cloud-", &["objects", "export"]),
    ("opendal", &["objects", "export"]),
    ("reqwest", &["objects", "export"]),
    ("russh", &["objects", "export"]),
    ("ssh2", &[]),
    // The query engine reads through it, so `lake` hands it a store and the binary wires the two.
    ("object_store", &["objects", "export", "lake", "sluice", "bench-lake"]),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn edges(metadata: &Value) -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in list(&metadata["packages"]) {
        for dependency in list(&package["dependencies"]) {
            edges.push(Edge {
                package: text(&package["name"]),
                dependency: text(&dependency["name"]),
                for_tests: dependency["kind"] == "dev",
            });
        }
    }
    edges
}

fn wrong_way(edges: &[Edge]) -> Vec<String> {
    let is_ours = |name: &str| OURS.iter().any(|(ours, _)| *ours == name);
    let may = |edge: &Edge| {
        let row = OURS.iter().find(|(package, _)| *package == edge.package);
        let named = row.is_some_and(|(_, allowed)| allowed.contains(&edge.dependency.as_str()));
        named || (edge.for_tests && FOR_TESTS.contains(&edge.dependency.as_str()))
    };
    let wrong = edges.iter().filter(|edge| is_ours(&edge.dependency) && !may(edge));
    wrong
        .map(|edge| format!("`{}` may not depend on `{}`", edge.package, edge.dependency))
        .collect()
}

fn unguarded(edges: &[Edge]) -> Vec<String> {
    let mut complaints = Vec::new();
    for edge in edges {
        for (guarded, allowed) in GUARDED {
            if edge.dependency.starts_with(guarded) && !allowed.contains(&edge.package.as_str()) {
                complaints.push(format!(
                    "`{}` names `{}`, which is for {allowed:?} alone",
                    edge.package, edge.dependency
                ));
            }
        }
    }
    complaints
}

fn binaries(metadata: &Value) -> Vec<String> {
    let default: Vec<_> = list(&metadata["workspace_default_members"]).collect();
    let packages = list(&metadata["packages"]).filter(|package| default.contains(&&package["id"]));
    let targets = packages.flat_map(|package| list(&package["targets"]));
    let binaries = targets.filter(|target| list(&target["kind"]).any(|kind| kind == "bin"));
    binaries.map(|target| text(&target["name"])).collect()
}

#[test]
fn dependencies_point_one_way() {
    none(&wrong_way(&edges(&metadata())));
}

#[test]
fn every_package_has_its_row() {
    let metadata = metadata();
    let names = list(&metadata["packages"]).map(|package| text(&package["name"]));
    let unknown = names.filter(|name| !OURS.iter().any(|(package, _)| package == name));
    none(
        &unknown
            .map(|name| format!("`{name}`: say in `OURS` what it may name"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn heavy_crates_stay_where_they_belong() {
    none(&unguarded(&edges(&metadata())));
}

#[test]
fn cargo_run_is_unambiguous() {
    assert_eq!(binaries(&metadata()), ["sluice"]);
}

#[test]
fn every_package_takes_the_workspace_lints() {
    let mut manifests = tree::texts("crates");
    manifests.extend(tree::texts("bench"));
    manifests.retain(|file| file.path.ends_with("/Cargo.toml"));
    let without = manifests.iter().filter(|file| !file.text.contains("[lints]\nworkspace = true"));
    none(
        &without
            .map(|file| format!("{}: no `[lints] workspace = true`", file.path))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn wrong_edges_are_complained_about() {
    let edge = |package: &str, dependency: &str, for_tests| Edge {
        package: package.into(),
        dependency: dependency.into(),
        for_tests,
    };
    assert_eq!(wrong_way(&[edge("run", "lake", false)]).len(), 1);
    assert_eq!(wrong_way(&[edge("run", "lake", true)]).len(), 1);
    assert_eq!(wrong_way(&[edge("model", "store", false)]).len(), 1);
    assert_eq!(wrong_way(&[edge("lake", "objects", false)]).len(), 1);
    assert!(wrong_way(&[edge("lake", "objects", true), edge("sluice", "lake", false)]).is_empty());
    assert_eq!(unguarded(&[edge("run", "datafusion-expr", false)]).len(), 1);
    assert_eq!(unguarded(&[edge("sluice", "sqlx", true)]).len(), 1);
    assert!(unguarded(&[edge("lake", "datafusion", false)]).is_empty());
}
