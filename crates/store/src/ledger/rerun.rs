//! Opening a run that writes the files of a sealed one again.
//!
//! The plan and the parts are copied as the sealed run left them, so that each part reads the same rows of the same files. Those are there for as
//! long as the sealed run's pin is kept.

use model::export::{Advance, NewRun, Rerun};
use model::limits::RERUN_PARTS_MAX;
use model::ports::{LedgerError, Opened};
use model::run::{Plan, Run, RunState};

use super::{keys, lease, open, parts, pins, runs};
use crate::database::{Error, Transaction, args, truncate};
use crate::jobs;

pub(super) async fn open(tx: &mut Transaction, rerun: &Rerun) -> Result<Opened, LedgerError> {
    let (_, place) = open::take_head(tx, &rerun.workspace).await?;
    if let Some(run) = runs::find(tx, &rerun.workspace, &rerun.id).await? {
        tx.undo();
        return repeated(run);
    }
    let old = runs::by_id(tx, &rerun.workspace, &rerun.of).await?;
    let new = new(rerun, &old);
    if let Some(key) = &new.key {
        keys::take(tx, &new, key).await?;
    }
    let (RunState::Sealed, Some(plan)) = (old.state, &old.plan) else {
        return Err(LedgerError::State { run: old.id, state: old.state, wanted: "be run again" });
    };
    let parts = parts::sums(tx, &old.id).await?.parts;
    if parts > RERUN_PARTS_MAX {
        return Err(LedgerError::ManyParts { run: old.id, parts });
    }
    if !is_kept(tx, rerun).await? {
        return Err(LedgerError::Gone { run: old.id });
    }
    open::insert(tx, &new, old.export.as_ref(), place, (old.from, old.to)).await?;
    jobs::opened(tx, &new, old.export.as_ref(), place).await?;
    pins::copy(tx, (&old.id, &new.id), truncate(new.now)).await?;
    copy(tx, plan, (&old, &new)).await?;
    let run = runs::by_id(tx, &new.workspace, &new.id).await?;
    Ok(Opened { lease: lease::of(&run), run })
}

/// Answers a repeat of the same call after its first answer was lost.
fn repeated(run: Run) -> Result<Opened, LedgerError> {
    if run.epoch > 1 {
        return Err(LedgerError::Fenced { run: run.id });
    }
    if run.state != RunState::Running {
        return Err(LedgerError::State { run: run.id, state: run.state, wanted: "be opened" });
    }
    Ok(Opened { lease: lease::of(&run), run })
}

fn new(rerun: &Rerun, old: &Run) -> NewRun {
    NewRun {
        id: rerun.id.clone(),
        workspace: rerun.workspace.clone(),
        export: old.export_name.clone(),
        definition: old.definition.clone(),
        advance: if old.advance == Advance::Cursor { Advance::Again } else { old.advance },
        from: Some(old.from),
        to: Some(old.to),
        now: rerun.now,
        owner: rerun.owner.clone(),
        key: rerun.key.clone(),
        version: None,
        slot: None,
    }
}

async fn is_kept(tx: &mut Transaction, rerun: &Rerun) -> Result<bool, Error> {
    let sql = "SELECT owner FROM pin
               WHERE owner_kind = 'kept' AND owner = $1 AND created_at >= $2";
    let values = args![rerun.of.as_str(), truncate(rerun.kept_since)];
    Ok(tx.first(sql, values).await?.is_some())
}

async fn copy(tx: &mut Transaction, plan: &Plan, (old, new): (&Run, &NewRun)) -> Result<(), Error> {
    let sql = "INSERT INTO part (run, sequence, split, name, inputs, rows_planned)
               SELECT $2, sequence, split, name, inputs, rows_planned FROM part WHERE run = $1";
    tx.execute(sql, args![old.id.as_str(), new.id.as_str()]).await?;
    // What was split is planned as it came out.
    let plan = Plan { parts: parts::sums(tx, &new.id).await?.parts, ..plan.clone() };
    let body = serde_json::to_string(&plan).expect("a plan has only string keys");
    tx.execute("INSERT INTO run_plan (run, body) VALUES ($1, $2)", args![new.id.as_str(), body])
        .await?;
    let sql = "UPDATE run SET state = $2 WHERE id = $1";
    tx.execute(sql, args![new.id.as_str(), RunState::Running.as_str()]).await?;
    Ok(())
}
