//! Jobs, worked on in this process.
//!
//! Contract: the queue is in the database. An executor takes jobs that nobody works on, a bounded number at once and no workspace
//! all of them while others wait, and brings each run to its end. What a process that died had is found in the same way, so a
//! start needs no step of its own. A run that cannot be finished for now is put off longer and longer, and its job says why; an export whose
//! run failed is tried again, or breaks. A stop drops what is under way and gives the leases back: the next start goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::export::{Advance, Definition, OpenSlot};
use model::job::{AfterFailure, Job, JobLease, Shift, SlotFailure, Task};
use model::limits::{
    JOBS_LOOKED_AT, RUN_AGAIN_SECONDS, RUN_AGAIN_SECONDS_MAX, RUNS_AT_ONCE, RUNS_AT_ONCE_OF_ONE,
    RUNS_LOOK_SECONDS, TICKET_HOLDERS_MAX,
};
use model::ports::{Exports, Lease, Ledger, LedgerError, Progress, Runs};
use model::run::Run;
use model::{Clock, Code, Failure, Fault, JobId, WorkspaceId};
use run::{Coordinator, Observer, Request};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

use crate::claims::Claims;

/// Time after which whoever waits for a run looks at it again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What an executor works with.
#[derive(Clone)]
pub struct Executor {
    /// What brings a run to its end.
    pub coordinator: Coordinator,
    /// What is to be done, and who has it.
    pub claims: Claims,
    /// Saved exports.
    pub exports: Arc<dyn Exports>,
    /// What is read of runs.
    pub runs: Arc<dyn Runs>,
    /// Where leases are given back.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told when there is something to do.
    pub wake: Arc<Notify>,
    /// Tells those who wait for a run that one has ended.
    pub ended: Arc<Notify>,
    /// Jobs that others may try first.
    pub left: Arc<Mutex<BTreeMap<JobId, Left>>>,
}

/// Jobs that are remembered as left to others; beyond it all are forgotten.
const LEFT_MAX: usize = 10_000;

/// A job that others may try first.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// When it is due, in microseconds.
    due_us: i64,
    /// Whether it was met since it is due.
    met: bool,
}

