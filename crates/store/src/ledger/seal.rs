//! The steps of a run's life: planned, frozen, sealed, or ended before that.
//!
//! A step that was made is made again without effect, if what it wrote is what is asked now.

use chrono::{DateTime, Utc};
use model::CommitNumber;
use model::dataset::{CommitKind, NewCommit};
use model::export::Advance;
use model::ports::{Lease, LedgerError};
use model::run::{FrozenManifest, Plan, RunState};

use super::lease::{self, Held};
use super::{exports, parts, pins, runs};
use crate::catalog;
use crate::database::{Error, Transaction, args, truncate};
use crate::jobs;

pub(super) async fn planned(
    tx: &mut Transaction,
    lease: &Lease,
    plan: &Plan,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    let wanted = "be planned";
    if held.state == RunState::Running {
        let run = runs::by_id(tx, &held.workspace, &held.run).await?;
        return if run.plan.as_ref() == Some(plan) { Ok(()) } else { Err(held.refuse(wanted)) };
    }
    held.require(RunState::Planning, wanted)?;
    let sums = parts::sums(tx, &held.run).await?;
    if (sums.parts, sums.rows_planned) != (plan.parts, plan.rows) {
        return Err(held.unbalanced(format!(
            "the plan says {} parts and {} rows, the ledger has {} and {}",
            plan.parts, plan.rows, sums.parts, sums.rows_planned
        )));
    }
    let body = serde_json::to_string(plan).expect("a plan has only string keys");
    let sql = "INSERT INTO run_plan (run, body) VALUES ($1, $2)";
    tx.execute(sql, args![held.run.as_str(), body]).await?;
    become_state(tx, &held, RunState::Running).await?;
    Ok(())
}

pub(super) async fn freeze(
    tx: &mut Transaction,
    lease: &Lease,
    manifest: &FrozenManifest,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    let wanted = "be sealed";
    let run = match held.state {
        RunState::Running | RunState::Sealing => {
            runs::by_id(tx, &held.workspace, &held.run).await?
        }
        _ => return Err(held.refuse(wanted)),
    };
    if held.state == RunState::Sealing {
        let same = run.manifest.as_ref() == Some(manifest);
        return if same { Ok(()) } else { Err(held.refuse(wanted)) };
    }
    held.go_on()?;
    let planned = run.plan.as_ref().map_or(0, |plan| plan.rows);
    check_sums(&held, planned, &parts::sums(tx, &held.run).await?, manifest)?;
    let sql = "INSERT INTO run_manifest (run, body, sha256, row_count, byte_count, file_count,
                   sidecar_name, sidecar_body)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let sidecar = manifest.sidecar.as_ref();
    let values = args![
        held.run.as_str(),
        &manifest.text,
        &manifest.sha256,
        manifest.rows,
        manifest.bytes,
        manifest.files,
        sidecar.map(|sidecar| sidecar.name.as_str()),
        sidecar.map(|sidecar| sidecar.text.as_str())
    ];
    tx.execute(sql, values).await?;
    become_state(tx, &held, RunState::Sealing).await?;
    Ok(())
}

fn check_sums(
    held: &Held,
    rows_planned: u64,
    sums: &parts::Sums,
    manifest: &FrozenManifest,
) -> Result<(), LedgerError> {
    if sums.written != sums.parts {
        let what = format!("{} of {} parts are written", sums.written, sums.parts);
        return Err(held.unbalanced(what));
    }
    let pairs = [
        ("rows read", sums.rows_read, "the plan", rows_planned),
        ("rows", sums.rows, "the manifest", manifest.rows),
        ("bytes", sums.bytes, "the manifest", manifest.bytes),
        ("files", sums.files, "the manifest", manifest.files),
    ];
    match pairs.into_iter().find(|(_, is, _, said)| is != said) {
        None => Ok(()),
        Some((what, is, who, said)) => {
            Err(held.unbalanced(format!("the parts have {is} {what}, {who} says {said}")))
        }
    }
}

pub(super) async fn sealed(
    tx: &mut Transaction,
    lease: &Lease,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    if held.state == RunState::Sealed {
        return Ok(());
    }
    held.require(RunState::Sealing, "be sealed")?;
    let now = truncate(now);
    if let (Advance::Cursor, Some(export)) = (held.advance, &held.export) {
        let moved = exports::advance(tx, export, &held.run, (held.from, held.to), now).await?;
        if let Err(cursor) = moved {
            let from = held.from;
            return Err(held.unbalanced(format!("it begins at {from}, the cursor is at {cursor}")));
        }
    }
    if let Some(export) = &held.export {
        let sql = "UPDATE export SET failures = 0, reason = NULL WHERE id = $1 AND failures > 0 AND state <> 'broken'";
        tx.execute(sql, args![export.as_str()]).await?;
    }
    finish(tx, &held, RunState::Sealed, None, now).await?;
    Ok(())
}

