//! What can go wrong in a segment.

use redkite_index::scalar::ScalarFormatError;
use redkite_index::vector::IndexError;
use redkite_query::EvalError;
use redkite_types::{DataType, FieldId};

/// Result of an operation on a segment.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on a segment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the segment is damaged or cannot be read or written.
    #[error(transparent)]
    Storage(#[from] redkite_storage::Error),
    /// An index refused a search, or an index file is damaged.
    #[error("index {path}: {source}")]
    Index {
        /// The index file, or which search it was.
        path: String,
        /// Why.
        source: IndexError,
    },
    /// A scalar index file is damaged.
    #[error("index {path}: {source}")]
    ScalarIndex {
        /// The index file.
        path: String,
        /// Why.
        source: ScalarFormatError,
    },
    /// An index over other rows.
    #[error("index {path} is over {found} rows, the segment has {rows}")]
    IndexRows {
        /// The index file.
        path: String,
        /// Rows of the segment.
        rows: usize,
        /// Rows of the index.
        found: usize,
    },
    /// A filter that was planned against another schema.
    #[error("filter: {0}")]
    Filter(#[from] EvalError),
    /// The schema given with a read does not have a field the read names.
    #[error("field {field} is not in the schema")]
    UnknownField {
        /// The field.
        field: FieldId,
    },
    /// A column holds other values than the schema says.
    #[error("field {field} holds {found} of dimension {found_dim}, not {expected} of dimension {dim}")]
    FieldType {
        /// The field.
        field: FieldId,
        /// Type according to the schema.
        expected: DataType,
        /// Dimension according to the schema.
        dim: usize,
        /// Type of the column.
        found: DataType,
        /// Dimension of the column.
        found_dim: usize,
    },
    /// Rows came without primary keys, or with keys of another type.
    #[error("rows without {expected} primary keys in field {field}")]
    NoKeys {
        /// The primary key field.
        field: FieldId,
        /// Its type.
        expected: DataType,
    },
    /// Rows and their timestamps do not pair up.
    #[error("{timestamps} timestamps for {rows} rows")]
    Timestamps {
        /// Number of rows.
        rows: usize,
        /// Number of timestamps.
        timestamps: usize,
    },
    /// The segment has as many rows as one can have.
    #[error("segment is full: {rows} rows and {more} more")]
    Full {
        /// Rows there are.
        rows: usize,
        /// Rows that were to be added.
        more: usize,
    },
    /// Query vectors that are not whole.
    #[error("{values} values are no query vectors of dimension {dim}")]
    Queries {
        /// Dimension of the field.
        dim: usize,
        /// Number of values given.
        values: usize,
    },
}

impl Error {
    /// Whether a file is not what was written: another try finds it so again.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Index { .. } | Self::ScalarIndex { .. } | Self::IndexRows { .. } => true,
            Self::Storage(error) => matches!(
                error,
                redkite_storage::Error::Corrupt { .. } | redkite_storage::Error::UnsupportedVersion { .. }
            ),
            _ => false,
        }
    }

    /// Whether the same call may succeed later without anybody repairing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.retryable(),
            Self::Index { .. }
            | Self::ScalarIndex { .. }
            | Self::IndexRows { .. }
            | Self::Filter(_)
            | Self::UnknownField { .. }
            | Self::FieldType { .. }
            | Self::NoKeys { .. }
            | Self::Timestamps { .. }
            | Self::Full { .. }
            | Self::Queries { .. } => false,
        }
    }
}
