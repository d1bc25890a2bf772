//! The server: the core's ports over HTTP.
//!
//! Contract: [`service`] makes the routes of the native API, `/v1`, and of the health checks. Every route but those of
//! health and description needs a token; what a token's workspace does not hold is answered like what never was. It
//! touches no database, no lake and no clock but by the ports in [`Core`]. Runs that are opened over HTTP are worked on
//! by the [`Executor`].

mod executor;
mod http;
mod keeper;
mod native;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use model::ports::{Access, Catalog, Encoder, Ingest, PlaceRules, Places, Query, Upkeep};
use model::{Clock, Code, PortError, limits};
use run::Destinations;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use executor::Executor;
use http::problem::Problem;
pub use keeper::Keeper;

/// What the doors call.
#[derive(Clone)]
pub struct Core {
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// Datasets, views and commits.
    pub catalog: Arc<dyn Catalog>,
    /// Destinations.
    pub places: Arc<dyn Places>,
    /// Which destinations a tenant may have.
    pub rules: Arc<dyn PlaceRules>,
    /// Rows in.
    pub ingest: Arc<dyn Ingest>,
    /// SQL.
    pub query: Arc<dyn Query>,
    /// Care of what came in.
    pub upkeep: Arc<dyn Upkeep>,
    /// Exports and their runs.
    pub executor: Executor,
    /// Care of every dataset.
    pub keeper: Keeper,
    /// Places where runs deliver.
    pub destinations: Arc<dyn Destinations>,
    /// Formats of answers.
    pub encoder: Arc<dyn Encoder>,
    /// Where the text of tokens comes from: 256 random bits of the system's.
    pub secret: fn() -> Result<[u8; 32], PortError>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How much is done at once.
    pub gates: Gates,
}

/// Requests of heavy kinds that are worked on at once.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Bodies of rows; others wait.
    imports: Arc<Semaphore>,
    /// Questions in SQL; others are refused.
    questions: Arc<Semaphore>,
}

impl Gates {
    /// Takes a place among the questions that are answered at once.
    fn question(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.questions).try_acquire_owned().map_err(|_| {
            let detail = "too many questions are being answered; try again";
            Problem::new(Code::Unavailable, detail)
        })
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            imports: Arc::new(Semaphore::new(limits::IMPORTS_AT_ONCE)),
            questions: Arc::new(Semaphore::new(limits::QUESTIONS_AT_ONCE)),
        }
    }
}

/// Returns everything that is served.
pub fn service(core: Core) -> Router {
    http::service(core)
}

/// Returns the description of the native API, as `OpenAPI` 3.1.
pub fn description() -> serde_json::Value {
    native::parts().1
}

/// Serves until `stop` is ready and the requests that came before are answered.
pub async fn serve(
    listener: TcpListener,
    core: Core,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (told, stopping) = watch::channel(false);
    let stopped = async move |mut stopping: watch::Receiver<bool>| {
        // An error says that nobody can tell any more, which comes to the same.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    let work = (core.executor.clone(), core.keeper.clone());
    let executor = tokio::spawn(work.0.work(stopped(stopping.clone())));
    let keeper = tokio::spawn(work.1.work(stopped(stopping.clone())));
    tokio::spawn(async move {
        stop.await;
        // Nobody may be listening any more.
        let _ = told.send(true);
    });
    let served =
        axum::serve(listener, service(core)).with_graceful_shutdown(stopped(stopping)).await;
    for (what, task) in [("executor", executor), ("keeper", keeper)] {
        if let Err(error) = task.await {
            tracing::error!(%error, what, "work in the background broke off");
        }
    }
    served
}