/// What an executor is doing.
#[derive(Default)]
struct State {
    tasks: JoinSet<()>,
    working: BTreeMap<Id, (Job, Arc<Holder>)>,
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
                Some(done) = state.tasks.join_next_with_id() => self.end(&mut state, done).await,
                () = self.wake.notified() => {}
                () = self.claims.pauses.pause(Duration::from_secs(RUNS_LOOK_SECONDS)) => {}
            }
        }
        state.tasks.shutdown().await;
        for (_, holder) in state.working.into_values() {
            self.let_go(&holder).await;
        }
    }

    async fn let_go(&self, holder: &Holder) {
        let Leases { slot, run } =
            std::mem::take(&mut *holder.0.lock().expect("no holder of this lock can panic"));
        let given = match (run, slot) {
            (Some(run), _) => self.ledger.release(&run).await,
            (None, Some(slot)) => self.claims.jobs.release(&slot).await,
            (None, None) => Ok(()),
        };
        if let Err(error) = given {
            tracing::warn!(%error, "a lease could not be given back; it will lapse");
        }
    }

    /// Takes up what there is room for.
    async fn look(&self, state: &mut State) {
        let free = RUNS_AT_ONCE.saturating_sub(state.working.len());
        if free == 0 {
            return;
        }
        let found = match self
            .claims
            .jobs
            .waiting(Shift::Exports, JOBS_LOOKED_AT, self.clock.now())
            .await
        {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "jobs could not be looked for"),
        };
        let is_free = |job: &Job| self.claims.is_free(job) && !self.is_left(job);
        let eligible: Vec<Job> = found.into_iter().filter(is_free).collect();
        let working: Vec<&Job> = state.working.values().map(|(job, _)| job).collect();
        for job in choose(&eligible, &working, free) {
            let holder = Arc::new(Holder::default());
            let (this, chosen, held) = (self.clone(), job.clone(), Arc::clone(&holder));
            let task = async move { Box::pin(this.one(&chosen, held)).await };
            let id = state.tasks.spawn(task).id();
            state.working.insert(id, (job, holder));
        }
    }

    /// Returns when a run of this process has ended, or after a moment: others may end one, too.
    pub(crate) async fn wait(&self) {
        tokio::select! {
            () = self.ended.notified() => {}
            () = self.claims.pauses.pause(LOOK_AGAIN) => {}
        }
    }

    /// Does a job, and says what is to become of it if that fails.
    async fn one(&self, job: &Job, holder: Arc<Holder>) {
        let mut tried = Tried {
            lease: JobLease { job: job.id.clone(), epoch: job.slot_epoch },
            version: None,
            is_slot: !matches!(job.task, Task::Run { of_slot: false, .. }),
        };
        if self.has_ended_others(job, &tried.lease).await {
            return;
        }
        let done = match &job.task {
            Task::Run { run, .. } => {
                match self.coordinator.resume(&job.workspace, run, holder).await {
                    // Somebody else ended it meanwhile, or before there were jobs.
                    Ok(_) | Err(run::Error::Over { .. }) => {
                        self.claims.jobs.tidy(&job.id).await.map_err(Into::into)
                    }
                    Err(error) => Err(error),
                }
            }
            Task::Slot { .. } | Task::Ticket { .. } => match self.claims.take(job).await {
                Ok(None) => return,
                Ok(Some((lease, _guard))) => {
                    holder.hold(&lease);
                    tried.lease = lease;
                    self.begin((job, &mut tried), holder).await
                }
                Err(error) => Err(error),
            },
            Task::Chore(_) => return,
        };
        let Err(error) = done else { return };
        if let Err(error) = self.not_done(job, &tried, &error).await {
            tracing::warn!(job = %job.id, %error, "a job that failed could not be put off");
            // It would be found again at once.
            self.claims.pauses.pause(Duration::from_secs(RUNS_LOOK_SECONDS)).await;
        }
    }

    /// Gives up what somebody has asked for and as many have begun as may; returns whether it was.
    async fn has_ended_others(&self, job: &Job, lease: &JobLease) -> bool {
        if job.epoch < TICKET_HOLDERS_MAX {
            return false;
        }
        let why = format!(
            "it was begun {TICKET_HOLDERS_MAX} times and never came to its end; the servers' logs say more"
        );
        let given_up = match &job.task {
            Task::Ticket { .. } => {
                let failure = SlotFailure { why: &why, may_help: false, version: None };
                let ended = self.claims.jobs.failed(lease, &failure, self.clock.now()).await;
                ended.map(drop).map_err(run::Error::from)
            }
            Task::Run { run, of_ticket: true, .. } => {
                self.coordinator.give_up(&job.workspace, run, &why).await
            }
            _ => return false,
        };
        given_up
            .inspect_err(|error| tracing::warn!(job = %job.id, %error, "it is not given up"))
            .is_ok()
    }

    /// Opens a run for whatever asks for one, and brings it to its end.
    async fn begin(
        &self,
        (job, tried): (&Job, &mut Tried),
        holder: Arc<Holder>,
    ) -> Result<(), run::Error> {
        let request = match &job.task {
            Task::Slot { export: id, name, slot } => {
                let export = self.ledger.export(&job.workspace, name).await?;
                if export.id != *id {
                    return Err(LedgerError::SlotTaken.into());
                }
                tried.version = Some(export.version);
                Request::of(export, Some((slot, tried.lease.clone())))
            }
            Task::Ticket { definition, range } => Request {
                workspace: job.workspace.clone(),
                export: None,
                definition: Definition::clone(definition),
                advance: Advance::None,
                from: range.map(|(from, _)| from),
                to: range.map(|(_, to)| to),
                key: None,
                version: None,
                slot: Some(OpenSlot { lease: tried.lease.clone(), is_window: false }),
            },
            Task::Run { .. } | Task::Chore(_) => return Ok(()),
        };
        tokio::select! {
            biased;
            done = self.coordinator.start(&request, holder) => done.map(drop),
            never = self.claims.renew(&tried.lease) => match never {},
        }
    }

    /// Puts off a job that was not done.
    async fn not_done(
        &self,
        job: &Job,
        tried: &Tried,
        error: &run::Error,
    ) -> Result<(), LedgerError> {
        let (id, now, code) = (&job.id, self.clock.now(), error.code());
        tracing::warn!(job = %id, %error, ?code, "a run did not come to its seal");
        // What went wrong inside is nobody's business outside.
        let why = match code {
            Code::Internal => "the server failed; its log says more".into(),
            _ => error.to_string(),
        };
        let later = now + pause(job.attempts);
        match kind(error) {
            Kind::Others => return Ok(()),
            Kind::Ours => {
                self.leave(id, later);
                return self.claims.jobs.later(&tried.lease, later, &why).await;
            }
            Kind::Waits => return self.claims.jobs.later(&tried.lease, later, &why).await,
            // Whoever asked for it may ask again, and others wait behind it.
            Kind::Failed
                if !code.can_retry()
                    && let Task::Run { run, of_ticket: true, .. } = &job.task =>
            {
                return match self.coordinator.give_up(&job.workspace, run, &why).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        tracing::warn!(run = %run, %error, "a run could not be given up");
                        self.claims.jobs.later(&tried.lease, later, &why).await
                    }
                };
            }
            Kind::Failed if !tried.is_slot => {
                self.leave(id, later);
                return self.claims.jobs.later(&tried.lease, later, &why).await;
            }
            Kind::Failed => {}
        }
        let failure = SlotFailure { why: &why, may_help: code.can_retry(), version: tried.version };
        match self.claims.jobs.failed(&tried.lease, &failure, now).await? {
            AfterFailure::Again(at) => {
                tracing::info!(job = %id, %at, "an export is tried again");
                self.leave(id, at);
            }
            AfterFailure::Broken => {
                tracing::error!(job = %id, why, "an export does not run by itself any more");
            }
            AfterFailure::Over => {}
            // Its run is still open.
            AfterFailure::Nothing => self.claims.jobs.later(&tried.lease, later, &why).await?,
        }
        Ok(())
    }

    /// Lets other servers come first when a job is due again: what failed may be this one's way to a place.
    fn leave(&self, job: &JobId, due_at: DateTime<Utc>) {
        let mut left = self.left.lock().expect("no holder of this lock can panic");
        if left.len() >= LEFT_MAX {
            left.clear();
        }
        left.insert(job.clone(), Left { due_us: due_at.timestamp_micros(), met: false });
    }

    /// Returns whether others come first: for a little longer than the time between two of their looks. Whoever has put the job forward
    /// meanwhile wants it done at once.
    fn is_left(&self, job: &Job) -> bool {
        let mut left = self.left.lock().expect("no holder of this lock can panic");
        let Some(one) = left.get_mut(&job.id) else { return false };
        if one.due_us != job.due_at.timestamp_micros() {
            left.remove(&job.id);
            return false;
        }
        if !std::mem::replace(&mut one.met, true) {
            let (this, job) = (self.clone(), job.id.clone());
            tokio::spawn(async move {
                this.claims.pauses.pause(Duration::from_secs(RUNS_LOOK_SECONDS + 1)).await;
                this.left.lock().expect("no holder of this lock can panic").remove(&job);
                this.wake.notify_one();
            });
        }
        true
    }

    async fn end(&self, state: &mut State, done: Result<(Id, ()), JoinError>) {
        let (id, broken) = match done {
            Ok((id, ())) => (id, None),
            Err(broken) => (broken.id(), Some(broken)),
        };
        self.ended.notify_waiters();
        let Some((job, holder)) = state.working.remove(&id) else { return };
        let Some(broken) = broken else { return };
        tracing::error!(job = %job.id, %broken, "a job broke off");
        let why = "the server failed; its log says more";
        let later = self.clock.now() + pause(job.attempts);
        let own = || JobLease { job: job.id.clone(), epoch: job.slot_epoch };
        let lease = holder.slot().unwrap_or_else(own);
        if let Err(error) = self.claims.jobs.later(&lease, later, why).await {
            tracing::warn!(job = %job.id, %error, "a job that broke off could not be put off");
        }
        self.let_go(&holder).await;
    }
}

