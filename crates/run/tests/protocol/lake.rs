//! A lake of ascending integers, and an encoder that writes one a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, UInt64Array};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use model::dataset::CommitRun;
use model::format::{EncoderId, Encoding, FormatSpec};
use model::part::{Input, PartId};
use model::ports::{
    Bind, Bound, Encoded, EncodedChunk, EncodedStream, Encoder, NameContext, Positions, ReadTask,
    Relations, RowStream, Rows, Stage,
};
use model::relation::{BoundRelation, BoundTable, Source};
use model::schema::{Field, Schema, Type};
use model::{Code, CommitNumber, DatasetId, Fault, ObjectKey, PortError, RunId, SchemaId};

use crate::process::Handle;

#[derive(Clone, Debug)]
struct File {
    key: String,
    values: Vec<u64>,
    runs: Vec<CommitRun>,
}

/// Every second commit is merged with the one before it into a new file, as compaction would; the old
/// file stays readable for runs that pinned it.
#[derive(Debug, Default)]
pub(crate) struct Lake {
    files: Vec<File>,
    readable: BTreeMap<String, Vec<u64>>,
    commits: usize,
    next: u64,
    /// What the name of the dataset stands for.
    pub(crate) dataset: Option<DatasetId>,
}

impl Lake {
    pub(crate) fn commits(&self) -> usize {
        self.commits
    }

    pub(crate) fn head(&self) -> CommitNumber {
        CommitNumber(self.commits as u64)
    }

    pub(crate) fn commit(&mut self, rows: u64, time: DateTime<Utc>) {
        self.commits += 1;
        if rows == 0 {
            return;
        }
        let values: Vec<_> = (self.next..self.next + rows).collect();
        self.next += rows;
        let commit = self.head();
        let key = format!("lake/{commit}");
        let mut file = File { key, values, runs: vec![CommitRun { commit, time, first_row: 0 }] };
        if self.commits.is_multiple_of(2)
            && let Some(mut merged) = self.files.pop()
        {
            file.runs[0].first_row = merged.values.len() as u64;
            merged.key = format!("{}+{commit}", merged.key);
            merged.values.extend(file.values);
            merged.runs.extend(file.runs);
            file = merged;
        }
        self.readable.insert(file.key.clone(), file.values.clone());
        self.files.push(file);
    }

    /// Merges all files into a new one: the same rows, other files.
    pub(crate) fn compact(&mut self) {
        let files = std::mem::take(&mut self.files);
        let keys: Vec<_> = files.iter().map(|file| file.key.as_str()).collect();
        let mut whole = File { key: format!("{}*", keys.join("+")), values: vec![], runs: vec![] };
        for file in files {
            let moved = whole.values.len() as u64;
            let run = |run: CommitRun| CommitRun { first_row: run.first_row + moved, ..run };
            whole.runs.extend(file.runs.into_iter().map(run));
            whole.values.extend(file.values);
        }
        if !whole.values.is_empty() {
            self.readable.insert(whole.key.clone(), whole.values.clone());
            self.files.push(whole);
        }
    }

    fn inputs(&self, from: CommitNumber, to: CommitNumber) -> Vec<Input> {
        let input = |file: &File| {
            let rows = file.values.len() as u64;
            let from_row = |after: CommitNumber| {
                let next = file.runs.iter().find(|run| run.commit > after);
                next.map_or(rows, |run| run.first_row)
            };
            let (first_row, end) = (from_row(from), from_row(to));
            (first_row < end).then(|| Input {
                key: ObjectKey::new(&file.key),
                file_bytes: 1,
                file_rows: rows,
                sha256: String::new(),
                schema_id: SchemaId::new("s"),
                first_row,
                rows: end - first_row,
                runs: file.runs.clone(),
            })
        };
        self.files.iter().filter_map(input).collect()
    }

    /// Returns the rows that an export of the range has to hold.
    pub(crate) fn expected(&self, from: CommitNumber, to: CommitNumber, filter: bool) -> Vec<u64> {
        let rows = |input: Input| {
            let values = &self.readable[input.key.as_str()];
            let first = usize::try_from(input.first_row).unwrap();
            values[first..][..usize::try_from(input.rows).unwrap()].to_vec()
        };
        let all = self.inputs(from, to).into_iter().flat_map(rows);
        all.filter(|value| !filter || value % 3 != 0).collect()
    }

    pub(crate) fn staged(&self) -> usize {
        self.readable.keys().filter(|key| key.starts_with("staged/")).count()
    }
}

fn failed(fault: Fault, message: &str) -> PortError {
    PortError::new(Code::Invalid, fault, message)
}

#[async_trait]
impl Relations for Handle {
    async fn bind(&self, bind: &Bind) -> Result<Bound, PortError> {
        let world = &self.0.world;
        let shuffles = matches!(bind.relation.source, Source::Sql(_));
        let inputs = self.0.look(|| world.lake.lock().unwrap().inputs(bind.from, bind.to)).await;
        let inputs = match (&bind.stage, shuffles) {
            (_, false) => inputs,
            (Stage::Check, true) => Vec::new(),
            (Stage::Into { run, epoch }, true) => {
                let key = format!("staged/{run}/e{epoch}");
                let staged = self.0.write("stage", || {
                    let mut lake = world.lake.lock().unwrap();
                    let values = lake.expected(bind.from, bind.to, false);
                    lake.readable.insert(key.clone(), values.clone());
                    values
                });
                let rows = staged.await.map_err(|_| unavailable())?.len() as u64;
                let input = Input {
                    key: ObjectKey::new(key),
                    first_row: 0,
                    rows,
                    runs: Vec::new(),
                    ..inputs[0].clone()
                };
                vec![input]
            }
        };
        let dataset = world.lake.lock().unwrap().dataset.clone();
        Ok(Bound {
            relation: bound(bind, dataset),
            inputs,
            row_by_row: !shuffles,
            copies: None,
            reset: Vec::new(),
        })
    }

