//! A bucket server and stores on it.

use std::time::Duration;

use bytes::Bytes;
use redkite_storage::{BucketSettings, BucketStore, CacheSettings, Result};
use redkite_test_bucket::{Faults, Options, TestBucket};
use tempfile::TempDir;

/// A server, and a directory for caches.
pub(crate) struct World {
    pub(crate) server: TestBucket,
    pub(crate) directory: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = TestBucket::start(Options::default()).await.unwrap();
        Self { server, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn settings(&self) -> BucketSettings {
        settings(&self.server.address().to_string())
    }

    pub(crate) fn cache(&self, name: &str) -> CacheSettings {
        let path = self.directory.path().join(name);
        CacheSettings { path, ..CacheSettings::default() }
    }

    pub(crate) async fn open(&self, name: &str) -> Result<BucketStore> {
        BucketStore::open(&self.settings(), &self.cache(name)).await
    }

    pub(crate) async fn store(&self, name: &str) -> BucketStore {
        self.open(name).await.unwrap()
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.server.set_faults(faults);
    }

    pub(crate) fn no_faults(&self) {
        self.faults(Faults::default());
    }
}

pub(crate) fn settings(address: &str) -> BucketSettings {
    BucketSettings {
        address: address.to_owned(),
        bucket_name: "test-bucket".to_owned(),
        request_timeout: Duration::from_secs(5),
        retry_timeout: Duration::from_secs(60),
        ..BucketSettings::default()
    }
}

/// Bytes that differ from one another.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}
