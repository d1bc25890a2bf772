//! Functions that differ from the engine's own: `now()` and its kin are a given instant, and functions
//! whose result can be much larger than their arguments have a limit.

use std::sync::Arc;

use chrono::{DateTime, Timelike, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{Error, Limits, external};

/// Values of the largest size that one batch of rows may hold.
const VALUES_PER_BATCH: u64 = 8;

/// The zone of `now()`, as the lake writes it.
const UTC_ZONE: &str = "UTC";

/// Puts the functions into a session.
pub(crate) fn install(state: &mut SessionState, now: DateTime<Utc>, limits: &Limits) -> Result<()> {
    for (name, value) in instants(now) {
        let aliases: &[&str] = match name {
            "now" => &["current_timestamp"],
            "current_date" => &["today"],
            _ => &[],
        };
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Instant {
            name,
            aliases,
            value,
            signature: Signature::nullary(Volatility::Immutable),
        })))?;
    }
    for (name, growth) in GROWING {
        if let Some(inner) = state.scalar_functions().get(*name).cloned() {
            let capped = Capped { inner, growth: *growth, max: limits.value_bytes };
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(capped)))?;
        }
    }
    if let Some(concat) = state.scalar_functions().get("concat").cloned() {
        state.register_expr_planner(Arc::new(Joins { concat }))?;
    }
    Ok(())
}

fn instants(now: DateTime<Utc>) -> [(&'static str, ScalarValue); 3] {
    let micros = now.timestamp_micros();
    let days = i32::try_from(micros.div_euclid(86_400_000_000)).ok();
    let nanos = i64::from(now.num_seconds_from_midnight()) * 1_000_000_000
        + i64::from(now.timestamp_subsec_micros()) * 1000;
    [
        ("now", ScalarValue::TimestampMicrosecond(Some(micros), Some(UTC_ZONE.into()))),
        ("current_date", ScalarValue::Date32(days)),
        ("current_time", ScalarValue::Time64Nanosecond(Some(nanos))),
    ]
}

/// A function that always gives one value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Instant {
    name: &'static str,
    aliases: Vec<String>,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for Instant {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(lit(self.value.clone())))
    }
}

/// How the size of a result follows from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument, as often as the second says.
    Times,
    /// As many characters as the second argument says.
    Padded,
    /// As many values as the second argument says, of the size of the third.
    Resized,
    /// A list of the first argument, as often as the second says; nulls take room too.
    Copies,
    /// The values from the first argument, or 0, to the second, by the third.
    Series,
    /// All arguments one after another.
    Sum,
    /// The arguments after the first, with the first between them.
    Joined,
    /// The first argument, with every match of the second replaced by the third.
    Replaced,
    /// The same with a pattern, of which every character may match.
    PatternReplaced,
    /// Twice the first argument.
    Doubled,
    /// The values of the first argument, with the second between them.
    Listed,
}

const GROWING: &[(&str, Growth)] = &[
    ("repeat", Growth::Times),
    ("array_repeat", Growth::Copies),
    ("lpad", Growth::Padded),
    ("rpad", Growth::Padded),
    ("array_resize", Growth::Resized),
    ("generate_series", Growth::Series),
    ("range", Growth::Series),
    ("concat", Growth::Sum),
    ("array_concat", Growth::Sum),
    ("make_array", Growth::Sum),
    ("overlay", Growth::Sum),
    ("concat_ws", Growth::Joined),
    ("replace", Growth::Replaced),
    ("regexp_replace", Growth::PatternReplaced),
    ("encode", Growth::Doubled),
    ("array_to_string", Growth::Listed),
];

/// A function of the engine whose result is measured before it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Capped {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    max: u64,
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }
}