    async fn count(&self, bind: &Bind) -> Result<u64, PortError> {
        let rows = self.0.world.lake.lock().unwrap().expected(bind.from, bind.to, false);
        Ok(rows.len() as u64)
    }

    async fn read(&self, task: &ReadTask) -> Result<RowStream, PortError> {
        self.0.look(|| ()).await;
        let lake = self.0.world.lake.lock().unwrap();
        let mut values = Vec::new();
        for input in &task.inputs {
            let file = lake.readable.get(input.key.as_str());
            let file = file.ok_or_else(|| failed(Fault::Source, "a lake file is missing"))?;
            let first = usize::try_from(input.first_row).unwrap();
            values.extend_from_slice(&file[first..][..usize::try_from(input.rows).unwrap()]);
        }
        let filtered = task.relation.filtered;
        let batches: Vec<_> = values
            .chunks(2)
            .enumerate()
            .map(|(n, rows)| Ok(batch(n as u64 * 2, rows, filtered)))
            .collect();
        Ok(Box::pin(stream::iter(batches)))
    }

    async fn seal(&self, _: &Bind) -> Result<(), PortError> {
        Ok(())
    }

    async fn copy(&self, _: &ReadTask, _: &Encoding) -> Result<Option<EncodedStream>, PortError> {
        Ok(None)
    }

    async fn unstage(&self, run: &RunId, epoch: u64) -> Result<(), PortError> {
        let world = &self.0.world;
        let remove = || {
            let mut lake = world.lake.lock().unwrap();
            for epoch in 1..=epoch {
                lake.readable.remove(&format!("staged/{run}/e{epoch}"));
            }
        };
        self.0.write("unstage", remove).await.map_err(|_| unavailable())?;
        Ok(())
    }
}

fn unavailable() -> PortError {
    PortError::new(Code::Unavailable, Fault::Own, "the lake is away")
}

fn bound(bind: &Bind, dataset: Option<DatasetId>) -> BoundRelation {
    let schema = Schema { fields: vec![Field::new("value", Type::UInt64)] };
    BoundRelation {
        sql: "select value".into(),
        views: Vec::new(),
        table: BoundTable {
            name: "events".into(),
            dataset,
            schema: schema.clone(),
            virtual_columns: true,
        },
        now: bind.now,
        output: schema,
        filtered: bind.relation.selection.filter.is_some(),
    }
}

fn batch(first: u64, rows: &[u64], filtered: bool) -> Rows {
    let numbered = (first + 1..).zip(rows);
    let kept: Vec<_> = numbered.filter(|(_, value)| !filtered || *value % 3 != 0).collect();
    let values = UInt64Array::from_iter_values(kept.iter().map(|(_, value)| **value));
    let schema = Schema { fields: vec![Field::new("value", Type::UInt64)] };
    let batch = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(values)]).unwrap();
    let read = if filtered {
        Positions::Sparse(kept.iter().map(|(read, _)| *read).collect())
    } else {
        Positions::Dense { first }
    };
    Rows { batch, read, read_after: first + rows.len() as u64 }
}

impl Encoder for Handle {
    fn check(&self, spec: &FormatSpec, _: &Schema) -> Result<Encoding, PortError> {
        if spec.format != "lines" {
            return Err(failed(Fault::Request, "no such format"));
        }
        Ok(Encoding {
            spec: spec.clone(),
            compression: "none".into(),
            encoder: EncoderId(self.0.world.books.lock().unwrap().encoder.clone()),
            extension: ".txt".into(),
            copies: false,
        })
    }

    fn name(
        &self,
        encoding: &Encoding,
        _: &NameContext,
        part: PartId,
        parts: u64,
    ) -> Result<String, PortError> {
        match &encoding.spec.name {
            None => Ok(format!("part-{part}.txt")),
            Some(fixed) if parts == 1 || fixed.starts_with('!') => Ok(format!("{fixed}.txt")),
            Some(_) => Err(failed(Fault::Request, "the names of several files would be the same")),
        }
    }

    fn encode(&self, encoding: &Encoding, _: &Schema, rows: RowStream) -> EncodedStream {
        let most = encoding.spec.file_bytes;
        Box::pin(stream::once(lines(rows, most)).flat_map(stream::iter))
    }
}

async fn lines(mut rows: RowStream, most: Option<u64>) -> Vec<Result<EncodedChunk, PortError>> {
    let mut chunks = Vec::new();
    let mut end = Encoded::default();
    'file: while let Some(rows) = rows.next().await {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return vec![Err(error)],
        };
        let values = rows.batch.column(0).as_primitive::<UInt64Type>();
        for (row, value) in values.values().iter().enumerate() {
            // Wider than in the sample, which has no maximum: so the plan is wrong and parts split.
            let width = if most.is_some() { 5 } else { 1 };
            let line = format!("{value:0width$}\n");
            let bytes = end.uncompressed_bytes + line.len() as u64;
            if most.is_some_and(|most| bytes > most) {
                if end.rows == 0 {
                    return vec![Err(failed(Fault::Request, "a row does not fit"))];
                }
                break 'file;
            }
            end.uncompressed_bytes = bytes;
            end.rows += 1;
            end.rows_read = rows.read.read(row);
            chunks.push(Ok(EncodedChunk::Bytes(line.into())));
        }
        end.rows_read = rows.read_after;
    }
    chunks.push(Ok(EncodedChunk::End(end)));
    chunks
}
