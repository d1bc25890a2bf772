//! `export` as it is typed.

use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};

use super::{instant, key_value};

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Show parts, rows and bytes of an export; write nothing.
    #[command(after_help = "Example: sluice export plan --dataset orders --to out")]
    Plan(ExportArgs),
    /// Run an export; print the path of its manifest.
    #[command(
        after_help = "Example: sluice export run --dataset orders --to out --compression gzip --incremental partner"
    )]
    Run(ExportArgs),
    /// Save an export that the server runs by itself, or change one; `--to` is `managed`, `destination:NAME` or `dataset:NAME`.
    #[command(
        after_help = "Example: sluice export save nightly --dataset orders --to destination:partner --cron \"30 2 * * *\" --zone Europe/Berlin"
    )]
    Save(Box<SaveArgs>),
    /// List saved exports.
    #[command(after_help = "Example: sluice export list --json")]
    List,
    /// Show a saved export: its schedule, its cursor, and why it does not run.
    #[command(after_help = "Example: sluice export show nightly")]
    Show {
        /// The export.
        name: String,
    },
    /// Stop an export from running by itself; an open run goes on.
    #[command(after_help = "Example: sluice export pause nightly")]
    Pause {
        /// The export.
        name: String,
    },
    /// Let an export run by itself again.
    #[command(after_help = "Example: sluice export resume nightly")]
    Resume {
        /// The export.
        name: String,
    },
    /// Run a saved export now; print the path of its manifest.
    #[command(after_help = "Example: sluice export now nightly")]
    Now {
        /// The export.
        name: String,
    },
    /// Deliver what came before an export began that was saved with `--begin now`; print the path of the manifest.
    #[command(after_help = "Example: sluice export backfill nightly --to-commit 100")]
    Backfill {
        /// The export.
        name: String,
        /// Up to this commit; all that is left without it.
        #[arg(long, value_name = "N")]
        to_commit: Option<u64>,
    },
    /// Delete a saved export; its runs stay, and its name is free.
    #[command(after_help = "Example: sluice export delete nightly")]
    Delete {
        /// The export.
        name: String,
    },
    /// Show how an export was saved, newest first.
    #[command(after_help = "Example: sluice export history nightly")]
    History {
        /// The export.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Its name.
    pub(crate) export: String,
    #[command(flatten)]
    pub(crate) what: ExportArgs,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    /// Where its cursor begins when it is made, or restarted; what came before `now` is for a backfill.
    #[arg(long, value_enum, default_value_t = BeginAt::Beginning)]
    pub(crate) begin: BeginAt,
    /// Deliver everything once more.
    #[arg(long)]
    pub(crate) restart: bool,
}

// When it runs by itself, and what a run covers: a doc comment would become that of the command.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("trigger").args(["cron", "every", "on_data"])))]
pub(crate) struct ScheduleArgs {
    /// What a run covers.
    #[arg(long, value_enum, default_value_t = SaveMode::Incremental)]
    pub(crate) mode: SaveMode,
    /// Minutes that a window waits for late rows.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) lag: u32,
    /// A run at these times: minute, hour, day, month, day of the week.
    #[arg(long, value_name = "EXPR")]
    pub(crate) cron: Option<String>,
    /// The zone of --cron.
    #[arg(long, value_name = "ZONE", requires = "cron", default_value = "UTC")]
    pub(crate) zone: String,
    /// A run every N minutes.
    #[arg(long, value_name = "N")]
    pub(crate) every: Option<u32>,
    /// A run when there are new rows, N minutes apart at least.
    #[arg(long, value_name = "N")]
    pub(crate) on_data: Option<u32>,
    /// What becomes of runs that were missed; each for windows, else latest, without it.
    #[arg(long, value_enum)]
    pub(crate) missed: Option<Missed>,
    /// No run up to here, RFC 3339; windows begin here.
    #[arg(long, value_name = "T", value_parser = instant)]
    pub(crate) start: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BeginAt {
    Beginning,
    Now,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SaveMode {
    Full,
    Incremental,
    Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Missed {
    Each,
    Latest,
    Skip,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["dataset", "view", "sql"])))]
pub(crate) struct ExportArgs {
    /// Export a dataset.
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// Export a view.
    #[arg(long, value_name = "NAME")]
    pub(crate) view: Option<String>,
    /// Export the result of a SELECT.
    #[arg(long, value_name = "TEXT")]
    pub(crate) sql: Option<String>,
    /// Where to: a folder, a file:// or s3:// URL, or dataset:NAME, which takes ?write=replace and &batch=file.
    #[arg(long, value_name = "URL_OR_PATH")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// The columns, as in SELECT: "a, b, price*qty as total".
    #[arg(long, value_name = "LIST")]
    pub(crate) columns: Option<String>,
    /// A condition, as in WHERE.
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Only rows of commits after this one.
    #[arg(long, value_name = "N")]
    pub(crate) from_commit: Option<u64>,
    /// Only rows of commits up to this one.
    #[arg(long, value_name = "N")]
    pub(crate) to_commit: Option<u64>,
    /// Only rows whose time is at or after this, RFC 3339.
    #[arg(long, value_name = "T", value_parser = instant)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only rows whose time is before this, RFC 3339.
    #[arg(long, value_name = "T", value_parser = instant)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// Only what is new since the last run of this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) incremental: Option<String>,
    /// Deliver once more what was delivered before; the next run is not affected.
    #[arg(long, requires = "incremental")]
    pub(crate) again: bool,
}

// As what: a doc comment would become that of the command.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// jsonl, csv or parquet; jsonl without it, and parquet into a dataset.
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// none, gzip, zstd or snappy; the format's default without it.
    #[arg(long)]
    pub(crate) compression: Option<String>,
    /// Rows of one file at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) file_rows: Option<u64>,
    /// Bytes of one finished file at most: 64MiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) file_size: Option<ByteSize>,
    /// File names: "{date}/orders-{part}".
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) name: Option<String>,
    /// The run's folder: "{date:%Y/%m}/{export}-{run}"; "{export}/{run}" without it.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) folder: Option<String>,
    /// A setting of the format: jsonl.int64=string, csv.header=false, …
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
}
