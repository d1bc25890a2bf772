//! Turns: what is done once at a time for each key.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use model::{BatchId, WorkspaceId};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A batch by workspace and id.
type Key = (WorkspaceId, BatchId);

/// Who is at work on what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<std::sync::Mutex<HashMap<Key, Weak<Mutex<()>>>>>);

impl Turns {
    /// Waits until nobody else is at work on it.
    pub(crate) async fn take(&self, of: Key) -> OwnedMutexGuard<()> {
        self.of(of).lock_owned().await
    }

    fn of(&self, of: Key) -> Arc<Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| turn.strong_count() > 0);
        let known = all.get(&of).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            all.insert(of, Arc::downgrade(&turn));
            turn
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(batch: &str) -> Key {
        (WorkspaceId::default_workspace(), BatchId::new(batch))
    }

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_kept() {
        let turns = Turns::default();
        let held = turns.take(key("a")).await;
        assert!(turns.of(key("a")).try_lock().is_err());
        drop(turns.take(key("b")).await);
        drop(held);
        drop(turns.take(key("a")).await);
        drop(turns.of(key("c")));
        assert_eq!(turns.0.lock().expect("nobody panics").len(), 1);
    }
}
