//! One `SELECT`, parsed, checked and made explicit.
//!
//! The text is checked before the engine sees it: one query, no table functions, nothing that writes.
//! Where a text mentions the virtual columns, `*` is rewritten to leave them out, so that they come out
//! only when asked for by name. Unnamed expressions are given their own text as name.
//!
//! A text is kept as it was written. What was parsed is never printed to be parsed again: the printer
//! does not know which quotes inside a literal stand for themselves, so another literal could come back.
//! Whoever reads a text again gets the same query by doing the same to it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement as SqlStatement, TableFactor,
    TableWithJoins, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN};
use model::limits;

use super::bounds::{check_nesting, check_written_out};
use super::errors::{Error, nearest};
use super::quote;

/// Expressions inside expressions that the parser follows.
const NESTING_MAX: usize = 100;

/// One checked `SELECT`.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    written: String,
    query: Box<Query>,
}

/// The text as it was written, without what was done to the query since.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Text {
    /// Parses one `SELECT`, refuses everything else, and gives every column of the result a readable name
    /// of its own.
    pub(crate) fn parse(sql: &str) -> Result<Self, Error> {
        let chars = sql.chars().count();
        if chars > limits::SQL_CHARS_MAX {
            return Err(Error::TooLong { chars, max: limits::SQL_CHARS_MAX });
        }
        let mut statements = DFParserBuilder::new(sql)
            .with_dialect(&GenericDialect {})
            .with_recursion_limit(NESTING_MAX)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(Error::planning)?;
        if statements.len() > 1 {
            return Err(Error::Forbidden { what: "more than one statement".into() });
        }
        let Some(statement) = statements.pop_front() else {
            return Err(Error::Forbidden { what: "an empty text".into() });
        };
        let query = match statement {
            Statement::Statement(inner) => match *inner {
                SqlStatement::Query(query) => query,
                other => return Err(refused(&other.to_string())),
            },
            other => return Err(refused(&other.to_string())),
        };
        // Before anything else looks at it: names are resolved by a walk that nesting makes long.
        check_nesting(&query)?;
        check_written_out(&query)?;
        match query.visit(&mut Check) {
            ControlFlow::Continue(()) => {
                let mut text = Self { written: sql.into(), query };
                text.name_outputs()?;
                Ok(text)
            }
            ControlFlow::Break(what) => Err(Error::Forbidden { what }),
        }
    }

    /// Composes a `SELECT` over one name from a select list and conditions. What users wrote of them must
    /// have passed [`select_list`] and [`condition`].
    pub(crate) fn compose(columns: &str, name: &str, conditions: &[String]) -> Result<Self, Error> {
        let mut sql = format!("SELECT {columns} FROM {}", quote(name));
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        Self::parse(&sql)
    }

    /// Returns the parsed query.
    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    /// Returns the names of the tables that it reads, without those of its own `WITH`.
    pub(crate) fn tables(&self) -> Result<Vec<String>, Error> {
        let statement = Statement::Statement(Box::new(SqlStatement::Query(self.query.clone())));
        let (tables, _) = resolve_table_references(&statement, false).map_err(Error::planning)?;
        tables
            .into_iter()
            .map(|table| match table.schema() {
                None => Ok(table.table().to_owned()),
                Some(_) => Err(Error::Unknown {
                    what: "dataset or view",
                    name: table.to_string(),
                    nearest: Some(table.table().to_owned()),
                }),
            })
            .collect()
    }

    /// Returns whether it mentions a virtual column.
    pub(crate) fn mentions_virtual(&self) -> bool {
        self.query.visit(&mut Mentions).is_break()
    }

    /// Leaves the virtual columns of the tables named in `hiding` out of every `*`.
    pub(crate) fn hide(&mut self, hiding: &BTreeSet<String>) -> Result<(), Error> {
        let mut own = Names(BTreeSet::new());
        let _ = self.query.visit(&mut own);
        let hiding = hiding.difference(&own.0).cloned().collect();
        match VisitMut::visit(&mut self.query, &mut Hide(hiding)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(what) => Err(Error::Forbidden { what }),
        }
    }

    fn name_outputs(&mut self) -> Result<(), Error> {
        let Some(select) = first_select(&mut self.query.body) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for item in &mut select.projection {
            let named = match item {
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident.value.clone(),
                SelectItem::UnnamedExpr(expr) => {
                    let name = readable(expr);
                    let alias = Ident::with_quote('"', &name);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    name
                }
                SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                _ => continue,
            };
            if !seen.insert(named.clone()) {
                return Err(Error::Duplicate { name: named });
            }
        }
        Ok(())
    }

    /// Refuses functions that do not exist, with the nearest that does.
    pub(crate) fn check_functions(&self, state: &SessionState) -> Result<(), Error> {
        let mut functions = Functions(BTreeSet::new());
        let _ = self.query.visit(&mut functions);
        for name in functions.0 {
            let known = state.scalar_functions().contains_key(&name)
                || state.aggregate_functions().contains_key(&name)
                || state.window_functions().contains_key(&name)
                || state.higher_order_functions().contains_key(&name)
                || name == "unnest"
                || name == "make_map";
            if !known {
                let names = state.scalar_functions().keys();
                let names = names.chain(state.aggregate_functions().keys());
                let names = names.chain(state.window_functions().keys());
                let nearest = nearest(&name, names.map(String::as_str));
                return Err(Error::Unknown { what: "function", name, nearest });
            }
        }
        Ok(())
    }
}

