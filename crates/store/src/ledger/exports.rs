//! Saved exports and their cursors.

use chrono::{DateTime, Utc};
use model::export::{Definition, Export};
use model::limits::{EXPORT_VERSIONS_MAX, SLOTS_WAITING_MAX};
use model::ports::LedgerError;
use model::schedule::Schedule;
use model::{CommitNumber, DatasetId, ExportId, RunId, WorkspaceId};

use super::pins;
use crate::database::{Error, Row, Sql, Transaction, args, truncate, word};
use crate::names::nearest;

/// Who saved an export that its first run made.
pub(super) const FIRST_RUN: &str = "its first run";

/// Names that a "did you mean" looks at.
const NAMES_MAX: u32 = 10_000;

/// The columns of an export.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, workspace, name, definition, cursor_commit, last_run, created_at, version, schedule,
                 watches, state, reason, failures, next_at, covered, group_name, began, bound
             FROM export e ",
            $tail
        )
    };
}

const BY_NAME: &str = select!("WHERE workspace = $1 AND name = $2 AND deleted_name IS NULL");

/// Saves an export with the cursor at 0, and the pin of that cursor.
pub(crate) async fn save(tx: &mut Transaction, export: &Export) -> Result<(), Error> {
    let sql =
        "INSERT INTO export (id, workspace, name, definition, cursor_commit, created_at, version,
                   schedule, watches, state, next_at, began, bound)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let values = args![
        export.id.as_str(),
        export.workspace.as_str(),
        &export.name,
        definition_text(&export.definition),
        export.cursor.0,
        export.created_at,
        export.version,
        schedule_text(&export.schedule),
        export.watches.as_ref().map(DatasetId::as_str),
        word(&export.state),
        export.next_at,
        export.began.0,
        export.bound.map(|bound| bound.0)
    ];
    tx.execute(sql, values).await?;
    let owner = pins::Owner::Cursor(&export.id);
    pins::insert(tx, owner, &export.workspace, export.cursor, export.created_at).await
}

