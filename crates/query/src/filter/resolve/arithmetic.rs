//! Arithmetic with a column in it: `column op number`, to be compared with a number.

use std::ops::Range;

use redkite_types::DataType;

use super::compare::cast;
use super::meaning::{Arithmetic, Meaning};
use crate::filter::error::FilterError;
use crate::filter::syntax::BinaryOp;
use crate::plan::{ArithmeticOp, CompareOp, Literal, Predicate};

/// `left op right`, not both constant.
pub(super) fn combine(
    op: BinaryOp,
    left: Meaning,
    right: Meaning,
    span: &Range<usize>,
) -> Result<Meaning, FilterError> {
    let (op, name) = match op {
        BinaryOp::Subtract => (ArithmeticOp::Subtract, "subtract"),
        BinaryOp::Multiply => (ArithmeticOp::Multiply, "multiply"),
        BinaryOp::Divide => (ArithmeticOp::Divide, "divide"),
        BinaryOp::Modulo => (ArithmeticOp::Modulo, "modulo"),
        _ => (ArithmeticOp::Add, "add"),
    };
    let reverse = matches!(left, Meaning::Constant { .. });
    let (field, other) = if reverse { (&right, &left) } else { (&left, &right) };
    let (Some(field_type), Some(other_type)) = (field.data_type(), other.data_type()) else {
        let message =
            format!("'{name}' cannot perform arithmetic between {} field and Array", field.type_name());
        return Err(FilterError::invalid(span, message));
    };
    if !allowed(field_type, other_type) {
        let message = format!(
            "'{name}' cannot perform arithmetic between {field_type} field and {other_type}: query plan failed"
        );
        return Err(FilterError::invalid(span, message));
    }
    let whole = |data_type: DataType| data_type.is_integer() || data_type == DataType::Json;
    if op == ArithmeticOp::Modulo && !(whole(field_type) && whole(other_type)) {
        return Err(FilterError::plan(span, "modulo can only apply on integer types"));
    }
    let data_type = match (field_type, other_type) {
        (DataType::Json, DataType::Json) => DataType::Double,
        (field, other) if field.is_floating() || other.is_floating() => DataType::Double,
        _ => DataType::Int64,
    };
    Ok(Meaning::Arithmetic(Box::new(Arithmetic { op, left, right, data_type })))
}

fn allowed(field: DataType, other: DataType) -> bool {
    let number = |data_type: DataType| data_type.is_integer() || data_type.is_floating();
    match field {
        DataType::Json => number(other),
        field if field.is_integer() => other.is_integer() || other == DataType::Json,
        field if field.is_floating() => number(other) || other == DataType::Json,
        _ => false,
    }
}

/// `arithmetic op value`: one column, one number.
pub(super) fn compare(
    arithmetic: Arithmetic,
    op: CompareOp,
    value: Literal,
    span: &Range<usize>,
) -> Result<Predicate, FilterError> {
    let Arithmetic { op: arith, left, right, data_type } = arithmetic;
    let commutes = matches!(arith, ArithmeticOp::Add | ArithmeticOp::Multiply);
    let (column, operand) = match (left, right) {
        (Meaning::Column(column), Meaning::Constant { value, .. }) => (column, value),
        (Meaning::Constant { value, .. }, Meaning::Column(column)) if commutes => (column, value),
        (Meaning::Constant { .. }, Meaning::Column(_)) => {
            return Err(FilterError::plan(span, "module field is not yet supported"));
        }
        (Meaning::Column(_), Meaning::Column(_)) => {
            let message = "not supported to do arithmetic operations between multiple fields";
            return Err(FilterError::plan(span, message));
        }
        _ => return Err(FilterError::plan(span, "complicated arithmetic operations are not supported")),
    };
    let operand = cast(data_type, operand, span)?;
    let zero = operand == Literal::Int64(0) || operand == Literal::Double(0.0);
    if zero && matches!(arith, ArithmeticOp::Divide | ArithmeticOp::Modulo) {
        return Err(FilterError::plan(span, "division or modulus by zero"));
    }
    Ok(Predicate::Arithmetic { column, arith, operand, op, value })
}
