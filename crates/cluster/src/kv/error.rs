//! What went wrong in the metastore, may it be retried, was it perhaps applied?

use std::path::PathBuf;

use redkite_types::Revision;

use super::LeaseId;

/// A failed metastore call.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// A transaction names more operations, compares or reads than etcd takes.
    #[error("transaction has {count} {what}, the limit is {limit}")]
    TooManyOps {
        /// Which list is too long.
        what: &'static str,
        /// Its length.
        count: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A transaction's keys and values are larger than etcd takes.
    #[error("transaction of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes of keys and values.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Two operations of a transaction write the same key.
    #[error("key {key:?} is written twice in one transaction")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key or a prefix to delete is empty.
    #[error("empty key in a transaction")]
    EmptyKey,
    /// The lease ended or never was.
    #[error("lease {lease} does not exist")]
    LeaseNotFound {
        /// The lease.
        lease: LeaseId,
    },
    /// The watch asks for history that is no longer kept: list again.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// Where the watch wanted to go on.
        requested: Revision,
        /// The first revision a watch can begin with.
        oldest: Revision,
    },
    /// The store cannot be reached; nothing was applied.
    #[error("metastore unavailable: {source}")]
    Unavailable {
        /// What the transport says, and of which endpoints.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer was lost; the call may have been applied or may yet be.
    #[error("metastore answer lost: {source}")]
    Unknown {
        /// What the transport says, and of which endpoints.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// User, password or rights are not good enough. Nothing was applied.
    #[error("metastore at {endpoint} denies access: {detail}")]
    Denied {
        /// The member of etcd that says so.
        endpoint: String,
        /// Its words.
        detail: String,
    },
    /// The store will not do it. Nothing was applied.
    #[error("metastore at {endpoint} refuses: {detail}")]
    Refused {
        /// The member of etcd that says so.
        endpoint: String,
        /// Its words.
        detail: String,
        /// Whether it has no room left.
        disk_full: bool,
    },
    /// The settings of the store cannot be used.
    #[error("settings: {section}.{detail}")]
    Settings {
        /// The section of the settings.
        section: &'static str,
        /// The key in it, and what is wrong.
        detail: String,
    },
    /// The value under a key cannot be read as what belongs there.
    #[error("value under {key:?} cannot be used: {detail}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong with the value.
        detail: String,
    },
    /// The store was closed.
    #[error("metastore closed")]
    Closed,
    /// The store's file is opened by somebody else.
    #[error("metastore {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The store's file is damaged.
    #[error("metastore {path} is corrupted: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        detail: String,
    },
    /// The store's file was written by an unknown version of the format.
    #[error("metastore {path} has format {found}, this build reads {supported}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: u64,
        /// Version understood.
        supported: u64,
    },
    /// Reading or writing the store's file failed; when this came from a commit, it may be applied.
    #[error("metastore {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the operating system or database says.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether the failure happened when the outcome was already out of our hands.
        maybe_applied: bool,
        /// Whether there was no room on the disk.
        disk_full: bool,
    },
    /// An earlier write failed, so that memory and disk may differ: no write is taken until reopened.
    #[error("metastore {path} takes no writes since an earlier failure: {cause}")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The earlier failure.
        cause: String,
        /// Whether that was for want of room on the disk: with room, writes are taken again.
        disk_full: bool,
    },
}

impl KvError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } => true,
            Self::TooManyOps { .. }
            | Self::TooLarge { .. }
            | Self::DuplicateKey { .. }
            | Self::EmptyKey
            | Self::LeaseNotFound { .. }
            | Self::Compacted { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Settings { .. }
            | Self::BadValue { .. }
            | Self::Closed
            | Self::InUse { .. }
            | Self::Corrupt { .. }
            | Self::Format { .. }
            | Self::Storage { .. }
            | Self::ReadOnly { .. } => false,
        }
    }

    /// What went wrong, without the path that every message of a store begins with.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Storage { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// Whether there is no room on the disk.
    #[must_use]
    pub fn disk_full(&self) -> bool {
        matches!(
            self,
            Self::Storage { disk_full: true, .. }
                | Self::ReadOnly { disk_full: true, .. }
                | Self::Refused { disk_full: true, .. }
        )
    }

    /// Whether the call may have taken effect although it failed.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Storage { maybe_applied: true, .. })
    }
}
