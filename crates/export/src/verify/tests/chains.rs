//! Chains that hold, and chains that were broken.

use model::manifest::Previous;

use super::*;

/// Makes a manifest of two rows that follows another.
fn after(out: &Out, run: &str, to: u64, before: Option<&Manifest>) -> Manifest {
    let from = before.map_or(CommitNumber(0), |before| before.to_commit);
    let mut file = out.file(run, "a.jsonl", (TWO, TWO), 2);
    file.first_commit = Some(CommitNumber(to));
    file.last_commit = Some(CommitNumber(to));
    let mut manifest = of(run, vec![file]);
    manifest.from_commit = from;
    manifest.to_commit = CommitNumber(to);
    manifest.snapshot_commit = CommitNumber(to);
    manifest.previous = before.map(|before| Previous {
        run: before.run.clone(),
        path: format!("../{}/manifest.json", before.run),
        sha256: sha256_hex(before.to_text().as_bytes()),
    });
    out.seal(&manifest);
    manifest
}

fn chain(out: &Out) -> [Manifest; 3] {
    let first = after(out, "r1", 3, None);
    let second = after(out, "r2", 4, Some(&first));
    let third = after(out, "r3", 9, Some(&second));
    [first, second, third]
}

#[track_caller]
fn broken(out: &Out, expected: &[(Kind, &str)]) {
    let found = out.differences_by("r3", Chain::Follow);
    let found: Vec<_> = found.iter().map(|(kind, line)| (*kind, line.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_chain_that_adjoins_is_good() {
    let out = Out::new();
    chain(&out);
    let report = verify(&out.at("r3", "manifest.json"), Chain::Follow).unwrap();
    let sentence = "3 manifests, 3 files, 6 rows, 54 B: every file is as its manifest says, \
                    and the chain adjoins";
    assert_eq!(report.to_string(), sentence);
    let paths: Vec<_> = report.manifests.iter().map(|one| one.path.clone()).collect();
    let expected = ["r3", "r2", "r1"].map(|run| out.at(run, "manifest.json"));
    assert_eq!(paths, expected);
    let one = verify(&out.at("r3", "manifest.json"), Chain::One).unwrap();
    assert_eq!(one.manifests.len(), 1);
}

#[test]
fn an_empty_range_keeps_the_chain() {
    let out = Out::new();
    let first = after(&out, "r1", 3, None);
    let mut empty = of("r3", Vec::new());
    empty.from_commit = CommitNumber(3);
    empty.previous = Some(Previous {
        run: first.run.clone(),
        path: "../r1/manifest.json".into(),
        sha256: sha256_hex(first.to_text().as_bytes()),
    });
    out.seal(&empty);
    broken(&out, &[]);
}

#[test]
fn a_long_chain_does_not_make_long_paths() {
    let out = Out::new();
    let mut before = after(&out, "r0", 1, None);
    for n in 1..600 {
        before = after(&out, &format!("r{n}"), n + 1, Some(&before));
    }
    let report = verify(&out.at("r599", "manifest.json"), Chain::Follow).unwrap();
    assert!(report.is_good(), "{:?}", report.differences.first());
    assert_eq!(report.manifests.len(), 600);
}

#[test]
fn a_predecessor_that_changed_is_found_and_the_rest_still_checked() {
    let out = Out::new();
    let [first, second, third] = chain(&out);
    let mut changed = second.clone();
    changed.created_at = DateTime::from_timestamp(1, 0).unwrap();
    out.seal(&changed);
    fs::remove_file(out.at("r1", "a.jsonl")).unwrap();
    let said = third.previous.unwrap().sha256;
    let found = sha256_hex(changed.to_text().as_bytes());
    let line = format!(
        "`r3/manifest.json`: the predecessor was changed: expected `{said}`, found `{found}`",
    );
    let missing = "`r1/manifest.json`: `a.jsonl`: the file is missing: \
                   expected 18 bytes, found nothing";
    broken(&out, &[(Kind::PredecessorSha256, &line), (Kind::Missing, missing)]);
    assert_eq!(first.previous, None);
}

#[test]
fn a_predecessor_that_is_gone_or_no_manifest_ends_the_chain() {
    let out = Out::new();
    chain(&out);
    fs::write(out.at("r2", "manifest.json"), "{}").unwrap();
    let found = out.differences_by("r3", Chain::Follow);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, Kind::PredecessorUnreadable);
    let line = "`r3/manifest.json`: the predecessor cannot be read: expected a manifest, \
                found `r2/manifest.json` is not a manifest: it has no `version` with a number";
    assert_eq!(found[0].1, line);
    fs::remove_file(out.at("r2", "manifest.json")).unwrap();
    let line = "`r3/manifest.json`: the predecessor is missing: \
                expected `../r2/manifest.json`, found nothing";
    broken(&out, &[(Kind::PredecessorMissing, line)]);
}

#[test]
fn a_gap_and_an_overlap_are_found() {
    let out = Out::new();
    let [.., mut third] = chain(&out);
    for from in [5, 3] {
        third.from_commit = CommitNumber(from);
        out.seal(&third);
        let line = format!(
            "`r3/manifest.json`: the ranges do not adjoin: expected a predecessor up to \
             commit {from}, found a predecessor up to commit 4",
        );
        broken(&out, &[(Kind::NotAdjoining, &line)]);
    }
}

#[test]
fn a_predecessor_of_another_run_or_export_is_found() {
    let out = Out::new();
    let [_, _, mut third] = chain(&out);
    third.export = Some("weekly".into());
    third.previous.as_mut().unwrap().run = RunId::new("r7");
    out.seal(&third);
    let run = "`r3/manifest.json`: the predecessor is another run's: expected `r7`, found `r2`";
    let export = "`r3/manifest.json`: the predecessor is another export's: \
                  expected `weekly`, found `daily`";
    broken(&out, &[(Kind::PredecessorRun, run), (Kind::PredecessorExport, export)]);
}

#[test]
fn a_chain_begins_at_commit_0() {
    let out = Out::new();
    let [_, second, _] = chain(&out);
    let mut third = second;
    third.run = RunId::new("r3");
    third.previous = None;
    third.files[0].path = "a.jsonl".into();
    out.seal(&third);
    let line = "`r3/manifest.json`: the chain has no beginning: expected a first manifest from \
                commit 0, found `from_commit` 3 and no `previous`";
    broken(&out, &[(Kind::ChainStart, line)]);
    assert_eq!(out.differences("r3"), [], "alone it is good");
}

#[test]
fn a_chain_may_say_that_it_begins_later() {
    let out = Out::new();
    let [_, second, _] = chain(&out);
    let mut third = second;
    third.run = RunId::new("r3");
    third.previous = None;
    third.files[0].path = "a.jsonl".into();
    third.begins_after = Some(CommitNumber(3));
    out.seal(&third);
    broken(&out, &[]);
    third.begins_after = Some(CommitNumber(2));
    out.seal(&third);
    let line = "`r3/manifest.json`: the chain has no beginning: expected a first manifest from \
                commit 2, found `from_commit` 3 and no `previous`";
    broken(&out, &[(Kind::ChainStart, line)]);
}

/// Verifies a manifest of two rows that no other names and that begins behind commit 0.
#[track_caller]
fn stands_alone(change: fn(&mut Manifest)) {
    let out = Out::new();
    chain(&out);
    let mut file = out.file("r4", "a.jsonl", (TWO, TWO), 2);
    file.first_commit = Some(CommitNumber(9));
    file.last_commit = Some(CommitNumber(9));
    let mut alone = of("r4", vec![file]);
    alone.from_commit = CommitNumber(4);
    alone.to_commit = CommitNumber(9);
    alone.snapshot_commit = CommitNumber(12);
    change(&mut alone);
    let path = out.seal(&alone);
    let report = verify(&path, Chain::Follow).unwrap();
    assert_eq!(report.differences, []);
    let sentence = "1 manifest, 1 file, 2 rows, 18 B: every file is as the manifest says, \
                    and it stands alone";
    assert_eq!(report.to_string(), sentence);
    assert!(report.manifests[0].stands_alone);
    // Nothing but standing alone excuses it.
    (alone.export, alone.again) = (Some("daily".into()), false);
    out.seal(&alone);
    let kinds: Vec<_> = out.differences_by("r4", Chain::Follow).iter().map(|one| one.0).collect();
    assert_eq!(kinds, [Kind::ChainStart]);
}

#[test]
fn a_run_without_a_name_begins_anywhere() {
    stands_alone(|manifest| manifest.export = None);
}

#[test]
fn a_range_delivered_again_begins_anywhere() {
    stands_alone(|manifest| manifest.again = true);
}

#[test]
fn a_manifest_that_stands_alone_has_no_predecessor() {
    let out = Out::new();
    let [.., third] = chain(&out);
    let again = Manifest { again: true, ..third.clone() };
    out.seal(&again);
    let line = "`r3/manifest.json`: a manifest that stands alone is in a chain: \
                expected a `previous` of null, found `../r2/manifest.json`";
    broken(&out, &[(Kind::StandsAlone, line)]);
    out.seal(&Manifest { export: None, ..third });
    let export = "`r3/manifest.json`: the predecessor is another export's: \
                  expected none, found `daily`";
    broken(&out, &[(Kind::StandsAlone, line), (Kind::PredecessorExport, export)]);
}

#[test]
fn a_range_delivered_again_is_nobodys_predecessor() {
    let line = "`r3/manifest.json`: a manifest that stands alone is in a chain: \
                expected a predecessor that moved the export's cursor, \
                found one that delivers a range `again`";
    // Everything else about it is right: export, run, sum, and where it ends.
    for from in [0, 2] {
        let out = Out::new();
        let mut again = of("r1", Vec::new());
        (again.from_commit, again.again) = (CommitNumber(from), true);
        out.seal(&again);
        after(&out, "r3", 9, Some(&again));
        broken(&out, &[(Kind::StandsAlone, line)]);
        again.again = false;
        again.from_commit = CommitNumber(0);
        out.seal(&again);
        after(&out, "r3", 9, Some(&again));
        broken(&out, &[]);
    }
}

#[test]
fn a_loop_ends() {
    let out = Out::new();
    let [mut first, ..] = chain(&out);
    first.previous = Some(Previous {
        run: RunId::new("r3"),
        path: "../r3/manifest.json".into(),
        sha256: String::new(),
    });
    out.seal(&first);
    let found = out.differences_by("r3", Chain::Follow);
    let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::PredecessorSha256, Kind::Loop]);
    let line = "`r1/manifest.json`: the chain is a loop: \
                expected a manifest not met before, found `../r3/manifest.json`";
    assert_eq!(found[1].1, line);
}

#[test]
fn a_predecessor_is_always_called_manifest() {
    let out = Out::new();
    let [_, _, mut third] = chain(&out);
    let absolute = out.at("r2", "manifest.json").to_str().unwrap().to_owned();
    for path in ["../r2/a.jsonl", &absolute, "", "../r2"] {
        third.previous.as_mut().unwrap().path = path.into();
        out.seal(&third);
        let report = verify(&out.at("r3", "manifest.json"), Chain::Follow).unwrap();
        let [difference] = &report.differences[..] else { panic!("one difference") };
        assert_eq!(difference.kind, Kind::PredecessorPath);
        let line = format!(
            "the predecessor's path is not one of a manifest: \
             expected a relative path to a `manifest.json`, found `{path}`",
        );
        assert!(difference.to_string().ends_with(&line), "{difference}");
    }
}
