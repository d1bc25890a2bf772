//! Runs that somebody asked for over HTTP, worked on in this process.
//!
//! Contract: the ledger is the queue. Whoever opens a run leaves it there; an executor looks for runs that nobody
//! works on, a bounded number at once and no workspace all of them, and brings each to its end. What a process that died had
//! is found in the same way, so a start needs no step of its own. A run that cannot be finished for now is tried
//! again later and later, and why is known until then. A stop drops what is under way and gives the leases back: the next start goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::limits::{
    RUN_AGAIN_SECONDS, RUN_AGAIN_SECONDS_MAX, RUNS_AT_ONCE, RUNS_AT_ONCE_OF_ONE, RUNS_LOOK_SECONDS,
    RUNS_LOOKED_AT,
};
use model::ports::{Lease, Ledger, Progress, Runs};
use model::run::{Run, Unfinished};
use model::{Clock, Failure, RunId, WorkspaceId};
use run::{Coordinator, Liveness, Observer, Pauses};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

/// Time after which whoever waits for a run looks at it again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What an executor works with.
#[derive(Clone)]
pub struct Executor {
    /// What brings a run to its end.
    pub coordinator: Coordinator,
    /// Where runs are found.
    pub runs: Arc<dyn Runs>,
    /// Where leases are given back.
    pub ledger: Arc<dyn Ledger>,
    /// Whether holders on this host are alive.
    pub liveness: Arc<dyn Liveness>,
    /// Time between looks.
    pub pauses: Arc<dyn Pauses>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told when there is something to do.
    pub wake: Arc<Notify>,
    /// Tells those who wait for a run that one has ended.
    pub ended: Arc<Notify>,
    /// Why runs are not finished yet.
    pub delays: Delays,
}

/// Why runs that are open could not be finished when this process tried, in words for whoever asked for them.
#[derive(Clone, Debug, Default)]
pub struct Delays(Arc<Mutex<BTreeMap<RunId, String>>>);

impl Delays {
    /// Returns why a run is not finished yet, if it was tried.
    pub(crate) fn of(&self, run: &RunId) -> Option<String> {
        self.0.lock().expect("no holder of this lock can panic").get(run).cloned()
    }

    fn set(&self, run: &RunId, why: String) {
        self.0.lock().expect("no holder of this lock can panic").insert(run.clone(), why);
    }

    fn retain(&self, open: &BTreeSet<&RunId>) {
        self.0
            .lock()
            .expect("no holder of this lock can panic")
            .retain(|run, _| open.contains(run));
    }
}

/// What an executor is doing.
#[derive(Default)]
struct State {
    tasks: JoinSet<Result<(), run::Error>>,
    working: BTreeMap<Id, (Unfinished, Arc<Holder>)>,
    /// Runs that could not be finished: when they are tried again, and after how long.
    later: BTreeMap<RunId, (DateTime<Utc>, TimeDelta)>,
}

impl Executor {
    /// Works until `stop` is ready.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        let mut state = State::default();
        tokio::pin!(stop);
        loop {
            self.look(&mut state).await;
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = state.tasks.join_next_with_id() => self.end(&mut state, done),
                () = self.wake.notified() => {}
                () = self.pauses.pause(Duration::from_secs(RUNS_LOOK_SECONDS)) => {}
            }
        }
        state.tasks.shutdown().await;
        for (_, holder) in state.working.into_values() {
            let lease = holder.0.lock().expect("no holder of this lock can panic").take();
            if let Some(lease) = lease
                && let Err(error) = self.ledger.release(&lease).await
            {
                tracing::warn!(%error, "a lease could not be given back; it will lapse");
            }
        }
    }

    /// Takes up what there is room for.
    async fn look(&self, state: &mut State) {
        let free = RUNS_AT_ONCE.saturating_sub(state.working.len());
        if free == 0 {
            return;
        }
        let found = match self.runs.unfinished(RUNS_LOOKED_AT).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "open runs could not be looked for"),
        };
        let open: BTreeSet<&RunId> = found.iter().map(|one| &one.run).collect();
        state.later.retain(|run, _| open.contains(run));
        self.delays.retain(&open);
        let now = self.clock.now();
        let waits = |run: &RunId| state.later.get(run).is_some_and(|(at, _)| *at > now);
        let dead = |one: &Unfinished| self.liveness.is_dead(&one.run, one.epoch);
        let fits = |one: &&Unfinished| !waits(&one.run) && (!one.leased || dead(one));
        let eligible: Vec<Unfinished> = found.iter().filter(fits).cloned().collect();
        let working: Vec<&Unfinished> = state.working.values().map(|(one, _)| one).collect();
        for one in choose(&eligible, &working, free) {
            let holder = Arc::new(Holder::default());
            let (coordinator, chosen) = (self.coordinator.clone(), one.clone());
            let observer = Arc::clone(&holder);
            let task = async move {
                let resumed = coordinator.resume(&chosen.workspace, &chosen.run, observer);
                Box::pin(resumed).await.map(drop)
            };
            let id = state.tasks.spawn(task).id();
            state.working.insert(id, (one, holder));
        }
    }

    /// Returns when a run of this process has ended, or after a moment: others may end one, too.
    pub(crate) async fn wait(&self) {
        tokio::select! {
            () = self.ended.notified() => {}
            () = self.pauses.pause(LOOK_AGAIN) => {}
        }
    }

    fn end(&self, state: &mut State, done: Result<(Id, Result<(), run::Error>), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, outcome)) => (id, outcome.map_err(|error| (error.to_string(), error.code()))),
            Err(broken) => (broken.id(), Err((broken.to_string(), model::Code::Internal))),
        };
        self.ended.notify_waiters();
        let Some((one, _)) = state.working.remove(&id) else { return };
        let run = &one.run;
        match outcome {
            Ok(()) => {
                tracing::info!(%run, "sealed");
                state.later.remove(run);
            }
            Err((error, code)) => {
                // One that failed for good is not found again; one that stays open is.
                tracing::warn!(%run, error, ?code, "a run did not come to its seal");
                // What went wrong inside is nobody's business outside.
                let inside = code == model::Code::Internal;
                let why =
                    if inside { "the server failed; its log says more".into() } else { error };
                self.delays.set(run, why);
                let before = state.later.get(run).map(|(_, after)| *after);
                let after = next(before);
                state.later.insert(one.run, (self.clock.now() + after, after));
            }
        }
    }
}

