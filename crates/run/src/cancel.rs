//! Stopping a run, and taking away what an ended run has written.
//!
//! Clean-up follows the ledger's intents and receipts, never a prefix. What may be somebody else's stays.

use std::collections::BTreeSet;

use model::into::IntoDataset;
use model::limits::LEASE_SECONDS;
use model::part::Receipt;
use model::ports::{LedgerError, Objects};
use model::run::{Intent, Run, RunState};
use model::{Failure, ObjectKey, PortError, RunId, WorkspaceId};

use crate::coordinator::{Coordinator, Ports};
use crate::deliver::{self, Expected, settle};
use crate::error::Error;
use crate::recover::perhaps_unfinished;
use crate::retry::patiently;

/// Parts read from the ledger at once.
const PAGE: u32 = 500;

/// What asking to cancel came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Cancelled {
    /// Its holder is alive and will stop at its next heartbeat, within a third of
    /// [`LEASE_SECONDS`] seconds.
    Asked(Run),
    /// The run has ended.
    Ended {
        /// The run.
        run: Run,
        /// Files that stay because they may not be ours.
        left: Vec<ObjectKey>,
    },
}

impl Coordinator {
    /// Stops a run. A run that has failed or was cancelled before is cleaned up once more, in case that
    /// was interrupted. One whose destination cannot be opened any more ends, and its files stay.
    ///
    /// # Errors
    ///
    /// [`LedgerError::State`] for a run that is sealed or being sealed.
    pub async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Cancelled, Error> {
        let ledger = &self.ports.ledger;
        let found = ledger.run(workspace, run).await?;
        let objects = self.ports.destinations.open(workspace, &found.definition.destination).await;
        let has_ended = found.state.is_final();
        if !matches!(found.state, RunState::Failed | RunState::Cancelled) {
            let found = ledger.ask_cancel(workspace, run).await?;
            let (opened, _guard) = match self.take_over(&found).await {
                Ok(taken) => taken,
                Err(Error::Ledger(LedgerError::Leased { .. })) => {
                    tracing::info!(run = %found.id, lease_seconds = LEASE_SECONDS, "asked to stop");
                    return Ok(Cancelled::Asked(found));
                }
                Err(error) => return Err(error),
            };
            let now = self.ports.clock.now();
            let (lease, state) = (&opened.lease, RunState::Cancelled);
            let end = || ledger.end(lease, state, "cancelled", now);
            patiently(&*self.ports.pauses, end).await?;
        }
        let left = match objects {
            Ok(objects) => {
                let nothing = BTreeSet::new();
                Box::pin(clean_up(&self.ports, &*objects, &found, &nothing)).await
            }
            Err(error) if has_ended => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, run = %found.id, "its files stay");
                let receipts = receipts(&self.ports, &found).await?.into_iter();
                receipts.filter(|receipt| receipt.rows > 0).map(|receipt| receipt.key).collect()
            }
        };
        Ok(Cancelled::Ended { run: ledger.run(workspace, run).await?, left })
    }
}

impl Coordinator {
    /// Ends a run that cannot be finished as failed. What it has written is taken away later, as after a crash.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Leased`] while somebody else works on it, [`LedgerError::State`] for one that is sealed or being sealed.
    pub async fn give_up(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        why: &str,
    ) -> Result<(), Error> {
        let ledger = &self.ports.ledger;
        let found = ledger.run(workspace, run).await?;
        if matches!(found.state, RunState::Failed | RunState::Cancelled) {
            return Ok(());
        }
        if matches!(found.state, RunState::Sealing | RunState::Sealed) {
            let wanted = "be given up";
            return Err(LedgerError::State { run: found.id, state: found.state, wanted }.into());
        }
        let (opened, _guard) = self.take_over(&found).await?;
        let now = self.ports.clock.now();
        let end = || ledger.end(&opened.lease, RunState::Failed, why, now);
        Ok(patiently(&*self.ports.pauses, end).await?)
    }

    /// Deletes the files of a sealed run that nobody needs any more, its manifest last. The run stays sealed; its files are gone for
    /// whoever asks for them. Fine if some are gone already.
    ///
    /// # Errors
    ///
    /// [`LedgerError::State`] for a run that is not sealed, and whatever the destination says.
    pub async fn take_away(&self, workspace: &WorkspaceId, run: &RunId) -> Result<(), Error> {
        let found = self.ports.ledger.run(workspace, run).await?;
        let Some(manifest) = found.manifest.as_ref().filter(|_| found.state == RunState::Sealed)
        else {
            let wanted = "have its files taken away";
            return Err(LedgerError::State { run: found.id, state: found.state, wanted }.into());
        };
        let destination = &found.definition.destination;
        let objects = self.ports.destinations.open(workspace, destination).await?;
        let receipts = receipts(&self.ports, &found).await?.into_iter();
        let files = receipts.filter(|receipt| receipt.rows > 0).map(|receipt| receipt.key);
        let beside = manifest.sidecar.as_ref();
        let beside = beside.map(|list| ObjectKey::new(format!("{}/{}", found.folder(), list.name)));
        for key in files.chain(beside).chain([found.manifest_key()]) {
            objects.delete(&key).await.map_err(PortError::from)?;
        }
        Ok(())
    }
}

