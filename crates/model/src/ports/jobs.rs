//! The queue of jobs.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ids::JobId;
use crate::job::{AfterFailure, Job, JobLease, Shift, SlotFailure};
use crate::ports::LedgerError;

/// Work that waits until a process does it.
///
/// Jobs come from elsewhere, in the transaction that makes them necessary: [`crate::ports::Exports::fire`] adds slots,
/// [`crate::ports::Ledger::open_run`] adds runs and turns a slot into one, and a run's end removes its job, or turns it back into the slot
/// if it failed. So there is a job exactly as long as there is something to do. Chores come of what is there ([`Jobs::arm`]), and come again.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Returns jobs of a shift that are due, `of_one` of each workspace at most: those that nobody works on first, then by
    /// [`crate::job::Priority`], then by age; the first of each workspace before the second of any.
    ///
    /// Of one export the runs come in the order in which they were opened, and a slot when no run and no earlier slot is left. Slots of an export that does not
    /// run by itself stay where they are.
    async fn waiting(
        &self,
        shift: Shift,
        of_one: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Job>, LedgerError>;

    /// Makes the chores that are missing: sealing for a dataset whose small commits have become old, at once; care for each dataset,
    /// a sweep for each workspace that has one, and forgetting, from an hour on. Those of datasets that were dropped go. Where nothing is missing, nothing is written.
    async fn arm(&self, now: DateTime<Utc>) -> Result<(), LedgerError>;

    /// Ends a chore: it comes again at that time, or not. Fine if it is somebody else's by now.
    async fn done(
        &self,
        lease: &JobLease,
        again_at: Option<DateTime<Utc>>,
    ) -> Result<(), LedgerError>;

    /// Forgets what nobody can ask for any more, up to `limit` of each: keys that have lapsed, and what sealed runs meant to
    /// write [`crate::limits::INTENT_DAYS`] ago. Returns how much there was.
    async fn forget(&self, now: DateTime<Utc>, limit: u32) -> Result<u64, LedgerError>;

    /// Takes a slot or a chore whose newest lease is `epoch` and has lapsed, or whose holder is proven to be gone, for
    /// [`crate::limits::LEASE_SECONDS`]; `None` if somebody was faster.
    async fn claim(
        &self,
        job: &JobId,
        epoch: u64,
        is_dead: bool,
    ) -> Result<Option<JobLease>, LedgerError>;

    /// Renews the lease of a slot or a chore; fine if it is a run by now, or somebody else's.
    async fn renew_job(&self, lease: &JobLease) -> Result<(), LedgerError>;

    /// Puts a job off and says why; fine if it is gone, or somebody else's by now.
    async fn later(
        &self,
        lease: &JobLease,
        due_at: DateTime<Utc>,
        why: &str,
    ) -> Result<(), LedgerError>;

    /// Removes the job of a run that has ended, which a program that knew no jobs has left.
    async fn tidy(&self, job: &JobId) -> Result<(), LedgerError>;

    /// Gives a slot or a chore back, for whoever is next; fine if it is gone, or somebody else's.
    async fn release(&self, lease: &JobLease) -> Result<(), LedgerError>;

    /// Says what follows when a slot failed whose run ended, which has counted it, or was never opened, which counts it here: it is tried again
    /// later and later, if that may help and not [`crate::limits::FAILURES_MAX`] runs in a row have failed; else the
    /// export breaks, unless it is of another version by now than the one that failed.
    async fn failed(
        &self,
        lease: &JobLease,
        failure: &SlotFailure<'_>,
        now: DateTime<Utc>,
    ) -> Result<AfterFailure, LedgerError>;
}
