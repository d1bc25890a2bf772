//! The lake: files in, rows out, SQL. The only crate that names DataFusion.
//!
//! Data files are written first, under names never used before, and become rows when a commit of the
//! catalog lists them. Reading starts from a pinned list of files and needs no database.

mod bind;
mod copy;
mod files;
mod ingest;
mod intake;
mod read;
mod session;
mod sql;
mod stage;
mod tail;
#[cfg(test)]
mod testing;
pub mod threads;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use model::Clock;
use model::dataset::View;
use model::ports::{Catalog, Objects};
pub use session::Limits;
use tail::Reader;

/// Datasets whose tails are sealed at the same time.
const SEALS_AT_ONCE: usize = 4;

/// The lake of one data folder.
#[derive(Clone)]
pub struct Lake {
    /// Datasets, commits and files.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// Where data files are written: durable, create-only.
    pub(crate) objects: Arc<dyn Objects>,
    /// The same place, for reading.
    pub(crate) reader: Reader,
    /// A local folder for spilled rows, on the same disk as the data.
    pub(crate) scratch: PathBuf,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// What one query may take.
    limits: Limits,
    /// Datasets as they were a moment ago.
    pub(crate) known: ingest::known::Known,
    /// One is held by whoever seals, by dataset: what several need is sealed once, and not more is in memory than that of a few.
    pub(crate) sealing: Arc<[tokio::sync::Mutex<()>; SEALS_AT_ONCE]>,
    /// Bytes of rows up to which a commit goes to the tail.
    pub(crate) tail_bytes: usize,
    /// Days for which the files of a commit are not merged with others.
    pub(crate) batch_days: u32,
    /// Days for which the files that a run has read are kept.
    pub(crate) rerun_days: i64,
    /// Views that every workspace has, unless it has something else of that name.
    pub(crate) views: Arc<[View]>,
}

impl Lake {
    /// Wires a lake together. Does no I/O.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        objects: Arc<dyn Objects>,
        reader: Arc<dyn object_store::ObjectStore>,
        scratch: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (reader, limits) = (Reader::new(reader), Limits::default());
        let tail_bytes = model::limits::TAIL_COMMIT_BYTES;
        let (batch_days, rerun_days) = (0, 0);
        let known = ingest::known::Known::default();
        Self {
            catalog,
            objects,
            reader,
            scratch,
            clock,
            limits,
            known,
            sealing: Arc::default(),
            tail_bytes,
            batch_days,
            rerun_days,
            views: Arc::default(),
        }
    }

    /// Keeps every commit in files of its own for so many days; its rows do not go to the tail then.
    pub fn with_batch_days(self, batch_days: u32) -> Self {
        let tail_bytes = if batch_days == 0 { self.tail_bytes } else { 0 };
        Self { tail_bytes, batch_days, ..self }
    }

    /// Lets commits of up to so many bytes of rows go to the tail; with 0 every commit is written as data
    /// files at once.
    pub fn with_tail_bytes(self, tail_bytes: usize) -> Self {
        Self { tail_bytes, ..self }
    }

    /// Keeps the files that a sealed run has read for so many days, so that it can be run again.
    pub fn with_rerun_days(self, days: u32) -> Self {
        Self { rerun_days: days.into(), ..self }
    }

    /// Gives every workspace these views; what it has of such a name itself comes first.
    pub fn with_views(self, views: Vec<View>) -> Self {
        Self { views: views.into(), ..self }
    }

    /// Gives queries other limits than the usual.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}
