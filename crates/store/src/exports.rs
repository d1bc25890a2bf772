//! Saved exports: the store as [`Exports`].

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::document::Basis;
use model::export::{Begin, Export, ExportState, ExportVersion, SaveExport};
use model::limits::EXPORTS_MAX;
use model::ports::{Exports, LedgerError};
use model::schedule::{Due, Mode, Schedule, Slot};
use model::{CommitNumber, ExportId, JobId, WorkspaceId};
use serde::Serialize;

use crate::Store;
use crate::database::{Error, Row, Sql, Transaction, args, transact, truncate, word};
use crate::ledger::{exports, pins, runs};

#[async_trait]
impl Exports for Store {
    async fn save_export(&self, save: &SaveExport, basis: &Basis) -> Result<Export, LedgerError> {
        transact!(self.database, LedgerError, |tx| save_one(tx, save, basis))
    }

    async fn export_versions(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ExportVersion>, LedgerError> {
        let tx = &mut self.database.read().await?;
        let export = exports::by_name(tx, workspace, name).await?;
        Ok(versions(tx, &export.id, before.unwrap_or(u64::MAX), limit).await?)
    }

    async fn set_export_state(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        state: ExportState,
        now: DateTime<Utc>,
    ) -> Result<Export, LedgerError> {
        transact!(self.database, LedgerError, |tx| set_state(tx, (workspace, name), state, now))
    }

    async fn delete_export(&self, workspace: &WorkspaceId, name: &str) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| delete(tx, workspace, name))
    }

    async fn break_export(&self, seen: &Export, why: &str) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| break_one(tx, seen, why))
    }

    async fn due_exports(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Export>, LedgerError> {
        Ok(exports::due(&mut self.database.glance().await?, now, limit).await?)
    }

    async fn fire(
        &self,
        seen: &Export,
        due: &Due,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        transact!(self.database, LedgerError, |tx| fire(tx, seen, due, now))
    }
}

async fn save_one(
    tx: &mut Transaction,
    save: &SaveExport,
    basis: &Basis,
) -> Result<Export, LedgerError> {
    if *basis == Basis::Nothing {
        lock_names(tx, &save.workspace).await?;
    }
    let held = exports::hold(tx, &save.workspace, &save.name).await?;
    let export = match (held, basis) {
        (None, Basis::Nothing) => create(tx, save).await?,
        (None, _) => return Err(exports::no_export(tx, &save.workspace, &save.name).await?),
        (Some(held), Basis::Nothing) => return Err(LedgerError::Exists { export: held.name }),
        (Some(held), Basis::Etag(seen)) if *seen != held.tag() => {
            return Err(LedgerError::Changed { export: held.name });
        }
        (Some(Export { name: export, group: Some(group), .. }), _) => {
            return Err(LedgerError::InGroup { export, group });
        }
        (Some(held), _) => edit(tx, save, held).await?,
    };
    exports::note_version(tx, &export, &save.author, truncate(save.now)).await?;
    Ok(export)
}

/// Of two that make exports of one name one waits here.
pub(crate) async fn lock_names(tx: &mut Transaction, workspace: &WorkspaceId) -> Result<(), Error> {
    let sql = Sql::for_update("SELECT id FROM workspace WHERE id = $1");
    tx.first(sql, args![workspace.as_str()]).await?;
    Ok(())
}

pub(crate) async fn create(tx: &mut Transaction, save: &SaveExport) -> Result<Export, LedgerError> {
    let sql = "SELECT COUNT(*) AS n FROM export WHERE workspace = $1 AND deleted_name IS NULL";
    let count: u64 = tx.one(sql, args![save.workspace.as_str()]).await?.count("n")?;
    if count >= EXPORTS_MAX {
        return Err(LedgerError::TooMany { most: EXPORTS_MAX });
    }
    let workspace = save.workspace.clone();
    let began = begin(tx, save).await?;
    let export = Export {
        cursor: began,
        began,
        bound: save.bound,
        watches: save.watches.clone(),
        next_at: next((&save.schedule, save.watches.is_some()), save.now, None),
        schedule: save.schedule.clone(),
        ..Export::new(workspace, &save.name, save.definition.clone(), truncate(save.now))
    };
    exports::save(tx, &export).await?;
    look_again(tx, &export.id).await?;
    if !save_pin(&save.schedule) {
        pins::remove(tx, pins::Owner::Cursor(&export.id)).await?;
    }
    Ok(export)
}

