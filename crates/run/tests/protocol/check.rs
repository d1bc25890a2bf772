//! What must hold after everything has been recovered.

use std::collections::BTreeSet;

use model::CommitNumber;
use model::dataset::NewFile;
use model::digest::sha256_hex;
use model::export::Advance;
use model::into::IntoDataset;
use model::manifest::{File, Manifest};
use model::run::{Run, RunState};

use crate::books::Books;
use crate::objects::Store;
use crate::world::World;

/// Checks all of it: every sealed run by its manifest alone, the chain, and what lies around.
pub(crate) fn check(world: &World) {
    let (books, store) = (world.books.lock().unwrap(), world.store.lock().unwrap());
    let mut named = BTreeSet::new();
    for id in &books.sealed {
        let run = &books.runs[id].run;
        let rows = match IntoDataset::of(&run.definition.destination) {
            None => manifest_rows(run, &store, &mut named),
            Some(_) => committed_rows(run, &books, &store, &mut named),
        };
        let lake = world.lake.lock().unwrap();
        let filter = world.scenario.filter;
        let mut rows = rows;
        if world.scenario.staged {
            rows.sort_unstable();
        }
        assert_eq!(rows, lake.expected(run.from, run.to, filter), "rows of {id}");
    }
    let into = books.sealed.iter().filter(|id| is_into(&books.runs[*id].run)).count();
    assert!(books.committed.len() <= into, "a commit without a sealed run");
    check_chain(&books, &store);
    check_objects(&books, &store, &named);
    for row in books.runs.values() {
        assert_eq!(row.pinned, !row.run.state.is_final(), "the pin of {:?}", row.run.state);
    }
}

/// Checks that the export has delivered all commits and that nothing is left open or unfinished.
pub(crate) fn check_complete(world: &World) {
    check(world);
    let books = world.books.lock().unwrap();
    let head = world.lake.lock().unwrap().head();
    if !world.scenario.staged {
        assert_eq!(books.exports["daily"].cursor, head, "not everything is delivered");
    }
    assert!(books.runs.values().all(|row| row.run.state.is_final()), "a run is open");
    assert_eq!(world.lake.lock().unwrap().staged(), 0, "staged files are left");
}

/// Checks that no unfinished upload is left.
pub(crate) fn check_no_uploads(world: &World) {
    let store = world.store.lock().unwrap();
    assert!(store.uploads.is_empty(), "unfinished: {:?}", store.uploads.keys());
}

fn is_into(run: &Run) -> bool {
    IntoDataset::of(&run.definition.destination).is_some()
}

/// Reads what the commit of a run has brought: one commit, or none without rows.
fn committed_rows(
    run: &Run,
    books: &Books,
    store: &Store,
    named: &mut BTreeSet<String>,
) -> Vec<u64> {
    let own = |file: &NewFile| file.key.as_str().starts_with(&format!("{}/", run.folder()));
    let mut commits = books.committed.iter().filter(|commit| commit.files.iter().any(own));
    let files = commits.next().map(|commit| commit.files.clone()).unwrap_or_default();
    assert!(commits.next().is_none(), "the rows of {} are committed twice", run.id);
    let manifest = read_manifest(run, store);
    assert_eq!(manifest.totals.files, files.len() as u64);
    let mut rows = Vec::new();
    for file in &files {
        assert!(own(file) && named.insert(file.key.to_string()), "a file is committed twice");
        let bytes = &store.objects[file.key.as_str()];
        assert_eq!((bytes.len() as u64, sha256_hex(bytes)), (file.bytes, file.sha256.clone()));
        let values = std::str::from_utf8(bytes).unwrap().lines();
        rows.extend(values.map(|line| line.parse::<u64>().unwrap()));
    }
    assert_eq!(manifest.totals.rows, rows.len() as u64);
    rows
}

fn read_manifest(run: &Run, store: &Store) -> Manifest {
    let frozen = run.manifest.as_ref().expect("frozen");
    if is_into(run) {
        assert!(!store.objects.contains_key(run.manifest_key().as_str()), "nobody reads it there");
        return serde_json::from_str(&frozen.text).expect("a manifest");
    }
    let bytes = store.objects.get(run.manifest_key().as_str()).expect("a manifest is there");
    assert_eq!(frozen.text.as_bytes(), bytes, "the manifest is what was frozen");
    assert_eq!(frozen.sha256, sha256_hex(bytes));
    serde_json::from_slice(bytes).expect("a manifest")
}

