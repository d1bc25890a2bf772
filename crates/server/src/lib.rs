//! The server: the core's ports over HTTP.
//!
//! Contract: [`serve`] answers for the native API, `/v1`, for the dialects, for the health checks, and with metrics. Every route but those of
//! health and description needs a token, but for operators on a listener of their own; what a token's workspace does not
//! hold is answered like what never was. It touches no database, no lake and no clock but by the ports in [`Core`].
//! Besides requests a [`Scheduler`] makes exports due, an [`Executor`] works on runs, and a [`Keeper`] looks after datasets.

mod answer;
mod background;
mod bundle;
pub mod canonical;
mod claims;
pub mod dialects;
mod executor;
pub mod files;
mod http;
mod keeper;
pub mod links;
mod listen;
mod metrics;
mod native;
mod scheduler;
mod shelf;
mod tending;
mod turns;

use std::ops::Deref;
use std::sync::Arc;

use model::ports::{
    Access, Catalog, Documents, Encoder, Enrolments, Groups, Import, ImportReport, Ingest,
    PlaceRules, Places, Query, Tickets, Upkeep,
};
use model::{Clock, Code, Fault, PortError, WorkspaceId, limits};
use run::{Coordinator, Destinations};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use claims::Claims;
pub use executor::Executor;
use http::problem::Problem;
pub use keeper::Keeper;
use links::Minting;

pub use listen::{Listeners, Settings, Signal, Times, serve, tls};
pub use metrics::Metrics;
pub use scheduler::Scheduler;
pub use shelf::Shelf;

use tending::Tending;
use turns::Turns;

/// What the doors call; a clone is another name for the same.
#[derive(Clone)]
pub struct Core(Arc<Parts>);

impl Core {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of a [`Core`].
pub struct Parts {
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// Datasets, views and commits.
    pub catalog: Arc<dyn Catalog>,
    /// Destinations.
    pub places: Arc<dyn Places>,
    /// Which destinations a tenant may have.
    pub rules: Arc<dyn PlaceRules>,
    /// Documents.
    pub documents: Arc<dyn Documents>,
    /// Files of batches that are open.
    pub shelf: Shelf,
    /// Rows in.
    pub ingest: Arc<dyn Ingest>,
    /// SQL.
    pub query: Arc<dyn Query>,
    /// Care of what came in.
    pub upkeep: Arc<dyn Upkeep>,
    /// Exports and their runs.
    pub executor: Executor,
    /// What opens runs for requests: those that are worked on do not hold it up.
    pub opener: Coordinator,
    /// Exports that are due.
    pub scheduler: Scheduler,
    /// Exports that somebody waits for.
    pub tickets: Arc<dyn Tickets>,
    /// What dialects call workspaces.
    pub enrolments: Arc<dyn Enrolments>,
    /// How dialects are served.
    pub dialects: dialects::Settings,
    /// Groups of exports.
    pub groups: Arc<dyn Groups>,
    /// Care of every dataset.
    pub keeper: Keeper,
    /// Places where runs deliver.
    pub destinations: Arc<dyn Destinations>,
    /// Formats of answers.
    pub encoder: Arc<dyn Encoder>,
    /// Links to files.
    pub minting: Minting,
    /// Where the text of tokens comes from: 256 random bits of the system's.
    pub secret: fn() -> Result<[u8; 32], PortError>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How much is done at once.
    pub gates: Gates,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Core {
    /// Counts rows that came into a dataset, and has it tended.
    fn came_in(&self, of: (WorkspaceId, String), report: &ImportReport) {
        if !report.repeated {
            self.metrics.rows_added.inc_by(report.rows);
            self.metrics.commits.inc();
        }
        self.gates.tending.after(of, report, self.upkeep.clone());
    }

    /// Waits until there is room for a body of rows.
    async fn room_for(&self, bytes: u64) -> OwnedSemaphorePermit {
        let permit = self.gates.imports.clone().acquire_many_owned(mib(bytes)).await;
        permit.expect("nobody closes the gate")
    }

    /// Takes rows in, by itself: whoever hangs up leaves nothing half done.
    async fn take_in(
        &self,
        import: Import,
        permit: OwnedSemaphorePermit,
    ) -> Result<ImportReport, PortError> {
        let core = self.clone();
        let importing = tokio::spawn(async move {
            let report = core.ingest.import(&import, Arc::new(run::Quiet)).await;
            drop(permit);
            if let Ok(report) = &report {
                core.came_in((import.workspace, import.dataset), report);
            }
            report
        });
        importing.await.unwrap_or_else(|broken| {
            Err(PortError::caused(Code::Internal, Fault::Own, "an import broke off", broken))
        })
    }

    /// Takes a place among the questions that are answered at once.
    fn question(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.gates.questions).try_acquire_owned().map_err(|_| {
            self.metrics.questions_refused.inc();
            let detail = "too many questions are being answered; try again";
            Problem::new(Code::Unavailable, detail).after(1)
        })
    }
}

/// Bytes of a body of rows as it is sent.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Returns how many MiB a body counts for.
fn mib(bytes: u64) -> u32 {
    let bytes = bytes.clamp(1, BODY_BYTES_MAX as u64);
    u32::try_from(bytes.div_ceil(1 << 20)).expect("some MiB")
}

/// Requests of heavy kinds that are worked on at once.
#[derive(Clone, Debug)]
pub struct Gates {
    /// MiB of bodies of rows; others wait.
    imports: Arc<Semaphore>,
    /// Questions in SQL; others are refused.
    questions: Arc<Semaphore>,
    /// Files of uploads; others are refused.
    uploads: Arc<Semaphore>,
    /// Batches being closed: each once at a time.
    closing: Turns,
    /// Care of what came in: one dataset once at a time.
    tending: Tending,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            imports: Arc::new(Semaphore::new(limits::IMPORT_MIB_AT_ONCE as usize)),
            questions: Arc::new(Semaphore::new(limits::QUESTIONS_AT_ONCE)),
            uploads: Arc::new(Semaphore::new(limits::UPLOADS_AT_ONCE)),
            closing: Turns::default(),
            tending: Tending::default(),
        }
    }
}
