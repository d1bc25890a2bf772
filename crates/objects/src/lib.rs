//! Object stores done right: whole, immutable objects under relative names, durable before they are
//! acknowledged, never overwritten.
//!
//! Contract: everything here implements [`model::ports::Objects`], whose documentation is the contract,
//! and passes [`conformance`]. [`Local`] keeps objects as files of a folder and is what the lake and local
//! destinations use; [`Memory`] keeps them in memory and [`Faulty`] breaks any of them on purpose, for
//! tests of this crate and of others. There is no cloud client here yet, and no cache.

pub mod conformance;
pub mod faulty;
mod key;
pub mod local;
mod memory;

pub use faulty::Faulty;
pub use local::Local;
pub use memory::Memory;
