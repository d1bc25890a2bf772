//! Files that were tampered with, one kind at a time.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;

use super::*;

#[test]
fn a_good_export_is_said_to_be_good_in_one_sentence() {
    let out = Out::new();
    let manifest = out.two_files();
    let report = verify(&out.at("r1", "manifest.json"), Chain::One).unwrap();
    assert!(report.is_good());
    let sentence = "1 manifest, 2 files, 4 rows, 36 B: every file is as the manifest says";
    assert_eq!(report.to_string(), sentence);
    assert_eq!((report.files, report.rows, report.bytes), (2, 4, 36));
    let [verified] = &report.manifests[..] else { panic!("one manifest") };
    assert_eq!((&verified.run, verified.rows), (&manifest.run, 4));
}

#[test]
fn no_files_are_good_too() {
    let out = Out::new();
    out.seal(&of("r1", Vec::new()));
    let report = verify(&out.at("r1", "manifest.json"), Chain::Follow).unwrap();
    let sentence = "1 manifest, 0 files, 0 rows, 0 B: every file is as the manifest says, \
                    and the chain begins with it";
    assert_eq!(report.to_string(), sentence);
}

#[test]
fn a_flipped_byte_is_found_by_both_sums() {
    let out = Out::new();
    let manifest = out.two_files();
    let other = b"{\"id\":1}\n{\"id\":3}\n";
    fs::write(out.at("r1", "a.jsonl"), other).unwrap();
    let (sha256, md5) = (&manifest.files[0].sha256, manifest.files[0].md5.as_ref().unwrap());
    let start = "`r1/manifest.json`: `a.jsonl`: ";
    let expected = [
        (
            Kind::Sha256,
            format!(
                "{start}the SHA-256 differs: expected `{sha256}`, found `{}`",
                sha256_hex(other)
            ),
        ),
        (
            Kind::Md5,
            format!(
                "{start}the MD5 differs: expected `{md5}`, found `{}`",
                hex(&Md5::digest(other))
            ),
        ),
    ];
    assert_eq!(out.differences("r1"), expected);
}

#[test]
fn a_file_cut_off_differs_in_all_that_is_counted() {
    let out = Out::new();
    out.two_files();
    fs::write(out.at("r1", "a.jsonl"), &TWO[..12]).unwrap();
    let found = out.differences("r1");
    let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Bytes, Kind::Sha256, Kind::Md5, Kind::Content]);
    let start = "`r1/manifest.json`: `a.jsonl`: the ";
    assert_eq!(found[0].1, format!("{start}length differs: expected 18 bytes, found 12 bytes"));
    let content = "content is broken: expected one JSON object a line, \
                   found line 2, which is not JSON from column 3 on";
    assert_eq!(found[3].1, format!("{start}{content}"));
}

#[test]
fn a_row_taken_out_is_found_although_sums_were_made_again() {
    let out = Out::new();
    let one = b"{\"id\":1}\n";
    let mut file = out.file("r1", "a.jsonl", (one, one), 2);
    out.seal(&of("r1", vec![file.clone()]));
    let line = "`r1/manifest.json`: `a.jsonl`: the number of rows differs: \
                expected 2 rows, found 1 row";
    out.one_difference("r1", Kind::Rows, line);
    file.rows = 1;
    file.uncompressed_bytes = 18;
    out.seal(&of("r1", vec![file]));
    let line = "`r1/manifest.json`: `a.jsonl`: the length before compression differs: \
                expected 18 bytes, found 9 bytes";
    out.one_difference("r1", Kind::UncompressedBytes, line);
}

#[test]
fn a_missing_file_is_missing_whatever_stands_in_its_way() {
    let out = Out::new();
    out.two_files();
    fs::remove_file(out.at("r1", "b/c.jsonl")).unwrap();
    let line = "`r1/manifest.json`: `b/c.jsonl`: the file is missing: \
                expected 18 bytes, found nothing";
    out.one_difference("r1", Kind::Missing, line);
    fs::remove_dir(out.at("r1", "b")).unwrap();
    out.one_difference("r1", Kind::Missing, line);
    fs::write(out.at("r1", "b"), "a file").unwrap();
    out.one_difference("r1", Kind::Missing, line);
}

#[test]
fn a_folder_is_no_file() {
    let out = Out::new();
    out.two_files();
    fs::remove_file(out.at("r1", "a.jsonl")).unwrap();
    fs::create_dir(out.at("r1", "a.jsonl")).unwrap();
    let line = "`r1/manifest.json`: `a.jsonl`: the file cannot be read: \
                expected a file, found something that is no file";
    out.one_difference("r1", Kind::Unreadable, line);
}

