//! Tests of a JSON column or key.
//!
//! A key that is not there, or holds null, makes the answer UNKNOWN. A value of another type than
//! the literal's is not equal to it, and in no order with it.

use std::cmp::Ordering;

use redkite_types::{Bitmap, ColumnView, DataView, VarView};

use super::arithmetic;
use super::contains;
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
        Predicate::Contains { mode, values, .. } => rows
            .test(|found| matches!(found, JsonValue::Array(array) if contains::holds(array, *mode, values))),
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

fn in_set(value: JsonValue<'_>, set: &LiteralSet) -> bool {
    match value {
        JsonValue::Bool(value) => {
            if value {
                set.has_true
            } else {
                set.has_false
            }
        }
        JsonValue::Number(number) => {
            let whole =
                set.ints.binary_search_by(|int| Number::Int(*int).order(number).unwrap_or(Ordering::Less));
            whole.is_ok()
                || set
                    .doubles
                    .binary_search_by(|double| {
                        Number::Double(*double).order(number).unwrap_or(Ordering::Less)
                    })
                    .is_ok()
        }
        JsonValue::String(text) => {
            let text = text.text();
            set.strings.binary_search_by(|string| string.as_str().cmp(&text)).is_ok()
        }
        JsonValue::Array(array) => set.lists.iter().any(|list| equal_lists(array, list)),
        JsonValue::Null | JsonValue::Object(_) => false,
    }
}

fn equal_lists(array: &[u8], list: &[Literal]) -> bool {
    let mut found = elements(array);
    list.iter().all(|wanted| found.next().is_some_and(|element| equal(element, wanted)))
        && found.next().is_none()
}
