//! How much is asked at once: by everybody, by one token, by one address that tries tokens.
//!
//! Contract: nothing here waits; what is too much is refused, with the time after which it is not. Memory is bounded,
//! whoever asks. A token that opened something lately is never held up by what others at its address try.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use model::{Code, LinkId, TokenId, WorkspaceId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::Settings;

/// Seconds after which a server that is full may be asked again: requests take much less.
const FULL_SECONDS: u64 = 1;

/// All that requests are held to before they are worked on.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Requests at once.
    places: Option<Arc<Semaphore>>,
    /// Requests of a token.
    tokens: Option<Rates<TokenId>>,
    /// Tokens that an address tries.
    guesses: Rates<IpAddr>,
    /// Addresses of links that open nothing, by where they come from.
    misses: Rates<IpAddr>,
    /// Requests of a link.
    links: Rates<LinkId>,
    /// Files that a project of a dialect fetches.
    downloads: Rates<LinkId>,
    /// Codes and the like that an address asks for.
    sign_ins: Rates<IpAddr>,
    /// Requests of a workspace at a dialect.
    doors: BTreeMap<&'static str, Rates<WorkspaceId>>,
    /// SHA-256 of tokens that opened something lately.
    seen: Mutex<HashSet<String>>,
}

impl Limits {
    /// Makes them.
    pub(crate) fn new(settings: &Settings, doors: &[(&'static str, u32)]) -> Self {
        let of_door = |(door, rate): &(&'static str, u32)| {
            let rate = NonZeroU32::new(*rate)?;
            Some((*door, Rates::new(Quota::per_second(rate), WorkspaceId::new(""))))
        };
        let places = Some(settings.requests_at_once).filter(|many| *many > 0);
        let tokens = NonZeroU32::new(settings.requests_per_second).map(|rate| {
            let burst = NonZeroU32::new(settings.burst).unwrap_or(rate);
            Rates::new(Quota::per_second(rate).allow_burst(burst), TokenId::new(""))
        });
        let quota = |rate, burst| {
            let [rate, burst] =
                [rate, burst].map(|n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
            Quota::per_second(rate).allow_burst(burst)
        };
        let guesses = quota(limits::GUESSES_PER_SECOND, limits::GUESSES_BURST);
        let of_link = quota(limits::LINK_REQUESTS_PER_SECOND, limits::LINK_REQUESTS_BURST);
        let downloads = quota(limits::DOWNLOADS_PER_SECOND, limits::DOWNLOADS_BURST);
        Self {
            places: places.map(|many| Arc::new(Semaphore::new(many.min(Semaphore::MAX_PERMITS)))),
            tokens,
            guesses: Rates::new(guesses, Ipv4Addr::UNSPECIFIED.into()),
            misses: Rates::new(guesses, Ipv4Addr::UNSPECIFIED.into()),
            links: Rates::new(of_link, LinkId::new("")),
            downloads: Rates::new(downloads, LinkId::new("")),
            sign_ins: Rates::new(guesses, Ipv4Addr::UNSPECIFIED.into()),
            doors: doors.iter().filter_map(of_door).collect(),
            seen: Mutex::default(),
        }
    }

    /// Returns a place for a request, to be held until it is answered; nothing where there is no limit.
    pub(crate) fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let Some(places) = &self.places else { return Ok(None) };
        places.clone().try_acquire_owned().map(Some).map_err(|_| {
            let detail = "the server has as many requests as it takes at once; try again";
            Problem::new(Code::Unavailable, detail).after(FULL_SECONDS)
        })
    }

    /// Lets a token be looked up, unless too many that open nothing came from where it comes from.
    pub(crate) fn guess(&self, sha256: &str, client: IpAddr) -> Result<(), Problem> {
        if self.seen().contains(sha256) {
            return Ok(());
        }
        self.guesses.take(&client).map_err(|seconds| {
            let detail =
                "too many tokens were tried from this address; wait, then use one that is valid";
            Problem::with_status(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail)
                .after(seconds)
        })
    }

    /// Counts an address of a link that opened nothing. Whoever has one that does is not held up by them.
    pub(crate) fn miss(&self, client: IpAddr) -> Result<(), Problem> {
        self.misses.take(&client).map_err(|seconds| {
            let detail =
                "too many links were tried from this address; wait, then use one that is valid";
            Problem::with_status(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail)
                .after(seconds)
        })
    }

    /// Counts somebody who signs in or sends something signed.
    pub(crate) fn sign_in(&self, client: IpAddr) -> Result<(), Problem> {
        self.sign_ins.take(&client).map_err(|seconds| {
            let detail = "this address signs in more often than it may; wait, and keep the code";
            Problem::new(Code::RateLimited, detail).after(seconds)
        })
    }

    /// Counts a request of a workspace at a dialect.
    pub(crate) fn ask_door(&self, door: &str, workspace: &WorkspaceId) -> Result<(), Problem> {
        let Some(rates) = self.doors.get(door) else { return Ok(()) };
        rates.take(workspace).map_err(|seconds| {
            let detail = "this project asks more often than it may; wait, and ask again";
            Problem::new(Code::RateLimited, detail).after(seconds)
        })
    }

    /// Counts a request of a link.
    pub(crate) fn ask_link(&self, link: &LinkId) -> Result<(), Problem> {
        self.links.take(link).map_err(too_often)
    }

    /// Counts a file that a project of a dialect fetches.
    pub(crate) fn fetch(&self, project: &LinkId) -> Result<(), Problem> {
        self.downloads.take(project).map_err(too_often)
    }

    /// Keeps in mind whether a token opened something.
    pub(crate) fn remember(&self, sha256: &str, opened: bool) {
        let mut seen = self.seen();
        if !opened {
            seen.remove(sha256);
        } else if !seen.contains(sha256) {
            // All of them are soon there again, and count once as guesses.
            if seen.len() >= limits::TOKENS_SEEN_MAX {
                seen.clear();
            }
            seen.insert(sha256.to_owned());
        }
    }

    /// Counts a request of a token.
    pub(crate) fn ask(&self, token: &TokenId) -> Result<(), Problem> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        tokens.take(token).map_err(|seconds| {
            let detail = "this token asks more often than it may; wait, and send more at once";
            Problem::new(Code::RateLimited, detail).after(seconds)
        })
    }

    /// Forgets who has not asked for a while; to be called at intervals.
    pub(crate) fn sweep(&self) {
        self.guesses.sweep();
        self.misses.sweep();
        self.links.sweep();
        self.downloads.sweep();
        self.sign_ins.sweep();
        self.doors.values().for_each(Rates::sweep);
        if let Some(tokens) = &self.tokens {
            tokens.sweep();
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // A set is whole whatever broke off.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_often(seconds: u64) -> Problem {
    let detail = "this link is asked more often than it may be; wait, and ask for more at once";
    Problem::new(Code::RateLimited, detail).after(seconds)
}

/// A rate for each key.
#[derive(Debug)]
struct Rates<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    /// Stands for whoever comes when there are too many to be known one by one.
    crowd: K,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    fn new(quota: Quota, crowd: K) -> Self {
        Self { limiter: RateLimiter::keyed(quota), crowd }
    }

    /// Takes one, or says in how many seconds there will be one.
    fn take(&self, key: &K) -> Result<(), u64> {
        let key = if self.limiter.len() < limits::RATES_MAX { key } else { &self.crowd };
        self.limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
        })
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { requests_at_once: 1, requests_per_second: 1, burst: 2, ..Settings::default() }
    }