/// Checks a select list and returns it so that it can stand between `SELECT` and `FROM`.
///
/// Shape: the text itself, on lines of its own: a comment at its end ends there. It means the same in
/// its place as alone.
pub(crate) fn select_list(text: &str) -> Result<String, Error> {
    check_length(text)?;
    let items = whole(text, Parser::parse_projection)?;
    let list = format!("\n{text}\n");
    let found = whole(&format!("SELECT {list} FROM t"), Parser::parse_query)?;
    let mut expected = whole("SELECT * FROM t", Parser::parse_query)?;
    if let Some(select) = first_select(&mut expected.body) {
        select.projection = items;
    }
    if found == expected { Ok(list) } else { Err(misplaced("select list")) }
}

/// Checks a condition and returns it in parentheses.
///
/// Shape: the text itself, on lines of its own: a comment at its end ends there. It means the same in
/// its place as alone.
pub(crate) fn condition(text: &str) -> Result<String, Error> {
    check_length(text)?;
    let alone = whole(text, Parser::parse_expr)?;
    let nested = format!("(\n{text}\n)");
    let found = whole(&nested, Parser::parse_expr)?;
    if found == Expr::Nested(Box::new(alone)) { Ok(nested) } else { Err(misplaced("condition")) }
}

fn check_length(text: &str) -> Result<(), Error> {
    let chars = text.chars().count();
    if chars > limits::SQL_CHARS_MAX {
        return Err(Error::TooLong { chars, max: limits::SQL_CHARS_MAX });
    }
    Ok(())
}

/// Parses all of a text, up to its last character.
fn whole<T>(
    text: &str,
    parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
) -> Result<T, Error> {
    let parser = Parser::new(&GenericDialect {}).with_recursion_limit(NESTING_MAX);
    let mut parser = parser.try_with_sql(text).map_err(syntax)?;
    let parsed = parse(&mut parser).map_err(syntax)?;
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    Ok(parsed)
}

fn syntax(error: ParserError) -> Error {
    Error::planning(DataFusionError::SQL(Box::new(error), None))
}

fn misplaced(what: &str) -> Error {
    syntax(ParserError::ParserError(format!(
        "the {what} reads as something else inside a `SELECT`"
    )))
}

fn refused(statement: &str) -> Error {
    let word = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
    Error::Forbidden { what: format!("`{word}`") }
}

fn readable(expr: &Expr) -> String {
    match expr {
        Expr::CompoundIdentifier(parts) => {
            parts.last().map(|part| part.value.clone()).unwrap_or_default()
        }
        other => {
            let mut shown = other.clone();
            let _ = VisitMut::visit(&mut shown, &mut DoubleQuotes);
            shown.to_string()
        }
    }
}

/// Doubles the quotes inside literals. The printer takes doubled ones for what was meant, so what it
/// prints are then the literals that were written.
struct DoubleQuotes;

impl VisitorMut for DoubleQuotes {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &mut value.value {
            *text = text.replace('\'', "''");
        }
        ControlFlow::Continue(())
    }
}

fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&mut query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// Finds what is never allowed.
struct Check;

impl Visitor for Check {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("`FOR UPDATE`".into());
        }
        if query.format_clause.is_some() || query.settings.is_some() {
            return ControlFlow::Break("a `FORMAT` or `SETTINGS` clause".into());
        }
        writes(&query.body).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        match &select.into {
            Some(_) => ControlFlow::Break("`SELECT INTO`".into()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        let refused = match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                Some(format!("the table function `{name}`"))
            }
            TableFactor::TableFunction { expr, .. } => Some(format!("the table function `{expr}`")),
            TableFactor::Table { version: Some(_), .. } => Some("a table version".into()),
            TableFactor::Table { sample: Some(_), .. }
            | TableFactor::Derived { sample: Some(_), .. } => Some("`TABLESAMPLE`".into()),
            _ => None,
        };
        refused.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_statement(&mut self, statement: &SqlStatement) -> ControlFlow<String> {
        match statement {
            SqlStatement::Query(_) => ControlFlow::Continue(()),
            other => {
                let text = other.to_string();
                let word = text.split_whitespace().next().unwrap_or_default();
                ControlFlow::Break(format!("`{word}`"))
            }
        }
    }
}

fn writes(body: &SetExpr) -> Option<String> {
    match body {
        SetExpr::Insert(_) => Some("`INSERT`".into()),
        SetExpr::Update(_) => Some("`UPDATE`".into()),
        SetExpr::Delete(_) => Some("`DELETE`".into()),
        SetExpr::Merge(_) => Some("`MERGE`".into()),
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => None,
    }
}

