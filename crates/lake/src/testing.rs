//! A catalog and an object store in memory, small enough to be checked by eye, for this crate's tests.
//!
//! They keep the contracts of [`model::ports`] as far as tests of the lake need them; the real ones pass the
//! conformance suites of their own crates.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use model::clock::ManualClock;
use model::dataset::{
    Batch, Commit, CommitRun, Committed, DataFile, Dataset, IngestKey, KeepBasis, NewCommit,
    NewDataset, Snapshot, Unsealed, View,
};
use model::ports::{
    Catalog, CatalogError, Doomed, ObjectError, ObjectInfo, Objects, Pin, Put, Spare, Upload,
};
use model::schema::Schema;
use model::{BatchId, CommitNumber, DatasetId, FileId, ObjectKey, SchemaId, WorkspaceId};

/// Returns the instant at which test clocks start.
pub(crate) fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("one instant")
}

/// Returns a clock that stands at [`start`].
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(start()))
}

/// Objects in memory that can be told to fail.
#[derive(Debug, Default)]
pub(crate) struct MemoryObjects {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    finishes: Arc<AtomicUsize>,
    /// The finish that fails, counted from 1.
    fail_finish: Option<usize>,
    /// Whether finishes work but answer with an error.
    lose_replies: bool,
}

impl MemoryObjects {
    /// Makes a store whose `n`-th finish fails and makes nothing.
    pub(crate) fn failing_finish(n: usize) -> Self {
        Self { fail_finish: Some(n), ..Self::default() }
    }

    /// Makes a store whose finishes work while their replies are lost.
    pub(crate) fn losing_replies() -> Self {
        Self { lose_replies: true, ..Self::default() }
    }

    /// Returns the names of all objects.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.lock().expect("not poisoned").keys().cloned().collect()
    }

    /// Returns an object's bytes.
    pub(crate) fn bytes(&self, key: &ObjectKey) -> Option<Bytes> {
        self.objects.lock().expect("not poisoned").get(key.as_str()).cloned()
    }
}

fn away(action: &'static str, key: &ObjectKey) -> ObjectError {
    ObjectError::Unavailable { action, path: key.to_string(), source: "told to fail".into() }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        let mut objects = self.objects.lock().expect("not poisoned");
        if objects.contains_key(key.as_str()) {
            return Ok(Put::Exists);
        }
        objects.insert(key.to_string(), bytes);
        Ok(Put::Created)
    }

    async fn upload(&self, key: &ObjectKey, _token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        Ok(Box::new(MemoryUpload {
            objects: self.objects.clone(),
            finishes: self.finishes.clone(),
            fail_finish: self.fail_finish,
            lose_replies: self.lose_replies,
            key: key.clone(),
            bytes: Vec::new(),
        }))
    }

    async fn abort(&self, _key: &ObjectKey, _token: &str) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        let bytes = self.bytes(key).map(|bytes| bytes.len() as u64);
        Ok(bytes.map(|bytes| ObjectInfo { key: key.clone(), bytes }))
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let bytes =
            self.bytes(key).ok_or_else(|| ObjectError::NotFound { path: key.to_string() })?;
        let at = |n: u64| usize::try_from(n).expect("small");
        if range.end > bytes.len() as u64 {
            return Err(away("read past the end of", key));
        }
        Ok(bytes.slice(at(range.start)..at(range.end)))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.objects.lock().expect("not poisoned").remove(key.as_str());
        Ok(())
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let objects = self.objects.lock().expect("not poisoned");
        let below = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
        Ok(below
            .map(|(key, bytes)| ObjectInfo { key: ObjectKey::new(key), bytes: bytes.len() as u64 })
            .collect())
    }
}

struct MemoryUpload {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    finishes: Arc<AtomicUsize>,
    fail_finish: Option<usize>,
    lose_replies: bool,
    key: ObjectKey,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        let nth = self.finishes.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fail_finish == Some(nth) {
            return Err(away("write", &self.key));
        }
        let mut objects = self.objects.lock().expect("not poisoned");
        if objects.contains_key(self.key.as_str()) {
            return Ok(Put::Exists);
        }
        objects.insert(self.key.to_string(), Bytes::from(self.bytes));
        if self.lose_replies { Err(away("write", &self.key)) } else { Ok(Put::Created) }
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        Ok(())
    }
}

