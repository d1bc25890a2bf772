//! `export save | list | show | pause | resume | now | history`: exports that run by themselves.

use model::document::Basis;
use model::export::{Begin, Definition, Export, ExportState, ExportVersion, SaveExport};
use model::ports::{Exports, Ledger, LedgerError, Runs};
use model::schedule::{Missed, Mode, Schedule, Trigger};
use model::{CommitNumber, names};
use run::{Destinations, Request, check_begin, watched};
use serde::Serialize;

use super::{Asked, asked, print_all, start};
use crate::app::App;
use crate::cli::{self, BeginAt, SaveArgs, SaveMode, ScheduleArgs};
use crate::failed::Failed;
use crate::output::{say, table};
use crate::places::Who;

/// Versions that are shown.
const VERSIONS_MAX: u32 = 1000;

/// What is not there any more.
#[derive(Serialize)]
pub(super) struct Deleted<'a> {
    pub(super) deleted: &'a str,
}

pub(super) async fn save(app: &App, args: SaveArgs) -> Result<(), Failed> {
    names::check("an export", &args.export)?;
    let (name, restart, schedule) = (args.export.clone(), args.restart, schedule(&args.schedule));
    let begin = match args.begin {
        BeginAt::Beginning => Begin::Beginning,
        BeginAt::Now => Begin::Now,
    };
    check_begin(begin, &schedule)?;
    let now = app.clock.now();
    schedule.check(now)?;
    let what = asked(args.what)?;
    if what.export.is_some() || what.from_commit.is_some() || what.to_commit.is_some() {
        let message = "--incremental, --again, --from-commit and --to-commit are for a single run; a saved export has a cursor of its own";
        return Err(Failed::request(message));
    }
    let request = request(app, what).await?;
    let watches = watched(&*app.store, &request, &schedule).await?;
    let coordinator = app.coordinator(Who::Tenant);
    let files = Box::pin(coordinator.check_saved(&request, &name, &schedule)).await?;
    let basis = match app.store.export(&app.workspace, &name).await {
        Ok(found) => Basis::Etag(found.tag()),
        Err(LedgerError::NotFound { .. }) => Basis::Nothing,
        Err(error) => return Err(error.into()),
    };
    let save = SaveExport {
        workspace: app.workspace.clone(),
        name,
        definition: request.definition,
        schedule,
        watches,
        begin,
        bound: None,
        restart,
        author: crate::app::owner(),
        now,
    };
    let saved = app.store.save_export(&save, &basis).await?;
    if let Some(first) = files.first() {
        say(&format!("the first file of a run now would be `{first}`"));
    }
    app.output.value(&saved, |out| {
        let Export { name, version, .. } = &saved;
        let next = saved.next_at.map(|at| at.to_rfc3339());
        let next = next.map_or_else(|| "runs when asked".into(), |at| format!("due at {at}"));
        writeln!(out, "saved `{name}`, version {version}: {next}")
    })?;
    Ok(())
}

/// Returns what a server would be asked for: it delivers where tenants may.
async fn request(app: &App, asked: Asked) -> Result<Request, Failed> {
    let destination = app.places(Who::Tenant).resolve(&app.workspace, &asked.to).await?;
    let definition =
        Definition { relation: asked.relation, format: asked.format, destination, meaning: None };
    let advance = asked.advance;
    Ok(Request { advance, ..Request::single(app.workspace.clone(), definition) })
}

pub(super) fn schedule(args: &ScheduleArgs) -> Schedule {
    let trigger = match (&args.cron, args.every, args.on_data) {
        (Some(cron), ..) => Trigger::Cron { cron: cron.clone(), zone: args.zone.clone() },
        (None, Some(minutes), _) => Trigger::Every { minutes },
        (None, None, Some(minutes)) => Trigger::OnData { minutes },
        (None, None, None) => Trigger::OnDemand,
    };
    let mode = match args.mode {
        SaveMode::Full => Mode::Full,
        SaveMode::Incremental => Mode::Incremental,
        SaveMode::Window => Mode::Window { lag_minutes: args.lag },
    };
    let missed = args.missed.map(|missed| match missed {
        cli::Missed::Each => Missed::Each,
        cli::Missed::Latest => Missed::Latest,
        cli::Missed::Skip => Missed::Skip,
    });
    Schedule { trigger, mode, missed, start_at: args.start }
}

