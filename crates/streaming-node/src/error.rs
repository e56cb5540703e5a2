//! What goes wrong inside a streaming node, and what callers are told of it.

use std::io;

use redkite_cluster::KvError;
use redkite_query::ReduceError;
use redkite_service::Error as ServiceError;
use redkite_service::files::no_room;
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
            Error::Storage(error) | Error::Segment(redkite_segment::Error::Storage(error)) => (&error).into(),
            Error::Segment(error) => of_segment(error),
            Error::Apply(error) => error,
            Error::Deposed { shard } => Self::Fenced { what: format!("shard {shard}") },
            other => Self::internal(other),
        }
    }
}

/// What a caller is told whose write failed with the log.
pub(crate) fn of_log(error: &WalError) -> ServiceError {
    let reason = error.to_string();
    match error {
        WalError::Io { maybe_applied: true, .. } => ServiceError::Unsettled { reason },
        // Who is told of a full disk may rely on that nothing was written.
        WalError::Io { source, .. } if no_room(source) => ServiceError::DiskFull { reason },
        WalError::Io { source, .. } if passes(source) => ServiceError::Unavailable { reason },
        WalError::Fenced { .. } => ServiceError::Fenced { what: reason },
        WalError::Closed { shard } => ServiceError::ShardNotAvailable { shard: shard.to_string() },
        // Nothing was taken, and the node opens the log anew.
        WalError::Poisoned { .. } => ServiceError::Unavailable { reason },
        WalError::TooLarge { .. } => ServiceError::ParameterTooLarge { reason },
        WalError::Io { .. }
        | WalError::Corrupt { .. }
        | WalError::Format { .. }
        | WalError::Truncated { .. } => ServiceError::Io { reason },
        WalError::Empty => ServiceError::Internal { reason },
    }
}

/// Whether the log takes no more appends.
pub(crate) fn ends_log(error: &WalError) -> bool {
    !matches!(error, WalError::Io { maybe_applied: false, .. } | WalError::TooLarge { .. } | WalError::Empty)
}

/// What later writes are told after an error that ended the log: nothing of them was done.
pub(crate) fn of_ended_log(error: &WalError) -> ServiceError {
    match error {
        WalError::Fenced { .. } | WalError::Closed { .. } => of_log(error),
        other => ServiceError::Unavailable { reason: other.to_string() },
    }
}

/// Whether the same call may succeed later without anybody repairing anything.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    let stored = error.get_ref().and_then(|inner| inner.downcast_ref::<redkite_storage::Error>());
    match stored {
        Some(error) => error.retryable(),
        None => matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut
        ),
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

/// What a caller is told of a read that a segment refused.
pub(crate) fn of_segment(error: redkite_segment::Error) -> ServiceError {
    match error {
        redkite_segment::Error::Storage(error) => (&error).into(),
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
