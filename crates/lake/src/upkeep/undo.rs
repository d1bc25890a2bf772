//! Taking batches back, also out of files that were merged with others.

use std::collections::BTreeSet;

use model::dataset::{Commit, CommitKind, Dataset, NewCommit, NewFile, Removal};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, FileId, PortError, WorkspaceId};

use super::rewrite::{Rewrite, rewrite};
use super::{Error, Sent, Silent, TRIES};
use crate::Lake;

/// What taking batches back means for the files.
pub(crate) struct TakenBack {
    /// Files that hold rows of them.
    pub(crate) remove: Vec<FileId>,
    /// The other rows of those files, written anew.
    pub(crate) anew: Vec<NewFile>,
}

impl Lake {
    /// Writes the rows that stay of files with rows of the batches. Nothing is committed.
    pub(crate) async fn take_back(
        &self,
        dataset: &Dataset,
        batches: &[BatchId],
    ) -> Result<TakenBack, PortError> {
        let mut commits = BTreeSet::new();
        for batch in batches {
            commits.extend(self.commit_of(dataset, batch).await?);
        }
        let (workspace, id) = (&dataset.workspace, dataset.id.as_str());
        let (snapshot, reader) = self.look(workspace, id, (CommitNumber(0), None)).await?;
        let mut taken = TakenBack { remove: Vec::new(), anew: Vec::new() };
        for file in &snapshot.files {
            if !file.runs.iter().any(|run| commits.contains(&run.commit)) {
                continue;
            }
            let what = Rewrite {
                dataset: &snapshot.dataset,
                reader: &reader,
                files: std::slice::from_ref(file),
                stays: &|commit: CommitNumber| !commits.contains(&commit),
                except: None,
            };
            match rewrite(self, what, &Silent).await {
                Ok(anew) => taken.anew.extend(anew),
                Err(error) => {
                    self.discard(&taken.anew).await;
                    return Err(error);
                }
            }
            taken.remove.push(file.id.clone());
        }
        Ok(taken)
    }

    /// Returns the commit of a batch whose rows are there. Those of an empty batch have none.
    pub(crate) async fn commit_of(
        &self,
        dataset: &Dataset,
        id: &BatchId,
    ) -> Result<Option<CommitNumber>, CatalogError> {
        let batch = self.catalog.batch(&dataset.workspace, id).await?;
        if batch.dataset.as_ref() != Some(&dataset.id) {
            let name = id.to_string();
            return Err(CatalogError::NotFound { what: "batch", name, nearest: None });
        }
        match (batch.commit, batch.taken_back) {
            (None, _) => Err(CatalogError::Open { batch: id.clone() }),
            (_, Some(commit)) => Err(CatalogError::TakenBack { batch: id.clone(), commit }),
            (commit, None) => Ok(commit),
        }
    }
}

/// Takes the rows of a batch back.
pub(super) async fn revert(
    lake: &Lake,
    workspace: &WorkspaceId,
    id: &BatchId,
) -> Result<Commit, PortError> {
    let batch = lake.catalog.batch(workspace, id).await?;
    let Some(dataset) = batch.dataset else {
        return Err(CatalogError::Open { batch: id.clone() }.into());
    };
    for _ in 0..TRIES {
        let dataset = lake.newest(workspace, &dataset).await?;
        // Refuses a dataset that was dropped, whatever has its name now.
        if lake.catalog.dataset(workspace, &dataset.name).await?.id != dataset.id {
            let (name, nearest) = (dataset.name, None);
            return Err(CatalogError::NotFound { what: "dataset", name, nearest }.into());
        }
        let taken = lake.take_back(&dataset, std::slice::from_ref(id)).await?;
        let new = NewCommit {
            files: taken.anew,
            remove: Removal::Files(taken.remove),
            take_back: vec![id.clone()],
            ..NewCommit::new(workspace.clone(), CommitKind::Revert, dataset.id.clone())
        };
        if let Sent::Made(commit) = lake.send(new).await? {
            return Ok(commit);
        }
    }
    Err(Error::Busy { dataset: dataset.to_string() }.into())
}
