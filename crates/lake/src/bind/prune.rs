//! Leaves out files and row groups in which no row can match a condition.
//!
//! Contract: what is left out has no matching row; what cannot be judged stays. Bounds come from the
//! catalog, then from Parquet footers. Floats are never judged by bounds, because Parquet leaves NaN out
//! of them while SQL sorts NaN above all numbers; nor are bounds of the deprecated kind, whose order is
//! unknown. A count of nulls that is not written is not zero.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, IsNotNullExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use futures::{StreamExt, TryStreamExt};
use model::dataset::{COMMIT_COLUMN, COMMIT_TIME_COLUMN, ColumnStatistics, CommitRun};
use model::part::Input;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use crate::read;
use crate::read::decode;
use crate::tail::Reader;

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 16;

/// Rows of a file that may be read, with what the catalog knows about the file.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The rows.
    pub(crate) input: Input,
    /// Bounds of the whole file.
    pub(crate) statistics: Arc<BTreeMap<String, ColumnStatistics>>,
}

/// Returns the rows that may match, in order: adjacent row groups as one, never a part of a row group more.
///
/// Shape: `table` is the schema and whether its last columns are the virtual ones.
pub(crate) async fn prune(
    reader: &Reader,
    table: (&SchemaRef, bool),
    predicate: &Arc<dyn PhysicalExpr>,
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, read::Error> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(table.0));
    let predicate = &by_cases(predicate);
    let Some(pruning) = builder.build(Arc::clone(predicate)) else { return Ok(candidates) };
    let judge = Judge {
        schema: Arc::clone(table.0),
        virtual_columns: table.1,
        columns: collect_columns(predicate).iter().map(|c| c.name().to_owned()).collect(),
        pruning,
    };
    let judge = &judge;
    let files: Vec<Container> = candidates.iter().map(|file| judge.file(file)).collect();
    let keep = judge.keep(files);
    let kept = candidates.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file));
    let groups = futures::stream::iter(kept)
        .map(|file| async move { judge.row_groups(reader, file).await })
        .buffered(FOOTERS_AT_ONCE)
        .try_collect::<Vec<_>>();
    Ok(groups.await?.into_iter().flatten().collect())
}

/// Returns the same condition with comparisons of the first of several columns that is not null (`coalesce`) taken apart, since bounds judge single columns:
/// `coalesce(a, b) < 1` as `a IS NOT NULL AND a < 1 OR a IS NULL AND b < 1`.
fn by_cases(predicate: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let apart = |node: Arc<dyn PhysicalExpr>| {
        Ok(comparison_of_case(&node).map_or_else(|| Transformed::no(node), Transformed::yes))
    };
    // The branches of what was taken apart compare columns, so nothing in them is left to do.
    Arc::clone(predicate)
        .transform_up(apart)
        .map_or_else(|_| Arc::clone(predicate), |done| done.data)
}

fn comparison_of_case(node: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let comparison = node.downcast_ref::<BinaryExpr>()?;
    let (left, op, right) = (comparison.left(), comparison.op(), comparison.right());
    let is_literal = right.downcast_ref::<Literal>().is_some();
    let case = left.downcast_ref::<CaseExpr>().filter(|case| case.expr().is_none())?;
    let last = case.else_expr().filter(|_| is_literal && op.supports_propagation())?;
    let compare = |value: &Arc<dyn PhysicalExpr>| binary(value, *op, right);
    case.when_then_expr().iter().rev().try_fold(compare(last), |others, (when, then)| {
        let value = when.downcast_ref::<IsNotNullExpr>()?.arg();
        let is_null: Arc<dyn PhysicalExpr> = Arc::new(IsNullExpr::new(Arc::clone(value)));
        let first = binary(when, Operator::And, &compare(then));
        Some(binary(&first, Operator::Or, &binary(&is_null, Operator::And, &others)))
    })
}

fn binary(
    left: &Arc<dyn PhysicalExpr>,
    op: Operator,
    right: &Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(Arc::clone(left), op, Arc::clone(right)))
}

struct Judge {
    schema: SchemaRef,
    virtual_columns: bool,
    columns: HashSet<String>,
    pruning: Arc<PruningPredicate>,
}

/// What is known about a column inside a file or row group.
#[derive(Clone, Debug, Default)]
struct Bounds {
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    nulls: Option<u64>,
}

/// A file or a row group.
#[derive(Debug, Default)]
struct Container {
    rows: u64,
    columns: BTreeMap<String, Bounds>,
}

impl Judge {
    fn keep(&self, containers: Vec<Container>) -> Vec<bool> {
        let count = containers.len();
        let statistics = Statistics { schema: Arc::clone(&self.schema), containers };
        // A condition that fails on bounds says nothing about rows.
        self.pruning.prune(&statistics).unwrap_or_else(|_| vec![true; count])
    }

    fn file(&self, candidate: &Candidate) -> Container {
        let input = &candidate.input;
        let mut columns = self.commits(&input.runs, input.first_row, input.first_row + input.rows);
        for name in &self.columns {
            let (Some(statistics), Ok(field)) =
                (candidate.statistics.get(name), self.schema.field_with_name(name))
            else {
                continue;
            };
            let kind = field.data_type();
            let bounds = Bounds {
                min: statistics.min.as_ref().and_then(|value| scalar(value, kind)),
                max: statistics.max.as_ref().and_then(|value| scalar(value, kind)),
                nulls: statistics.nulls,
            };
            columns.entry(name.clone()).or_insert(bounds);
        }
        Container { rows: input.file_rows, columns }
    }

