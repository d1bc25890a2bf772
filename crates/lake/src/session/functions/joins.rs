//! `a || b` on texts and bytes: one function of any number of arguments, with a limit.
//!
//! The engine's own operator has no limit, and a chain of it would copy its left side again and again.

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::Size;
use super::growth::Growth;

/// Plans `||`.
#[derive(Debug)]
pub(super) struct Joins {
    join: Arc<ScalarUDF>,
}

impl Joins {
    /// Makes the planner from the engine's `concat` and the bytes that one value may have.
    pub(super) fn new(concat: Arc<ScalarUDF>, max: u64) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        let join = Join { concat, size: Size { growth: Growth::Sum, max }, signature };
        Self { join: Arc::new(ScalarUDF::new_from_impl(join)) }
    }
}

impl ExprPlanner for Joins {
    fn plan_binary_op(
        &self,
        binary: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if binary.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(binary));
        }
        let kinds = [kind(&binary.left, schema)?, kind(&binary.right, schema)?];
        if kinds.contains(&Kind::Nested) || !kinds.contains(&Kind::Text) {
            return Ok(PlannerResult::Original(binary));
        }
        let mut args = parts(binary.left);
        args.append(&mut parts(binary.right));
        let call = ScalarFunction::new_udf(Arc::clone(&self.join), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(PartialEq)]
enum Kind {
    /// Text or bytes.
    Text,
    Nested,
    Other,
}

fn kind(expr: &Expr, schema: &DFSchema) -> Result<Kind> {
    if is_join(expr) {
        // Asking for the type of a long chain at each of its links would take ever longer.
        return Ok(Kind::Text);
    }
    Ok(match expr.get_type(schema)? {
        kind if kind.is_string() || kind.is_binary() => Kind::Text,
        kind if kind.is_nested() => Kind::Nested,
        _ => Kind::Other,
    })
}

fn is_join(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Join>())
}

fn parts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Join>() => call.args,
        other => vec![other],
    }
}

/// All arguments one after another, or null if one of them is null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Join {
    concat: Arc<ScalarUDF>,
    size: Size,
    signature: Signature,
}

impl ScalarUDFImpl for Join {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.concat.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.concat.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut nulls: Option<NullBuffer> = None;
        for arg in &args.args {
            match arg {
                ColumnarValue::Scalar(value) if value.is_null() => {
                    let nothing = ScalarValue::try_from(args.return_field.data_type())?;
                    return Ok(ColumnarValue::Scalar(nothing));
                }
                ColumnarValue::Scalar(_) => {}
                ColumnarValue::Array(values) => {
                    nulls = NullBuffer::union(nulls.as_ref(), values.logical_nulls().as_ref());
                }
            }
        }
        self.size.check(self.name(), &args)?;
        match (self.concat.invoke_with_args(args)?, nulls) {
            (ColumnarValue::Array(joined), Some(nulls)) => {
                let missing = BooleanArray::new(!nulls.inner(), None);
                Ok(ColumnarValue::Array(nullif(&joined, &missing)?))
            }
            (joined, _) => Ok(joined),
        }
    }
}
