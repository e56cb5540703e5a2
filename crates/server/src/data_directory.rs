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
    /// Going on would make a new metastore, and then remove all the files that it does not know.
    #[error(
        "data directory: {metastore} is missing, but there is data in {file}: restore it, or use another directory"
    )]
    MetastoreMissing { metastore: PathBuf, file: PathBuf },
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

    /// Where the metastore is; it must be there if anything else is.
    pub(crate) fn metastore(&self) -> Result<PathBuf, DataDirectoryError> {
        let io = |source| DataDirectoryError::Io { path: self.path.clone(), source };
        let metastore = self.join("meta/metadata.redb");
        if !metastore.try_exists().map_err(io)? {
            for room in ["wal", "objects"] {
                if let Some(file) = first_file(&self.join(room)).map_err(io)? {
                    return Err(DataDirectoryError::MetastoreMissing { metastore, file });
                }
            }
        }
        Ok(metastore)
    }

    /// A path inside the directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Some file below a directory, if there is any.
fn first_file(directory: &Path) -> io::Result<Option<PathBuf>> {
    let children = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        children => children?,
    };
    for child in children {
        let child = child?;
        let found = if child.file_type()?.is_dir() { first_file(&child.path())? } else { Some(child.path()) };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
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

    #[test]
    fn data_without_a_metastore_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        std::fs::create_dir_all(data.join("objects/.staging")).unwrap();
        std::fs::create_dir_all(data.join("wal/7-0")).unwrap();
        data.metastore().unwrap();
        std::fs::write(data.join("wal/7-0/1.log"), "rows").unwrap();
        let refused = data.metastore().unwrap_err().to_string();
        assert!(refused.contains("metadata.redb is missing") && refused.contains("7-0/1.log"), "{refused}");
        std::fs::create_dir(data.join("meta")).unwrap();
        std::fs::write(data.join("meta/metadata.redb"), "records").unwrap();
        data.metastore().unwrap();
    }
}
