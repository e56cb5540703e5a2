//! Objects appear whole or not at all wherever the writer is interrupted.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use redkite_storage::{Error, LocalStore, ObjectStore};

fn staged(store: &LocalStore) -> usize {
    std::fs::read_dir(store.root().join(".staging")).unwrap().count()
}

/// One test, because failpoints are global to the process.
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