impl Capped {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arguments = args.args.iter().map(Argument::new).collect::<Result<Vec<_>>>()?;
        let whole_max = self.max.saturating_mul(VALUES_PER_BATCH);
        let mut whole: u64 = 0;
        for row in 0..rows {
            let bytes = self.growth.bytes(&arguments, row);
            if bytes > self.max {
                return Err(self.too_large(bytes, "in one value", self.max));
            }
            whole = whole.saturating_add(bytes);
            if whole > whole_max {
                return Err(self.too_large(whole, "for one batch of rows", whole_max));
            }
        }
        Ok(())
    }

    fn too_large(
        &self,
        bytes: u64,
        place: &'static str,
        max: u64,
    ) -> datafusion::error::DataFusionError {
        external(Error::Value { function: format!("`{}`", self.inner.name()), bytes, place, max })
    }
}

/// An argument: one value for all rows, or one for each.
struct Argument {
    values: ArrayRef,
    numbers: Option<ArrayRef>,
    constant: bool,
}

impl Argument {
    fn new(value: &ColumnarValue) -> Result<Self> {
        let (values, constant) = match value {
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
            ColumnarValue::Array(array) => (Arc::clone(array), false),
        };
        let numbers = whole_numbers(&values);
        Ok(Self { values, numbers, constant })
    }

    fn row(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    fn bytes(&self, row: usize) -> u64 {
        row_bytes(&self.values, self.row(row))
    }

    fn number(&self, row: usize) -> Option<i128> {
        let numbers = self.numbers.as_ref()?;
        let row = self.row(row);
        if numbers.is_null(row) {
            return None;
        }
        Some(i128::from(numbers.as_primitive::<Int64Type>().value(row)))
    }

    /// The value of a text in this row.
    fn text(&self, row: usize) -> Option<&str> {
        let row = self.row(row);
        if self.values.is_null(row) {
            return None;
        }
        match self.values.data_type() {
            DataType::Utf8 => Some(self.values.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.values.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.values.as_string_view().value(row)),
            _ => None,
        }
    }
}

/// Numbers as `i64`, times and intervals in nanoseconds (months at their shortest).
fn whole_numbers(values: &ArrayRef) -> Option<ArrayRef> {
    const DAY: i64 = 86_400_000_000_000;
    match values.data_type() {
        kind if kind.is_integer() => cast(values, &DataType::Int64).ok(),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let nanos = cast(values, &DataType::Timestamp(TimeUnit::Nanosecond, None)).ok()?;
            cast(&nanos, &DataType::Int64).ok()
        }
        DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano) => {
            let intervals =
                values.as_primitive::<datafusion::arrow::datatypes::IntervalMonthDayNanoType>();
            let nanos: datafusion::arrow::array::Int64Array = intervals
                .iter()
                .map(|interval| {
                    interval.map(|step| {
                        i64::from(step.months)
                            .saturating_mul(28 * DAY)
                            .saturating_add(i64::from(step.days).saturating_mul(DAY))
                            .saturating_add(step.nanoseconds)
                    })
                })
                .collect();
            Some(Arc::new(nanos))
        }
        _ => None,
    }
}

impl Growth {
    fn bytes(self, args: &[Argument], row: usize) -> u64 {
        let bytes = |index: usize| args.get(index).map_or(0, |arg| arg.bytes(row));
        let number = |index: usize| args.get(index).and_then(|arg| arg.number(row));
        let count = |index| u64::try_from(number(index).unwrap_or(0).max(0)).unwrap_or(u64::MAX);
        let sum = || (0..args.len()).fold(0_u64, |sum, index| sum.saturating_add(bytes(index)));
        match self {
            Self::Times => bytes(0).saturating_mul(count(1)),
            Self::Padded => count(1),
            Self::Resized => count(1).saturating_mul(bytes(2).max(8)),
            Self::Copies => bytes(0).max(8).saturating_mul(count(1)),
            Self::Series if args.len() == 1 => series(Some(0), number(0), None),
            Self::Series => series(number(0), number(1), number(2)),
            Self::Sum => sum(),
            Self::Joined => sum().saturating_add(bytes(0).saturating_mul(args.len() as u64)),
            Self::Replaced => replaced(args, row),
            Self::PatternReplaced => {
                let (text, new) = (bytes(0), bytes(2));
                let groups = args.get(2).and_then(|arg| arg.text(row)).unwrap_or_default();
                let groups = groups.matches(['$', '\\']).count() as u64;
                let all = text.saturating_mul(groups.saturating_add(1));
                all.saturating_add(text.saturating_add(1).saturating_mul(new))
            }
            Self::Doubled => bytes(0).saturating_mul(2),
            Self::Listed => {
                bytes(0).saturating_mul(2).saturating_add(bytes(0).saturating_mul(bytes(1)))
            }
        }
    }
}