    #[test]
    fn each_token_has_its_own_rate() {
        let limits = Limits::new(&settings(), &[]);
        let (a, b) = (TokenId::new("a"), TokenId::new("b"));
        assert_eq!((limits.ask(&a), limits.ask(&a)), (Ok(()), Ok(())));
        let refused = limits.ask(&a).expect_err("refused");
        assert_eq!((refused.code(), refused.retry_after()), ("rate_limited", Some(1)));
        assert_eq!(limits.ask(&b), Ok(()));
        limits.sweep();
        limits.ask(&a).expect_err("refused");
        let off = Limits::new(&Settings { requests_per_second: 0, ..settings() }, &[]);
        assert!((0..10_000).all(|_| off.ask(&a).is_ok()));
    }

    #[test]
    fn each_workspace_has_its_own_rate_at_a_dialect() {
        let limits = Limits::new(&settings(), &[("a", 2), ("b", 0)]);
        let (one, other) = (WorkspaceId::new("one"), WorkspaceId::new("other"));
        let ask = |door, workspace| limits.ask_door(door, workspace);
        assert_eq!((ask("a", &one), ask("a", &one)), (Ok(()), Ok(())));
        let refused = ask("a", &one).expect_err("refused");
        assert_eq!((refused.code(), refused.retry_after()), ("rate_limited", Some(1)));
        assert_eq!(ask("a", &other), Ok(()));
        assert!((0..100).all(|_| ask("b", &one).is_ok() && ask("c", &one).is_ok()));
    }

    #[test]
    fn places_come_back() {
        let limits = Limits::new(&settings(), &[]);
        let held = limits.enter().expect("a place");
        assert_eq!(limits.enter().expect_err("refused").retry_after(), Some(1));
        drop(held);
        assert!(limits.enter().expect("a place").is_some());
        let off = Limits::new(&Settings { requests_at_once: 0, ..settings() }, &[]);
        assert!(off.enter().expect("no limit").is_none());
    }

    #[test]
    fn guesses_are_slow_and_known_tokens_are_not() {
        let limits = Limits::new(&settings(), &[]);
        let here: IpAddr = Ipv4Addr::LOCALHOST.into();
        let there: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        limits.remember("known", true);
        for n in 0..limits::GUESSES_BURST {
            limits.guess(&format!("wrong{n}"), here).expect("still few");
        }
        let refused = limits.guess("another", here).expect_err("refused");
        assert_eq!((refused.code(), refused.retry_after()), ("rate_limited", Some(1)));
        assert_eq!(limits.guess("known", here), Ok(()));
        assert_eq!(limits.guess("another", there), Ok(()));
        // Revoked: it is like any other.
        limits.remember("known", false);
        limits.guess("known", here).expect_err("refused");
    }

    #[test]
    fn memory_is_bounded() {
        let rates = Rates::new(Quota::per_second(NonZeroU32::MIN), u64::MAX);
        for n in 0..limits::RATES_MAX as u64 {
            assert_eq!(rates.take(&n), Ok(()));
        }
        // Those beyond share one.
        assert_eq!(rates.take(&(u64::MAX - 1)), Ok(()));
        assert_eq!(rates.take(&(u64::MAX - 2)), Err(1));
        assert!(rates.limiter.len() <= limits::RATES_MAX + 1);
        let limits = Limits::new(&settings(), &[]);
        for n in 0..=limits::TOKENS_SEEN_MAX {
            limits.remember(&n.to_string(), true);
        }
        assert!(limits.seen().len() <= limits::TOKENS_SEEN_MAX);
    }
}
