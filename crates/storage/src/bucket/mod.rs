//! Objects in an S3-compatible bucket, with copies on the node's disk for what is mapped.
//!
//! [`remote`] makes requests and decides which are made again; [`transport`] says what an answer means;
//! [`upload`] and [`download`] move large objects in pieces; [`cache`] keeps copies; [`probe`] refuses, at
//! start, a service on which the log would not be safe.

mod cache;
mod download;
mod failpoint;
mod probe;
mod remote;
mod settings;
mod transport;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redkite_runtime::blocking;

pub use self::cache::CacheUsage;
pub use self::failpoint::FAILPOINTS;
pub use self::settings::{BucketSettings, CacheSettings, TlsSettings};

use self::cache::Cache;
use self::download::Download;
use self::remote::{Remote, Version};
use crate::{Error, LocalObject, ObjectEntry, ObjectStore, ObjectWriter, Result, validate_path};

/// How often an object may be replaced while it is downloaded.
const REPLACEMENTS: usize = 5;

/// An [`ObjectStore`] in a bucket. Cheap to clone; clones share the connections and the cache.
#[derive(Clone, Debug)]
pub struct BucketStore {
    remote: Arc<Remote>,
    cache: Arc<Cache>,
}

impl BucketStore {
    /// Connects to the bucket, which is made if the settings say so, checks that it keeps its word, and
    /// opens the cache.
    ///
    /// # Errors
    /// [`Error::Settings`] if the settings cannot be used, [`Error::Unsuitable`] if the service breaks a
    /// promise that correctness rests on. A service that does not answer is [retryable](Error::retryable).
    pub async fn open(bucket: &BucketSettings, cache: &CacheSettings) -> Result<Self> {
        let remote = Remote::new(bucket)?;
        let cache = cache.clone();
        let cache = blocking(move || Cache::open(&cache)).await?;
        remote.ensure_bucket(bucket.create_bucket).await?;
        remote.probe().await?;
        let usage = cache.usage();
        tracing::info!(
            bucket = remote.name(),
            copies = usage.files,
            copied_bytes = usage.bytes,
            "the bucket keeps its word"
        );
        Ok(Self { remote: Arc::new(remote), cache: Arc::new(cache) })
    }

    /// What the cache holds and did.
    #[must_use]
    pub fn cache_usage(&self) -> CacheUsage {
        self.cache.usage()
    }

    async fn forget(&self, path: &str) {
        let (cache, path) = (self.cache.clone(), path.to_owned());
        blocking(move || cache.forget(&path)).await;
    }

    async fn find(&self, path: &str, version: &Version) -> Result<Option<LocalObject>> {
        let (cache, path, version) = (self.cache.clone(), path.to_owned(), version.clone());
        blocking(move || cache.find(&path, &version)).await
    }

    async fn adopt(&self, writer: ObjectWriter, version: Version) -> Result<LocalObject> {
        let cache = self.cache.clone();
        blocking(move || cache.adopt(writer, &version)).await
    }

    /// Downloads an object, unless it was replaced meanwhile.
    async fn copy(&self, path: &str, version: &Version) -> Result<Option<LocalObject>> {
        let (cache, size) = (self.cache.clone(), version.size);
        let room = blocking(move || cache.reserve(size)).await;
        let writer = self.writer(path).await?;
        match self.remote.download(writer, version).await? {
            Download::Complete(writer) => {
                // From here on the copy counts itself.
                drop(room);
                self.adopt(writer, version.clone()).await.map(Some)
            }
            Download::Replaced => Ok(None),
        }
    }

    /// Downloads an object; if the disk is full, once more without the copies nobody uses.
    async fn copy_in_spite_of_full_disk(&self, path: &str, version: &Version) -> Result<Option<LocalObject>> {
        match self.copy(path, version).await {
            Err(error) if disk_full(&error) => {
                tracing::warn!(path, %error, "the cache's disk is full: copies that nobody uses are removed");
                let cache = self.cache.clone();
                blocking(move || cache.shrink()).await;
                self.copy(path, version).await
            }
            other => other,
        }
    }
}

fn disk_full(error: &Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}

#[async_trait]
impl ObjectStore for BucketStore {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.remote.put(path, bytes).await?;
        failpoint::reach(failpoint::AFTER_UPLOAD, path)
    }

    async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.remote.create(path, bytes).await?;
        failpoint::reach(failpoint::AFTER_UPLOAD, path)
            .map_err(|error| Error::Unknown { path: path.to_owned(), source: error.into() })
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        self.remote.get(path).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.remote.get_range(path, range).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        self.remote.list(prefix).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.remote.folders(prefix).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        validate_path(path)?;
        failpoint::reach(failpoint::BEFORE_DELETE, path)?;
        self.remote.delete(path).await?;
        self.forget(path).await;
        Ok(())
    }

    /// The copy of the object on this node's disk. The bucket is asked which version there is, so that a
    /// copy from before the bucket was replaced is never taken for the object.
    async fn local(&self, path: &str) -> Result<LocalObject> {
        for _ in 0..REPLACEMENTS {
            let version = self.remote.head(path).await?;
            if let Some(local) = self.find(path, &version).await? {
                return Ok(local);
            }
            let turn = self.cache.turn(path);
            let _turn = turn.lock().await;
            // Whoever had the turn before has downloaded it.
            if let Some(local) = self.find(path, &version).await? {
                return Ok(local);
            }
            if let Some(local) = self.copy_in_spite_of_full_disk(path, &version).await? {
                return Ok(local);
            }
        }
        let problem = "it was replaced again and again while it was downloaded".to_owned();
        Err(Error::Corrupt { path: path.to_owned(), offset: 0, problem })
    }

    async fn writer(&self, path: &str) -> Result<ObjectWriter> {
        validate_path(path)?;
        let (cache, path) = (self.cache.clone(), path.to_owned());
        blocking(move || cache.begin(&path)).await
    }

    async fn publish(&self, writer: ObjectWriter) -> Result<u64> {
        let (path, size) = (writer.object().to_owned(), writer.written());
        let etag = self.remote.upload(&writer).await?;
        failpoint::reach(failpoint::AFTER_UPLOAD, &path)?;
        // Whoever wrote it often reads it next. Without the copy it is downloaded then.
        if let Some(etag) = etag
            && let Err(error) = self.adopt(writer, Version { size, etag }).await
        {
            tracing::warn!(path, %error, "no copy is kept of a published object");
        }
        Ok(size)
    }
}
