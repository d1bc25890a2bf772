//! `export plan | run`, and what `saved` and `group` do.

mod group;
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use export::destinations;
use model::export::{Advance, Definition, ExportState};
use model::format::FormatSpec;
use model::into::IntoDataset;
use model::ports::Upkeep;
use model::relation::{Relation, Selection, Source};
use model::run::Run;
use model::{CommitNumber, names};
use run::{Amount, Forecast, Head, Request, Sealed};
use serde::Serialize;

use crate::app::App;
use crate::cli::{self, ExportArgs, FormatArgs};
use crate::failed::Failed;
use crate::output::{Output, bytes, count, counted, say, table};
use crate::places::Who;
use crate::progress::RunBar;

/// An export as it was asked for.
pub(crate) struct Asked {
    pub(crate) relation: Relation,
    pub(crate) format: FormatSpec,
    pub(crate) to: String,
    pub(crate) export: Option<String>,
    pub(crate) advance: Advance,
    pub(crate) from_commit: Option<CommitNumber>,
    pub(crate) to_commit: Option<CommitNumber>,
}

/// A sealed run as it is printed.
#[derive(Serialize)]
pub(crate) struct Delivered {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) export: Option<String>,
    #[serde(rename = "from_commit")]
    pub(crate) from: u64,
    #[serde(rename = "to_commit")]
    pub(crate) to: u64,
    pub(crate) manifest: String,
    pub(crate) manifest_sha256: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) created_at: DateTime<Utc>,
}

/// Does an `export` command.
pub(crate) async fn export(app: &App, command: cli::Export) -> Result<(), Failed> {
    match command {
        cli::Export::Plan(args) => plan(app, asked(args)?).await,
        cli::Export::Run(args) => run(app, asked(args)?).await,
        cli::Export::Save(args) => saved::save(app, *args).await,
        cli::Export::List => saved::list(app).await,
        cli::Export::Show { name } => saved::show(app, &name).await,
        cli::Export::Pause { name } => saved::turn(app, &name, ExportState::Paused).await,
        cli::Export::Resume { name } => saved::turn(app, &name, ExportState::Active).await,
        cli::Export::Now { name } => saved::now(app, &name).await,
        cli::Export::Backfill { name, to_commit } => {
            saved::backfill(app, &name, to_commit.map(CommitNumber)).await
        }
        cli::Export::Delete { name } => saved::delete(app, &name).await,
        cli::Export::History { name } => saved::history(app, &name).await,
    }
}

/// Does a `group` command.
pub(crate) async fn group(app: &App, command: cli::Group) -> Result<(), Failed> {
    match command {
        cli::Group::Save(args) => group::save(app, *args).await,
        cli::Group::List => group::list(app).await,
        cli::Group::Show { name } => group::show(app, &name).await,
        cli::Group::Pause { name } => group::turn(app, &name, ExportState::Paused).await,
        cli::Group::Resume { name } => group::turn(app, &name, ExportState::Active).await,
        cli::Group::Delete { name } => group::delete(app, &name).await,
        cli::Group::Now { name } => group::now(app, &name).await,
    }
}

/// Runs an export to its seal. Runs of the same name that were interrupted come first.
pub(crate) async fn deliver(app: &App, asked: Asked) -> Result<Vec<Delivered>, Failed> {
    start(app, &asked.request(app)?).await
}

/// Runs what is asked for to its seal.
async fn start(app: &App, request: &Request) -> Result<Vec<Delivered>, Failed> {
    let bar = Arc::new(RunBar::start());
    let sealed = app.coordinator(Who::Operator).start(request, bar.clone()).await;
    bar.finish();
    let sealed = sealed?;
    if let Some(into) = IntoDataset::of(&request.definition.destination) {
        tend(app, &into.dataset).await;
    }
    sealed.into_iter().map(|sealed| Delivered::of(app, sealed)).collect()
}

/// Merges small files, as after an import. The rows are in, whatever becomes of this.
async fn tend(app: &App, dataset: &str) {
    let done = async {
        let head = Head::head(&*app.store, &app.workspace).await?;
        app.lake.tend(&app.workspace, dataset, head).await
    };
    if let Err(error) = done.await {
        tracing::warn!(dataset, %error, "small files were not merged");
    }
}

