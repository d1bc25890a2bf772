//! Cutting the input rows of a run into parts.
//!
//! A pure function of the inputs and of the rows per part. A part takes rows in order and may span
//! several files and begin or end inside one.

use std::collections::HashSet;

use model::format::FormatSpec;
use model::limits::{
    COPY_BYTES_TARGET, COPY_FILES_MAX, FILE_NAME_BYTES_MAX, PART_BYTES_TARGET, PARTS_MAX,
};
use model::manifest::FILE_NAME;
use model::part::Input;
use model::{Code, Failure, Fault};

use crate::manifest::SIDECAR_NAME;
use crate::sample::Sample;

/// Returns how many input rows one part takes: `file_rows`, or as many as should encode to 7/8 of
/// `file_bytes` (a hard maximum) or to [`PART_BYTES_TARGET`], whichever is less.
///
/// Shape: at least 1. Where no sampled row came out, what the rows take in the lake stands for what they
/// will take: a filter that drops the first rows may let all others pass.
pub(crate) fn rows_per_part(spec: &FormatSpec, sample: &Sample, inputs: &[Input]) -> u64 {
    let target = spec.file_bytes.map_or(PART_BYTES_TARGET, |bytes| bytes - bytes / 8);
    let (rows, bytes) = match sample.rows {
        0 => stored(inputs),
        _ => (u128::from(sample.rows_read), u128::from(sample.bytes)),
    };
    let by_bytes = match (u128::from(target) * rows).checked_div(bytes) {
        None => u64::MAX,
        Some(rows) => u64::try_from(rows).unwrap_or(u64::MAX),
    };
    by_bytes.min(spec.file_rows.unwrap_or(u64::MAX)).max(1)
}

/// Returns the rows of the inputs and about how many bytes they take in the lake.
fn stored(inputs: &[Input]) -> (u128, u128) {
    let rows = inputs.iter().map(|input| u128::from(input.rows)).sum();
    (rows, inputs.iter().map(|input| u128::from(stored_bytes(input))).sum())
}

/// Returns about how many bytes the rows of an input take in the lake.
pub(crate) fn stored_bytes(input: &Input) -> u64 {
    let (bytes, rows) = (u128::from(input.file_bytes), u128::from(input.rows));
    let bytes = bytes * rows / u128::from(input.file_rows.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How much one part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartSize {
    /// So many input rows, at least one.
    Rows(u64),
    /// An input as it is, with what follows it up to [`COPY_BYTES_TARGET`] together.
    Files,
}

/// Returns how many parts the inputs make; no rows make none.
pub(crate) fn part_count(inputs: &[Input], size: PartSize) -> Result<u32, Error> {
    let parts = match size {
        PartSize::Rows(most) => inputs.iter().map(|input| input.rows).sum::<u64>().div_ceil(most),
        PartSize::Files => Cut::new(inputs.to_vec(), size).count() as u64,
    };
    match u32::try_from(parts) {
        Ok(count) if parts <= PARTS_MAX as u64 => Ok(count),
        _ => Err(Error::TooMany { parts }),
    }
}

/// Yields the inputs of one part after the other.
pub(crate) struct Cut {
    inputs: std::iter::Peekable<std::vec::IntoIter<Input>>,
    /// What is left of the input that the last part ended in.
    open: Option<Input>,
    size: PartSize,
}

impl Cut {
    pub(crate) fn new(inputs: Vec<Input>, size: PartSize) -> Self {
        assert!(size != PartSize::Rows(0), "a part takes at least one row");
        Self { inputs: inputs.into_iter().peekable(), open: None, size }
    }

    fn by_rows(&mut self, rows: u64) -> Vec<Input> {
        let mut left = rows;
        let mut part = Vec::new();
        while left > 0 {
            let Some(input) = self.open.take().or_else(|| self.inputs.next()) else { break };
            let here = left.min(input.rows);
            left -= here;
            if here < input.rows {
                self.open = Some(input.take(input.first_row + here, input.rows - here));
            }
            if here > 0 {
                part.push(input.take(input.first_row, here));
            }
        }
        part
    }

    fn by_files(&mut self) -> Vec<Input> {
        let Some(first) = self.inputs.next() else { return Vec::new() };
        let mut bytes = stored_bytes(&first);
        let mut part = vec![first];
        let joins = |bytes: u64| {
            move |next: &Input| bytes.saturating_add(stored_bytes(next)) <= COPY_BYTES_TARGET
        };
        while part.len() < COPY_FILES_MAX
            && let Some(next) = self.inputs.next_if(joins(bytes))
        {
            bytes += stored_bytes(&next);
            part.push(next);
        }
        part
    }
}

impl Iterator for Cut {
    type Item = Vec<Input>;

    fn next(&mut self) -> Option<Vec<Input>> {
        let part = match self.size {
            PartSize::Rows(rows) => self.by_rows(rows),
            PartSize::Files => self.by_files(),
        };
        (!part.is_empty()).then_some(part)
    }
}

/// Checks the names of a run's files one by one.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    /// Takes a name, or says why it cannot be one.
    pub(crate) fn take(&mut self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        if !self.0.insert(name.to_owned()) {
            return Err(Error::Collision { name: name.to_owned() });
        }
        Ok(())
    }
}

/// Checks that a name stays inside the run's folder and is not one that a seal uses.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let bad = |part: &str| {
        part.is_empty() || part == "." || part == ".." || part.len() > FILE_NAME_BYTES_MAX
    };
    if name.contains('\\') || name.split('/').any(bad) {
        return Err(Error::BadName { name: name.to_owned() });
    }
    // Also as a folder: the seal could not be put in its place.
    let first = name.split('/').next().unwrap_or_default();
    if [FILE_NAME, SIDECAR_NAME].iter().any(|taken| first.eq_ignore_ascii_case(taken)) {
        return Err(Error::Reserved { name: name.to_owned() });
    }
    Ok(())
}

