//! The proof of the run protocol, on a fake lake, a fake ledger and a fake store.
//!
//! Crash points are enumerated: a run is done once to count its steps, then once more for every step,
//! with the power cut before and after it. What has to hold afterwards is written in `check`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod books;
mod cancelling;
mod cases;
mod check;
mod crashes;
mod gone;
mod intake;
mod lake;
mod ledger;
mod objects;
mod parts;
mod process;
mod seeds;
mod world;
mod zombies;
