//! Membership in sets of literals, small and large.

use std::hash::Hash;

use hashbrown::HashSet;

/// A sorted list, prepared for as many questions as will be asked.
pub(super) enum Members<'a, T> {
    /// Few members: compare with each.
    Few(&'a [T]),
    /// Few questions: search in the list.
    Sorted(&'a [T]),
    /// Members close together: one bit for each number between the first and the last.
    Bits { first: i64, bits: Vec<u64> },
    /// Everything else, with the first and last member: most questions lie outside.
    Hashed { first: T, last: T, members: HashSet<T> },
}

/// Below this many members, comparing with each is fastest.
const FEW: usize = 8;

impl<'a> Members<'a, i64> {
    pub(super) fn of_ints(sorted: &'a [i64], questions: usize) -> Self {
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Self::Few(sorted) };
        let span = last.abs_diff(*first);
        // A bit table is worth it while it stays small beside the list itself and the questions.
        if sorted.len() > FEW && span / 64 < (sorted.len() + questions) as u64 {
            let words = usize::try_from(span / 64 + 1).expect("bounded by lengths");
            let mut bits = vec![0_u64; words];
            for member in sorted {
                let at = member.abs_diff(*first);
                bits[usize::try_from(at / 64).expect("within the span")] |= 1 << (at % 64);
            }
            return Self::Bits { first: *first, bits };
        }
        Self::of_sorted(sorted, questions)
    }

    pub(super) fn has_int(&self, value: i64) -> bool {
        match self {
            Self::Bits { first, bits } => {
                value >= *first && {
                    let at = value.abs_diff(*first);
                    usize::try_from(at / 64)
                        .ok()
                        .and_then(|word| bits.get(word))
                        .is_some_and(|word| word >> (at % 64) & 1 == 1)
                }
            }
            other => other.has(&value),
        }
    }
}

impl<'a, T: Ord + Hash + Copy> Members<'a, T> {
    pub(super) fn of_sorted(sorted: &'a [T], questions: usize) -> Self {
        match (sorted.first(), sorted.last()) {
            (Some(first), Some(last)) if sorted.len() > FEW && questions >= sorted.len() => {
                Self::Hashed { first: *first, last: *last, members: sorted.iter().copied().collect() }
            }
            _ if sorted.len() <= FEW => Self::Few(sorted),
            _ => Self::Sorted(sorted),
        }
    }

    pub(super) fn has(&self, value: &T) -> bool {
        match self {
            Self::Few(members) => members.contains(value),
            Self::Sorted(members) => members.binary_search(value).is_ok(),
            Self::Hashed { first, last, members } => {
                value >= first && value <= last && members.contains(value)
            }
            Self::Bits { .. } => false,
        }
    }
}

/// Whether a sorted list of doubles has a number; NaN is in none.
pub(super) fn has_double(sorted: &[f64], value: f64) -> bool {
    sorted.binary_search_by(|member| member.partial_cmp(&value).unwrap_or(std::cmp::Ordering::Less)).is_ok()
        && !value.is_nan()
}
