//! `rename_fields(value, name, …)`: a struct, or a list of structs, with other names for its fields.
//!
//! Contract: names are constant texts, one for each field, in their order; values, nulls and order stay. No value is copied. The engine's own casts match
//! fields by name, so that they cannot do this.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "rename_fields";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RenameFields(Signature);

impl RenameFields {
    pub(super) fn new() -> Self {
        Self(Signature::variadic_any(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for RenameFields {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of `{NAME}` follows from its names")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some((value, names)) =
            args.arg_fields.split_first().zip(args.scalar_arguments.get(1..))
        else {
            return plan_err!(
                "`{NAME}` needs a struct or a list of structs, then a name for each field"
            );
        };
        let text = |name: &ScalarValue| name.try_as_str().flatten().map(str::to_owned);
        let names: Option<Vec<String>> = names.iter().map(|name| name.and_then(text)).collect();
        let Some(names) = names else {
            return plan_err!("the names of `{NAME}` must be constant texts");
        };
        let kind = renamed(value.0.data_type(), &names)?;
        Ok(Arc::new(Field::new(NAME, kind, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = args.args.first().map(|value| value.to_array(args.number_rows));
        let Some(value) = value.transpose()? else { return plan_err!("`{NAME}` needs a value") };
        Ok(ColumnarValue::Array(rename(&value, args.return_type())?))
    }
}

/// Returns the type with other names.
fn renamed(kind: &DataType, names: &[String]) -> Result<DataType> {
    match kind {
        DataType::Struct(fields) if fields.len() == names.len() => {
            let field =
                |(field, name): (&FieldRef, &String)| field.as_ref().clone().with_name(name);
            let fields: Fields = fields.iter().zip(names).map(field).collect();
            Ok(DataType::Struct(fields))
        }
        DataType::Struct(fields) => {
            let (have, given) = (fields.len(), names.len());
            plan_err!("`{NAME}` has {given} names for {have} fields")
        }
        DataType::List(item) => {
            let kind = renamed(item.data_type(), names)?;
            Ok(DataType::List(Arc::new(item.as_ref().clone().with_data_type(kind))))
        }
        other => plan_err!("`{NAME}` takes a struct or a list of structs, not {other}"),
    }
}

/// Gives an array a type that differs from its own in names only.
fn rename(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    match kind {
        DataType::Struct(fields) => {
            let (_, columns, nulls) = array.as_struct().clone().into_parts();
            Ok(Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                nulls,
                array.len(),
            )?))
        }
        DataType::List(item) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = rename(&values, item.data_type())?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        other => plan_err!("`{NAME}` takes a struct or a list of structs, not {other}"),
    }
}
