//! Exports, executed: plan, run parts, seal, resume, cancel.
//!
//! A run is a pinned range of commits, cut into a fixed list of parts that the ledger keeps before the
//! first byte moves. [`run_part`] makes one file from one part and touches no database; the
//! [`Coordinator`] is the only writer of the ledger. Whatever dies at whatever moment, the next holder
//! goes on from what the ledger says, and a manifest names each row of its range exactly once.
//!
//! The crate knows neither a database nor a query engine nor a file format: all of them are ports.

mod backfill;
mod cancel;
mod coordinator;
mod cut;
mod deliver;
mod draft;
mod error;
mod manifest;
mod part;
mod plan;
mod ports;
mod recover;
mod rerun;
mod retry;
mod sample;
mod saved;
mod seal;
mod session;
mod stop;
mod trial;
mod work;

pub use cancel::Cancelled;
pub use coordinator::{Coordinator, Ports, Request, Sealed, Settings};
pub use cut::Error as CutError;
pub use deliver::Error as DeliverError;
pub use error::{Error, Port};
pub use part::{Error as PartError, Stores, Watch, run_part};
pub use plan::{Amount, Forecast, PlannedPart};
pub use ports::{
    Destinations, Guard, Head, LeaseOnly, Liveness, Observer, Pauses, Quiet, TokioPauses,
};
pub use saved::{AskedGroup, check_begin, watched};
pub use stop::{Stop, Why};
pub use trial::{Step, StepState, Trial, trial};
