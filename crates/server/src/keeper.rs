//! Upkeep of the lake and of the ledger, done by whoever of the servers takes its jobs.
//!
//! Contract: small commits that have become old are sealed; each hour the files of a dataset are merged and rows removed that a rule says are
//! too old, and in each workspace files deleted that nobody needs, what failed runs have left and what was held for tickets is taken away, and keys, links and tickets forgotten that were over. Each is a job of its own
//! with a lease, so that servers share them, one that dies leaves nothing undone, and what cannot be done for one dataset
//! holds up no other: it is tried again later and later. A server does one at a time, beside its runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{Days, TimeDelta};
use model::job::{Chore, Job, JobLease, Shift, Task};
use model::limits::{
    CLEAN_RUNS, CLEAN_SECONDS, FORGET_ROWS, JOBS_LOOKED_AT, KEEP_HOURS, KEEP_SECONDS, LINK_DAYS,
    TICKET_GRACE_HOURS, TICKET_RUNS,
};
use model::ports::{Catalog, Ledger, Links, Tickets, Upkeep};
use model::{Clock, Code, CommitNumber, Failure, PortError, WorkspaceId};
use run::Coordinator;

use crate::Shelf;
use crate::claims::Claims;
use crate::executor::pause;

/// Chores done before what is missing is looked for again.
const CHORES_AT_ONCE: usize = 20;

/// What a keeper works with.
#[derive(Clone)]
pub struct Keeper {
    /// What is to be done, and who has it.
    pub claims: Claims,
    /// Runs that have ended.
    pub ledger: Arc<dyn Ledger>,
    /// What takes away what they left.
    pub coordinator: Coordinator,
    /// How datasets are kept.
    pub catalog: Arc<dyn Catalog>,
    /// Links.
    pub links: Arc<dyn Links>,
    /// Runs whose files are held for a while.
    pub tickets: Arc<dyn Tickets>,
    /// What takes care of the lake.
    pub upkeep: Arc<dyn Upkeep>,
    /// Files of uploads on this machine.
    pub shelf: Shelf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The job that is worked on.
    pub held: Arc<Mutex<Option<JobLease>>>,
}