/// A catalog of one workspace in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryCatalog {
    state: Mutex<State>,
    /// Run once, at the start of the next commit, to play another process.
    before_commit: Mutex<Option<NewCommit>>,
    /// What the next commit answers.
    trouble: Mutex<Option<Trouble>>,
}

/// How a commit goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing happens and an error is returned.
    Fails,
    /// It happens and an error is returned.
    LosesReply,
    /// Nothing happens and it says so.
    Refuses,
    /// No commit is answered any more.
    Down,
}

#[derive(Debug, Default)]
struct State {
    datasets: Vec<Dataset>,
    views: Vec<View>,
    commits: Vec<Commit>,
    files: Vec<DataFile>,
    schemas: BTreeMap<SchemaId, Schema>,
    keys: BTreeMap<(DatasetId, String), (Commit, IngestKey)>,
    /// The schema of a dataset from a commit on.
    steps: Vec<(DatasetId, CommitNumber, Schema)>,
}

impl MemoryCatalog {
    /// Makes `commit` happen just before the next one, as if by another process.
    pub(crate) fn race(&self, commit: NewCommit) {
        *self.before_commit.lock().expect("not poisoned") = Some(commit);
    }

    /// Makes the next commit go wrong.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock().expect("not poisoned") = Some(trouble);
    }

    /// Returns the number of commits.
    pub(crate) fn commit_count(&self) -> usize {
        self.state.lock().expect("not poisoned").commits.len()
    }
}

impl State {
    fn dataset(&self, name: &str) -> Result<&Dataset, CatalogError> {
        self.datasets
            .iter()
            .find(|dataset| dataset.name == name)
            .ok_or_else(|| missing("dataset", name))
    }

    fn make(&mut self, workspace: &WorkspaceId, new: &NewDataset, now: DateTime<Utc>) -> Dataset {
        let dataset = Dataset {
            id: new.id.clone(),
            workspace: workspace.clone(),
            name: new.name.clone(),
            kind: new.kind,
            time_column: new.time_column.clone(),
            schema: new.schema.clone(),
            keep_days: None,
            created_at: now,
        };
        self.schemas.insert(new.schema.id(), new.schema.clone());
        let at = CommitNumber(self.commits.len() as u64);
        self.steps.push((new.id.clone(), at, new.schema.clone()));
        self.datasets.push(dataset.clone());
        dataset
    }

    fn repeated(&self, new: &NewCommit) -> Result<Option<Commit>, CatalogError> {
        let Some(key) = &new.key else { return Ok(None) };
        match self.keys.get(&(new.dataset.clone(), key.key.clone())) {
            Some((commit, used)) if used.fingerprint == key.fingerprint => Ok(Some(commit.clone())),
            Some((commit, _)) => {
                Err(CatalogError::KeyReused { key: key.key.clone(), commit: commit.number })
            }
            None => Ok(None),
        }
    }

    fn commit(&mut self, new: &NewCommit, now: DateTime<Utc>) -> Result<Committed, CatalogError> {
        if let Some(commit) = self.repeated(new)? {
            return Ok(Committed::Repeated(commit));
        }
        if let Some(create) = &new.create {
            if self.dataset(&create.name).is_ok() {
                return Err(CatalogError::Moved);
            }
            self.make(&new.workspace, create, now);
        }
        let number = CommitNumber(self.commits.len() as u64 + 1);
        let dataset = self.datasets.iter_mut().find(|dataset| dataset.id == new.dataset);
        let dataset = dataset.ok_or(CatalogError::Moved)?;
        if let Some(step) = &new.schema {
            if dataset.schema.id() != step.seen {
                return Err(CatalogError::Moved);
            }
            dataset.schema = step.next.clone();
            self.schemas.insert(step.next.id(), step.next.clone());
            self.steps.push((new.dataset.clone(), number, step.next.clone()));
        }
        let time = self.commits.last().map_or(now, |last| last.time.max(now));
        let commit = Commit {
            number,
            time,
            kind: new.kind,
            dataset: Some(new.dataset.clone()),
            batches: new.batch.iter().cloned().collect(),
            rows: new.files.iter().map(|file| file.rows).sum(),
            bytes: new.files.iter().map(|file| file.bytes).sum(),
            files: new.files.len() as u64,
            rows_removed: 0,
            files_removed: 0,
        };
        self.files.extend(new.files.iter().map(|file| DataFile {
            id: file.id.clone(),
            dataset: new.dataset.clone(),
            batch: file.batch.clone(),
            key: file.key.clone(),
            schema_id: file.schema_id.clone(),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            codec: file.codec.clone(),
            added: number,
            place: file.place,
            removed: None,
            runs: vec![CommitRun { commit: number, time, first_row: 0 }],
            statistics: file.statistics.clone(),
            in_tail: file.tail.is_some(),
        }));
        self.commits.push(commit.clone());
        if let Some(key) = &new.key {
            let entry = (commit.clone(), key.clone());
            self.keys.insert((new.dataset.clone(), key.key.clone()), entry);
        }
        Ok(Committed::New(commit))
    }
}

