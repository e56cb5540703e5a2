//! Does a JSON array have elements equal to literals?

use super::json::equal;
use crate::json::elements;
use crate::plan::{ContainsMode, Literal};

pub(super) fn holds(array: &[u8], mode: ContainsMode, values: &[Literal]) -> bool {
    match mode {
        ContainsMode::One | ContainsMode::Any => {
            elements(array).any(|element| values.iter().any(|value| equal(element, value)))
        }
        ContainsMode::All => {
            let mut missing: Vec<&Literal> = values.iter().collect();
            for element in elements(array) {
                if missing.is_empty() {
                    break;
                }
                missing.retain(|value| !equal(element, value));
            }
            missing.is_empty()
        }
    }
}
