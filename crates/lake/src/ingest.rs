//! Files in: several files become rows of a dataset in one commit, or nothing happens.
//!
//! Contract: [`Ingest`]. The columns are those that all of the input has together (types are inferred over every
//! row), every data file is durable before the commit, and after an error the data files written are deleted.
//! Input is streamed: memory is some blocks and one row group. `docs/import.md` says what is read and how.
//! It replaces, reverts and deletes nothing.
//!
//! The beginning of each file mostly tells what the rest is, so it is looked at first and the rows are written
//! by that; if one of them does not fit, what was written is deleted and everything is looked at before it is written again.

mod block;
mod column;
mod commit;
mod convert;
mod csv;
mod decode;
mod error;
mod infer;
mod json;
pub(crate) mod known;
mod parquet;
mod plan;
mod receive;
mod rejects;
mod shape;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod time;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::StreamExt;
use model::dataset::{Commit, IngestKey};
use model::ports::{CatalogError, Import, ImportReport, Ingest, InputFormat, Progress, Replace};
use model::{Code, Failure, Fault, PortError, WorkspaceId, digest, limits};

use crate::Lake;
use crate::files::{FilesWriter, Written, aside, remove};
use commit::Outcome;
use convert::BadRow;
use decode::{Decoded, Decoder};
use error::{IngestError, Place};
use parquet::ParquetInput;
use plan::{Base, Depth, Input, Plan};
use rejects::Rejects;

/// What is looked at before rows are written, where the dataset's columns do not do.
const HEAD: Depth = Depth { blocks: 4, block_bytes: 4 << 20 };

#[async_trait]
impl Ingest for Lake {
    async fn import(
        &self,
        import: &Import,
        progress: Arc<dyn Progress>,
    ) -> Result<ImportReport, PortError> {
        let progress = Arc::new(Furthest::new(progress));
        let job = Importing { lake: self, import, progress, depth: HEAD };
        Box::pin(job.run()).await
    }
}

/// One import at work.
struct Importing<'a> {
    lake: &'a Lake,
    import: &'a Import,
    progress: Arc<Furthest>,
    /// How much is looked at before rows are written.
    depth: Depth,
}

