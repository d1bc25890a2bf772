//! A bound relation, compiled: filters and projections in the order in which rows pass them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, NullArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema as ArrowSchema, SchemaRef, UInt32Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use model::limits;
use model::ports::{Positions, Rows};
use model::relation::BoundRelation;

use super::adapt::{adapt_but_strings, schema_of};
use super::decode::Columns;
use crate::bind::reopen;
use crate::session::{DatasetTable, Error, Limits, Session};

/// Turns batches of the table into batches of the output.
pub(crate) struct Mapper {
    columns: Arc<Columns>,
    steps: Vec<Step>,
    output: SchemaRef,
    limits: Limits,
}

/// What happens to rows on their way.
enum Step {
    /// Rows for which it is not true are dropped.
    Filter(Arc<dyn PhysicalExpr>),
    /// The columns are computed.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Nothing comes out.
    Nothing(SchemaRef),
}

impl Mapper {
    /// Plans the relation's text against its table.
    pub(crate) async fn compile(relation: &BoundRelation, limits: &Limits) -> Result<Self, Error> {
        let session = Session::new(relation.now, limits, None)?;
        let table = &relation.table;
        let provider = DatasetTable::new(&table.schema, table.virtual_columns, None);
        session.add_table(&table.name, Arc::new(provider))?;
        let (views, text) = reopen(relation)?;
        for view in &views {
            session.add_view(&view.name, &view.text).await?;
        }
        let plan = session.plan(&text).await?;
        let plan = session.optimize(&plan).await?;
        let mut steps = Vec::new();
        let schema = walk(&session, &plan, &mut steps).map_err(Error::planning)?;
        let (virtuals, dictionaries) = (table.virtual_columns, unchanged(&schema, &steps));
        Ok(Self {
            columns: Arc::new(Columns { schema, virtuals, dictionaries }),
            steps,
            output: relation.output.to_arrow(),
            limits: limits.clone(),
        })
    }

    /// Returns the columns of the table that are needed.
    pub(crate) fn columns(&self) -> Arc<Columns> {
        Arc::clone(&self.columns)
    }

    /// Returns the columns that come out.
    pub(crate) fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Tells whether the output is stored columns under their own names, of every row.
    pub(crate) fn passes_columns(&self) -> bool {
        let table = &self.columns.schema;
        let mut from: Vec<_> = (0..table.fields().len()).collect();
        for step in &self.steps {
            let Step::Project(exprs, _) = step else { return false };
            let origin =
                |expr: &Arc<dyn PhysicalExpr>| Some(from[expr.downcast_ref::<Column>()?.index()]);
            let Some(origins) = exprs.iter().map(origin).collect() else { return false };
            from = origins;
        }
        let same = |(origin, field): (&usize, &FieldRef)| {
            let stored = table.field(*origin);
            stored.name() == field.name()
                && stored.data_type() == field.data_type()
                && self.columns.is_stored(stored.name())
        };
        from.len() == self.output.fields().len() && from.iter().zip(self.output.fields()).all(same)
    }

    /// Returns the columns of the table that the first conditions look at, if it is worth to look at those
    /// alone first: the rows that pass then say what is read of the others.
    pub(crate) fn early_columns(&self) -> Option<Vec<usize>> {
        let table = &self.columns.schema;
        let mut looked_at = BTreeSet::new();
        for predicate in self.early() {
            let Step::Filter(predicate) = predicate else { continue };
            looked_at.extend(collect_columns(predicate).iter().map(Column::index));
        }
        let stored = table.fields().iter().all(|field| self.columns.is_stored(field.name()));
        let some = !looked_at.is_empty() && looked_at.len() < table.fields().len();
        (stored && some).then(|| looked_at.into_iter().collect())
    }

    /// The conditions on the table's own rows.
    fn early(&self) -> &[Step] {
        let filters = self.steps.iter().take_while(|step| matches!(step, Step::Filter(_))).count();
        &self.steps[..filters]
    }