    /// Bounds of the virtual columns over rows of a file.
    fn commits(&self, runs: &[CommitRun], first: u64, end: u64) -> BTreeMap<String, Bounds> {
        let mut columns = BTreeMap::new();
        if !self.virtual_columns {
            return columns;
        }
        let touched = runs.iter().enumerate().filter(|(at, run)| {
            let run_end = runs.get(at + 1).map_or(u64::MAX, |next| next.first_row);
            run.first_row < end && run_end > first
        });
        let touched: Vec<&CommitRun> = touched.map(|(_, run)| run).collect();
        let numbers = touched.iter().map(|run| run.commit.0);
        let times = touched.iter().map(|run| run.time.timestamp_micros());
        let time = |value| ScalarValue::TimestampMicrosecond(Some(value), Some("UTC".into()));
        let number = |value| ScalarValue::UInt64(Some(value));
        columns.insert(
            COMMIT_COLUMN.to_owned(),
            Bounds {
                min: numbers.clone().min().map(number),
                max: numbers.max().map(number),
                nulls: Some(0),
            },
        );
        columns.insert(
            COMMIT_TIME_COLUMN.to_owned(),
            Bounds {
                min: times.clone().min().map(time),
                max: times.max().map(time),
                nulls: Some(0),
            },
        );
        columns
    }

    async fn row_groups(
        &self,
        reader: &Reader,
        candidate: Candidate,
    ) -> Result<Vec<Candidate>, read::Error> {
        if reader.tail(&candidate.input.key).is_some() {
            return Ok(vec![candidate]);
        }
        let (_, footer) = decode::open(reader, &candidate.input).await?;
        let input = &candidate.input;
        let end = input.first_row + input.rows;
        let mut groups = Vec::new();
        let mut first = 0;
        for (at, group) in footer.metadata().row_groups().iter().enumerate() {
            let next = first + u64::try_from(group.num_rows()).unwrap_or(0);
            if first < end && next > input.first_row {
                groups.push((at, first, next));
            }
            first = next;
        }
        let containers = groups
            .iter()
            .map(|&(at, first, next)| Container {
                rows: next - first,
                columns: self.group(&footer, at, self.commits(&input.runs, first, next)),
            })
            .collect();
        let keep = self.keep(containers);
        let mut out: Vec<Candidate> = Vec::new();
        for ((_, first, next), _) in groups.into_iter().zip(keep).filter(|(_, keep)| *keep) {
            let (first, next) = (first.max(input.first_row), next.min(end));
            match out.last_mut() {
                Some(last) if last.input.first_row + last.input.rows == first => {
                    last.input.rows += next - first;
                }
                _ => out.push(Candidate {
                    input: Input { first_row: first, rows: next - first, ..input.clone() },
                    statistics: Arc::clone(&candidate.statistics),
                }),
            }
        }
        Ok(out)
    }

    fn group(
        &self,
        footer: &ArrowReaderMetadata,
        group: usize,
        mut columns: BTreeMap<String, Bounds>,
    ) -> BTreeMap<String, Bounds> {
        for name in &self.columns {
            if !columns.contains_key(name)
                && let Some(bounds) = self.column(footer, group, name)
            {
                columns.insert(name.clone(), bounds);
            }
        }
        columns
    }

    fn column(&self, footer: &ArrowReaderMetadata, group: usize, name: &str) -> Option<Bounds> {
        let wanted = self.schema.field_with_name(name).ok()?.data_type();
        let stored = footer.schema().field_with_name(name).ok()?.data_type();
        if !can_judge(wanted) || plain(stored) != *wanted {
            return None;
        }
        let converter =
            StatisticsConverter::try_new(name, footer.schema(), footer.parquet_schema())
                .ok()?
                .with_missing_null_counts_as_zero(false);
        let chunk = footer.metadata().row_group(group);
        let leaf = converter.parquet_column_index()?;
        let deprecated = chunk.column(leaf).statistics()?.is_min_max_deprecated();
        let value = |array: ArrayRef| {
            let value = ScalarValue::try_from_array(&array, 0).ok()?.cast_to(wanted).ok()?;
            (!value.is_null() && !deprecated).then_some(value)
        };
        let nulls = converter.row_group_null_counts([chunk]).ok()?;
        Some(Bounds {
            min: converter.row_group_mins([chunk]).ok().and_then(value),
            max: converter.row_group_maxes([chunk]).ok().and_then(value),
            nulls: nulls.is_valid(0).then(|| nulls.value(0)),
        })
    }
}

/// Returns the type that the lake keeps for what a file has.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, value) => plain(value),
        other => other.clone(),
    }
}

/// Whether bounds of the type have the order in which SQL compares.
fn can_judge(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Boolean
                | DataType::Utf8
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}

fn scalar(value: &serde_json::Value, kind: &DataType) -> Option<ScalarValue> {
    if !can_judge(kind) {
        return None;
    }
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if kind.is_integer() => number.to_string(),
        serde_json::Value::Bool(bit) => bit.to_string(),
        _ => return None,
    };
    ScalarValue::try_from_string(text, kind).ok().filter(|value| !value.is_null())
}

struct Statistics {
    schema: SchemaRef,
    containers: Vec<Container>,
}

impl Statistics {
    fn values(
        &self,
        column: &Column,
        bound: impl Fn(&Bounds) -> Option<&ScalarValue>,
    ) -> Option<ArrayRef> {
        let kind = self.schema.field_with_name(&column.name).ok()?.data_type();
        let null = ScalarValue::try_from(kind).ok()?;
        let values = self.containers.iter().map(|container| {
            let bounds = container.columns.get(&column.name);
            bounds.and_then(&bound).cloned().unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Statistics {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.min.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.max.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.containers.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts: UInt64Array = self
            .containers
            .iter()
            .map(|container| container.columns.get(&column.name).and_then(|bounds| bounds.nulls))
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array =
            self.containers.iter().map(|container| Some(container.rows)).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
