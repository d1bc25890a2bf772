//! Deletes data files that nobody needs, and nothing else.
//!
//! Three kinds: files that were merged, once no run may be reading them; files whose rows ended, once their
//! time in older snapshots is over; files that an import or a compaction which died has left. What goes is
//! noted in the catalog first, deleted, then forgotten, so a crash in between only leaves work for the next.

use chrono::TimeDelta;
use futures::TryStreamExt;
use model::limits::{ENDED_DAYS, LEFTOVER_HOURS, MERGED_SECONDS, SWEEP_FILES};
use model::ports::{Doomed, Spare, Swept};
use model::{Code, Fault, ObjectKey, PortError, WorkspaceId};
use object_store::path::Path;

use crate::Lake;

/// Deletes what may go.
pub(super) async fn sweep(lake: &Lake, workspace: &WorkspaceId) -> Result<Swept, PortError> {
    leftovers(lake, workspace).await?;
    let now = lake.clock.now();
    let spare = Spare {
        merged_before: now - TimeDelta::seconds(MERGED_SECONDS),
        ended_before: now - TimeDelta::days(ENDED_DAYS),
    };
    let mut swept = Swept::default();
    loop {
        let doomed = lake.catalog.doom(workspace, &spare, SWEEP_FILES).await?;
        if doomed.is_empty() {
            return Ok(swept);
        }
        for object in &doomed {
            lake.objects.delete(&object.key).await?;
            swept.files += 1;
            swept.bytes += object.bytes;
        }
        let keys: Vec<ObjectKey> = doomed.into_iter().map(|object| object.key).collect();
        lake.catalog.forget(workspace, &keys).await?;
    }
}

/// Dooms old objects that nothing names.
async fn leftovers(lake: &Lake, workspace: &WorkspaceId) -> Result<(), PortError> {
    let before = lake.clock.now() - TimeDelta::hours(LEFTOVER_HOURS);
    let folder = Path::from("data");
    let mut objects = lake.reader.list(Some(&folder));
    let mut page = Vec::new();
    let failed = |error: object_store::Error| {
        let message = "could not list the data files of the lake";
        PortError::caused(Code::Internal, Fault::Own, message, error)
    };
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        if object.last_modified < before {
            let key = ObjectKey::new(object.location.to_string());
            page.push(Doomed { key, bytes: object.size });
        }
        if page.len() >= SWEEP_FILES as usize {
            doom(lake, workspace, &mut page).await?;
        }
    }
    doom(lake, workspace, &mut page).await
}

async fn doom(
    lake: &Lake,
    workspace: &WorkspaceId,
    page: &mut Vec<Doomed>,
) -> Result<(), PortError> {
    let objects = std::mem::take(page);
    if !objects.is_empty() {
        lake.catalog.doom_leftovers(workspace, &objects, lake.clock.now()).await?;
    }
    Ok(())
}
