//! The rows that a partial import leaves out, with their reasons.
//!
//! Contract: the file is made when the first row is rejected, one JSON object a line (`file`, `line`,
//! `reason`, `text`). Without a path every bad row is an error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use model::limits;

use super::block::BadRecord;
use super::error::{IngestError, Place};

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

    /// Takes a bad row.
    pub(super) fn add(&mut self, file: &str, bad: BadRecord) -> Result<(), IngestError> {
        let place = Place { file: file.to_owned(), line: bad.line };
        let Some(path) = &self.path else {
            return Err(IngestError::Record { place, reason: bad.reason });
        };
        if self.count >= limits::REJECTED_ROWS_MAX {
            return Err(IngestError::TooManyRejected);
        }
        let failed = |source| IngestError::Rejects { path: path.clone(), source };
        if self.out.is_none() {
            self.out = Some(BufWriter::new(File::create(path).map_err(failed)?));
            self.first = Some(format!("{place}: {}", bad.reason));
        }
        let out = self.out.as_mut().expect("made above");
        let line = serde_json::json!({
            "file": file, "line": bad.line, "reason": bad.reason.to_string(), "text": bad.text,
        });
        writeln!(out, "{line}").map_err(failed)?;
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