/// Writes down what an edit may change.
pub(crate) async fn update(tx: &mut Transaction, export: &Export) -> Result<(), Error> {
    let sql = "UPDATE export SET definition = $2, cursor_commit = $3, last_run = $4, version = $5,
                   schedule = $6, watches = $7, state = $8, reason = $9, failures = $10, next_at = $11,
                   covered = $12, began = $13
               WHERE id = $1";
    let values = args![
        export.id.as_str(),
        definition_text(&export.definition),
        export.cursor.0,
        export.last_run.as_ref().map(RunId::as_str),
        export.version,
        schedule_text(&export.schedule),
        export.watches.as_ref().map(DatasetId::as_str),
        word(&export.state),
        export.reason.as_deref(),
        export.failures,
        export.next_at,
        export.covered,
        export.began.0
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Keeps an export as it is now.
pub(crate) async fn note_version(
    tx: &mut Transaction,
    export: &Export,
    author: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let sql = "INSERT INTO export_version (export, version, definition, schedule, author, saved_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let (definition, schedule) =
        (definition_text(&export.definition), schedule_text(&export.schedule));
    let values = args![export.id.as_str(), export.version, definition, schedule, author, now];
    tx.execute(sql, values).await?;
    let oldest = export.version.saturating_sub(EXPORT_VERSIONS_MAX);
    let sql = "DELETE FROM export_version WHERE export = $1 AND version <= $2";
    tx.execute(sql, args![export.id.as_str(), oldest]).await?;
    Ok(())
}

/// Returns active exports that are due, oldest first.
pub(crate) async fn due(
    tx: &mut Transaction,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<Export>, Error> {
    let sql = select!(
        "WHERE state = 'active' AND next_at <= $1
             AND (watches IS NULL OR EXISTS (
                 SELECT 1 FROM lake_commit c
                 WHERE c.dataset = e.watches AND c.number > e.fired_commit
                     AND c.kind NOT IN ('compact', 'expire', 'mark')))
             AND (SELECT COUNT(*) FROM job j WHERE j.line = e.id AND j.kind = 'slot') < $3
         ORDER BY next_at, id LIMIT $2"
    );
    let rows = tx.all(sql, args![truncate(now), limit, SLOTS_WAITING_MAX]).await?;
    rows.iter().map(read).collect()
}

/// Returns the exports that are or were in a group, by name.
pub(crate) async fn of_group(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    group: &str,
) -> Result<Vec<Export>, Error> {
    let sql =
        select!("WHERE workspace = $1 AND group_name = $2 AND deleted_name IS NULL ORDER BY name");
    tx.all(sql, args![workspace.as_str(), group]).await?.iter().map(read).collect()
}

/// Returns the export and locks its cursor until the transaction ends.
pub(crate) async fn hold(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Option<Export>, Error> {
    let row = tx.first(Sql::for_update(BY_NAME), args![workspace.as_str(), name]).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn by_name(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Export, LedgerError> {
    if let Some(row) = tx.first(BY_NAME, args![workspace.as_str(), name]).await? {
        return Ok(read(&row)?);
    }
    Err(no_export(tx, workspace, name).await?)
}

/// Returns the error for an export that is not there.
pub(crate) async fn no_export(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<LedgerError, Error> {
    let sql = "SELECT name FROM export WHERE workspace = $1 AND deleted_name IS NULL LIMIT $2";
    let rows = tx.all(sql, args![workspace.as_str(), NAMES_MAX]).await?;
    let names: Vec<_> = rows.iter().map(|row| row.text("name")).collect::<Result<_, _>>()?;
    let nearest = nearest(name, names);
    Ok(LedgerError::NotFound { what: "export", name: name.into(), nearest })
}

/// Returns every saved export of a workspace by name.
pub(super) async fn all(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<Vec<Export>, Error> {
    let sql = select!("WHERE workspace = $1 AND deleted_name IS NULL ORDER BY name");
    let rows = tx.all(sql, args![workspace.as_str()]).await?;
    rows.iter().map(read).collect()
}

/// Moves the cursor from exactly `from` to `to`; returns where it was instead if it was not there.
pub(super) async fn advance(
    tx: &mut Transaction,
    export: &ExportId,
    run: &RunId,
    (from, to): (CommitNumber, CommitNumber),
    now: DateTime<Utc>,
) -> Result<Result<(), CommitNumber>, Error> {
    let sql = "UPDATE export SET cursor_commit = $2, last_run = $3
               WHERE id = $1 AND cursor_commit = $4";
    if tx.execute(sql, args![export.as_str(), to.0, run.as_str(), from.0]).await? == 0 {
        let sql = "SELECT cursor_commit FROM export WHERE id = $1";
        let cursor = tx.one(sql, args![export.as_str()]).await?.count("cursor_commit")?;
        return Ok(Err(CommitNumber(cursor)));
    }
    pins::advance(tx, export, to, now).await?;
    let sql = "SELECT id FROM export WHERE id = $1 AND bound <= cursor_commit";
    if tx.first(sql, args![export.as_str()]).await?.is_some() {
        // It is at its end: nothing that comes is for it.
        pins::remove(tx, pins::Owner::Cursor(export)).await?;
    }
    Ok(Ok(()))
}

/// Gives an export another definition, which is no edit.
pub(super) async fn redefine(
    tx: &mut Transaction,
    export: &Export,
    definition: &Definition,
) -> Result<(), Error> {
    let (id, text) = (export.id.as_str(), definition_text(definition));
    let sql = "UPDATE export SET definition = $2 WHERE id = $1";
    tx.execute(sql, args![id, &text]).await?;
    let sql = "UPDATE export_version SET definition = $3 WHERE export = $1 AND version = $2";
    tx.execute(sql, args![id, export.version, &text]).await?;
    Ok(())
}

/// Returns whether an export is as its first run made it: nobody saved it.
pub(super) async fn is_of_first_run(tx: &mut Transaction, export: &Export) -> Result<bool, Error> {
    let sql = "SELECT author FROM export_version WHERE export = $1 AND version = $2";
    let row = tx.first(sql, args![export.id.as_str(), export.version]).await?;
    Ok(row.map(|row| row.text("author")).transpose()?.is_some_and(|author| author == FIRST_RUN))
}

/// Returns a definition as it is stored.
pub(crate) fn definition_text(definition: &Definition) -> String {
    serde_json::to_string(definition).expect("a definition has only string keys")
}

fn schedule_text(schedule: &Schedule) -> String {
    serde_json::to_string(schedule).expect("a schedule has only string keys")
}

fn read(row: &Row) -> Result<Export, Error> {
    Ok(Export {
        id: ExportId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        name: row.text("name")?,
        definition: row.json("definition")?,
        cursor: CommitNumber(row.count("cursor_commit")?),
        last_run: row.text_or_null("last_run")?.map(RunId::new),
        created_at: row.at("created_at")?,
        began: CommitNumber(row.count("began")?),
        bound: row
            .int_or_null("bound")?
            .map(|_| row.count("bound").map(CommitNumber))
            .transpose()?,
        group: row.text_or_null("group_name")?,
        version: row.count("version")?,
        schedule: row.json("schedule")?,
        watches: row.text_or_null("watches")?.map(DatasetId::new),
        state: row.word("state")?,
        reason: row.text_or_null("reason")?,
        failures: row.count("failures")?,
        next_at: row.at_or_null("next_at")?,
        covered: row.at_or_null("covered")?,
    })
}
