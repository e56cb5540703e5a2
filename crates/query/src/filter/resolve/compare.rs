//! Which comparisons are allowed, and what the compared literal becomes.

use std::ops::Range;

use redkite_types::DataType;

use super::arithmetic;
use super::meaning::{Meaning, Side, describe, element_type, literal_type, literal_type_name};
use crate::filter::error::FilterError;
use crate::plan::{CompareOp, Literal, Predicate};

/// A comparison with at least one side that is no constant.
pub(super) fn compare(
    op: CompareOp,
    left: Side,
    right: Side,
    span: &Range<usize>,
) -> Result<Predicate, FilterError> {
    match (left, right) {
        (Side::Constant { value, template }, Side::Other(meaning)) => {
            if template.is_none() {
                check_types(
                    constant_type(&value),
                    &literal_type_name(&value),
                    meaning.data_type(),
                    &meaning.type_name(),
                    span,
                )?;
            }
            with_constant(op.swapped(), meaning, value, template.is_some(), span)
        }
        (Side::Other(meaning), Side::Constant { value, template }) => {
            if template.is_none() {
                check_types(
                    meaning.data_type(),
                    &meaning.type_name(),
                    constant_type(&value),
                    &literal_type_name(&value),
                    span,
                )?;
            }
            with_constant(op, meaning, value, template.is_some(), span)
        }
        (Side::Other(left), Side::Other(right)) => {
            check_types(left.data_type(), &left.type_name(), right.data_type(), &right.type_name(), span)?;
            columns(op, &left, &right, span)
        }
        (Side::Constant { .. }, Side::Constant { .. }) => {
            Err(FilterError::plan(span, "unexpected, should be optimized already"))
        }
    }
}

/// Lists are compared by the type of their elements.
fn constant_type(value: &Literal) -> Option<DataType> {
    match value {
        Literal::List(list) => element_type(list),
        other => literal_type(other),
    }
}

fn check_types(
    left: Option<DataType>,
    left_name: &str,
    right: Option<DataType>,
    right_name: &str,
    span: &Range<usize>,
) -> Result<(), FilterError> {
    let number = |data_type: DataType| data_type.is_integer() || data_type.is_floating();
    let allowed = match (left, right) {
        (Some(DataType::Json), _) => true,
        (Some(DataType::Bool), right) => matches!(right, Some(DataType::Bool | DataType::Json)),
        (Some(DataType::VarChar), right) => matches!(right, Some(DataType::VarChar | DataType::Json)),
        (Some(left), Some(right)) if number(left) => number(right) || right == DataType::Json,
        (None, Some(DataType::Json)) => true,
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    Err(FilterError::plan(
        span,
        format!("comparisons between {left_name} and {right_name} are not supported"),
    ))
}

fn with_constant(
    op: CompareOp,
    meaning: Meaning,
    value: Literal,
    template: bool,
    span: &Range<usize>,
) -> Result<Predicate, FilterError> {
    let data_type = meaning.data_type().unwrap_or(DataType::Bool);
    let value =
        cast(data_type, value, span).map_err(|error| if template { error.of_plan() } else { error })?;
    match meaning {
        Meaning::Column(column) => Ok(Predicate::Compare { column, op, value }),
        Meaning::ArrayLength(column) => Ok(Predicate::ArrayLength { column, op, value }),
        Meaning::Arithmetic(arithmetic) => arithmetic::compare(*arithmetic, op, value, span),
        Meaning::Predicate(_) | Meaning::Constant { .. } => {
            Err(FilterError::plan(span, "not supported to combine multiple fields"))
        }
    }
}

fn columns(
    op: CompareOp,
    left: &Meaning,
    right: &Meaning,
    span: &Range<usize>,
) -> Result<Predicate, FilterError> {
    let (Some(left), Some(right)) = (left.as_column(), right.as_column()) else {
        return Err(FilterError::plan(span, "only comparison between two fields is supported"));
    };
    if left.data_type == DataType::Json || right.data_type == DataType::Json {
        return Err(FilterError::plan(span, "two column comparison with JSON type is not supported"));
    }
    Ok(Predicate::CompareColumns { left: left.clone(), op, right: right.clone() })
}

/// Whether the literal is of the column's class as it stands.
pub(super) fn classes_compare(data_type: DataType, literal: &Literal) -> bool {
    match (data_type, literal) {
        (DataType::Json, _)
        | (DataType::Bool, Literal::Bool(_))
        | (DataType::VarChar, Literal::VarChar(_))
        | (DataType::Float | DataType::Double, Literal::Double(_)) => true,
        (data_type, Literal::Int64(_)) => data_type.is_integer(),
        _ => false,
    }
}

/// The literal in the column's class: whole numbers become doubles for Float and Double columns, and
/// anything goes with JSON.
pub(super) fn cast(
    data_type: DataType,
    literal: Literal,
    span: &Range<usize>,
) -> Result<Literal, FilterError> {
    if classes_compare(data_type, &literal) {
        return Ok(literal);
    }
    #[expect(clippy::cast_precision_loss, reason = "compared with a floating column, as Milvus does")]
    match literal {
        Literal::Int64(value) if data_type.is_floating() => Ok(Literal::Double(value as f64)),
        other => {
            let message = format!("cannot cast value to {data_type}, value: {}", describe(&other));
            Err(FilterError::plan(span, message))
        }
    }
}
