//! What went wrong with a log, and may the records be there nevertheless?

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redkite_types::{Epoch, Lsn, ShardId};

/// A failed call on a log. Cheap to clone: one failed sync fails many appends.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// Bytes in a file are not what was written there. Never repaired silently.
    #[error("log file {file} is corrupted at byte {offset}: {detail}")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// The file was written by an unknown version of the format.
    #[error("log file {file} has format {found}, this build reads {supported}")]
    Format {
        /// The file.
        file: PathBuf,
        /// Version found.
        found: u32,
        /// Version understood.
        supported: u32,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
        /// Whether the records may turn up after a restart although the append failed.
        maybe_applied: bool,
    },
    /// An earlier failure left the log in an unknown state: no append until it is opened anew.
    #[error("log of shard {shard} takes no more appends: {cause}")]
    Poisoned {
        /// The shard.
        shard: ShardId,
        /// The earlier failure.
        cause: String,
    },
    /// Somebody opened the log under a higher epoch (or again under the same).
    #[error("log of shard {shard} is fenced: opened with epoch {epoch}, now at {current}")]
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The epoch of the refused.
        epoch: Epoch,
        /// The epoch that holds the log.
        current: Epoch,
    },
    /// The record asked for was truncated.
    #[error("log of shard {shard} begins at {first}, record {requested} is truncated")]
    Truncated {
        /// The shard.
        shard: ShardId,
        /// The record asked for.
        requested: Lsn,
        /// The first record kept.
        first: Lsn,
    },
    /// A record is larger than [`crate::MAX_RECORD_BYTES`].
    #[error("record of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// An append without records, or a record without bytes.
    #[error("nothing to append")]
    Empty,
    /// The log was closed or removed.
    #[error("log of shard {shard} is closed")]
    Closed {
        /// The shard.
        shard: ShardId,
    },
}

impl WalError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source), maybe_applied: false }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, detail: detail.into() }
    }

    /// Whether the records of the failed append may turn up after a restart.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        matches!(self, Self::Io { maybe_applied: true, .. })
    }

    /// Whether the caller has lost the log to another leader.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }
}
