//! From commits to rows: which rows of which files were first added in a range of commits.

use std::sync::Arc;

use model::CommitNumber;
use model::dataset::DataFile;
use model::part::Input;

use super::prune::Candidate;

/// Returns the rows of `files` whose commits lie in `(from, to]`, adjacent ones as one.
pub(crate) fn between(files: &[DataFile], from: CommitNumber, to: CommitNumber) -> Vec<Candidate> {
    let mut out = Vec::new();
    for file in files {
        let statistics = Arc::new(file.statistics.clone());
        for (first_row, end) in rows(file, from, to) {
            let input = Input {
                key: file.key.clone(),
                file_bytes: file.bytes,
                file_rows: file.rows,
                sha256: file.sha256.clone(),
                schema_id: file.schema_id.clone(),
                first_row,
                rows: end - first_row,
                runs: file.runs.clone(),
            };
            out.push(Candidate { input, statistics: Arc::clone(&statistics) });
        }
    }
    out
}

fn rows(file: &DataFile, from: CommitNumber, to: CommitNumber) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (at, run) in file.runs.iter().enumerate() {
        let end = file.runs.get(at + 1).map_or(file.rows, |next| next.first_row);
        if run.commit <= from || run.commit > to || run.first_row >= end {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.1 == run.first_row => last.1 = end,
            _ => ranges.push((run.first_row, end)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use model::dataset::CommitRun;
    use model::{BatchId, DatasetId, FileId, ObjectKey, SchemaId};

    use super::*;

    fn file(runs: &[(u64, u64)], rows: u64) -> DataFile {
        let run = |&(commit, first_row): &(u64, u64)| CommitRun {
            commit: CommitNumber(commit),
            time: DateTime::<Utc>::UNIX_EPOCH,
            first_row,
        };
        DataFile {
            id: FileId::mint(),
            dataset: DatasetId::mint(),
            batch: BatchId::mint(),
            key: ObjectKey::new("f.parquet"),
            schema_id: SchemaId::new("s"),
            rows,
            bytes: 1,
            sha256: String::new(),
            codec: "zstd".into(),
            added: CommitNumber(1),
            removed: None,
            runs: runs.iter().map(run).collect(),
            statistics: std::collections::BTreeMap::new(),
        }
    }

    fn check(from: u64, to: u64, expected: &[(u64, u64)]) {
        let file = file(&[(1, 0), (2, 10), (4, 30), (5, 60)], 100);
        let found = between(&[file], CommitNumber(from), CommitNumber(to));
        let found: Vec<_> =
            found.iter().map(|c| (c.input.first_row, c.input.first_row + c.input.rows)).collect();
        assert_eq!(found, expected, "({from}, {to}]");
    }

    #[test]
    fn a_range_of_commits_is_a_range_of_rows() {
        check(0, 9, &[(0, 100)]);
        check(0, 1, &[(0, 10)]);
        check(1, 4, &[(10, 60)]);
        check(2, 3, &[]);
        check(4, 5, &[(60, 100)]);
        check(5, 9, &[]);
    }
}
