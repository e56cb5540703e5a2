//! Literals and sets of literals.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A constant in a filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int64(i64),
    /// A number with fraction or exponent.
    Double(f64),
    /// Text.
    VarChar(String),
    /// `[…]`, only against JSON.
    List(Vec<Literal>),
}

/// Literals of an `in`, taken apart by class, each list sorted and without repetitions.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct LiteralSet {
    /// Whether `false` is in it.
    pub has_false: bool,
    /// Whether `true` is in it.
    pub has_true: bool,
    /// Whole numbers.
    pub ints: Vec<i64>,
    /// Numbers with fraction; NaN is never in it.
    pub doubles: Vec<f64>,
    /// Texts.
    pub strings: Vec<String>,
    /// Lists, only against JSON.
    pub lists: Vec<Vec<Literal>>,
}

impl LiteralSet {
    /// A set of whole numbers.
    #[must_use]
    pub fn from_ints(mut ints: Vec<i64>) -> Self {
        ints.sort_unstable();
        ints.dedup();
        Self { ints, ..Self::default() }
    }

    /// A set of texts.
    #[must_use]
    pub fn from_strings(mut strings: Vec<String>) -> Self {
        strings.sort_unstable();
        strings.dedup();
        Self { strings, ..Self::default() }
    }

    /// A set of numbers with fraction.
    #[must_use]
    pub fn from_doubles(mut doubles: Vec<f64>) -> Self {
        doubles.retain(|double| !double.is_nan());
        doubles.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        doubles.dedup();
        Self { doubles, ..Self::default() }
    }

    /// Number of distinct literals.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.has_false)
            + usize::from(self.has_true)
            + self.ints.len()
            + self.doubles.len()
            + self.strings.len()
            + self.lists.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Literal> for LiteralSet {
    fn from_iter<I: IntoIterator<Item = Literal>>(literals: I) -> Self {
        let (mut ints, mut doubles, mut strings) = (Vec::new(), Vec::new(), Vec::new());
        let mut set = Self::default();
        for literal in literals {
            match literal {
                Literal::Bool(false) => set.has_false = true,
                Literal::Bool(true) => set.has_true = true,
                Literal::Int64(int) => ints.push(int),
                Literal::Double(double) => doubles.push(double),
                Literal::VarChar(string) => strings.push(string),
                Literal::List(list) => set.lists.push(list),
            }
        }
        set.lists.sort_unstable_by(|a, b| order_lists(a, b));
        set.lists.dedup_by(|a, b| order_lists(a, b).is_eq());
        Self {
            ints: Self::from_ints(ints).ints,
            doubles: Self::from_doubles(doubles).doubles,
            strings: Self::from_strings(strings).strings,
            ..set
        }
    }
}

/// Some total order: equal lists come together.
fn order_lists(left: &[Literal], right: &[Literal]) -> Ordering {
    left.iter().map(Ordered).cmp(right.iter().map(Ordered))
}

struct Ordered<'a>(&'a Literal);

impl Ordered<'_> {
    fn class(&self) -> u8 {
        match self.0 {
            Literal::Bool(_) => 0,
            Literal::Int64(_) => 1,
            Literal::Double(_) => 2,
            Literal::VarChar(_) => 3,
            Literal::List(_) => 4,
        }
    }
}

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Literal::Bool(left), Literal::Bool(right)) => left.cmp(right),
            (Literal::Int64(left), Literal::Int64(right)) => left.cmp(right),
            (Literal::Double(left), Literal::Double(right)) => left.total_cmp(right),
            (Literal::VarChar(left), Literal::VarChar(right)) => left.cmp(right),
            (Literal::List(left), Literal::List(right)) => order_lists(left, right),
            _ => self.class().cmp(&other.class()),
        }
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_not_repeated() {
        let list =
            |int, text: &str| Literal::List(vec![Literal::Int64(int), Literal::VarChar(text.to_owned())]);
        let set: LiteralSet = [list(2, "a"), list(1, "b"), list(2, "a"), list(1, "a")].into_iter().collect();
        assert_eq!(set.len(), 3);
        let lists: Vec<_> = set.lists.into_iter().map(Literal::List).collect();
        assert_eq!(lists, [list(1, "a"), list(1, "b"), list(2, "a")]);
    }

    /// A filter fits into a message of 64 MiB; comparing each list with each would take hours.
    #[test]
    fn many_lists_take_no_time() {
        let lists = (0..200_000).map(|int| Literal::List(vec![Literal::Int64(int % 100_000)]));
        assert_eq!(lists.collect::<LiteralSet>().len(), 100_000);
    }
}