#[test]
fn nothing_outside_of_the_folder_is_read() {
    let out = Out::new();
    let outside = out.file("r0", "a.jsonl", (TWO, TWO), 2);
    out.at("r1", "manifest.json");
    let path = |path: &str| File { path: path.into(), ..outside.clone() };
    let absolute = out.at("r0", "a.jsonl").to_str().unwrap().to_owned();
    for wrong in ["../r0/a.jsonl", &absolute, "", "x/../../r0/a.jsonl", "./a.jsonl"] {
        out.seal(&of("r1", vec![path(wrong)]));
        let line = format!(
            "`r1/manifest.json`: `{wrong}`: the path leads out of the manifest's folder: \
             expected names of folders and a file, with `/` between, found others",
        );
        let report = verify(&out.at("r1", "manifest.json"), Chain::One).unwrap();
        assert_eq!((report.differences.len(), report.files), (1, 0), "{wrong}");
        let difference = &report.differences[0];
        let manifest = out.at("r1", "manifest.json");
        let told = difference.to_string().replace(manifest.to_str().unwrap(), "r1/manifest.json");
        assert_eq!((difference.kind, told), (Kind::Path, line));
    }
    symlink(out.at("r0", "a.jsonl"), out.at("r1", "a.jsonl")).unwrap();
    out.seal(&of("r1", vec![path("a.jsonl")]));
    let line = "`r1/manifest.json`: `a.jsonl`: the path leads out of the manifest's folder: \
                expected a file in the manifest's folder, found a link out of it";
    out.one_difference("r1", Kind::Path, line);
}

#[test]
fn files_are_found_through_a_link_to_the_manifest() {
    let out = Out::new();
    out.two_files();
    let latest = out.at("", "latest.json");
    symlink(out.at("r1", "manifest.json"), &latest).unwrap();
    assert!(verify(&latest, Chain::Follow).unwrap().is_good());
}

#[test]
fn one_file_is_one_entry() {
    let out = Out::new();
    let mut manifest = out.two_files();
    manifest.files[1] = manifest.files[0].clone();
    out.seal(&manifest);
    let line = "`r1/manifest.json`: `a.jsonl`: the path is named twice: \
                expected a path of its own, found one more entry";
    out.one_difference("r1", Kind::DuplicatePath, line);
}

#[test]
fn the_manifest_is_no_file_of_its_own() {
    let out = Out::new();
    let mut manifest = out.two_files();
    manifest.files[1].path = "manifest.json".into();
    out.seal(&manifest);
    let kinds: Vec<_> = out.differences("r1").into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::DuplicatePath]);
}

#[test]
fn totals_are_sums() {
    let out = Out::new();
    let mut manifest = out.two_files();
    manifest.totals = Totals { rows: 5, bytes: 37, files: 1 };
    out.seal(&manifest);
    let line = |what: &str| format!("`r1/manifest.json`: the total of {what} in `totals`");
    let expected = [
        (Kind::TotalRows, line("rows is wrong: expected 4 rows, found 5 rows")),
        (Kind::TotalBytes, line("bytes is wrong: expected 36 bytes, found 37 bytes")),
        (Kind::TotalFiles, line("files is wrong: expected 2 files, found 1 file")),
    ];
    assert_eq!(out.differences("r1"), expected);
}

#[test]
fn the_schema_has_the_id_of_its_fields() {
    let out = Out::new();
    let mut manifest = out.two_files();
    let id = manifest.schema.id.clone();
    manifest.schema.fields[0].name = "key".into();
    let now = Schema { fields: manifest.schema.fields.clone() }.id();
    out.seal(&manifest);
    let line = format!(
        "`r1/manifest.json`: the schema's id is not that of its fields: \
         expected `{now}`, found `{id}`",
    );
    out.one_difference("r1", Kind::SchemaId, &line);
}

#[test]
fn commits_lie_in_the_range() {
    let out = Out::new();
    let mut manifest = out.two_files();
    let commits = [
        (Some(0), Some(3), "first 0 and last 3"),
        (Some(1), Some(4), "first 1 and last 4"),
        (Some(3), Some(1), "first 3 and last 1"),
        (None, Some(1), "last 1 without a first"),
        (Some(1), None, "first 1 without a last"),
    ];
    for (first, last, found) in commits {
        manifest.files[0].first_commit = first.map(CommitNumber);
        manifest.files[0].last_commit = last.map(CommitNumber);
        out.seal(&manifest);
        let line = format!(
            "`r1/manifest.json`: `a.jsonl`: the commits are outside of the manifest's range: \
             expected commits in (0, 3], found {found}",
        );
        out.one_difference("r1", Kind::Commits, &line);
    }
    manifest.files[0].first_commit = None;
    manifest.files[0].last_commit = None;
    out.seal(&manifest);
    assert_eq!(out.differences("r1"), [], "staged rows have no commits");
}

