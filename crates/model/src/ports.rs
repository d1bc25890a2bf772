//! The traits between crates: what each crate offers to the others.
//!
//! `store` is a [`Catalog`], a [`Ledger`], a [`Runs`], an [`Access`], [`Places`], [`Documents`], [`Uploads`], [`Links`], [`Exports`], [`Groups`], [`Tickets`], [`Enrolments`] and [`Jobs`]; `objects` has [`Objects`]; `lake` is [`Relations`],
//! [`Ingest`], [`Intake`], [`Query`] and [`Upkeep`]; `export` is an [`Encoder`]. `run` uses all of them and is none of them, so
//! that its protocol can be tested with fakes. The contract of a trait is written here once and executed
//! by a conformance suite that every implementation passes.

mod access;
mod catalog;
mod documents;
mod encoder;
mod enrolments;
mod exports;
mod groups;
mod intake;
mod jobs;
mod lake;
mod ledger;
mod links;
mod objects;
mod places;
mod runs;
mod tickets;
mod uploads;

pub use access::{Access, AccessError};
pub use catalog::{Catalog, CatalogError, Doomed, Pin, PinOwner, Spare};
pub use documents::{DocumentError, Documents};
pub use encoder::{Encoded, EncodedChunk, EncodedStream, Encoder, NameContext};
pub use enrolments::Enrolments;
pub use exports::Exports;
pub use groups::Groups;
pub use intake::{Arrival, Intake};
pub use jobs::Jobs;
pub use lake::{
    Bind, Bound, Compacted, Damage, Expired, Health, Import, ImportContent, ImportFile,
    ImportReport, Ingest, InputFormat, Positions, Progress, Query, ReadTask, Relations, Replace,
    Reserved, RowStream, Rows, Scrub, Size, SqlStream, Stage, Swept, Upkeep,
};
pub use ledger::{Lease, Ledger, LedgerError, Opened};
pub use links::Links;
pub use objects::{Check, ObjectError, ObjectInfo, Objects, Put, Upload};
pub use places::{BadPlace, PlaceError, PlaceRules, Places};
pub use runs::Runs;
pub use tickets::Tickets;
pub use uploads::{UploadError, Uploads};