impl Importing<'_> {
    async fn run(&self) -> Result<ImportReport, PortError> {
        self.check()?;
        let key = self.key().await?;
        if let Some(first) = self.used(key.as_ref()).await? {
            return Ok(first);
        }
        if let Some(known) = self.known() {
            match Box::pin(self.on(&known, key.clone())).await {
                // It may be because of what has changed since.
                Err(error) if is_certain(&error) => {
                    self.lake.known.forget(&self.name());
                    self.progress.begin_again();
                }
                done => return done,
            }
        }
        let base = Base::find(self.lake.catalog.as_ref(), self.import).await?;
        match &base {
            Base::Known(dataset) => {
                self.lake.known.keep(self.name(), dataset, self.lake.clock.now());
            }
            Base::New { .. } => {
                if let Some(canonical) = self.canonical(&base).await? {
                    return self.on(&canonical, key).await;
                }
            }
        }
        self.on(&base, key).await
    }

    /// Imports into a dataset as it was read.
    async fn on(&self, base: &Base, mut key: Option<IngestKey>) -> Result<ImportReport, PortError> {
        if let Err(error) = commit::check_replace(self.lake, self.import, base).await {
            // A repeat that was faster may be why its batches have ended.
            return self.used(key.as_ref()).await?.ok_or(error);
        }
        let mut rejects = Rejects::new(self.import.rejects.clone());
        let mut written = Vec::new();
        let outcome = match self.plan_and_write(base, &mut rejects, &mut written).await {
            Ok(plan) => {
                if let Some(key) = &mut key {
                    (key.rejected, key.rejects) = (rejects.count(), rejects.path());
                }
                let files = (written.as_slice(), key.clone());
                commit::commit(self.lake, self.import, base, &plan, files).await
            }
            Err(error) => Err(commit::Failed { error, keep_files: false }),
        };
        match outcome {
            Ok(Outcome::New { commit, batch, created }) => Ok(ImportReport {
                dataset: self.import.dataset.clone(),
                created,
                commit: commit.number,
                time: commit.time,
                batch: Some(batch),
                rows: commit.rows,
                bytes: commit.bytes,
                rejected: rejects.count(),
                rejects: rejects.path(),
                repeated: false,
            }),
            Ok(Outcome::Repeated(commit)) => {
                rejects.discard();
                self.delete(&written).await;
                let first = self.used(key.as_ref()).await?;
                Ok(first.unwrap_or_else(|| self.repeated(&commit, None)))
            }
            Err(failed) => {
                if !failed.keep_files {
                    self.delete(&written).await;
                }
                // Where no row was good the reasons are what the caller needs.
                let all = failed.error.downcast_ref::<IngestError>();
                if !matches!(all, Some(IngestError::AllRejected { .. })) {
                    rejects.discard();
                }
                Err(failed.error)
            }
        }
    }

    /// Returns the canonical dataset of that name, if the input has its time column and no columns but its own: rows of another kind may
    /// have its name, too.
    async fn canonical(&self, base: &Base) -> Result<Option<Base>, PortError> {
        let Some(canonical) = Base::canonical(self.import) else { return Ok(None) };
        let progress: Arc<dyn Progress> = self.progress.clone();
        let looked = Plan::make(self.import, base, self.depth, &progress).await;
        self.progress.begin_again();
        // What cannot be read is told when it is read for good.
        let Ok(Some(plan)) = looked else { return Ok(None) };
        let has_time =
            canonical.time_column().is_some_and(|time| plan.schema.field(time).is_some());
        let own = canonical.schema();
        let all_own = plan.schema.fields.iter().all(|field| own.field(&field.name).is_some());
        Ok((has_time && all_own).then_some(canonical))
    }

    fn name(&self) -> (WorkspaceId, String) {
        (self.import.workspace.clone(), self.import.dataset.clone())
    }

    /// Returns the dataset as it was a moment ago. Only plain rows are added to that.
    fn known(&self) -> Option<Base> {
        let Import { rejects, replace, batch, time_column, .. } = self.import;
        if rejects.is_some() || replace.is_some() || batch.is_some() || time_column.is_some() {
            return None;
        }
        let known = self.lake.known.get(&self.name(), self.lake.clock.now())?;
        Some(Base::Known(Box::new(known)))
    }

    fn check(&self) -> Result<(), IngestError> {
        let count = self.import.files.len();
        if count == 0 {
            return Err(IngestError::NoFiles);
        }
        if count > limits::IMPORT_FILES_MAX {
            return Err(IngestError::TooManyFiles { count });
        }
        let chars = self.import.key.as_ref().map(|key| key.chars().count());
        if chars.is_some_and(|chars| chars == 0 || chars > limits::KEY_CHARS_MAX) {
            return Err(IngestError::BadKey);
        }
        Ok(())
    }

    /// Returns the key with the fingerprint of what is imported.
    async fn key(&self) -> Result<Option<IngestKey>, PortError> {
        let Some(key) = &self.import.key else { return Ok(None) };
        let files = self.import.files.clone();
        let bytes = files.iter().map(source::memory_bytes).fold(0, usize::saturating_add);
        let sums = aside(bytes, move || {
            files.iter().map(|file| source::sum(file).map(|sum| digest::hex(&sum))).collect()
        });
        let sums: Result<Vec<String>, IngestError> = sums.await.map_err(IngestError::Task)?;
        let sums = sums?;
        let what = serde_json::json!({
            "dataset": self.import.dataset,
            "files": sums,
            "format": format_word(self.import.format),
            "kind": self.import.kind.as_str(),
            "time_column": self.import.time_column,
            "schema": self.import.schema,
            "partial": self.import.rejects.is_some(),
        });
        let what = match &self.import.replace {
            None => what,
            Some(Replace::All) => serde_json::json!({ "of": what, "replace": "all" }),
            Some(Replace::Batches(batches)) => {
                serde_json::json!({ "of": what, "replace": batches })
            }
        };
        let what = match &self.import.receive_time {
            None => what,
            Some(column) => serde_json::json!({ "of": what, "receive_time": column }),
        };
        let fingerprint = digest::sha256_hex(what.to_string().as_bytes());
        let days = self.import.key_days.and_then(TimeDelta::try_days);
        let until = days.and_then(|days| self.lake.clock.now().checked_add_signed(days));
        Ok(Some(IngestKey { until, ..IngestKey::new(key, fingerprint) }))
    }

    /// Returns the first answer, if the key was used before.
    async fn used(&self, key: Option<&IngestKey>) -> Result<Option<ImportReport>, PortError> {
        let (import, Some(key)) = (self.import, key) else { return Ok(None) };
        let (catalog, now) = (&self.lake.catalog, self.lake.clock.now());
        match catalog.key(&import.workspace, &import.dataset, &key.key, now).await {
            Ok(Some((commit, used))) if used.fingerprint == key.fingerprint => {
                Ok(Some(self.repeated(&commit, Some(used))))
            }
            Ok(Some((commit, _))) => {
                let (key, commit) = (key.key.clone(), commit.number);
                Err(CatalogError::KeyReused { key, commit }.into())
            }
            Ok(None) => Ok(None),
            Err(error) if model::Failure::code(&error) == Code::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn repeated(&self, commit: &Commit, used: Option<IngestKey>) -> ImportReport {
        let (rejected, rejects) = used.map(|key| (key.rejected, key.rejects)).unwrap_or_default();
        ImportReport {
            dataset: self.import.dataset.clone(),
            created: false,
            commit: commit.number,
            time: commit.time,
            batch: commit.batches.first().cloned(),
            rows: commit.rows,
            bytes: commit.bytes,
            rejected,
            rejects,
            repeated: true,
        }
    }

    async fn delete(&self, written: &[Written]) {
        for file in written.iter().filter(|file| file.tail.is_none()) {
            remove(&self.lake.objects, &file.key).await;
        }
    }

    /// Writes all inputs as data files; the same comes out however much is looked at before.
    async fn plan_and_write(
        &self,
        base: &Base,
        rejects: &mut Rejects,
        written: &mut Vec<Written>,
    ) -> Result<Plan, PortError> {
        for blocks in self.guesses(base) {
            let depth = Depth { blocks, ..self.depth };
            if let Ok(Some(plan)) = self.plan(base, depth).await {
                match self.write(&plan, base, rejects, written).await {
                    // Without rows something is wrong that only a look can tell.
                    Ok(()) if plan.whole || !written.is_empty() => return Ok(plan),
                    Err(error) if plan.whole || !is_of_input(&error) => return Err(error),
                    Ok(()) | Err(_) => {
                        self.delete(written).await;
                        written.clear();
                    }
                }
            }
            self.progress.begin_again();
        }
        let whole = Depth { blocks: usize::MAX, ..self.depth };
        let plan = self.plan(base, whole).await?.expect("nothing was left out");
        self.write(&plan, base, rejects, written).await.map(|()| plan)
    }

    /// Returns how many blocks of each file may do: none where the dataset's columns are known, because rows mostly have
    /// the same as those before them.
    fn guesses(&self, base: &Base) -> impl Iterator<Item = usize> + use<> {
        let is_known = matches!(base, Base::Known(dataset) if !dataset.schema.fields.is_empty());
        let guesses = [is_known.then_some(0), Some(self.depth.blocks)];
        // What is rejected depends on all that was seen.
        let may_guess = self.import.rejects.is_none() && self.depth.blocks < usize::MAX;
        guesses.into_iter().flatten().filter(move |_| may_guess)
    }

    async fn plan(&self, base: &Base, depth: Depth) -> Result<Option<Plan>, IngestError> {
        let progress: Arc<dyn Progress> = self.progress.clone();
        Plan::make(self.import, base, depth, &progress).await
    }

    /// Writes all inputs as data files, in order. What is in `written` is durable, also after an error.
    async fn write(
        &self,
        plan: &Plan,
        base: &Base,
        rejects: &mut Rejects,
        written: &mut Vec<Written>,
    ) -> Result<(), PortError> {
        let folder = format!("data/{}", base.id());
        let new =
            || FilesWriter::new(self.lake.objects.clone(), folder.clone(), plan.schema.to_arrow());
        let mut writer = new().with_tail(self.lake.tail_bytes);
        for (at, input) in plan.inputs.iter().enumerate() {
            let done = match input {
                Input::Text { .. } => self.write_text(plan, at, &mut writer, rejects).await,
                Input::Parquet { file, keep }
                    if keep.is_none() || writer.has_room(file.row_bytes()) =>
                {
                    self.write_rows(plan, file, at, (&mut writer, rejects)).await
                }
                Input::Parquet { file, keep } => {
                    let codec = keep.expect("files that are not kept were read above");
                    // Data files keep the order of the inputs.
                    let before = std::mem::replace(&mut writer, new());
                    written.extend(before.finish_file().await?);
                    let kept = file.keep(&self.lake.objects, &folder, codec).await;
                    kept.map(|kept| {
                        self.progress.add(kept.rows, rest(kept.bytes));
                        written.push(kept);
                    })
                }
            };
            if let Err(error) = done {
                writer.discard().await;
                return Err(error);
            }
        }
        written.extend(writer.finish().await?);
        rejects.finish()?;
        match (rejects.first(), rejects.path()) {
            (Some(first), Some(path)) if written.is_empty() => {
                Err(IngestError::AllRejected { first: first.to_owned(), path }.into())
            }
            _ => Ok(()),
        }
    }

    async fn write_text(
        &self,
        plan: &Plan,
        at: usize,
        writer: &mut FilesWriter,
        rejects: &mut Rejects,
    ) -> Result<(), PortError> {
        let Input::Text { source, text, layout } = &plan.inputs[at] else { return Ok(()) };
        let decoder = Decoder::new(layout.clone(), &plan.schema, !plan.whole)?;
        let all = (self.depth.block_bytes, usize::MAX);
        let mut blocks =
            Box::pin(source::blocks(source, text, all, move |block| decoder.decode(&block)));
        let name = &plan.names[at];
        while let Some(next) = blocks.next().await {
            let (rows, raw) = next?;
            let Decoded { batch, bad } = rows?.map_err(|bad| IngestError::Record {
                place: Place { file: name.clone(), line: bad.line },
                reason: bad.reason,
            })?;
            for bad in bad {
                rejects.add(name, bad)?;
            }
            let rows = batch.num_rows() as u64;
            writer.write(plan.received(batch)).await?;
            self.progress.add(rows, rest(raw));
        }
        Ok(())
    }

    async fn write_rows(
        &self,
        plan: &Plan,
        file: &ParquetInput,
        at: usize,
        (writer, rejects): (&mut FilesWriter, &mut Rejects),
    ) -> Result<(), PortError> {
        let mut batches = Box::pin(file.batches());
        let (mut before, mut told) = (0, 0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let rows = batch.num_rows() as u64;
            let name = &plan.names[at];
            let number = |bad: &BadRow| before + bad.row as u64 + 1;
            let received = self.import.receive_time.as_deref();
            let converted = match convert::batch(&batch, &plan.schema, received) {
                Ok(converted) => converted,
                Err(bad) if !rejects.are_wanted() => {
                    let (file, row) = (name.clone(), number(&bad));
                    return Err(IngestError::Row { file, row, reason: bad.reason }.into());
                }
                Err(_) => {
                    let (good, bad) = convert::good_rows(&batch, &plan.schema, received);
                    for bad in bad {
                        rejects.add_row((name, number(&bad)), &bad.reason, &bad.text(&batch))?;
                    }
                    good
                }
            };
            writer.write(plan.received(converted)).await?;
            before += rows;
            let bytes = rest(plan.bytes[at]) * before / file.rows.max(1);
            self.progress.add(rows, bytes - told);
            told = bytes;
        }
        Ok(())
    }
}

/// Progress that does not fall back when an import begins again.
#[derive(Debug)]
struct Furthest {
    of: Arc<dyn Progress>,
    /// Rows and bytes since it began, and what was told.
    counts: Mutex<[(u64, u64); 2]>,
}

impl Furthest {
    fn new(of: Arc<dyn Progress>) -> Self {
        Self { of, counts: Mutex::default() }
    }

    fn begin_again(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)[0] = (0, 0);
    }
}

