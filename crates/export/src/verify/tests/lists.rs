//! Lists of files beside their manifest.

use model::manifest::FilesList;

use super::*;

/// Moves the files of a manifest into a list and returns it with its text.
fn listed(out: &Out) -> (Manifest, String) {
    let mut manifest = out.two_files();
    let line = |file: &File| serde_json::to_string(file).unwrap() + "\n";
    let text: String = manifest.files.iter().map(line).collect();
    manifest.files = Vec::new();
    seal_list(out, &mut manifest, &text);
    (manifest, text)
}

fn seal_list(out: &Out, manifest: &mut Manifest, text: &str) {
    fs::write(out.at("r1", "files.jsonl"), text).unwrap();
    manifest.files_list = Some(FilesList {
        path: "files.jsonl".into(),
        bytes: text.len() as u64,
        sha256: sha256_hex(text.as_bytes()),
    });
    out.seal(manifest);
}

#[test]
fn files_are_found_by_the_list() {
    let out = Out::new();
    listed(&out);
    let report = verify(&out.at("r1", "manifest.json"), Chain::One).unwrap();
    assert!(report.is_good(), "{:?}", report.differences);
    assert_eq!((report.files, report.rows), (2, 4));
    fs::remove_file(out.at("r1", "a.jsonl")).unwrap();
    let line = "`r1/manifest.json`: `a.jsonl`: the file is missing: \
                expected 18 bytes, found nothing";
    out.one_difference("r1", Kind::Missing, line);
}

#[test]
fn a_list_that_changed_is_found() {
    let out = Out::new();
    let (manifest, text) = listed(&out);
    let changed = text.replace("\"first_commit\":1", "\"first_commit\":2");
    fs::write(out.at("r1", "files.jsonl"), &changed).unwrap();
    let said = manifest.files_list.unwrap().sha256;
    let found = sha256_hex(changed.as_bytes());
    let start = "`r1/manifest.json`: `files.jsonl`: the";
    let line = format!("{start} SHA-256 differs: expected `{said}`, found `{found}`");
    out.one_difference("r1", Kind::Sha256, &line);
    let half = text.lines().next().unwrap().to_owned() + "\n";
    fs::write(out.at("r1", "files.jsonl"), half).unwrap();
    let kinds: Vec<_> = out.differences("r1").into_iter().map(|(kind, _)| kind).collect();
    let expected = [Kind::Bytes, Kind::Sha256, Kind::TotalRows, Kind::TotalBytes, Kind::TotalFiles];
    assert_eq!(kinds, expected);
}

#[test]
fn a_list_that_is_gone_or_outside_is_found_and_totals_are_left_alone() {
    let out = Out::new();
    let (mut manifest, text) = listed(&out);
    fs::remove_file(out.at("r1", "files.jsonl")).unwrap();
    let bytes = text.len();
    let line = format!(
        "`r1/manifest.json`: `files.jsonl`: the file is missing: \
         expected {bytes} bytes, found nothing",
    );
    out.one_difference("r1", Kind::Missing, &line);
    manifest.files_list.as_mut().unwrap().path = "../r0/files.jsonl".into();
    out.seal(&manifest);
    let kinds: Vec<_> = out.differences("r1").into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Path]);
}

#[test]
fn a_line_that_is_no_entry_is_named() {
    let out = Out::new();
    let (mut manifest, text) = listed(&out);
    seal_list(&out, &mut manifest, &(text + "{}\n"));
    let line = "`r1/manifest.json`: `files.jsonl`: the list of files is broken: \
                expected one entry of a file a line, found line 3, which is none";
    out.one_difference("r1", Kind::FilesList, line);
}

#[test]
fn files_stand_in_one_place_and_are_not_the_list() {
    let out = Out::new();
    let (mut manifest, text) = listed(&out);
    let own = text.replace("a.jsonl", "files.jsonl");
    seal_list(&out, &mut manifest, &own);
    let line = "`r1/manifest.json`: `files.jsonl`: the path is named twice: \
                expected a path of its own, found one more entry";
    out.one_difference("r1", Kind::DuplicatePath, line);
    let mut entries = text.lines();
    manifest.files = vec![serde_json::from_str(entries.next().unwrap()).unwrap()];
    seal_list(&out, &mut manifest, &(entries.next().unwrap().to_owned() + "\n"));
    let line = "`r1/manifest.json`: the list of files is broken: \
                expected no `files` where there is a `files_list`, found 1 entry";
    out.one_difference("r1", Kind::FilesList, line);
}
