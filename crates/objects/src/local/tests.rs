//! Tests of the local store: the contract, the order of steps, and what a crash may leave.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use super::*;
use crate::conformance;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text)
}

/// A store that notes its steps.
fn observed(root: &Path) -> (Local, Arc<Mutex<Vec<Step>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let noted = steps.clone();
    let observer: Observer = Arc::new(move |step| noted.lock().unwrap().push(step));
    (Local::observed(root, observer), steps)
}

#[track_caller]
fn position(steps: &[Step], is: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(is).unwrap_or_else(|| panic!("no such step in {steps:#?}"))
}

#[tokio::test]
async fn a_folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(&Local::new(dir.path().join("made/when/needed"))).await;
}

#[tokio::test]
async fn bytes_are_synced_before_the_name_and_the_folder_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one/put", "two/uploaded"] {
        let (local, steps) = observed(dir.path());
        if name.ends_with("put") {
            local.create(&key(name), "x".into()).await.unwrap();
        } else {
            let mut upload = local.upload(&key(name), "t").await.unwrap();
            upload.write("x".into()).await.unwrap();
            upload.finish().await.unwrap();
        }
        let steps = steps.lock().unwrap();
        let path = dir.path().join(name);
        let folder = path.parent().unwrap().to_owned();
        let made = position(&steps, |step| *step == Step::MakeFolder(folder.clone()));
        let above = Step::SyncFolder(dir.path().to_owned());
        let parent = made + position(&steps[made..], |step| *step == above);
        let write = position(&steps, |step| matches!(step, Step::Write(_, 1)));
        let sync = position(&steps, |step| matches!(step, Step::SyncFile(_)));
        let link = position(&steps, |step| *step == Step::Link(path.clone()));
        let end = link + position(&steps[link..], |step| *step == Step::SyncFolder(folder.clone()));
        assert!(parent < write && write < sync && sync < link && link < end, "{steps:#?}");
    }
}

#[tokio::test]
async fn whoever_finds_an_object_syncs_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "there").unwrap();
    let (local, steps) = observed(dir.path());
    assert_eq!(local.create(&key("f"), "x".into()).await.unwrap(), Put::Exists);
    let synced = Step::SyncFolder(dir.path().to_owned());
    assert!(steps.lock().unwrap().contains(&synced));
}

#[tokio::test]
async fn nothing_hidden_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::new(dir.path());
    local.create(&key("a"), "x".into()).await.unwrap();
    local.create(&key("a"), "y".into()).await.unwrap();
    let mut upload = local.upload(&key("b"), "t").await.unwrap();
    upload.write("x".into()).await.unwrap();
    drop(upload);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test]
async fn what_a_dead_process_left_is_removed_by_its_token_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join(".f.t1.part"), dir.path().join(".f.t2.part"));
    std::fs::write(&ours, "half").unwrap();
    std::fs::write(&theirs, "half").unwrap();
    Local::new(dir.path()).abort(&key("f"), "t1").await.unwrap();
    assert!(!ours.exists() && theirs.exists());
}

#[tokio::test]
async fn a_file_in_the_way_of_a_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "x").unwrap();
    let error = Local::new(dir.path()).create(&key("f/g"), "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("f/g"), "{error}");
}

#[tokio::test]
async fn a_place_where_nothing_can_be_made_is_an_error() {
    let error = Local::new("/proc/none").create(&key("f"), "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("/proc/none"), "{error}");
}

#[tokio::test]
async fn the_last_object_takes_its_folders_along() {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::new(dir.path());
    for name in ["a/b/one", "a/two"] {
        local.create(&key(name), "x".into()).await.unwrap();
    }
    local.delete(&key("a/b/one")).await.unwrap();
    assert!(!dir.path().join("a/b").exists() && dir.path().join("a").exists());
    local.delete(&key("a/two")).await.unwrap();
    assert!(dir.path().exists() && !dir.path().join("a").exists());
    assert_eq!(local.create(&key("a/b/one"), "x".into()).await.unwrap(), Put::Created);
}
