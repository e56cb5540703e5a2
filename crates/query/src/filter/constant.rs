//! Arithmetic and comparison between literals, done once while the filter is read.

use std::cmp::Ordering;

use super::syntax::BinaryOp;
use crate::plan::{CompareOp, Literal};

/// `left op right`; the error is Milvus's.
pub(super) fn arithmetic(op: BinaryOp, left: &Literal, right: &Literal) -> Result<Literal, String> {
    let name = match op {
        BinaryOp::Add => "add",
        BinaryOp::Subtract => "subtract",
        BinaryOp::Multiply => "multiply",
        BinaryOp::Divide => "divide",
        BinaryOp::Modulo => return modulo(left, right),
        BinaryOp::Power => return power(left, right),
        BinaryOp::Shift | BinaryOp::BitAnd | BinaryOp::BitXor | BinaryOp::BitOr => {
            return Err("bit operations between constants are not supported".to_owned());
        }
    };
    for side in [left, right] {
        match side {
            Literal::Bool(_) => return Err(format!("{name} cannot apply on bool field")),
            Literal::VarChar(_) => return Err(format!("{name} cannot apply on string field")),
            Literal::List(_) => return Err(format!("{name} cannot apply on array field")),
            Literal::Int64(_) | Literal::Double(_) => {}
        }
    }
    if op == BinaryOp::Divide && number(right) == Some(0.0) {
        return Err("cannot divide by zero".to_owned());
    }
    Ok(match (left, right) {
        (Literal::Int64(left), Literal::Int64(right)) => Literal::Int64(match op {
            BinaryOp::Add => left.wrapping_add(*right),
            BinaryOp::Subtract => left.wrapping_sub(*right),
            BinaryOp::Multiply => left.wrapping_mul(*right),
            _ => left.wrapping_div(*right),
        }),
        _ => {
            let (left, right) = (number(left).unwrap_or(f64::NAN), number(right).unwrap_or(f64::NAN));
            Literal::Double(match op {
                BinaryOp::Add => left + right,
                BinaryOp::Subtract => left - right,
                BinaryOp::Multiply => left * right,
                _ => left / right,
            })
        }
    })
}

fn modulo(left: &Literal, right: &Literal) -> Result<Literal, String> {
    match (left, right) {
        (Literal::Int64(_), Literal::Int64(0)) => Err("cannot modulo by zero".to_owned()),
        (Literal::Int64(left), Literal::Int64(right)) => Ok(Literal::Int64(left.wrapping_rem(*right))),
        _ => Err("modulo can only apply on integer".to_owned()),
    }
}

/// Whole where base and exponent are, the exponent is not negative, and the outcome fits.
fn power(left: &Literal, right: &Literal) -> Result<Literal, String> {
    if let (Literal::Int64(base), Literal::Int64(exponent)) = (left, right)
        && let Ok(exponent) = u32::try_from(*exponent)
        && let Some(whole) = base.checked_pow(exponent)
    {
        return Ok(Literal::Int64(whole));
    }
    match (number(left), number(right)) {
        (Some(base), Some(exponent)) => Ok(Literal::Double(base.powf(exponent))),
        _ => Err("power can only apply on numbers".to_owned()),
    }
}

/// `left op right`; `None` where the two cannot be compared.
pub(super) fn compare(op: CompareOp, left: &Literal, right: &Literal) -> Option<bool> {
    let equality = matches!(op, CompareOp::Equal | CompareOp::NotEqual);
    match (left, right) {
        (Literal::Bool(left), Literal::Bool(right)) if equality => Some(op.holds(Some(left.cmp(right)))),
        _ => Some(op.holds(order(left, right)?)),
    }
}

/// How two texts or two numbers stand; the outer `None` where they are neither.
#[expect(clippy::option_option, reason = "not comparable by type, and unordered for NaN")]
pub(super) fn order(left: &Literal, right: &Literal) -> Option<Option<Ordering>> {
    match (left, right) {
        (Literal::VarChar(left), Literal::VarChar(right)) => Some(Some(left.cmp(right))),
        (Literal::Int64(left), Literal::Int64(right)) => Some(Some(left.cmp(right))),
        _ => Some(number(left)?.partial_cmp(&number(right)?)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "mixed arithmetic is in doubles")]
fn number(literal: &Literal) -> Option<f64> {
    match literal {
        Literal::Int64(value) => Some(*value as f64),
        Literal::Double(value) => Some(*value),
        Literal::Bool(_) | Literal::VarChar(_) | Literal::List(_) => None,
    }
}
