//! Removes rows that are older than a time, exact to the row.
//!
//! Old is what the dataset's time column says, or the time of a row's commit where it has none. Rows without
//! a time stay. What an export still has to deliver is not removed: its cursor pins every row after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{cast, ident, lit};
use model::dataset::{CommitKind, CommitRun, DataFile, Dataset, NewCommit, Removal, Snapshot};
use model::limits::PIN_DAYS_MAX;
use model::ports::{Expired, PinOwner};
use model::{CommitNumber, PortError, WorkspaceId};

use super::rewrite::{Rewrite, rewrite};
use super::{Error, Sent, Silent, TRIES};
use crate::Lake;
use crate::bind::{between, bound_ticks, prune};
use crate::session::{self, Session, table_schema};
use crate::tail::Reader;

/// Removes the rows older than `before`.
pub(super) async fn expire(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
    before: DateTime<Utc>,
) -> Result<Expired, PortError> {
    for _ in 0..TRIES {
        let dataset = lake.catalog.dataset(workspace, name).await?;
        // Each file is written anew by itself, and those of the tail are many.
        lake.seal_dataset(workspace, &dataset.id).await?;
        let seen = lake.look(workspace, name, (CommitNumber(0), None)).await?;
        let found = find(lake, &seen, before).await?;
        if found.remove.is_empty() {
            return Ok(Expired { commit: None, rows: 0 });
        }
        if let Err(error) = check_cursors(lake, &dataset, &found.lost).await {
            lake.discard(&found.commit.files).await;
            return Err(error);
        }
        if let Sent::Made(commit) = lake.send(found.commit).await? {
            return Ok(Expired { commit: Some(commit.number), rows: commit.rows_removed });
        }
    }
    Err(Error::Busy { dataset: name.into() }.into())
}

/// What there is to be removed.
struct Found {
    remove: Vec<model::FileId>,
    commit: NewCommit,
    /// Rows that go, by commit.
    lost: BTreeMap<CommitNumber, u64>,
}

async fn find(
    lake: &Lake,
    (snapshot, reader): &(Snapshot, Reader),
    before: DateTime<Utc>,
) -> Result<Found, PortError> {
    let dataset = &snapshot.dataset;
    let new = NewCommit::new(dataset.workspace.clone(), CommitKind::Expire, dataset.id.clone());
    let mut found = Found { remove: Vec::new(), commit: new, lost: BTreeMap::new() };
    // It may have no columns yet.
    if snapshot.files.is_empty() {
        return Ok(found);
    }
    let old = match &dataset.time_column {
        Some(column) => old_rows(lake, dataset, column, before)?,
        None => None,
    };
    let by_time = dataset.time_column.is_some();
    let files = match &old {
        Some(old) => may_hold(reader, snapshot, old).await?,
        None if by_time => Vec::new(),
        None => snapshot.files.iter().collect(),
    };
    for file in files {
        let old_commits = !by_time && file.runs.iter().any(|run| run.time < before);
        if !by_time && !old_commits {
            continue;
        }
        let times: BTreeMap<_, _> = file.runs.iter().map(|run| (run.commit, run.time)).collect();
        let stays = |commit: CommitNumber| by_time || times[&commit] >= before;
        let files = std::slice::from_ref(file);
        let what = Rewrite { dataset, reader, files, stays: &stays, except: old.as_ref() };
        let anew = match rewrite(lake, what, &Silent).await {
            Ok(anew) => anew,
            Err(error) => {
                lake.discard(&found.commit.files).await;
                return Err(error);
            }
        };
        if let Some(anew) = anew.as_ref().filter(|anew| anew.rows == file.rows) {
            lake.discard(std::slice::from_ref(anew)).await;
            continue;
        }
        let kept = anew.as_ref().map(|anew| rows_of(&anew.runs, anew.rows)).unwrap_or_default();
        for (commit, rows) in rows_of(&file.runs, file.rows) {
            let lost = rows - kept.get(&commit).copied().unwrap_or(0);
            *found.lost.entry(commit).or_default() += lost;
        }
        found.remove.push(file.id.clone());
        found.commit.files.extend(anew);
    }
    found.commit.remove = Removal::Files(found.remove.clone());
    Ok(found)
}

/// Returns the rows of each commit.
fn rows_of(runs: &[CommitRun], rows: u64) -> BTreeMap<CommitNumber, u64> {
    let mut found = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        let end = runs.get(at + 1).map_or(rows, |next| next.first_row);
        *found.entry(run.commit).or_default() += end - run.first_row;
    }
    found
}

/// Returns the condition that old rows meet; none if no time that the column can hold is old.
fn old_rows(
    lake: &Lake,
    dataset: &Dataset,
    column: &str,
    before: DateTime<Utc>,
) -> Result<Option<Arc<dyn PhysicalExpr>>, PortError> {
    let schema = table_schema(&dataset.schema, true);
    let not_time = || Error::NotTime { dataset: dataset.name.clone(), column: column.into() };
    let kind = schema.field_with_name(column).map_err(|_| not_time())?.data_type().clone();
    let ticks = bound_ticks(before, &kind).ok_or_else(not_time)?;
    let bound = match (&kind, i64::try_from(ticks)) {
        (DataType::Date32, Ok(days)) => cast(cast(lit(days), DataType::Int32), kind.clone()),
        (_, Ok(ticks)) => cast(lit(ticks), kind.clone()),
        // The column cannot hold times as far away: all of its times are old, or none.
        (_, Err(_)) if ticks > 0 => cast(lit(i64::MAX), kind.clone()),
        (_, Err(_)) => return Ok(None),
    };
    let session = Session::new(lake.clock.now(), lake.limits(), None)?;
    let named = DFSchema::try_from(Arc::clone(&schema)).map_err(session::Error::planning)?;
    let old = session.state().create_physical_expr(ident(column).lt(bound), &named);
    Ok(Some(old.map_err(session::Error::planning)?))
}

/// Returns the files in which a row may be old.
async fn may_hold<'a>(
    reader: &Reader,
    snapshot: &'a Snapshot,
    old: &Arc<dyn PhysicalExpr>,
) -> Result<Vec<&'a DataFile>, PortError> {
    let schema = table_schema(&snapshot.dataset.schema, true);
    let all = between(&snapshot.files, CommitNumber(0), snapshot.at);
    let some = prune::prune(reader, (&schema, true), old, all).await?;
    let keys: std::collections::BTreeSet<_> =
        some.into_iter().map(|candidate| candidate.input.key).collect();
    Ok(snapshot.files.iter().filter(|file| keys.contains(&file.key)).collect())
}

/// Refuses to remove what an export has not delivered. One that has not run for long holds up nobody.
async fn check_cursors(
    lake: &Lake,
    dataset: &Dataset,
    lost: &BTreeMap<CommitNumber, u64>,
) -> Result<(), PortError> {
    let oldest = lake.clock.now() - TimeDelta::days(PIN_DAYS_MAX);
    for pin in lake.catalog.pins(&dataset.workspace, &dataset.id).await? {
        // An open run reads files that stay as long as it does.
        let PinOwner::Export(export) = pin.owner else { continue };
        let is_needed =
            |commit: CommitNumber| commit > pin.at && pin.until.is_none_or(|until| commit <= until);
        let newer = lost.iter().filter(|(commit, _)| is_needed(**commit));
        let rows: u64 = newer.map(|(_, rows)| rows).sum();
        if rows > 0 && pin.since >= oldest {
            return Err(Error::Pinned { export, cursor: pin.at, rows }.into());
        }
    }
    Ok(())
}
