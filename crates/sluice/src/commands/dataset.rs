//! `dataset create | list | show | drop`.

use std::io::{self, Write};
use std::path::Path;

use model::dataset::{Dataset, DatasetKind, KeepBasis, NewDataset, Snapshot};
use model::ports::{Catalog, Health, Pin, PinOwner, Upkeep};
use model::schema::{Given, Schema};
use model::{DatasetId, names};
use serde::Serialize;
use server::canonical;

use crate::app::App;
use crate::cli::{self, CreateDataset, Kind};
use crate::failed::Failed;
use crate::output::{bytes, count, counted, say, table};

/// A dataset as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    id: &'a str,
    kind: &'static str,
    time_column: Option<&'a str>,
    rows: u64,
    bytes: u64,
    files: u64,
    /// Those of the rows that are in the tail.
    tail: u64,
    batches: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a Health>,
    /// The newest commit that the numbers speak of.
    commit: u64,
    schema_id: String,
    fields: &'a [model::schema::Field],
}

/// Does a `dataset` command.
pub(crate) async fn dataset(app: &App, command: cli::Dataset) -> Result<(), Failed> {
    match command {
        cli::Dataset::Create(args) => create(app, args).await,
        cli::Dataset::Canonical => canonical(app).await,
        cli::Dataset::List => list(app).await,
        cli::Dataset::Show { name } => show(app, &name).await,
        cli::Dataset::Keep { name, days, forever: _ } => keep(app, &name, days).await,
        cli::Dataset::Drop { name } => drop(app, &name).await,
    }
}

async fn create(app: &App, args: CreateDataset) -> Result<(), Failed> {
    names::check("a dataset", &args.name)?;
    let schema = args.schema.as_deref().map(read_schema).transpose()?.unwrap_or_default();
    if let Some(column) = &args.time {
        schema.check_time(column)?;
    }
    let new = NewDataset {
        id: DatasetId::mint(),
        name: args.name,
        kind: match args.kind {
            Kind::Event => DatasetKind::Event,
            Kind::Record => DatasetKind::Record,
        },
        time_column: args.time,
        schema,
    };
    let made = app.store.create_dataset(&app.workspace, &new, app.clock.now()).await?;
    let shown = Shown::of(&made, &[], 0);
    app.output.value(&shown, |out| writeln!(out, "made the dataset `{}`", made.name))?;
    Ok(())
}

async fn canonical(app: &App) -> Result<(), Failed> {
    let ports = (&*app.store as &dyn Catalog, &*app.clock);
    let all = canonical::ensure_all(ports, &app.workspace).await?;
    let shown: Vec<_> = all.iter().map(|dataset| Shown::of(dataset, &[], 0)).collect();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| vec![one.name.clone(), count(one.schema.fields.len() as u64)])
        .collect();
    app.output.value(&shown, |out| table(out, &["dataset", "columns"], &rows))?;
    for wanted in &model::canonical::DATASETS {
        if all.iter().all(|one| one.name != wanted.name) {
            let name = wanted.name;
            say(&format!(
                "`{name}` is a view of this workspace and stays that; no dataset is made"
            ));
        }
    }
    Ok(())
}

fn read_schema(path: &Path) -> Result<Schema, Failed> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failed::source(format!("cannot read the schema `{shown}`: {e}")))?;
    let unusable = |e: Given| Failed::source(format!("the schema `{shown}`: {e}"));
    let written = serde_json::from_str(&text).map_err(|e| unusable(Given::Form(e)))?;
    Schema::given(&written).map_err(unusable)
}

async fn list(app: &App) -> Result<(), Failed> {
    let mut snapshots = Vec::new();
    for dataset in app.store.datasets(&app.workspace).await? {
        snapshots.push(app.store.snapshot(&app.workspace, &dataset.name, None).await?);
    }
    let shown: Vec<Shown<'_>> = snapshots.iter().map(Shown::of_snapshot).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|one| {
            let time = one.time_column.unwrap_or("-").to_owned();
            let sums = [count(one.rows), count(one.files), bytes(one.bytes)];
            [vec![one.name.into(), one.kind.into(), time], sums.to_vec()].concat()
        })
        .collect();
    app.output.value(&shown, |out| {
        table(out, &["dataset", "kind", "time", "rows", "files", "size"], &rows)
    })?;
    Ok(())
}