/// What was tried of a job.
struct Tried {
    lease: JobLease,
    /// The version of the export, once that is known.
    version: Option<u64>,
    /// Whether a slot asked for it.
    is_slot: bool,
}

/// What an error says about a job.
enum Kind {
    /// Somebody else has it, or has ended it.
    Others,
    /// Something has to come first.
    Waits,
    /// Our own database or lake does not answer, which is no export's fault.
    Ours,
    /// It failed.
    Failed,
}

fn kind(error: &run::Error) -> Kind {
    match error {
        run::Error::Over { .. } | run::Error::Ledger(LedgerError::SlotTaken) => Kind::Others,
        error if error.is_fenced() => Kind::Others,
        run::Error::Ledger(
            LedgerError::Leased { .. } | LedgerError::Open { .. } | LedgerError::Changed { .. },
        ) => Kind::Waits,
        // What stays open was not ended by it.
        run::Error::StaysOpen { .. } if error.code().can_retry() => Kind::Ours,
        error if error.code().can_retry() && error.fault() == Fault::Own => Kind::Ours,
        _ => Kind::Failed,
    }
}

/// Returns after how long a job is looked at again that was put off so often.
pub(crate) fn pause(attempts: u32) -> TimeDelta {
    let doubled = RUN_AGAIN_SECONDS << attempts.min(20);
    TimeDelta::seconds(doubled.min(RUN_AGAIN_SECONDS_MAX))
}

