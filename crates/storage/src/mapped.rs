//! Files as memory: the only place that maps.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions};

use crate::{Error, Result};

/// A whole file mapped read-only.
pub struct Mapped {
    map: Mmap,
    path: PathBuf,
    /// Keeps the file in a cache; dropped after the mapping.
    _pin: Option<Arc<()>>,
}

impl Mapped {
    /// Maps the file at a path.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { path: path.display().to_string() },
            _ => Error::io("open", path.display())(source),
        })?;
        Self::new(&file, path)
    }

    /// Maps an open file; `path` is for messages.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn new(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: a mapping is unsound if the file is changed or truncated behind it. Objects are
        // complete before they get their name (`ObjectWriter`: written, synced, then renamed) and no
        // code of ours opens a named object for writing, so the bytes stay the same for the life of
        // the mapping; deleting or replacing the name leaves the mapped inode alone. The directory
        // is locked against other servers, and its files are not for others to edit. Copies in the cache
        // of a bucket are complete before they get their name, too; they are not synced, but none is
        // trusted any more once the machine was restarted.
        #[expect(unsafe_code, reason = "memory mapping; see the argument above")]
        let map = unsafe { MmapOptions::new().map(file) }.map_err(Error::io("map", path.display()))?;
        Ok(Self { map, path: path.to_owned(), _pin: None })
    }

    /// The same, holding on to `pin` as long as it lives.
    pub(crate) fn pinned(self, pin: Option<Arc<()>>) -> Self {
        Self { _pin: pin, ..self }
    }

    /// The file that was mapped; for messages, the name may be gone.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the file is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Tells the kernel that pages of a range are wanted in no order: no read-ahead.
    pub fn advise_random(&self, range: Range<usize>) {
        self.advise(Advice::Random, range);
    }

    /// Tells the kernel to read a range in the background.
    pub fn advise_will_need(&self, range: Range<usize>) {
        self.advise(Advice::WillNeed, range);
    }

    /// Reads a range into memory now and maps its pages, so that later accesses take no fault.
    /// Blocks for as long as the disk needs.
    pub fn populate(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        self.advise(Advice::PopulateRead, range);
        #[cfg(not(target_os = "linux"))]
        self.advise(Advice::WillNeed, range);
    }

    /// Advice never changes what is read, so a kernel that does not know it is no error.
    fn advise(&self, advice: Advice, range: Range<usize>) {
        if range.is_empty() || range.end > self.map.len() {
            return;
        }
        if let Err(error) = self.map.advise_range(advice, range.start, range.len()) {
            tracing::debug!(path = %self.path.display(), ?advice, %error, "memory advice refused");
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("path", &self.path).field("bytes", &self.map.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_readable_after_delete_and_replace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"first").unwrap();
        let mapped = Mapped::open(&path).unwrap();
        std::fs::write(dir.path().join("other"), b"second, longer").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(mapped.as_ref(), b"first");
        std::fs::remove_file(&path).unwrap();
        mapped.populate(0..5);
        mapped.advise_random(0..5);
        mapped.advise_will_need(0..500);
        assert_eq!(mapped.as_ref(), b"first");
    }

    #[test]
    fn empty_and_absent_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(matches!(Mapped::open(&path), Err(Error::NotFound { .. })));
        std::fs::write(&path, b"").unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
    }
}