async fn show(app: &App, name: &str) -> Result<(), Failed> {
    let snapshot = app.store.snapshot(&app.workspace, name, None).await?;
    let health = app.lake.health(&app.workspace, name).await?;
    let shown = Shown { health: Some(&health), ..Shown::of_snapshot(&snapshot) };
    let columns: Vec<Vec<String>> = shown
        .fields
        .iter()
        .map(|field| {
            let may = if field.nullable { "" } else { "required" };
            vec![field.name.clone(), field.kind.to_string(), may.to_owned()]
        })
        .collect();
    app.output.value(&shown, |out| {
        writeln!(out, "dataset  {} ({})", shown.name, shown.kind)?;
        writeln!(out, "time     {}", shown.time_column.unwrap_or("no time column"))?;
        writeln!(
            out,
            "rows     {} in {} ({}) of {} batches, at commit {}",
            count(shown.rows),
            counted(shown.files, "file"),
            bytes(shown.bytes),
            count(shown.batches),
            shown.commit
        )?;
        if let Some(days) = shown.keep_days {
            writeln!(out, "keep     {}", counted(days.into(), "day"))?;
        }
        write_health(out, &health)?;
        writeln!(out)?;
        table(out, &["column", "type", ""], &columns)
    })?;
    Ok(())
}

async fn keep(app: &App, name: &str, days: Option<u32>) -> Result<(), Failed> {
    app.store.keep(&app.workspace, name, days, KeepBasis::Anything).await?;
    let done = serde_json::json!({ "name": name, "keep_days": days });
    app.output.value(&done, |out| match days {
        Some(days) => {
            let days = counted(days.into(), "day");
            writeln!(out, "rows of `{name}` are kept for {days}; `upkeep` removes older ones")
        }
        None => writeln!(out, "rows of `{name}` are kept for ever"),
    })?;
    Ok(())
}

async fn drop(app: &App, name: &str) -> Result<(), Failed> {
    app.store.drop_dataset(&app.workspace, name, app.clock.now()).await?;
    let done = serde_json::json!({ "dropped": name });
    app.output.value(&done, |out| writeln!(out, "dropped the dataset `{name}`"))?;
    Ok(())
}

/// Writes how a dataset is kept.
fn write_health(out: &mut dyn Write, health: &Health) -> io::Result<()> {
    let Health { tail, sizes, mergeable, merged, pins } = health;
    if tail.files > 0 {
        let (rows, commits) = (counted(tail.rows, "row"), counted(tail.files, "small commit"));
        writeln!(out, "tail     {rows} of {commits} ({}), not yet in files", bytes(tail.bytes))?;
    }
    for size in sizes {
        let files = counted(size.files, "file");
        let up_to =
            size.up_to.map_or_else(|| "larger".into(), |most| format!("up to {}", bytes(most)));
        let (rows, sum) = (counted(size.rows, "row"), bytes(size.bytes));
        writeln!(out, "files    {files} {up_to}: {rows}, {sum}")?;
    }
    if *mergeable > 0 {
        let merged = counted(*merged, "file");
        writeln!(out, "compact  would make {merged} of {}", count(*mergeable))?;
    }
    for Pin { owner, at, since, .. } in pins {
        let day = since.format("%Y-%m-%d");
        match owner {
            PinOwner::Export(name) => {
                writeln!(
                    out,
                    "pin      the export `{name}` needs rows after commit {at}, since {day}"
                )?;
            }
            PinOwner::Run(id) => {
                writeln!(out, "pin      the run {id} reads commit {at}, since {day}")?;
            }
            PinOwner::Ticket(name) => {
                writeln!(out, "pin      `{name}` is to be made of commit {at}, since {day}")?;
            }
        }
    }
    Ok(())
}

impl<'a> Shown<'a> {
    fn of_snapshot(snapshot: &'a Snapshot) -> Self {
        Self::of(&snapshot.dataset, &snapshot.files, snapshot.at.0)
    }

    fn of(dataset: &'a Dataset, files: &[model::dataset::DataFile], commit: u64) -> Self {
        // A commit closes one batch, and a merged file has rows of many.
        let runs = files.iter().flat_map(|file| &file.runs);
        let batches: std::collections::BTreeSet<_> = runs.map(|run| run.commit).collect();
        Self {
            name: &dataset.name,
            id: dataset.id.as_str(),
            kind: dataset.kind.as_str(),
            time_column: dataset.time_column.as_deref(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files: files.iter().filter(|file| !file.in_tail).count() as u64,
            tail: files.iter().filter(|file| file.in_tail).map(|file| file.rows).sum(),
            batches: batches.len() as u64,
            keep_days: dataset.keep_days,
            health: None,
            commit,
            schema_id: dataset.schema.id().to_string(),
            fields: &dataset.schema.fields,
        }
    }
}
