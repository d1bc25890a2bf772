//! The command line as it is typed: names, help and examples. What commands do is in `commands`.

pub(crate) mod dialects;
mod exports;
mod groups;
mod links;
mod places;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use model::access::{DEFAULT, Scope};
use server::dialects::{Dialect, KINDS, named};

use dialects::DialectCommand;
pub(crate) use exports::{
    BeginAt, Export, ExportArgs, FormatArgs, Missed, SaveArgs, SaveMode, ScheduleArgs,
};
pub(crate) use groups::{Group, SaveGroup};
pub(crate) use links::{CreateLink, Get, Link};
pub(crate) use places::{CreateDestination, Destination, Fields, Secrets, UpdateDestination};

/// Keeps events, profiles and segments in an open lake of Parquet files and gets them out, whole or
/// incremental, as files that can be proven complete.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example: sluice demo")]
pub(crate) struct Cli {
    /// The data folder; made if absent.
    #[arg(
        long,
        global = true,
        env = "SLUICE_DIR",
        default_value = "sluice-data",
        value_name = "DIR"
    )]
    pub(crate) dir: PathBuf,

    /// The configuration file; DIR/sluice.toml if that is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The organization, by name or id.
    #[arg(
        long,
        global = true,
        env = "SLUICE_ORGANIZATION",
        default_value = DEFAULT,
        value_name = "NAME",
        hide_default_value = true
    )]
    pub(crate) organization: String,

    /// The workspace of it, by name or id.
    #[arg(
        long,
        global = true,
        env = "SLUICE_WORKSPACE",
        default_value = DEFAULT,
        value_name = "NAME",
        hide_default_value = true
    )]
    pub(crate) workspace: String,

    /// Print results as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// For tests: the time is what this file says; a server listens to this machine only.
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) test_clock: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import real data, export it twice, verify the proof; then say what to try next.
    #[command(after_help = "Example: sluice --dir /tmp/try demo --serve")]
    Demo {
        /// Then serve it over HTTP until asked to stop, and print requests to paste.
        #[arg(long)]
        serve: bool,
        /// Address and port to serve at; `server.listen` of the configuration without it.
        #[arg(long, value_name = "ADDRESS", requires = "serve")]
        listen: Option<String>,
    },

    /// Make, list, show or drop datasets.
    #[command(subcommand)]
    Dataset(Dataset),

    /// Import files: all of them in one commit, or none.
    #[command(after_help = "Example: sluice import orders orders-*.csv.gz --key 2024-05-01")]
    Import(Import),

    /// Plan or run an export.
    #[command(subcommand)]
    Export(Box<Export>),

    /// Save, list, show, pause, resume or run groups of exports: several datasets with one trigger and one destination.
    #[command(subcommand)]
    Group(Group),

    /// Re-read an export's files and prove them against the manifest. Needs no database.
    #[command(after_help = "Example: sluice verify out/orders/0190…/manifest.json --chain")]
    Verify(Verify),

    /// List, show, resume or cancel runs.
    #[command(subcommand)]
    Run(Run),

    /// Make, list, show or drop views.
    #[command(subcommand)]
    View(View),

    /// Make, list, show, change or remove destinations: named places, with secrets that are kept sealed.
    #[command(subcommand)]
    Destination(Destination),

    /// Fetch what links open, or all files of runs from wherever they were delivered; compare their sums.
    #[command(
        after_help = "Example: sluice get 'https://exports.example.com/links/ln_…/part-00000.csv.gz?link=…' --continue"
    )]
    Get(Get),

    /// Make, list or revoke links: addresses of files that open without a token for a while.
    #[command(subcommand)]
    Link(Link),

    /// Rotate the keys under which secrets are kept.
    #[command(subcommand)]
    Secrets(Secrets),

    /// Answer one SELECT over datasets and views.
    #[command(
        after_help = "Example: sluice sql 'SELECT country, count(*) FROM orders GROUP BY country'"
    )]
    Sql(Sql),

    /// Show a dataset's history.
    #[command(after_help = "Example: sluice commits orders")]
    Commits {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: String,
    },

    /// Take the rows of a batch back, in a commit of its own.
    #[command(after_help = "Example: sluice revert bt_01a2133489e771d5a92ae20643a2b5b3")]
    Revert {
        /// The batch, as `import` and `commits` print it.
        #[arg(value_name = "BATCH")]
        batch: String,
    },

    /// Remove old rows: by the dataset's time column, or by the time of their commit.
    #[command(after_help = "Example: sluice expire orders --before 2024-01-01T00:00:00Z")]
    Expire {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: String,
        /// Rows before this time go, RFC 3339; the dataset's retention rule says it without.
        #[arg(long, value_name = "T")]
        before: Option<DateTime<Utc>>,
    },

    /// Merge small files of a dataset, and delete what nobody needs; no row or count changes.
    #[command(after_help = "Example: sluice compact orders")]
    Compact {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: String,
    },

    /// Make a commit without rows: what is imported later comes after it. Prints its number and time.
    #[command(after_help = "Example: sluice mark")]
    Mark,

    /// Make or list organizations: tenants that know nothing of each other.
    #[command(subcommand)]
    Organization(Organization),

    /// Make or list workspaces: each has its own datasets, exports and runs.
    #[command(subcommand)]
    Workspace(Workspace),

    /// Make, list or disable principals: who acts.
    #[command(subcommand)]
    Principal(Principal),

    /// Make, list or revoke tokens: what opens a workspace over HTTP.
    #[command(subcommand)]
    Token(Token),

    /// Show who changed what in the workspace, oldest first.
    #[command(after_help = "Example: sluice audit --json")]
    Audit(Audit),

    /// Serve the API over HTTP until asked to stop. Prints where it listens.
    #[command(after_help = "Example: sluice serve --listen 127.0.0.1:8080")]
    Serve {
        /// Address and port; `server.listen` of the configuration without it.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },

    /// Do all that is due for every dataset: seal, merge, remove rows by retention rules, delete what nobody
    /// needs. For a timer.
    #[command(after_help = "Example: sluice upkeep")]
    Upkeep,

    /// Check folder, file system, database, data files, disk space and clock; say how to mend.
    #[command(after_help = "Example: sluice doctor --scrub")]
    Doctor {
        /// Read every byte of every data file, and compare checksums.
        #[arg(long)]
        scrub: bool,
    },

    /// Check settings, show those in force, or print the shipped ones with what they mean.
    #[command(subcommand)]
    Config(Config),

    /// What only one dialect needs.
    #[command(flatten)]
    Dialect(DialectCommand),

    /// Print completions for a shell.
    #[command(after_help = "Example: sluice completions bash > /etc/bash_completion.d/sluice")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// Whether it serves until it is asked to stop.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Serve { .. } | Self::Demo { serve: true, .. })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check a file and the environment; open nothing.
    #[command(after_help = "Example: sluice config check /etc/sluice/sluice.toml")]
    Check {
        /// The file; that of --config or DIR/sluice.toml without it.
        file: Option<PathBuf>,
    },
    /// Show the settings in force, and where each comes from.
    #[command(after_help = "Example: sluice config show --json")]
    Show,
    /// Print the shipped settings: every key, what it means, and what holds without it.
    #[command(after_help = "Example: sluice config default > sluice.toml")]
    Default,
}