#[test]
fn the_range_is_in_order() {
    let out = Out::new();
    let sealed = |from, to, snapshot, reset: &[u64]| {
        let mut manifest = of("r1", Vec::new());
        manifest.from_commit = CommitNumber(from);
        manifest.to_commit = CommitNumber(to);
        manifest.snapshot_commit = CommitNumber(snapshot);
        manifest.reset = reset.iter().copied().map(CommitNumber).collect();
        out.seal(&manifest);
    };
    sealed(4, 3, 4, &[]);
    let start = "`r1/manifest.json`: the commits are out of order: expected ";
    let order = "`from_commit` ≤ `to_commit` ≤ `snapshot_commit`, found";
    out.one_difference("r1", Kind::Range, &format!("{start}{order} 4, 3 and 4"));
    sealed(1, 3, 2, &[]);
    out.one_difference("r1", Kind::Range, &format!("{start}{order} 1, 3 and 2"));
    sealed(1, 3, 3, &[2, 1]);
    out.one_difference("r1", Kind::Range, &format!("{start}`reset` in (1, 3], found commit 1"));
    sealed(3, 3, 3, &[]);
    assert_eq!(out.differences("r1"), [], "an empty range is a range");
}

#[test]
fn rows_are_counted_in_every_format_and_packing() {
    let out = Out::new();
    let lines = b"{\"id\":1}\n".repeat(1000);
    let members: Vec<u8> = lines.chunks(1000).flat_map(gzip).collect();
    let frames: Vec<u8> =
        lines.chunks(1000).flat_map(|chunk| zstd::encode_all(chunk, 1).unwrap()).collect();
    for (compression, packed) in [("none", &lines), ("gzip", &members), ("zstd", &frames)] {
        let file = out.file(compression, "a.jsonl", (packed, &lines), 1000);
        let mut manifest = of(compression, vec![file]);
        manifest.compression = compression.into();
        out.seal(&manifest);
        assert_eq!(out.differences(compression), [], "{compression}");
    }
    let records = b"id\r\n\"1\r\n2\"\r\n\"\\\"\r\n\"\r\n".as_slice();
    let mut manifest = of("csv", vec![out.file("csv", "a.csv", (records, records), 2)]);
    manifest.format = "csv".into();
    manifest.encoder = EncoderId("csv/1;escape=backslash;header=true;null=%5cN;none".into());
    out.seal(&manifest);
    assert_eq!(out.differences("csv"), []);
    manifest.encoder = EncoderId("csv/1;escape=backslash;header=false".into());
    out.seal(&manifest);
    let line = "`csv/manifest.json`: `a.csv`: the number of rows differs: \
                expected 2 rows, found 3 rows";
    out.one_difference("csv", Kind::Rows, line);
}

#[test]
fn packed_files_cut_off_are_broken_also_if_their_sums_are_right() {
    let out = Out::new();
    let packed = gzip(TWO);
    let file = out.file("r1", "a.jsonl.gz", (&packed[..packed.len() - 4], TWO), 2);
    let mut manifest = of("r1", vec![file]);
    manifest.compression = "gzip".into();
    out.seal(&manifest);
    let line = "`r1/manifest.json`: `a.jsonl.gz`: the content is broken: \
                expected one JSON object a line, found compressed data that ends too early";
    out.one_difference("r1", Kind::Content, line);
}

fn parquet(rows: i64) -> Vec<u8> {
    let ids = Arc::new(Int64Array::from_iter_values(0..rows)) as _;
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_counts_by_its_footer() {
    let out = Out::new();
    let bytes = parquet(7);
    let sealed = |bytes: &[u8], rows| {
        let mut manifest = of("r1", vec![out.file("r1", "a.parquet", (bytes, b"any"), rows)]);
        manifest.format = "parquet".into();
        manifest.compression = "snappy".into();
        out.seal(&manifest);
    };
    sealed(&bytes, 7);
    assert_eq!(out.differences("r1"), []);
    sealed(&bytes, 8);
    let line = "`r1/manifest.json`: `a.parquet`: the number of rows differs: \
                expected 8 rows, found 7 rows";
    out.one_difference("r1", Kind::Rows, line);
    sealed(&bytes[..bytes.len() - 1], 7);
    let line = "`r1/manifest.json`: `a.parquet`: the content is broken: \
                expected a whole Parquet file, found no Parquet footer that can be read";
    out.one_difference("r1", Kind::Content, line);
    sealed(b"", 0);
    out.one_difference("r1", Kind::Content, line);
}

#[test]
fn an_unknown_format_is_hashed_and_said() {
    let out = Out::new();
    let mut manifest = out.two_files();
    manifest.format = "orc".into();
    out.seal(&manifest);
    let line = "`r1/manifest.json`: the format is unknown: expected `jsonl` or `csv` with `none`, \
                `gzip` or `zstd`, or `parquet`, found `orc` with `none`";
    out.one_difference("r1", Kind::Format, line);
}

#[test]
fn differences_come_in_the_order_of_the_files() {
    let out = Out::new();
    let entry = out.file("r1", "x", (TWO, TWO), 2);
    let files: Vec<_> =
        (0..200).map(|n| File { path: format!("gone-{n:03}"), ..entry.clone() }).collect();
    out.seal(&of("r1", files.clone()));
    let report = verify(&out.at("r1", "manifest.json"), Chain::One).unwrap();
    let told: Vec<_> = report.differences.iter().filter_map(|one| one.file.as_deref()).collect();
    let listed: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(told, listed);
    let sentence = "1 manifest, 0 files, 0 rows, 0 B: 200 differences found";
    assert_eq!(report.to_string(), sentence);
}