pub(super) async fn seal_into(
    tx: &mut Transaction,
    lease: &Lease,
    manifest: &FrozenManifest,
    commits: &[NewCommit],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    // Rows are locked in one order: the workspace before its runs.
    catalog::lock(tx, &lease.workspace).await?;
    let held = lease::hold(tx, lease).await?;
    if held.state == RunState::Sealed {
        return Ok(());
    }
    held.require(RunState::Running, "be sealed")?;
    freeze(tx, lease, manifest).await?;
    // Its rows are in the lake now: it is not run again.
    pins::remove(tx, pins::Owner::Run(&held.run)).await?;
    for commit in commits {
        if commit.kind == CommitKind::Replace {
            check_newest(tx, &held, commit).await?;
        }
    }
    let (first, rest) = commits.split_first().map_or((None, &[][..]), |(a, b)| (Some(a), b));
    let all_at_once: Vec<&NewCommit> = rest.iter().collect();
    let is_own = commits.iter().all(|commit| commit.workspace == held.workspace);
    let mut made = is_own;
    if let Some(first) = first {
        made &= catalog::commit(tx, first, now).await?;
    }
    if !catalog::appends(tx, &all_at_once, now).await? {
        // One by one they say what stands against them.
        for one in rest {
            catalog::commit(tx, one, now).await?;
        }
        made = false;
    }
    if !made {
        return Err(held.unbalanced("its files are in the lake, and it is not sealed".into()));
    }
    sealed(tx, lease, now).await
}

/// Refuses to put the rows of an older snapshot in the place of newer ones.
///
/// The commit that made the dataset counts as a replacement, of nothing: else, of two runs that find no dataset, the older
/// one could replace what the newer one made it with.
async fn check_newest(
    tx: &mut Transaction,
    held: &Held,
    commit: &NewCommit,
) -> Result<(), LedgerError> {
    let sql = "SELECT COALESCE(MAX(number), 0) AS newest FROM lake_commit
               WHERE workspace = $1 AND dataset = $2 AND (kind = 'replace' OR number =
                   (SELECT MIN(number) FROM lake_commit WHERE workspace = $1 AND dataset = $2))";
    let values = args![held.workspace.as_str(), commit.dataset.as_str()];
    let newest = CommitNumber(tx.one(sql, values).await?.count("newest")?);
    if newest <= held.to {
        return Ok(());
    }
    Err(LedgerError::Replaced { run: held.run.clone(), to: held.to, commit: newest })
}

pub(super) async fn end(
    tx: &mut Transaction,
    lease: &Lease,
    state: RunState,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    let wanted = match state {
        RunState::Failed => "fail",
        RunState::Cancelled => "be cancelled",
        _ => return Err(held.refuse("end without being sealed, failed or cancelled")),
    };
    if held.state == state && held.error.as_deref() == Some(reason) {
        return Ok(());
    }
    if !held.state.may_become(state) {
        return Err(held.refuse(wanted));
    }
    finish(tx, &held, state, Some(reason), truncate(now)).await?;
    Ok(())
}

async fn finish(
    tx: &mut Transaction,
    held: &Held,
    state: RunState,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let sql = "UPDATE run SET state = $2, error = $3, ended_at = $4, lease_until = 0 WHERE id = $1";
    tx.execute(sql, args![held.run.as_str(), state.as_str(), reason, now]).await?;
    let of_ticket = jobs::ended(tx, &held.run, (state, reason), now).await?;
    match state {
        // A ticket is drawn anew instead of being written again.
        RunState::Sealed if !of_ticket => pins::keep(tx, &held.run).await,
        _ => pins::remove(tx, pins::Owner::Run(&held.run)).await,
    }
}

async fn become_state(tx: &mut Transaction, held: &Held, state: RunState) -> Result<(), Error> {
    debug_assert!(held.state.may_become(state), "callers have checked the state");
    let sql = "UPDATE run SET state = $2 WHERE id = $1";
    tx.execute(sql, args![held.run.as_str(), state.as_str()]).await?;
    Ok(())
}
