//! Answers from a scalar index.

use std::ops::Bound;

use redkite_index::scalar::ScalarIndex;
use redkite_types::{Bitmap, DataType, Value};

use super::plain::single;
use crate::plan::{CompareOp, LikePattern, Literal, LiteralSet, Predicate};

/// Rows for which a leaf predicate holds, null rows in any state; `None` where the column must be
/// scanned.
pub(super) fn look_up(predicate: &Predicate, index: &dyn ScalarIndex) -> Option<Bitmap> {
    let value = |literal: &Literal| value(literal, index.data_type());
    match predicate {
        Predicate::Compare { op, value: literal, .. } => compare(*op, &value(literal)?, index),
        Predicate::Between { lower, lower_inclusive, upper, upper_inclusive, .. } => {
            let (lower, upper) = (value(lower)?, value(upper)?);
            index.range(bound(&lower, *lower_inclusive), bound(&upper, *upper_inclusive))
        }
        Predicate::In { values, .. } => Some(index.any_of(&set_values(values, index.data_type()))),
        Predicate::Like { pattern, .. } => match pattern {
            LikePattern::Exact(text) => Some(index.equals(&Value::VarChar(text.clone()))),
            LikePattern::Prefix(start) => index.prefix(start),
            pattern => index.matching(&|text| pattern.matches(text)),
        },
        _ => None,
    }
}

fn compare(op: CompareOp, value: &Value, index: &dyn ScalarIndex) -> Option<Bitmap> {
    match op {
        CompareOp::Equal => Some(index.equals(value)),
        CompareOp::NotEqual => {
            let mut other = index.equals(value);
            other.flip();
            Some(other)
        }
        CompareOp::Less => index.range(Bound::Unbounded, Bound::Excluded(value)),
        CompareOp::LessOrEqual => index.range(Bound::Unbounded, Bound::Included(value)),
        CompareOp::Greater => index.range(Bound::Excluded(value), Bound::Unbounded),
        CompareOp::GreaterOrEqual => index.range(Bound::Included(value), Bound::Unbounded),
    }
}

fn bound(value: &Value, inclusive: bool) -> Bound<&Value> {
    if inclusive { Bound::Included(value) } else { Bound::Excluded(value) }
}

fn value(literal: &Literal, data_type: DataType) -> Option<Value> {
    Some(match literal {
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int64(value) => Value::Int64(*value),
        Literal::Double(value) => Value::Double(rounded(*value, data_type)),
        Literal::VarChar(value) => Value::VarChar(value.clone()),
        Literal::List(_) => return None,
    })
}

/// Float columns are compared in single precision.
fn rounded(value: f64, data_type: DataType) -> f64 {
    if data_type == DataType::Float { single(value).into() } else { value }
}

fn set_values(set: &LiteralSet, data_type: DataType) -> Vec<Value> {
    match data_type {
        DataType::Bool => [(false, set.has_false), (true, set.has_true)]
            .into_iter()
            .filter_map(|(value, member)| member.then_some(Value::Bool(value)))
            .collect(),
        DataType::VarChar => set.strings.iter().cloned().map(Value::VarChar).collect(),
        data_type if data_type.is_floating() => {
            set.doubles.iter().map(|value| Value::Double(rounded(*value, data_type))).collect()
        }
        _ => set.ints.iter().copied().map(Value::Int64).collect(),
    }
}
