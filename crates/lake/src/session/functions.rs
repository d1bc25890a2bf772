//! Functions that differ from the engine's own: `now()` and its kin are a given instant, functions whose
//! result can be much larger than their arguments have a limit, and whole numbers do not wrap around. One is our own: `rename_fields`.

mod exact;
mod growth;
mod joins;
mod rename;

use std::sync::Arc;

use chrono::{DateTime, Timelike, Utc};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};

use super::{Error, Limits, external};
use exact::{ExactOperators, ExactSum};
use growth::{Argument, Growth};

/// Values of the largest size that one batch of rows may hold.
pub(crate) const VALUES_PER_BATCH: u64 = 8;

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
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(rename::RenameFields::new())))?;
    let mut all = Vec::new();
    for (name, growth) in GROWING {
        if let Some(inner) = state.scalar_functions().get(*name).cloned() {
            let size = Size { growth: *growth, max: limits.value_bytes };
            let capped = Arc::new(ScalarUDF::new_from_impl(Capped { inner, size }));
            state.register_udf(Arc::clone(&capped))?;
            all.push(capped);
        }
    }
    state.register_function_rewrite(Arc::new(Caps(all)))?;
    if let Some(sum) = state.aggregate_functions().get("sum").cloned() {
        state.register_udaf(Arc::new(AggregateUDF::new_from_impl(ExactSum(sum))))?;
    }
    state.add_analyzer_rule(Arc::new(ExactOperators::new()));
    let concat = datafusion::functions::string::concat();
    state.register_expr_planner(Arc::new(joins::Joins::new(concat, limits.value_bytes)))
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

/// What grows, and how.
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
    ("array_append", Growth::Sum),
    ("array_prepend", Growth::Sum),
    ("array_union", Growth::Sum),
    ("arrays_zip", Growth::Sum),
    ("array_replace", Growth::Exchanged),
    ("array_replace_n", Growth::Exchanged),
    ("array_replace_all", Growth::Exchanged),
    ("struct", Growth::Sum),
    ("named_struct", Growth::Sum),
    ("map", Growth::Sum),
];

/// A function of the engine whose result is measured before it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Capped {
    inner: Arc<ScalarUDF>,
    size: Size,
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
        self.size.check(self.name(), &args)?;
        self.inner.invoke_with_args(args)
    }
}

/// The limit on a function's result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Size {
    growth: Growth,
    max: u64,
}

impl Size {
    fn check(&self, name: &str, args: &ScalarFunctionArgs) -> Result<()> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arguments = args.args.iter().map(Argument::new).collect::<Result<Vec<_>>>()?;
        let too_large = |bytes, place, max| {
            Err(external(Error::Value { function: format!("`{name}`"), bytes, place, max }))
        };
        let whole_max = self.max.saturating_mul(VALUES_PER_BATCH);
        let mut whole: u64 = 0;
        for row in 0..rows {
            let bytes = self.growth.bytes(&arguments, row);
            if bytes > self.max {
                return too_large(bytes, "in one value", self.max);
            }
            whole = whole.saturating_add(bytes);
            if whole > whole_max {
                return too_large(whole, "for one batch of rows", whole_max);
            }
        }
        Ok(())
    }
}

/// Puts the functions with a limit in the place of the engine's own, which its planners take without
/// looking them up: `[a, b]`, `{a: b}` and `a || b` on lists are such.
#[derive(Debug)]
struct Caps(Vec<Arc<ScalarUDF>>);

impl FunctionRewrite for Caps {
    fn name(&self) -> &'static str {
        "caps"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
        if call.func.inner().is::<Capped>() {
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        match self.0.iter().find(|capped| capped.name() == call.func.name()) {
            Some(capped) => {
                call.func = Arc::clone(capped);
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            None => Ok(Transformed::no(Expr::ScalarFunction(call))),
        }
    }
}

#[cfg(test)]
mod tests;
