//! The query engine, set up so that a text can do no more than read what it is shown.
//!
//! A session knows the tables and views that were registered for one text, nothing else: no files, no
//! URLs, no table functions, no catalogs. Names match exactly as they are written; `now()` is a given
//! instant; memory, spilled bytes and time have limits.

mod bounds;
mod errors;
#[cfg(test)]
pub(crate) mod fixture;
mod functions;
mod held;
mod names;
mod run;
mod statement;
mod table;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};
use futures::TryFutureExt;
use model::limits;

pub(crate) use errors::{Error, OutputError, nearest};
pub(crate) use names::quote;
use run::Deadline;
pub(crate) use run::{Running, run};
pub(crate) use statement::{Text, condition, select_list};
pub(crate) use table::{DatasetTable, Source, table_schema};

/// Rows of one batch.
pub(crate) const BATCH_ROWS: usize = 8192;

/// What one query may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of memory held by sorts, joins and aggregates before they spill or fail.
    pub memory_bytes: usize,
    /// Bytes spilled to disk.
    pub spill_bytes: u64,
    /// Seconds from start to the last row.
    pub seconds: f64,
    /// The same where a relation is computed for a run.
    pub staging_seconds: f64,
    /// Seconds of planning.
    pub planning_seconds: f64,
    /// Bytes of one value that a growing function makes.
    pub value_bytes: u64,
    /// Bytes of rows that staging writes, before compression.
    pub staged_bytes: u64,
}

impl Default for Limits {
    #[expect(clippy::cast_precision_loss, reason = "an hour of seconds")]
    fn default() -> Self {
        Self {
            memory_bytes: limits::SQL_MEMORY_BYTES,
            spill_bytes: limits::SQL_SPILL_BYTES,
            seconds: limits::SQL_SECONDS as f64,
            staging_seconds: limits::STAGING_SECONDS as f64,
            planning_seconds: limits::SQL_PLANNING_SECONDS as f64,
            value_bytes: limits::SQL_VALUE_BYTES,
            staged_bytes: limits::STAGED_BYTES_MAX,
        }
    }
}

impl Limits {
    /// Returns the limits of what is computed for a run, where nobody waits at a prompt.
    pub(crate) fn of_staging(&self) -> Self {
        Self { seconds: self.staging_seconds, ..self.clone() }
    }
}

/// One text's view of the world.
pub(crate) struct Session {
    context: SessionContext,
    limits: Limits,
    planning: Deadline,
    deadline: Deadline,
}

impl Session {
    /// Makes a session that knows no tables. `scratch` is where it may spill; without it, it may not.
    pub(crate) fn new(
        now: DateTime<Utc>,
        limits: &Limits,
        scratch: Option<&Path>,
    ) -> Result<Self, Error> {
        let mode = match scratch {
            Some(folder) => DiskManagerMode::Directories(vec![folder.to_owned()]),
            None => DiskManagerMode::Disabled,
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(limits.spill_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|source| Error::Setup { source: Box::new(source) })?;
        let mut state = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime)
            .with_default_features()
            .build();
        let tables: Vec<String> = state.table_functions().keys().cloned().collect();
        for name in tables {
            state.deregister_udtf(&name).map_err(Error::planning)?;
        }
        functions::install(&mut state, now, limits).map_err(Error::planning)?;
        let context = SessionContext::new_with_state(state);
        let deadline = Deadline::start(limits.seconds);
        let planning = deadline.or_planning(limits.planning_seconds);
        Ok(Self { context, limits: limits.clone(), planning, deadline })
    }

    /// Makes a table known.
    pub(crate) fn add_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<(), Error> {
        let name = TableReference::bare(name.to_owned());
        self.context.register_table(name, table).map_err(Error::planning)?;
        Ok(())
    }

    /// Makes a view known; what it names must be known already.
    pub(crate) async fn add_view(&self, name: &str, text: &Text) -> Result<(), Error> {
        let plan = self.plan(text).await?;
        self.add_table(name, Arc::new(ViewTable::new(plan, Some(text.to_string()))))
    }

    /// Plans a text: names and types resolved, nothing rewritten.
    pub(crate) async fn plan(&self, text: &Text) -> Result<LogicalPlan, Error> {
        let state = self.context.state();
        text.check_functions(&state)?;
        let query: Box<Query> = Box::new(text.query().clone());
        let statement = Statement::Statement(Box::new(SqlStatement::Query(query)));
        let planned = async move {
            let plan = state.statement_to_plan(statement).await?;
            // Before anything walks the plan.
            bounds::check_steps(&plan)?;
            let only_reads = datafusion::prelude::SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false);
            only_reads.verify_plan(&plan)?;
            held::check_windows(&plan)?;
            Ok(plan)
        };
        run::within(self.planning, planned.map_err(Error::planning)).await
    }

    /// Rewrites a plan into its cheapest form, which finds what is wrong with it without running it.
    pub(crate) async fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan, Error> {
        let (state, limits, plan) = (self.context.state(), self.limits.clone(), plan.clone());
        run::within(self.planning, async move { optimize(&state, &limits, &plan) }).await
    }

    /// Makes a plan that can run.
    pub(crate) async fn physical(
        &self,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let (state, plan) = (self.context.state(), self.optimize(plan).await?);
        let planned = async move {
            let plan = state.create_physical_plan(&plan).await;
            plan.and_then(held::count_windows).and_then(make_stoppable).map_err(Error::planning)
        };
        // Footers are read here: a large lake takes its time, whatever the text.
        run::within(self.deadline, planned).await
    }

    /// Returns the state, for compiling expressions.
    pub(crate) fn state(&self) -> SessionState {
        self.context.state()
    }

    /// Returns what a query may take.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns when its time is over, which started with the session.
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }
}

fn optimize(
    state: &SessionState,
    limits: &Limits,
    plan: &LogicalPlan,
) -> Result<LogicalPlan, Error> {
    let plan = state.optimize(plan).map_err(Error::planning)?;
    // Constants are copied for every row of a batch.
    let max = limits.value_bytes.saturating_mul(functions::VALUES_PER_BATCH) / BATCH_ROWS as u64;
    let bytes = bounds::constant_bytes(&plan).map_err(Error::planning)?;
    if bytes <= max {
        return Ok(plan);
    }
    Err(Error::Value { function: "constants".into(), bytes, place: "for every row", max })
}

/// Lets a query be stopped between any two batches. A join or an `unnest` makes many batches of one, and
/// what takes them would go on without a pause for as long as there are more.
fn make_stoppable(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let stoppable = plan.transform_up(|node| {
        if node.children().len() > 1 || node.name() == "UnnestExec" {
            let node: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            return Ok(Transformed::yes(node));
        }
        Ok(Transformed::no(node))
    });
    stoppable.map(|transformed| transformed.data)
}

fn config() -> SessionConfig {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(threads)
        .with_information_schema(false);
    let options = config.options_mut();
    // A column `InvoiceNo` is found by that name, without quotes.
    options.sql_parser.enable_ident_normalization = false;
    // What comes out is written to files, which have one type of text.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.optimizer.expand_views_at_output = false;
    // A view's own `ORDER BY` is kept: exports come out in it.
    options.sql_parser.enable_subquery_sort_elimination = false;
    config
}

/// An error of ours on its way through the engine.
pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests;
