//! Binds relations: every name resolved, every row range fixed, so that what follows needs no database.
//!
//! A relation that maps the rows of one dataset one by one is bound to row ranges of that dataset's
//! files. Any other is computed once for its run and bound to the files of the result; over a range of commits
//! only if it makes rows of each input row by itself.

pub(crate) mod prune;
mod ranges;
mod resolve;
mod shape;
mod window;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use futures::TryStreamExt;
use model::dataset::{CommitKind, Snapshot};
use model::format::Encoding;
use model::part::Input;
use model::ports::{
    Bind, Bound, CatalogError, Compacted, EncodedStream, ReadTask, Relations, RowStream, Stage,
};
use model::relation::{BoundRelation, BoundTable};
use model::schema::Schema;
use model::{CommitNumber, PortError, RunId, WorkspaceId};

use crate::Lake;
use crate::read::Mapper;
use crate::session::{self, DatasetTable, Error, OutputError, Session, Source, Text, table_schema};
use crate::stage::folder;
use prune::Candidate;
pub(crate) use ranges::{between, in_order};
pub(crate) use resolve::{Resolved, Table, reopen};
pub(crate) use window::bound_ticks;

use shape::Shape;

/// Times the tail is sealed anew because somebody else has changed it meanwhile.
const SEAL_TRIES: usize = 20;

/// Commits asked for at once.
const COMMITS_PER_PAGE: u32 = 1000;

/// Returns the compression of the files, if all have the same.
fn codec(snapshot: &Snapshot, inputs: &[Input]) -> Option<String> {
    let keys: HashSet<_> = inputs.iter().map(|input| &input.key).collect();
    let files = snapshot.files.iter().filter(|file| keys.contains(&file.key));
    let mut codecs = files.map(|file| &file.codec);
    let first = codecs.next()?;
    codecs.all(|codec| codec == first).then(|| first.clone())
}

#[async_trait]
impl Relations for Lake {
    async fn seal(&self, bind: &Bind) -> Result<(), PortError> {
        // As if it were for a run, so that no bytes are fetched.
        let run = RunId::mint(bind.now);
        let bind = Bind { stage: Stage::Into { run, epoch: 0 }, ..bind.clone() };
        self.resolve_sealed(&bind).await?;
        Ok(())
    }

    async fn bind(&self, bind: &Bind) -> Result<Bound, PortError> {
        let planned = self.plan_relation(bind).await?;
        let reset = self.reset(bind, &planned.resolved).await?;
        if let Some(function) = shape::volatile(&planned.plan)? {
            return Err(Error::Volatile { name: function }.into());
        }
        match (planned.shape()?, &bind.stage) {
            (Shape::RowByRow, _) => self.row_by_row(bind, planned, reset).await,
            (Shape::Other(shape), _) if bind.from > CommitNumber(0) => {
                Err(Error::NotIncremental { shape }.into())
            }
            (Shape::RowsOfEach | Shape::Other(_), stage) => {
                let output = planned.output()?;
                // It is written as files of the lake first.
                output.check_kept().map_err(|error| Error::from(OutputError(error)))?;
                let inputs = match stage {
                    Stage::Check => Vec::new(),
                    Stage::Into { run, epoch } => {
                        self.stage(&planned, &output, folder(run, *epoch)).await?
                    }
                };
                let relation = crate::stage::relation(output, bind.now);
                Ok(Bound {
                    relation,
                    inputs,
                    row_by_row: false,
                    copies: Some("zstd".into()),
                    reset,
                })
            }
        }
    }

    async fn count(&self, bind: &Bind) -> Result<u64, PortError> {
        let planned = self.plan_relation(bind).await?;
        let counted = datafusion::functions_aggregate::count::count_all();
        let no_groups: Vec<Expr> = Vec::new();
        let plan = LogicalPlanBuilder::from(planned.plan)
            .aggregate(no_groups, vec![counted])
            .and_then(LogicalPlanBuilder::build)
            .map_err(Error::planning)?;
        let physical = planned.session.physical(&plan).await?;
        let rows = session::run(&planned.session, physical).try_collect::<Vec<_>>().await?;
        let counts = rows.iter().filter_map(|batch| {
            let counts = batch.column(0);
            let counts = counts.as_any().downcast_ref::<arrow::array::Int64Array>()?;
            u64::try_from(counts.iter().flatten().next()?).ok()
        });
        Ok(counts.sum())
    }