/// Returns the commit after which a cursor begins.
async fn begin(tx: &mut Transaction, save: &SaveExport) -> Result<CommitNumber, Error> {
    if save.begin == Begin::Beginning {
        return Ok(CommitNumber(0));
    }
    let sql = "SELECT head FROM workspace WHERE id = $1";
    Ok(CommitNumber(tx.one(sql, args![save.workspace.as_str()]).await?.count("head")?))
}

/// Whether a cursor keeps rows: only one that moves does.
fn save_pin(schedule: &Schedule) -> bool {
    schedule.mode == Mode::Incremental
}

/// Returns when an export is due first; of one that watches a dataset, at once.
fn next(
    (schedule, watches): (&Schedule, bool),
    now: DateTime<Utc>,
    covered: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    // Whoever saves has checked it.
    let first = schedule.first(now, covered).ok().flatten();
    first
        .or_else(|| watches.then(|| schedule.start_at.map_or(now, |start| start.max(now))))
        .map(truncate)
}

pub(crate) async fn edit(
    tx: &mut Transaction,
    save: &SaveExport,
    held: Export,
) -> Result<Export, LedgerError> {
    let other = check_edit(tx, save, &held).await?;
    let mut definition = save.definition.clone();
    if !other && held.last_run.is_some() {
        // Its names mean what they meant when its first rows were delivered.
        definition.meaning.clone_from(&held.definition.meaning);
    }
    let is_same = held.schedule == save.schedule && held.watches == save.watches && !save.restart;
    let is_window = |schedule: &Schedule| matches!(schedule.mode, Mode::Window { .. });
    let (was, will_be) = (is_window(&held.schedule), is_window(&save.schedule));
    let covered = held.covered.filter(|_| was && will_be && !save.restart);
    let first = next((&save.schedule, save.watches.is_some()), save.now, covered);
    let began = if save.restart { begin(tx, save).await? } else { held.began };
    let begins_again = save.restart || was != will_be || held.watches != save.watches;
    let export = Export {
        definition,
        cursor: if save.restart { began } else { held.cursor },
        began,
        last_run: held.last_run.filter(|_| !save.restart),
        version: held.version + 1,
        next_at: if is_same { held.next_at } else { first },
        covered,
        schedule: save.schedule.clone(),
        watches: save.watches.clone(),
        ..held
    };
    exports::update(tx, &export).await?;
    if begins_again {
        forget_slots(tx, &export.id).await?;
    }
    pins::remove(tx, pins::Owner::Cursor(&export.id)).await?;
    if save_pin(&export.schedule) {
        let (owner, now) = (pins::Owner::Cursor(&export.id), truncate(save.now));
        pins::insert(tx, owner, &export.workspace, export.cursor, now).await?;
    }
    Ok(export)
}

/// Refuses an edit that would lose what an open run or a cursor stands for; returns whether another thing is exported, or elsewhere.
async fn check_edit(
    tx: &mut Transaction,
    save: &SaveExport,
    held: &Export,
) -> Result<bool, LedgerError> {
    let other = other_source(held, save);
    if other.is_none() && !save.restart {
        return Ok(false);
    }
    // Its seal would move the cursor of what the export is no more.
    if let Some(run) = runs::open_of(tx, &held.workspace, &held.name).await? {
        return Err(LedgerError::Open { export: held.name.clone(), run: run.id });
    }
    match other.filter(|_| held.last_run.is_some() && !save.restart) {
        None => Ok(true),
        Some((property, saved)) => {
            let (export, cursor) = (held.name.clone(), held.cursor);
            Err(LedgerError::Restart { export, cursor, property, saved })
        }
    }
}

