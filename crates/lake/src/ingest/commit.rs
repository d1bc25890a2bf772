//! Makes the commit of an import, and finds out what happened when the answer is lost.
//!
//! Contract: the data files are durable. If another writer changed the dataset meanwhile, the schema step
//! is made again on what is there now, as long as the written files still fit it. If nobody can tell whether
//! the commit was made, the files are kept: deleting rows that may be committed would be worse.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use model::dataset::{
    Commit, CommitKind, Committed, IngestKey, NewCommit, NewDataset, NewFile, Removal, SchemaStep,
};
use model::limits::KEY_DAYS;
use model::ports::{CatalogError, Import, Replace};
use model::schema::Schema;
use model::{BatchId, PortError};

use super::error::IngestError;
use super::plan::{Base, Plan};
use crate::Lake;
use crate::files::Written;

/// Times a commit is tried while other writers change the dataset.
const TRIES: usize = 20;

/// What the commit came to.
pub(super) enum Outcome {
    New { commit: Commit, batch: BatchId, created: bool },
    Repeated(Commit),
}

/// A commit that failed.
pub(super) struct Failed {
    pub(super) error: PortError,
    /// Whether the files may be part of the lake.
    pub(super) keep_files: bool,
}

/// Commits the files.
pub(super) async fn commit(
    lake: &Lake,
    import: &Import,
    base: &Base,
    plan: &Plan,
    (written, key): (&[Written], Option<IngestKey>),
) -> Result<Outcome, Failed> {
    let (batch, reserved) = import.batch.clone().map(|of| (of.id, of.version)).unzip();
    let batch = batch.unwrap_or_else(BatchId::mint);
    let key = key.unwrap_or_else(|| own_key(lake, &batch, reserved));
    let first = base;
    let mut base = base.clone();
    let mut schema = plan.schema.clone();
    let mut made_it = false;
    let mut doubt = None;
    let mut kept = None;
    for _ in 0..TRIES {
        // Made anew only when the dataset has changed: in doubt the very same commit is sent again.
        let over = match kept.take() {
            Some(over) => over,
            None => match Over::find(lake, import, &base).await {
                Ok(over) => over,
                Err(error) => {
                    let earlier = made_before(lake, import, &key, &batch).await;
                    return earlier.ok_or_else(|| failed(error, doubt.as_ref()));
                }
            },
        };
        let mut new = NewCommit {
            create: creation(import, &base, &schema),
            schema: step(&base, &schema),
            batch: Some(batch.clone()),
            reserved,
            files: new_files(written, &batch, &schema),
            key: Some(key.clone()),
            ..NewCommit::new(import.workspace.clone(), over.kind, base.id().clone())
        };
        (new.remove, new.take_back) = (over.remove.clone(), over.batches.clone());
        new.files.extend(over.anew.iter().cloned());
        // Once an answer was lost the dataset may be there because of us.
        let created = new.create.is_some() || (made_it && base.id() == first.id());
        let answer = lake.catalog.commit(&new, lake.clock.now()).await;
        if !may_hold(&answer) {
            lake.discard(&over.anew).await;
        }
        match answer {
            Ok(Committed::New(commit)) => return Ok(Outcome::New { commit, batch, created }),
            Ok(Committed::Repeated(commit)) => {
                // A reserved batch may have been closed by another import; not by this one, if no answer was lost.
                let ours =
                    commit.batches.contains(&batch) && (import.batch.is_none() || doubt.is_some());
                return Ok(told(commit, ours, batch, created));
            }
            Err(CatalogError::Moved) => match Base::find(lake.catalog.as_ref(), import).await {
                Err(error) => return Err(failed(error, doubt.as_ref())),
                Ok(now) => {
                    base = now;
                    schema = again(&base, plan).map_err(|error| failed(error, doubt.as_ref()))?;
                }
            },
            // Whoever fills the tail makes the room.
            Err(CatalogError::TailFull { .. }) => {
                let sealing = lake.seal_dataset(&import.workspace, base.id());
                sealing.await.map_err(|error| failed(error, doubt.as_ref()))?;
            }
            Err(error @ CatalogError::Database { retry: true, .. }) => {
                made_it |= new.create.is_some();
                doubt = Some(error);
                kept = Some(over);
            }
            Err(error) => return Err(failed(error.into(), doubt.as_ref())),
        }
    }
    Err(match doubt {
        Some(source) => {
            Failed { error: IngestError::Unsettled { source }.into(), keep_files: true }
        }
        None => failed(IngestError::Busy { dataset: import.dataset.clone() }.into(), None),
    })
}

