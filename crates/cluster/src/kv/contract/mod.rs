//! Does an implementation keep the laws of [`Kv`]?
//!
//! One suite for all: a test builds a [`Harness`] over an implementation and calls
//! [`assert_kv_contract`]. Every check works under a prefix of its own, and panics with what it saw.

mod leases;
mod restart;
mod transactions;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redkite_types::Revision;

use super::{Event, KeyValue, Kv, Watch, WatchBatch};

/// A store under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The store.
    async fn open(&self) -> Arc<dyn Kv>;

    /// Ends the store as a crash or restart does, and opens it again over the same data.
    async fn reopen(&self, store: Arc<dyn Kv>) -> Arc<dyn Kv>;

    /// Drops the history up to and including `through`.
    async fn compact(&self, store: &dyn Kv, through: Revision);

    /// A short time to live that the implementation grants as it is.
    fn ttl(&self) -> Duration;
}

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every check.
///
/// # Panics
/// If a law is broken.
pub async fn assert_kv_contract(harness: &dyn Harness) {
    let store = harness.open().await;
    transactions::check(&*store).await;
    watches::check(&*store).await;
    watches::check_compaction(harness, &*store).await;
    leases::check(&*store, harness.ttl()).await;
    restart::check(harness, store).await;
}

async fn put(store: &dyn Kv, key: &str, value: &str) -> Revision {
    store.put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes())).await.expect("put succeeds")
}

async fn get(store: &dyn Kv, key: &str) -> Option<KeyValue> {
    store.get(key).await.expect("get succeeds")
}

async fn keys(store: &dyn Kv, prefix: &str) -> Vec<String> {
    let range = store.range(prefix).await.expect("range succeeds");
    range.entries.into_iter().map(|entry| entry.key).collect()
}

/// The next batch that has events.
async fn next_events(watch: &mut Watch) -> WatchBatch {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let batch = watch.next().await.expect("watch goes on");
            if !batch.events.is_empty() {
                return batch;
            }
        }
    })
    .await
    .expect("events arrive")
}

/// Reads the watch until it has reported everything up to `revision`.
async fn batches_until(watch: &mut Watch, revision: Revision) -> Vec<WatchBatch> {
    tokio::time::timeout(PATIENCE, async {
        let mut batches = Vec::new();
        loop {
            let batch = watch.next().await.expect("watch goes on");
            let reached = batch.revision >= revision;
            if !batch.events.is_empty() {
                batches.push(batch);
            }
            if reached {
                return batches;
            }
        }
    })
    .await
    .expect("the watch reports progress")
}

fn texts(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Event::Delete { key } => format!("{key} deleted"),
    };
    let mut texts: Vec<_> = events.iter().map(text).collect();
    texts.sort();
    texts
}
