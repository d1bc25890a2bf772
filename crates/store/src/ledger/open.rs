//! Opening a run: range, export, pin and lease in one transaction.
//!
//! The head row is updated first. That reads the head, gives the run its place in the order of opening,
//! and keeps commits and other openings of the workspace out until the pin is in.

use model::export::{Advance, Export, ExportState, NewRun};
use model::into::{IntoDataset, Write};
use model::ports::{LedgerError, Opened};
use model::run::{Run, RunState};
use model::{CommitNumber, ExportId, WorkspaceId};

use super::range::{self, Position};
use super::{exports, keys, lease, pins, runs};
use crate::database::{Error, Transaction, args, truncate, word};
use crate::jobs;

pub(super) async fn open(tx: &mut Transaction, new: &NewRun) -> Result<Opened, LedgerError> {
    let (head, opened) = take_head(tx, &new.workspace).await?;
    if let Some(run) = runs::find(tx, &new.workspace, &new.id).await? {
        tx.undo();
        return repeated(new, run);
    }
    if let Some(key) = &new.key {
        keys::take(tx, new, key).await?;
    }
    let saved = match &new.export {
        Some(name) => exports::hold(tx, &new.workspace, name).await?,
        None => None,
    };
    match (&saved, &new.export) {
        (Some(saved), _) => check_saved(tx, new, saved).await?,
        // It was deleted since.
        (None, Some(name)) if new.version.is_some() => {
            return Err(exports::no_export(tx, &new.workspace, name).await?);
        }
        (None, _) => {}
    }
    let cursor = saved.as_ref().map(|export| export.cursor);
    let bound = saved.as_ref().and_then(|export| export.bound);
    let began = saved.as_ref().map(|export| export.began).unwrap_or_default();
    let range = range::settle(new, Position { head, cursor, began, bound })?;
    let export = match (saved, &new.export) {
        (Some(saved), _) => Some(saved.id),
        (None, Some(name)) => Some(save(tx, new, name).await?),
        (None, None) => None,
    };
    insert(tx, new, export.as_ref(), opened, range).await?;
    jobs::opened(tx, new, export.as_ref(), opened).await?;
    let pin = pins::Owner::Run(&new.id);
    pins::insert(tx, pin, &new.workspace, range.1, truncate(new.now)).await?;
    let run = runs::by_id(tx, &new.workspace, &new.id).await?;
    Ok(Opened { lease: lease::of(&run), run })
}

pub(crate) async fn take_head(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<(CommitNumber, i64), LedgerError> {
    take_places(tx, workspace, 1).await
}

/// Does so for several; returns the last of their places.
pub(crate) async fn take_places(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    many: u64,
) -> Result<(CommitNumber, i64), LedgerError> {
    let sql = "UPDATE workspace SET opened = opened + $2 WHERE id = $1 RETURNING head, opened";
    let row = tx.first(sql, args![workspace.as_str(), many]).await?.ok_or_else(|| {
        let name = workspace.to_string();
        LedgerError::NotFound { what: "workspace", name, nearest: None }
    })?;
    Ok((CommitNumber(row.count("head")?), row.int("opened")?))
}

/// Answers a repeat of the same call after its first answer was lost.
fn repeated(new: &NewRun, run: Run) -> Result<Opened, LedgerError> {
    let export = run.export_name.clone().unwrap_or_else(|| run.id.to_string());
    let differs = |property, saved: String, asked: String| {
        Err(LedgerError::Differs { export: export.clone(), property, saved, asked })
    };
    if let Some((property, saved, asked)) = run.definition.difference(&new.definition) {
        return differs(property, saved, asked);
    }
    if run.export_name != new.export {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".into());
        return differs("export", name(&run.export_name), name(&new.export));
    }
    if run.advance != new.advance {
        return differs("advance", word(&run.advance), word(&new.advance));
    }
    for (property, saved, asked) in [("from", run.from, new.from), ("to", run.to, new.to)] {
        if let Some(asked) = asked.filter(|asked| *asked != saved) {
            return differs(property, saved.to_string(), asked.to_string());
        }
    }
    if run.epoch > 1 {
        return Err(LedgerError::Fenced { run: run.id });
    }
    if run.state != RunState::Planning {
        return Err(LedgerError::State { run: run.id, state: run.state, wanted: "be opened" });
    }
    Ok(Opened { lease: lease::of(&run), run })
}

/// Refuses another definition where one was delivered or is being, and a second run that would move the
/// cursor.
async fn check_saved(
    tx: &mut Transaction,
    new: &NewRun,
    saved: &Export,
) -> Result<(), LedgerError> {
    if new.version.is_some_and(|version| version != saved.version) {
        return Err(LedgerError::Changed { export: saved.name.clone() });
    }
    let asked = new.definition.kept(new.slot.as_ref());
    // The slot stays until somebody takes the export up again.
    if new.slot.is_some() && saved.state != ExportState::Active {
        return Err(LedgerError::SlotTaken);
    }
    if let Some((property, was, value)) = saved.definition.difference(&asked) {
        // A first use that came to nothing fixes nothing; what somebody saved stays.
        let stays = saved.last_run.is_some()
            || !exports::is_of_first_run(tx, saved).await?
            || runs::any_open_of(tx, &saved.id).await?;
        if stays {
            let export = saved.name.clone();
            return Err(LedgerError::Differs { export, property, saved: was, asked: value });
        }
        exports::redefine(tx, saved, &asked).await?;
    } else if saved.definition.meaning.is_none() {
        // What it means is fixed by its first run.
        exports::redefine(tx, saved, &asked).await?;
    }
    if new.advance != Advance::Cursor {
        let into = IntoDataset::of(&new.definition.destination);
        let replaces = into.is_some_and(|into| into.write == Write::Replace);
        // Of two that replace everything the one behind would come too late.
        return match runs::one_open_of(tx, &saved.id).await?.filter(|_| replaces) {
            Some(run) => Err(LedgerError::Open { export: saved.name.clone(), run }),
            None => Ok(()),
        };
    }
    match runs::open_of(tx, &new.workspace, &saved.name).await? {
        None => Ok(()),
        Some(run) => Err(LedgerError::Open { export: saved.name.clone(), run: run.id }),
    }
}

async fn save(tx: &mut Transaction, new: &NewRun, name: &str) -> Result<ExportId, Error> {
    let export =
        Export::new(new.workspace.clone(), name, new.definition.clone(), truncate(new.now));
    exports::save(tx, &export).await?;
    exports::note_version(tx, &export, exports::FIRST_RUN, export.created_at).await?;
    Ok(export.id)
}

pub(super) async fn insert(
    tx: &mut Transaction,
    new: &NewRun,
    export: Option<&ExportId>,
    opened: i64,
    (from, to): (CommitNumber, CommitNumber),
) -> Result<(), Error> {
    let until = lease::until(tx).await?;
    let sql = "INSERT INTO run (id, workspace, opened, export, definition, advance, state,
                   from_commit, to_commit, epoch, lease_until, owner, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11, $12)";
    let values = args![
        new.id.as_str(),
        new.workspace.as_str(),
        opened,
        export.map(ExportId::as_str),
        exports::definition_text(&new.definition),
        word(&new.advance),
        RunState::Planning.as_str(),
        from.0,
        to.0,
        until,
        &new.owner,
        new.now
    ];
    tx.execute(sql, values).await?;
    Ok(())
}
