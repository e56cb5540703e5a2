//! The seam to whatever keeps the objects: a directory here, a bucket elsewhere.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, Mapped, ObjectWriter, Result};

/// Immutable objects under slash-separated names.
///
/// Laws, checked by [`crate::contract::assert_object_store_contract`]:
///
/// * An object appears whole or not at all, also when the process dies. Once a call that makes one
///   has returned, it MUST survive the loss of the machine's power.
/// * [`create`](Self::create) is the only conditional operation: of any number of concurrent calls
///   for one name, at most one MUST succeed, and the object is then its; who gets
///   [`Error::AlreadyExists`] did not make it. A store whose answers can be lost MUST say
///   [`Error::Unknown`] when it cannot tell, never guess: if all callers are told something else,
///   exactly one succeeded. Any other failure means that this call made nothing and will not. A call
///   that is dropped before it answers is as good as unknown.
/// * [`put`](Self::put) and [`publish`](Self::publish) replace. Names are made to be unique, so
///   replacing only ever happens with equal content, after a retry.
/// * A failed call leaves no temporary file behind, and no object unless it is [`Error::Unknown`] or a
///   `put` or `publish` that is good for another try. After a crash, temporaries MUST be
///   gone when the store has been opened again.
/// * Reads after a returned write see it; [`list`](Self::list) too.
/// * Contents under a name that a reader has opened or mapped MUST stay readable through it after a
///   [`delete`](Self::delete).
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Writes an object.
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()>;

    /// Writes an object unless there is one of this name.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if there is, [`Error::Unknown`] if this call may have made it.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<()>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    async fn get(&self, path: &str) -> Result<Bytes>;

    /// Reads a part of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::OutOfRange`] if it is shorter.
    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes>;

    /// The objects whose names begin with `prefix`, in the order of their names.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>>;

    /// The folders directly under `prefix`, which ends with a slash: what the names of objects begin with, up
    /// to and including the next slash, each once and in order. However many objects are in a folder, it should
    /// cost no more than one.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let entries = self.list(prefix).await?;
        let folder = |entry: &ObjectEntry| {
            let (folder, _) = entry.path.get(prefix.len()..)?.split_once('/')?;
            Some(format!("{prefix}{folder}/"))
        };
        let folders: BTreeSet<String> = entries.iter().filter_map(folder).collect();
        Ok(folders.into_iter().collect())
    }

    /// Removes an object. Removing what is not there succeeds.
    async fn delete(&self, path: &str) -> Result<()>;

    /// Makes an object available as a local file, to be mapped.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    async fn local(&self, path: &str) -> Result<LocalObject>;

    /// Begins an object too large to be held in memory. Nothing is visible before
    /// [`publish`](Self::publish); dropping the writer abandons it.
    async fn writer(&self, path: &str) -> Result<ObjectWriter>;

    /// Makes a finished writer's object durable and visible; returns its size.
    async fn publish(&self, writer: ObjectWriter) -> Result<u64>;
}

/// An object as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in milliseconds since the Unix epoch, by the store's clock.
    pub modified_millis: u64,
}

/// An object as an open local file. It stays readable also when the object is deleted.
#[derive(Debug)]
pub struct LocalObject {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// Keeps the file in a cache.
    pub(crate) pin: Option<Arc<()>>,
}

impl LocalObject {
    /// An open file that holds the object.
    ///
    /// # Errors
    /// If the system does not tell the file's size.
    pub fn new(file: File, path: PathBuf) -> Result<Self> {
        let size = file.metadata().map_err(Error::io("stat", path.display()))?.len();
        Ok(Self { file, path, size, pin: None })
    }

    /// The same, holding on to `pin` as long as it or a mapping of it lives.
    pub(crate) fn pinned(self, pin: Arc<()>) -> Self {
        Self { pin: Some(pin), ..self }
    }

    /// Where the file is; for messages, the name may be gone already.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Maps the file into memory.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn map(&self) -> Result<Mapped> {
        Ok(Mapped::new(&self.file, &self.path)?.pinned(self.pin.clone()))
    }
}

/// Checks that a name can be an object's: relative, printable ASCII, no empty or dotted components.
///
/// # Errors
/// [`Error::InvalidPath`] with the broken rule.
pub fn validate_path(path: &str) -> Result<()> {
    let invalid = |reason| Err(Error::InvalidPath { path: path.to_owned(), reason });
    if path.is_empty() || path.len() > 1024 {
        return invalid("must have 1 to 1024 bytes");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return invalid("must be printable ASCII without spaces and backslashes");
    }
    if path.split('/').any(|component| component.is_empty() || component.starts_with('.')) {
        return invalid("components must not be empty or begin with a dot");
    }
    Ok(())
}
