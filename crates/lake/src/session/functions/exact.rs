//! Whole numbers that never wrap around: `+`, `-`, `*`, the minus sign and `sum` fail where the engine's
//! own would go on with a wrong number.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, merge_schema};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, BinaryExpr, ColumnarValue, EmitTo, Expr,
    ExprSchemable, GroupsAccumulator, LogicalPlan, Operator, ReversedUDAF, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// Sums are kept in it; no number of rows takes one beyond it.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Puts the operators that fail in the place of the engine's own, once types are settled.
#[derive(Debug)]
pub(super) struct ExactOperators(Vec<Arc<ScalarUDF>>);

impl ExactOperators {
    pub(super) fn new() -> Self {
        let all = [Exact::Add, Exact::Subtract, Exact::Multiply, Exact::Negate];
        let function = |exact: Exact| {
            let signature = Signature::any(exact.arguments(), Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Operation { exact, signature }))
        };
        Self(all.map(function).into())
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let exact = match &expr {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Plus, .. }) => Exact::Add,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Minus, .. }) => Exact::Subtract,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Multiply, .. }) => Exact::Multiply,
            Expr::Negative(_) => Exact::Negate,
            _ => return Ok(Transformed::no(expr)),
        };
        if !expr.get_type(schema)?.is_integer() {
            return Ok(Transformed::no(expr));
        }
        let args = match expr {
            Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![*left, *right],
            Expr::Negative(inner) => vec![*inner],
            other => return Ok(Transformed::no(other)),
        };
        let function = Arc::clone(&self.0[exact as usize]);
        let call = ScalarFunction::new_udf(function, args);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }

    fn rewrite_plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| self.rewrite(expr, &schema))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })
    }
}

impl AnalyzerRule for ExactOperators {
    fn name(&self) -> &'static str {
        "exact_operators"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| self.rewrite_plan(plan));
        rewritten.map(|transformed| transformed.data)
    }
}

/// What can pass the ends of a type. The order is that of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exact {
    Add,
    Subtract,
    Multiply,
    Negate,
}

impl Exact {
    fn arguments(self) -> usize {
        if self == Self::Negate { 1 } else { 2 }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    exact: Exact,
    signature: Signature,
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &'static str {
        match self.exact {
            Exact::Add => "exact_add",
            Exact::Subtract => "exact_subtract",
            Exact::Multiply => "exact_multiply",
            Exact::Negate => "exact_negate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.exact, args.args.as_slice()) {
            (Exact::Add, [left, right]) => apply(left, right, numeric::add),
            (Exact::Subtract, [left, right]) => apply(left, right, numeric::sub),
            (Exact::Multiply, [left, right]) => apply(left, right, numeric::mul),
            (_, [ColumnarValue::Array(values)]) => {
                Ok(ColumnarValue::Array(numeric::neg(values.as_ref())?))
            }
            (_, [ColumnarValue::Scalar(value)]) => {
                let negated = numeric::neg(value.to_array()?.as_ref())?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?))
            }
            _ => Err(super::super::external(ArrowError::InvalidArgumentError(
                "an operator was called with too few values".into(),
            ))),
        }
    }
}

/// `sum`, which for whole numbers counts in 128 bits and fails where the result does not fit.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactSum(pub(super) Arc<AggregateUDF>);

/// Returns the field of the wide sum where one is kept.
fn wide(field: &FieldRef) -> Option<FieldRef> {
    let whole = field.data_type().is_integer();
    whole.then(|| Arc::new(Field::new(field.name(), WIDE, true)))
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(return_field) = wide(&args.return_field) else { return self.0.accumulator(args) };
        let kind = args.return_type().clone();
        let inner = self.0.accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Wide { inner, kind }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let return_field = wide(&args.return_field).unwrap_or_else(|| args.return_field.clone());
        self.0.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(return_field) = wide(&args.return_field) else {
            return self.0.create_groups_accumulator(args);
        };
        let kind = args.return_type().clone();
        let inner = self.0.create_groups_accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Wide { inner, kind }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        // The engine slides over distinct values of 64 bits only.
        let Some(return_field) = wide(&args.return_field).filter(|_| !args.is_distinct) else {
            return self.0.create_sliding_accumulator(args);
        };
        let kind = args.return_type().clone();
        let inner = self.0.create_sliding_accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Wide { inner, kind }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// A sum in 128 bits of values of a narrower type.
#[derive(Debug)]
struct Wide<A> {
    inner: A,
    kind: DataType,
}

fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    Ok(values.iter().map(|values| cast(values, &WIDE)).collect::<Result<_, ArrowError>>()?)
}

fn narrowed(sums: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(sums, kind, &exact).map_err(|_| {
        let sums = sums.as_primitive::<Decimal128Type>();
        let largest = sums.iter().flatten().max_by_key(|sum| sum.unsigned_abs());
        let text = format!("the sum {}", largest.unwrap_or_default());
        ArrowError::ArithmeticOverflow(text).into()
    })
}

impl Accumulator for Wide<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&narrowed(&sum, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

impl GroupsAccumulator for Wide<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widened(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        narrowed(&self.inner.evaluate(emit_to)?, &self.kind)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
