//! `group` as it is typed.

use clap::{Args, Subcommand};

use super::exports::{FormatArgs, ScheduleArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Save a group: an export of each dataset, with one trigger and one destination.
    #[command(
        after_help = "Example: sluice group save nightly --dataset orders --dataset refunds --to destination:partner --cron \"30 2 * * *\""
    )]
    Save(Box<SaveGroup>),
    /// List groups.
    #[command(after_help = "Example: sluice group list")]
    List,
    /// Show a group, and how far each of its exports is.
    #[command(after_help = "Example: sluice group show nightly")]
    Show {
        /// The group.
        name: String,
    },
    /// Stop the exports of a group from running by themselves; open runs go on.
    #[command(after_help = "Example: sluice group pause nightly")]
    Pause {
        /// The group.
        name: String,
    },
    /// Let the exports of a group run by themselves again.
    #[command(after_help = "Example: sluice group resume nightly")]
    Resume {
        /// The group.
        name: String,
    },
    /// Delete a group with its exports; their runs stay.
    #[command(after_help = "Example: sluice group delete nightly")]
    Delete {
        /// The group.
        name: String,
    },
    /// Run every export of a group now; print the paths of their manifests.
    #[command(after_help = "Example: sluice group now nightly")]
    Now {
        /// The group.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SaveGroup {
    /// Its name.
    pub(crate) group: String,
    /// A dataset; may be repeated. Those that are not named any more leave the group.
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) dataset: Vec<String>,
    /// The columns of each, as in SELECT.
    #[arg(long, value_name = "LIST")]
    pub(crate) columns: Option<String>,
    /// A condition on the rows of each, as in WHERE.
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Where to: `managed`, `destination:NAME` or `dataset:NAME`.
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    /// Deliver everything of each once more.
    #[arg(long)]
    pub(crate) restart: bool,
}
