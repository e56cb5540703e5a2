//! Which objects are on this node's disk, and which of them goes when room is needed?
//!
//! A copy is a file under `objects/` that is named after the object and its version. It is written under
//! `staging/` and gets its name when it is complete, so whatever has a name is whole: also after the
//! process was killed. Copies are not synced; after the machine was restarted none is trusted.

mod index;
mod name;

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use std::collections::HashMap;

use self::index::Index;
use super::failpoint;
use super::remote::Version;
use super::settings::CacheSettings;
use crate::{Error, LocalObject, ObjectWriter, Result};

const OBJECTS: &str = "objects";
const STAGING: &str = "staging";
const LOCK: &str = "LOCK";
const BOOT: &str = "boot";
/// Changes whenever the machine is started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the cache holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Copies on disk.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that downloads under way will take.
    pub reserved: u64,
    /// Bytes that copies may take.
    pub capacity: u64,
    /// Objects found on disk.
    pub hits: u64,
    /// Objects that had to be downloaded.
    pub misses: u64,
    /// Copies removed to make room.
    pub evicted: u64,
}

/// The copies of one directory. Everything here blocks for as long as the disk needs.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    next_temporary: AtomicU64,
    index: Mutex<Index>,
    /// One turn per object that is asked for now.
    turns: Mutex<HashMap<String, Weak<Turn>>>,
    /// Held for the life of the cache.
    _lock: File,
}

/// Whose turn it is to download an object.
pub(super) type Turn = tokio::sync::Mutex<()>;

impl Cache {
    /// Opens a directory, which is made if absent, and finds the copies in it.
    pub(super) fn open(settings: &CacheSettings) -> Result<Self> {
        let root = settings.path.clone();
        for room in [OBJECTS, STAGING] {
            let room = root.join(room);
            fs::create_dir_all(&room).map_err(Error::io("make directory", room.display()))?;
        }
        let lock = lock(&root)?;
        empty(&root.join(STAGING))?;
        if !same_boot(&root) {
            // Also names that are on disk may have no contents there.
            empty(&root.join(OBJECTS))?;
            remember_boot(&root);
        }
        let index = Index::read(root.join(OBJECTS), settings.capacity.0)?;
        Ok(Self {
            root,
            next_temporary: AtomicU64::new(0),
            index: Mutex::new(index),
            turns: Mutex::default(),
            _lock: lock,
        })
    }

    /// Begins a file of a new object or copy.
    pub(super) fn begin(&self, path: &str) -> Result<ObjectWriter> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        ObjectWriter::begin(path, self.root.join(STAGING).join(number.to_string()))
    }

    /// The copy of a version of an object. Copies of other versions are forgotten.
    pub(super) fn find(&self, path: &str, version: &Version) -> Result<Option<LocalObject>> {
        self.index.lock().find(path, version)
    }

    /// Keeps room for a copy; removes others for it.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.index.lock().reserve(bytes);
        Reservation { cache: self.clone(), bytes }
    }

    /// Removes every copy that nobody uses.
    pub(super) fn shrink(&self) {
        self.index.lock().shrink_to(0);
    }

    /// Makes a complete file the copy of a version.
    pub(super) fn adopt(&self, mut writer: ObjectWriter, version: &Version) -> Result<LocalObject> {
        failpoint::reach(failpoint::BEFORE_NAMING_COPY, writer.object())?;
        let local = self.index.lock().adopt(&writer, version)?;
        writer.settle();
        Ok(local)
    }

    /// Forgets the copy of an object.
    pub(super) fn forget(&self, path: &str) {
        self.index.lock().forget(path);
    }

    /// The turn of an object: whoever holds its lock downloads, the others wait for that.
    pub(super) fn turn(&self, path: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(path).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::new(()));
        turns.insert(path.to_owned(), Arc::downgrade(&turn));
        turn
    }

    pub(super) fn usage(&self) -> CacheUsage {
        self.index.lock().usage()
    }
}

/// Room that is kept for a copy until it is there.
#[derive(Debug)]
pub(super) struct Reservation {
    cache: Arc<Cache>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.cache.index.lock().release(self.bytes);
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io("open", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Settings {
            key: "cache.path",
            problem: format!("{} is used by another process", root.display()),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path.display())(source)),
    }
}

fn same_boot(root: &Path) -> bool {
    match (fs::read(BOOT_ID), fs::read(root.join(BOOT))) {
        (Ok(now), Ok(then)) => now == then,
        _ => false,
    }
}

/// Failing costs the copies at the next start.
fn remember_boot(root: &Path) {
    let written = fs::read(BOOT_ID).and_then(|id| fs::write(root.join(BOOT), id));
    if let Err(error) = written {
        tracing::debug!(path = %root.display(), %error, "copies of objects will not outlive this process");
    }
}

/// Removes what is in a directory of ours.
fn empty(directory: &Path) -> Result<()> {
    for child in fs::read_dir(directory).map_err(Error::io("list", directory.display()))? {
        let child = child.map_err(Error::io("list", directory.display()))?;
        let path = child.path();
        let removed = match child.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("delete", path.display())(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
