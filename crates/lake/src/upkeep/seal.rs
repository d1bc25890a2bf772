//! Turns what is in the tail into data files.
//!
//! A sealed file stands for its rows as a merged one does, so no count, no increment and no older snapshot can
//! tell that it happened.

use std::collections::{BTreeMap, HashSet};

use chrono::TimeDelta;
use model::dataset::{CommitKind, DataFile, Dataset, NewCommit, Removal};
use model::limits::{COMPACT_COMMITS_MAX, SEAL_BYTES, SEAL_COMMITS, SEAL_SECONDS};
use model::ports::{CatalogError, Compacted};
use model::{CommitNumber, DatasetId, FileId, PortError, WorkspaceId};

use super::rewrite::{Rewrite, rewrite};
use super::{Error, Sent, Silent, TRIES};
use crate::Lake;

impl Lake {
    /// Writes what is in the tail of a dataset as data files. What comes meanwhile may stay in the tail.
    pub(crate) async fn seal_dataset(
        &self,
        workspace: &WorkspaceId,
        id: &DatasetId,
    ) -> Result<Compacted, PortError> {
        let mut done = Compacted::default();
        for _ in 0..TRIES {
            let files = self.catalog.tail_files(id).await?;
            // Looked at after the files, so that it has all of their columns; also if it was dropped.
            let dataset = self.newest(workspace, id).await?;
            if self.seal_files(&dataset, files, &mut done).await? {
                return Ok(done);
            }
        }
        let dataset = self.newest(workspace, id).await?.name;
        Err(Error::Unsealed { dataset }.into())
    }

    /// Writes some files of the tail as data files; returns whether nobody else changed them meanwhile. What is not in the tail any more is sealed.
    pub(crate) async fn seal_files(
        &self,
        dataset: &Dataset,
        files: Vec<DataFile>,
        done: &mut Compacted,
    ) -> Result<bool, PortError> {
        if files.is_empty() {
            return Ok(true);
        }
        let sum = dataset.id.as_str().bytes().fold(0, |sum, byte| sum + usize::from(byte));
        let place = sum % self.sealing.len();
        let _turn = self.sealing[place].lock().await;
        let wanted: HashSet<FileId> = files.into_iter().map(|file| file.id).collect();
        let mut files = self.catalog.tail_files(&dataset.id).await?;
        files.retain(|file| wanted.contains(&file.id));
        let mut sealed = true;
        for group in groups(files) {
            sealed &= self.seal_group(dataset, &group, done).await?;
        }
        Ok(sealed)
    }

    /// Writes a group as one data file; returns whether nobody else changed it meanwhile.
    async fn seal_group(
        &self,
        dataset: &Dataset,
        files: &[DataFile],
        done: &mut Compacted,
    ) -> Result<bool, PortError> {
        let ids: Vec<_> = files.iter().map(|file| file.id.clone()).collect();
        let reader = match self.with_tail(ids.clone()).await {
            Ok(reader) => reader,
            Err(CatalogError::Moved) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let what = Rewrite { dataset, reader: &reader, files, stays: &|_| true, except: None };
        let file = rewrite(self, what, &Silent).await?;
        let rows = file.iter().map(|file| file.rows).sum::<u64>();
        let bytes = file.iter().map(|file| file.bytes).sum::<u64>();
        let new = NewCommit {
            files: file.into_iter().collect(),
            remove: Removal::Files(ids),
            ..NewCommit::new(dataset.workspace.clone(), CommitKind::Compact, dataset.id.clone())
        };
        let Sent::Made(commit) = self.send(new).await? else { return Ok(false) };
        done.commits.push(commit.number);
        done.rows_sealed += rows;
        done.rows += rows;
        done.bytes += bytes;
        done.files_written += 1;
        Ok(true)
    }

    /// Returns whether the tail of a dataset has become large or old.
    pub(super) async fn is_seal_due(&self, id: &DatasetId) -> Result<bool, CatalogError> {
        let tail = self.catalog.unsealed(id).await?;
        let oldest = self.clock.now() - TimeDelta::seconds(SEAL_SECONDS);
        let is_old = tail.since.is_some_and(|since| since <= oldest);
        Ok(is_old || tail.bytes >= SEAL_BYTES || tail.files >= SEAL_COMMITS)
    }
}

/// Cuts files, in order, into those that can become one: their rows are in the lake for as long.
fn groups(files: Vec<DataFile>) -> Vec<Vec<DataFile>> {
    let mut by_end: BTreeMap<Option<CommitNumber>, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        by_end.entry(file.removed).or_default().push(file);
    }
    let cut = |files: Vec<DataFile>| {
        files.chunks(COMPACT_COMMITS_MAX).map(<[_]>::to_vec).collect::<Vec<_>>()
    };
    by_end.into_values().flat_map(cut).collect()
}