/// Returns the key of an import that has none: its batch, for as long as somebody may be asking.
fn own_key(lake: &Lake, batch: &BatchId, reserved: Option<u64>) -> IngestKey {
    let until = reserved.is_none().then(|| lake.clock.now() + TimeDelta::days(KEY_DAYS));
    IngestKey { until, ..IngestKey::new(batch.as_str(), batch.as_str()) }
}

/// Whether the files of a commit may be part of the lake.
fn may_hold(answer: &Result<Committed, CatalogError>) -> bool {
    matches!(answer, Ok(Committed::New(_)) | Err(CatalogError::Database { retry: true, .. }))
}

/// Returns what came of the key, if it was used with the same content: by us, or by a repeat that was faster.
async fn made_before(
    lake: &Lake,
    import: &Import,
    key: &IngestKey,
    batch: &BatchId,
) -> Option<Outcome> {
    let found =
        lake.catalog.key(&import.workspace, &import.dataset, &key.key, lake.clock.now()).await;
    let (commit, _) = found.ok().flatten().filter(|(_, u)| u.fingerprint == key.fingerprint)?;
    let ours = commit.batches.contains(batch);
    Some(told(commit, ours, batch.clone(), false))
}

fn told(commit: Commit, ours: bool, batch: BatchId, created: bool) -> Outcome {
    if ours { Outcome::New { commit, batch, created } } else { Outcome::Repeated(commit) }
}

/// What an import puts its rows in the place of.
struct Over {
    kind: CommitKind,
    remove: Removal,
    batches: Vec<BatchId>,
    /// Rows that stay, where their files do not.
    anew: Vec<NewFile>,
}

impl Over {
    async fn find(lake: &Lake, import: &Import, base: &Base) -> Result<Self, PortError> {
        let (batches, remove, anew) = match (&import.replace, base) {
            (None, _) => {
                let (kind, remove) = (CommitKind::Append, Removal::Nothing);
                return Ok(Self { kind, remove, batches: Vec::new(), anew: Vec::new() });
            }
            (Some(Replace::Batches(batches)), Base::Known(dataset)) => {
                let batches: Vec<_> = BTreeSet::from_iter(batches.clone()).into_iter().collect();
                let taken = lake.take_back(dataset, &batches).await?;
                (batches, Removal::Files(taken.remove), taken.anew)
            }
            (Some(Replace::Batches(batches)), Base::New { .. }) => return Err(no_batch(batches)),
            (Some(Replace::All), _) => (Vec::new(), Removal::All, Vec::new()),
        };
        Ok(Self { kind: CommitKind::Replace, remove, batches, anew })
    }
}

/// Refuses batches that cannot be replaced, before anything is written.
pub(super) async fn check_replace(
    lake: &Lake,
    import: &Import,
    base: &Base,
) -> Result<(), PortError> {
    match (&import.replace, base) {
        (Some(Replace::Batches(batches)), Base::Known(dataset)) => {
            for batch in batches {
                lake.commit_of(dataset, batch).await?;
            }
            Ok(())
        }
        (Some(Replace::Batches(batches)), Base::New { .. }) => Err(no_batch(batches)),
        _ => Ok(()),
    }
}

fn no_batch(batches: &[BatchId]) -> PortError {
    let name = batches.first().map(BatchId::to_string).unwrap_or_default();
    CatalogError::NotFound { what: "batch", name, nearest: None }.into()
}

/// While a lost answer is not settled the files may be part of the lake.
fn failed(error: PortError, doubt: Option<&CatalogError>) -> Failed {
    Failed { error, keep_files: doubt.is_some() }
}

/// Returns the schema after the import on what the dataset has become.
fn again(base: &Base, plan: &Plan) -> Result<Schema, PortError> {
    let file = plan.names.first().cloned().unwrap_or_default();
    let evolved = base.schema().evolve(&plan.schema);
    Ok(evolved.map_err(|source| IngestError::Schema { file, source })?)
}

fn creation(import: &Import, base: &Base, schema: &Schema) -> Option<NewDataset> {
    let Base::New { id, time_column, kind, .. } = base else { return None };
    Some(NewDataset {
        id: id.clone(),
        name: import.dataset.clone(),
        kind: *kind,
        time_column: time_column.clone(),
        schema: schema.clone(),
    })
}

fn step(base: &Base, schema: &Schema) -> Option<SchemaStep> {
    let Base::Known(dataset) = base else { return None };
    Some(SchemaStep { seen: dataset.schema.id(), next: schema.clone() })
}

fn new_files(written: &[Written], batch: &BatchId, schema: &Schema) -> Vec<NewFile> {
    let file = |(place, file): (usize, &Written)| NewFile {
        place: place as u64,
        ..file.clone().into_new(batch.clone(), schema.id())
    };
    written.iter().enumerate().map(file).collect()
}
