//! Object stores done right: whole, immutable objects under relative names, durable before they are
//! acknowledged, never overwritten.
//!
//! Contract: everything here implements [`model::ports::Objects`], whose documentation is the contract,
//! and passes [`conformance`]. [`Local`] keeps objects as files of a folder, [`S3`] in a bucket; the lake and
//! destinations use either; [`Veiled`] keeps to itself where one of them is. [`Memory`] keeps them in memory and [`Faulty`] breaks any of them on purpose, for
//! tests of this crate and of others. What goes over the network goes only where [`Egress`] allows. What anybody may read by its address is read by [`address`]. There is
//! no cache.

pub mod address;
pub mod conformance;
pub mod egress;
pub mod faulty;
mod key;
pub mod local;
mod memory;
pub mod s3;
pub mod testing;
mod veiled;

pub use egress::Egress;
pub use faulty::Faulty;
pub use local::Local;
pub use memory::Memory;
pub use s3::{S3, S3Settings};
pub use veiled::Veiled;
