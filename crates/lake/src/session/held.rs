//! Counts the rows that window functions hold.
//!
//! The engine's window operators keep their input without asking for memory. Each of them gets a step below
//! that asks for the bytes of every batch that goes in, and one above that gives them back as rows come
//! out. So a window over too many rows fails with the limit's own error.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFrameBound};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// Aggregates that would give every row a copy of all the others.
const COLLECTING: [&str; 2] = ["array_agg", "string_agg"];

/// Refuses window functions whose result grows with the square of the rows.
pub(crate) fn check_windows(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(TreeNodeRecursion::Continue) };
        for expr in &window.window_expr {
            expr.apply(|part| match part {
                Expr::WindowFunction(call) => match &call.fun {
                    WindowFunctionDefinition::AggregateUDF(function)
                        if COLLECTING.contains(&function.name()) =>
                    {
                        plan_err!(
                            "`{}` cannot be used with `over`: every row would hold all the others; \
                             use it with `group by`",
                            function.name()
                        )
                    }
                    _ => Ok(TreeNodeRecursion::Continue),
                },
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(|_| ())
}

/// Puts the two steps around every window operator.
pub(crate) fn count_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let counted = plan.transform_up(|node| {
        let Some(keeps) = keeps(&node) else { return Ok(Transformed::no(node)) };
        let Some(input) = node.children().first().map(|&input| Arc::clone(input)) else {
            return Ok(Transformed::no(node));
        };
        let counts = Arc::new(Counts { keeps, open: Mutex::default() });
        let step = |place, input: Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            Arc::new(CountExec { place, input, counts: Arc::clone(&counts) })
        };
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let window = node.replace_children(vec![step(Place::Below, input)], options)?;
        Ok(Transformed::yes(step(Place::Above, window)))
    });
    counted.map(|transformed| transformed.data)
}

/// What a window operator does with the rows that it has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Holds all rows until the last has come, and then copies them into one batch.
    Twice,
    /// Holds all rows until the end.
    All,
    /// Forgets rows once they are out.
    Waiting,
}

fn keeps(node: &Arc<dyn ExecutionPlan>) -> Option<Keeps> {
    if node.is::<WindowAggExec>() {
        return Some(Keeps::Twice);
    }
    let window = node.downcast_ref::<BoundedWindowAggExec>()?;
    let looks_back = window.window_expr().iter().any(|expr| {
        // An unbounded frame is a running total, which needs no earlier rows.
        let start = &expr.get_window_frame().start_bound;
        matches!(start, WindowFrameBound::Preceding(rows) if !rows.is_null())
    });
    Some(if looks_back { Keeps::All } else { Keeps::Waiting })
}

/// What is held by one operator, for each partition that runs.
#[derive(Debug)]
struct Counts {
    keeps: Keeps,
    open: Mutex<HashMap<usize, Arc<Held>>>,
}

/// What one partition holds.
#[derive(Debug)]
struct Held {
    reservation: MemoryReservation,
    rows: Mutex<usize>,
}

impl Held {
    fn take(&self, batch: &RecordBatch, keeps: Keeps) -> Result<()> {
        let copies = if keeps == Keeps::Twice { 2 } else { 1 };
        self.reservation.try_grow(row_bytes(batch)?.saturating_mul(copies))?;
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) += batch.num_rows();
        Ok(())
    }

    /// Gives back the share of rows that came out.
    fn give(&self, out: usize, keeps: Keeps) {
        if keeps == Keeps::All {
            return;
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.reservation.size();
        let out = out.min(*rows);
        let share = (size as u128 * out as u128).checked_div(*rows as u128).unwrap_or(0);
        let share = usize::try_from(share).unwrap_or(size);
        self.reservation.shrink(share.min(size));
        *rows -= out;
    }
}

/// Bytes of the rows themselves: batches can share their buffers.
fn row_bytes(batch: &RecordBatch) -> Result<usize> {
    let mut bytes: usize = 0;
    for column in batch.columns() {
        bytes = bytes.saturating_add(column.to_data().get_slice_memory_size()?);
    }
    Ok(bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Below,
    Above,
}

/// One of the two steps.
#[derive(Clone, Debug)]
struct CountExec {
    place: Place,
    input: Arc<dyn ExecutionPlan>,
    counts: Arc<Counts>,
}

impl DisplayAs for CountExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountExec: {:?}", self.place)
    }
}

impl ExecutionPlan for CountExec {
    fn name(&self) -> &'static str {
        "CountExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return internal_err!("a counted window has one input");
        };
        Ok(Arc::new(Self { input, ..Self::clone(&self) }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let fresh = || {
            let consumer = MemoryConsumer::new(format!("window[{partition}]"));
            let reservation = consumer.register(context.memory_pool());
            Arc::new(Held { reservation, rows: Mutex::default() })
        };
        let open = || self.counts.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The step above starts first, and starts the one below through the operator between them.
        let held = match self.place {
            Place::Above => {
                let held = fresh();
                open().insert(partition, Arc::clone(&held));
                held
            }
            Place::Below => {
                let known = open().remove(&partition);
                known.unwrap_or_else(fresh)
            }
        };
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let (place, keeps) = (self.place, self.counts.keeps);
        Ok(Box::pin(Counted { place, keeps, input, held }))
    }
}

/// The rows that pass one of the two steps.
struct Counted {
    place: Place,
    keeps: Keeps,
    input: SendableRecordBatchStream,
    held: Arc<Held>,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.input.poll_next_unpin(context));
        let Some(Ok(batch)) = &next else { return Poll::Ready(next) };
        match self.place {
            Place::Below => {
                if let Err(error) = self.held.take(batch, self.keeps) {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            Place::Above => self.held.give(batch.num_rows(), self.keeps),
        }
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
