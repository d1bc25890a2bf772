//! Taking batches back, also out of files that were merged with others.

use std::collections::BTreeSet;

use model::dataset::{Commit, CommitKind, Committed, Dataset, NewCommit, NewFile, Removal};
use model::ports::CatalogError;
use model::{BatchId, CommitNumber, FileId, PortError, WorkspaceId};

use super::rewrite::{Rewrite, rewrite};
use super::{Error, Silent, TRIES};
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
        let snapshot = self.catalog.snapshot(workspace, id, None).await?;
        let mut taken = TakenBack { remove: Vec::new(), anew: Vec::new() };
        for file in &snapshot.files {
            if !file.runs.iter().any(|run| commits.contains(&run.commit)) {
                continue;
            }
            let what = Rewrite {
                dataset: &snapshot.dataset,
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
    async fn commit_of(
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
    let mut doubt = None;
    for _ in 0..TRIES {
        let dataset = lake.catalog.snapshot(workspace, dataset.as_str(), None).await?.dataset;
        let taken = match lake.take_back(&dataset, std::slice::from_ref(id)).await {
            // The lost answer was a yes.
            Err(error) if doubt.is_some() => match taken_back(lake, workspace, id).await? {
                Some(commit) => return commit_of(lake, workspace, &dataset, commit).await,
                None => return Err(error),
            },
            taken => taken?,
        };
        let new = NewCommit {
            files: taken.anew,
            remove: Removal::Files(taken.remove),
            take_back: vec![id.clone()],
            ..NewCommit::new(workspace.clone(), CommitKind::Revert, dataset.id.clone())
        };
        match lake.catalog.commit(&new, lake.clock.now()).await {
            Ok(Committed::New(commit) | Committed::Repeated(commit)) => return Ok(commit),
            Err(CatalogError::Moved) => lake.discard(&new.files).await,
            Err(error @ CatalogError::Database { retry: true, .. }) => doubt = Some(error),
            Err(error) => {
                lake.discard(&new.files).await;
                return Err(error.into());
            }
        }
    }
    Err(match doubt {
        Some(source) => Error::Unsettled { source }.into(),
        None => Error::Busy { dataset: dataset.to_string() }.into(),
    })
}

async fn taken_back(
    lake: &Lake,
    workspace: &WorkspaceId,
    id: &BatchId,
) -> Result<Option<CommitNumber>, CatalogError> {
    Ok(lake.catalog.batch(workspace, id).await?.taken_back)
}

async fn commit_of(
    lake: &Lake,
    workspace: &WorkspaceId,
    dataset: &Dataset,
    number: CommitNumber,
) -> Result<Commit, PortError> {
    let before = CommitNumber(number.0.saturating_sub(1));
    let found = lake.catalog.commits(workspace, &dataset.name, before, 1).await?;
    let missing =
        || CatalogError::NotFound { what: "commit", name: number.to_string(), nearest: None };
    Ok(found.into_iter().next().ok_or_else(missing)?)
}
