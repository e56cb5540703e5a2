//! Tests of one column of plain scalars against literals of its class.

use redkite_types::{Bitmap, DataView, VarView};

use super::arithmetic;
use super::scan::Scan;
use super::set::{Members, has_double};
use crate::plan::{CompareOp, LikePattern, Literal, LiteralSet, Predicate};

/// Rows for which a leaf predicate holds, null rows included. A literal of another class, which no
/// checked plan has, matches nothing.
pub(super) fn test(predicate: &Predicate, data: DataView<'_>, scan: &Scan<'_>) -> Bitmap {
    match predicate {
        Predicate::Compare { op, value, .. } => compare(data, *op, value, scan),
        Predicate::Between { lower, lower_inclusive, upper, upper_inclusive, .. } => {
            let from = if *lower_inclusive { CompareOp::GreaterOrEqual } else { CompareOp::Greater };
            let to = if *upper_inclusive { CompareOp::LessOrEqual } else { CompareOp::Less };
            between(data, (from, lower), (to, upper), scan)
        }
        Predicate::In { values, .. } => any_of(data, values, scan),
        Predicate::Like { pattern, .. } => like(data, pattern, scan),
        Predicate::Arithmetic { arith, operand, op, value, .. } => {
            arithmetic::test(data, (*arith, operand), (*op, value), scan)
        }
        _ => scan.same(false),
    }
}

fn compare(data: DataView<'_>, op: CompareOp, value: &Literal, scan: &Scan<'_>) -> Bitmap {
    match (data, value) {
        (DataView::Int8(values), Literal::Int64(value)) => ints(values, op, *value, scan),
        (DataView::Int16(values), Literal::Int64(value)) => ints(values, op, *value, scan),
        (DataView::Int32(values), Literal::Int64(value)) => ints(values, op, *value, scan),
        (DataView::Int64(values), Literal::Int64(value)) => ints(values, op, *value, scan),
        (DataView::Float(values), Literal::Double(value)) => ordered(values, op, single(*value), scan),
        (DataView::Double(values), Literal::Double(value)) => ordered(values, op, *value, scan),
        (DataView::Bool(values), Literal::Bool(value)) => ordered(values, op, *value, scan),
        (DataView::VarChar(texts), Literal::VarChar(value)) => {
            scan.rows(|row| op.holds(Some(texts.get(row).cmp(value.as_bytes()))))
        }
        _ => scan.same(false),
    }
}

/// Milvus compares Float columns in single precision: `f == 0.1` finds what was stored as 0.1.
#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

/// Values that compare with an operator each, so that each loop has one comparison.
fn ordered<T: Copy + PartialOrd>(values: &[T], op: CompareOp, literal: T, scan: &Scan<'_>) -> Bitmap {
    match op {
        CompareOp::Equal => scan.values(values, |value| value == literal),
        CompareOp::NotEqual => scan.values(values, |value| value != literal),
        CompareOp::Less => scan.values(values, |value| value < literal),
        CompareOp::LessOrEqual => scan.values(values, |value| value <= literal),
        CompareOp::Greater => scan.values(values, |value| value > literal),
        CompareOp::GreaterOrEqual => scan.values(values, |value| value >= literal),
    }
}

/// Integers: every comparison is a closed range in the column's own width, or the rest of one.
fn ints<T: Copy + PartialOrd + TryFrom<i64> + Into<i64>>(
    values: &[T],
    op: CompareOp,
    literal: i64,
    scan: &Scan<'_>,
) -> Bitmap {
    if op == CompareOp::NotEqual {
        let mut other = within(values, bounds(CompareOp::Equal, literal), scan);
        other.flip();
        return other;
    }
    within(values, bounds(op, literal), scan)
}

/// The closed range of integers for which a comparison holds; `None` if it is empty.
fn bounds(op: CompareOp, literal: i64) -> Option<(i64, i64)> {
    match op {
        CompareOp::Equal | CompareOp::NotEqual => Some((literal, literal)),
        CompareOp::Less => Some((i64::MIN, literal.checked_sub(1)?)),
        CompareOp::LessOrEqual => Some((i64::MIN, literal)),
        CompareOp::Greater => Some((literal.checked_add(1)?, i64::MAX)),
        CompareOp::GreaterOrEqual => Some((literal, i64::MAX)),
    }
}

