//! Rows into files: formats, compressors, file names; and the places where files go.
//!
//! [`Formats`] is the [`model::ports::Encoder`]. Nothing here reads the lake or names a query engine.

mod cells;
mod compress;
mod deflate;
pub mod destinations;
mod formats;
mod options;
mod pipeline;
pub mod verify;
mod weigh;

pub use compress::CompressionKind;
pub use formats::{Formats, KINDS as FORMATS, Kind, Packing};
pub use options::{OptionKind, Values, nearest};
