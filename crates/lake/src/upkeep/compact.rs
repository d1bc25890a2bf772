//! Merges files with their neighbours.
//!
//! Rows keep their order and their commits, so a commit range is a row range before and after. A merged
//! file stands for its rows in every snapshot that showed them, and what it is made of leaves all of them:
//! no count, no increment and no older snapshot can tell that it happened.

use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use model::dataset::{CommitKind, CommitRun, DataFile, Dataset, NewCommit, Removal, Snapshot};
use model::limits::{
    COMPACT_BYTES, COMPACT_BYTES_MAX, COMPACT_COMMITS_MAX, COMPACT_FILES_MAX, COMPACT_SHARE,
    TEND_BYTES, TEND_FILES,
};
use model::ports::{CatalogError, Compacted, Progress};
use model::{CommitNumber, PortError, WorkspaceId};

use super::rewrite::{Rewrite, rewrite};
use super::{Error, Sent, Silent, sweep};
use crate::Lake;

/// Seals the tail, then merges what can be merged.
pub(super) async fn compact(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
    progress: &dyn Progress,
) -> Result<Compacted, PortError> {
    let dataset = lake.catalog.dataset(workspace, name).await?;
    let mut done = lake.seal_dataset(workspace, &dataset.id).await?;
    let snapshot = sealed(lake, workspace, name).await?;
    let groups = groups(&snapshot.files, &Bounds::of(lake, &snapshot));
    let overtaken = merge_all(lake, &snapshot, groups, &mut done, progress).await?;
    if overtaken && done.commits.is_empty() {
        return Err(Error::Overtaken { dataset: name.into() }.into());
    }
    Ok(done)
}

/// Seals the tail if that is due, and merges the smallest files where there are many.
pub(super) async fn tend(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
    commit: CommitNumber,
) -> Result<Compacted, PortError> {
    let dataset = lake.catalog.dataset(workspace, name).await?;
    let mut done = Compacted::default();
    if lake.is_seal_due(&dataset.id).await? {
        done = lake.seal_dataset(workspace, &dataset.id).await?;
    } else if !has_files(lake, &dataset, commit).await? {
        return Ok(done);
    }
    let snapshot = sealed(lake, workspace, name).await?;
    let groups = tiers(&snapshot.files, &Bounds::of(lake, &snapshot));
    if !groups.is_empty() {
        merge_all(lake, &snapshot, groups, &mut done, &Silent).await?;
        sweep::doomed(lake, workspace).await?;
    }
    Ok(done)
}

/// Returns whether a commit of the dataset has brought data files.
async fn has_files(
    lake: &Lake,
    dataset: &Dataset,
    commit: CommitNumber,
) -> Result<bool, CatalogError> {
    let before = CommitNumber(commit.0.saturating_sub(1));
    let found = lake.catalog.commits(&dataset.workspace, &dataset.name, before, 1).await?;
    Ok(found.iter().any(|found| found.number == commit && found.files > 0))
}

