//! Tests of a JSON column or key.
//!
//! A key that is not there, or holds null, makes the answer UNKNOWN. A value of another type than
//! the literal's is not equal to it, and in no order with it.

use std::cmp::Ordering;

use redkite_types::{Bitmap, ColumnView, DataView, VarView};

use super::arithmetic;
use super::contains::Wanted;
use super::scan::Scan;
use super::truth::Truth;
use crate::json::{JsonPath, JsonValue, Number, elements};
use crate::plan::{ColumnRef, CompareOp, Literal, LiteralSet, Predicate};

pub(super) fn test(
    predicate: &Predicate,
    column: &ColumnRef,
    view: ColumnView<'_>,
    scan: &Scan<'_>,
) -> Truth {
    let DataView::Json(texts) = view.data else { return Truth::known(scan.same(false)) };
    let rows = JsonRows { texts, view, path: JsonPath::new(&column.path), scan };
    match predicate {
        Predicate::Exists { .. } => Truth::known(scan.rows(|row| {
            view.is_valid(row) && rows.path.find(texts.get(row)).is_some_and(|value| value.exists())
        })),
        Predicate::Compare { op, value, .. } => rows.test(|found| op.holds(order(found, value))),
        Predicate::Between { lower, lower_inclusive, upper, upper_inclusive, .. } => {
            let from = if *lower_inclusive { CompareOp::GreaterOrEqual } else { CompareOp::Greater };
            let to = if *upper_inclusive { CompareOp::LessOrEqual } else { CompareOp::Less };
            rows.test(|found| from.holds(order(found, lower)) && to.holds(order(found, upper)))
        }
        Predicate::In { values, .. } => rows.test(|found| in_set(found, values)),
        Predicate::Like { pattern, .. } => {
            rows.test(|found| matches!(found, JsonValue::String(text) if pattern.matches(&text.text())))
        }
        Predicate::Contains { mode, values, .. } => {
            let wanted = Wanted::new(*mode, values);
            rows.test(|found| matches!(found, JsonValue::Array(array) if wanted.held_by(array)))
        }
        Predicate::ArrayLength { op, value: Literal::Int64(wanted), .. } => rows.test(|found| {
            matches!(found, JsonValue::Array(array) if {
                let length = i64::try_from(elements(array).count()).unwrap_or(i64::MAX);
                op.holds(Some(length.cmp(wanted)))
            })
        }),
        Predicate::Arithmetic { arith, operand, op, value, .. } => rows.test(|found| match found {
            JsonValue::Number(number) => arithmetic::holds_for(number, (*arith, operand), (*op, value)),
            _ => *op == CompareOp::NotEqual,
        }),
        _ => Truth::known(scan.same(false)),
    }
}

struct JsonRows<'a> {
    texts: VarView<'a>,
    view: ColumnView<'a>,
    path: JsonPath<'a>,
    scan: &'a Scan<'a>,
}

impl JsonRows<'_> {
    /// Asks for every row that has the key.
    fn test(&self, test: impl Fn(JsonValue<'_>) -> bool) -> Truth {
        let mut yes = self.scan.same(false);
        let mut unknown: Option<Bitmap> = None;
        self.scan.each(|row| {
            let found = self.view.is_valid(row).then(|| self.path.find(self.texts.get(row))).flatten();
            match found {
                None | Some(JsonValue::Null) => {
                    unknown.get_or_insert_with(|| self.scan.same(false)).set(row);
                }
                Some(value) if test(value) => yes.set(row),
                Some(_) => {}
            }
        });
        Truth { yes, unknown }
    }
}

/// How a value stands to a literal; `None` where their types have no order.
pub(super) fn order(value: JsonValue<'_>, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (JsonValue::Number(number), Literal::Int64(literal)) => number.order(Number::Int(*literal)),
        (JsonValue::Number(number), Literal::Double(literal)) => number.order(Number::Double(*literal)),
        (JsonValue::String(text), Literal::VarChar(literal)) => Some((*text.text()).cmp(literal.as_str())),
        (JsonValue::Bool(value), Literal::Bool(literal)) => Some(value.cmp(literal)),
        (JsonValue::Array(array), Literal::List(list)) => equal_lists(array, list).then_some(Ordering::Equal),
        _ => None,
    }
}

/// Whether a value equals a literal.
pub(super) fn equal(value: JsonValue<'_>, literal: &Literal) -> bool {
    order(value, literal) == Some(Ordering::Equal)
}

/// Whether a value equals a literal of the set.
pub(super) fn in_set(value: JsonValue<'_>, set: &LiteralSet) -> bool {
    let mut found = false;
    each_equal(value, set, |_| found = true);
    found
}

/// Tells the positions of the literals that a value equals: a number may be in the set as a whole
/// number and with fraction. Positions are below the length of the set.
pub(super) fn each_equal(value: JsonValue<'_>, set: &LiteralSet, mut tell: impl FnMut(usize)) {
    let ints = usize::from(set.has_false) + usize::from(set.has_true);
    let doubles = ints + set.ints.len();
    let strings = doubles + set.doubles.len();
    let lists = strings + set.strings.len();
    match value {
        JsonValue::Bool(false) if set.has_false => tell(0),
        JsonValue::Bool(true) if set.has_true => tell(usize::from(set.has_false)),
        JsonValue::Number(number) => {
            let order = |literal: Number| literal.order(number).unwrap_or(Ordering::Less);
            if let Ok(at) = set.ints.binary_search_by(|int| order(Number::Int(*int))) {
                tell(ints + at);
            }
            if let Ok(at) = set.doubles.binary_search_by(|double| order(Number::Double(*double))) {
                tell(doubles + at);
            }
        }
        JsonValue::String(text) => {
            let text = text.text();
            if let Ok(at) = set.strings.binary_search_by(|string| string.as_str().cmp(&text)) {
                tell(strings + at);
            }
        }
        JsonValue::Array(array) => {
            let equal = set.lists.iter().enumerate().filter(|(_, list)| equal_lists(array, list));
            equal.for_each(|(at, _)| tell(lists + at));
        }
        JsonValue::Bool(_) | JsonValue::Null | JsonValue::Object(_) => {}
    }
}

fn equal_lists(array: &[u8], list: &[Literal]) -> bool {
    let mut found = elements(array);
    list.iter().all(|wanted| found.next().is_some_and(|element| equal(element, wanted)))
        && found.next().is_none()
}
