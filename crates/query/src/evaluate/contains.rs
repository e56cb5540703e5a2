//! Does a JSON array have elements equal to literals?

use super::json::{each_equal, in_set};
use crate::json::elements;
use crate::plan::{ContainsMode, Literal, LiteralSet};

/// Literals prepared for many arrays: comparing every element with every literal would let a short
/// filter keep a node busy for minutes.
pub(super) struct Wanted {
    mode: ContainsMode,
    values: LiteralSet,
    /// Nothing equals NaN, so it is in no set, but an array that must have it has not.
    nan: bool,
}

impl Wanted {
    pub(super) fn new(mode: ContainsMode, values: &[Literal]) -> Self {
        let nan = values.iter().any(|value| matches!(value, Literal::Double(value) if value.is_nan()));
        Self { mode, values: values.iter().cloned().collect(), nan }
    }

    pub(super) fn held_by(&self, array: &[u8]) -> bool {
        match self.mode {
            ContainsMode::One | ContainsMode::Any => {
                elements(array).any(|element| in_set(element, &self.values))
            }
            ContainsMode::All => !self.nan && self.all_in(array),
        }
    }

    fn all_in(&self, array: &[u8]) -> bool {
        let mut missing = self.values.len();
        let mut found = vec![false; missing];
        let mut elements = elements(array);
        while missing > 0
            && let Some(element) = elements.next()
        {
            each_equal(element, &self.values, |at| {
                missing -= usize::from(!std::mem::replace(&mut found[at], true));
            });
        }
        missing == 0
    }
}
