//! Who may use a data directory? One process at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A data directory, locked until dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirectoryError {
    #[error("data directory {path} is in use by another redkite process")]
    InUse { path: PathBuf },
    #[error("data directory {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl DataDirectory {
    /// Creates the directory if need be and locks it. The lock goes with the process, however it ends.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirectoryError> {
        let io = |source| DataDirectoryError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(io)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirectoryError::InUse { path: path.to_owned() }),
            Err(errno) => Err(io(errno.into())),
        }
    }

    /// A path inside the directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(directory.path()).unwrap();
        let refused = DataDirectory::open(directory.path()).unwrap_err();
        assert!(matches!(refused, DataDirectoryError::InUse { .. }), "{refused}");
        drop(first);
        DataDirectory::open(directory.path()).unwrap();
    }
}
