//! Says how a dataset is kept, and whether its files are what the catalog says.

use futures::{StreamExt, TryStreamExt};
use model::dataset::DataFile;
use model::ports::{CatalogError, Damage, Health, ObjectError, Progress, Scrub, Size};
use model::{DatasetId, FileId, PortError, WorkspaceId};
use sha2::{Digest, Sha256};

use super::compact::{Bounds, groups, sealed};
use crate::Lake;

/// Sizes by which files are told apart.
const SIZES: [u64; 4] = [1 << 20, 8 << 20, 64 << 20, 512 << 20];

/// Files looked up at once.
const PAGE: u32 = 1000;

/// Files looked at at the same time.
const AT_ONCE: usize = 4;

/// Bytes read at once.
const READ_BYTES: u64 = 8 << 20;

pub(super) async fn health(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Health, PortError> {
    let snapshot = sealed(lake, workspace, name).await?;
    let dataset = &snapshot.dataset;
    let tail = lake.catalog.unsealed(&dataset.id).await?;
    let groups = groups(&snapshot.files, &Bounds::of(lake, &snapshot));
    let merging: usize = groups.iter().map(|group| group.len()).sum();
    Ok(Health {
        tail,
        sizes: sizes(&snapshot.files),
        mergeable: merging as u64 + tail.files,
        merged: groups.len() as u64 + u64::from(tail.files > 0),
        pins: lake.catalog.pins(workspace, &dataset.id).await?,
    })
}

fn sizes(files: &[DataFile]) -> Vec<Size> {
    let limits = SIZES.into_iter().map(Some).chain([None]);
    let mut sizes: Vec<Size> =
        limits.map(|up_to| Size { up_to, files: 0, rows: 0, bytes: 0 }).collect();
    for file in files {
        let size = &mut sizes[SIZES.partition_point(|most| *most < file.bytes)];
        size.files += 1;
        size.rows += file.rows;
        size.bytes += file.bytes;
    }
    sizes.retain(|size| size.files > 0);
    sizes
}

pub(super) async fn scrub(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
    (how, progress): (Scrub, &dyn Progress),
) -> Result<Vec<Damage>, PortError> {
    let dataset = lake.catalog.dataset(workspace, name).await?;
    let mut damages = if how == Scrub::Sums { tail(lake, &dataset.id).await? } else { Vec::new() };
    let mut last = None;
    loop {
        let page = lake.catalog.files(&dataset.id, last.as_ref(), PAGE).await?;
        let before: Vec<_> =
            std::iter::once(last).chain(page.iter().map(|file| Some(file.id.clone()))).collect();
        last = before.last().cloned().flatten().filter(|_| !page.is_empty());
        if last.is_none() {
            return Ok(damages);
        }
        let found = futures::stream::iter(before.into_iter().zip(page))
            .map(|(before, file)| async move {
                let Some(what) = look(lake, &file, how).await? else {
                    progress.add(file.rows, file.bytes);
                    return Ok::<_, PortError>(None);
                };
                Ok(is_listed(lake, &file, before).await?.then_some(Damage {
                    key: file.key,
                    rows: file.rows,
                    what,
                }))
            })
            .buffered(AT_ONCE);
        damages.extend(found.try_collect::<Vec<_>>().await?.into_iter().flatten());
    }
}

/// Returns whether a file is still in the catalog: it may have been merged and swept since it was listed.
async fn is_listed(
    lake: &Lake,
    file: &DataFile,
    mut after: Option<FileId>,
) -> Result<bool, PortError> {
    loop {
        let page = lake.catalog.files(&file.dataset, after.as_ref(), PAGE).await?;
        if page.iter().any(|listed| listed.id == file.id) {
            return Ok(true);
        }
        let Some(last) = page.last().filter(|last| last.id < file.id) else { return Ok(false) };
        after = Some(last.id.clone());
    }
}

/// Looks at what is in the tail.
async fn tail(lake: &Lake, dataset: &DatasetId) -> Result<Vec<Damage>, PortError> {
    let mut damages = Vec::new();
    for files in lake.catalog.tail_files(dataset).await?.chunks(PAGE as usize) {
        let ids: Vec<_> = files.iter().map(|file| file.id.clone()).collect();
        let bodies = match lake.catalog.tail(&ids).await {
            Ok(bodies) => bodies,
            // Sealed since: every one was decoded for that.
            Err(CatalogError::Moved) => continue,
            Err(error) => return Err(error.into()),
        };
        for (file, body) in files.iter().zip(bodies) {
            if model::digest::sha256_hex(&body) != file.sha256 {
                let what = "its bytes in the metadata database have changed".into();
                damages.push(Damage { key: file.key.clone(), rows: file.rows, what });
            }
        }
    }
    Ok(damages)
}

/// Says what is wrong with a file.
async fn look(lake: &Lake, file: &DataFile, how: Scrub) -> Result<Option<String>, PortError> {
    let Some(info) = lake.objects.info(&file.key).await? else {
        return Ok(Some("it is missing".into()));
    };
    if info.bytes != file.bytes {
        return Ok(Some(format!("it has {} bytes instead of {}", info.bytes, file.bytes)));
    }
    if how == Scrub::Sizes {
        return Ok(None);
    }
    let (mut sum, mut first) = (Sha256::new(), 0);
    while first < file.bytes {
        let end = file.bytes.min(first + READ_BYTES);
        match lake.objects.read(&file.key, first..end).await {
            Ok(bytes) => sum.update(&bytes),
            // Deleted since it was listed, or it cannot be read.
            Err(ObjectError::NotFound { .. }) => return Ok(Some("it is missing".into())),
            Err(error) => return Ok(Some(format!("it cannot be read: {error}"))),
        }
        first = end;
    }
    let is_same = model::digest::hex(&sum.finalize()) == file.sha256;
    Ok((!is_same).then(|| "its bytes have changed".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_size() {
        assert!(sizes(&[]).is_empty());
        assert_eq!(SIZES.partition_point(|most| *most < 1 << 20), 0);
        assert_eq!(SIZES.partition_point(|most| *most < (1 << 20) + 1), 1);
        assert_eq!(SIZES.partition_point(|most| *most < 1 << 30), 4);
    }
}