impl Progress for Furthest {
    fn add(&self, rows: u64, bytes: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let [now, told] = &mut *counts;
        *now = (now.0 + rows, now.1 + bytes);
        let new = (now.0.saturating_sub(told.0), now.1.saturating_sub(told.1));
        *told = (told.0 + new.0, told.1 + new.1);
        self.of.add(new.0, new.1);
    }
}

/// Returns whether the input is to blame: looking at all of it may find other columns, or a worse thing before this one.
fn is_of_input(error: &PortError) -> bool {
    error.downcast_ref::<IngestError>().is_some_and(|error| error.fault() == Fault::Source)
}

/// Returns whether nothing was imported, for a reason that lies in input and dataset alone.
fn is_certain(error: &PortError) -> bool {
    matches!(error.code(), Code::Invalid | Code::NotFound | Code::Conflict)
}

/// Every byte of input is looked at and taken: half of it counts each time.
fn half(bytes: u64) -> u64 {
    bytes / 2
}

fn rest(bytes: u64) -> u64 {
    bytes - half(bytes)
}

fn format_word(format: InputFormat) -> &'static str {
    match format {
        InputFormat::Auto => "auto",
        InputFormat::Parquet => "parquet",
        InputFormat::Jsonl => "jsonl",
        InputFormat::Json => "json",
        InputFormat::Csv => "csv",
    }
}

/// Runs what blocks off the async threads.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, IngestError> + Send + 'static,
) -> Result<T, IngestError> {
    tokio::task::spawn_blocking(job).await.map_err(IngestError::Task)?
}
