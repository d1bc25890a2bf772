//! What a plan does with rows: maps them one by one, makes rows of each, or needs to see them together.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use crate::session::Error;

/// How output rows follow from input rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Each input row of one dataset gives one output row or none.
    RowByRow,
    /// Each input row of one dataset gives any number of output rows, whatever the other rows are.
    RowsOfEach,
    /// Anything else, in words that follow "this".
    Other(String),
}

/// Tells the shape of a plan that was not optimized.
pub(crate) fn shape(plan: &LogicalPlan) -> Result<Shape, Error> {
    let mut node = plan;
    let mut shape = Shape::RowByRow;
    loop {
        if has_subquery(node)? {
            return Ok(Shape::Other("has a query inside an expression".into()));
        }
        node = match node {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Unnest(unnest) => {
                shape = Shape::RowsOfEach;
                &unnest.input
            }
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => return Ok(shape),
            other => return Ok(Shape::Other(word(other).into())),
        };
    }
}

fn word(node: &LogicalPlan) -> &'static str {
    match node {
        LogicalPlan::Aggregate(_) => "aggregates",
        LogicalPlan::Join(_) => "joins",
        LogicalPlan::Sort(_) => "sorts",
        LogicalPlan::Limit(_) => "has a limit",
        LogicalPlan::Distinct(_) => "drops duplicates",
        LogicalPlan::Union(_) => "is a union",
        LogicalPlan::Window(_) => "has window functions",
        LogicalPlan::RecursiveQuery(_) => "is recursive",
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => "reads no dataset",
        _ => "does more",
    }
}

fn has_subquery(node: &LogicalPlan) -> Result<bool, Error> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|part| {
            Ok(matches!(
                part,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::SetComparison(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(Error::planning)?;
    Ok(found)
}

/// Returns the first function whose answer differs from call to call.
pub(crate) fn volatile(plan: &LogicalPlan) -> Result<Option<String>, Error> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility == Volatility::Volatile
                {
                    found = Some(call.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(Error::planning)?;
    Ok(found)
}

/// Tells for each output column whether it is a column of the dataset as it is.
pub(crate) fn plain_columns(plan: &LogicalPlan) -> Vec<bool> {
    match plan {
        LogicalPlan::TableScan(scan) => vec![true; scan.projected_schema.fields().len()],
        LogicalPlan::SubqueryAlias(alias) => plain_columns(&alias.input),
        LogicalPlan::Filter(filter) => plain_columns(&filter.input),
        LogicalPlan::Projection(projection) => {
            let below = plain_columns(&projection.input);
            let is_plain = |expr: &Expr| match expr.clone().unalias() {
                Expr::Column(column) => projection
                    .input
                    .schema()
                    .maybe_index_of_column(&column)
                    .and_then(|at| below.get(at).copied())
                    .unwrap_or(false),
                _ => false,
            };
            projection.expr.iter().map(is_plain).collect()
        }
        _ => Vec::new(),
    }
}