async fn run(app: &App, asked: Asked) -> Result<(), Failed> {
    print_all(app, &deliver(app, asked).await?)
}

/// Prints runs, of which the last is the one that was asked for.
fn print_all(app: &App, delivered: &[Delivered]) -> Result<(), Failed> {
    let (last, before) = delivered.split_last().expect("a started export returns its run");
    for resumed in before {
        say(&format!("finished the interrupted run {} first:", resumed.id));
        print(app, resumed)?;
    }
    print(app, last)
}

/// Prints where the manifest is on stdout, and on stderr what is in it.
pub(crate) fn print(app: &App, delivered: &Delivered) -> Result<(), Failed> {
    if app.output == Output::Text {
        delivered.explain();
    }
    app.output.value(delivered, |out| writeln!(out, "{}", delivered.manifest))?;
    Ok(())
}

impl Delivered {
    /// Reads a sealed run.
    pub(crate) fn of(app: &App, sealed: Sealed) -> Result<Self, Failed> {
        let manifest = manifest_place(app, &sealed.run)?;
        let Sealed { run, sha256, rows, bytes, files, .. } = sealed;
        Ok(Self {
            id: run.id.to_string(),
            state: run.state.as_str(),
            export: run.export_name,
            from: run.from.0,
            to: run.to.0,
            manifest,
            manifest_sha256: sha256,
            rows,
            bytes,
            files,
            created_at: run.created_at,
        })
    }

    fn explain(&self) {
        let Self { from, to, .. } = self;
        let (rows, files) = (counted(self.rows, "row"), counted(self.files, "file"));
        say(&format!("{rows} in {files} ({}), commits ({from}, {to}]", bytes(self.bytes)));
    }
}

/// Returns where a run's manifest is or will be: a path, or else the destination and the name there.
pub(crate) fn manifest_place(app: &App, run: &Run) -> Result<String, Failed> {
    let (destination, key) = (&run.definition.destination, run.manifest_key());
    if IntoDataset::of(destination).is_some() {
        return Ok(destination.clone());
    }
    Ok(match app.places(Who::Operator).local_path(&run.workspace, destination)? {
        Some(root) => root.join(key.as_str()).display().to_string(),
        None => format!("{destination}/{key}"),
    })
}

/// A plan as it is printed.
#[derive(Serialize)]
struct Planned {
    from_commit: u64,
    to_commit: u64,
    rows: Option<u64>,
    rows_exact: bool,
    bytes: Option<u64>,
    bytes_exact: bool,
    staged: bool,
    encoder: String,
    folder: String,
    columns: Vec<model::schema::Field>,
    parts: Vec<PlannedPart>,
}

#[derive(Serialize)]
struct PlannedPart {
    name: String,
    rows_read: u64,
}

async fn plan(app: &App, asked: Asked) -> Result<(), Failed> {
    let request = asked.request(app)?;
    let forecast = app.coordinator(Who::Operator).plan(&request).await?;
    let (rows, size) = (amount(forecast.rows, count), amount(forecast.bytes, bytes));
    let planned = Planned::of(forecast);
    let lines: Vec<Vec<String>> =
        planned.parts.iter().map(|part| vec![part.name.clone(), count(part.rows_read)]).collect();
    app.output.value(&planned, |out| {
        writeln!(out, "commits  ({}, {}]", planned.from_commit, planned.to_commit)?;
        writeln!(out, "rows     {rows}")?;
        writeln!(out, "bytes    {size}")?;
        writeln!(out, "encoder  {}", planned.encoder)?;
        writeln!(out, "folder   {}", planned.folder)?;
        if planned.staged {
            return writeln!(out, "files    known once the query has been computed");
        }
        writeln!(out, "files    {}\n", count(lines.len() as u64))?;
        table(out, &["file", "rows read"], &lines)
    })?;
    Ok(())
}

