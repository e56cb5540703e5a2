//! `number op operand`, compared with a value.
//!
//! Where the result is beyond 64 bits, no row matches (Milvus wraps around); nor does one that is divided
//! by zero, which the parser refuses.

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
            let holds = |number: i64| {
                whole(arith, number, operand).is_some_and(|out| op.holds(Some(out.cmp(&value))))
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
            whole(arith, number, *operand).is_some_and(|out| op.holds(order(out, value)))
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

fn order(out: i64, value: &Literal) -> Option<std::cmp::Ordering> {
    match value {
        Literal::Int64(value) => Some(out.cmp(value)),
        Literal::Double(value) => order_int_double(out, *value),
        _ => None,
    }
}

fn whole(arith: ArithmeticOp, number: i64, operand: i64) -> Option<i64> {
    match arith {
        ArithmeticOp::Add => number.checked_add(operand),
        ArithmeticOp::Subtract => number.checked_sub(operand),
        ArithmeticOp::Multiply => number.checked_mul(operand),
        ArithmeticOp::Divide => number.checked_div(operand),
        ArithmeticOp::Modulo => (operand != 0).then(|| number.wrapping_rem(operand)),
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