fn missing(what: &'static str, name: &str) -> CatalogError {
    CatalogError::NotFound { what, name: name.into(), nearest: None }
}

fn unanswered(retry: bool) -> CatalogError {
    CatalogError::Database { reason: "told to fail".into(), retry, source: "told to fail".into() }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn head(
        &self,
        _workspace: &WorkspaceId,
    ) -> Result<Option<(CommitNumber, DateTime<Utc>)>, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        Ok(state.commits.last().map(|commit| (commit.number, commit.time)))
    }

    async fn last_before(
        &self,
        _workspace: &WorkspaceId,
        time: DateTime<Utc>,
    ) -> Result<CommitNumber, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let mut before = state.commits.iter().filter(|commit| commit.time < time);
        Ok(before.next_back().map_or(CommitNumber(0), |commit| commit.number))
    }

    async fn rows_between(
        &self,
        _workspace: &WorkspaceId,
        (from, to): (CommitNumber, CommitNumber),
    ) -> Result<u64, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let commits = state.commits.iter();
        let within = commits.filter(|commit| from < commit.number && commit.number <= to);
        Ok(within.map(|commit| commit.rows).sum())
    }

    async fn create_dataset(
        &self,
        workspace: &WorkspaceId,
        new: &NewDataset,
        now: DateTime<Utc>,
    ) -> Result<Dataset, CatalogError> {
        let mut state = self.state.lock().expect("not poisoned");
        if state.dataset(&new.name).is_ok() {
            return Err(CatalogError::Exists { what: "dataset", name: new.name.clone() });
        }
        Ok(state.make(workspace, new, now))
    }

    async fn dataset(&self, _workspace: &WorkspaceId, name: &str) -> Result<Dataset, CatalogError> {
        self.state.lock().expect("not poisoned").dataset(name).cloned()
    }

    async fn datasets(&self, _workspace: &WorkspaceId) -> Result<Vec<Dataset>, CatalogError> {
        let mut datasets = self.state.lock().expect("not poisoned").datasets.clone();
        datasets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(datasets)
    }

    async fn drop_dataset(
        &self,
        _workspace: &WorkspaceId,
        name: &str,
        _now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        let mut state = self.state.lock().expect("not poisoned");
        state.dataset(name)?;
        state.datasets.retain(|dataset| dataset.name != name);
        Ok(())
    }

    async fn create_view(&self, _workspace: &WorkspaceId, view: &View) -> Result<(), CatalogError> {
        let mut state = self.state.lock().expect("not poisoned");
        if state.views.iter().any(|have| have.name == view.name) {
            return Err(CatalogError::Exists { what: "view", name: view.name.clone() });
        }
        state.views.push(view.clone());
        Ok(())
    }

    async fn view(&self, _workspace: &WorkspaceId, name: &str) -> Result<View, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let view = state.views.iter().find(|view| view.name == name);
        view.cloned().ok_or_else(|| missing("view", name))
    }

    async fn views(&self, _workspace: &WorkspaceId) -> Result<Vec<View>, CatalogError> {
        Ok(self.state.lock().expect("not poisoned").views.clone())
    }

    async fn drop_view(&self, _workspace: &WorkspaceId, name: &str) -> Result<(), CatalogError> {
        self.state.lock().expect("not poisoned").views.retain(|view| view.name != name);
        Ok(())
    }

    async fn commit(&self, new: &NewCommit, now: DateTime<Utc>) -> Result<Committed, CatalogError> {
        let mut state = self.state.lock().expect("not poisoned");
        if let Some(other) = self.before_commit.lock().expect("not poisoned").take() {
            state.commit(&other, now)?;
        }
        let mut trouble = self.trouble.lock().expect("not poisoned");
        let now_wrong = if *trouble == Some(Trouble::Down) { *trouble } else { trouble.take() };
        match now_wrong {
            Some(Trouble::Fails | Trouble::Down) => Err(unanswered(true)),
            Some(Trouble::Refuses) => Err(unanswered(false)),
            Some(Trouble::LosesReply) => {
                state.commit(new, now)?;
                Err(unanswered(true))
            }
            None => state.commit(new, now),
        }
    }

    async fn key(
        &self,
        _workspace: &WorkspaceId,
        dataset: &str,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(Commit, IngestKey)>, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let Ok(dataset) = state.dataset(dataset) else { return Ok(None) };
        let known = state.keys.get(&(dataset.id.clone(), key.to_owned())).cloned();
        Ok(known.filter(|(_, key)| !key.is_forgotten(now)))
    }

    async fn pins(
        &self,
        _workspace: &WorkspaceId,
        _dataset: &DatasetId,
    ) -> Result<Vec<Pin>, CatalogError> {
        Ok(Vec::new())
    }

    async fn keep(
        &self,
        _workspace: &WorkspaceId,
        dataset: &str,
        _days: Option<u32>,
        _on: KeepBasis,
    ) -> Result<bool, CatalogError> {
        Err(missing("dataset", dataset))
    }

    async fn files(
        &self,
        _dataset: &DatasetId,
        _after: Option<&FileId>,
        _limit: u32,
    ) -> Result<Vec<DataFile>, CatalogError> {
        Ok(Vec::new())
    }

    async fn doom(
        &self,
        _workspace: &WorkspaceId,
        _spare: &Spare,
        _limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        Ok(Vec::new())
    }

    async fn doom_leftovers(
        &self,
        _workspace: &WorkspaceId,
        _objects: &[Doomed],
        _now: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn forget(
        &self,
        _workspace: &WorkspaceId,
        _keys: &[ObjectKey],
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn batch(&self, _workspace: &WorkspaceId, id: &BatchId) -> Result<Batch, CatalogError> {
        Err(missing("batch", id.as_str()))
    }

    async fn commits(
        &self,
        _workspace: &WorkspaceId,
        dataset: &str,
        after: CommitNumber,
        limit: u32,
    ) -> Result<Vec<Commit>, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let id = state.dataset(dataset)?.id.clone();
        let of = |commit: &&Commit| commit.dataset.as_ref() == Some(&id) && commit.number > after;
        Ok(state.commits.iter().filter(of).take(limit as usize).cloned().collect())
    }

    async fn snapshot_since(
        &self,
        _workspace: &WorkspaceId,
        dataset: &str,
        (from, at): (CommitNumber, Option<CommitNumber>),
    ) -> Result<Snapshot, CatalogError> {
        let state = self.state.lock().expect("not poisoned");
        let mut dataset = state.dataset(dataset)?.clone();
        let head = CommitNumber(state.commits.len() as u64);
        let at = at.unwrap_or(head);
        if at > head {
            return Err(missing("commit", &at.to_string()));
        }
        let step = state.steps.iter().rfind(|(id, from, _)| *id == dataset.id && *from <= at);
        if let Some((_, _, schema)) = step {
            dataset.schema = schema.clone();
        }
        let alive = |file: &&DataFile| {
            file.dataset == dataset.id
                && file.added <= at
                && file.runs.last().is_some_and(|run| run.commit > from)
                && file.removed.is_none_or(|removed| removed > at)
        };
        let files: Vec<DataFile> = state.files.iter().filter(alive).cloned().collect();
        let schemas = files
            .iter()
            .filter_map(|file| {
                Some((file.schema_id.clone(), state.schemas.get(&file.schema_id)?.clone()))
            })
            .collect();
        Ok(Snapshot { dataset, at, horizon: CommitNumber(0), files, schemas })
    }

    async fn tail(&self, _files: &[FileId]) -> Result<Vec<Bytes>, CatalogError> {
        Err(CatalogError::Moved)
    }

    async fn tail_files(&self, _dataset: &DatasetId) -> Result<Vec<DataFile>, CatalogError> {
        Ok(Vec::new())
    }

    async fn unsealed(&self, _dataset: &DatasetId) -> Result<Unsealed, CatalogError> {
        Ok(Unsealed::default())
    }
}