/// Takes away what a run that has ended in the ledger wrote, and returns what it had to leave.
///
/// A file with the bytes of its receipt is ours, and so is one in `written`. A file at an intended name without either
/// may be ours, from a moment before a crash, or somebody else's: it stays. Errors leave files, too;
/// the run has ended and nothing refers to them. The ledger is told once everything that can be known was looked at; else
/// whoever looks for it later does it again.
pub(crate) async fn clean_up(
    ports: &Ports,
    objects: &dyn Objects,
    run: &Run,
    written: &BTreeSet<ObjectKey>,
) -> Vec<ObjectKey> {
    let mut cleaning = Cleaning { objects, left: Vec::new(), whole: true, away: false };
    let mut finished = BTreeSet::new();
    match receipts(ports, run).await {
        Ok(receipts) => {
            for receipt in receipts.into_iter().filter(|receipt| receipt.rows > 0) {
                cleaning.file(&receipt, written.contains(&receipt.key)).await;
                finished.insert(receipt.key);
            }
        }
        Err(error) => {
            cleaning.whole = false;
            tracing::warn!(%error, run = %run.id, "its files could not be listed");
        }
    }
    let intents = || ports.ledger.intents(&run.workspace, &run.id);
    let intents = patiently(&*ports.pauses, intents).await.unwrap_or_else(|error| {
        cleaning.whole = false;
        tracing::warn!(%error, run = %run.id, "its intents could not be listed");
        Vec::new()
    });
    let mut doubtful = BTreeSet::new();
    for intent in perhaps_unfinished(intents.into_iter(), &finished) {
        cleaning.upload(&intent).await;
        if !finished.contains(&intent.key) {
            doubtful.insert(intent.key);
        }
    }
    // Nobody else writes where the lake takes files.
    let all_ours = IntoDataset::of(&run.definition.destination).is_some();
    for key in doubtful {
        cleaning.doubtful(&key, all_ours || written.contains(&key)).await;
    }
    let Cleaning { left, mut whole, .. } = cleaning;
    if let Err(error) = ports.relations.unstage(&run.id, run.epoch).await {
        whole = false;
        tracing::warn!(%error, run = %run.id, "staged files could not be removed");
    }
    if whole {
        let now = ports.clock.now();
        if let Err(error) = ports.ledger.cleaned(&run.workspace, &run.id, now).await {
            tracing::warn!(%error, run = %run.id, "it is cleaned up, and will be once more");
        }
    }
    if !left.is_empty() {
        tracing::warn!(run = %run.id, files = left.len(), "left files that may not be ours");
    }
    left
}

/// A clean-up under way.
struct Cleaning<'a> {
    objects: &'a dyn Objects,
    /// What stays.
    left: Vec<ObjectKey>,
    /// Whether everything could be looked at.
    whole: bool,
    /// Whether the destination has stopped answering: each file more would be a wait for nothing.
    away: bool,
}

impl Cleaning<'_> {
    /// Takes a file away that has the bytes of its receipt, or is certain to be ours.
    async fn file(&mut self, receipt: &Receipt, is_ours: bool) {
        let expected = Expected { bytes: receipt.bytes, sha256: receipt.sha256.clone() };
        let ours = if is_ours || self.away {
            Ok(true)
        } else {
            match Box::pin(settle(self.objects, &receipt.key, &expected)).await {
                Err(deliver::Error::AnotherFile { .. }) => Ok(false),
                settled => settled.map(|_| true),
            }
        };
        match ours {
            Ok(true) => self.remove(&receipt.key).await,
            Ok(false) => self.left.push(receipt.key.clone()),
            Err(error) => self.fails(&receipt.key, &error),
        }
    }

    /// Takes what is at an intended name away, if it is ours, and else looks whether something is.
    async fn doubtful(&mut self, key: &ObjectKey, is_ours: bool) {
        if is_ours || self.away {
            return self.remove(key).await;
        }
        match self.objects.info(key).await {
            Ok(None) => {}
            Ok(Some(_)) => self.left.push(key.clone()),
            Err(error) => self.fails(key, &error),
        }
    }

    async fn remove(&mut self, key: &ObjectKey) {
        if self.away {
            return self.left.push(key.clone());
        }
        if let Err(error) = self.objects.delete(key).await {
            self.fails(key, &error);
        }
    }

    async fn upload(&mut self, intent: &Intent) {
        if self.away {
            return;
        }
        if let Err(error) = self.objects.abort(&intent.key, &intent.token).await {
            self.whole = false;
            self.away |= error.code().can_retry();
            tracing::warn!(%error, "an upload could not be aborted");
        }
    }

    fn fails(&mut self, key: &ObjectKey, error: &(impl Failure + std::fmt::Display)) {
        self.whole = false;
        self.away |= error.code().can_retry();
        self.left.push(key.clone());
        tracing::warn!(%error, "a file could not be taken away");
    }
}

async fn receipts(ports: &Ports, run: &Run) -> Result<Vec<Receipt>, LedgerError> {
    let (mut receipts, mut after) = (Vec::new(), None);
    loop {
        let read = || ports.ledger.parts(&run.workspace, &run.id, after, PAGE);
        let page = patiently(&*ports.pauses, read).await?;
        let Some(last) = page.last() else { return Ok(receipts) };
        after = Some(last.id);
        receipts.extend(page.into_iter().filter_map(|part| part.receipt));
    }
}
