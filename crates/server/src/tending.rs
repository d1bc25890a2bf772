//! Care of what came in, off the requests that brought it.
//!
//! Contract: a dataset is tended by one task at a time, and [`PAUSE`] after the last time, however many requests there are. What comes
//! meanwhile is looked at next. Nobody waits for it: rows are in, whatever becomes of this.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::ports::{ImportReport, Upkeep};
use model::{CommitNumber, WorkspaceId};

/// Time between two looks at a dataset: a look costs about as much as a small commit.
const PAUSE: Duration = Duration::from_secs(1);

/// A dataset by workspace and name.
type Key = (WorkspaceId, String);

/// The datasets that are being tended, and what has come meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Tending {
    all: Arc<Mutex<HashMap<Key, Option<Came>>>>,
    pause: Duration,
}

/// A commit that came in.
#[derive(Clone, Copy, Debug)]
struct Came {
    commit: CommitNumber,
    bytes: u64,
}

impl Default for Tending {
    fn default() -> Self {
        Self { all: Arc::default(), pause: PAUSE }
    }
}

impl Tending {
    /// Has a dataset tended after a commit.
    pub(crate) fn after(&self, of: Key, report: &ImportReport, upkeep: Arc<dyn Upkeep>) {
        let mut came = Came { commit: report.commit, bytes: report.bytes };
        match self.all.lock().unwrap_or_else(PoisonError::into_inner).entry(of.clone()) {
            Entry::Occupied(mut waits) => {
                // The largest is the one that may have brought data files.
                let waits = waits.get_mut();
                let larger = waits.filter(|waits| waits.bytes > came.bytes);
                *waits = Some(larger.unwrap_or(came));
                return;
            }
            Entry::Vacant(free) => drop(free.insert(None)),
        }
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = upkeep.tend(&of.0, &of.1, came.commit).await {
                    tracing::warn!(dataset = of.1, %error, "small commits were not tidied up");
                }
                tokio::time::sleep(this.pause).await;
                match this.next(&of) {
                    Some(next) => came = next,
                    None => return,
                }
            }
        });
    }

    /// Returns what has come; if nothing has, nobody tends the dataset any more.
    fn next(&self, of: &Key) -> Option<Came> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let next = all.get_mut(of).and_then(Option::take);
        if next.is_none() {
            all.remove(of);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use chrono::{DateTime, Utc};
    use model::dataset::Commit;
    use model::ports::{Compacted, Damage, Expired, Health, Progress, Scrub, Swept};
    use model::{BatchId, PortError};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// Tells which commits it is asked to look at, and takes its time.
    #[derive(Debug)]
    struct Slow {
        asked: mpsc::Sender<u64>,
        may: Semaphore,
    }

    #[async_trait]
    impl Upkeep for Slow {
        async fn tend(
            &self,
            _: &WorkspaceId,
            _: &str,
            commit: CommitNumber,
        ) -> Result<Compacted, PortError> {
            self.asked.try_send(commit.0).expect("somebody counts");
            self.may.acquire().await.expect("it is never closed").forget();
            Ok(Compacted::default())
        }

        async fn compact(
            &self,
            _: &WorkspaceId,
            _: &str,
            _: Arc<dyn Progress>,
        ) -> Result<Compacted, PortError> {
            unreachable!("it only tends")
        }

        async fn expire(
            &self,
            _: &WorkspaceId,
            _: &str,
            _: DateTime<Utc>,
        ) -> Result<Expired, PortError> {
            unreachable!("it only tends")
        }

        async fn sweep(&self, _: &WorkspaceId) -> Result<Swept, PortError> {
            unreachable!("it only tends")
        }

        async fn health(&self, _: &WorkspaceId, _: &str) -> Result<Health, PortError> {
            unreachable!("it only tends")
        }

        async fn scrub(
            &self,
            _: &WorkspaceId,
            _: &str,
            _: Scrub,
            _: Arc<dyn Progress>,
        ) -> Result<Vec<Damage>, PortError> {
            unreachable!("it only tends")
        }

        async fn revert(&self, _: &WorkspaceId, _: &BatchId) -> Result<Commit, PortError> {
            unreachable!("it only tends")
        }
    }

    fn report(commit: u64, bytes: u64) -> ImportReport {
        ImportReport {
            dataset: "d".into(),
            created: false,
            commit: CommitNumber(commit),
            time: DateTime::UNIX_EPOCH,
            batch: None,
            rows: 1,
            bytes,
            rejected: 0,
            rejects: None,
            repeated: false,
        }
    }

    #[tokio::test]
    async fn what_comes_meanwhile_is_looked_at_once() {
        let (asked, mut asking) = mpsc::channel(8);
        let slow = Arc::new(Slow { asked, may: Semaphore::new(0) });
        let tending = Tending { pause: Duration::ZERO, ..Tending::default() };
        let of = |name: &str| (WorkspaceId::default_workspace(), name.to_owned());
        tending.after(of("d"), &report(1, 10), slow.clone());
        assert_eq!(asking.recv().await, Some(1));
        for (commit, bytes) in [(2, 10), (3, 900), (4, 10)] {
            tending.after(of("d"), &report(commit, bytes), slow.clone());
        }
        // Another dataset waits for nobody.
        tending.after(of("e"), &report(5, 10), slow.clone());
        assert_eq!(asking.recv().await, Some(5));
        slow.may.add_permits(2);
        assert_eq!(asking.recv().await, Some(3));
        slow.may.add_permits(1);
        while !tending.all.lock().expect("nobody panics").is_empty() {
            tokio::task::yield_now().await;
        }
        tending.after(of("d"), &report(6, 10), slow.clone());
        assert_eq!(asking.recv().await, Some(6));
        assert!(asking.try_recv().is_err());
    }
}
