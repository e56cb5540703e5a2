//! Objects as files under one directory.
//!
//! An object is written to `.staging/<n>`, synced, renamed (or, for `create`, hard-linked) to its
//! name, and the directories that changed are synced. Whatever is left in `.staging` when the store
//! is opened was interrupted, and is removed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use redkite_runtime::blocking;

use crate::failpoint::{self, AFTER_DELETE, AFTER_RENAME, BEFORE_DELETE};
use crate::object::validate_path;
use crate::{Error, LocalObject, ObjectEntry, ObjectStore, ObjectWriter, Result};

const STAGING: &str = ".staging";
/// How often a directory may vanish under a rename (an emptied one is removed by `delete`).
const DIRECTORY_RACES: u32 = 100;

/// An [`ObjectStore`] in a directory of this machine. Cheap to clone.
///
/// One process at a time: the owner of the directory holds a lock elsewhere.
#[derive(Clone, Debug)]
pub struct LocalStore(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    root: PathBuf,
    next_temporary: AtomicU64,
}

impl LocalStore {
    /// Opens a directory, which is made if absent, and removes what an interrupted writer left.
    ///
    /// # Errors
    /// If the directory cannot be made or written to.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        blocking(move || {
            let staging = root.join(STAGING);
            make_directories(&staging)?;
            remove_temporaries(&staging)?;
            let store = Self(Arc::new(Directory { root, next_temporary: AtomicU64::new(0) }));
            // Fails here, not at the first flush, if the directory is read-only.
            drop(store.0.begin("probe")?);
            Ok(store)
        })
        .await
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    async fn run<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Directory, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        validate_path(path)?;
        let (directory, path) = (self.0.clone(), path.to_owned());
        blocking(move || work(&directory, &path)).await
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.run(path, move |directory, path| {
            let mut writer = directory.begin(path)?;
            writer.append(&bytes)?;
            directory.publish(writer).map(drop)
        })
        .await
    }

    async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.run(path, move |directory, path| {
            let mut writer = directory.begin(path)?;
            writer.append(&bytes)?;
            directory.publish_new(writer)
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        self.run(path, |directory, path| {
            let mut bytes = Vec::new();
            directory.open(path)?.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
            Ok(bytes.into())
        })
        .await
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.run(path, move |directory, path| {
            let mut file = directory.open(path)?;
            let size = file.metadata().map_err(Error::io("stat", path))?.len();
            if range.start > range.end || range.end > size {
                let Range { start, end } = range;
                return Err(Error::OutOfRange { path: path.to_owned(), start, end, size });
            }
            let length = usize::try_from(range.end - range.start).expect("a range of memory");
            let mut bytes = vec![0; length];
            file.seek(SeekFrom::Start(range.start)).map_err(Error::io("seek", path))?;
            file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
            Ok(bytes.into())
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let (directory, prefix) = (self.0.clone(), prefix.to_owned());
        blocking(move || directory.list(&prefix)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.run(path, Directory::delete).await
    }

    async fn local(&self, path: &str) -> Result<LocalObject> {
        self.run(path, |directory, path| LocalObject::new(directory.open(path)?, directory.root.join(path)))
            .await
    }

    async fn writer(&self, path: &str) -> Result<ObjectWriter> {
        self.run(path, Directory::begin).await
    }

    async fn publish(&self, writer: ObjectWriter) -> Result<u64> {
        let directory = self.0.clone();
        blocking(move || directory.publish(writer)).await
    }
}

impl Directory {
    fn begin(&self, path: &str) -> Result<ObjectWriter> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        ObjectWriter::begin(path, self.root.join(STAGING).join(number.to_string()))
    }

    fn open(&self, path: &str) -> Result<File> {
        let file = File::open(self.root.join(path)).map_err(|source| absent_or_io("open", path, source))?;
        match file.metadata() {
            Ok(metadata) if metadata.is_dir() => Err(Error::NotFound { path: path.to_owned() }),
            Ok(_) => Ok(file),
            Err(source) => Err(Error::io("stat", path)(source)),
        }
    }

    fn publish(&self, mut writer: ObjectWriter) -> Result<u64> {
        writer.sync()?;
        let object = writer.object().to_owned();
        let target = self.root.join(&object);
        self.with_directory(&object, &target, || fs::rename(writer.temporary(), &target))?;
        writer.settle();
        failpoint::reach(AFTER_RENAME, &object)?;
        sync_directory(parent(&target))?;
        Ok(writer.written())
    }

    fn publish_new(&self, mut writer: ObjectWriter) -> Result<()> {
        writer.sync()?;
        let object = writer.object().to_owned();
        let target = self.root.join(&object);
        self.with_directory(&object, &target, || fs::hard_link(writer.temporary(), &target))?;
        // The object is there already; only whether it survives a power cut is open.
        failpoint::reach(AFTER_RENAME, &object)
            .and_then(|()| sync_directory(parent(&target)))
            .map_err(|error| Error::Unknown { path: object, source: error.into() })
    }

    /// Gives the object its name, in a directory that a concurrent delete may be removing.
    fn with_directory(
        &self,
        object: &str,
        target: &Path,
        mut name: impl FnMut() -> io::Result<()>,
    ) -> Result<()> {
        for _ in 0..DIRECTORY_RACES {
            make_directories(parent(target))?;
            match name() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(Error::AlreadyExists { path: object.to_owned() });
                }
                Err(error) => return Err(Error::io("rename", object)(error)),
            }
        }
        Err(Error::io("rename", object)(ErrorKind::NotFound.into()))
    }

    fn delete(&self, path: &str) -> Result<()> {
        let file = self.root.join(path);
        failpoint::reach(BEFORE_DELETE, path)?;
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(Error::io("delete", path)(error)),
        }
        failpoint::reach(AFTER_DELETE, path)?;
        // Empty directories are no objects; the first that is not empty ends the climb.
        let mut directory = parent(&file);
        while directory != self.root && fs::remove_dir(directory).is_ok() {
            directory = parent(directory);
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let mut entries = Vec::new();
        let start = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        if start.is_empty() || validate_path(start).is_ok() {
            self.walk(start, prefix, &mut entries)?;
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn walk(&self, directory: &str, prefix: &str, entries: &mut Vec<ObjectEntry>) -> Result<()> {
        let children = match fs::read_dir(self.root.join(directory)) {
            Ok(children) => children,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(Error::io("list", directory)(error)),
        };
        for child in children {
            let child = child.map_err(Error::io("list", directory))?;
            let name = child.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let metadata = match child.metadata() {
                Ok(metadata) => metadata,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(Error::io("stat", path)(error)),
            };
            if metadata.is_dir() {
                if path.starts_with(prefix) || prefix.starts_with(&path) {
                    self.walk(&path, prefix, entries)?;
                }
            } else if path.starts_with(prefix) {
                entries.push(entry(path, &metadata));
            }
        }
        Ok(())
    }
}

fn entry(path: String, metadata: &fs::Metadata) -> ObjectEntry {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_millis = modified.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    ObjectEntry { path, size: metadata.len(), modified_millis }
}

/// Makes a directory and its missing parents durable.
fn make_directories(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = parent(directory);
    if above != directory {
        make_directories(above)?;
    }
    match fs::create_dir(directory) {
        Ok(()) => sync_directory(above),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        // The parent was emptied and removed meanwhile: the caller's loop tries again.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("make directory", directory.display())(error)),
    }
}

fn sync_directory(directory: &Path) -> Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Ok(()) => Ok(()),
        // Emptied by a concurrent delete: then the object in it is deleted too.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("sync", directory.display())(error)),
    }
}

fn remove_temporaries(staging: &Path) -> Result<()> {
    for child in fs::read_dir(staging).map_err(Error::io("list", staging.display()))? {
        let path = child.map_err(Error::io("list", staging.display()))?.path();
        fs::remove_file(&path).map_err(Error::io("delete", path.display()))?;
        tracing::info!(path = %path.display(), "removed what an interrupted write left");
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

fn absent_or_io(operation: &'static str, path: &str, source: io::Error) -> Error {
    if is_absent(&source) {
        Error::NotFound { path: path.to_owned() }
    } else {
        Error::io(operation, path)(source)
    }
}

#[cfg(test)]
mod tests;
