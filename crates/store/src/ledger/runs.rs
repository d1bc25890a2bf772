//! Reading runs, and asking them to stop.

use chrono::{DateTime, TimeDelta, Utc};
use model::limits::{CLEAN_DAYS, LATE_HOURS};
use model::ports::LedgerError;
use model::run::{FrozenManifest, Run, RunState, Sidecar};
use model::{CommitNumber, ExportId, RunId, WorkspaceId};

use crate::database::{Error, Row, Sql, Transaction, args, truncate};
use crate::names::nearest;

/// Runs that a "did you mean" looks at, newest first.
const NEAREST_MAX: u32 = 1000;

/// Every column of a run, with its plan and its manifest.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT r.id, r.workspace, r.export, COALESCE(e.deleted_name, e.name) AS export_name, r.definition, r.advance,
                 r.state, r.from_commit, r.to_commit, r.epoch, r.lease_until, r.cancel_asked,
                 r.error, r.owner, r.created_at, r.ended_at, p.body AS plan,
                 m.body AS manifest_body, m.sha256, m.row_count, m.byte_count, m.file_count,
                 m.sidecar_name, m.sidecar_body
             FROM run r
             LEFT JOIN export e ON e.id = r.export
             LEFT JOIN run_plan p ON p.run = r.id
             LEFT JOIN run_manifest m ON m.run = r.id ",
            $tail
        )
    };
}

