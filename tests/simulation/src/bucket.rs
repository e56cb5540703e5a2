//! A bucket in memory, far away: requests fail, answers are lost, some creates land long after they were given up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redkite_runtime::Clock;
use redkite_runtime::simulation::Process;
use redkite_storage::{Error, LocalObject, ObjectEntry, ObjectStore, ObjectWriter, Result, validate_path};
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::trace::Trace;
use crate::weather::{Fate, Place, Weather};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a create that was given up may still be on its way.
const LATE: Duration = Duration::from_secs(3);

/// The bucket of a cluster.
#[derive(Debug)]
pub struct Bucket {
    objects: Mutex<BTreeMap<String, Object>>,
    clock: Arc<dyn Clock>,
    weather: Arc<Weather>,
    trace: Trace,
    /// Where what is on its way goes on without its sender.
    process: Process,
    /// For objects that are being written, which must be files.
    staging: Mutex<Option<TempDir>>,
    staged: AtomicU64,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified_millis: u64,
    /// For mappings; made when first asked for.
    file: Option<File>,
}

impl Bucket {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no directory for temporary files.
    pub fn start(
        clock: &Arc<dyn Clock>,
        weather: &Arc<Weather>,
        trace: &Trace,
    ) -> std::io::Result<Arc<Self>> {
        // In memory, if there is such a place.
        let staging = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        Ok(Arc::new(Self {
            objects: Mutex::default(),
            clock: clock.clone(),
            weather: weather.clone(),
            trace: trace.clone(),
            process: Process::start("bucket"),
            staging: Mutex::new(Some(staging)),
            staged: AtomicU64::new(0),
        }))
    }

    /// The bucket as a process at `place` reaches it.
    #[must_use]
    pub fn client(self: &Arc<Self>, place: Place) -> Arc<dyn ObjectStore> {
        Arc::new(Client { bucket: self.clone(), place })
    }

    /// Names of all objects, for the referees of a simulation.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// Lets go of everything: whoever still holds the bucket finds nothing in it.
    pub fn end(&self) {
        self.process.kill();
        self.objects.lock().clear();
        self.staging.lock().take();
    }

    fn staging(&self) -> PathBuf {
        self.staging.lock().as_ref().map(|staging| staging.path().to_owned()).unwrap_or_default()
    }

    fn put(&self, place: Place, path: &str, bytes: Bytes) {
        self.trace.note(format_args!("bucket {place} puts {path}, {} bytes", bytes.len()));
        let object = Object { bytes, modified_millis: self.clock.now_millis(), file: None };
        self.objects.lock().insert(path.to_owned(), object);
    }

    fn create(&self, place: Place, path: &str, bytes: Bytes) -> Result<()> {
        if self.objects.lock().contains_key(path) {
            return Err(Error::AlreadyExists { path: path.to_owned() });
        }
        self.put(place, path, bytes);
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Bytes> {
        let objects = self.objects.lock();
        objects.get(path).map(|object| object.bytes.clone()).ok_or_else(|| absent(path))
    }

    fn list(&self, prefix: &str) -> Vec<ObjectEntry> {
        let objects = self.objects.lock();
        let under = objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        let entry = |(path, object): (&String, &Object)| ObjectEntry {
            path: path.clone(),
            size: object.bytes.len() as u64,
            modified_millis: object.modified_millis,
        };
        under.map(entry).collect()
    }

    fn delete(&self, place: Place, path: &str) {
        if self.objects.lock().remove(path).is_some() {
            self.trace.note(format_args!("bucket {place} deletes {path}"));
        }
    }

    fn local(&self, path: &str) -> Result<LocalObject> {
        let mut objects = self.objects.lock();
        let object = objects.get_mut(path).ok_or_else(|| absent(path))?;
        let file =
            object.file().map_err(|source| Error::Io { operation: "copy", path: path.into(), source })?;
        drop(objects);
        LocalObject::new(file, PathBuf::from(path))
    }
}

impl Object {
    fn file(&mut self) -> std::io::Result<File> {
        if self.file.is_none() {
            let mut file = File::from(memfd_create("object", MemfdFlags::CLOEXEC)?);
            file.write_all(&self.bytes)?;
            self.file = Some(file);
        }
        self.file.as_ref().map_or_else(|| Err(std::io::ErrorKind::NotFound.into()), File::try_clone)
    }
}

fn absent(path: &str) -> Error {
    Error::NotFound { path: path.to_owned() }
}

/// The bucket, as one process reaches it.
#[derive(Debug)]
struct Client {
    bucket: Arc<Bucket>,
    place: Place,
}

/// How a request failed.
enum Failure {
    /// Nothing happened.
    Nothing,
    /// It may have happened, or may yet.
    Unknown,
}

impl Client {
    /// Has something done; what was sent goes on, also if its sender does not.
    async fn send<T: Send + 'static>(
        &self,
        may_be_late: bool,
        work: impl FnOnce(&Bucket) -> T + Send + 'static,
    ) -> std::result::Result<T, Failure> {
        let weather = &self.bucket.weather;
        if timeout(PATIENCE, weather.until_open(self.place, Place::BUCKET)).await.is_err() {
            return Err(Failure::Nothing);
        }
        let Fate { there, back, request_lost, answer_lost } = weather.fate();
        if request_lost && !may_be_late {
            sleep(there + back).await;
            return Err(Failure::Nothing);
        }
        let (done, answer) = oneshot::channel();
        let (bucket, place) = (self.bucket.clone(), self.place);
        self.bucket.process.spawn(async move {
            sleep(there).await;
            bucket.weather.until_open(place, Place::BUCKET).await;
            if request_lost {
                sleep(LATE).await;
            }
            // Who asked may be gone.
            let _ = done.send(work(&bucket));
        });
        if request_lost {
            sleep(there + back).await;
            return Err(Failure::Unknown);
        }
        let answered = async {
            let answer = answer.await.map_err(|_| Failure::Unknown)?;
            sleep(back).await;
            weather.until_open(Place::BUCKET, self.place).await;
            if answer_lost { Err(Failure::Unknown) } else { Ok(answer) }
        };
        timeout(PATIENCE, answered).await.unwrap_or(Err(Failure::Unknown))
    }