    /// Returns which rows pass the first conditions, of a batch of the columns that they look at.
    pub(crate) fn passing(
        &self,
        batch: &RecordBatch,
        columns: &[usize],
    ) -> Result<Vec<u32>, Error> {
        let running = |error| Error::running(error, &self.limits);
        let rows = batch.num_rows();
        let mut all: Vec<ArrayRef> = Vec::new();
        all.resize_with(self.columns.schema.fields().len(), || Arc::new(NullArray::new(rows)));
        for (at, column) in columns.iter().zip(batch.columns()) {
            all[*at] = Arc::clone(column);
        }
        let all = make(&self.columns.schema, all, rows).map_err(running)?;
        let (_, kept) = self.map(&all, self.early()).map_err(running)?;
        let count = u32::try_from(rows).expect("no more than a batch");
        Ok(match kept {
            Some(kept) => kept.as_primitive::<UInt32Type>().values().to_vec(),
            None => (0..count).collect(),
        })
    }

    /// Maps rows that have passed the first conditions; `read` says for each how many input rows are read up to
    /// and including it.
    pub(crate) fn passed(&self, batch: &RecordBatch, read: &[u64]) -> Result<Rows, Error> {
        let running = |error| Error::running(error, &self.limits);
        let rest = &self.steps[self.early().len()..];
        let (batch, kept) = self.map(batch, rest).map_err(running)?;
        let batch = self.cast(&batch).map_err(running)?;
        let positions = match kept {
            Some(kept) => {
                let rows = kept.as_primitive::<UInt32Type>().values().iter();
                rows.map(|row| read[*row as usize]).collect()
            }
            None => read.to_vec(),
        };
        let read_after = read.last().copied().unwrap_or_default();
        Ok(Rows { batch, read: Positions::Sparse(positions), read_after })
    }

    /// Maps the rows of a batch that comes after `read` input rows.
    pub(crate) fn rows(&self, batch: &RecordBatch, read: u64) -> Result<Rows, Error> {
        let running = |error| Error::running(error, &self.limits);
        let count = batch.num_rows();
        let (batch, kept) = self.map(batch, &self.steps).map_err(running)?;
        let batch = self.cast(&batch).map_err(running)?;
        let positions = match kept {
            Some(kept) if kept.len() < count => {
                let rows = kept.as_primitive::<UInt32Type>().values().iter();
                Positions::Sparse(rows.map(|row| read + u64::from(*row) + 1).collect())
            }
            _ => Positions::Dense { first: read },
        };
        Ok(Rows { batch, read: positions, read_after: read + count as u64 })
    }

    fn map(
        &self,
        batch: &RecordBatch,
        steps: &[Step],
    ) -> Result<(RecordBatch, Option<ArrayRef>), DataFusionError> {
        let mut batch = batch.clone();
        let mut kept: Option<ArrayRef> = None;
        for step in steps {
            match step {
                Step::Filter(predicate) => {
                    let rows = batch.num_rows();
                    let passes = predicate.evaluate(&batch)?.into_array(rows)?;
                    let passes = passes.as_boolean();
                    let before = kept.unwrap_or_else(|| {
                        let rows = u32::try_from(rows).expect("no more than a batch");
                        Arc::new(UInt32Array::from_iter_values(0..rows))
                    });
                    kept = Some(filter(&before, passes)?);
                    batch = filter_record_batch(&batch, passes)?;
                }
                Step::Project(exprs, schema) => {
                    let columns = exprs.iter().map(|expr| self.evaluate(expr, &batch));
                    let columns = columns.collect::<Result<Vec<_>, _>>()?;
                    batch = make(schema, columns, batch.num_rows())?;
                }
                Step::Nothing(schema) => {
                    kept = Some(Arc::new(UInt32Array::from(Vec::<u32>::new())));
                    batch = RecordBatch::new_empty(Arc::clone(schema));
                }
            }
        }
        Ok((batch, kept))
    }

