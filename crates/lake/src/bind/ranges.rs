//! From commits to rows: which rows of which files were first added in a range of commits.

use std::sync::Arc;

use model::CommitNumber;
use model::dataset::{DataFile, runs_within};
use model::part::Input;

use super::prune::Candidate;

/// Returns the rows of `files` whose commits lie in `(from, to]`, in the order of [`in_order`].
pub(crate) fn between(files: &[DataFile], from: CommitNumber, to: CommitNumber) -> Vec<Candidate> {
    let statistics: Vec<_> = files.iter().map(|file| Arc::new(file.statistics.clone())).collect();
    let pieces = in_order(files, |commit| commit > from && commit <= to);
    let candidate = |piece: Piece| Candidate {
        statistics: Arc::clone(&statistics[piece.file]),
        input: piece.input(files),
    };
    pieces.into_iter().map(candidate).collect()
}

/// Some rows of a file, next to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Which of the files.
    file: usize,
    commit: CommitNumber,
    first_row: u64,
    end: u64,
}

impl Piece {
    /// Returns the rows as they are read.
    pub(crate) fn input(&self, files: &[DataFile]) -> Input {
        let file = &files[self.file];
        let (first, rows) = (self.first_row, self.end - self.first_row);
        Input {
            key: file.key.clone(),
            file_bytes: file.bytes,
            file_rows: file.rows,
            sha256: file.sha256.clone(),
            schema_id: file.schema_id.clone(),
            first_row: first,
            rows,
            runs: runs_within(&file.runs, first, self.end).to_vec(),
        }
    }
}

/// Returns the rows whose commits are `wanted`, by commit, then arrival, adjacent ones of a file as one.
///
/// Files come in that order, but one that was merged may hold commits on both sides of another's.
pub(crate) fn in_order(files: &[DataFile], wanted: impl Fn(CommitNumber) -> bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, file) in files.iter().enumerate() {
        for (n, run) in file.runs.iter().enumerate() {
            let end = file.runs.get(n + 1).map_or(file.rows, |next| next.first_row);
            if wanted(run.commit) && run.first_row < end {
                let (commit, first_row) = (run.commit, run.first_row);
                pieces.push(Piece { file: at, commit, first_row, end });
            }
        }
    }
    // Stable: within a commit files stay in their order.
    pieces.sort_by_key(|piece| piece.commit);
    pieces.dedup_by(|next, piece| {
        let adjoins = next.file == piece.file && next.first_row == piece.end;
        if adjoins {
            piece.end = next.end;
        }
        adjoins
    });
    pieces
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
            place: 0,
            removed: None,
            runs: runs.iter().map(run).collect(),
            statistics: std::collections::BTreeMap::new(),
            in_tail: false,
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

    #[test]
    fn rows_come_by_commit_whatever_file_they_are_in() {
        // The middle one was taken back when the others were merged; an older snapshot shows it still.
        let files = [file(&[(2, 0), (4, 10), (7, 30), (9, 40)], 50), file(&[(6, 0)], 5)];
        let found = between(&files, CommitNumber(0), CommitNumber(8));
        let found: Vec<_> =
            found.iter().map(|c| (c.input.file_rows, c.input.first_row, c.input.rows)).collect();
        assert_eq!(found, [(50, 0, 30), (5, 0, 5), (50, 30, 10)]);
    }
}
