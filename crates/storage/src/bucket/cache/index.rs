//! The copies by object and by last use.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::CacheUsage;
use super::name::{self, Stamp};
use crate::bucket::remote::Version;
use crate::{Error, LocalObject, ObjectWriter, Result};

/// Every copy, under one lock: files come and go only here.
#[derive(Debug)]
pub(super) struct Index {
    objects: PathBuf,
    copies: HashMap<String, Copy>,
    /// Objects by when they were last used.
    by_use: BTreeMap<u64, String>,
    next_use: u64,
    usage: CacheUsage,
    /// Whether the capacity is exceeded, and that was logged.
    over: bool,
}

#[derive(Debug)]
struct Copy {
    stamp: Stamp,
    used: u64,
    /// Shared with every open file and mapping of this copy.
    pin: Arc<()>,
}

impl Copy {
    /// Whether removing the name would free no space.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }
}

impl Index {
    /// Finds the copies in a directory: those whose length is in their name, oldest first.
    pub(super) fn read(objects: PathBuf, capacity: u64) -> Result<Self> {
        let mut found = Vec::new();
        walk(&objects, "", &mut found)?;
        found.sort_unstable();
        let mut index = Self {
            objects,
            copies: HashMap::new(),
            by_use: BTreeMap::new(),
            next_use: 0,
            usage: CacheUsage { capacity, ..CacheUsage::default() },
            over: false,
        };
        for (_, file, size) in found {
            match name::parse(&file) {
                Some((path, stamp)) if stamp.size == size => {
                    let path = path.to_owned();
                    index.forget(&path);
                    index.insert(path, stamp);
                }
                // Not whole, or not ours: either way not a copy, and in our directory.
                _ => index.unlink(&file),
            }
        }
        index.make_room();
        Ok(index)
    }

    pub(super) fn usage(&self) -> CacheUsage {
        CacheUsage { files: self.copies.len(), ..self.usage }
    }

    pub(super) fn find(&mut self, path: &str, version: &Version) -> Result<Option<LocalObject>> {
        match self.copies.get(path) {
            Some(copy) if copy.stamp == version.into() => {}
            Some(_) => {
                self.forget(path);
                return Ok(None);
            }
            None => return Ok(None),
        }
        let file = self.objects.join(name::of(path, version.into()));
        let open = match File::open(&file) {
            Ok(open) => open,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(path = %file.display(), "somebody removed a copy from the cache");
                self.forget(path);
                return Ok(None);
            }
            Err(error) => return Err(Error::io("open", file.display())(error)),
        };
        let local = LocalObject::new(open, file)?;
        if local.size() != version.size {
            tracing::warn!(path = %local.path().display(), "somebody changed a copy in the cache");
            self.forget(path);
            return Ok(None);
        }
        self.usage.hits += 1;
        Ok(Some(self.pin(path, local)))
    }

    /// Notes a use and keeps the copy while the object is held.
    fn pin(&mut self, path: &str, local: LocalObject) -> LocalObject {
        let copy = self.copies.get_mut(path).expect("only copies are pinned");
        self.by_use.remove(&copy.used);
        copy.used = self.next_use;
        self.by_use.insert(copy.used, path.to_owned());
        self.next_use += 1;
        local.pinned(copy.pin.clone())
    }

    pub(super) fn reserve(&mut self, bytes: u64) {
        self.usage.misses += 1;
        self.usage.reserved += bytes;
        self.make_room();
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.usage.reserved -= bytes;
    }

    /// Gives a complete file its name, in place of another version's.
    pub(super) fn adopt(&mut self, writer: &ObjectWriter, version: &Version) -> Result<LocalObject> {
        let (path, stamp) = (writer.object(), Stamp::from(version));
        self.forget(path);
        let file = self.objects.join(name::of(path, stamp));
        let directory = file.parent().expect("a file in a directory");
        fs::create_dir_all(directory).map_err(Error::io("make directory", directory.display()))?;
        fs::rename(writer.temporary(), &file).map_err(Error::io("rename", file.display()))?;
        let open = File::open(&file).map_err(Error::io("open", file.display()))?;
        self.insert(path.to_owned(), stamp);
        let local = self.pin(path, LocalObject::new(open, file)?);
        self.make_room();
        Ok(local)
    }

    fn insert(&mut self, path: String, stamp: Stamp) {
        self.usage.bytes += stamp.size;
        self.by_use.insert(self.next_use, path.clone());
        self.copies.insert(path, Copy { stamp, used: self.next_use, pin: Arc::default() });
        self.next_use += 1;
    }

    /// Removes a copy. Who has it open keeps it.
    pub(super) fn forget(&mut self, path: &str) {
        if let Some(copy) = self.copies.remove(path) {
            self.by_use.remove(&copy.used);
            self.usage.bytes -= copy.stamp.size;
            self.unlink(&name::of(path, copy.stamp));
        }
    }

    /// Removes copies until what is left, and what is being downloaded, is within the capacity.
    fn make_room(&mut self) {
        self.shrink_to(self.usage.capacity.saturating_sub(self.usage.reserved));
        let over = self.usage.bytes + self.usage.reserved > self.usage.capacity;
        if over && !self.over {
            let CacheUsage { bytes, reserved, capacity, .. } = self.usage;
            tracing::warn!(bytes, reserved, capacity, "objects in use exceed the capacity of the cache");
        }
        self.over = over;
    }

    /// Removes copies that nobody uses, those used longest ago first, until at most `bytes` are left.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let mut after = 0;
        while self.usage.bytes > bytes {
            let Some((used, path)) = self.by_use.range(after..).next() else { break };
            let (used, path) = (*used, path.clone());
            after = used + 1;
            if !self.copies[&path].in_use() {
                self.forget(&path);
                self.usage.evicted += 1;
            }
        }
    }

    /// Removes a file and the directories it leaves empty.
    fn unlink(&self, name: &str) {
        let file = self.objects.join(name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %file.display(), %error, "a copy stays in the cache's directory");
            }
            _ => {}
        }
        let mut directory = file.parent();
        while let Some(empty) = directory.filter(|directory| *directory != self.objects) {
            if fs::remove_dir(empty).is_err() {
                break;
            }
            directory = empty.parent();
        }
    }
}

/// The files below a directory: when they were written, their names, their sizes.
fn walk(objects: &Path, directory: &str, found: &mut Vec<(u128, String, u64)>) -> Result<()> {
    let here = objects.join(directory);
    for child in fs::read_dir(&here).map_err(Error::io("list", here.display()))? {
        let child = child.map_err(Error::io("list", here.display()))?;
        let Ok(name) = child.file_name().into_string() else { continue };
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let metadata = child.metadata().map_err(Error::io("stat", child.path().display()))?;
        if metadata.is_dir() {
            walk(objects, &path, found)?;
        } else {
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            found.push((written.unwrap_or_default().as_nanos(), path, metadata.len()));
        }
    }
    Ok(())
}
