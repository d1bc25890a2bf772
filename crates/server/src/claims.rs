//! Who has a job that is no run: a lease in the database, and on one host a lock that dies with its process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use model::RunId;
use model::job::{Job, JobLease, Task};
use model::limits::LEASE_SECONDS;
use model::ports::Jobs;
use run::{Guard, Liveness, Pauses};

/// Takes jobs.
#[derive(Clone)]
pub struct Claims {
    /// What is to be done.
    pub jobs: Arc<dyn Jobs>,
    /// Whether holders on this host are alive.
    pub liveness: Arc<dyn Liveness>,
    /// Time between two renewals, and between two looks.
    pub pauses: Arc<dyn Pauses>,
}

impl Claims {
    /// Returns whether nobody works on a job.
    pub(crate) fn is_free(&self, job: &Job) -> bool {
        !job.leased || self.is_dead(job)
    }

    fn is_dead(&self, job: &Job) -> bool {
        match &job.task {
            Task::Run { run, .. } => self.liveness.is_dead(run, job.epoch),
            Task::Slot { .. } | Task::Ticket { .. } | Task::Chore(_) => {
                self.liveness.is_dead(&lock(job), job.epoch)
            }
        }
    }

    /// Takes a job, and marks this process as the one that has it.
    pub(crate) async fn take(
        &self,
        job: &Job,
    ) -> Result<Option<(JobLease, Option<Guard>)>, run::Error> {
        let is_dead = job.leased && self.is_dead(job);
        let guard = self.liveness.hold(&lock(job), job.epoch + 1)?;
        // Of two that see the dead holder only the one that got its place may act on it.
        let taken = self.jobs.claim(&job.id, job.epoch, is_dead && guard.is_some()).await?;
        Ok(taken.map(|lease| (lease, guard)))
    }

    /// Renews the lease of a job for as long as it is polled.
    pub(crate) async fn renew(&self, lease: &JobLease) -> Infallible {
        loop {
            self.pauses.pause(Duration::from_secs(LEASE_SECONDS.unsigned_abs()) / 3).await;
            if let Err(error) = self.jobs.renew_job(lease).await {
                tracing::warn!(job = %lease.job, %error, "a lease could not be renewed");
            }
        }
    }
}

/// Returns the name of the lock of a job that is no run: locks are named by what is worked on.
fn lock(job: &Job) -> RunId {
    RunId::new(job.id.as_str())
}
