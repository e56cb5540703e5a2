//! Two columns of the same class against each other.

use redkite_types::{Bitmap, DataView};

use super::scan::Scan;
use crate::json::order_int_double;
use crate::plan::CompareOp;

pub(super) fn compare(left: DataView<'_>, op: CompareOp, right: DataView<'_>, scan: &Scan<'_>) -> Bitmap {
    match (left, right) {
        (DataView::VarChar(left), DataView::VarChar(right)) => {
            scan.rows(|row| op.holds(Some(left.get(row).cmp(right.get(row)))))
        }
        (DataView::Bool(left), DataView::Bool(right)) => {
            scan.rows(|row| op.holds(Some(left[row].cmp(&right[row]))))
        }
        (DataView::Int64(left), DataView::Int64(right)) => {
            scan.rows(|row| op.holds(Some(left[row].cmp(&right[row]))))
        }
        _ => match (Numbers::of(left), Numbers::of(right)) {
            (Some(left), Some(right)) => scan.rows(|row| op.holds(left.get(row).order(right.get(row)))),
            _ => scan.same(false),
        },
    }
}

/// A number of a column.
enum Cell {
    Int(i64),
    Double(f64),
}

impl Cell {
    fn order(self, other: Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Int(left), Self::Double(right)) => order_int_double(left, right),
            (Self::Double(left), Self::Int(right)) => {
                order_int_double(right, left).map(std::cmp::Ordering::reverse)
            }
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
        }
    }
}

/// A column of numbers of any width.
enum Numbers<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float(&'a [f32]),
    Double(&'a [f64]),
}

impl<'a> Numbers<'a> {
    fn of(data: DataView<'a>) -> Option<Self> {
        Some(match data {
            DataView::Int8(values) => Self::Int8(values),
            DataView::Int16(values) => Self::Int16(values),
            DataView::Int32(values) => Self::Int32(values),
            DataView::Int64(values) => Self::Int64(values),
            DataView::Float(values) => Self::Float(values),
            DataView::Double(values) => Self::Double(values),
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> Cell {
        match self {
            Self::Int8(values) => Cell::Int(values[row].into()),
            Self::Int16(values) => Cell::Int(values[row].into()),
            Self::Int32(values) => Cell::Int(values[row].into()),
            Self::Int64(values) => Cell::Int(values[row]),
            Self::Float(values) => Cell::Double(values[row].into()),
            Self::Double(values) => Cell::Double(values[row]),
        }
    }
}