/// Returns after how long a run is tried again that was last tried after `before`.
fn next(before: Option<TimeDelta>) -> TimeDelta {
    let first = TimeDelta::seconds(RUN_AGAIN_SECONDS);
    let doubled = before.map_or(first, |before| before * 2);
    doubled.min(TimeDelta::seconds(RUN_AGAIN_SECONDS_MAX))
}

/// Picks up to `free` runs: no workspace has more than its share while another one waits.
fn choose(eligible: &[Unfinished], working: &[&Unfinished], free: usize) -> Vec<Unfinished> {
    let mut of: BTreeMap<&WorkspaceId, usize> = BTreeMap::new();
    for one in working {
        *of.entry(&one.workspace).or_default() += 1;
    }
    let is_new = |one: &&Unfinished| working.iter().all(|working| working.run != one.run);
    let (mut chosen, mut left): (Vec<Unfinished>, Vec<&Unfinished>) = Default::default();
    for one in eligible.iter().filter(is_new) {
        let share = of.entry(&one.workspace).or_default();
        if chosen.len() < free && *share < RUNS_AT_ONCE_OF_ONE {
            *share += 1;
            chosen.push(one.clone());
        } else {
            left.push(one);
        }
    }
    let rest = free - chosen.len();
    chosen.extend(left.into_iter().take(rest).cloned());
    chosen
}

/// Notes the lease of a run that is worked on.
#[derive(Debug, Default)]
struct Holder(Mutex<Option<Lease>>);

impl Progress for Holder {
    fn add(&self, _: u64, _: u64) {}
}

impl Observer for Holder {
    fn holds(&self, run: &Run) {
        let (workspace, id, epoch) = (run.workspace.clone(), run.id.clone(), run.epoch);
        let lease = Lease { workspace, run: id, epoch };
        *self.0.lock().expect("no holder of this lock can panic") = Some(lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(workspace: &str, run: &str) -> Unfinished {
        let (workspace, run) = (WorkspaceId::new(workspace), RunId::new(run));
        Unfinished { workspace, run, epoch: 1, leased: false }
    }

    fn chosen(eligible: &[Unfinished], working: &[Unfinished], free: usize) -> Vec<String> {
        let working: Vec<&Unfinished> = working.iter().collect();
        let chosen = choose(eligible, &working, free);
        chosen.into_iter().map(|one| one.run.to_string()).collect()
    }

    #[test]
    fn no_workspace_has_all_places_while_others_wait() {
        let all = [open("a", "1"), open("b", "2"), open("a", "3"), open("a", "4"), open("a", "5")];
        assert_eq!(chosen(&all, &[], 4), ["1", "2", "3", "4"]);
        let more = [open("a", "1"), open("a", "2"), open("a", "3"), open("b", "4"), open("b", "5")];
        assert_eq!(chosen(&more, &[], 4), ["1", "2", "4", "5"]);
    }

    #[test]
    fn what_is_worked_on_counts_and_is_not_taken_twice() {
        let working = [open("a", "1"), open("a", "2")];
        let all = [open("a", "1"), open("a", "3"), open("b", "4")];
        assert_eq!(chosen(&all, &working, 1), ["4"]);
        assert_eq!(chosen(&all, &working, 2), ["4", "3"]);
        assert!(chosen(&all, &working, 0).is_empty());
    }

    #[test]
    fn tries_come_later_and_later() {
        let mut after = None;
        let seconds: Vec<i64> = (0..9)
            .map(|_| {
                after = Some(next(after));
                after.map_or(0, |after| after.num_seconds())
            })
            .collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }
}
