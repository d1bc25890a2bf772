//! Bounds on what is planned: how deep a text nests, how large its plan is, how large its constants are.
//!
//! A plan is a tree in which a view or a `WITH` query that is used twice is one node with two parents, so
//! it costs nothing to make and very much to walk. It is measured without walking it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Cte, Query, TableFactor, Visit, Visitor};

use super::Error;

/// Queries inside queries.
const QUERIES_DEEP_MAX: usize = 32;

/// Queries with a `WITH` of their own inside such queries: the planner reads the innermost twice for each.
const WITHS_DEEP_MAX: usize = 6;

/// Steps of one plan, with those of its views.
const STEPS_MAX: u64 = 10_000;

/// Steps on top of each other; walking them takes stack.
const STEPS_DEEP_MAX: usize = 1000;

/// Refuses a text that nests too deep.
pub(crate) fn check_nesting(query: &Query) -> Result<(), Error> {
    let found: Result<()> = match query.visit(&mut Nesting::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((what, max)) => {
            plan_err!("the SQL text has {what} inside each other, more than {max} deep; flatten it")
        }
    };
    found.map_err(Error::planning)
}

#[derive(Default)]
struct Nesting {
    queries: usize,
    withs: usize,
}

/// Refuses a text whose `WITH` queries, written out wherever they are named, come to too many tables: the
/// planner takes that long, whatever its plan would come to.
pub(crate) fn check_written_out(query: &Query) -> Result<(), Error> {
    let mut sizes = Sizes::default();
    let found: Result<()> = match query.visit(&mut sizes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => plan_err!(
            "the SQL text comes to more than {STEPS_MAX} steps; use fewer `WITH` queries of each other"
        ),
    };
    found.map_err(Error::planning)
}

/// Counts the tables of a text as if its `WITH` queries were written out where they are named.
#[derive(Default)]
struct Sizes {
    /// The queries around the place that is looked at, outermost first.
    open: Vec<Open>,
}

/// A query that is being counted.
#[derive(Default)]
struct Open {
    tables: u64,
    /// What its `WITH` queries come to, by name.
    known: HashMap<String, u64>,
    /// Where its `WITH` queries are, and how they are called.
    names: HashMap<*const Query, String>,
}

impl Visitor for Sizes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let named =
            |cte: &Cte| (std::ptr::from_ref(cte.query.as_ref()), cte.alias.name.value.clone());
        self.open.push(Open { names: with.map(named).collect(), ..Open::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = self.open.pop().map_or(0, |open| open.tables);
        let Some(around) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        match around.names.get(&std::ptr::from_ref(query)) {
            Some(name) => drop(around.known.insert(name.clone(), tables)),
            None => around.tables = around.tables.saturating_add(tables),
        }
        if tables > STEPS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, .. } = factor else { return ControlFlow::Continue(()) };
        let name = name.0.last().and_then(|part| part.as_ident()).map(|ident| &ident.value);
        let known =
            name.and_then(|name| self.open.iter().rev().find_map(|open| open.known.get(name)));
        let tables = known.copied().unwrap_or(0).max(1);
        if let Some(open) = self.open.last_mut() {
            open.tables = open.tables.saturating_add(tables);
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Nesting {
    type Break = (&'static str, usize);

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        self.queries += 1;
        self.withs += usize::from(query.with.is_some());
        if self.withs > WITHS_DEEP_MAX {
            return ControlFlow::Break(("`WITH` queries", WITHS_DEEP_MAX));
        }
        if self.queries > QUERIES_DEEP_MAX {
            return ControlFlow::Break(("queries", QUERIES_DEEP_MAX));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        self.queries -= 1;
        self.withs -= usize::from(query.with.is_some());
        ControlFlow::Continue(())
    }
}

/// Refuses a plan with too many steps.
pub(crate) fn check_steps(plan: &LogicalPlan) -> Result<()> {
    if steps(plan, 0, &mut HashMap::new())? <= STEPS_MAX {
        return Ok(());
    }
    plan_err!(
        "the SQL text and its views come to more than {STEPS_MAX} steps; use fewer views and `WITH` \
         queries of each other"
    )
}

/// Counts the steps of a plan as if shared ones were written out.
fn steps(
    plan: &LogicalPlan,
    depth: usize,
    known: &mut HashMap<*const LogicalPlan, u64>,
) -> Result<u64> {
    let place = std::ptr::from_ref(plan);
    if let Some(steps) = known.get(&place) {
        return Ok(*steps);
    }
    if depth > STEPS_DEEP_MAX {
        return plan_err!("the SQL text has more than {STEPS_DEEP_MAX} steps on top of each other");
    }
    let mut all: u64 = 1;
    for input in plan.inputs() {
        all = all.saturating_add(steps(input, depth + 1, known)?);
    }
    plan.apply_subqueries(|subquery| {
        // The node itself is made for this call; what it holds is the shared one.
        if let LogicalPlan::Subquery(subquery) = subquery {
            all = all.saturating_add(steps(&subquery.subquery, depth + 1, known)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    known.insert(place, all);
    Ok(all)
}

/// Returns the bytes of the constants that the costliest step of a plan may copy for every row.
pub(crate) fn constant_bytes(plan: &LogicalPlan) -> Result<u64> {
    let mut most = 0;
    plan.apply_with_subqueries(|node| {
        // The rows of `VALUES` are themselves, and one row is no batch.
        let one_row = |input: &LogicalPlan| matches!(input, LogicalPlan::EmptyRelation(_));
        let copies = match node {
            LogicalPlan::Values(_) => false,
            LogicalPlan::Projection(projection) => !one_row(&projection.input),
            _ => true,
        };
        if copies {
            let mut bytes: u64 = 0;
            node.apply_expressions(|expr| {
                bytes = bytes.saturating_add(copied(expr)?);
                Ok(TreeNodeRecursion::Continue)
            })?;
            most = most.max(bytes);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(most)
}

/// Bytes of the constants in an expression that can end up in every row. What is only compared with is not
/// copied, and of the branches of a `CASE` each row gets one.
fn copied(expr: &Expr) -> Result<u64> {
    let mut bytes: u64 = 0;
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Literal(value, _) => bytes = bytes.saturating_add(payload(value)),
            Expr::InList(list) => open.push(&list.expr),
            Expr::Like(like) | Expr::SimilarTo(like) => open.push(&like.expr),
            Expr::BinaryExpr(binary) => {
                let sides = [binary.left.as_ref(), binary.right.as_ref()];
                open.extend(sides.into_iter().filter(|side| !matches!(side, Expr::Literal(..))));
            }
            Expr::Case(case) => {
                let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                let branches = thens.chain(case.else_expr.as_deref());
                let (plain, other): (Vec<&Expr>, Vec<&Expr>) =
                    branches.partition(|branch| matches!(branch, Expr::Literal(..)));
                let largest = plain.iter().filter_map(|branch| match branch {
                    Expr::Literal(value, _) => Some(payload(value)),
                    _ => None,
                });
                bytes = bytes.saturating_add(largest.max().unwrap_or(0));
                open.extend(other);
                let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
                let compared = whens.chain(case.expr.as_deref());
                open.extend(compared.filter(|when| !matches!(when, Expr::Literal(..))));
            }
            other => {
                other.apply_children(|child| {
                    open.push(child);
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
    }
    Ok(bytes)
}

/// Bytes of a value beyond those of its place.
fn payload(value: &ScalarValue) -> u64 {
    value.size().saturating_sub(size_of::<ScalarValue>()) as u64
}
