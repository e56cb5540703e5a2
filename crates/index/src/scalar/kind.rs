//! The kinds of scalar index, and what each can index.

use std::fmt;
use std::str::FromStr;

use redkite_types::DataType;
use serde::{Deserialize, Serialize};

/// A kind of scalar index, by Milvus's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalarIndexKind {
    /// `INVERTED`
    Inverted,
    /// `STL_SORT`
    StlSort,
    /// `Trie`
    Trie,
    /// `BITMAP`
    Bitmap,
}

impl ScalarIndexKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Inverted, Self::StlSort, Self::Trie, Self::Bitmap];

    /// Whether columns of this type can have it. BITMAP is also refused on primary keys, by whoever
    /// knows the field.
    #[must_use]
    pub fn supports(self, data_type: DataType) -> bool {
        let text = data_type == DataType::VarChar;
        let whole = data_type.is_integer();
        match self {
            Self::Inverted => text || whole || data_type.is_floating() || data_type == DataType::Bool,
            Self::StlSort => text || whole || data_type.is_floating(),
            Self::Trie => text,
            Self::Bitmap => text || whole || data_type == DataType::Bool,
        }
    }

    /// Milvus's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inverted => "INVERTED",
            Self::StlSort => "STL_SORT",
            Self::Trie => "Trie",
            Self::Bitmap => "BITMAP",
        }
    }

    /// The number in files.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Inverted => 1,
            Self::StlSort => 2,
            Self::Trie => 3,
            Self::Bitmap => 4,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for ScalarIndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of a scalar index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scalar index type {0:?} not supported")]
pub struct ParseScalarIndexKindError(pub String);

impl FromStr for ScalarIndexKind {
    type Err = ParseScalarIndexKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ParseScalarIndexKindError(text.to_owned()))
    }
}