/// Why a plan cannot be cut into files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More files than a run may have.
    #[error("the export would make {parts} files, more than {PARTS_MAX}; ask for larger files")]
    TooMany {
        /// How many.
        parts: u64,
    },
    /// Two parts would have the same name.
    #[error("two files would be called `{name}`; put `{{part}}` into the name template")]
    Collision {
        /// The name.
        name: String,
    },
    /// The name is no path below the run's folder.
    #[error("`{name}` cannot be the name of a file; change the name template")]
    BadName {
        /// The name.
        name: String,
    },
    /// The seal uses the name.
    #[error("`{name}` is kept for the seal of the export; change the name template")]
    Reserved {
        /// The name.
        name: String,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::TooMany { .. } => Code::TooLarge,
            Self::Collision { .. } | Self::BadName { .. } | Self::Reserved { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{ObjectKey, SchemaId};
    use proptest::prelude::*;

    use super::*;

    fn input(name: usize, first_row: u64, rows: u64) -> Input {
        Input {
            key: ObjectKey::new(name.to_string()),
            file_bytes: 1,
            file_rows: first_row + rows,
            sha256: String::new(),
            schema_id: SchemaId::new("s"),
            first_row,
            rows,
            runs: Vec::new(),
        }
    }

    fn spec(file_rows: Option<u64>, file_bytes: Option<u64>) -> FormatSpec {
        let (compression, options) = (None, BTreeMap::new());
        FormatSpec {
            format: "f".into(),
            compression,
            options,
            file_rows,
            file_bytes,
            name: None,
            folder: None,
            md5: false,
        }
    }

    fn sample(rows_read: u64, bytes: u64) -> Sample {
        Sample { rows_read, rows: rows_read, bytes }
    }

    fn shape(parts: &[Vec<Input>]) -> Vec<Vec<(u64, u64)>> {
        let one = |part: &Vec<Input>| part.iter().map(|i| (i.first_row, i.rows)).collect();
        parts.iter().map(one).collect()
    }

    #[test]
    fn a_part_spans_files_and_ends_inside_one() {
        let parts: Vec<_> =
            Cut::new(vec![input(0, 2, 3), input(1, 0, 4)], PartSize::Rows(5)).collect();
        assert_eq!(shape(&parts), [vec![(2, 3), (0, 2)], vec![(2, 2)]]);
    }

    #[test]
    fn no_rows_make_no_part() {
        for size in [PartSize::Rows(5), PartSize::Files] {
            assert_eq!(Cut::new(Vec::new(), size).count(), 0);
            assert_eq!(part_count(&[], size).expect("few"), 0);
        }
    }

    #[test]
    fn files_to_be_copied_stay_whole_and_small_ones_join() {
        let file = |name, bytes| Input { file_bytes: bytes, ..input(name, 0, 3) };
        let most = COPY_BYTES_TARGET;
        let files = vec![file(0, 1), file(1, most - 1), file(2, most * 9), file(3, 1), file(4, 2)];
        let parts: Vec<_> = Cut::new(files.clone(), PartSize::Files).collect();
        assert_eq!(parts, [&files[..2], &files[2..3], &files[3..]]);
        assert_eq!(part_count(&files, PartSize::Files).expect("few"), 3);
    }

    #[test]
    fn the_plan_aims_at_seven_eighths_of_the_maximum() {
        let rows = |file_rows, file_bytes, sample| {
            rows_per_part(&spec(file_rows, file_bytes), &sample, &[])
        };
        assert_eq!(rows(None, Some(800), sample(10, 100)), 70);
        assert_eq!(rows(Some(50), Some(800), sample(10, 100)), 50);
        assert_eq!(rows(Some(50), None, sample(0, 0)), 50);
        assert_eq!(rows(None, Some(8), sample(1, 1000)), 1);
        assert_eq!(rows(None, None, sample(0, 0)), u64::MAX);
    }

    #[test]
    fn a_sample_that_a_filter_dropped_does_not_make_one_file_of_everything() {
        let inputs = [Input { file_bytes: 4000, ..input(0, 0, 400) }];
        // A header alone came out.
        let dropped = Sample { rows_read: 100, rows: 0, bytes: 40 };
        assert_eq!(rows_per_part(&spec(None, Some(800)), &dropped, &inputs), 70);
    }

    #[test]
    fn one_part_over_the_limit_is_refused() {
        let most = PARTS_MAX as u64;
        let count = |rows| part_count(&[input(0, 0, rows)], PartSize::Rows(1));
        assert!(count(most).is_ok());
        let error = count(most + 1).expect_err("one over");
        assert_eq!(error.code(), Code::TooLarge);
    }

    #[test]
    fn names_are_distinct_and_stay_inside() {
        let mut names = Names::default();
        names.take("a/part-1.jsonl").expect("free");
        assert!(matches!(names.take("a/part-1.jsonl"), Err(Error::Collision { .. })));
        for bad in ["", "/a", "a//b", "../a", "a/./b", "a\\b", "a/"] {
            assert!(matches!(names.take(bad), Err(Error::BadName { .. })), "{bad}");
        }
        for taken in ["manifest.json", "Files.jsonl", "files.jsonl/part-0.jsonl"] {
            assert!(matches!(names.take(taken), Err(Error::Reserved { .. })), "{taken}");
        }
    }

    proptest! {
        #[test]
        fn parts_hold_every_row_once_and_in_order(
            files in prop::collection::vec((0_u64..5, 1_u64..40), 0..12),
            rows_per_part in 1_u64..50,
        ) {
            let inputs: Vec<_> = files.iter().enumerate()
                .map(|(n, (first, rows))| input(n, *first, *rows)).collect();
            let rows = |inputs: &[Input]| -> Vec<(String, u64)> {
                inputs.iter().flat_map(|i| {
                    (i.first_row..i.first_row + i.rows).map(|row| (i.key.to_string(), row))
                }).collect()
            };
            let all = rows(&inputs);
            let size = PartSize::Rows(rows_per_part);
            let count = part_count(&inputs, size).expect("few");
            let parts: Vec<_> = Cut::new(inputs, size).collect();
            prop_assert_eq!(parts.len(), count as usize);
            for part in parts.iter().rev().skip(1) {
                prop_assert_eq!(rows(part).len() as u64, rows_per_part);
            }
            prop_assert!(parts.iter().flatten().all(|input| input.rows > 0));
            prop_assert_eq!(parts.iter().flat_map(|part| rows(part)).collect::<Vec<_>>(), all);
        }
    }
}