/// Returns the dataset as it is now, without what has come to the tail meanwhile.
pub(super) async fn sealed(
    lake: &Lake,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Snapshot, CatalogError> {
    let mut snapshot = lake.catalog.snapshot(workspace, name, None).await?;
    snapshot.files.retain(|file| !file.in_tail);
    Ok(snapshot)
}

/// Merges groups, each in a commit of its own; returns whether somebody else was faster with one. What they
/// have changed is left to the next time.
async fn merge_all(
    lake: &Lake,
    snapshot: &Snapshot,
    groups: Vec<&[DataFile]>,
    done: &mut Compacted,
    progress: &dyn Progress,
) -> Result<bool, PortError> {
    let mut overtaken = false;
    for group in groups {
        overtaken |= !merge(lake, snapshot, group, done, progress).await?;
    }
    Ok(overtaken)
}

/// Merges a group; returns whether nobody else was faster.
async fn merge(
    lake: &Lake,
    snapshot: &Snapshot,
    group: &[DataFile],
    done: &mut Compacted,
    progress: &dyn Progress,
) -> Result<bool, PortError> {
    let dataset = &snapshot.dataset;
    let what =
        Rewrite { dataset, reader: &lake.reader, files: group, stays: &|_| true, except: None };
    let file = rewrite(lake, what, progress).await?;
    let new = NewCommit {
        files: file.into_iter().collect(),
        remove: Removal::Files(group.iter().map(|file| file.id.clone()).collect()),
        ..NewCommit::new(dataset.workspace.clone(), CommitKind::Compact, dataset.id.clone())
    };
    let (files, bytes) =
        (new.files.len() as u64, new.files.iter().map(|file| file.bytes).sum::<u64>());
    let rows: u64 = new.files.iter().map(|file| file.rows).sum();
    match lake.send(new).await? {
        Sent::Made(commit) => {
            done.commits.push(commit.number);
            done.files_merged += group.len() as u64;
            done.files_written += files;
            done.rows += rows;
            done.bytes += bytes;
            Ok(true)
        }
        Sent::Moved => Ok(false),
    }
}

/// What may be merged at all.
pub(super) struct Bounds {
    /// Older snapshots cannot be read.
    horizon: CommitNumber,
    /// Commits since then keep files of their own.
    apart_since: Option<DateTime<Utc>>,
}

impl Bounds {
    pub(super) fn of(lake: &Lake, snapshot: &Snapshot) -> Self {
        let days = TimeDelta::days(lake.batch_days.into());
        let apart_since = (lake.batch_days > 0).then(|| lake.clock.now() - days);
        Self { horizon: snapshot.horizon, apart_since }
    }

    fn may_join(&self, files: &[DataFile]) -> bool {
        let is_apart = |run: &CommitRun| self.apart_since.is_some_and(|since| run.time >= since);
        !files.iter().any(|file| file.runs.iter().any(is_apart))
    }
}

/// Cuts files into groups to be merged: all that is worth it.
pub(super) fn groups<'a>(files: &'a [DataFile], bounds: &Bounds) -> Vec<&'a [DataFile]> {
    let mut out = Vec::new();
    for group in cut(files, bounds, |_| true) {
        worthwhile(files, &group, &mut out);
    }
    out
}

/// Returns the groups of many small files of the least size of which there are such groups.
fn tiers<'a>(files: &'a [DataFile], bounds: &Bounds) -> Vec<&'a [DataFile]> {
    let steps = [TEND_BYTES / COMPACT_SHARE.pow(2), TEND_BYTES / COMPACT_SHARE, TEND_BYTES];
    let of = |most: u64| {
        let groups = cut(files, bounds, |bytes| bytes <= most).into_iter();
        // Those of a fast stream are full of commits before they are many.
        let full = |group: &Vec<Range<usize>>| {
            let files = span(files, group).unwrap_or_default();
            let commits: usize = files.iter().map(|file| file.runs.len()).sum();
            let most = files.iter().map(|file| file.runs.len()).max().unwrap_or(0);
            commits > COMPACT_COMMITS_MAX / 2 && commits - most > COMPACT_COMMITS_MAX / 8
        };
        let many = groups.filter(|group| group.len() >= TEND_FILES || full(group));
        many.filter_map(|group| span(files, &group)).collect::<Vec<_>>()
    };
    steps.into_iter().map(of).find(|groups| !groups.is_empty()).unwrap_or_default()
}

/// Cuts files into groups that may be merged: neighbours, whole commits, not too large, of such sizes.
fn cut(
    files: &[DataFile],
    bounds: &Bounds,
    wanted: impl Fn(u64) -> bool,
) -> Vec<Vec<Range<usize>>> {
    let mut out = Vec::new();
    let mut group: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for atom in atoms(files) {
        let start = group.first().map_or(atom.start, |first| first.start);
        let more = size(&files[atom.clone()]);
        let wanted = wanted(more) && bounds.may_join(&files[atom.clone()]);
        let of_group = &files[start..atom.end];
        let joins = bytes < COMPACT_BYTES
            && bytes + more <= COMPACT_BYTES_MAX
            && of_group.len() <= COMPACT_FILES_MAX
            && of_group.iter().map(|file| file.runs.len()).sum::<usize>() <= COMPACT_COMMITS_MAX
            && fit(of_group, bounds.horizon);
        if !joins || !wanted {
            out.push(std::mem::take(&mut group));
            bytes = 0;
        }
        if wanted {
            group.push(atom);
            bytes += more;
        }
    }
    out.push(group);
    out
}

