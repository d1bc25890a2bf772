//! A dataset as the query engine sees it: a fixed list of file rows, with or without the virtual columns.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::TryStreamExt;
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN};
use model::limits;
use model::part::Input;
use model::schema::Schema;

use super::external;
use crate::bind::prune::{self, Candidate};
use crate::read::decode::{self, Columns};
use crate::tail::Reader;

/// Returns the Arrow columns of a table: the stored ones, then the virtual ones if they are wanted.
pub(crate) fn table_schema(schema: &Schema, virtual_columns: bool) -> SchemaRef {
    let stored = schema.to_arrow();
    if !virtual_columns {
        return stored;
    }
    let mut fields: Vec<Arc<Field>> = stored.fields().iter().cloned().collect();
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    fields.push(Arc::new(Field::new(COMMIT_COLUMN, DataType::UInt64, false)));
    fields.push(Arc::new(Field::new(COMMIT_TIME_COLUMN, time, false)));
    Arc::new(ArrowSchema::new(fields))
}

/// The rows of a table, to be read.
#[derive(Clone)]
pub(crate) struct Source {
    /// Where the files are.
    pub(crate) reader: Reader,
    /// Which rows of which files.
    pub(crate) candidates: Vec<Candidate>,
}

/// A table over file rows.
#[derive(Clone)]
pub(crate) struct DatasetTable {
    schema: SchemaRef,
    virtual_columns: bool,
    source: Option<Source>,
}

impl fmt::Debug for DatasetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetTable").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl DatasetTable {
    /// Makes a table; without a source it has no rows and serves for planning.
    pub(crate) fn new(schema: &Schema, virtual_columns: bool, source: Option<Source>) -> Self {
        Self { schema: table_schema(schema, virtual_columns), virtual_columns, source }
    }
}

#[async_trait]
impl TableProvider for DatasetTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Conditions serve to leave out files; rows are still filtered by the engine.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projected = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
        if let Some(source) = &self.source {
            let mut candidates = source.candidates.clone();
            if let Some(filter) = conjunction(filters.iter().cloned()) {
                let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
                if let Ok(predicate) = state.create_physical_expr(filter, &schema) {
                    candidates = prune::prune(
                        &source.reader,
                        (&self.schema, self.virtual_columns),
                        &predicate,
                        candidates,
                    )
                    .await
                    .map_err(external)?;
                }
            }
            let inputs = candidates.into_iter().map(|candidate| candidate.input).collect();
            for inputs in spread(inputs, state.config().target_partitions()) {
                partitions.push(Arc::new(Partition {
                    reader: source.reader.clone(),
                    columns: Arc::new(Columns {
                        schema: Arc::clone(&projected),
                        virtuals: self.virtual_columns,
                        dictionaries: Vec::new(),
                    }),
                    inputs,
                }));
            }
        }
        if partitions.is_empty() {
            let empty = datafusion::physical_plan::empty::EmptyExec::new(projected);
            return Ok(Arc::new(empty));
        }
        let limit = limit.filter(|_| filters.is_empty());
        let plan = StreamingTableExec::try_new(projected, partitions, None, None, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// Spreads rows over up to `count` readers, in order, cutting files where row groups usually end.
fn spread(inputs: Vec<Input>, count: usize) -> Vec<Vec<Input>> {
    let step = limits::ROW_GROUP_ROWS as u64;
    let mut pieces = Vec::new();
    for input in inputs {
        let mut left = input;
        while left.first_row / step != (left.first_row + left.rows - 1) / step {
            let rows = step - left.first_row % step;
            pieces.push(Input { rows, ..left.clone() });
            left.first_row += rows;
            left.rows -= rows;
        }
        pieces.push(left);
    }
    let rows: u64 = pieces.iter().map(|piece| piece.rows).sum();
    let share = rows.div_ceil(count.max(1) as u64).max(1);
    let mut out: Vec<Vec<Input>> = Vec::new();
    let mut filled = share;
    for piece in pieces {
        if filled >= share {
            out.push(Vec::new());
            filled = 0;
        }
        filled += piece.rows;
        let last = out.last_mut().expect("pushed above, as the first share counts as filled");
        match last.last_mut() {
            Some(before)
                if before.key == piece.key && before.first_row + before.rows == piece.first_row =>
            {
                before.rows += piece.rows;
            }
            _ => last.push(piece),
        }
    }
    out
}

/// One reader of a table.
struct Partition {
    reader: Reader,
    columns: Arc<Columns>,
    inputs: Vec<Input>,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.columns.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows =
            decode::decode(self.reader.clone(), self.inputs.clone(), Arc::clone(&self.columns));
        let schema = Arc::clone(&self.columns.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, rows.map_err(external)))
    }
}