impl Keeper {
    /// Works until `stop` is ready; what is under way then is dropped, which is like a crash and harmless.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stop => {}
            never = self.rounds() => match never {},
        }
        let Some(lease) = self.hold(None) else { return };
        if let Err(error) = self.claims.jobs.release(&lease).await {
            tracing::warn!(%error, "a lease could not be given back; it will lapse");
        }
    }

    /// Notes which job is worked on; returns the one before.
    fn hold(&self, lease: Option<JobLease>) -> Option<JobLease> {
        let mut held = self.held.lock().expect("no holder of this lock can panic");
        std::mem::replace(&mut held, lease)
    }

    async fn rounds(&self) -> std::convert::Infallible {
        let mut expire_at = self.clock.now() + TimeDelta::hours(KEEP_HOURS);
        loop {
            // Each process for its own folder.
            self.shelf.tidy().await;
            let now = self.clock.now();
            if now >= expire_at {
                expire_at = now + TimeDelta::hours(KEEP_HOURS);
                if let Err(error) = self.shelf.expire().await {
                    tracing::warn!(%error, "uploads that nobody closed were not given up");
                }
            }
            match self.chores().await {
                // There may be more.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lake was not looked after"),
            }
            self.claims.pauses.pause(Duration::from_secs(KEEP_SECONDS)).await;
        }
    }

    /// Does some of what is due and nobody else does; returns whether there was something.
    async fn chores(&self) -> Result<bool, run::Error> {
        let (jobs, now) = (&self.claims.jobs, self.clock.now());
        jobs.arm(now).await?;
        let waiting = jobs.waiting(Shift::Upkeep, JOBS_LOOKED_AT, now).await?;
        let mut found = false;
        for job in waiting.iter().filter(|job| self.claims.is_free(job)).take(CHORES_AT_ONCE) {
            let Task::Chore(chore) = &job.task else { continue };
            let taken = match self.claims.take(job).await {
                Ok(taken) => taken,
                Err(error) => {
                    // It is left to others, and holds up no other.
                    tracing::warn!(job = %job.id, %error, "a chore could not be taken");
                    continue;
                }
            };
            if let Some((lease, guard)) = taken {
                found = true;
                self.hold(Some(lease.clone()));
                let done = self.one((job, chore), &lease).await;
                self.hold(None);
                drop(guard);
                done?;
            }
        }
        Ok(found)
    }

    async fn one(&self, (job, chore): (&Job, &Chore), lease: &JobLease) -> Result<(), run::Error> {
        let done = tokio::select! {
            biased;
            done = self.chore(&job.workspace, chore) => done,
            never = self.claims.renew(lease) => match never {},
        };
        let now = self.clock.now();
        let next = match chore {
            Chore::Seal(_) => None,
            Chore::Care(_) | Chore::Sweep | Chore::Forget => {
                Some(now + TimeDelta::hours(KEEP_HOURS))
            }
        };
        let (jobs, workspace) = (&self.claims.jobs, &job.workspace);
        match done {
            Ok(()) => jobs.done(lease, next).await?,
            // Dropped meanwhile, or an export comes first; somebody else who seals is soon done.
            Err(error)
                if error.code() == Code::NotFound
                    || (error.code() == Code::Conflict && next.is_some()) =>
            {
                tracing::info!(%workspace, ?chore, %error, "not all is done");
                jobs.done(lease, next).await?;
            }
            Err(error) => {
                tracing::warn!(%workspace, ?chore, %error, "not all is done");
                jobs.later(lease, now + pause(job.attempts), &error.to_string()).await?;
            }
        }
        Ok(())
    }

    async fn chore(&self, workspace: &WorkspaceId, chore: &Chore) -> Result<(), PortError> {
        match chore {
            // Of no commit: only the tail is looked at.
            Chore::Seal(name) => self.upkeep.tend(workspace, name, CommitNumber(0)).await.map(drop),
            Chore::Care(name) => self.care(workspace, name).await,
            Chore::Sweep => self.sweep(workspace).await,
            Chore::Forget => self.forget().await,
        }
    }

    async fn care(&self, workspace: &WorkspaceId, name: &str) -> Result<(), PortError> {
        let dataset = self.catalog.dataset(workspace, name).await?;
        let days = dataset.keep_days.map(|days| Days::new(days.into()));
        let oldest = days.and_then(|days| self.clock.now().checked_sub_days(days));
        let removed = match oldest {
            Some(before) => self.upkeep.expire(workspace, name, before).await.map(drop),
            None => Ok(()),
        };
        // Rows that have to stay are merged all the same.
        self.upkeep.compact(workspace, name, Arc::new(run::Quiet)).await?;
        removed
    }

    async fn forget(&self) -> Result<(), PortError> {
        let now = self.clock.now();
        while self.claims.jobs.forget(now, FORGET_ROWS).await? > 0 {}
        let before = now - TimeDelta::days(LINK_DAYS);
        while self.links.forget_links(before, FORGET_ROWS).await? > 0 {}
        Ok(())
    }

    async fn sweep(&self, workspace: &WorkspaceId) -> Result<(), PortError> {
        self.upkeep.sweep(workspace).await?;
        // What is broken off is gone on with next time.
        let limit = Duration::from_secs(CLEAN_SECONDS);
        let cleaned = tokio::time::timeout(limit, self.clean(workspace)).await.unwrap_or(Ok(()));
        let let_go = tokio::time::timeout(limit, self.let_go(workspace)).await.unwrap_or(Ok(()));
        cleaned.and(let_go)
    }

    /// Takes away files that were held for tickets, once downloads that had begun are over.
    async fn let_go(&self, workspace: &WorkspaceId) -> Result<(), PortError> {
        let before = self.clock.now() - TimeDelta::hours(TICKET_GRACE_HOURS);
        loop {
            let runs = self.tickets.lapsed(workspace, before, TICKET_RUNS).await?;
            let mut gone = 0;
            for run in &runs {
                match Box::pin(self.coordinator.take_away(workspace, run)).await {
                    Ok(()) => {
                        self.tickets.let_go(workspace, run).await?;
                        gone += 1;
                    }
                    Err(error) => {
                        tracing::info!(%workspace, %run, %error, "its files are not taken away");
                    }
                }
            }
            // What fails is found again, and tried next time.
            if gone == 0 || runs.len() < TICKET_RUNS as usize {
                return Ok(());
            }
        }
    }

    /// Takes away what failed and cancelled runs have left, where whoever ended them did not come to it or something was written late.
    async fn clean(&self, workspace: &WorkspaceId) -> Result<(), PortError> {
        for run in self.ledger.uncleaned(workspace, self.clock.now(), CLEAN_RUNS).await? {
            let Err(error) = Box::pin(self.coordinator.cancel(workspace, &run)).await else {
                continue;
            };
            tracing::info!(%workspace, %run, %error, "it is not cleaned up");
            if !error.code().can_retry() {
                // Its destination is gone, or not for servers: that will not change.
                self.ledger.cleaned(workspace, &run, self.clock.now()).await?;
            }
        }
        Ok(())
    }
}
