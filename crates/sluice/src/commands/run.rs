//! `run list | show | resume | rerun | cancel`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use model::RunId;
use model::part::{Part, PartId};
use model::ports::Ledger;
use model::run::{Run, RunState};
use run::Cancelled;
use serde::Serialize;

use super::export::{Delivered, manifest_place, print};
use crate::app::App;
use crate::cli;
use crate::failed::Failed;
use crate::output::{bytes, count, say, table};
use crate::places::Who;
use crate::progress::RunBar;

/// Runs or parts asked for at once.
const PAGE: u32 = 100;

/// A run as it is printed.
#[derive(Serialize)]
struct Shown {
    id: String,
    state: &'static str,
    /// Whether nobody works on it and `run resume` would finish it.
    resumable: bool,
    export: Option<String>,
    relation: String,
    destination: String,
    from_commit: u64,
    to_commit: u64,
    rows: Option<u64>,
    bytes: Option<u64>,
    files: Option<u64>,
    /// Where the manifest is; none before it is sealed.
    manifest: Option<String>,
    error: Option<String>,
    owner: String,
    created_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

/// A run with its parts.
#[derive(Serialize)]
struct WithParts {
    #[serde(flatten)]
    run: Shown,
    parts: Vec<ShownPart>,
}

#[derive(Serialize)]
struct ShownPart {
    name: String,
    rows_planned: u64,
    written: bool,
    rows: Option<u64>,
    bytes: Option<u64>,
    /// Values that the format could not hold; `docs/formats.md` says which.
    values_lost: Option<u64>,
    sha256: Option<String>,
}

/// Does a `run` command.
pub(crate) async fn run(app: &App, command: cli::Run) -> Result<(), Failed> {
    match command {
        cli::Run::List => list(app).await,
        cli::Run::Show { id } => show(app, &RunId::new(id)).await,
        cli::Run::Resume { id } => resume(app, &RunId::new(id)).await,
        cli::Run::Rerun { id } => {
            let of = RunId::new(id);
            let coordinator = app.coordinator(Who::Operator);
            let run = coordinator.rerun(&app.workspace, &of, None).await?;
            resume(app, &run.id).await
        }
        cli::Run::Cancel { id } => cancel(app, &RunId::new(id)).await,
    }
}

/// Returns whether the run is open and nobody works on it.
pub(crate) fn is_resumable(app: &App, run: &Run) -> bool {
    !run.state.is_final() && (!run.leased || app.locks.is_dead(&run.id, run.epoch))
}

async fn list(app: &App) -> Result<(), Failed> {
    let mut all: Vec<Shown> = Vec::new();
    let mut before: Option<RunId> = None;
    loop {
        let page = app.store.runs(&app.workspace, before.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        before = page.last().map(|run| run.id.clone());
        for run in page {
            all.push(Shown::of(app, run)?);
        }
        if is_last {
            break;
        }
    }
    let rows: Vec<Vec<String>> = all.iter().map(Shown::row).collect();
    let header = ["run", "state", "export", "commits", "rows", "size", "started"];
    app.output.value(&all, |out| table(out, &header, &rows))?;
    Ok(())
}

async fn show(app: &App, id: &RunId) -> Result<(), Failed> {
    let run = Shown::of(app, app.store.run(&app.workspace, id).await?)?;
    let mut parts = Vec::new();
    let mut after: Option<PartId> = None;
    loop {
        let page = app.store.parts(&app.workspace, id, after, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        after = page.last().map(|part| part.id);
        parts.extend(page.into_iter().map(ShownPart::of));
        if is_last {
            break;
        }
    }
    let lines: Vec<Vec<String>> = parts.iter().map(ShownPart::row).collect();
    let shown = WithParts { run, parts };
    app.output.value(&shown, |out| {
        let run = &shown.run;
        let more = if run.resumable { ", resumable" } else { "" };
        writeln!(out, "run       {}", run.id)?;
        writeln!(out, "state     {}{more}", run.state)?;
        if let Some(error) = &run.error {
            writeln!(out, "error     {error}")?;
        }
        writeln!(out, "export    {}", run.export.as_deref().unwrap_or("not saved"))?;
        writeln!(out, "of        {}", run.relation)?;
        writeln!(out, "to        {}", run.destination)?;
        writeln!(out, "commits   ({}, {}]", run.from_commit, run.to_commit)?;
        if let Some(manifest) = &run.manifest {
            writeln!(out, "manifest  {manifest}")?;
        }
        writeln!(out)?;
        table(out, &["file", "state", "rows read", "rows", "size"], &lines)
    })?;
    Ok(())
}

async fn resume(app: &App, id: &RunId) -> Result<(), Failed> {
    let bar = Arc::new(RunBar::start());
    let sealed = app.coordinator(Who::Operator).resume(&app.workspace, id, bar.clone()).await;
    bar.finish();
    print(app, &Delivered::of(app, sealed?)?)
}

async fn cancel(app: &App, id: &RunId) -> Result<(), Failed> {
    let (run, left) = match app.coordinator(Who::Operator).cancel(&app.workspace, id).await? {
        Cancelled::Asked(run) => (run, Vec::new()),
        Cancelled::Ended { run, left } => (run, left),
    };
    for key in &left {
        say(&format!("left `{key}` at the destination: it may not be ours"));
    }
    let shown = Shown::of(app, run)?;
    app.output.value(&shown, |out| match shown.state {
        state if state == RunState::Cancelled.as_str() => {
            writeln!(out, "cancelled the run {}", shown.id)
        }
        state if state == RunState::Failed.as_str() => {
            writeln!(out, "the run {} had failed; nothing of it is left to stop", shown.id)
        }
        _ => writeln!(out, "asked the run {} to stop; it ends within seconds", shown.id),
    })?;
    Ok(())
}

impl Shown {
    fn of(app: &App, run: Run) -> Result<Self, Failed> {
        let manifest = match run.state {
            RunState::Sealed => Some(manifest_place(app, &run)?),
            _ => None,
        };
        let sums = run.manifest.as_ref().filter(|_| run.state == RunState::Sealed);
        Ok(Self {
            resumable: is_resumable(app, &run),
            state: run.state.as_str(),
            relation: run.definition.relation.source.label().to_owned(),
            from_commit: run.from.0,
            to_commit: run.to.0,
            rows: sums.map(|sums| sums.rows),
            bytes: sums.map(|sums| sums.bytes),
            files: sums.map(|sums| sums.files),
            manifest,
            id: run.id.to_string(),
            export: run.export_name,
            destination: run.definition.destination,
            error: run.error,
            owner: run.owner,
            created_at: run.created_at,
            ended_at: run.ended_at,
        })
    }

    fn row(&self) -> Vec<String> {
        let state = if self.resumable { "resumable" } else { self.state };
        vec![
            self.id.clone(),
            state.to_owned(),
            self.export.as_ref().unwrap_or(&self.relation).clone(),
            format!("({}, {}]", self.from_commit, self.to_commit),
            self.rows.map_or_else(|| "-".into(), count),
            self.bytes.map_or_else(|| "-".into(), bytes),
            self.created_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        ]
    }
}

impl ShownPart {
    fn of(part: Part) -> Self {
        let receipt = part.receipt.as_ref();
        Self {
            rows_planned: part.rows_planned(),
            written: receipt.is_some(),
            rows: receipt.map(|receipt| receipt.rows),
            bytes: receipt.map(|receipt| receipt.bytes),
            values_lost: receipt.map(|receipt| receipt.values_lost),
            sha256: receipt.map(|receipt| receipt.sha256.clone()),
            name: part.name,
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            if self.written { "written" } else { "planned" }.to_owned(),
            count(self.rows_planned),
            self.rows.map_or_else(|| "-".into(), count),
            self.bytes.map_or_else(|| "-".into(), bytes),
        ]
    }
}
