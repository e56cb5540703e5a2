//! What can go wrong with an object, and is it worth trying again?

use std::io;

/// Result of an operation on objects or their contents.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on an object or its contents; always names the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("object {path} not found")]
    NotFound {
        /// The object.
        path: String,
    },
    /// `create` found an object of this name.
    #[error("object {path} exists already")]
    AlreadyExists {
        /// The object.
        path: String,
    },
    /// The name is not one an object can have.
    #[error("object path {path:?} is invalid: {reason}")]
    InvalidPath {
        /// The name.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A range read past the end.
    #[error("range {start}..{end} lies outside the {size} bytes of {path}")]
    OutOfRange {
        /// The object.
        path: String,
        /// First byte asked for.
        start: u64,
        /// Byte after the last one asked for.
        end: u64,
        /// Size of the object.
        size: u64,
    },
    /// `create` was asked for, but the answer was lost: the object may be there, may appear yet, or not.
    ///
    /// Reading the object back settles it if it is there: the contents tell whose it is. Its absence
    /// settles nothing; another [`create`](crate::ObjectStore::create) of the same name does.
    #[error("it is unknown whether object {path} was created: {source}")]
    Unknown {
        /// The object.
        path: String,
        /// What happened to the answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bucket refused, or did not answer in time.
    #[error("{operation} {path} in bucket {bucket}: {source}")]
    Bucket {
        /// What was tried: `put`, `get`, `list`, …
        operation: &'static str,
        /// The bucket.
        bucket: String,
        /// The key in the bucket.
        path: String,
        /// Whether the same call may succeed later.
        retryable: bool,
        /// What the bucket said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The service breaks a promise that correctness rests on.
    #[error("bucket {bucket} cannot be used: {problem}")]
    Unsuitable {
        /// The bucket.
        bucket: String,
        /// What it did.
        problem: String,
    },
    /// The settings of the store cannot be used.
    #[error("setting {key}: {problem}")]
    Settings {
        /// Name of the setting.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The system refused.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried: `open`, `write`, `sync`, `rename`, …
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// The contents are not what was written.
    #[error("{path} is corrupt at byte {offset}: {problem}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The file is of a version this build does not read.
    #[error("{path} has format version {found}, this build reads up to {supported}")]
    UnsupportedVersion {
        /// The file.
        path: String,
        /// Version in the file.
        found: u32,
        /// Newest version this build reads.
        supported: u32,
    },
    /// The rows given to a writer do not fit the schema given with them.
    #[error("field {field} of {path}: {problem}")]
    Mismatch {
        /// The file that was to be written.
        path: String,
        /// The field id.
        field: i64,
        /// What does not fit.
        problem: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(operation: &'static str, path: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_string(), source }
    }

    /// Whether the same call may succeed later without anybody repairing the object or the settings.
    #[must_use]
    pub fn retryable(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                Kind::Interrupted
                    | Kind::TimedOut
                    | Kind::WouldBlock
                    | Kind::StorageFull
                    | Kind::QuotaExceeded
                    | Kind::ResourceBusy
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::ConnectionRefused
                    | Kind::BrokenPipe
                    | Kind::OutOfMemory
            ),
            Self::Bucket { retryable, .. } => *retryable,
            // The same call could find its own object and take it for somebody else's.
            Self::Unknown { .. }
            | Self::Unsuitable { .. }
            | Self::Settings { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::InvalidPath { .. }
            | Self::OutOfRange { .. }
            | Self::Corrupt { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Mismatch { .. } => false,
        }
    }

    /// Whether the call may have taken effect although it failed: only a `create` tells.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}
