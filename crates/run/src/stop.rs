//! A word to everybody who works on a run: stop.
//!
//! Work is asked to stop, never torn down: a part ends between two chunks and takes its unfinished
//! upload with it, so that nothing is still being written while the run is being cleaned up.

use std::sync::Arc;

use tokio::sync::watch;

/// Why the work on a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Another part failed.
    Failed,
    /// Somebody asked for it.
    Cancelled,
    /// Another process has taken the run over.
    Fenced,
}

/// Asks all holders of its clones to stop.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<Why>>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Makes one that nobody has used yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Asks to stop. The gravest reason stays: being fenced outweighs all.
    ///
    /// ```
    /// let stop = run::Stop::new();
    /// stop.ask(run::Why::Fenced);
    /// stop.ask(run::Why::Failed);
    /// assert_eq!(stop.why(), Some(run::Why::Fenced));
    /// ```
    pub fn ask(&self, why: Why) {
        self.0.send_if_modified(|now| {
            let graver = now.is_none_or(|now| why > now);
            if graver {
                *now = Some(why);
            }
            graver
        });
    }

    /// Returns why to stop, if somebody asked.
    pub fn why(&self) -> Option<Why> {
        *self.0.borrow()
    }

    /// Returns when somebody asked.
    pub async fn asked(&self) -> Why {
        let mut heard = self.0.subscribe();
        let why = heard.wait_for(Option::is_some).await;
        why.expect("`self` keeps the sender alive").expect("waited until it is some")
    }
}