    async fn read(&self, task: &ReadTask) -> Result<RowStream, PortError> {
        self.read_rows(task).await
    }

    async fn copy(
        &self,
        task: &ReadTask,
        encoding: &Encoding,
    ) -> Result<Option<EncodedStream>, PortError> {
        self.copied(task, encoding).await
    }

    async fn unstage(&self, run: &RunId, epoch: u64) -> Result<(), PortError> {
        self.remove_staged(run, epoch).await
    }
}

/// A relation with every name resolved and planned over its rows.
pub(crate) struct Planned {
    pub(crate) session: Session,
    pub(crate) plan: LogicalPlan,
    text: Text,
    resolved: Resolved,
}

impl Planned {
    fn shape(&self) -> Result<Shape, Error> {
        if self.resolved.tables.len() > 1 {
            // A part knows one table, and the text may name others that the plan does not read.
            return Ok(Shape::Other("names more than one dataset".into()));
        }
        shape::shape(&self.plan)
    }

    /// Returns the columns that come out. Computed ones may be null, whatever the planner thinks.
    pub(crate) fn output(&self) -> Result<Schema, Error> {
        output(&self.plan)
    }
}

/// Returns the columns of a plan as files can hold them.
pub(crate) fn output(plan: &LogicalPlan) -> Result<Schema, Error> {
    let arrow = plan.schema().as_arrow();
    let mut schema = Schema::from_arrow(arrow).map_err(|error| match error {
        model::schema::Error::Duplicate(name) => Error::Duplicate { name },
        other => OutputError(other).into(),
    })?;
    let stored = shape::plain_columns(plan);
    for (at, field) in schema.fields.iter_mut().enumerate() {
        field.nullable |= !stored.get(at).copied().unwrap_or(false);
    }
    let mut seen = std::collections::BTreeSet::new();
    for field in &schema.fields {
        if !seen.insert(&field.name) {
            return Err(Error::Duplicate { name: field.name.clone() });
        }
    }
    Ok(schema)
}

impl Lake {
    /// Resolves and plans a relation over the rows of its range.
    async fn plan_relation(&self, bind: &Bind) -> Result<Planned, PortError> {
        let (resolved, text) = self.resolve_sealed(bind).await?;
        let session = Session::new(bind.now, &self.limits().of_staging(), Some(&self.scratch))?;
        for table in &resolved.tables {
            let candidates = between(&table.snapshot.files, bind.from, bind.to);
            add_table(&session, table, candidates)?;
        }
        for view in &resolved.views {
            session.add_view(&view.name, &view.text).await?;
        }
        let plan = session.plan(&text).await?;
        Ok(Planned { session, plan, text, resolved })
    }

    /// Resolves a relation; the rows that a run reads are in data files then, whatever was in the tail.
    async fn resolve_sealed(&self, bind: &Bind) -> Result<(Resolved, Text), PortError> {
        let (mut resolved, mut text) = self.resolve_relation(bind).await?;
        if bind.stage == Stage::Check {
            return Ok((resolved, text));
        }
        for _ in 0..SEAL_TRIES {
            if !self.seal_tables(&resolved).await? {
                return Ok((resolved, text));
            }
            (resolved, text) = self.resolve_relation(bind).await?;
        }
        Err(CatalogError::Moved.into())
    }

    /// Seals what the tables show of the tail; returns whether there was something.
    async fn seal_tables(&self, resolved: &Resolved) -> Result<bool, PortError> {
        let mut found = false;
        for table in &resolved.tables {
            let files = table.snapshot.files.iter().filter(|file| file.in_tail);
            let files: Vec<_> = files.cloned().collect();
            if !files.is_empty() {
                let dataset = &table.snapshot.dataset;
                self.seal_files(dataset, files, &mut Compacted::default()).await?;
                found = true;
            }
        }
        Ok(found)
    }

