//! One holder's work on one run: the lease, the heartbeat, and what follows when the work ends.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::into::IntoDataset;
use model::limits::{LEASE_SECONDS, REASON_CHARS_MAX};
use model::ports::{Lease, LedgerError, Objects, Opened};
use model::run::{Run, RunState};
use model::{Failure, Fault, ObjectKey};

use crate::cancel::clean_up;
use crate::coordinator::{Ports, Sealed, Settings};
use crate::error::Error;
use crate::ports::{Guard, Observer};
use crate::retry::patiently;
use crate::stop::{Stop, Why};
use crate::{plan, recover, seal, work};

/// A run that this process holds.
pub(crate) struct Session {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    /// The run as it was when it was taken.
    pub(crate) run: Run,
    pub(crate) lease: Lease,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) stop: Stop,
    /// Files that this session is certain to have written, whether the ledger knows or not.
    pub(crate) written: Mutex<BTreeSet<ObjectKey>>,
    /// Tells other processes of this host that we live.
    _guard: Option<Guard>,
}

impl Session {
    pub(crate) fn new(
        (ports, settings): (&Ports, &Settings),
        Opened { run, lease }: Opened,
        objects: Arc<dyn Objects>,
        observer: Arc<dyn Observer>,
        guard: Option<Guard>,
    ) -> Arc<Self> {
        observer.holds(&run);
        Arc::new(Self {
            ports: ports.clone(),
            settings: settings.clone(),
            run,
            lease,
            objects,
            observer,
            stop: Stop::new(),
            written: Mutex::default(),
            _guard: guard,
        })
    }

    /// Brings the run to its end, whatever state it is in, and lets go of it.
    pub(crate) async fn conduct(self: Arc<Self>) -> Result<Sealed, Error> {
        let work = Box::pin(work_on(Arc::clone(&self)));
        let done = tokio::select! {
            biased;
            done = work => done,
            never = self.beat() => match never {},
        };
        match done {
            Ok(run) => {
                self.release().await;
                self.observer.sealed(&run);
                Sealed::of(run)
            }
            Err(error) => Err(self.wind_down(error).await),
        }
    }

    /// Renews the lease for as long as it is polled, and hears whether to stop.
    async fn beat(&self) -> std::convert::Infallible {
        let third = Duration::from_secs(LEASE_SECONDS.unsigned_abs()) / 3;
        loop {
            self.ports.pauses.pause(third).await;
            match self.ports.ledger.renew(&self.lease).await {
                Ok(false) => {}
                Ok(true) => self.stop.ask(Why::Cancelled),
                Err(LedgerError::Fenced { .. }) => self.stop.ask(Why::Fenced),
                // Work goes on: if the lease lapses meanwhile, the next write of the ledger is refused.
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
    }

    /// Returns an error if the work was asked to stop.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.stop.why() {
            None => Ok(()),
            Some(why) => Err(Error::stopped(&self.run.id, why)),
        }
    }

    /// Does the work unless it is asked to stop first. Only for work that may be dropped at any time.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            why = self.stop.asked() => Err(Error::stopped(&self.run.id, why)),
            done = work => done,
        }
    }

    async fn release(&self) {
        if let Err(error) = self.ports.ledger.release(&self.lease).await {
            tracing::warn!(%error, "the lease could not be given back; it will lapse");
        }
    }

    /// Ends the run after an error: first in the ledger, which is where a holder that was fenced finds
    /// out; only then are files taken away.
    async fn wind_down(&self, error: Error) -> Error {
        if error.is_fenced() || self.stop.why() == Some(Why::Fenced) {
            return Error::stopped(&self.run.id, Why::Fenced);
        }
        let is_ours = match error.fault() {
            Fault::Own => true,
            Fault::Destination => self.is_kept_by_us(),
            _ => false,
        };
        if error.code().can_retry() && is_ours {
            // Our own database or store does not answer: no fault of the run, which goes on from here.
            return self.stays_open(error).await;
        }
        let state = match error {
            Error::Cancelled { .. } => RunState::Cancelled,
            _ => RunState::Failed,
        };
        let (ports, now, reason) = (&self.ports, self.ports.clock.now(), told(&error));
        let end = || ports.ledger.end(&self.lease, state, &reason, now);
        match patiently(&*ports.pauses, end).await {
            Ok(()) => {
                let written = std::mem::take(&mut *self.written.lock().expect("not poisoned"));
                let clean = clean_up(ports, &*self.objects, &self.run, &written);
                let left = Box::pin(clean).await;
                for key in &left {
                    self.observer.left(key);
                }
                error.leaving(left)
            }
            Err(fenced @ LedgerError::Fenced { .. }) => fenced.into(),
            Err(refused) => {
                // A frozen manifest cannot be taken back: the run stays resumable.
                tracing::warn!(error = %refused, "the run cannot be ended");
                self.stays_open(error).await
            }
        }
    }

    /// Returns whether what it delivers lies where the lake is.
    fn is_kept_by_us(&self) -> bool {
        let destination = &self.run.definition.destination;
        IntoDataset::of(destination).is_some() || self.ports.destinations.is_managed(destination)
    }

    async fn stays_open(&self, error: Error) -> Error {
        self.release().await;
        Error::StaysOpen { run: self.run.id.clone(), source: Box::new(error) }
    }

    /// Notes a file as ours.
    pub(crate) fn wrote(&self, key: &ObjectKey) {
        self.written.lock().expect("no holder of this lock can panic").insert(key.clone());
    }
}

/// Says an error in the way the ledger keeps it: a message may quote values, and not every database takes
/// control characters.
fn told(error: &Error) -> String {
    let text = error.to_string();
    let plain = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    text.chars().take(REASON_CHARS_MAX).map(plain).collect()
}

async fn work_on(session: Arc<Session>) -> Result<Run, Error> {
    let run = &session.run;
    if run.state == RunState::Sealing {
        if let Some(plan) = &run.plan {
            recover::abort_uploads(&session).await?;
            recover::restore(&session, plan).await?;
        }
        return seal::finish(&session).await;
    }
    if run.cancel_asked {
        return Err(Error::Cancelled { run: run.id.clone() });
    }
    let plan = match &run.plan {
        None => {
            recover::forget_plan(&session).await?;
            plan::make(&session).await?
        }
        Some(plan) => {
            recover::look(&session, plan).await?;
            recover::abort_uploads(&session).await?;
            recover::restore(&session, plan).await?;
            plan.clone()
        }
    };
    let plan = Arc::new(plan);
    work::run_parts(&session, &plan).await?;
    session.check()?;
    if let Some(into) = IntoDataset::of(&run.definition.destination) {
        return seal::into_dataset(&session, &plan, &into).await;
    }
    seal::freeze(&session, &plan).await?;
    seal::finish(&session).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_plain_text_of_limited_length() {
        let told = |relation: String| told(&Error::NotIncremental { relation });
        assert!(told("a\0b\nc".into()).starts_with("`a\u{fffd}b\u{fffd}c` cannot"));
        assert_eq!(told("x".repeat(10_000)).chars().count(), REASON_CHARS_MAX);
    }
}