pub(super) async fn list(app: &App) -> Result<(), Failed> {
    let all = app.store.exports(&app.workspace).await?;
    let row = |one: &Export| {
        vec![
            one.name.clone(),
            state(one.state).to_owned(),
            trigger(&one.schedule.trigger),
            one.cursor.to_string(),
            next(one),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["export", "state", "trigger", "cursor", "due"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}

pub(super) async fn show(app: &App, name: &str) -> Result<(), Failed> {
    let one = app.store.export(&app.workspace, name).await?;
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        fact("of", one.definition.relation.source.label().to_owned()),
        fact("to", one.definition.destination.clone()),
        fact("trigger", trigger(&one.schedule.trigger)),
        fact("state", state(one.state).to_owned()),
        fact("cursor", one.cursor.to_string()),
        fact("due", next(&one)),
        fact("version", one.version.to_string()),
    ];
    if let Some(reason) = &one.reason {
        rows.push(fact("failed", format!("{} times; the last: {reason}", one.failures)));
    }
    Ok(app.output.value(&one, |out| table(out, &["export", &one.name], &rows))?)
}

pub(super) fn state(state: ExportState) -> &'static str {
    match state {
        ExportState::Active => "active",
        ExportState::Paused => "paused",
        ExportState::Broken => "broken",
    }
}

pub(super) fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::OnDemand => "on demand".into(),
        Trigger::Cron { cron, zone } => format!("{cron} ({zone})"),
        Trigger::Every { minutes } => format!("every {minutes} min"),
        Trigger::OnData { .. } => "new rows".into(),
    }
}

pub(super) fn next(one: &Export) -> String {
    let next = one.next_at.filter(|_| one.state == ExportState::Active);
    next.map(|at| at.format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

pub(super) async fn turn(app: &App, name: &str, to: ExportState) -> Result<(), Failed> {
    let now = app.clock.now();
    let one = app.store.set_export_state(&app.workspace, name, to, now).await?;
    Ok(app.output.value(&one, |out| writeln!(out, "`{name}` is {}", state(one.state)))?)
}

pub(super) async fn delete(app: &App, name: &str) -> Result<(), Failed> {
    app.store.delete_export(&app.workspace, name).await?;
    Ok(app.output.value(&Deleted { deleted: name }, |out| writeln!(out, "deleted `{name}`"))?)
}

pub(super) async fn now(app: &App, name: &str) -> Result<(), Failed> {
    let export = app.store.export(&app.workspace, name).await?;
    if matches!(export.schedule.mode, Mode::Window { .. }) {
        return Err(run::Error::WindowNotOver { export: export.name }.into());
    }
    print_all(app, &start(app, &Request::of(export, None)).await?)
}

pub(super) async fn backfill(
    app: &App,
    name: &str,
    to: Option<CommitNumber>,
) -> Result<(), Failed> {
    let (coordinator, author) = (app.coordinator(Who::Tenant), crate::app::owner());
    let of = (&app.workspace, name);
    let asked = coordinator.backfill(&*app.store, of, (to, &author)).await?;
    print_all(app, &start(app, &asked).await?)
}

pub(super) async fn history(app: &App, name: &str) -> Result<(), Failed> {
    let all = app.store.export_versions(&app.workspace, name, None, VERSIONS_MAX).await?;
    let row = |one: &ExportVersion| {
        vec![
            one.version.to_string(),
            one.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            one.author.clone(),
            one.definition.relation.source.label().to_owned(),
            trigger(&one.schedule.trigger),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["version", "saved", "by", "of", "trigger"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}
