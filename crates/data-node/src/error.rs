//! Why a task could not be done, and whether trying again can help.

use redkite_cluster::kv::KvError;
use redkite_index::scalar::BuildScalarError;
use redkite_index::vector::IndexError;
use redkite_types::{CollectionId, FieldId, SegmentId};

/// Result of a step of a task.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The record is not there: dropped, or not yet in the watched copy.
    #[error("segment {segment} has no record")]
    NoSegment { segment: SegmentId },
    /// The record is not there: dropped, or not yet in the watched copy.
    #[error("collection {collection} has no record")]
    NoCollection { collection: CollectionId },
    #[error("field {field} of segment {segment} cannot be indexed that way")]
    WrongField { segment: SegmentId, field: FieldId },
    #[error("index not built")]
    VectorIndex(#[from] IndexError),
    #[error("index not built")]
    ScalarIndex(#[from] BuildScalarError),
    #[error(transparent)]
    Segment(#[from] redkite_segment::Error),
    #[error(transparent)]
    Storage(#[from] redkite_storage::Error),
    #[error("result not recorded")]
    Metastore(#[from] KvError),
    #[error("work panicked")]
    Panicked(#[from] redkite_runtime::cpu::Panicked),
    /// Nobody wants the work any more.
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Failpoint(#[from] redkite_runtime::failpoint::Triggered),
}

impl Error {
    /// Whether the same work on the same files would fail again: then it is reported, not retried.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::WrongField { .. } | Self::ScalarIndex(_) => true,
            Self::VectorIndex(error) => !matches!(error, IndexError::Cancelled),
            Self::Segment(error) => error.is_damage(),
            Self::Storage(error) => is_final(error),
            // A full disk may have room later, a panic may be out of memory.
            Self::NoSegment { .. }
            | Self::NoCollection { .. }
            | Self::Metastore(_)
            | Self::Panicked(_)
            | Self::Cancelled
            | Self::Failpoint(_) => false,
        }
    }

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
}

fn is_final(error: &redkite_storage::Error) -> bool {
    use redkite_storage::Error;
    match error {
        // The file is not what was written, or cannot be written as it is to be.
        Error::Corrupt { .. }
        | Error::UnsupportedVersion { .. }
        | Error::OutOfRange { .. }
        | Error::InvalidPath { .. }
        | Error::Mismatch { .. } => true,
        // The source may have been dropped meanwhile, which withdraws the task; a bucket, its rights or
        // settings may be mended; what was written without an answer is written again under its name.
        Error::NotFound { .. }
        | Error::AlreadyExists { .. }
        | Error::Unknown { .. }
        | Error::Bucket { .. }
        | Error::Unsuitable { .. }
        | Error::Settings { .. }
        | Error::Io { .. } => false,
    }
}
