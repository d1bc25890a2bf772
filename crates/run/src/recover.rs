//! Going on with a run that another holder left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use model::part::{Part, Receipt};
use model::ports::{LedgerError, Opened, ReadTask};
use model::run::{Intent, Plan, Run, RunState};
use model::{ObjectKey, RunId, WorkspaceId};

use crate::coordinator::{Coordinator, Sealed};
use crate::deliver::{Expected, Settled, settle};
use crate::error::Error;
use crate::ports::{Guard, Observer, Quiet};
use crate::retry::patiently;
use crate::session::Session;
use crate::work::{self, Pages};

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
        let objects =
            self.ports.destinations.open(workspace, &found.definition.destination).await?;
        let (opened, guard) = match self.take_over(&found).await {
            Ok(taken) => taken,
            Err(Error::Ledger(LedgerError::State { .. })) => {
                return over(self.ports.ledger.run(workspace, run).await?);
            }
            Err(error) => return Err(error),
        };
        let place = (&self.ports, &self.settings);
        let session = Session::new(place, opened, objects, observer, guard);
        Box::pin(session.conduct()).await
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
        let dead = ports.liveness.is_dead(&run.id, run.epoch).then_some(run.epoch);
        let guard = ports.liveness.hold(&run.id, run.epoch + 1)?;
        // Of two that see the dead holder only the one that got its place may act on it.
        let dead = dead.filter(|_| guard.is_some());
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
    Ok(ports.relations.unstage(&session.run.id, session.lease.epoch - 1).await?)
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
    let intents = patiently(&*ports.pauses, read).await?;
    let old = intents.into_iter().filter(|intent| intent.epoch < session.lease.epoch);
    for intent in perhaps_unfinished(old, &finished) {
        if let Err(error) = session.objects.abort(&intent.key, &intent.token).await {
            tracing::warn!(%error, "an old upload could not be aborted");
        }
    }
    Ok(())
}

/// Returns the intents that may have left an unfinished upload. The one intent of a finished file did not;
/// where there are several, a file that was gone was being written again.
pub(crate) fn perhaps_unfinished(
    intents: impl Iterator<Item = Intent>,
    finished: &BTreeSet<ObjectKey>,
) -> Vec<Intent> {
    let intents: Vec<Intent> = intents.collect();
    let mut of_key: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for intent in &intents {
        *of_key.entry(&intent.key).or_default() += 1;
    }
    let doubtful = |intent: &&Intent| of_key[&intent.key] > 1 || !finished.contains(&intent.key);
    intents.iter().filter(doubtful).cloned().collect()
}

/// Reads the first rows of what is still to be written, before everything that is written is read again: a lake that does not answer is noticed
/// by that.
pub(crate) async fn look(session: &Session, plan: &Plan) -> Result<(), Error> {
    let mut pages = Pages::new(session);
    while let Some(part) = pages.next().await? {
        if part.receipt.is_some() || part.rows_planned() == 0 {
            continue;
        }
        let task = ReadTask { relation: Arc::new(plan.relation.clone()), inputs: part.inputs };
        if let Some(rows) = session.ports.relations.read(&task).await?.next().await {
            rows?;
        }
        break;
    }
    Ok(())
}

/// Makes sure that what earlier holders wrote is at the destination still, and writes again what is gone:
/// much may have happened there since, and nothing may be sealed that is not there.
///
/// # Errors
///
/// [`crate::deliver::Error::AnotherFile`] where other bytes are in the place of a file.
pub(crate) async fn restore(session: &Session, plan: &Plan) -> Result<(), Error> {
    if session.lease.epoch == 1 {
        return Ok(());
    }
    let mut pages = Pages::new(session);
    let mut running = FuturesUnordered::new();
    while let Some(part) = pages.next().await? {
        session.check()?;
        if running.len() >= session.settings.parallel.max(1) {
            running.next().await.transpose()?;
        }
        running.push(restore_one(session, plan, part));
    }
    while let Some(restored) = running.next().await {
        restored?;
    }
    Ok(())
}

async fn restore_one(session: &Session, plan: &Plan, part: Part) -> Result<(), Error> {
    let Some(receipt) = part.receipt.clone().filter(|receipt| receipt.rows > 0) else {
        return Ok(());
    };
    let Receipt { key, bytes, sha256, .. } = receipt;
    let expected = Expected { bytes, sha256 };
    let pauses = &*session.ports.pauses;
    if patiently(pauses, || settle(&*session.objects, &key, &expected)).await? == Settled::Ours {
        return Ok(());
    }
    tracing::warn!(%key, "a file is gone from the destination; writing it again");
    let inconsistent = |what| Error::Inconsistent { run: session.run.id.clone(), what };
    let here = session.ports.encoder.check(&plan.encoding.spec, &plan.relation.output)?;
    if here.encoder != plan.encoding.encoder {
        return Err(inconsistent("a file is gone that another version of the program wrote"));
    }
    let again = work::write(session, plan, part, &Quiet).await?;
    if (again.bytes, &again.sha256) != (expected.bytes, &expected.sha256) {
        return Err(inconsistent("a file is gone and cannot be made again as it was"));
    }
    Ok(())
}