/// Stops at the first mention of a virtual column.
struct Mentions;

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let mentioned = match expr {
            Expr::Identifier(ident) => is_virtual(&ident.value),
            Expr::CompoundIdentifier(parts) => parts.iter().any(|part| is_virtual(&part.value)),
            _ => false,
        };
        if mentioned { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn is_virtual(name: &str) -> bool {
    name == COMMIT_COLUMN || name == COMMIT_TIME_COLUMN
}

/// Collects the names that a text gives to its own `WITH` queries.
struct Names(BTreeSet<String>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(with.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }
}

/// Collects the names of functions, as the engine looks them up.
struct Functions(BTreeSet<String>);

impl Visitor for Functions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = match function.name.0.as_slice() {
                [part] => part.as_ident().map(|ident| match ident.quote_style {
                    Some(_) => ident.value.clone(),
                    None => ident.value.to_ascii_lowercase(),
                }),
                _ => None,
            };
            self.0.insert(name.unwrap_or_else(|| function.name.to_string()));
        }
        ControlFlow::Continue(())
    }
}

/// Leaves virtual columns out of `*`.
struct Hide(BTreeSet<String>);

/// One table of a `FROM`.
struct Factor {
    qualifier: Option<ObjectName>,
    hides: bool,
}

impl VisitorMut for Hide {
    type Break = String;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        let factors = self.factors(&select.from);
        if !factors.iter().any(|factor| factor.hides) {
            return ControlFlow::Continue(());
        }
        if select.from.iter().any(is_natural) {
            return ControlFlow::Break(
                "`NATURAL JOIN` together with `_commit` or `_commit_time`".into(),
            );
        }
        let merged = select.from.iter().any(merges);
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) if factors.len() == 1 => {
                    items.push(SelectItem::Wildcard(without_virtual(options)));
                }
                SelectItem::Wildcard(options) => {
                    let plain = options == WildcardAdditionalOptions::default();
                    if merged || !plain || factors.iter().any(|factor| factor.qualifier.is_none()) {
                        return ControlFlow::Break(
                            "`*` over such a join together with `_commit` or `_commit_time`".into(),
                        );
                    }
                    items.extend(factors.iter().filter_map(Factor::wildcard));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    let hides = factors
                        .iter()
                        .any(|factor| factor.hides && factor.qualifier.as_ref() == Some(&name));
                    let options = if hides { without_virtual(options) } else { options };
                    let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                    items.push(SelectItem::QualifiedWildcard(kind, options));
                }
                other => items.push(other),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

impl Hide {
    fn factors(&self, from: &[TableWithJoins]) -> Vec<Factor> {
        let mut factors = Vec::new();
        for table in from {
            self.factor(&table.relation, &mut factors);
            for join in &table.joins {
                self.factor(&join.relation, &mut factors);
            }
        }
        factors
    }

    fn factor(&self, factor: &TableFactor, factors: &mut Vec<Factor>) {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let last = name.0.last().and_then(|part| part.as_ident());
                let hides = last.is_some_and(|ident| self.0.contains(&ident.value));
                let qualifier =
                    alias.as_ref().map_or_else(|| name.clone(), |alias| alias.name.clone().into());
                factors.push(Factor { qualifier: Some(qualifier), hides });
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                factors.extend(self.factors(std::slice::from_ref(table_with_joins)));
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => {
                let qualifier = alias.as_ref().map(|alias| alias.name.clone().into());
                factors.push(Factor { qualifier, hides: false });
            }
            _ => factors.push(Factor { qualifier: None, hides: false }),
        }
    }
}

impl Factor {
    fn wildcard(&self) -> Option<SelectItem> {
        let name = self.qualifier.clone()?;
        let options = WildcardAdditionalOptions::default();
        let options = if self.hides { without_virtual(options) } else { options };
        Some(SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(name),
            options,
        ))
    }
}

/// Returns whether a join makes one column of two, so that its `*` cannot be taken apart. Semi and anti
/// joins give the columns of one side only.
fn merges(table: &TableWithJoins) -> bool {
    table.joins.iter().any(|join| match on(&join.join_operator) {
        Some(on) => matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural),
        None => true,
    })
}

/// Returns whether a join takes its columns by name, which would take the virtual ones too.
fn is_natural(table: &TableWithJoins) -> bool {
    table.joins.iter().any(|join| on(&join.join_operator) == Some(&JoinConstraint::Natural))
}

/// Returns what a join that gives the columns of both sides goes by.
fn on(join: &JoinOperator) -> Option<&JoinConstraint> {
    match join {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::CrossJoin(on) => Some(on),
        _ => None,
    }
}

fn without_virtual(mut options: WildcardAdditionalOptions) -> WildcardAdditionalOptions {
    let mut names = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    for column in [COMMIT_COLUMN, COMMIT_TIME_COLUMN] {
        let name = ObjectName::from(Ident::new(column));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    options
}
