//! `link` and `get` as they are typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::limits::LINK_SECONDS_MAX;

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// Make a link to the files of a sealed run in the managed destination; print their addresses, a line each.
    #[command(after_help = "Example: sluice link create 0190f3… --expires-in 86400")]
    Create(CreateLink),
    /// List links, newest first, also those that are over.
    #[command(after_help = "Example: sluice link list --json")]
    List,
    /// Take a link back: its addresses open nothing any more.
    #[command(after_help = "Example: sluice link revoke ln_0190f3…")]
    Revoke {
        /// The link's id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateLink {
    /// The run's id.
    pub(crate) run: String,
    /// Of this file alone, by its place in the manifest, from 1; may be repeated.
    #[arg(long, value_name = "N")]
    pub(crate) file: Vec<u64>,
    /// Seconds until it opens nothing any more; an hour without it, a week at most.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LINK_SECONDS_MAX))]
    pub(crate) expires_in: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Addresses of links, or ids of runs.
    #[arg(required = true, value_name = "LINK|RUN")]
    pub(crate) what: Vec<String>,
    /// The folder for the files; those of a run lie below it as in their destination.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) to: PathBuf,
    /// Go on with downloads that broke off; leave files that are there and the same.
    #[arg(long = "continue")]
    pub(crate) goes_on: bool,
    /// Pieces of a file that are fetched at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) parallel: u32,
}
