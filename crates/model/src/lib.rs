//! The words of Sluice and the ports between its crates.
//!
//! An export is a pinned range of commits of a relation, cut into a fixed list of parts, encoded,
//! delivered, and sealed by a manifest. This crate says what each of those nouns is, which state may
//! follow which, and which traits the other crates implement. It does no I/O and knows no async
//! runtime, no database and no query engine.

pub mod access;
pub mod canonical;
pub mod clock;
pub mod dataset;
pub mod destination;
pub mod digest;
pub mod document;
pub mod enrolment;
pub mod export;
pub mod failure;
pub mod format;
pub mod group;
pub mod ids;
pub mod into;
pub mod job;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod names;
pub mod naming;
pub mod part;
pub mod ports;
pub mod relation;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod secret;
pub mod ticket;
pub mod upload;

pub use clock::Clock;
pub use failure::{Code, Failure, Fault, PortError};
pub use ids::{
    AuditId, BatchId, CommitNumber, DatasetId, DestinationId, ExportId, FileId, GroupId, JobId,
    LinkId, ObjectKey, OrganizationId, PrincipalId, RunId, SchemaId, TicketId, TokenId,
    WorkspaceId,
};
pub use secret::SecretText;
