//! Care of every dataset, by one process for all that share a database.
//!
//! Contract: whoever has the duty seals small commits that have become old, each look; and each hour merges files,
//! removes rows that a rule says are too old, forgets keys that have lapsed and links that were over for days, gives uploads up that nobody touches, and deletes files that nobody needs. What cannot be done for one dataset
//! holds up no other, and is tried again at the next look. Two at once would do no harm, only work twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, TimeDelta};
use model::dataset::{Dataset, Unsealed};
use model::limits::{DUTY_SECONDS, FORGET_KEYS, KEEP_HOURS, KEEP_PAGE, KEEP_SECONDS, LINK_DAYS};
use model::ports::{Duties, Links, Upkeep};
use model::{Clock, Code, CommitNumber, PortError, WorkspaceId};

use run::Pauses;

use crate::Shelf;

/// The name of the duty.
const DUTY: &str = "upkeep";

/// What a keeper works with.
#[derive(Clone)]
pub struct Keeper {
    /// Where datasets are found, and who has the duty.
    pub duties: Arc<dyn Duties>,
    /// Links.
    pub links: Arc<dyn Links>,
    /// What takes care of them.
    pub upkeep: Arc<dyn Upkeep>,
    /// Files of uploads on this machine.
    pub shelf: Shelf,
    /// Time between looks.
    pub pauses: Arc<dyn Pauses>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This process, as no other is called.
    pub owner: String,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Small commits are sealed.
    Small,
    /// All that is due.
    Whole,
}

impl Keeper {
    /// Works until `stop` is ready; what is under way then is dropped, which is like a crash and harmless.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stop => {}
            never = self.rounds() => match never {},
        }
        if let Err(error) = self.duties.leave(DUTY, &self.owner).await {
            tracing::warn!(%error, "a duty could not be given back; it will lapse");
        }
    }

    async fn rounds(&self) -> std::convert::Infallible {
        // A start is no reason for work: what is due is done within the hour.
        let mut whole_at = self.clock.now() + TimeDelta::hours(KEEP_HOURS);
        loop {
            // Each process for its own folder.
            self.shelf.tidy().await;
            let now = self.clock.now();
            let round = if now >= whole_at { Round::Whole } else { Round::Small };
            if round == Round::Whole
                && let Err(error) = self.shelf.expire().await
            {
                // Each process has its own, whoever has the duty.
                tracing::warn!(%error, "uploads that nobody closed were not given up");
            }
            match self.round(round).await {
                Ok(()) if round == Round::Whole => whole_at = now + TimeDelta::hours(KEEP_HOURS),
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "datasets were not looked after"),
            }
            self.pauses.pause(Duration::from_secs(KEEP_SECONDS)).await;
        }
    }

    /// Goes through every dataset, for as long as the duty is ours.
    async fn round(&self, round: Round) -> Result<(), PortError> {
        let (mut after, mut workspaces) = (None, BTreeSet::new());
        loop {
            if !self.duties.take(DUTY, &self.owner, DUTY_SECONDS).await? {
                return Ok(());
            }
            let page = self.duties.every_dataset(after.as_ref(), KEEP_PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.id.clone());
            // A look alone costs no write.
            let due = |(_, unsealed): &(_, Unsealed)| round == Round::Whole || unsealed.files > 0;
            for (dataset, _) in page.into_iter().filter(due) {
                if !self.duties.take(DUTY, &self.owner, DUTY_SECONDS).await? {
                    return Ok(());
                }
                self.keep(&dataset, round).await;
                workspaces.insert(dataset.workspace);
            }
        }
        if round == Round::Whole {
            let now = self.clock.now();
            while self.duties.forget_keys(now, FORGET_KEYS).await? > 0 {}
            while self.links.forget_links(now - TimeDelta::days(LINK_DAYS), FORGET_KEYS).await? > 0
            {
            }
            for workspace in workspaces {
                told(&workspace, "files", self.upkeep.sweep(&workspace).await.map(drop));
            }
        }
        Ok(())
    }

    async fn keep(&self, dataset: &Dataset, round: Round) {
        let Dataset { workspace, name, .. } = dataset;
        if round == Round::Small {
            // Of no commit: only the tail is looked at.
            let sealed = self.upkeep.tend(workspace, name, CommitNumber(0)).await;
            return told(workspace, name, sealed.map(drop));
        }
        let now = self.clock.now();
        let oldest =
            dataset.keep_days.and_then(|days| now.checked_sub_days(Days::new(days.into())));
        if let Some(before) = oldest {
            let removed = self.upkeep.expire(workspace, name, before).await;
            told(workspace, name, removed.map(drop));
        }
        let merged = self.upkeep.compact(workspace, name, Arc::new(run::Quiet)).await;
        told(workspace, name, merged.map(drop));
    }
}

/// Says what could not be done.
fn told(workspace: &WorkspaceId, name: &str, done: Result<(), PortError>) {
    match done {
        Ok(()) => {}
        // Dropped meanwhile, or somebody else is at it, or an export comes first.
        Err(error) if matches!(error.code(), Code::NotFound | Code::Conflict) => {
            tracing::info!(%workspace, name, %error, "not all is done");
        }
        Err(error) => tracing::warn!(%workspace, name, %error, "not all is done"),
    }
}
