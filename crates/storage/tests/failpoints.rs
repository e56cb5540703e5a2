//! Objects appear whole or not at all wherever the writer is interrupted.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use redkite_storage::{BucketSettings, BucketStore, CacheSettings, Error, LocalStore, ObjectStore};
use redkite_test_bucket::{Options, TestBucket};

fn staged(store: &LocalStore) -> usize {
    std::fs::read_dir(store.root().join(".staging")).unwrap().count()
}

/// Failpoints are global to the process: scenarios wait for each other.
#[tokio::test]
async fn interrupted_writes_leave_nothing_behind() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).await.unwrap();

    for point in ["storage::before-fsync", "storage::after-fsync"] {
        fail::cfg(point, "return(enospc)").unwrap();
        let error = store.put("a/b", Bytes::from_static(b"x")).await.unwrap_err();
        assert!(error.retryable() && !error.maybe_applied() && error.to_string().contains("a/b"), "{error}");
        let error = store.create("a/b", Bytes::from_static(b"x")).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        fail::remove(point);
        assert!(store.list("").await.unwrap().is_empty());
        assert_eq!(staged(&store), 0);
    }

    // The name is there, its durability unknown: the caller retries the same content.
    fail::cfg("storage::after-rename", "return").unwrap();
    let error = store.put("a/b", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(!error.retryable());
    fail::remove("storage::after-rename");
    assert_eq!(store.get("a/b").await.unwrap(), "x");
    store.put("a/b", Bytes::from_static(b"x")).await.unwrap();

    // Whoever creates is told that it may have happened, and finds out by reading.
    fail::cfg("storage::after-rename", "return(enospc)").unwrap();
    let error = store.create("a/c", Bytes::from_static(b"mine")).await.unwrap_err();
    assert!(error.maybe_applied() && !error.retryable(), "{error}");
    fail::remove("storage::after-rename");
    assert_eq!(store.get("a/c").await.unwrap(), "mine");
    assert_eq!(staged(&store), 0);
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_cache_is_told_and_breaks_nothing() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let server = TestBucket::start(Options::default()).await.unwrap();
    let settings = BucketSettings { address: server.address().to_string(), ..BucketSettings::default() };
    let cache = CacheSettings { path: dir.path().join("cache"), ..CacheSettings::default() };
    let store = BucketStore::open(&settings, &cache).await.unwrap();
    for name in ["a", "b"] {
        store.put(name, Bytes::from_static(b"contents")).await.unwrap();
    }
    drop(store.local("a").await.unwrap());

    // Without the copies that nobody uses there is room.
    fail::cfg("bucket::before-copy-write", "1*return(enospc)->off").unwrap();
    assert_eq!(store.local("b").await.unwrap().map().unwrap().as_ref(), b"contents");
    assert_eq!((store.cache_usage().files, store.cache_usage().evicted), (1, 1));

    for point in ["bucket::before-copy-write", "bucket::before-naming-copy"] {
        fail::cfg(point, "return(enospc)").unwrap();
        let error = store.local("a").await.unwrap_err();
        assert!(error.retryable() && error.to_string().contains(" a: "), "{error}");
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
        );
        assert_eq!(store.get("a").await.unwrap(), "contents", "what needs no disk works");
        fail::remove(point);
        assert_eq!(std::fs::read_dir(cache.path.join("staging")).unwrap().count(), 0);
        assert_eq!(store.cache_usage().reserved, 0);
    }
    assert_eq!(store.local("a").await.unwrap().map().unwrap().as_ref(), b"contents");

    // Without room for a copy, publishing works all the same.
    fail::cfg("bucket::before-naming-copy", "return(enospc)").unwrap();
    let mut writer = store.writer("c").await.unwrap();
    writer.append(b"contents").unwrap();
    assert_eq!(store.publish(writer).await.unwrap(), 8);
    fail::remove("bucket::before-naming-copy");
    assert_eq!(store.local("c").await.unwrap().map().unwrap().as_ref(), b"contents");
    scenario.teardown();
}
