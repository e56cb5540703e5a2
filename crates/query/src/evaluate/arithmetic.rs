//! `number op operand`, compared with a value.
//!
//! Whole numbers are computed in 128 bits, where nothing overflows; dividing by zero, which the
//! parser refuses, makes no row match.

use redkite_types::{Bitmap, DataView};

use super::plain::single;
use super::scan::Scan;
use crate::json::{Number, order_int_double};
use crate::plan::{ArithmeticOp, CompareOp, Literal};

pub(super) fn test(
    data: DataView<'_>,
    (arith, operand): (ArithmeticOp, &Literal),
    (op, value): (CompareOp, &Literal),
    scan: &Scan<'_>,
) -> Bitmap {
    match (operand, value) {
        (Literal::Int64(operand), Literal::Int64(value)) => {
            let (operand, value) = (*operand, *value);
            let holds = |number: i64| match arith {
                // Dividing 128-bit numbers is slow, and only MIN / -1 needs it.
                ArithmeticOp::Modulo if operand != 0 => {
                    op.holds(Some(number.wrapping_rem(operand).cmp(&value)))
                }
                ArithmeticOp::Divide if operand != 0 && operand != -1 => {
                    op.holds(Some((number / operand).cmp(&value)))
                }
                _ => whole(arith, number.into(), operand.into())
                    .is_some_and(|out| op.holds(Some(out.cmp(&value.into())))),
            };
            match data {
                DataView::Int8(values) => scan.values(values, |number| holds(number.into())),
                DataView::Int16(values) => scan.values(values, |number| holds(number.into())),
                DataView::Int32(values) => scan.values(values, |number| holds(number.into())),
                DataView::Int64(values) => scan.values(values, holds),
                _ => scan.same(false),
            }
        }
        (Literal::Double(operand), Literal::Double(value)) => match data {
            DataView::Float(values) => {
                let (operand, value) = (single(*operand), single(*value));
                scan.values(values, |number| {
                    let out = match arith {
                        ArithmeticOp::Add => number + operand,
                        ArithmeticOp::Subtract => number - operand,
                        ArithmeticOp::Multiply => number * operand,
                        ArithmeticOp::Divide => number / operand,
                        ArithmeticOp::Modulo => number % operand,
                    };
                    op.holds(out.partial_cmp(&value))
                })
            }
            DataView::Double(values) => {
                scan.values(values, |number| op.holds(fractional(arith, number, *operand).partial_cmp(value)))
            }
            _ => scan.same(false),
        },
        _ => scan.same(false),
    }
}

/// The same for a JSON number, which is whole or not row by row.
pub(super) fn holds_for(
    number: Number,
    (arith, operand): (ArithmeticOp, &Literal),
    (op, value): (CompareOp, &Literal),
) -> bool {
    match (number, operand) {
        (Number::Int(number), Literal::Int64(operand)) => {
            whole(arith, number.into(), (*operand).into()).is_some_and(|out| op.holds(order(out, value)))
        }
        (number, operand) => {
            let operand = match operand {
                Literal::Int64(operand) => Number::Int(*operand).as_f64(),
                Literal::Double(operand) => *operand,
                _ => return false,
            };
            let out = fractional(arith, number.as_f64(), operand);
            match value {
                Literal::Int64(value) => {
                    op.holds(order_int_double(*value, out).map(std::cmp::Ordering::reverse))
                }
                Literal::Double(value) => op.holds(out.partial_cmp(value)),
                _ => false,
            }
        }
    }
}

fn order(out: i128, value: &Literal) -> Option<std::cmp::Ordering> {
    match value {
        Literal::Int64(value) => Some(out.cmp(&i128::from(*value))),
        #[expect(clippy::cast_precision_loss, reason = "compared with a double")]
        Literal::Double(value) => (out as f64).partial_cmp(value),
        _ => None,
    }
}

fn whole(arith: ArithmeticOp, number: i128, operand: i128) -> Option<i128> {
    match arith {
        ArithmeticOp::Add => number.checked_add(operand),
        ArithmeticOp::Subtract => number.checked_sub(operand),
        ArithmeticOp::Multiply => number.checked_mul(operand),
        ArithmeticOp::Divide => number.checked_div(operand),
        ArithmeticOp::Modulo => number.checked_rem(operand),
    }
}

fn fractional(arith: ArithmeticOp, number: f64, operand: f64) -> f64 {
    match arith {
        ArithmeticOp::Add => number + operand,
        ArithmeticOp::Subtract => number - operand,
        ArithmeticOp::Multiply => number * operand,
        ArithmeticOp::Divide => number / operand,
        ArithmeticOp::Modulo => number % operand,
    }
}
