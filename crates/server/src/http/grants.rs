//! Who asked a moment ago, so that not every request asks the database.
//!
//! Contract: what this process changes holds at once. What another one changes, or the command line, holds after [`LIFE`]: a token that
//! was revoked there opens as long what it opened before. Refusals are not kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::caller::Caller;

/// How long an answer of the database holds.
const LIFE: TimeDelta = TimeDelta::seconds(1);

/// Callers that are kept; beyond it all are forgotten.
const KEPT_MAX: usize = 1000;

/// A token's SHA-256, and the workspace that it names.
type Key = (String, Option<String>);

/// The callers of the last moment.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    known: Mutex<HashMap<Key, (Caller, DateTime<Utc>)>>,
    /// Counts what was changed.
    changes: AtomicU64,
}

impl Grants {
    /// Returns a caller who was looked up a moment ago.
    pub(crate) fn known(&self, key: &Key, now: DateTime<Utc>) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, at) = known.get(key)?;
        // Nor does it hold where the clock was set back.
        (*at <= now && now - at < LIFE).then(|| caller.clone())
    }

    /// Returns how much was changed so far, to be asked before the database is.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Keeps what the database has answered, unless something was changed meanwhile.
    pub(crate) fn keep(&self, key: Key, (caller, now): (Caller, DateTime<Utc>), changes: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.changes() == changes {
            if known.len() >= KEPT_MAX {
                known.clear();
            }
            known.insert(key, (caller, now));
        }
    }

    /// Forgets all, because something was changed.
    pub(crate) fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::SeqCst);
        known.clear();
    }
}

#[cfg(test)]
mod tests {
    use model::access::{Grant, Scope};
    use model::{OrganizationId, PrincipalId, TokenId, WorkspaceId};

    use super::*;

    fn caller() -> Caller {
        let grant = Grant {
            token: TokenId::new("tk"),
            principal: PrincipalId::new("pr"),
            organization: OrganizationId::default_organization(),
            workspace: None,
            scopes: vec![Scope::Admin],
        };
        Caller { grant, workspace: WorkspaceId::default_workspace() }
    }

    #[test]
    fn a_caller_is_known_for_a_moment_and_until_something_changes() {
        let (grants, key) = (Grants::default(), ("sum".to_owned(), None));
        let at = |ms: i64| DateTime::from_timestamp_millis(100_000 + ms).expect("a time");
        let is_known = |ms| grants.known(&key, at(ms)).is_some();
        grants.keep(key.clone(), (caller(), at(0)), grants.changes());
        assert_eq!([0, 999, 1000, -1].map(is_known), [true, true, false, false]);
        assert!(grants.known(&("sum".into(), Some("other".into())), at(0)).is_none());
        grants.forget();
        assert!(!is_known(0));
        // Asked before the change, answered after it.
        let before = grants.changes();
        grants.forget();
        grants.keep(key.clone(), (caller(), at(0)), before);
        assert!(!is_known(0));
    }

    #[test]
    fn not_more_are_kept_than_may_be() {
        let grants = Grants::default();
        for n in 0..=KEPT_MAX {
            grants.keep((n.to_string(), None), (caller(), DateTime::UNIX_EPOCH), 0);
        }
        assert_eq!(grants.known.lock().expect("nobody panics").len(), 1);
    }
}
