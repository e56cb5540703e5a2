//! An object that is being written: a temporary file that becomes the object or disappears.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failpoint::{self, AFTER_SYNC, BEFORE_SYNC};
use crate::{Error, Result};

/// Appends to an object that nobody sees yet. Appending blocks: do it where blocking is fine.
///
/// Dropping the writer removes the temporary file.
#[derive(Debug)]
pub struct ObjectWriter {
    object: String,
    temporary: PathBuf,
    file: File,
    written: u64,
    /// The temporary name is gone: nothing to remove any more.
    settled: bool,
}

impl ObjectWriter {
    /// Begins the object `object` in the file `temporary`, which must not exist.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn begin(object: &str, temporary: PathBuf) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create_new(true)
            .open(&temporary)
            .map_err(Error::io("create", temporary.display()))?;
        Ok(Self { object: object.to_owned(), temporary, file, written: 0, settled: false })
    }

    /// Name of the object to be.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Bytes appended so far: the offset of the next one.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The temporary file.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Appends bytes; unbuffered, so make the pieces large.
    ///
    /// # Errors
    /// If the disk is full or fails. The writer is then good for nothing but dropping.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.object))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable under its temporary name.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn sync(&mut self) -> Result<()> {
        failpoint::reach(BEFORE_SYNC, &self.object)?;
        self.file.sync_all().map_err(Error::io("sync", &self.object))?;
        failpoint::reach(AFTER_SYNC, &self.object)
    }

    /// Tells the writer that its temporary name is gone.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }
}

/// For encoders that know `Write` only; prefer [`ObjectWriter::append`], whose errors name the object.
impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|()| bytes.len()).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) = std::fs::remove_file(&self.temporary)
        {
            // Swept at the next start.
            tracing::warn!(path = %self.temporary.display(), %error, "temporary file not removed");
        }
    }
}