/// Picks up to `free` jobs: no workspace has more than its share while another one waits.
fn choose(eligible: &[Job], working: &[&Job], free: usize) -> Vec<Job> {
    let mut of: BTreeMap<&WorkspaceId, usize> = BTreeMap::new();
    for one in working {
        *of.entry(&one.workspace).or_default() += 1;
    }
    let is_new = |one: &&Job| working.iter().all(|working| working.id != one.id);
    let (mut chosen, mut left): (Vec<Job>, Vec<&Job>) = Default::default();
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

/// Notes the leases of a job that is worked on.
#[derive(Debug, Default)]
struct Holder(Mutex<Leases>);

#[derive(Debug, Default)]
struct Leases {
    slot: Option<JobLease>,
    run: Option<Lease>,
}

impl Holder {
    fn slot(&self) -> Option<JobLease> {
        self.0.lock().expect("no holder of this lock can panic").slot.clone()
    }

    fn hold(&self, lease: &JobLease) {
        self.0.lock().expect("no holder of this lock can panic").slot = Some(lease.clone());
    }
}

impl Progress for Holder {
    fn add(&self, _: u64, _: u64) {}
}

impl Observer for Holder {
    fn holds(&self, run: &Run) {
        let (workspace, id, epoch) = (run.workspace.clone(), run.id.clone(), run.epoch);
        let lease = Lease { workspace, run: id, epoch };
        self.0.lock().expect("no holder of this lock can panic").run = Some(lease);
    }

    fn sealed(&self, run: &Run) {
        tracing::info!(run = %run.id, "sealed");
    }
}

#[cfg(test)]
mod tests {
    use model::RunId;

    use super::*;

    fn open(workspace: &str, run: &str) -> Job {
        Job {
            id: JobId::new(run),
            workspace: WorkspaceId::new(workspace),
            task: Task::Run { run: RunId::new(run), of_slot: false, of_ticket: false },
            attempts: 0,
            due_at: DateTime::UNIX_EPOCH,
            epoch: 1,
            slot_epoch: 0,
            leased: false,
        }
    }

    fn chosen(eligible: &[Job], working: &[Job], free: usize) -> Vec<String> {
        let working: Vec<&Job> = working.iter().collect();
        let chosen = choose(eligible, &working, free);
        chosen.into_iter().map(|one| one.id.to_string()).collect()
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
        let seconds: Vec<i64> = (0..9).map(|attempts| pause(attempts).num_seconds()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }
}
