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
                Literal::List(list) if set.lists.contains(&list) => {}
                Literal::List(list) => set.lists.push(list),
            }
        }
        Self {
            ints: Self::from_ints(ints).ints,
            doubles: Self::from_doubles(doubles).doubles,
            strings: Self::from_strings(strings).strings,
            ..set
        }
    }
}
