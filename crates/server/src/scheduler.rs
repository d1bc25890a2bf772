//! Exports that are due.
//!
//! Contract: each process looks, each second; the database decides which of them makes a slot a job, so that there is one job of
//! each slot, whoever dies when. What becomes of slots while nobody looked is said by the schedule.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::Clock;
use model::export::Export;
use model::limits::{DUE_AT_ONCE, SCHEDULE_SECONDS};
use model::ports::{Exports, LedgerError};
use model::schedule::{Due, ScheduleError, Slot, Trigger};
use run::Pauses;
use tokio::sync::Notify;

/// What a scheduler works with.
#[derive(Clone)]
pub struct Scheduler {
    /// Saved exports.
    pub exports: Arc<dyn Exports>,
    /// Time between looks.
    pub pauses: Arc<dyn Pauses>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told when there is something to do.
    pub wake: Arc<Notify>,
}

impl Scheduler {
    /// Works until `stop` is ready.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stop => {}
            never = self.rounds() => match never {},
        }
    }

    async fn rounds(&self) -> Infallible {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "exports that are due could not be looked for");
            }
            self.pauses.pause(Duration::from_secs(SCHEDULE_SECONDS)).await;
        }
    }

    /// Makes everything a job that is due.
    async fn round(&self) -> Result<(), LedgerError> {
        loop {
            let now = self.clock.now();
            let exports = self.exports.due_exports(now, DUE_AT_ONCE).await?;
            let mut fired = false;
            for export in &exports {
                // One that cannot be fired holds up no other.
                match self.fire(export, now).await {
                    Ok(one) => fired |= one,
                    Err(error) => {
                        tracing::warn!(export = %export.id, %error, "left for the next look");
                    }
                }
            }
            // What others have fired meanwhile is not for us; neither is what cannot be.
            if !fired {
                return Ok(());
            }
        }
    }

    async fn fire(&self, export: &Export, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let due = match due(export, now) {
            Ok(due) => due,
            Err(error) => {
                // It was checked when it was saved: the zone is gone since.
                tracing::error!(export = %export.id, %error, "an export does not run by itself any more");
                self.exports.break_export(export, &error.to_string()).await?;
                return Ok(false);
            }
        };
        let fired = self.exports.fire(export, &due, now).await?;
        if fired && due.skipped > 0 {
            tracing::warn!(export = %export.id, slots = due.skipped, "slots were missed");
        }
        if fired && !due.slots.is_empty() {
            self.wake.notify_one();
        }
        Ok(fired)
    }
}

/// Returns the slots of an export that is due.
fn due(export: &Export, now: DateTime<Utc>) -> Result<Due, ScheduleError> {
    match export.schedule.trigger {
        Trigger::OnData { minutes } => Ok(Due {
            slots: vec![Slot { at: now, since: None }],
            skipped: 0,
            next: Some(now + TimeDelta::minutes(minutes.into())),
        }),
        _ => export.schedule.due(export.next_at.unwrap_or(now), now, export.covered),
    }
}