/// Takes back slots that were made for what an export is no more. A run that is open goes on, but is no slot again if it fails.
async fn forget_slots(tx: &mut Transaction, export: &ExportId) -> Result<(), Error> {
    // In this order: a run that fails meanwhile becomes a slot before the first, or none after it.
    let sql = "UPDATE job SET slot_at = NULL, slot_since = NULL WHERE export = $1";
    tx.execute(sql, args![export.as_str()]).await?;
    let sql = "DELETE FROM job WHERE export = $1 AND kind = 'slot'";
    tx.execute(sql, args![export.as_str()]).await?;
    look_again(tx, export).await
}

/// Has new rows looked for from the cursor on.
async fn look_again(tx: &mut Transaction, export: &ExportId) -> Result<(), Error> {
    let sql = "UPDATE export SET fired_commit = cursor_commit WHERE id = $1";
    tx.execute(sql, args![export.as_str()]).await?;
    Ok(())
}

/// Returns what an edit changes that a chain of manifests cannot go on with.
fn other_source(held: &Export, save: &SaveExport) -> Option<(&'static str, String)> {
    let (was, is) = (&held.definition, &save.definition);
    if was.relation.source != is.relation.source {
        return Some(("the relation", text(&was.relation.source)));
    }
    if was.destination != is.destination {
        return Some(("the destination", was.destination.clone()));
    }
    // Not the lag of windows: those go on where the last one ended.
    let mode = |schedule: &Schedule| std::mem::discriminant(&schedule.mode);
    let other = mode(&held.schedule) != mode(&save.schedule);
    other.then(|| ("the mode", text(&held.schedule.mode)))
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it has only string keys")
}

