//! What every format promises, tried from outside: round trips, the same bytes for any threads and
//! batches, the hard maximum of bytes, and complete empty files.

#![expect(clippy::unwrap_used, reason = "tests")]

mod data;
mod empty;
mod maximum;
mod read;
mod round_trip;
mod same_bytes;
mod streams;
mod support;
