//! Datasets as they were a moment ago, so that not every small import asks the database.
//!
//! Contract: what is known may be outdated, as what was read before a long import is: the commit finds that out. What fails on
//! what was known is tried again on what is there now, so nobody is refused for something that has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use model::WorkspaceId;
use model::dataset::Dataset;

/// How long a dataset is known.
const LIFE: TimeDelta = TimeDelta::seconds(1);

/// Datasets that are known; beyond it all are forgotten.
const KNOWN_MAX: usize = 1000;

/// A dataset by workspace and name.
type Key = (WorkspaceId, String);

/// The datasets of the last moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(Arc<Mutex<HashMap<Key, Read>>>);

/// A dataset, and when it was read.
type Read = (Dataset, DateTime<Utc>);

impl Known {
    /// Returns a dataset that was read a moment ago.
    pub(super) fn get(&self, key: &Key, now: DateTime<Utc>) -> Option<Dataset> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (dataset, at) = known.get(key)?;
        // Nor does it hold where the clock was set back.
        (*at <= now && now - at < LIFE).then(|| dataset.clone())
    }

    /// Keeps what was read.
    pub(super) fn keep(&self, key: Key, dataset: &Dataset, now: DateTime<Utc>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, (dataset.clone(), now));
    }

    /// Forgets a dataset.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