pub(super) async fn by_id(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<Run, LedgerError> {
    match find(tx, workspace, id).await? {
        Some(run) => Ok(run),
        None => Err(no_run(tx, workspace, id).await?),
    }
}

pub(super) async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<Option<Run>, Error> {
    let sql = select!("WHERE r.workspace = $1 AND r.id = $2");
    let rows = tx.all(sql, args![workspace.as_str(), id.as_str()]).await?;
    Ok(read_all(tx, &rows).await?.pop())
}

/// Fails unless the run exists.
pub(super) async fn check(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<(), LedgerError> {
    present(tx, workspace, id, "SELECT opened FROM run WHERE workspace = $1 AND id = $2".into())
        .await
        .map(|_| ())
}

/// Locks the run's row until the transaction ends.
pub(super) async fn lock(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<(), LedgerError> {
    let sql = "SELECT opened FROM run WHERE workspace = $1 AND id = $2";
    present(tx, workspace, id, Sql::for_update(sql)).await.map(|_| ())
}

async fn present(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
    sql: Sql,
) -> Result<i64, LedgerError> {
    match tx.first(sql, args![workspace.as_str(), id.as_str()]).await? {
        Some(row) => Ok(row.int("opened")?),
        None => Err(no_run(tx, workspace, id).await?),
    }
}

pub(super) async fn cleaned(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let sql = "UPDATE run SET cleaned_at = $3
               WHERE workspace = $1 AND id = $2 AND state IN ('failed', 'cancelled')";
    tx.execute(sql, args![workspace.as_str(), id.as_str(), truncate(now)]).await?;
    Ok(())
}

pub(super) async fn uncleaned(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<RunId>, LedgerError> {
    let sql = "SELECT id FROM run
               WHERE workspace = $1 AND state IN ('failed', 'cancelled') AND ended_at >= $2
                   AND (cleaned_at IS NULL OR (cleaned_at < ended_at + $3 AND ended_at <= $4))
               ORDER BY ended_at LIMIT $5";
    let late = TimeDelta::hours(LATE_HOURS);
    let since = truncate(now - TimeDelta::days(CLEAN_DAYS));
    let values =
        args![workspace.as_str(), since, LATE_HOURS * 3_600_000_000, truncate(now - late), limit];
    let rows = tx.all(sql, values).await?;
    rows.iter().map(|row| Ok(RunId::new(row.text("id")?))).collect()
}

/// Returns the error for a run that does not exist.
pub(super) async fn no_run(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<LedgerError, LedgerError> {
    let sql = "SELECT id FROM run WHERE workspace = $1 ORDER BY opened DESC LIMIT $2";
    let rows = tx.all(sql, args![workspace.as_str(), NEAREST_MAX]).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.text("id")).collect::<Result<_, _>>()?;
    let nearest = nearest(id.as_str(), ids);
    Ok(LedgerError::NotFound { what: "run", name: id.to_string(), nearest })
}

/// Returns a run's place in the order of opening; behind every one without a run.
pub(super) async fn opened(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: Option<&RunId>,
) -> Result<i64, LedgerError> {
    let sql = "SELECT opened FROM run WHERE workspace = $1 AND id = $2";
    match id {
        None => Ok(i64::MAX),
        Some(id) => present(tx, workspace, id, sql.into()).await,
    }
}

pub(super) async fn page(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    before: Option<&RunId>,
    limit: u32,
) -> Result<Vec<Run>, LedgerError> {
    let before = opened(tx, workspace, before).await?;
    let sql = select!("WHERE r.workspace = $1 AND r.opened < $2 ORDER BY r.opened DESC LIMIT $3");
    let rows = tx.all(sql, args![workspace.as_str(), before, limit]).await?;
    Ok(read_all(tx, &rows).await?)
}

/// Returns the open run that moves the export's cursor; none also for an export that is not saved yet.
pub(crate) async fn open_of(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    export: &str,
) -> Result<Option<Run>, LedgerError> {
    let sql = select!(
        "WHERE e.workspace = $1 AND e.name = $2 AND r.advance = 'cursor'
             AND r.state IN ('planning', 'running', 'sealing')"
    );
    let rows = tx.all(sql, args![workspace.as_str(), export]).await?;
    Ok(read_all(tx, &rows).await?.pop())
}

/// Returns whether any run of the export is open.
pub(super) async fn any_open_of(tx: &mut Transaction, export: &ExportId) -> Result<bool, Error> {
    Ok(one_open_of(tx, export).await?.is_some())
}

/// Returns an open run of an export, whether it moves the cursor or not.
pub(crate) async fn one_open_of(
    tx: &mut Transaction,
    export: &ExportId,
) -> Result<Option<RunId>, Error> {
    let sql = "SELECT id FROM run WHERE export = $1
                   AND state IN ('planning', 'running', 'sealing') LIMIT 1";
    let row = tx.first(sql, args![export.as_str()]).await?;
    row.map(|row| row.text("id").map(RunId::new)).transpose()
}

/// Returns the last sealed run that moved the export's cursor to `to`. Several may have, when a run over
/// an empty range followed.
pub(super) async fn sealed_at(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    export: &str,
    to: CommitNumber,
) -> Result<Option<Run>, LedgerError> {
    let sql = select!(
        "WHERE e.workspace = $1 AND e.name = $2 AND r.advance = 'cursor'
             AND r.state = 'sealed' AND r.to_commit = $3
         ORDER BY r.opened DESC LIMIT 1"
    );
    let rows = tx.all(sql, args![workspace.as_str(), export, to.0]).await?;
    Ok(read_all(tx, &rows).await?.pop())
}

pub(super) async fn ask_cancel(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &RunId,
) -> Result<Run, LedgerError> {
    lock(tx, workspace, id).await?;
    let mut run = by_id(tx, workspace, id).await?;
    if !run.state.may_become(RunState::Cancelled) {
        let (run, state) = (run.id, run.state);
        return Err(LedgerError::State { run, state, wanted: "be cancelled" });
    }
    let sql = "UPDATE run SET cancel_asked = 1 WHERE id = $1";
    tx.execute(sql, args![id.as_str()]).await?;
    run.cancel_asked = true;
    Ok(run)
}

async fn read_all(tx: &mut Transaction, rows: &[Row]) -> Result<Vec<Run>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let now = tx.clock().await?;
    rows.iter().map(|row| read(row, now)).collect()
}

fn read(row: &Row, now: i64) -> Result<Run, Error> {
    let state: RunState = row.word("state")?;
    let plan = row.text_or_null("plan")?.map(|_| row.json("plan")).transpose()?;
    Ok(Run {
        id: RunId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        export: row.text_or_null("export")?.map(ExportId::new),
        export_name: row.text_or_null("export_name")?,
        definition: row.json("definition")?,
        advance: row.word("advance")?,
        state,
        from: CommitNumber(row.count("from_commit")?),
        to: CommitNumber(row.count("to_commit")?),
        epoch: row.count("epoch")?,
        cancel_asked: row.int("cancel_asked")? != 0,
        plan,
        manifest: read_manifest(row)?,
        error: row.text_or_null("error")?,
        owner: row.text("owner")?,
        leased: row.int("lease_until")? > now && !state.is_final(),
        created_at: row.at("created_at")?,
        ended_at: row.at_or_null("ended_at")?,
    })
}

fn read_manifest(row: &Row) -> Result<Option<FrozenManifest>, Error> {
    let Some(text) = row.text_or_null("manifest_body")? else { return Ok(None) };
    let sidecar = match row.text_or_null("sidecar_name")? {
        Some(name) => Some(Sidecar { name, text: row.text("sidecar_body")? }),
        None => None,
    };
    Ok(Some(FrozenManifest {
        text,
        sha256: row.text("sha256")?,
        rows: row.count("row_count")?,
        bytes: row.count("byte_count")?,
        files: row.count("file_count")?,
        sidecar,
    }))
}
