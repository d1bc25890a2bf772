//! Writes rows of data files anew: merged with others, or without some of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::UInt64Type;
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use futures::StreamExt;
use model::dataset::{COMMIT_COLUMN, CommitRun, DataFile, Dataset, NewFile};
use model::ports::Progress;
use model::{CommitNumber, PortError};

use crate::Lake;
use crate::bind::in_order;
use crate::files::{FilesWriter, Note, batch_bytes};
use crate::read::decode::{self, Columns};
use crate::session::{self, BATCH_ROWS, table_schema};
use crate::tail::Reader;

/// The name under which a file says in its footer which commits its rows belong to.
///
/// Shape: a JSON array with `[commit, microseconds, rows]` for each commit: the first with its number and its
/// time since 1970, the others with the difference to the one before.
const COMMITS_NOTE: &str = "sluice.commits";

/// Bytes at which rows of small commits are enough to be encoded.
const FEW_BYTES: usize = 4 << 20;

/// Rows to be written anew.
pub(super) struct Rewrite<'a> {
    /// The dataset as it is now.
    pub(super) dataset: &'a Dataset,
    /// Where they are read.
    pub(super) reader: &'a Reader,
    /// The files that they are in, in order.
    pub(super) files: &'a [DataFile],
    /// Which commits' rows stay.
    pub(super) stays: &'a (dyn Fn(CommitNumber) -> bool + Sync),
    /// The rows for which this is true are left out.
    pub(super) except: Option<&'a Arc<dyn PhysicalExpr>>,
}

/// Writes the rows that stay as one new file, in order.
///
/// Shape: the file has the dataset's newest columns; nothing where no row is left. Its place is that of the
/// first file.
pub(super) async fn rewrite(
    lake: &Lake,
    what: Rewrite<'_>,
    progress: &dyn Progress,
) -> Result<Option<NewFile>, PortError> {
    let Rewrite { dataset, reader, files, stays, except } = what;
    let Some(first) = files.first() else { return Ok(None) };
    let pieces = in_order(files, stays);
    let inputs = pieces.iter().map(|piece| piece.input(files)).collect();
    let schema = table_schema(&dataset.schema, true);
    let columns = Columns { schema, virtuals: true, dictionaries: Vec::new() };
    let commit_at = columns.schema.index_of(COMMIT_COLUMN).expect("it is one of the virtual ones");
    let mut rows = Box::pin(decode::decode(reader.clone(), inputs, Arc::new(columns)));
    let folder = format!("data/{}", dataset.id);
    let mut writer = FilesWriter::new(Arc::clone(&lake.objects), folder, dataset.schema.to_arrow())
        .with_file_bytes(u64::MAX);
    let mut runs = Runs::new(files);
    let mut few = Few::default();
    while let Some(batch) = rows.next().await {
        let read = batch.map_err(PortError::from).and_then(|batch| {
            progress.add(batch.num_rows() as u64, batch.get_array_memory_size() as u64);
            Ok(leave_out(batch, except).map_err(|e| session::Error::running(e, lake.limits()))?)
        });
        let done = match read {
            Ok(batch) => {
                runs.add(&batch, commit_at);
                let stored: Vec<usize> = (0..dataset.schema.fields.len()).collect();
                let stored = batch.project(&stored).expect("stored columns come first");
                few.write(&mut writer, stored).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            writer.discard().await;
            return Err(error);
        }
    }
    few.flush(&mut writer).await?;
    writer.note(Note { key: COMMITS_NOTE, value: runs.note() });
    let written = writer.finish().await?.pop();
    Ok(written.map(|written| NewFile {
        place: first.place,
        runs: runs.found,
        ..written.into_new(first.batch.clone(), dataset.schema.id())
    }))
}

/// Rows of small commits, which are written some thousands at a time: each batch that is encoded wakes threads.
#[derive(Default)]
struct Few {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Few {
    async fn write(&mut self, to: &mut FilesWriter, batch: RecordBatch) -> Result<(), PortError> {
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
        if self.rows >= BATCH_ROWS || self.bytes >= FEW_BYTES {
            self.flush(to).await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self, to: &mut FilesWriter) -> Result<(), PortError> {
        let Self { batches, .. } = std::mem::take(self);
        let Some(first) = batches.first() else { return Ok(()) };
        let all = concat_batches(&first.schema(), &batches).expect("they have the same columns");
        to.write(all).await
    }
}

/// Leaves out the rows for which the condition is true.
fn leave_out(
    batch: RecordBatch,
    except: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<RecordBatch, DataFusionError> {
    let Some(except) = except else { return Ok(batch) };
    let found = except.evaluate(&batch)?.into_array(batch.num_rows())?;
    let stays: BooleanArray =
        found.as_boolean().iter().map(|found| Some(found != Some(true))).collect();
    Ok(filter_record_batch(&batch, &stays)?)
}

/// Notes which commits the rows written so far belong to.
struct Runs {
    times: BTreeMap<CommitNumber, DateTime<Utc>>,
    found: Vec<CommitRun>,
    rows: u64,
}

impl Runs {
    fn new(files: &[DataFile]) -> Self {
        let runs = files.iter().flat_map(|file| &file.runs);
        Self { times: runs.map(|run| (run.commit, run.time)).collect(), found: Vec::new(), rows: 0 }
    }

    fn add(&mut self, batch: &RecordBatch, commit_at: usize) {
        let commits = batch.column(commit_at).as_primitive::<UInt64Type>();
        debug_assert_eq!(commits.null_count(), 0, "every row has a commit");
        for commit in commits.values() {
            let commit = CommitNumber(*commit);
            if self.found.last().is_none_or(|run| run.commit != commit) {
                let time = self.times[&commit];
                self.found.push(CommitRun { commit, time, first_row: self.rows });
            }
            self.rows += 1;
        }
    }

    /// Says the same as text for the file's footer; the catalog is the truth, but can be lost.
    fn note(&self) -> String {
        let ends = self.found.iter().skip(1).map(|run| run.first_row).chain([self.rows]);
        let (mut commit, mut time) = (0, 0);
        let entries = self.found.iter().zip(ends).map(|(run, end)| {
            let (number, at) = (run.commit.0, run.time.timestamp_micros());
            let entry = format!("[{},{},{}]", number - commit, at - time, end - run.first_row);
            (commit, time) = (number, at);
            entry
        });
        format!("[{}]", entries.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_how_many_rows_each_commit_has() {
        let run = |commit, micros, first_row| CommitRun {
            commit: CommitNumber(commit),
            time: DateTime::from_timestamp_micros(micros).expect("a time"),
            first_row,
        };
        let found = vec![run(3, 1000, 0), run(4, 1000, 5), run(9, 1500, 6)];
        let runs = Runs { times: BTreeMap::new(), found, rows: 10 };
        assert_eq!(runs.note(), "[[3,1000,5],[1,0,1],[5,500,4]]");
        let runs = Runs { times: BTreeMap::new(), found: Vec::new(), rows: 0 };
        assert_eq!(runs.note(), "[]");
    }
}