/// Days of a retention rule at most; some thousand years.
const DAYS_MAX: i64 = 400_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Dataset {
    /// Make a dataset without rows.
    #[command(
        after_help = "Example: sluice dataset create orders --time ordered_at --schema orders.json"
    )]
    Create(CreateDataset),
    /// Make the canonical datasets that are not there, and give the others the columns that they lack.
    #[command(after_help = "Example: sluice dataset canonical")]
    Canonical,
    /// List datasets.
    #[command(after_help = "Example: sluice dataset list --json")]
    List,
    /// Show a dataset: columns, rows, files.
    #[command(after_help = "Example: sluice dataset show orders")]
    Show {
        /// The dataset.
        name: String,
    },
    /// Set after how many days rows are removed, by `expire` and `upkeep`.
    #[command(after_help = "Example: sluice dataset keep orders --days 90")]
    Keep {
        /// The dataset.
        name: String,
        /// Rows that are older go.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
        days: Option<u32>,
        /// No row goes by itself.
        #[arg(long, conflicts_with = "days", required_unless_present = "days")]
        forever: bool,
    },
    /// Take a dataset out of sight; its name is free again.
    #[command(after_help = "Example: sluice dataset drop orders")]
    Drop {
        /// The dataset.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateDataset {
    /// The name.
    pub(crate) name: String,
    /// Whether rows are events or fragments of records.
    #[arg(long, value_enum, default_value_t = Kind::Event)]
    pub(crate) kind: Kind,
    /// The column that says when a row happened; text in it is read as time.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time: Option<String>,
    /// A JSON file with the columns: {"fields": [{"name": "price", "type": "float64"}]}
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    Event,
    Record,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The dataset; made if absent.
    pub(crate) dataset: String,
    /// The files; gzip and zstd are read.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The form of the files.
    #[arg(long, value_enum, default_value_t = InputFormat::Auto)]
    pub(crate) format: InputFormat,
    /// The column that says when each row was received elsewhere: kept as `received_at`; whole numbers are milliseconds.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) receive_time: Option<String>,
    /// Makes a repeat of the same import do nothing.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Import the good rows; write the bad ones with reasons to a file.
    #[arg(long)]
    pub(crate) partial: bool,
    /// Put the rows in the place of all others, or of those of the named batches; in one commit.
    #[arg(long, value_name = "BATCH", num_args = 0..)]
    pub(crate) replace: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InputFormat {
    Auto,
    Parquet,
    Jsonl,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The manifest.
    pub(crate) manifest: PathBuf,
    /// Follow its predecessors, too.
    #[arg(long)]
    pub(crate) chain: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// List runs, newest first.
    #[command(after_help = "Example: sluice run list --json")]
    List,
    /// Show a run.
    #[command(after_help = "Example: sluice run show 0190f3…")]
    Show {
        /// The run's id.
        id: String,
    },
    /// Go on with an interrupted run; print the path of its manifest.
    #[command(after_help = "Example: sluice run resume 0190f3…")]
    Resume {
        /// The run's id.
        id: String,
    },
    /// Write the files of a sealed run again, with the same bytes, in a folder of their own; print the path of the manifest.
    #[command(after_help = "Example: sluice run rerun 0190f3…")]
    Rerun {
        /// The run's id.
        id: String,
    },
    /// Stop a run and remove what it wrote.
    #[command(after_help = "Example: sluice run cancel 0190f3…")]
    Cancel {
        /// The run's id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum View {
    /// Make a view.
    #[command(
        after_help = "Example: sluice view create paid \"SELECT * FROM orders WHERE paid\" --time ordered_at"
    )]
    Create(CreateView),
    /// List views.
    #[command(after_help = "Example: sluice view list")]
    List,
    /// Show a view.
    #[command(after_help = "Example: sluice view show paid")]
    Show {
        /// The view.
        name: String,
    },
    /// Remove a view.
    #[command(after_help = "Example: sluice view drop paid")]
    Drop {
        /// The view.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateView {
    /// The name.
    pub(crate) name: String,
    /// One SELECT.
    pub(crate) sql: String,
    /// The column that --since and --until use.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time: Option<String>,
    /// Whether --since and --until apply to the rows that go in or that come out.
    #[arg(long, value_enum, default_value_t = Window::Output)]
    pub(crate) window: Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Window {
    Input,
    Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Organization {
    /// Make an organization.
    #[command(after_help = "Example: sluice organization create acme")]
    Create {
        /// The name.
        name: String,
    },
    /// List organizations.
    #[command(after_help = "Example: sluice organization list")]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workspace {
    /// Make a workspace.
    #[command(after_help = "Example: sluice workspace create shop")]
    Create {
        /// The name.
        name: String,
    },
    /// List workspaces.
    #[command(after_help = "Example: sluice workspace list")]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Principal {
    /// Make a principal.
    #[command(after_help = "Example: sluice principal create nightly-export")]
    Create {
        /// The name.
        name: String,
    },
    /// List principals.
    #[command(after_help = "Example: sluice principal list")]
    List,
    /// Shut a principal out: none of its tokens opens anything any more.
    #[command(after_help = "Example: sluice principal disable nightly-export")]
    Disable {
        /// The principal, by name or id.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it, this once.
    #[command(
        after_help = "Example: sluice token create --principal nightly-export --scope data:read --scope export:run"
    )]
    Create(CreateToken),
    /// List tokens, without what is secret.
    #[command(after_help = "Example: sluice token list")]
    List,
    /// Take a token back.
    #[command(after_help = "Example: sluice token revoke tk_01a2133489e771d5a92ae20643a2b5b3")]
    Revoke {
        /// The token's id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// Who will act with it, by name or id; with --for somebody of that name, made if there is none.
    #[arg(long, value_name = "NAME", required_unless_present = "dialect")]
    pub(crate) principal: Option<String>,
    /// What it allows: data:write, data:read, export:run or admin; more than one if repeated.
    #[arg(long = "scope", value_name = "SCOPE", required_unless_present = "dialect", value_parser = scope)]
    pub(crate) scopes: Vec<Scope>,
    /// For scripts of a vendor's API: allows what those need, and prints lines to paste.
    #[arg(long = "for", value_name = "DIALECT", conflicts_with_all = ["scopes", "everywhere"], value_parser = dialect)]
    pub(crate) dialect: Option<&'static Dialect>,
    /// Open every workspace of the organization, instead of the one of --workspace.
    #[arg(long)]
    pub(crate) everywhere: bool,
    /// Days until it opens nothing any more; never without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    pub(crate) days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Changes of the organization that are in no workspace.
    #[arg(long)]
    pub(crate) of_organization: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// One SELECT.
    pub(crate) text: String,
    /// How rows are printed; `--json` means jsonl.
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub(crate) format: SqlFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    Table,
    Jsonl,
    Csv,
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|e| format!("{e}; write it as 2024-05-01T00:00:00Z"))
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| {
        let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("choose from {}", all.join(", "))
    })
}

fn dialect(text: &str) -> Result<&'static Dialect, String> {
    named(text).ok_or_else(|| {
        let all: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        format!("choose from {}", all.join(", "))
    })
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example: sluice"), "{}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn sizes_are_read_with_units() {
        let args =
            ["sluice", "export", "run", "--dataset", "a", "--to", "b", "--file-size", "64MiB"];
        let Command::Export(export) = Cli::parse_from(args).command else {
            panic!("an export");
        };
        let Export::Run(args) = *export else { panic!("a run") };
        assert_eq!(args.format.file_size, Some(bytesize::ByteSize::mib(64)));
    }
}
