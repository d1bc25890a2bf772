//! The server: the core's ports over HTTP.
//!
//! Contract: [`service`] makes the routes of the native API, `/v1`, and of the health checks. Every route but those of
//! health and description needs a token; what a token's workspace does not hold is answered like what never was. It
//! touches no database, no lake and no clock but by the ports in [`Core`]. It serves no TLS and runs no exports yet.

mod http;
mod native;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use model::ports::{Access, Catalog, Encoder, Ingest, Query, Upkeep};
use model::{Clock, PortError, limits};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What the doors call.
#[derive(Clone)]
pub struct Core {
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// Datasets, views and commits.
    pub catalog: Arc<dyn Catalog>,
    /// Rows in.
    pub ingest: Arc<dyn Ingest>,
    /// SQL.
    pub query: Arc<dyn Query>,
    /// Care of what came in.
    pub upkeep: Arc<dyn Upkeep>,
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
    axum::serve(listener, service(core)).with_graceful_shutdown(stop).await
}
