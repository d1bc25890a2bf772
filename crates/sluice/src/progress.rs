//! How far something has come, on stderr when somebody watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use model::ports::Progress;
use run::Observer;

use crate::output;

/// A bar with rows, bytes, rate and, where the total is known, time left.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: Option<ProgressBar>,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Bar {
    /// Starts a bar; a silent one if nobody watches. `total` in bytes or rows, as `unit` says.
    pub(crate) fn start(title: &'static str, total: Option<Total>) -> Self {
        let shown = output::is_watched().then(|| make(title, total));
        Self { shown, rows: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// What is known of the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    /// Bytes to be read.
    pub(crate) bytes: u64,
}

fn make(title: &'static str, total: Option<Total>) -> ProgressBar {
    let bar = match total {
        Some(Total { bytes }) => ProgressBar::new(bytes).with_style(style(
            "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left · {msg}",
        )),
        None => ProgressBar::new_spinner().with_style(style("{prefix} {spinner} {msg} {elapsed}")),
    };
    bar.set_prefix(title);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are written above")
}

impl Progress for Bar {
    fn add(&self, rows: u64, bytes: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(bar) = &self.shown {
            bar.set_position(bytes);
            bar.set_message(format!("{} rows", output::count(rows)));
        }
    }
}

/// A bar for a run: rows read of rows planned, once a plan is there.
#[derive(Debug)]
pub(crate) struct RunBar {
    shown: Option<ProgressBar>,
    bytes: AtomicU64,
}

impl RunBar {
    /// Starts a bar; a silent one if nobody watches.
    pub(crate) fn start() -> Self {
        let shown = output::is_watched().then(|| make("exporting", None));
        Self { shown, bytes: AtomicU64::new(0) }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Progress for RunBar {
    fn add(&self, rows: u64, bytes: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(bar) = &self.shown {
            bar.inc(rows);
            bar.set_message(output::bytes(bytes));
        }
    }
}

impl Observer for RunBar {
    fn planned(&self, rows: u64, done: u64) {
        if let Some(bar) = &self.shown {
            bar.set_style(style(
                "{prefix} {wide_bar} {human_pos}/{human_len} rows {per_sec} {msg} {eta} left",
            ));
            bar.set_length(rows);
            bar.set_position(done);
            bar.reset_eta();
        }
    }
}

impl Drop for RunBar {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}
