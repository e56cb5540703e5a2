//! What stands in rows for which the client sent no value?
//!
//! Clients send the present values only, and one flag per row. Columns hold one value per row: the
//! default, if the field has one, else a filler and a cleared validity bit.

use redkite_service::Error;
use redkite_types::{Bitmap, FieldSchema, Value};

use crate::refuse;

/// Which rows of a column the client sent a value for.
#[derive(Debug)]
pub(crate) struct Presence {
    flags: Vec<bool>,
    rows: usize,
    present: usize,
}

impl Presence {
    /// Checks the flags a client sent for a field; none at all means that every row has a value.
    pub(crate) fn new(field: &FieldSchema, flags: Vec<bool>, rows: usize) -> Result<Self, Error> {
        let optional = field.nullable || field.default_value.is_some();
        let expected = if optional { rows } else { 0 };
        if flags.len() != expected && !(optional && flags.is_empty()) {
            let what = format!("the length of valid_data of field({}) is wrong", field.name);
            return Err(refuse::mismatch(expected, flags.len(), what));
        }
        let present = if flags.is_empty() { rows } else { flags.iter().filter(|flag| **flag).count() };
        Ok(Self { flags, rows, present })
    }

    /// Whether every row has a value.
    pub(crate) fn is_complete(&self) -> bool {
        self.present == self.rows
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of rows with a value.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    /// One value per row: the given ones in order where present, `filler` elsewhere.
    ///
    /// Values of a column without gaps are passed through: their number is checked later, against the rows.
    pub(crate) fn expand<T: Clone>(&self, values: Vec<T>, filler: &T) -> Result<Vec<T>, Error> {
        if self.flags.is_empty() {
            return Ok(values);
        }
        if values.len() != self.present {
            return Err(refuse::mismatch(self.present, values.len(), "the length of field is wrong"));
        }
        if self.is_complete() {
            return Ok(values);
        }
        let mut values = values.into_iter();
        let mut take = || values.next().expect("as many values as set flags");
        Ok(self.flags.iter().map(|flag| if *flag { take() } else { filler.clone() }).collect())
    }

    /// One vector per row, zeros where there is none.
    pub(crate) fn expand_vectors<T: Copy>(&self, values: Vec<T>, dim: usize, zero: T) -> Vec<T> {
        if self.is_complete() {
            return values;
        }
        let mut expanded = Vec::with_capacity(self.rows * dim);
        let mut vectors = values.chunks_exact(dim.max(1));
        for flag in &self.flags {
            match vectors.next_if_present(*flag) {
                Some(vector) => expanded.extend_from_slice(vector),
                None => expanded.resize(expanded.len() + dim, zero),
            }
        }
        expanded
    }

    /// The validity of the column: `None` if no row is null.
    pub(crate) fn validity(&self, field: &FieldSchema) -> Option<Bitmap> {
        let nulls = field.nullable && field.default_value.is_none() && !self.is_complete();
        nulls.then(|| Bitmap::from_bools(self.flags.iter().copied()))
    }
}

/// Stepping only where a flag is set.
trait NextIf: Iterator {
    fn next_if_present(&mut self, present: bool) -> Option<Self::Item> {
        if present { self.next() } else { None }
    }
}

impl<I: Iterator> NextIf for I {}

/// What a missing value of a field becomes.
pub(crate) fn missing_value(field: &FieldSchema) -> &Value {
    field.default_value.as_ref().unwrap_or(&Value::Null)
}
