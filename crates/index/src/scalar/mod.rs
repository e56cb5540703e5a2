//! Which rows of a segment have a scalar value, or a value in a range?
//!
//! An index is built once from a column into bytes ([`build()`]), stored as a file, and opened in place
//! from those bytes ([`open()`]), usually mapped. All kinds keep their distinct values sorted, so each
//! answers equality, membership and ranges by binary search; they differ in how rows hang on values:
//!
//! | kind | rows of a value | good for |
//! |---|---|---|
//! | INVERTED | list of row offsets | anything |
//! | Trie | as INVERTED (a sorted dictionary answers prefixes as a trie would) | VarChar prefixes |
//! | STL_SORT | one (value, row) entry per row | numbers with few repetitions |
//! | BITMAP | bitmap, or list where that is smaller | few distinct values |
//!
//! Null rows are in no value's rows; neither are NaN rows, which equal nothing.

mod build;
mod format;
mod kind;
mod open;
mod sorted;

#[cfg(test)]
mod tests;

pub use build::{BuildScalarError, build};
pub use format::ScalarFormatError;
pub use kind::{ParseScalarIndexKindError, ScalarIndexKind};
pub use open::{SharedBytes, open};

use std::ops::Bound;

use redkite_types::{Bitmap, DataType, Value};

/// An index over one scalar column of a segment.
///
/// Laws: every bitmap has one bit per row of the segment and MUST equal what a scan of the column
/// gives; null and NaN rows are never set; a value of another class than the column's (Bool,
/// integers, floats, VarChar) is in no row. Values for Float columns MUST already be rounded to f32.
pub trait ScalarIndex: Send + Sync {
    /// Which kind it is.
    fn kind(&self) -> ScalarIndexKind;

    /// The type of the indexed column.
    fn data_type(&self) -> DataType;

    /// Rows of the segment.
    fn rows(&self) -> usize;

    /// Rows with this value.
    fn equals(&self, value: &Value) -> Bitmap {
        self.any_of(std::slice::from_ref(value))
    }

    /// Rows with any of these values.
    fn any_of(&self, values: &[Value]) -> Bitmap;

    /// Rows with a value in the range; `None` if this index cannot tell.
    fn range(&self, lower: Bound<&Value>, upper: Bound<&Value>) -> Option<Bitmap>;

    /// Rows whose text starts with this; `None` if this index cannot tell.
    fn prefix(&self, prefix: &str) -> Option<Bitmap>;

    /// Rows whose text passes a test, which is asked once per distinct text; `None` if this index
    /// cannot tell.
    fn matching(&self, test: &dyn Fn(&str) -> bool) -> Option<Bitmap>;

    /// Rows that have a value.
    fn valid_rows(&self) -> Bitmap;

    /// Bytes held or mapped.
    fn memory_bytes(&self) -> usize;
}
