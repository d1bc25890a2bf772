//! What a coordinator asks of its surroundings, besides the ports of `model`.
//!
//! The binary implements these; tests implement them with fakes. Nothing here does I/O.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use model::part::{PartId, Receipt};
use model::ports::{Catalog, Objects, Progress};
use model::run::Run;
use model::{CommitNumber, ObjectKey, PortError, RunId, WorkspaceId};

/// Opens the place that a definition names.
#[async_trait]
pub trait Destinations: Send + Sync {
    /// Returns the one URL of a place as it is named in a request; refuses a place where a workspace may not
    /// deliver.
    async fn resolve(&self, workspace: &WorkspaceId, named: &str) -> Result<String, PortError>;

    /// Returns whether a URL is that of the destination that the server keeps for each workspace.
    fn is_managed(&self, url: &str) -> bool;

    /// Opens the destination of a workspace with that URL. Writes nothing.
    async fn open(&self, workspace: &WorkspaceId, url: &str)
    -> Result<Arc<dyn Objects>, PortError>;
}

/// Held for as long as a run is worked on; dropping it, or the death of the process, lets go.
pub type Guard = Box<dyn Any + Send + Sync>;

/// Tells on one host whether the process that holds a run is alive, so that a resume right after a crash
/// need not wait for the lease to lapse.
pub trait Liveness: Send + Sync {
    /// Marks this process as the one that works on the run with the lease of that epoch; `None` if another
    /// living process does.
    fn hold(&self, run: &RunId, epoch: u64) -> Result<Option<Guard>, PortError>;

    /// Returns whether the holder of that epoch was on this host and is gone. When in doubt, `false`: the
    /// run may have been taken over on another host since.
    fn is_dead(&self, run: &RunId, epoch: u64) -> bool;
}

/// Knows nothing about processes: only the lease decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseOnly;

impl Liveness for LeaseOnly {
    fn hold(&self, _run: &RunId, _epoch: u64) -> Result<Option<Guard>, PortError> {
        Ok(Some(Box::new(())))
    }

    fn is_dead(&self, _run: &RunId, _epoch: u64) -> bool {
        false
    }
}

/// Lets time pass: between tries, and between two heartbeats.
#[async_trait]
pub trait Pauses: Send + Sync {
    /// Returns after that time.
    async fn pause(&self, time: Duration);
}

/// Pauses by tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioPauses;

#[async_trait]
impl Pauses for TokioPauses {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Tells the newest commit: the one thing of the catalog that planning asks for directly.
#[async_trait]
pub trait Head: Send + Sync {
    /// Returns the newest commit of the workspace, 0 before the first.
    async fn head(&self, workspace: &WorkspaceId) -> Result<CommitNumber, PortError>;
}

#[async_trait]
impl<C: Catalog> Head for C {
    async fn head(&self, workspace: &WorkspaceId) -> Result<CommitNumber, PortError> {
        let head = Catalog::head(self, workspace).await?;
        Ok(head.map_or(CommitNumber(0), |(number, _)| number))
    }
}

/// Hears what becomes of a run. Every method but [`Progress::add`] may be left out.
pub trait Observer: Progress {
    /// A run was opened or taken over.
    fn holds(&self, _run: &Run) {}

    /// All parts are known: input rows of the run, and how many of them were done before.
    fn planned(&self, _rows: u64, _done: u64) {}

    /// A part is written.
    fn part(&self, _part: PartId, _receipt: &Receipt) {}

    /// A run is sealed.
    fn sealed(&self, _run: &Run) {}

    /// A file was left at the destination because it may not be ours.
    fn left(&self, _key: &ObjectKey) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn add(&self, _rows: u64, _bytes: u64) {}
}

impl Observer for Quiet {}
