//! Going on with a run that another holder left behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::ports::{LedgerError, Opened};
use model::run::{Run, RunState};
use model::{RunId, WorkspaceId};

use crate::coordinator::{Coordinator, Sealed};
use crate::error::Error;
use crate::ports::{Guard, Observer};
use crate::retry::patiently;
use crate::session::Session;
use crate::work::Pages;

impl Coordinator {
    /// Brings an interrupted run to its end at the range it was opened with. A sealed run is returned
    /// as it is.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Leased`] while another living process works on it; [`Error::Over`] if it failed or
    /// was cancelled.
    pub async fn resume(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        observer: Arc<dyn Observer>,
    ) -> Result<Sealed, Error> {
        let found = self.ports.ledger.run(workspace, run).await?;
        if found.state.is_final() {
            return over(found);
        }
        // Before the lease: what this process cannot do must not end the run.
        self.check_encoder(&found)?;
        let objects = self.ports.destinations.open(&found.definition.destination).await?;
        let (opened, guard) = match self.take_over(&found).await {
            Ok(taken) => taken,
            Err(Error::Ledger(LedgerError::State { .. })) => {
                return over(self.ports.ledger.run(workspace, run).await?);
            }
            Err(error) => return Err(error),
        };
        let place = (&self.ports, &self.settings);
        Session::new(place, opened, objects, observer, guard).conduct().await
    }

    /// Refuses to go on with another encoder: the same part would give other bytes.
    fn check_encoder(&self, run: &Run) -> Result<(), Error> {
        let (Some(plan), None) = (&run.plan, &run.manifest) else { return Ok(()) };
        let here = self.ports.encoder.check(&plan.encoding.spec, &plan.relation.output)?;
        if here.encoder == plan.encoding.encoder {
            return Ok(());
        }
        let (planned, here) = (plan.encoding.encoder.to_string(), here.encoder.to_string());
        Err(Error::OtherEncoder { run: run.id.clone(), planned, here })
    }

    /// Takes the lease of a run: at once if its holder is known to be dead, else when it has lapsed.
    pub(crate) async fn take_over(&self, run: &Run) -> Result<(Opened, Option<Guard>), Error> {
        let Self { ports, settings } = self;
        let dead = ports.liveness.is_dead(&run.id);
        let guard = ports.liveness.hold(&run.id)?;
        // Of two that see the dead holder only the one that got its place may act on it.
        let dead = dead && guard.is_some();
        let taken = ports.ledger.take_over(&run.workspace, &run.id, &settings.owner, dead);
        Ok((taken.await?, guard))
    }
}

fn over(run: Run) -> Result<Sealed, Error> {
    match run.state {
        RunState::Sealed => Sealed::of(run),
        state => Err(Error::Over { run: run.id, state }),
    }
}

/// Clears what a holder that died while planning has written. No file exists yet.
pub(crate) async fn forget_plan(session: &Session) -> Result<(), Error> {
    if session.lease.epoch == 1 {
        return Ok(());
    }
    let ports = &session.ports;
    patiently(&*ports.pauses, || ports.ledger.clear_parts(&session.lease)).await?;
    Ok(ports.relations.unstage(&session.run.id).await?)
}

/// Removes the unfinished uploads of earlier holders, as their intents name them.
pub(crate) async fn abort_uploads(session: &Session) -> Result<(), Error> {
    let (ports, run) = (&session.ports, &session.run);
    let mut finished = BTreeSet::new();
    let mut pages = Pages::new(session);
    while let Some(part) = pages.next().await? {
        finished.extend(part.receipt.map(|receipt| receipt.key));
    }
    let read = || ports.ledger.intents(&run.workspace, &run.id);
    for intent in patiently(&*ports.pauses, read).await? {
        if intent.epoch >= session.lease.epoch || finished.contains(&intent.key) {
            continue;
        }
        if let Err(error) = session.objects.abort(&intent.key, &intent.token).await {
            tracing::warn!(%error, "an old upload could not be aborted");
        }
    }
    Ok(())
}
