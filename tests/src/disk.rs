//! A small file system of its own, which can be filled without harming anybody.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts one with room for so many bytes.
    ///
    /// # Errors
    /// If the system does not allow it: these tests need to be root, or in a user namespace of their own.
    pub fn mount(bytes: u64) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), &*size(bytes))
            .context("no tmpfs mounted: tests of full disks need the right to mount (run as root)")?;
        Ok(Self { directory })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Changes its size.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        mount_remount(self.path(), MountFlags::empty(), &*size(bytes)).context("remount")
    }

    /// Forbids all writing.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn make_read_only(&self) -> anyhow::Result<()> {
        mount_remount(self.path(), MountFlags::RDONLY, c"").context("remount")
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// If that fails for another reason than that there is none.
    pub fn fill(&self) -> anyhow::Result<Ballast> {
        let path = self.path().join("ballast");
        let mut ballast = Ballast { file: File::create(&path)?, path };
        ballast.grow()?;
        Ok(ballast)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that is still being killed may hold it.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

fn size(bytes: u64) -> std::ffi::CString {
    std::ffi::CString::new(format!("size={bytes}")).expect("no zero byte in a number")
}

/// A file that takes the room; it is given back when this is dropped.
#[derive(Debug)]
pub struct Ballast {
    file: File,
    path: PathBuf,
}

impl Ballast {
    /// Takes what has become free meanwhile.
    ///
    /// # Errors
    /// If writing fails for another reason than that there is no room.
    pub fn grow(&mut self) -> anyhow::Result<()> {
        let mut piece = vec![0_u8; 1 << 20];
        while !piece.is_empty() {
            match self.file.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => return Err(error).context("ballast"),
            }
        }
        Ok(())
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // Gone with its disk, at the latest.
        let _ = std::fs::remove_file(&self.path);
    }
}
