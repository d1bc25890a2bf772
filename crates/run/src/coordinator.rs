//! The one writer of the ledger: opens runs and brings them to their end.

use std::sync::Arc;

use model::export::{Advance, Definition, NewRun, OpenSlot, RunKey};
use model::ports::{Encoder, Intake, Ledger, Objects, Opened, Relations};
use model::run::{FrozenManifest, Run};
use model::{Clock, CommitNumber, ObjectKey, RunId, WorkspaceId, limits};

use crate::error::Error;
use crate::plan::{Minted, Probe, same};
use crate::ports::{Destinations, Guard, Head, Liveness, Observer, Pauses};
use crate::retry::patiently;
use crate::session::Session;

/// The epoch of the lease that opening a run gives.
pub(crate) const FIRST_EPOCH: u64 = 1;

/// What a coordinator works with.
#[derive(Clone)]
pub struct Ports {
    /// What was planned, written and sealed.
    pub ledger: Arc<dyn Ledger>,
    /// The newest commit.
    pub head: Arc<dyn Head>,
    /// Rows.
    pub relations: Arc<dyn Relations>,
    /// Bytes.
    pub encoder: Arc<dyn Encoder>,
    /// Places.
    pub destinations: Arc<dyn Destinations>,
    /// Datasets as places.
    pub intake: Arc<dyn Intake>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Pauses.
    pub pauses: Arc<dyn Pauses>,
    /// Whether holders on this host are alive.
    pub liveness: Arc<dyn Liveness>,
}

/// How a coordinator works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who it is, for people.
    pub owner: String,
    /// Parts that run at the same time; at least 1.
    pub parallel: usize,
    /// Bytes up to which a file is held in memory and put at once.
    pub put_bytes_max: usize,
    /// Files that a manifest lists inside itself.
    pub manifest_files_max: usize,
    /// Days for which a sealed run can be run again.
    pub rerun_days: i64,
}

impl Settings {
    /// Makes settings with the usual limits.
    pub fn new(owner: impl Into<String>, parallel: usize) -> Self {
        Self {
            owner: owner.into(),
            parallel,
            put_bytes_max: limits::PUT_BYTES_MAX,
            manifest_files_max: limits::MANIFEST_FILES_MAX,
            rerun_days: 0,
        }
    }
}

/// An export that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The name of the saved export; none for a run without a cursor.
    pub export: Option<String>,
    /// What to export, as what, where to.
    pub definition: Definition,
    /// Whether it moves the cursor.
    pub advance: Advance,
    /// The exclusive lower end; the cursor (or 0) without it.
    pub from: Option<CommitNumber>,
    /// The inclusive upper end; the head without it.
    pub to: Option<CommitNumber>,
    /// Makes a repeat of the request find the run of the first time.
    pub key: Option<RunKey>,
    /// The version of the saved export that it is of; none if the definition is the caller's own.
    pub version: Option<u64>,
    /// The slot that asks for it; its job becomes the run's.
    pub slot: Option<OpenSlot>,
}

/// A sealed run.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// The run.
    pub run: Run,
    /// Where its manifest is, relative to the destination's root.
    pub manifest: ObjectKey,
    /// SHA-256 of the manifest, bare lower-case hex.
    pub sha256: String,
    /// Rows of all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

impl Sealed {
    pub(crate) fn of(run: Run) -> Result<Self, Error> {
        let Some(FrozenManifest { sha256, rows, bytes, files, .. }) = run.manifest.clone() else {
            let what = "it is sealed without a manifest";
            return Err(Error::Inconsistent { run: run.id, what });
        };
        Ok(Self { manifest: run.manifest_key(), run, sha256, rows, bytes, files })
    }
}

/// Plans, runs, seals, resumes and cancels exports.
///
/// Dropping a future of a coordinator is like a crash: everything stops where it is, nothing is cleaned
/// up, and the run can be resumed.
#[derive(Clone)]
pub struct Coordinator {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
}