impl Planned {
    fn of(forecast: Forecast) -> Self {
        let part = |part: run::PlannedPart| PlannedPart { name: part.name, rows_read: part.rows };
        Self {
            from_commit: forecast.from.0,
            to_commit: forecast.to.0,
            rows: number(forecast.rows),
            rows_exact: matches!(forecast.rows, Amount::Exact(_)),
            bytes: number(forecast.bytes),
            bytes_exact: matches!(forecast.bytes, Amount::Exact(_)),
            staged: forecast.staged,
            encoder: forecast.encoding.encoder.to_string(),
            folder: forecast.folder,
            columns: forecast.relation.output.fields,
            parts: forecast.parts.into_iter().map(part).collect(),
        }
    }
}

fn number(amount: Amount) -> Option<u64> {
    match amount {
        Amount::Exact(value) | Amount::Estimate(value) => Some(value),
        Amount::Unknown => None,
    }
}

fn amount(amount: Amount, show: fn(u64) -> String) -> String {
    match amount {
        Amount::Exact(value) => show(value),
        Amount::Estimate(value) => format!("about {}", show(value)),
        Amount::Unknown => "known once the query has been computed".into(),
    }
}

fn asked(args: ExportArgs) -> Result<Asked, Failed> {
    let source = match (args.dataset, args.view, args.sql) {
        (Some(name), _, _) => Source::Dataset(name),
        (_, Some(name), _) => Source::View(name),
        (_, _, Some(text)) => Source::Sql(text),
        (None, None, None) => return Err(Failed::request("name --dataset, --view or --sql")),
    };
    let (columns, filter, since, until) = (args.columns, args.filter, args.since, args.until);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Failed::request(format!(
            "the window ends at {}, before it begins at {}",
            until.to_rfc3339(),
            since.to_rfc3339()
        )));
    }
    let advance = match (&args.incremental, args.again) {
        (None, _) => Advance::None,
        (Some(_), false) => Advance::Cursor,
        (Some(_), true) => Advance::Again,
    };
    Ok(Asked {
        relation: Relation { source, selection: Selection { columns, filter, since, until } },
        format: format(args.format, &args.to)?,
        to: args.to,
        export: args.incremental,
        advance,
        from_commit: args.from_commit.map(CommitNumber),
        to_commit: args.to_commit.map(CommitNumber),
    })
}

fn format(args: FormatArgs, to: &str) -> Result<FormatSpec, Failed> {
    let mut options = BTreeMap::new();
    for (key, value) in args.options {
        if options.insert(key.clone(), value).is_some() {
            return Err(Failed::request(format!("the option `{key}` is given twice")));
        }
    }
    Ok(FormatSpec {
        format: args.format.unwrap_or_else(|| IntoDataset::format(to).into()),
        compression: args.compression,
        options,
        file_rows: args.file_rows,
        file_bytes: args.file_size.map(|size| size.as_u64()),
        name: args.name,
        folder: args.folder,
        md5: false,
    })
}

/// Returns the one URL of a place outside of the data folder.
fn place(app: &App, to: &str) -> Result<String, Failed> {
    let here = std::env::current_dir()?;
    let destination = destinations::canonical(to, &here)?;
    match destinations::local_path(&destination) {
        Ok(path) => app.folder.check_outside(&path)?,
        Err(destinations::Error::NotLocal { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(destination)
}

impl Asked {
    /// A full export of a dataset as JSON Lines.
    pub(crate) fn dataset(name: &str, to: &str) -> Self {
        let source = Source::Dataset(name.into());
        Self {
            relation: Relation { source, selection: Selection::default() },
            format: FormatSpec {
                format: "jsonl".into(),
                compression: None,
                options: BTreeMap::new(),
                file_rows: None,
                file_bytes: None,
                name: None,
                folder: None,
                md5: false,
            },
            to: to.into(),
            export: None,
            advance: Advance::None,
            from_commit: None,
            to_commit: None,
        }
    }

    fn request(self, app: &App) -> Result<Request, Failed> {
        if let Some(name) = &self.export {
            names::check("an export", name)?;
        }
        let destination = match IntoDataset::parse(&self.to) {
            Some(into) => into?.to_string(),
            None => place(app, &self.to)?,
        };
        Ok(Request {
            key: None,
            version: None,
            slot: None,
            workspace: app.workspace.clone(),
            export: self.export,
            definition: Definition {
                relation: self.relation,
                format: self.format,
                destination,
                meaning: None,
            },
            advance: self.advance,
            from: self.from_commit,
            to: self.to_commit,
        })
    }
}