/// Bytes of a series of numbers of eight bytes.
fn series(first: Option<i128>, last: Option<i128>, step: Option<i128>) -> u64 {
    let (Some(first), Some(last)) = (first, last) else { return 0 };
    let step = step.unwrap_or(1);
    if step == 0 || (last > first) != (step > 0) {
        return 0;
    }
    let values = (last - first) / step + 1;
    u64::try_from(values).unwrap_or(u64::MAX).saturating_mul(8)
}

fn replaced(args: &[Argument], row: usize) -> u64 {
    let text = |index: usize| args.get(index).and_then(|arg| arg.text(row)).unwrap_or_default();
    let (value, old, new) = (text(0), text(1), text(2));
    if old.is_empty() || new.len() <= old.len() {
        return value.len() as u64;
    }
    let matches = value.matches(old).count() as u64;
    (value.len() as u64).saturating_add(matches.saturating_mul((new.len() - old.len()) as u64))
}

/// Bytes of one row of a column, its nested values included.
fn row_bytes(values: &dyn Array, row: usize) -> u64 {
    if values.is_null(row) {
        return 0;
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value_length(row).unsigned_abs().into(),
        DataType::LargeUtf8 => values.as_string::<i64>().value_length(row).unsigned_abs(),
        DataType::Utf8View => values.as_string_view().value(row).len() as u64,
        DataType::Binary => values.as_binary::<i32>().value_length(row).unsigned_abs().into(),
        DataType::LargeBinary => values.as_binary::<i64>().value_length(row).unsigned_abs(),
        DataType::BinaryView => values.as_binary_view().value(row).len() as u64,
        DataType::List(_) => {
            let list: &ListArray = values.as_list();
            all_bytes(&list.value(row))
        }
        DataType::LargeList(_) => all_bytes(&values.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => {
            let list: &FixedSizeListArray = values.as_fixed_size_list();
            all_bytes(&list.value(row))
        }
        DataType::Struct(_) => {
            let fields: &StructArray = values.as_struct();
            fields.columns().iter().map(|column| row_bytes(column, row)).sum()
        }
        kind => kind.primitive_width().map_or(8, |width| width as u64),
    }
}

fn all_bytes(values: &ArrayRef) -> u64 {
    if let Some(width) = values.data_type().primitive_width() {
        return width as u64 * values.len() as u64;
    }
    (0..values.len()).map(|row| row_bytes(values, row).max(4)).sum()
}

/// Makes `a || b` on text a function with a limit.
#[derive(Debug)]
struct Joins {
    concat: Arc<ScalarUDF>,
}

impl ExprPlanner for Joins {
    /// `concat` takes null for empty where `||` gives null, hence the condition around it.
    fn plan_binary_op(
        &self,
        binary: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if binary.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(binary));
        }
        let kinds = [binary.left.get_type(schema)?, binary.right.get_type(schema)?];
        let text = |kind: &DataType| kind.is_string();
        if !kinds.iter().any(text) || kinds.iter().any(|kind| kind.is_nested() || kind.is_binary())
        {
            return Ok(PlannerResult::Original(binary));
        }
        let (left, right) = (binary.left, binary.right);
        let either_null = left.clone().is_null().or(right.clone().is_null());
        let joined = self.concat.call(vec![left, right]);
        let Ok(kind) = joined.get_type(schema) else {
            return plan_err!("`||` needs text on both sides");
        };
        let nothing = lit(ScalarValue::try_from(&kind)?);
        let expr = datafusion::logical_expr::when(either_null, nothing).otherwise(joined)?;
        Ok(PlannerResult::Planned(expr))
    }
}