    /// The same, of which an unknown outcome is as good as none.
    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &str,
        work: impl FnOnce(&Bucket) -> T + Send + 'static,
    ) -> Result<T> {
        self.send(false, work).await.map_err(|_| Error::Bucket {
            operation,
            bucket: "simulated".to_owned(),
            path: path.to_owned(),
            retryable: true,
            source: "slow down".into(),
        })
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        validate_path(path)?;
        let (name, place) = (path.to_owned(), self.place);
        self.ask("put", path, move |bucket| bucket.put(place, &name, bytes)).await
    }

    async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        validate_path(path)?;
        let (name, place) = (path.to_owned(), self.place);
        match self.send(true, move |bucket| bucket.create(place, &name, bytes)).await {
            Ok(created) => created,
            Err(Failure::Unknown) => {
                Err(Error::Unknown { path: path.to_owned(), source: "no answer".into() })
            }
            Err(Failure::Nothing) => Err(Error::Bucket {
                operation: "create",
                bucket: "simulated".to_owned(),
                path: path.to_owned(),
                retryable: true,
                source: "out of reach".into(),
            }),
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        validate_path(path)?;
        let name = path.to_owned();
        self.ask("get", path, move |bucket| bucket.get(&name)).await?
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.get(path).await?;
        let size = bytes.len() as u64;
        let Range { start, end } = range;
        if start > end || end > size {
            return Err(Error::OutOfRange { path: path.to_owned(), start, end, size });
        }
        let (start, end) = (usize::try_from(start), usize::try_from(end));
        Ok(bytes.slice(start.unwrap_or(usize::MAX)..end.unwrap_or(usize::MAX)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let under = prefix.to_owned();
        self.ask("list", prefix, move |bucket| bucket.list(&under)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        validate_path(path)?;
        let (name, place) = (path.to_owned(), self.place);
        self.ask("delete", path, move |bucket| bucket.delete(place, &name)).await
    }

    async fn local(&self, path: &str) -> Result<LocalObject> {
        validate_path(path)?;
        let name = path.to_owned();
        self.ask("get", path, move |bucket| bucket.local(&name)).await?
    }

    async fn writer(&self, path: &str) -> Result<ObjectWriter> {
        validate_path(path)?;
        let number = self.bucket.staged.fetch_add(1, Ordering::Relaxed);
        ObjectWriter::begin(path, self.bucket.staging().join(number.to_string()))
    }

    async fn publish(&self, writer: ObjectWriter) -> Result<u64> {
        let path = writer.object().to_owned();
        let read = std::fs::read(writer.temporary());
        let bytes = read.map_err(|source| Error::Io { operation: "read", path: path.clone(), source })?;
        self.put(&path, bytes.into()).await?;
        Ok(writer.written())
    }
}
