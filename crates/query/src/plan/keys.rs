//! Which primary keys can a filter match at all?

use redkite_types::{DataType, FieldId, PrimaryKeys};

use super::{CompareOp, Literal, LiteralSet, Predicate};

/// The keys of `key == x` and `key in [..]`.
pub(super) fn exact(predicate: &Predicate, key: FieldId, key_type: DataType) -> Option<PrimaryKeys> {
    match predicate {
        Predicate::Compare { column, op: CompareOp::Equal, value } if column.field == key => {
            Some(match value {
                Literal::Int64(value) => PrimaryKeys::Int64(vec![*value]),
                Literal::VarChar(value) => PrimaryKeys::VarChar([value].into_iter().collect()),
                _ => return None,
            })
        }
        Predicate::In { column, values } if column.field == key => Some(of_set(values, key_type)),
        Predicate::Always(false) => Some(PrimaryKeys::empty(key_type)),
        _ => None,
    }
}

/// Keys that every matching row has one of: the shortest list among the parts of an `and`; all of
/// them together for an `or` whose every branch has some.
pub(super) fn candidates(predicate: &Predicate, key: FieldId, key_type: DataType) -> Option<PrimaryKeys> {
    match predicate {
        Predicate::And(parts) => {
            parts.iter().filter_map(|part| candidates(part, key, key_type)).min_by_key(PrimaryKeys::len)
        }
        Predicate::Or(parts) => {
            let lists: Option<Vec<_>> = parts.iter().map(|part| candidates(part, key, key_type)).collect();
            Some(union(&lists?, key_type))
        }
        other => exact(other, key, key_type),
    }
}

fn of_set(values: &LiteralSet, key_type: DataType) -> PrimaryKeys {
    match key_type {
        DataType::Int64 => PrimaryKeys::Int64(values.ints.clone()),
        _ => PrimaryKeys::VarChar(values.strings.iter().collect()),
    }
}

fn union(lists: &[PrimaryKeys], key_type: DataType) -> PrimaryKeys {
    let mut all: Vec<_> = lists.iter().flat_map(PrimaryKeys::iter).collect();
    all.sort_unstable();
    all.dedup();
    let mut keys = PrimaryKeys::empty(key_type);
    all.into_iter().for_each(|key| keys.push(key));
    keys
}
