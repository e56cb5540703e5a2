//! Why a segment cannot be held or read.

use redkite_cluster::kv::KvError;
use redkite_query::ReduceError;
use redkite_service::Error as ServiceError;
use redkite_types::SegmentId;

/// Result of a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a segment cannot be held or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("segment {segment} has no record")]
    NoSegment { segment: SegmentId },
    #[error("{bytes} B more do not fit: {held} of {limit} B of memory are in use")]
    Memory { bytes: u64, held: u64, limit: u64 },
    #[error("a delete could not be applied: {reason}")]
    Spoilt { reason: String },
    #[error("record of segment {segment} does not parse")]
    Record { segment: SegmentId, source: serde_json::Error },
    #[error(transparent)]
    Segment(#[from] redkite_segment::Error),
    #[error(transparent)]
    Metastore(#[from] KvError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Reduce(#[from] ReduceError),
    #[error(transparent)]
    Panicked(#[from] redkite_runtime::cpu::Panicked),
}

impl Error {
    /// The whole chain in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }

    /// What the caller is told.
    pub(crate) fn into_service(self) -> ServiceError {
        match self {
            Self::Service(error) => error,
            Self::NoSegment { segment } => ServiceError::SegmentNotLoaded { segment: segment.0 },
            Self::Segment(redkite_segment::Error::Storage(error)) => (&error).into(),
            Self::Segment(redkite_segment::Error::UnknownField { field }) => {
                ServiceError::FieldNotFound { field: field.to_string() }
            }
            Self::Segment(
                error @ (redkite_segment::Error::Queries { .. } | redkite_segment::Error::FieldType { .. }),
            ) => ServiceError::invalid(error.to_string()),
            Self::Metastore(error) if error.disk_full() => {
                ServiceError::DiskFull { reason: error.to_string() }
            }
            Self::Metastore(error) if error.retryable() => {
                ServiceError::Unavailable { reason: error.to_string() }
            }
            other => ServiceError::internal(other.chain()),
        }
    }
}