    /// Computes a column. One large constant for every row is refused before it is copied that often.
    fn evaluate(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
    ) -> Result<ArrayRef, DataFusionError> {
        let rows = batch.num_rows();
        let value = expr.evaluate(batch)?;
        if let ColumnarValue::Scalar(scalar) = &value {
            let bytes = (scalar.size() as u64).saturating_mul(rows as u64);
            let max = self.limits.value_bytes.saturating_mul(8);
            if bytes > max {
                return Err(crate::session::external(Error::Value {
                    function: "a constant".into(),
                    bytes,
                    place: "for one batch of rows",
                    max,
                }));
            }
        }
        value.into_array(rows)
    }

    fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let columns = batch.columns().iter().zip(self.output.fields());
        let columns = columns.map(|(column, field)| adapt_but_strings(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        make(&self.output, columns, batch.num_rows())
    }
}

/// Columns that the table has and what is known of them may differ in nullability and dictionaries only.
fn make(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, DataFusionError> {
    debug_assert!(rows <= limits::ROW_GROUP_ROWS, "batches are small");
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = schema_of(schema, &columns);
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Returns by column of the table whether its values only pass through: nothing computes with them, so
/// they may come in any form.
fn unchanged(table: &SchemaRef, steps: &[Step]) -> Vec<bool> {
    let mut unchanged = vec![true; table.fields().len()];
    // Where each column of the step comes from, if it is one of the table's.
    let mut from: Vec<_> = (0..unchanged.len()).map(Some).collect();
    for step in steps {
        match step {
            Step::Filter(predicate) => computed(predicate, &from, &mut unchanged),
            Step::Project(exprs, _) => {
                let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().cloned();
                for expr in exprs.iter().filter(|expr| column(expr).is_none()) {
                    computed(expr, &from, &mut unchanged);
                }
                let origin = |expr| from[column(expr)?.index()];
                from = exprs.iter().map(origin).collect();
            }
            Step::Nothing(_) => {}
        }
    }
    unchanged
}

fn computed(expr: &Arc<dyn PhysicalExpr>, from: &[Option<usize>], unchanged: &mut [bool]) {
    for column in collect_columns(expr) {
        if let Some(origin) = from[column.index()] {
            unchanged[origin] = false;
        }
    }
}

/// Collects the steps of a plan from its table up; returns the columns that the table must give.
fn walk(
    session: &Session,
    plan: &LogicalPlan,
    steps: &mut Vec<Step>,
) -> Result<SchemaRef, DataFusionError> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            Ok(Arc::new(scan.projected_schema.as_arrow().clone()))
        }
        LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
            steps.push(Step::Nothing(Arc::new(empty.schema.as_arrow().clone())));
            Ok(Arc::new(ArrowSchema::empty()))
        }
        LogicalPlan::SubqueryAlias(alias) => walk(session, &alias.input, steps),
        LogicalPlan::Filter(filter) => {
            let needed = walk(session, &filter.input, steps)?;
            let schema = filter.input.schema();
            let predicate =
                session.state().create_physical_expr(filter.predicate.clone(), schema)?;
            if predicate.data_type(schema.as_arrow())? == DataType::Boolean {
                steps.push(Step::Filter(predicate));
            } else {
                return datafusion::common::plan_err!("a condition must be true or false");
            }
            Ok(needed)
        }
        LogicalPlan::Projection(projection) => {
            let needed = walk(session, &projection.input, steps)?;
            let schema = projection.input.schema();
            let state = session.state();
            let exprs = projection.expr.iter();
            let exprs = exprs.map(|expr| state.create_physical_expr(expr.clone(), schema));
            let exprs = exprs.collect::<Result<Vec<_>, _>>()?;
            let fields = exprs.iter().zip(projection.schema.fields()).map(|(expr, field)| {
                let kind = expr.data_type(schema.as_arrow())?;
                Ok(field.as_ref().clone().with_data_type(kind).with_nullable(true))
            });
            let fields = fields.collect::<Result<Vec<_>, DataFusionError>>()?;
            steps.push(Step::Project(exprs, Arc::new(ArrowSchema::new(fields))));
            Ok(needed)
        }
        other => datafusion::common::plan_err!(
            "`{}` does not map rows one by one",
            other.display().to_string().split([':', ' ']).next().unwrap_or_default()
        ),
    }
}
