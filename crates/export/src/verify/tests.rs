//! Manifests made by hand, good ones and ones that were tampered with in every way.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chains;
mod documents;
mod files;
mod lists;
mod refusals;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use chrono::DateTime;
use md5::Md5;
use model::digest::{hex, sha256_hex};
use model::format::EncoderId;
use model::manifest::{File, Manifest, Totals, VERSION};
use model::relation::{Selection, Source};
use model::schema::{Field, Schema, Type};
use model::{CommitNumber, RunId};
use sha2::Digest;
use tempfile::TempDir;

use super::*;

/// Two rows of JSON Lines.
const TWO: &[u8] = b"{\"id\":1}\n{\"id\":2}\n";

/// A folder of runs.
struct Out {
    folder: TempDir,
}

impl Out {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the path of a file of a run, and makes the run's folder.
    fn at(&self, run: &str, name: &str) -> PathBuf {
        let path = self.folder.path().join(run).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Writes a file and returns its true entry.
    fn file(&self, run: &str, name: &str, (bytes, text): (&[u8], &[u8]), rows: u64) -> File {
        fs::write(self.at(run, name), bytes).unwrap();
        File {
            path: name.into(),
            rows,
            bytes: bytes.len() as u64,
            uncompressed_bytes: text.len() as u64,
            sha256: sha256_hex(bytes),
            md5: Some(hex(&Md5::digest(bytes))),
            first_commit: Some(CommitNumber(1)),
            last_commit: Some(CommitNumber(3)),
        }
    }

    /// Writes a manifest and returns its path.
    fn seal(&self, manifest: &Manifest) -> PathBuf {
        let path = self.at(manifest.run.as_str(), "manifest.json");
        fs::write(&path, manifest.to_text()).unwrap();
        path
    }

    /// Writes two files of two rows each and their manifest.
    fn two_files(&self) -> Manifest {
        let files = ["a.jsonl", "b/c.jsonl"].map(|name| self.file("r1", name, (TWO, TWO), 2));
        let manifest = of("r1", files.into());
        self.seal(&manifest);
        manifest
    }

    /// Verifies one manifest and returns its differences as kind and line, the folder left out.
    fn differences(&self, run: &str) -> Vec<(Kind, String)> {
        self.differences_by(run, Chain::One)
    }

    fn differences_by(&self, run: &str, chain: Chain) -> Vec<(Kind, String)> {
        let report = verify(&self.at(run, "manifest.json"), chain).unwrap();
        let folder = format!("{}/", self.folder.path().display());
        let line = |difference: &Difference| difference.to_string().replace(&folder, "");
        report.differences.iter().map(|one| (one.kind, line(one))).collect()
    }

    /// Verifies one manifest and expects exactly one difference.
    #[track_caller]
    fn one_difference(&self, run: &str, kind: Kind, line: &str) {
        assert_eq!(self.differences(run), [(kind, line.to_owned())]);
    }
}

/// Makes a manifest of those files with commits 1 to 3.
fn of(run: &str, files: Vec<File>) -> Manifest {
    let schema = Schema { fields: vec![Field::new("id", Type::Int64)] };
    Manifest {
        version: VERSION,
        export: Some("daily".into()),
        run: RunId::new(run),
        relation: Source::Dataset("orders".into()),
        selection: Selection::default(),
        snapshot_commit: CommitNumber(3),
        from_commit: CommitNumber(0),
        to_commit: CommitNumber(3),
        reset: Vec::new(),
        schema: (&schema).into(),
        format: "jsonl".into(),
        compression: "none".into(),
        encoder: EncoderId("jsonl/1;int64=number;nulls=omit;chunk=4096;none".into()),
        created_at: DateTime::UNIX_EPOCH,
        again: false,
        begins_after: None,
        previous: None,
        totals: Totals {
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files: files.len() as u64,
        },
        files,
        files_list: None,
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