impl Coordinator {
    /// Makes a coordinator; does nothing yet.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self { ports, settings }
    }

    /// Runs an export to its seal. An interrupted run that would move the same cursor is brought to its
    /// end first.
    ///
    /// Shape: the sealed runs in order; the last one is the one asked for.
    ///
    /// # Errors
    ///
    /// A request that cannot work is refused before anything is written. Whatever fails later ends the
    /// run as `failed` and takes away what it wrote; only a run whose manifest is fixed stays open, and one whose lake or ledger does not
    /// answer.
    pub async fn start(
        &self,
        request: &Request,
        observer: Arc<dyn Observer>,
    ) -> Result<Vec<Sealed>, Error> {
        let mut sealed = Vec::new();
        if let Some(open) = self.interrupted(request).await? {
            // The request must be the same export before its open run is touched.
            let asked = Box::pin(self.probe(request, &self.mint())).await?.definition;
            // A saved export may have been edited since.
            if request.version.is_none() {
                same(open.export_name.as_deref().unwrap_or_default(), &open.definition, &asked)?;
            }
            let resumed = self.resume(&request.workspace, &open.id, Arc::clone(&observer));
            match Box::pin(resumed).await {
                Err(error) if error.is_cancelled() => {}
                resumed => sealed.push(resumed?),
            }
        }
        sealed.push(self.begin(request, observer).await?);
        Ok(sealed)
    }

    async fn interrupted(&self, request: &Request) -> Result<Option<Run>, Error> {
        let (Advance::Cursor, Some(export)) = (request.advance, &request.export) else {
            return Ok(None);
        };
        Ok(self.ports.ledger.open_run_of(&request.workspace, export).await?)
    }

    /// Opens a run and leaves it to whoever resumes it next. It is in the ledger, with its range pinned, when
    /// this returns.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::start`], and [`model::ports::LedgerError::Open`] while an interrupted run would move the same cursor.
    /// A key that a run was opened with before gives [`model::ports::LedgerError::Repeated`].
    pub async fn open(&self, request: &Request) -> Result<Run, Error> {
        let (opened, _, guard) = Box::pin(self.opened(request)).await?;
        if let Err(error) = self.ports.ledger.release(&opened.lease).await {
            tracing::warn!(%error, "the lease could not be given back; it will lapse");
        }
        drop(guard);
        Ok(opened.run)
    }

    async fn begin(&self, request: &Request, observer: Arc<dyn Observer>) -> Result<Sealed, Error> {
        let (opened, objects, guard) = Box::pin(self.opened(request)).await?;
        let place = (&self.ports, &self.settings);
        let session = Session::new(place, opened, objects, observer, guard);
        Box::pin(session.conduct()).await
    }

    async fn opened(
        &self,
        request: &Request,
    ) -> Result<(Opened, Arc<dyn Objects>, Option<Guard>), Error> {
        let Self { ports, settings } = self;
        let minted = self.mint();
        let Probe { bind, definition, .. } = Box::pin(self.probe(request, &minted)).await?;
        let destination = &request.definition.destination;
        let objects = ports.destinations.open(&request.workspace, destination).await?;
        // Before the head is read, or the next run would find a commit without rows.
        ports.relations.seal(&bind).await?;
        let new = NewRun {
            id: minted.id,
            workspace: request.workspace.clone(),
            export: request.export.clone(),
            definition,
            advance: request.advance,
            from: request.from,
            to: request.to,
            now: minted.at,
            owner: settings.owner.clone(),
            key: request.key.clone(),
            version: request.version,
            slot: request.slot.clone(),
        };
        // Before the run exists, or it would look dead to others for a moment.
        let guard = ports.liveness.hold(&new.id, FIRST_EPOCH)?;
        let opened = patiently(&*ports.pauses, || ports.ledger.open_run(&new)).await?;
        Ok((opened, objects, guard))
    }

    pub(crate) fn mint(&self) -> Minted {
        let at = self.ports.clock.now();
        Minted { id: RunId::mint(at), at }
    }
}
