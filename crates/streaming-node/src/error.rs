//! What goes wrong inside a streaming node, and what callers are told of it.

use std::io;

use redkite_cluster::KvError;
use redkite_query::ReduceError;
use redkite_service::Error as ServiceError;
use redkite_types::{Lsn, ShardId};
use redkite_wal::WalError;

use crate::record::RecordError;

/// Why a shard cannot be led, or its rows cannot be made files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A record of the log does not parse.
    #[error("shard {shard}, record {lsn}: {source}")]
    Record {
        /// The shard.
        shard: ShardId,
        /// The record.
        lsn: Lsn,
        /// What does not parse.
        source: RecordError,
    },
    /// The metastore.
    #[error(transparent)]
    Metastore(#[from] KvError),
    /// A record of the metastore does not parse.
    #[error("metastore record {key}: {source}")]
    MetastoreRecord {
        /// Its key.
        key: String,
        /// What does not parse.
        source: serde_json::Error,
    },
    /// Files.
    #[error(transparent)]
    Storage(#[from] redkite_storage::Error),
    /// Rows in memory.
    #[error(transparent)]
    Segment(#[from] redkite_segment::Error),
    /// The log ends before the checkpoint: it is not the log that was written.
    #[error("log of shard {shard} ends at {last}, but everything up to {checkpoint} was flushed from it")]
    LogLost {
        /// The shard.
        shard: ShardId,
        /// Its last record.
        last: Lsn,
        /// The recorded position.
        checkpoint: Lsn,
    },
    /// Applying a write that was logged failed.
    #[error(transparent)]
    Apply(#[from] ServiceError),
    /// Another node leads the shard now, or its collection is gone.
    #[error("shard {shard} is led by another")]
    Deposed {
        /// The shard.
        shard: ShardId,
    },
    /// Records kept changing under a commit.
    #[error("records of shard {shard} changed while they were committed")]
    Conflict {
        /// The shard.
        shard: ShardId,
    },
    /// Work panicked; the panic was reported where it happened.
    #[error("work on shard {shard} panicked")]
    Panicked {
        /// The shard.
        shard: ShardId,
    },
    /// Stopped by a test.
    #[error(transparent)]
    Failpoint(#[from] redkite_runtime::failpoint::Triggered),
}

impl Error {
    /// Whether opening the shard again may succeed without anybody repairing anything.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            Self::Log(WalError::Corrupt { .. } | WalError::Format { .. } | WalError::Truncated { .. })
            | Self::Record { .. }
            | Self::LogLost { .. } => false,
            Self::Segment(error) => error.retryable(),
            _ => true,
        }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        match error {
            Error::Log(error) => of_log(&error),
            Error::Metastore(error) => of_metastore(&error),
            Error::Storage(error) | Error::Segment(redkite_segment::Error::Storage(error)) => {
                of_storage(&error)
            }
            Error::Segment(error) => of_segment(error),
            Error::Apply(error) => error,
            Error::Deposed { shard } => Self::Fenced { what: format!("shard {shard}") },
            other => Self::internal(other),
        }
    }
}

/// What a caller is told of a failed log.
pub(crate) fn of_log(error: &WalError) -> ServiceError {
    match error {
        // Who is told of a full disk may rely on that nothing was written.
        WalError::Io { source, maybe_applied: false, .. } if disk_full(source) => {
            ServiceError::DiskFull { reason: error.to_string() }
        }
        WalError::Fenced { .. } => ServiceError::Fenced { what: error.to_string() },
        WalError::Closed { shard } => ServiceError::ShardNotAvailable { shard: shard.to_string() },
        WalError::TooLarge { .. } => ServiceError::ParameterTooLarge { reason: error.to_string() },
        WalError::Io { .. }
        | WalError::Poisoned { .. }
        | WalError::Corrupt { .. }
        | WalError::Format { .. }
        | WalError::Truncated { .. }
        | WalError::Empty => ServiceError::Io { reason: error.to_string() },
    }
}

/// What a caller is told of a failed metastore.
pub(crate) fn of_metastore(error: &KvError) -> ServiceError {
    if error.disk_full() {
        ServiceError::DiskFull { reason: error.to_string() }
    } else if error.retryable() {
        ServiceError::Unavailable { reason: error.to_string() }
    } else {
        ServiceError::internal(error)
    }
}

fn of_storage(error: &redkite_storage::Error) -> ServiceError {
    match error {
        redkite_storage::Error::Io { source, .. } if disk_full(source) => {
            ServiceError::DiskFull { reason: error.to_string() }
        }
        _ => ServiceError::Io { reason: error.to_string() },
    }
}

/// What a caller is told of a read that a segment refused.
pub(crate) fn of_segment(error: redkite_segment::Error) -> ServiceError {
    match error {
        redkite_segment::Error::Storage(error) => of_storage(&error),
        redkite_segment::Error::UnknownField { field } => {
            ServiceError::FieldNotFound { field: field.to_string() }
        }
        redkite_segment::Error::Queries { .. } | redkite_segment::Error::FieldType { .. } => {
            ServiceError::invalid(error.to_string())
        }
        other => ServiceError::internal(other),
    }
}

/// What a caller is told of parts that do not merge.
pub(crate) fn of_reduce(error: &ReduceError) -> ServiceError {
    ServiceError::internal(error)
}

fn disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