    async fn row_by_row(
        &self,
        bind: &Bind,
        planned: Planned,
        reset: Vec<CommitNumber>,
    ) -> Result<Bound, PortError> {
        let output = planned.output()?;
        let plan = planned.session.optimize(&planned.plan).await?;
        let table = planned.resolved.tables.first().expect("rows come from one dataset");
        let candidates = between(&table.snapshot.files, bind.from, bind.to);
        let candidates = self.matching(&planned.session, &plan, table, candidates).await?;
        let relation = BoundRelation {
            sql: planned.text.to_string(),
            views: planned.resolved.views.iter().map(resolve::ResolvedView::bound).collect(),
            table: BoundTable {
                name: table.registered.clone(),
                dataset: Some(table.snapshot.dataset.id.clone()),
                schema: table.snapshot.dataset.schema.clone(),
                virtual_columns: table.virtual_columns,
            },
            now: bind.now,
            output,
            filtered: filters(&plan)?,
        };
        // What the parts will do is tried once here, so that it cannot fail in each of them.
        let mapper = Mapper::compile(&relation, self.limits()).await?;
        let inputs: Vec<_> = candidates.into_iter().map(|candidate| candidate.input).collect();
        let copies = mapper.passes_columns().then(|| codec(&table.snapshot, &inputs)).flatten();
        Ok(Bound { relation, inputs, row_by_row: true, copies, reset })
    }

    /// Leaves out the files and row groups in which no row can match.
    async fn matching(
        &self,
        session: &Session,
        plan: &LogicalPlan,
        table: &Table,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Candidate>, PortError> {
        let Some(conditions) = scanned(plan)? else { return Ok(Vec::new()) };
        let Some(condition) = conjunction(conditions) else { return Ok(candidates) };
        let schema = table_schema(&table.snapshot.dataset.schema, table.virtual_columns);
        let predicate = DFSchema::try_from_qualified_schema(table.registered.as_str(), &schema)
            .or_else(|_| DFSchema::try_from(Arc::clone(&schema)))
            .and_then(|named| session.state().create_physical_expr(condition, &named));
        match predicate {
            Ok(predicate) => {
                let known = (&schema, table.virtual_columns);
                Ok(prune::prune(&table.reader, known, &predicate, candidates).await?)
            }
            Err(_) => Ok(candidates),
        }
    }

    /// Returns the commits in the range that took rows back.
    async fn reset(
        &self,
        bind: &Bind,
        resolved: &Resolved,
    ) -> Result<Vec<CommitNumber>, PortError> {
        let mut reset = Vec::new();
        for table in &resolved.tables {
            let name = &table.snapshot.dataset.name;
            let takes_back = self.taken_back(&bind.workspace, name, bind.from..bind.to).await?;
            reset.extend(takes_back);
        }
        reset.sort_unstable();
        reset.dedup();
        Ok(reset)
    }

    async fn taken_back(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: std::ops::Range<CommitNumber>,
    ) -> Result<Vec<CommitNumber>, PortError> {
        let (mut after, mut found) = (range.start, Vec::new());
        loop {
            let page = self.catalog.commits(workspace, dataset, after, COMMITS_PER_PAGE).await?;
            let Some(last) = page.last().map(|commit| commit.number) else { return Ok(found) };
            let in_range = page.iter().filter(|commit| commit.number <= range.end);
            let resets = in_range
                .filter(|commit| matches!(commit.kind, CommitKind::Replace | CommitKind::Revert));
            found.extend(resets.map(|commit| commit.number));
            if last >= range.end {
                return Ok(found);
            }
            after = last;
        }
    }
}

/// Makes a dataset's rows known to a session.
pub(crate) fn add_table(
    session: &Session,
    table: &Table,
    candidates: Vec<Candidate>,
) -> Result<(), Error> {
    let source = Source { reader: table.reader.clone(), candidates };
    let schema = &table.snapshot.dataset.schema;
    let provider = DatasetTable::new(schema, table.virtual_columns, Some(source));
    session.add_table(&table.registered, Arc::new(provider))
}

/// Returns the conditions that the scan knows; nothing if no row can come out.
fn scanned(plan: &LogicalPlan) -> Result<Option<Vec<Expr>>, Error> {
    let mut found = None;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found = Some(scan.filters.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(Error::planning)?;
    Ok(found)
}

/// Returns whether a plan may drop rows.
fn filters(plan: &LogicalPlan) -> Result<bool, Error> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Filter(_) | LogicalPlan::EmptyRelation(_))))
        .map_err(Error::planning)
}

#[cfg(test)]
mod tests;
