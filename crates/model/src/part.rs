//! The smallest unit of work: a part makes exactly one file.

use serde::{Deserialize, Serialize};

use crate::dataset::{CommitRun, runs_within};
use crate::format::Encoding;
use crate::ids::{CommitNumber, ObjectKey, RunId, SchemaId};
use crate::relation::BoundRelation;

/// Rows of one lake file: `[first_row, first_row + rows)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The file in the lake's object store.
    pub key: ObjectKey,
    /// Bytes of the whole file, so that its footer is found without asking.
    pub file_bytes: u64,
    /// Rows of the whole file.
    pub file_rows: u64,
    /// SHA-256 of the whole file, bare lower-case hex.
    pub sha256: String,
    /// The schema the file was written with.
    pub schema_id: SchemaId,
    /// The first row taken.
    pub first_row: u64,
    /// Rows taken; never 0.
    pub rows: u64,
    /// Which commit each of the rows taken belongs to; the first entry may begin before them. Empty for
    /// staged files.
    pub runs: Vec<CommitRun>,
}

impl Input {
    /// Returns some of its rows, with the commits of those only: a merged file has very many.
    ///
    /// Units: `first_row` counts from the file's start.
    pub fn take(&self, first_row: u64, rows: u64) -> Self {
        let Self { key, file_bytes, file_rows, sha256, schema_id, .. } = self;
        Self {
            key: key.clone(),
            file_bytes: *file_bytes,
            file_rows: *file_rows,
            sha256: sha256.clone(),
            schema_id: schema_id.clone(),
            first_row,
            rows,
            runs: runs_within(&self.runs, first_row, first_row + rows).to_vec(),
        }
    }
}

/// Where a part stands in its run. A part that met a hard maximum of bytes is split: what it did not
/// write becomes a part with the same sequence and the next split number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartId {
    /// Its place in the plan, from 0.
    pub sequence: u32,
    /// 0 as planned; n for the n-th remainder.
    pub split: u32,
}

impl PartId {
    /// Returns the id of a part as planned.
    pub fn planned(sequence: u32) -> Self {
        Self { sequence, split: 0 }
    }

    /// Returns the id that is written so.
    ///
    /// ```
    /// use model::part::PartId;
    /// let id = PartId { sequence: 3, split: 1 };
    /// assert_eq!(PartId::parse(&id.to_string()), Some(id));
    /// assert_eq!(PartId::parse("00003"), Some(PartId::planned(3)));
    /// assert_eq!(PartId::parse("3-x"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, split) = text.split_once('-').unwrap_or((text, "0"));
        Some(Self { sequence: sequence.parse().ok()?, split: split.parse().ok()? })
    }

    /// Returns the id of what this part leaves over.
    pub fn remainder(self) -> Self {
        Self { split: self.split + 1, ..self }
    }
}

impl std::fmt::Display for PartId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.split {
            0 => write!(f, "{:05}", self.sequence),
            split => write!(f, "{:05}-{split}", self.sequence),
        }
    }
}

/// A unit of work and its output file, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its place in the run.
    pub id: PartId,
    /// The rows it reads, in order.
    pub inputs: Vec<Input>,
    /// The file's name, relative to the run's folder.
    pub name: String,
    /// What became of it, once it is written.
    pub receipt: Option<Receipt>,
}

impl Part {
    /// Returns how many input rows the part reads.
    pub fn rows_planned(&self) -> u64 {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    /// Cuts the part after `rows` input rows and returns the inputs that remain.
    ///
    /// Shape: `rows` from 0 to [`Part::rows_planned`]; the cut may fall inside an input.
    ///
    /// # Panics
    ///
    /// If `rows` is more than the part reads.
    pub fn cut(&mut self, rows: u64) -> Vec<Input> {
        assert!(rows <= self.rows_planned(), "a part cannot be cut behind its end");
        let mut left = rows;
        let mut rest = Vec::new();
        let mut kept = Vec::new();
        for input in std::mem::take(&mut self.inputs) {
            let here = left.min(input.rows);
            left -= here;
            if here > 0 {
                kept.push(input.take(input.first_row, here));
            }
            if here < input.rows {
                rest.push(input.take(input.first_row + here, input.rows - here));
            }
        }
        self.inputs = kept;
        rest
    }
}

/// Everything needed to run one part, as plain data: it can be sent to another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartTask {
    /// The run.
    pub run: RunId,
    /// The lease under which it is written.
    pub epoch: u64,
    /// The part.
    pub part: Part,
    /// How input rows become output rows.
    pub relation: BoundRelation,
    /// How output rows become bytes.
    pub encoding: Encoding,
    /// Where the file goes, relative to the destination's root.
    pub key: ObjectKey,
    /// Whether the receipt shall carry md5 too.
    pub md5: bool,
}

/// What running a part returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where the file is, relative to the destination's root.
    pub key: ObjectKey,
    /// Input rows that went in; equals the part's planned rows unless it was split.
    pub rows_read: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes before compression; for Parquet the bytes of the uncompressed pages.
    pub uncompressed_bytes: u64,
    /// SHA-256 of the file, bare lower-case hex.
    pub sha256: String,
    /// MD5 of the file, bare lower-case hex, on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The least commit among the input rows; none for staged rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_commit: Option<CommitNumber>,
    /// The greatest commit among the input rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<CommitNumber>,
    /// Values that the format cannot hold and that were written as null (NaN, infinity).
    #[serde(default)]
    pub values_lost: u64,
    /// Milliseconds that the part took.
    #[serde(default)]
    pub duration_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: &[u64]) -> Part {
        let input = |rows: &u64| Input {
            key: ObjectKey::new("f"),
            file_bytes: 1,
            file_rows: 100,
            sha256: String::new(),
            schema_id: SchemaId::new("s"),
            first_row: 10,
            rows: *rows,
            runs: Vec::new(),
        };
        let inputs = rows.iter().map(input).collect();
        Part { id: PartId::planned(3), inputs, name: "p".into(), receipt: None }
    }

    fn rows(inputs: &[Input]) -> Vec<(u64, u64)> {
        inputs.iter().map(|input| (input.first_row, input.rows)).collect()
    }

    #[test]
    fn a_cut_inside_an_input_divides_it() {
        let mut part = part(&[5, 7]);
        let rest = part.cut(8);
        assert_eq!(rows(&part.inputs), [(10, 5), (10, 3)]);
        assert_eq!(rows(&rest), [(13, 4)]);
    }

    #[test]
    fn a_cut_at_the_end_leaves_nothing() {
        let mut part = part(&[5]);
        assert!(part.cut(5).is_empty());
        assert_eq!(part.rows_planned(), 5);
    }

    #[test]
    fn remainders_sort_behind_their_part_and_before_the_next() {
        let first = PartId::planned(3);
        assert!(first < first.remainder() && first.remainder() < PartId::planned(4));
        assert_eq!(first.remainder().to_string(), "00003-1");
    }
}