/// Returns the files of pieces that lie side by side.
fn span<'a>(files: &'a [DataFile], atoms: &[Range<usize>]) -> Option<&'a [DataFile]> {
    Some(&files[atoms.first()?.start..atoms.last()?.end])
}

fn size(files: &[DataFile]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// Returns the least pieces that hold whole commits.
fn atoms(files: &[DataFile]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut last = CommitNumber(0);
    for (at, file) in files.iter().enumerate() {
        let apart = file.runs.first().is_none_or(|first| last < first.commit);
        last = file.runs.last().map_or(last, |run| run.commit.max(last));
        match out.last_mut() {
            Some(atom) if !apart => atom.end = at + 1,
            _ => out.push(at..at + 1),
        }
    }
    out
}

/// Whether one file can stand for all of these in every snapshot: each of them does since its first row's
/// commit, or all since the same one. Where older snapshots cannot be read, they do not matter.
fn fit(files: &[DataFile], horizon: CommitNumber) -> bool {
    let least = files.iter().map(|file| file.added).min();
    files.iter().all(|file| {
        let own = file.runs.first().map(|run| run.commit);
        own == Some(file.added) || Some(file.added) == least || file.added <= horizon
    })
}

/// Adds a group to `out`, or what is on either side of a piece that is not worth writing again for the rest.
fn worthwhile<'a>(files: &'a [DataFile], atoms: &[Range<usize>], out: &mut Vec<&'a [DataFile]>) {
    let Some(group) = span(files, atoms) else { return };
    let all = size(group);
    let largest = atoms.iter().enumerate().max_by_key(|(_, atom)| size(&files[(*atom).clone()]));
    let Some((at, largest)) = largest else { return };
    let largest = if atoms.len() > 1 {
        size(&files[largest.clone()])
    } else {
        // One commit in several files; those of a large import are large enough.
        if all >= COMPACT_BYTES {
            return;
        }
        group.iter().map(|file| file.bytes).max().unwrap_or(0)
    };
    if largest <= (all - largest).saturating_mul(COMPACT_SHARE) {
        out.push(group);
    } else {
        worthwhile(files, &atoms[..at], out);
        worthwhile(files, &atoms[at + 1..], out);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::DateTime;
    use model::dataset::CommitRun;
    use model::{BatchId, DatasetId, FileId, ObjectKey, SchemaId};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn file(added: u64, commits: &[u64], bytes: u64) -> DataFile {
        let run = |(at, commit): (usize, &u64)| CommitRun {
            commit: CommitNumber(*commit),
            time: DateTime::UNIX_EPOCH,
            first_row: at as u64,
        };
        DataFile {
            id: FileId::mint(),
            dataset: DatasetId::new("d"),
            batch: BatchId::new("b"),
            key: ObjectKey::new("k"),
            schema_id: SchemaId::new("s"),
            rows: commits.len() as u64,
            bytes,
            sha256: String::new(),
            codec: "zstd".into(),
            added: CommitNumber(added),
            place: 0,
            removed: None,
            runs: commits.iter().enumerate().map(run).collect(),
            statistics: BTreeMap::new(),
            in_tail: false,
        }
    }

    fn check(files: &[DataFile], expected: &[usize]) {
        let groups = groups(files, &before(0));
        let found: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        assert_eq!(found, expected);
    }

    fn before(horizon: u64) -> Bounds {
        Bounds { horizon: CommitNumber(horizon), apart_since: None }
    }

    fn plain(commits: std::ops::Range<u64>, bytes: u64) -> Vec<DataFile> {
        commits.map(|commit| file(commit, &[commit], bytes)).collect()
    }

    #[test]
    fn neighbours_are_merged_up_to_a_size() {
        check(&[], &[]);
        check(&plain(1..2, MIB), &[]);
        check(&plain(1..9, MIB), &[8]);
        check(&plain(1..13, 100 * MIB), &[6, 6]);
        check(&plain(1..4, 600 * MIB), &[]);
        check(&plain(1..2502, 1), &[1000, 1000, 501]);
        let commits: Vec<u64> = (1..=6000).collect();
        let next: Vec<u64> = (6001..=12_000).collect();
        check(&[file(1, &commits, MIB), file(6001, &next, MIB)], &[]);
    }

    #[test]
    fn a_large_file_is_not_written_again_for_little() {
        let mut files = vec![file(1, &[1], 400 * MIB)];
        files.extend(plain(2..6, MIB));
        check(&files, &[4]);
        files.extend(plain(6..20, 10 * MIB));
        check(&files, &[16, 3]);
        let mut around = plain(1..4, MIB);
        around.push(file(4, &[4], 400 * MIB));
        around.extend(plain(5..7, MIB));
        check(&around, &[3, 2]);
    }

    #[test]
    fn young_commits_keep_files_of_their_own() {
        let mut files = plain(1..9, MIB);
        for file in &mut files[5..] {
            file.runs[0].time = DateTime::UNIX_EPOCH + TimeDelta::days(9);
        }
        let bounds = |days| {
            let apart_since = Some(DateTime::UNIX_EPOCH + TimeDelta::days(days));
            Bounds { horizon: CommitNumber(0), apart_since }
        };
        let lengths = |groups: Vec<&[DataFile]>| groups.iter().map(|g| g.len()).collect::<Vec<_>>();
        assert_eq!(lengths(groups(&files, &bounds(9))), [5]);
        assert_eq!(lengths(groups(&files, &bounds(10))), [8]);
        assert!(tiers(&files, &bounds(9)).is_empty());
    }

    #[test]
    fn many_small_files_of_about_one_size_are_merged_unasked() {
        let check = |files: &[DataFile], expected: &[usize]| {
            let groups = tiers(files, &before(0));
            assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), expected);
        };
        check(&plain(1..8, MIB), &[]);
        check(&plain(1..9, MIB), &[8]);
        check(&plain(1..20, 9 * MIB), &[]);
        let mut files = plain(1..4, 4 * MIB);
        files.extend(plain(4..14, MIB));
        check(&files, &[10]);
        files.insert(7, file(7, &[7], 4 * MIB));
        check(&files, &[14]);
        files.extend(plain(14..22, 1000));
        check(&files, &[8]);
    }

    #[test]
    fn what_lies_between_the_commits_of_a_merged_file_goes_with_it() {
        let files = [file(1, &[1, 9], MIB), file(4, &[4], MIB), file(6, &[6], MIB)];
        assert_eq!(atoms(&files).first(), Some(&(0..3)));
    }

    #[test]
    fn a_commit_in_several_files_is_merged_whole_or_not_at_all() {
        let mut files = vec![file(1, &[1], 500 * MIB), file(1, &[1], 500 * MIB)];
        files.push(file(1, &[1], 10 * MIB));
        files.extend(plain(2..5, MIB));
        check(&files, &[3]);
        // Many small files of one commit become one.
        check(&[file(1, &[1], MIB), file(1, &[1], MIB), file(1, &[1], MIB)], &[3]);
    }

    #[test]
    fn what_stands_for_its_rows_since_a_later_commit_joins_no_older_ones() {
        // Rewritten by commit 9, when something was taken back.
        let mut files = vec![file(9, &[1, 3], MIB)];
        let both = [files[0].clone(), file(4, &[4], MIB)];
        check(&both, &[]);
        assert_eq!(groups(&both, &before(9)).len(), 1);
        files.extend(plain(10..12, MIB));
        check(&files, &[3]);
        check(&[file(9, &[1], MIB), file(9, &[2], MIB), file(10, &[10], MIB)], &[3]);
    }
}
