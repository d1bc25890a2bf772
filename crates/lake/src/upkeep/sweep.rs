//! Deletes data files that nobody needs, and nothing else.
//!
//! Three kinds: files that were merged, once no run may be reading them; files whose rows ended, once their
//! time in older snapshots is over; files that an import or a compaction which died has left. What goes is
//! noted in the catalog first, deleted, then forgotten, so a crash in between only leaves work for the next.

use chrono::TimeDelta;
use futures::TryStreamExt;
use model::limits::{ENDED_DAYS, LEFTOVER_HOURS, MERGED_SECONDS, PIN_DAYS_MAX, SWEEP_FILES};
use model::ports::{Doomed, Spare, Swept};
use model::{Code, Fault, FileId, ObjectKey, PortError, WorkspaceId};
use object_store::path::Path;

use crate::Lake;

/// Deletes what may go.
pub(super) async fn sweep(lake: &Lake, workspace: &WorkspaceId) -> Result<Swept, PortError> {
    leftovers(lake, workspace).await?;
    doomed(lake, workspace).await
}

/// Deletes what the catalog knows that may go.
pub(super) async fn doomed(lake: &Lake, workspace: &WorkspaceId) -> Result<Swept, PortError> {
    let now = lake.clock.now();
    let spare = Spare {
        merged_before: now - TimeDelta::seconds(MERGED_SECONDS),
        ended_before: now - TimeDelta::days(ENDED_DAYS),
        pinned_since: now - TimeDelta::days(PIN_DAYS_MAX),
        kept_since: now - TimeDelta::days(lake.rerun_days),
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

/// Dooms old data files that nothing names, and removes old unfinished ones. Files with other names are not
/// ours.
async fn leftovers(lake: &Lake, workspace: &WorkspaceId) -> Result<(), PortError> {
    let before = lake.clock.now() - TimeDelta::hours(LEFTOVER_HOURS);
    let folder = Path::from("data");
    let mut objects = lake.reader.objects.list(Some(&folder));
    let mut page = Vec::new();
    let failed = |error: object_store::Error| {
        let message = "could not list the data files of the lake";
        PortError::caused(Code::Internal, Fault::Own, message, error)
    };
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        if object.last_modified >= before {
            continue;
        }
        match Name::of(&object.location) {
            Some(Name::Whole(key)) => page.push(Doomed { key, bytes: object.size }),
            Some(Name::Unfinished { key, token }) => lake.objects.abort(&key, &token).await?,
            None => {}
        }
        if page.len() >= SWEEP_FILES as usize {
            doom(lake, workspace, &mut page).await?;
        }
    }
    doom(lake, workspace, &mut page).await
}

/// What the name of an object says it is.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A data file.
    Whole(ObjectKey),
    /// A data file that was never finished, with what its upload carries.
    Unfinished { key: ObjectKey, token: String },
}

impl Name {
    fn of(path: &Path) -> Option<Self> {
        let name = path.filename()?;
        let (unfinished, rest) = name.strip_prefix('.').map_or((false, name), |rest| (true, rest));
        let id = rest.split('.').next().filter(|id| FileId::is_minted(id))?;
        let folder = path.as_ref().strip_suffix(name)?;
        let key = ObjectKey::new(format!("{folder}{id}.parquet"));
        let whole = format!("{id}.parquet");
        if unfinished && rest.starts_with(&whole) {
            return Some(Self::Unfinished { key, token: id.to_owned() });
        }
        (!unfinished && rest == whole).then_some(Self::Whole(key))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&Name>) {
        let found = Name::of(&Path::from(format!("data/ds_1/{name}")));
        assert_eq!(found.as_ref(), expected, "{name}");
    }

    #[test]
    fn only_names_of_ours_are_swept() {
        let id = FileId::mint();
        let key = ObjectKey::new(format!("data/ds_1/{id}.parquet"));
        check(&format!("{id}.parquet"), Some(&Name::Whole(key.clone())));
        let token = id.to_string();
        let unfinished = Name::Unfinished { key, token };
        check(&format!(".{id}.parquet.{id}.part"), Some(&unfinished));
        check(&format!(".{id}.parquet.{id}.3.part"), Some(&unfinished));
        for other in
            ["notes.txt", "fi_1.parquet", &format!("{id}.csv"), &format!("{id}.parquet.bak")]
        {
            check(other, None);
        }
    }
}
