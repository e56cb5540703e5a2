//! Buckets as maps under one lock; contents in memory, or in files that outlive the process.
//!
//! With a directory, an object is the file `<bucket>/<key>@<tag>`. Nothing is synced: it is for processes that
//! are killed, not for machines that lose power.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::ops::{Bound, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use redkite_runtime::{Clock, SystemClock};

use crate::Stats;

const TEMPORARY: &str = ".temporary";

/// Why something cannot be done.
#[derive(Debug)]
pub(crate) enum Refusal {
    NoBucket,
    BucketExists,
    NoObject,
    NoUpload,
    BadPart,
    Exists,
    Disk(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) tag: String,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    Memory(Bytes),
    File(Arc<PathBuf>),
}

impl Object {
    /// Reads a range that lies within the object.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let within = |at: u64| usize::try_from(at).expect("an object of memory");
        match &self.contents {
            Contents::Memory(bytes) => Ok(bytes.slice(within(range.start)..within(range.end))),
            Contents::File(path) => {
                let mut bytes = vec![0; within(range.end - range.start)];
                File::open(path.as_ref())?.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes.into())
            }
        }
    }
}

/// Some objects in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Object)>,
    /// Beginnings of keys up to the delimiter, in place of the keys.
    pub(crate) prefixes: Vec<String>,
    /// Where the next page begins, if there is one: after this key.
    pub(crate) next: Option<String>,
}

/// What is asked of a list.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) after: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) limit: usize,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Objects {
    state: Mutex<State>,
    directory: Option<PathBuf>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    uploads: HashMap<String, Upload>,
}

#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    parts: BTreeMap<i32, Bytes>,
}

impl Objects {
    /// No objects, or those of a directory, which is made if absent.
    pub(crate) fn open(directory: Option<PathBuf>) -> io::Result<Self> {
        let mut state = State::default();
        if let Some(directory) = &directory {
            let temporary = directory.join(TEMPORARY);
            if temporary.exists() {
                fs::remove_dir_all(&temporary)?;
            }
            fs::create_dir_all(&temporary)?;
            for bucket in fs::read_dir(directory)? {
                let bucket = bucket?;
                let name = bucket.file_name().to_string_lossy().into_owned();
                if name != TEMPORARY && bucket.file_type()?.is_dir() {
                    let mut objects = BTreeMap::new();
                    read_directory(&bucket.path(), "", &mut objects)?;
                    state.buckets.insert(name, objects);
                }
            }
        }
        Ok(Self { state: Mutex::new(state), directory, next: AtomicU64::new(0) })
    }

    pub(crate) fn create_bucket(&self, bucket: &str) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if state.buckets.contains_key(bucket) {
            return Err(Refusal::BucketExists);
        }
        if let Some(directory) = &self.directory {
            fs::create_dir_all(directory.join(bucket))?;
        }
        state.buckets.insert(bucket.to_owned(), BTreeMap::new());
        Ok(())
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.state.lock().buckets.contains_key(bucket)
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Object, Refusal> {
        let state = self.state.lock();
        let objects = state.buckets.get(bucket).ok_or(Refusal::NoBucket)?;
        objects.get(key).cloned().ok_or(Refusal::NoObject)
    }

