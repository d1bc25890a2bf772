//! The rows that a partial import leaves out, with their reasons.
//!
//! Contract: the file is made when the first row is rejected, one JSON object a line (`file`, `line`
//! or `row`, `reason`, `text`). Without a path every bad row is an error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use model::limits;

use super::block::BadRecord;
use super::error::{IngestError, Place, Reason};

/// Collects rejected rows.
#[derive(Debug)]
pub(super) struct Rejects {
    path: Option<PathBuf>,
    out: Option<BufWriter<File>>,
    count: u64,
    first: Option<String>,
}

impl Rejects {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, out: None, count: 0, first: None }
    }

    /// Returns how many rows were rejected.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the path if the file was made.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.out.as_ref().and_then(|_| self.path.clone())
    }

    /// Returns what was wrong with the first row, by name.
    pub(super) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// Returns whether bad rows are collected; otherwise the first one is an error.
    pub(super) fn are_wanted(&self) -> bool {
        self.path.is_some()
    }

    /// Takes a bad record of a text.
    pub(super) fn add(&mut self, file: &str, bad: BadRecord) -> Result<(), IngestError> {
        let BadRecord { line, reason, text } = bad;
        let place = Place { file: file.to_owned(), line };
        if !self.are_wanted() {
            return Err(IngestError::Record { place, reason });
        }
        let entry = serde_json::json!({
            "file": file, "line": line, "reason": reason.to_string(), "text": text,
        });
        self.write(&entry, || format!("{place}: {reason}"))
    }

    /// Takes a bad row of a file that has rows instead of lines; rows count from 1.
    pub(super) fn add_row(
        &mut self,
        (file, row): (&str, u64),
        reason: &Reason,
        text: &str,
    ) -> Result<(), IngestError> {
        let entry = serde_json::json!({
            "file": file, "row": row, "reason": reason.to_string(), "text": text,
        });
        self.write(&entry, || format!("`{file}` row {row}: {reason}"))
    }

    fn write(
        &mut self,
        entry: &serde_json::Value,
        said: impl FnOnce() -> String,
    ) -> Result<(), IngestError> {
        let path = self.path.as_ref().expect("bad rows are collected");
        if self.count >= limits::REJECTED_ROWS_MAX {
            return Err(IngestError::TooManyRejected);
        }
        let failed = |source| IngestError::Rejects { path: path.clone(), source };
        if self.out.is_none() {
            self.out = Some(BufWriter::new(File::create(path).map_err(failed)?));
            self.first = Some(said());
        }
        let out = self.out.as_mut().expect("made above");
        writeln!(out, "{entry}").map_err(failed)?;
        self.count += 1;
        Ok(())
    }

    /// Puts the file on disk.
    pub(super) fn finish(&mut self) -> Result<(), IngestError> {
        let (Some(out), Some(path)) = (&mut self.out, &self.path) else { return Ok(()) };
        let failed = |source| IngestError::Rejects { path: path.clone(), source };
        out.flush().map_err(failed)?;
        out.get_ref().sync_all().map_err(failed)
    }

    /// Removes the file, if it was made.
    pub(super) fn discard(&mut self) {
        if let (Some(out), Some(path)) = (self.out.take(), &self.path) {
            drop(out);
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "the file of rejected rows was left behind");
            }
        }
    }
}
