//! Lists in pages.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Items of a page at most.
const ITEMS_MAX: u32 = 1000;

/// Items of a page unless asked otherwise.
const ITEMS: u32 = 100;

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Items at most, up to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before; the first page without it.
    pub(crate) after: Option<String>,
}

impl Paging {
    /// Returns how many items to give.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(ITEMS).clamp(1, ITEMS_MAX)
    }

    /// Returns the items of a page of which one more was asked for than it has.
    pub(crate) fn first<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let more = items.len() > self.limit() as usize;
        items.truncate(self.limit() as usize);
        Page { next: items.last().filter(|_| more).map(key), items }
    }

    /// Returns the items of a page; `all` are sorted by `key`.
    pub(crate) fn cut<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let after = self.after.as_deref();
        let left = all.into_iter().filter(|item| after.is_none_or(|after| *key(item) > *after));
        self.first(left.take(self.limit() as usize + 1).collect(), key)
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items, in order.
    pub(crate) items: Vec<T>,
    /// What to pass as `after` for the next page; nothing at the end.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// Turns each item into another.
    pub(crate) fn map<U>(self, other: impl Fn(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(other).collect(), next: self.next }
    }
}