/// Reads what a manifest names, knowing nothing but the destination.
fn manifest_rows(run: &Run, store: &Store, named: &mut BTreeSet<String>) -> Vec<u64> {
    let manifest = read_manifest(run, store);
    assert_eq!(manifest.again, run.advance == Advance::Again);
    let at = |path: &str| format!("{}/{path}", run.folder());
    named.insert(run.manifest_key().to_string());
    let mut files = manifest.files.clone();
    if let Some(list) = &manifest.files_list {
        assert!(files.is_empty());
        let bytes = &store.objects[&at(&list.path)];
        assert_eq!((bytes.len() as u64, sha256_hex(bytes)), (list.bytes, list.sha256.clone()));
        let lines = std::str::from_utf8(bytes).unwrap().lines();
        files.extend(lines.map(|line| serde_json::from_str::<File>(line).unwrap()));
        assert!(named.insert(at(&list.path)));
    }
    assert_eq!(manifest.totals.files, files.len() as u64);
    assert_eq!(manifest.totals.rows, files.iter().map(|file| file.rows).sum::<u64>());
    assert_eq!(manifest.totals.bytes, files.iter().map(|file| file.bytes).sum::<u64>());
    let mut rows = Vec::new();
    for file in &files {
        let bytes = &store.objects[&at(&file.path)];
        assert_eq!((bytes.len() as u64, sha256_hex(bytes)), (file.bytes, file.sha256.clone()));
        let text = std::str::from_utf8(bytes).unwrap();
        let values: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(values.len() as u64, file.rows);
        assert!(file.rows > 0, "an empty file is named");
        for commit in [file.first_commit, file.last_commit].into_iter().flatten() {
            assert!(commit > manifest.from_commit && commit <= manifest.to_commit);
        }
        assert!(named.insert(at(&file.path)), "a file is named twice");
        rows.extend(values);
    }
    rows
}

/// Follows the chain back from the run that moved the cursor last.
fn check_chain(books: &Books, store: &Store) {
    let moved = |id: &&_| books.runs[*id].run.advance == Advance::Cursor;
    let sealed = books.sealed.iter().filter(moved).count();
    let Some(mut id) = books.exports.get("daily").and_then(|export| export.last_run.clone()) else {
        assert_eq!(sealed, 0);
        return;
    };
    let mut met = 0;
    loop {
        met += 1;
        let run = &books.runs[&id].run;
        assert_eq!(run.state, RunState::Sealed);
        let manifest = read_manifest(run, store);
        assert_eq!((manifest.from_commit, manifest.to_commit), (run.from, run.to));
        let Some(previous) = manifest.previous else {
            assert_eq!(manifest.from_commit, CommitNumber(0), "the chain has a gap");
            break;
        };
        let before = &books.runs[&previous.run].run;
        assert_eq!(previous.path, format!("../{}/manifest.json", previous.run));
        let frozen = before.manifest.as_ref().expect("frozen");
        assert_eq!(previous.sha256, frozen.sha256, "the chain's sums");
        assert_eq!(before.to, run.from, "the chain's ranges adjoin");
        id = previous.run;
    }
    assert_eq!(met, sealed, "every sealed run is in the chain");
}

/// Checks that foreign objects are as they were and that every other one is accounted for.
fn check_objects(books: &Books, store: &Store, named: &BTreeSet<String>) {
    assert_eq!(store.objects["unrelated.txt"], "not ours");
    assert_eq!(store.objects["daily/manifest.json"], "{}");
    assert_eq!(store.objects["daily/other/part-00000.txt"], "0\n");
    let mut known = named.clone();
    for row in books.runs.values() {
        known.extend(row.intents.iter().map(|intent| intent.key.to_string()));
        if row.run.state == RunState::Sealing {
            known.insert(row.run.manifest_key().to_string());
            let sidecar = row.run.manifest.as_ref().and_then(|frozen| frozen.sidecar.as_ref());
            known.extend(sidecar.map(|sidecar| format!("{}/{}", row.run.folder(), sidecar.name)));
        }
    }
    for key in &store.created {
        assert!(known.contains(key), "nobody knows `{key}`");
    }
    for key in &store.deleted {
        assert!(store.created.contains(key), "`{key}` was not ours");
        assert!(!named.contains(key), "`{key}` is named and was deleted");
    }
    for (key, token) in store.uploads.keys() {
        let mut intents = books.runs.values().flat_map(|row| &row.intents);
        let intended = intents.any(|intent| intent.key.as_str() == key && intent.token == *token);
        assert!(intended, "nobody knows the upload of `{key}`");
    }
}