fn within<T: Copy + PartialOrd + TryFrom<i64> + Into<i64>>(
    values: &[T],
    bounds: Option<(i64, i64)>,
    scan: &Scan<'_>,
) -> Bitmap {
    let Some((low, high)) = bounds.filter(|(low, high)| low <= high) else { return scan.same(false) };
    match (T::try_from(low), T::try_from(high)) {
        (Ok(low), Ok(high)) => scan.values(values, |value| value >= low && value <= high),
        (Ok(low), Err(_)) if high > 0 => scan.values(values, |value| value >= low),
        (Err(_), Ok(high)) if low < 0 => scan.values(values, |value| value <= high),
        // Both beyond the width: all values lie between, or none does.
        _ => scan.same(low < 0 && high > 0),
    }
}

fn between(
    data: DataView<'_>,
    (from, lower): (CompareOp, &Literal),
    (to, upper): (CompareOp, &Literal),
    scan: &Scan<'_>,
) -> Bitmap {
    if let (Literal::Int64(lower), Literal::Int64(upper)) = (lower, upper) {
        let range = bounds(from, *lower).zip(bounds(to, *upper)).map(|((low, _), (_, high))| (low, high));
        match data {
            DataView::Int8(values) => return within(values, range, scan),
            DataView::Int16(values) => return within(values, range, scan),
            DataView::Int32(values) => return within(values, range, scan),
            DataView::Int64(values) => return within(values, range, scan),
            _ => {}
        }
    }
    let mut inside = compare(data, from, lower, scan);
    inside.and(&compare(data, to, upper, scan));
    inside
}

fn any_of(data: DataView<'_>, set: &LiteralSet, scan: &Scan<'_>) -> Bitmap {
    match data {
        DataView::Bool(values) => {
            scan.values(values, |value| if value { set.has_true } else { set.has_false })
        }
        DataView::Int8(values) => any_int(values, &set.ints, scan),
        DataView::Int16(values) => any_int(values, &set.ints, scan),
        DataView::Int32(values) => any_int(values, &set.ints, scan),
        DataView::Int64(values) => any_int(values, &set.ints, scan),
        DataView::Float(values) => {
            let rounded: Vec<f64> = set.doubles.iter().map(|double| single(*double).into()).collect();
            scan.values(values, |value| has_double(&rounded, value.into()))
        }
        DataView::Double(values) => scan.values(values, |value| has_double(&set.doubles, value)),
        DataView::VarChar(texts) => any_text(texts, &set.strings, scan),
        _ => scan.same(false),
    }
}

fn any_int<T: Copy + Into<i64>>(values: &[T], ints: &[i64], scan: &Scan<'_>) -> Bitmap {
    match Members::of_ints(ints, scan.asked()) {
        Members::Few(few) => scan.values(values, |value| few.contains(&value.into())),
        members => scan.values(values, |value| members.has_int(value.into())),
    }
}

fn any_text(texts: VarView<'_>, strings: &[String], scan: &Scan<'_>) -> Bitmap {
    let sorted: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    let members = Members::of_sorted(&sorted, scan.asked());
    scan.rows(|row| members.has(&texts.get(row)))
}

fn like(data: DataView<'_>, pattern: &LikePattern, scan: &Scan<'_>) -> Bitmap {
    let DataView::VarChar(texts) = data else { return scan.same(false) };
    match pattern {
        LikePattern::Exact(text) => scan.rows(|row| texts.get(row) == text.as_bytes()),
        LikePattern::Prefix(start) => scan.rows(|row| texts.get(row).starts_with(start.as_bytes())),
        LikePattern::Suffix(end) => scan.rows(|row| texts.get(row).ends_with(end.as_bytes())),
        LikePattern::Infix(_) | LikePattern::Steps(_) => scan.rows(|row| pattern.matches(texts.str(row))),
    }
}
