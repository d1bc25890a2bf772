//! Progress of a part, over several tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;

use model::ports::{Progress, RowStream};

/// Tells rows and bytes as they come. What a second try repeats is not told again.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    /// Rows read so far in this try.
    rows: Arc<AtomicU64>,
    rows_told: u64,
    bytes: u64,
    bytes_told: u64,
    pace: Pace,
}

/// When rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As they are read.
    Live,
    /// At the end: a file that may be split does not take all rows that are read ahead.
    AtEnd,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a dyn Progress, pace: Pace) -> Self {
        let rows = Arc::default();
        Self { progress, rows, rows_told: 0, bytes: 0, bytes_told: 0, pace }
    }

    /// Begins a try.
    pub(super) fn begin(&mut self) {
        self.bytes = 0;
        self.rows = Arc::default();
    }

    /// Counts the rows of that stream from now on.
    pub(super) fn count(&mut self, rows: RowStream) -> RowStream {
        let counter = Arc::clone(&self.rows);
        Box::pin(rows.inspect(move |rows| {
            if let Ok(rows) = rows {
                counter.store(rows.read_after, Ordering::Relaxed);
            }
        }))
    }

    /// Tells bytes, and the rows that were read meanwhile.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        let rows = match self.pace {
            Pace::Live => self.rows.load(Ordering::Relaxed),
            Pace::AtEnd => 0,
        };
        self.tell(rows);
    }

    /// Tells what is left to tell of a finished part.
    pub(super) fn end(&mut self, rows_read: u64) {
        self.tell(rows_read);
    }

    fn tell(&mut self, rows: u64) {
        let new_rows = rows.saturating_sub(self.rows_told);
        let new_bytes = self.bytes.saturating_sub(self.bytes_told);
        self.rows_told += new_rows;
        self.bytes_told += new_bytes;
        if new_rows + new_bytes > 0 {
            self.progress.add(new_rows, new_bytes);
        }
    }
}