async fn versions(
    tx: &mut Transaction,
    export: &ExportId,
    before: u64,
    limit: u32,
) -> Result<Vec<ExportVersion>, Error> {
    let sql = "SELECT version, definition, schedule, author, saved_at FROM export_version
               WHERE export = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
    let rows = tx.all(sql, args![export.as_str(), before, limit]).await?;
    let read = |row: &Row| {
        Ok(ExportVersion {
            version: row.count("version")?,
            definition: row.json("definition")?,
            schedule: row.json("schedule")?,
            author: row.text("author")?,
            at: row.at("saved_at")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(crate) async fn set_state(
    tx: &mut Transaction,
    (workspace, name): (&WorkspaceId, &str),
    state: ExportState,
    now: DateTime<Utc>,
) -> Result<Export, LedgerError> {
    let Some(held) = exports::hold(tx, workspace, name).await? else {
        return Err(exports::no_export(tx, workspace, name).await?);
    };
    let is_taken_up = state == ExportState::Active;
    if held.state == state && !is_taken_up {
        return Ok(held);
    }
    let export = Export {
        state,
        reason: held.reason.clone().filter(|_| !is_taken_up),
        failures: if is_taken_up { 0 } else { held.failures },
        ..held
    };
    exports::update(tx, &export).await?;
    if is_taken_up {
        // What failed last is tried at once, and new rows are looked for from the cursor on.
        let sql = "UPDATE job SET due_at = $2, attempts = 0 WHERE export = $1 AND kind = 'slot'";
        tx.execute(sql, args![export.id.as_str(), truncate(now)]).await?;
        look_again(tx, &export.id).await?;
    }
    Ok(export)
}

async fn delete(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<(), LedgerError> {
    lock_names(tx, workspace).await?;
    let Some(held) = exports::hold(tx, workspace, name).await? else {
        return Err(exports::no_export(tx, workspace, name).await?);
    };
    if let Some(group) = &held.group
        && !has_left(tx, &held.id).await?
    {
        return Err(LedgerError::InGroup { export: held.name, group: group.clone() });
    }
    remove(tx, &held).await
}

/// Returns whether an export that was in a group is not any more.
pub(crate) async fn has_left(tx: &mut Transaction, export: &ExportId) -> Result<bool, Error> {
    let sql = "SELECT left_state FROM export WHERE id = $1";
    Ok(tx.one(sql, args![export.as_str()]).await?.text_or_null("left_state")?.is_some())
}

/// Takes an export out of sight, and the backfill of what came before it; their runs stay, and their names are free.
pub(crate) async fn remove(tx: &mut Transaction, held: &Export) -> Result<(), LedgerError> {
    remove_one(tx, held).await?;
    let backfill = exports::hold(tx, &held.workspace, &held.backfill_name()).await?;
    match backfill.filter(|backfill| backfill.bound.is_some()) {
        Some(backfill) => remove_one(tx, &backfill).await,
        None => Ok(()),
    }
}

async fn remove_one(tx: &mut Transaction, held: &Export) -> Result<(), LedgerError> {
    if let Some(run) = runs::one_open_of(tx, &held.id).await? {
        return Err(LedgerError::Open { export: held.name.clone(), run });
    }
    let id = held.id.as_str();
    tx.execute("DELETE FROM job WHERE export = $1 AND kind = 'slot'", args![id]).await?;
    pins::remove(tx, pins::Owner::Cursor(&held.id)).await?;
    if tx.first("SELECT id FROM run WHERE export = $1 LIMIT 1", args![id]).await?.is_none() {
        tx.execute("DELETE FROM export_version WHERE export = $1", args![id]).await?;
        tx.execute("DELETE FROM export WHERE id = $1", args![id]).await?;
        return Ok(());
    }
    // No name that anybody may give has a space.
    let sql = "UPDATE export SET deleted_name = name, name = 'deleted ' || id, state = $2,
                   next_at = NULL, watches = NULL, version = version + 1
               WHERE id = $1";
    tx.execute(sql, args![id, word(&ExportState::Paused)]).await?;
    Ok(())
}

async fn break_one(tx: &mut Transaction, seen: &Export, why: &str) -> Result<(), LedgerError> {
    let sql = "UPDATE export SET state = $3, reason = $4
               WHERE id = $1 AND version = $2 AND state = $5";
    let [broken, active] = [ExportState::Broken, ExportState::Active].map(|state| word(&state));
    tx.execute(sql, args![seen.id.as_str(), seen.version, broken, why, active]).await?;
    Ok(())
}

async fn fire(
    tx: &mut Transaction,
    seen: &Export,
    due: &Due,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let now = truncate(now);
    // First, as whoever opens a run does.
    let sql = "UPDATE workspace SET opened = opened + $2 WHERE id = $1 RETURNING opened";
    let count = due.slots.len() as u64;
    let opened = tx.one(sql, args![seen.workspace.as_str(), count]).await?.int("opened")?;
    let sql = "UPDATE export SET next_at = $4, covered = COALESCE($5, covered),
                   fired_commit = (SELECT head FROM workspace w WHERE w.id = export.workspace)
               WHERE id = $1 AND version = $2 AND next_at = $3 AND state = $6";
    let covered = due.slots.last().filter(|slot| slot.since.is_some()).map(|slot| slot.at);
    let active = word(&ExportState::Active);
    let values = args![
        seen.id.as_str(),
        seen.version,
        seen.next_at,
        due.next.map(truncate),
        covered,
        active
    ];
    if tx.execute(sql, values).await? == 0 {
        tx.undo();
        return Ok(false);
    }
    for (slot, back) in due.slots.iter().rev().zip(0..) {
        add(tx, seen, (slot, opened - back), now).await?;
    }
    Ok(true)
}

async fn add(
    tx: &mut Transaction,
    export: &Export,
    (slot, place): (&Slot, i64),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = export.id.as_str();
    if slot.since.is_none() {
        // Whoever opens its run reads the newest commit then.
        let sql = "SELECT 1 AS one FROM job WHERE export = $1 AND kind = 'slot' AND lease_until = 0 LIMIT 1";
        if tx.first(sql, args![id]).await?.is_some() {
            return Ok(());
        }
    }
    let job = JobId::mint();
    let sql =
        "INSERT INTO job (id, workspace, kind, subject, line, place, export, slot_at, slot_since,
                   due_at, created_at)
               VALUES ($1, $2, 'slot', $1, $3, $4, $3, $5, $6, $7, $7)";
    let values = args![
        job.as_str(),
        export.workspace.as_str(),
        id,
        place,
        slot.at,
        slot.since.map(truncate),
        now
    ];
    tx.execute(sql, values).await?;
    Ok(())
}
