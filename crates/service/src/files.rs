//! What is a caller told when the object store fails, or a file in it is not what it should be?
//!
//! One table for all roles. The test lists it.

use std::io;

use redkite_storage::Error as StorageError;

use crate::Error;

impl From<&StorageError> for Error {
    fn from(error: &StorageError) -> Self {
        let reason = error.to_string();
        match error {
            StorageError::Io { source, .. } if no_room(source) => Self::DiskFull { reason },
            // Nothing was done, and it is known to pass.
            StorageError::Bucket { .. } | StorageError::Io { .. } if error.retryable() => {
                Self::Unavailable { reason }
            }
            StorageError::Unknown { .. } => Self::Unsettled { reason },
            // Somebody has to change the bucket, the rights or the disk first …
            StorageError::Bucket { .. } | StorageError::Unsuitable { .. } | StorageError::Io { .. }
            // … or to bring back the file that was written.
            | StorageError::NotFound { .. }
            | StorageError::OutOfRange { .. }
            | StorageError::Corrupt { .. }
            | StorageError::UnsupportedVersion { .. } => Self::Io { reason },
            // Ours to get right before anything is called.
            StorageError::AlreadyExists { .. }
            | StorageError::InvalidPath { .. }
            | StorageError::Settings { .. }
            | StorageError::Mismatch { .. } => Self::Internal { reason },
        }
    }
}

/// Whether writing failed for want of room.
#[must_use]
pub fn no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Retry;

    fn io(kind: io::ErrorKind) -> StorageError {
        StorageError::Io { operation: "write", path: "p".to_owned(), source: kind.into() }
    }

    fn bucket(retryable: bool) -> StorageError {
        let (bucket, path, source) = ("b".to_owned(), "p".to_owned(), "no".into());
        StorageError::Bucket { operation: "get", bucket, path, retryable, source }
    }

    #[test]
    fn every_failure_of_the_store_has_a_code_and_a_hint() {
        let (path, bucket_name) = (|| "p".to_owned(), || "b".to_owned());
        let failures = [
            io(io::ErrorKind::StorageFull),
            io(io::ErrorKind::ConnectionReset),
            io(io::ErrorKind::PermissionDenied),
            bucket(true),
            bucket(false),
            StorageError::Unknown { path: path(), source: "lost".into() },
            StorageError::Unsuitable { bucket: bucket_name(), problem: "two writers win".to_owned() },
            StorageError::Settings { key: "minio.address", problem: "empty".to_owned() },
            StorageError::NotFound { path: path() },
            StorageError::OutOfRange { path: path(), start: 1, end: 3, size: 2 },
            StorageError::Corrupt { path: path(), offset: 4, problem: "checksum".to_owned() },
            StorageError::UnsupportedVersion { path: path(), found: 9, supported: 1 },
            StorageError::AlreadyExists { path: path() },
            StorageError::InvalidPath { path: path(), reason: "empty" },
            StorageError::Mismatch { path: path(), field: 1, problem: "rows".to_owned() },
        ];
        let table: Vec<_> = failures
            .iter()
            .map(|failure| {
                let told = Error::from(failure);
                assert!(told.to_string().contains(&failure.to_string()), "nothing of the reason is lost");
                (told.code() as i32, told.retry())
            })
            .collect();
        use Retry::{MaybeApplied, No, Yes};
        let expected = [
            (7, No),
            (2, Yes),
            (1001, No),
            (2, Yes),
            (1001, No),
            (1001, MaybeApplied),
            (1001, No),
            (5, No),
            (1001, No),
            (1001, No),
            (1001, No),
            (1001, No),
            (5, No),
            (5, No),
            (5, No),
        ];
        assert_eq!(table, expected);
    }
}
