//! Single scalar values: defaults, literals, statistics.

use serde::{Deserialize, Serialize};

/// A scalar value or null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// The absence of a value.
    Null,
    /// A Bool.
    Bool(bool),
    /// Any of Int8 to Int64.
    Int64(i64),
    /// Float or Double.
    Double(f64),
    /// A VarChar.
    VarChar(String),
    /// JSON text.
    Json(Vec<u8>),
}
