//! `group save | list | show | pause | resume | now`: exports with one trigger and one destination.

use model::document::Basis;
use model::export::{Export, ExportState};
use model::group::{Group, GroupExports, GroupTerms};
use model::names;
use model::ports::{Groups, LedgerError};
use model::relation::Selection;
use run::{AskedGroup, Destinations, Request};

use super::saved::{Deleted, next, schedule, state, trigger};
use super::{format, print_all, start};
use crate::app::App;
use crate::cli::SaveGroup;
use crate::failed::Failed;
use crate::output::{counted, table};
use crate::places::Who;

pub(super) async fn save(app: &App, args: SaveGroup) -> Result<(), Failed> {
    names::check("a group", &args.group)?;
    let schedule = schedule(&args.schedule);
    schedule.check(app.clock.now())?;
    let terms = GroupTerms {
        datasets: args.dataset,
        selection: Selection { columns: args.columns, filter: args.filter, ..<_>::default() },
        format: format(args.format, &args.to)?,
        destination: app.places(Who::Tenant).resolve(&app.workspace, &args.to).await?,
        schedule,
    };
    let asked = AskedGroup {
        workspace: app.workspace.clone(),
        name: args.group,
        terms,
        restart: args.restart,
        author: crate::app::owner(),
    };
    let basis = match app.store.group(&app.workspace, &asked.name).await {
        Ok(found) => Basis::Etag(found.group.tag()),
        Err(LedgerError::NotFound { .. }) => Basis::Nothing,
        Err(error) => return Err(error.into()),
    };
    let coordinator = app.coordinator(Who::Tenant);
    let save = Box::pin(coordinator.check_group(&*app.store, asked)).await?;
    let saved = app.store.save_group(&save, &basis).await?;
    app.output.value(&saved, |out| {
        let Group { name, version, .. } = &saved.group;
        writeln!(
            out,
            "saved the group `{name}`, version {version}: {}",
            counted(saved.exports.len() as u64, "export")
        )
    })?;
    Ok(())
}

pub(super) async fn list(app: &App) -> Result<(), Failed> {
    let all = app.store.groups(&app.workspace).await?;
    let row = |one: &Group| {
        let GroupTerms { datasets, schedule, destination, .. } = &one.terms;
        let trigger = trigger(&schedule.trigger);
        vec![one.name.clone(), datasets.join(", "), trigger, destination.clone()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["group", "datasets", "trigger", "to"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}

pub(super) async fn show(app: &App, name: &str) -> Result<(), Failed> {
    print(app, &app.store.group(&app.workspace, name).await?)
}

pub(super) async fn turn(app: &App, name: &str, to: ExportState) -> Result<(), Failed> {
    let now = app.clock.now();
    print(app, &app.store.set_group_state(&app.workspace, name, to, now).await?)
}

pub(super) async fn delete(app: &App, name: &str) -> Result<(), Failed> {
    app.store.delete_group(&app.workspace, name).await?;
    Ok(app.output.value(&Deleted { deleted: name }, |out| writeln!(out, "deleted `{name}`"))?)
}

fn print(app: &App, group: &GroupExports) -> Result<(), Failed> {
    let row = |one: &Export| {
        vec![
            one.name.clone(),
            state(one.state).to_owned(),
            one.cursor.to_string(),
            next(one),
            one.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = group.exports.iter().map(row).collect();
    let header = ["export", "state", "cursor", "due", "reason"];
    Ok(app.output.value(group, |out| table(out, &header, &rows))?)
}

/// Runs one after another; what is wrong with one holds up no other.
pub(super) async fn now(app: &App, name: &str) -> Result<(), Failed> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for export in app.store.group(&app.workspace, name).await?.exports {
        let of = export.name.clone();
        match start(app, &Request::of(export, None)).await {
            Ok(runs) => done.extend(runs),
            Err(error) => failed.push((of, error)),
        }
    }
    print_all(app, &done)?;
    match failed.into_iter().next() {
        None => Ok(()),
        Some((of, error)) => Err(error.of_one(&format!("the export `{of}`"))),
    }
}