    /// Writes an object, or refuses if `absent` is wanted and there is one: decided under the lock.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: Bytes, absent: bool) -> Result<Object, Refusal> {
        let tag = tag(&bytes);
        self.put_tagged(bucket, key, bytes, tag, absent)
    }

    fn put_tagged(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        tag: String,
        absent: bool,
    ) -> Result<Object, Refusal> {
        let size = bytes.len() as u64;
        let prepared = match &self.directory {
            None => None,
            Some(directory) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let temporary = directory.join(TEMPORARY).join(number.to_string());
                fs::write(&temporary, &bytes)?;
                Some((temporary, directory.join(bucket).join(format!("{key}@{tag}"))))
            }
        };
        let placed = self.place(bucket, key, absent, |_| {
            let contents = match &prepared {
                None => Contents::Memory(bytes),
                Some((temporary, target)) => {
                    fs::create_dir_all(target.parent().expect("a file in a directory"))?;
                    fs::rename(temporary, target)?;
                    Contents::File(Arc::new(target.clone()))
                }
            };
            let modified = UNIX_EPOCH + Duration::from_millis(SystemClock.now_millis());
            Ok(Object { tag, size, modified, contents })
        });
        if let (Err(_), Some((temporary, _))) = (&placed, prepared) {
            // Gone already if it was the rename that succeeded.
            _ = fs::remove_file(temporary);
        }
        placed
    }

    fn place(
        &self,
        bucket: &str,
        key: &str,
        absent: bool,
        make: impl FnOnce(&str) -> io::Result<Object>,
    ) -> Result<Object, Refusal> {
        let mut state = self.state.lock();
        let objects = state.buckets.get_mut(bucket).ok_or(Refusal::NoBucket)?;
        if absent && objects.contains_key(key) {
            return Err(Refusal::Exists);
        }
        let object = make(key)?;
        if let Some(old) = objects.insert(key.to_owned(), object.clone())
            && old.tag != object.tag
        {
            remove_file(&old);
        }
        Ok(object)
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let objects = state.buckets.get_mut(bucket).ok_or(Refusal::NoBucket)?;
        if let Some(object) = objects.remove(key) {
            remove_file(&object);
        }
        Ok(())
    }

    pub(crate) fn list(&self, bucket: &str, query: &Query<'_>) -> Result<Page, Refusal> {
        let state = self.state.lock();
        let objects = state.buckets.get(bucket).ok_or(Refusal::NoBucket)?;
        let mut page = Page::default();
        let mut last = "";
        let from = if query.after >= query.prefix {
            Bound::Excluded(query.after)
        } else {
            Bound::Included(query.prefix)
        };
        for (key, object) in objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(query.prefix) else { break };
            let common = query.delimiter.and_then(|delimiter| {
                rest.find(delimiter).map(|at| &key[..query.prefix.len() + at + delimiter.len()])
            });
            if common.is_some() && page.prefixes.last().map(String::as_str) == common {
                last = key;
                continue;
            }
            if page.objects.len() + page.prefixes.len() == query.limit {
                page.next = Some(last.to_owned());
                break;
            }
            match common {
                Some(common) => page.prefixes.push(common.to_owned()),
                None => page.objects.push((key.clone(), object.clone())),
            }
            last = key;
        }
        Ok(page)
    }

    pub(crate) fn begin_upload(&self, bucket: &str, key: &str) -> Result<String, Refusal> {
        let mut state = self.state.lock();
        if !state.buckets.contains_key(bucket) {
            return Err(Refusal::NoBucket);
        }
        let id = format!("upload-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let upload = Upload { bucket: bucket.to_owned(), key: key.to_owned(), parts: BTreeMap::new() };
        state.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Takes a part; returns its tag.
    pub(crate) fn put_part(&self, id: &str, number: i32, bytes: Bytes) -> Result<String, Refusal> {
        let tag = tag(&bytes);
        let mut state = self.state.lock();
        state.uploads.get_mut(id).ok_or(Refusal::NoUpload)?.parts.insert(number, bytes);
        Ok(tag)
    }

    /// Makes an object of the parts that are named, by number and tag.
    pub(crate) fn complete(
        &self,
        id: &str,
        named: &[(i32, String)],
        absent: bool,
    ) -> Result<Object, Refusal> {
        let (bucket, key, parts) = {
            let state = self.state.lock();
            let upload = state.uploads.get(id).ok_or(Refusal::NoUpload)?;
            let parts = named.iter().map(|(number, tag)| {
                upload.parts.get(number).filter(|part| self::tag(part) == *tag).cloned()
            });
            let parts: Option<Vec<Bytes>> = parts.collect();
            (upload.bucket.clone(), upload.key.clone(), parts.ok_or(Refusal::BadPart)?)
        };
        let whole = Bytes::from(parts.concat());
        let tag = format!("{}-{}", tag(&whole), parts.len());
        let object = self.put_tagged(&bucket, &key, whole, tag, absent)?;
        self.state.lock().uploads.remove(id);
        Ok(object)
    }

    pub(crate) fn abort(&self, id: &str) -> Result<(), Refusal> {
        self.state.lock().uploads.remove(id).map(drop).ok_or(Refusal::NoUpload)
    }

    /// Fills in what there is.
    pub(crate) fn measure(&self, stats: &mut Stats) {
        let state = self.state.lock();
        let objects = || state.buckets.values().flat_map(BTreeMap::values);
        stats.objects = objects().count() as u64;
        stats.bytes = objects().map(|object| object.size).sum();
        stats.uploads = state.uploads.len() as u64;
    }
}

/// Equal contents have equal tags, also after a restart.
fn tag(bytes: &[u8]) -> String {
    let mut halves = [DefaultHasher::new(), DefaultHasher::new()];
    halves[1].write_u8(1);
    for half in &mut halves {
        half.write(bytes);
    }
    format!("{:016x}{:016x}", halves[0].finish(), halves[1].finish())
}

/// A file that cannot be removed is one too many after the next start, no more.
fn remove_file(object: &Object) {
    if let Contents::File(path) = &object.contents
        && let Err(error) = fs::remove_file(path.as_ref())
    {
        tracing::warn!(path = %path.display(), %error, "an object's file stays");
    }
}

fn read_directory(here: &Path, prefix: &str, objects: &mut BTreeMap<String, Object>) -> io::Result<()> {
    for child in fs::read_dir(here)? {
        let child = child?;
        let name = child.file_name().to_string_lossy().into_owned();
        let metadata = child.metadata()?;
        if metadata.is_dir() {
            read_directory(&child.path(), &format!("{prefix}{name}/"), objects)?;
        } else if let Some((key, tag)) = name.rsplit_once('@') {
            let object = Object {
                tag: tag.to_owned(),
                size: metadata.len(),
                modified: metadata.modified()?,
                contents: Contents::File(Arc::new(child.path())),
            };
            // Killed between writing the new version and removing the old: the later one counts.
            let key = format!("{prefix}{key}");
            if objects.get(&key).is_none_or(|other| other.modified <= object.modified) {
                objects.insert(key, object);
            }
        }
    }
    Ok(())
}
