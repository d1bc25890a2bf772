//! Runs as they are looked at: the store as a [`Runs`].
//!
//! The texts of plans and manifests stay where they are: a status is asked for often, and they may be long.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::export::Export;
use model::part::Receipt;
use model::ports::{LedgerError, Runs};
use model::run::{RunProgress, RunState, RunStatus, Sums};
use model::{CommitNumber, RunId, WorkspaceId};

use super::{exports, keys, parts, runs};
use crate::Store;
use crate::database::{Error, Row, Transaction, args};

/// The columns of a status.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT r.id, COALESCE(e.deleted_name, e.name) AS export_name, r.definition, r.advance, r.state, r.from_commit,
                 r.to_commit, r.lease_until, r.cancel_asked, r.error, r.created_at, r.ended_at,
                 m.sha256, m.row_count, m.byte_count, m.file_count, j.error AS delay
             FROM run r
             LEFT JOIN export e ON e.id = r.export
             LEFT JOIN run_manifest m ON m.run = r.id
             LEFT JOIN job j ON j.kind = 'run' AND j.subject = r.id ",
            $tail
        )
    };
}

#[async_trait]
impl Runs for Store {
    async fn status(&self, workspace: &WorkspaceId, run: &RunId) -> Result<RunStatus, LedgerError> {
        let tx = &mut self.database.read().await?;
        let status = by_id(tx, workspace, run).await?;
        Ok(RunStatus { progress: Some(progress(tx, run).await?), ..status })
    }

    async fn brief(&self, workspace: &WorkspaceId, run: &RunId) -> Result<RunStatus, LedgerError> {
        by_id(&mut self.database.read().await?, workspace, run).await
    }

    async fn statuses(
        &self,
        workspace: &WorkspaceId,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<RunStatus>, LedgerError> {
        let tx = &mut self.database.read().await?;
        let before = runs::opened(tx, workspace, before).await?;
        let sql =
            select!("WHERE r.workspace = $1 AND r.opened < $2 ORDER BY r.opened DESC LIMIT $3");
        let rows = tx.all(sql, args![workspace.as_str(), before, limit]).await?;
        let now = tx.clock().await?;
        Ok(rows.iter().map(|row| read(row, now)).collect::<Result<_, _>>()?)
    }

    async fn exports(&self, workspace: &WorkspaceId) -> Result<Vec<Export>, LedgerError> {
        Ok(exports::all(&mut self.database.read().await?, workspace).await?)
    }

    async fn unfinished_count(&self, workspace: &WorkspaceId) -> Result<u64, LedgerError> {
        let sql = "SELECT COUNT(*) AS n FROM run
                   WHERE workspace = $1 AND state IN ('planning', 'running', 'sealing')";
        let tx = &mut self.database.read().await?;
        Ok(tx.one(sql, args![workspace.as_str()]).await?.count("n")?)
    }

    async fn files(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        first: u64,
        limit: u32,
    ) -> Result<Vec<Receipt>, LedgerError> {
        let tx = &mut self.database.read().await?;
        runs::check(tx, workspace, run).await?;
        let Some(before) = first.checked_sub(1).and_then(|n| i64::try_from(n).ok()) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT receipt FROM part WHERE run = $1 AND written = 1 AND rows_out > 0
                   ORDER BY sequence, split LIMIT $2 OFFSET $3";
        let rows = tx.all(sql, args![run.as_str(), limit, before]).await?;
        Ok(rows.iter().map(|row| row.json("receipt")).collect::<Result<_, _>>()?)
    }

    async fn keyed(
        &self,
        workspace: &WorkspaceId,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(String, RunId)>, LedgerError> {
        Ok(keys::find(&mut self.database.read().await?, workspace, key, now).await?)
    }
}

async fn by_id(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<RunStatus, LedgerError> {
    let sql = select!("WHERE r.workspace = $1 AND r.id = $2");
    let Some(row) = tx.first(sql, args![workspace.as_str(), run.as_str()]).await? else {
        return Err(runs::no_run(tx, workspace, run).await?);
    };
    let now = tx.clock().await?;
    Ok(read(&row, now)?)
}

async fn progress(tx: &mut Transaction, run: &RunId) -> Result<RunProgress, Error> {
    let parts::Sums { parts, written, rows_planned, rows_read, rows, bytes, .. } =
        parts::sums(tx, run).await?;
    Ok(RunProgress { parts, parts_written: written, rows_planned, rows_read, rows, bytes })
}

fn read(row: &Row, now: i64) -> Result<RunStatus, Error> {
    let state: RunState = row.word("state")?;
    Ok(RunStatus {
        id: RunId::new(row.text("id")?),
        export_name: row.text_or_null("export_name")?,
        definition: row.json("definition")?,
        advance: row.word("advance")?,
        state,
        from: CommitNumber(row.count("from_commit")?),
        to: CommitNumber(row.count("to_commit")?),
        cancel_asked: row.int("cancel_asked")? != 0,
        leased: row.int("lease_until")? > now && !state.is_final(),
        error: row.text_or_null("error")?,
        delay: row.text_or_null("delay")?,
        created_at: row.at("created_at")?,
        ended_at: row.at_or_null("ended_at")?,
        sums: sums(row)?,
        progress: None,
    })
}

fn sums(row: &Row) -> Result<Option<Sums>, Error> {
    let Some(sha256) = row.text_or_null("sha256")? else { return Ok(None) };
    Ok(Some(Sums {
        sha256,
        rows: row.count("row_count")?,
        bytes: row.count("byte_count")?,
        files: row.count("file_count")?,
    }))
}
