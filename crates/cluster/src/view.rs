//! How does a process keep a copy of part of the metastore?
//!
//! [`follow`] lists the prefixes once, then applies the watch. When the watch breaks it is resumed
//! after the last revision seen; when that revision is compacted the prefixes are listed anew. The
//! copy lives behind [`Target`], which sees either a whole listing or one change after another.

use std::sync::Arc;
use std::time::Duration;

use redkite_runtime::{Backoff, Stopping, Tasks};
use redkite_types::Revision;
use tokio::sync::watch;
use tracing::warn;

use crate::kv::{Event, KeyValue, Kv, KvError, RangeResult, Watch};

/// The copy that a [`follow`] keeps.
pub trait Target: Send + Sync + 'static {
    /// Forget everything and start from these entries.
    fn reset(&self, entries: Vec<KeyValue>);
    /// Apply the changes of one revision.
    fn apply(&self, events: Vec<Event>);
}

/// How far a copy has come. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress(watch::Receiver<Revision>);

impl Progress {
    /// The revision the copy shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.0.borrow()
    }

    /// Waits until the copy shows at least `revision`; returns early only if following has stopped.
    pub async fn wait_for(&self, revision: Revision) {
        // An error means that the follower stopped: nobody will ever advance the copy again.
        let _ = self.0.clone().wait_for(|shown| *shown >= revision).await;
    }
}

/// Fills `target` with everything under `prefix` and keeps it up to date until `tasks` stop.
///
/// # Errors
/// If the first listing fails; later failures are retried for ever, with a log line.
pub async fn follow<T: Target>(
    kv: Arc<dyn Kv>,
    prefix: &str,
    target: Arc<T>,
    tasks: &Tasks,
) -> Result<Progress, KvError> {
    let RangeResult { revision, entries } = kv.range(prefix).await?;
    target.reset(entries);
    let (shown, progress) = watch::channel(revision);
    let follower = Follower { kv, prefix: prefix.to_owned(), target, shown };
    tasks.spawn("metastore-follower", |stopping| follower.run(stopping));
    Ok(Progress(progress))
}

struct Follower<T> {
    kv: Arc<dyn Kv>,
    prefix: String,
    target: Arc<T>,
    shown: watch::Sender<Revision>,
}

impl<T: Target> Follower<T> {
    async fn run(self, stopping: Stopping) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(2));
        while let Some(Err(error)) = stopping.race(self.watch_until_error(&mut backoff)).await {
            match error {
                KvError::Closed => return,
                KvError::Compacted { .. } => {
                    if stopping.race(self.list_again()).await.is_none() {
                        return;
                    }
                }
                error => warn!(prefix = self.prefix, %error, "metastore watch broke"),
            }
            if stopping.race(backoff.wait()).await.is_none() {
                return;
            }
        }
    }

    async fn watch_until_error(&self, backoff: &mut Backoff) -> Result<(), KvError> {
        let from = Revision(self.shown.borrow().0 + 1);
        let mut watch: Watch = self.kv.watch(&self.prefix, from).await?;
        loop {
            let batch = watch.next().await?;
            backoff.reset();
            if !batch.events.is_empty() {
                self.target.apply(batch.events);
            }
            self.shown.send_replace(batch.revision);
        }
    }

    async fn list_again(&self) {
        match self.kv.range(&self.prefix).await {
            Ok(RangeResult { revision, entries }) => {
                self.target.reset(entries);
                self.shown.send_replace(revision);
            }
            Err(error) => warn!(prefix = self.prefix, %error, "metastore listing failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::kv::Txn;
    use crate::unreliable::{Trouble, Unreliable};

    #[derive(Default)]
    struct Copy {
        entries: Mutex<BTreeMap<String, KeyValue>>,
        resets: Mutex<u32>,
    }

    impl Target for Copy {
        fn reset(&self, entries: Vec<KeyValue>) {
            *self.resets.lock() += 1;
            *self.entries.lock() = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        }

        fn apply(&self, events: Vec<Event>) {
            let mut entries = self.entries.lock();
            for event in events {
                match event {
                    Event::Put(entry) => drop(entries.insert(entry.key.clone(), entry)),
                    Event::Delete { key } => drop(entries.remove(&key)),
                }
            }
        }
    }

    async fn assert_same(kv: &Unreliable, copy: &Copy, progress: &Progress) {
        let original = kv.inner().range("a/").await.unwrap();
        progress.wait_for(original.revision).await;
        assert!(copy.entries.lock().values().eq(&original.entries));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_follows_through_changes_outages_and_compaction() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        kv.put("a/1".to_owned(), Bytes::from("first")).await.unwrap();
        let copy = Arc::new(Copy::default());
        let progress = follow(kv.clone(), "a/", copy.clone(), &tasks).await.unwrap();
        assert_same(&kv, &copy, &progress).await;
        kv.txn(Txn::new().put("a/2", "second").delete("a/1")).await.unwrap();
        kv.put("elsewhere".to_owned(), Bytes::new()).await.unwrap();
        assert_same(&kv, &copy, &progress).await;
        assert_eq!(*copy.resets.lock(), 1);

        // The watch breaks, history is lost, and listing fails for a while.
        kv.set(Trouble::Refuse);
        kv.break_watches();
        for n in 0..10 {
            kv.inner().put(format!("a/{n}"), Bytes::from("while away")).await.unwrap();
        }
        kv.inner().delete("a/2".to_owned()).await.unwrap();
        let now = kv.inner().range("").await.unwrap().revision;
        kv.inner().compact(now);
        tokio::time::sleep(Duration::from_secs(5)).await;
        kv.set(Trouble::None);
        assert_same(&kv, &copy, &progress).await;
        assert_eq!(*copy.resets.lock(), 2);

        // A break without compaction resumes where it was.
        kv.break_watches();
        kv.inner().put("a/9".to_owned(), Bytes::from("resumed")).await.unwrap();
        assert_same(&kv, &copy, &progress).await;
        assert_eq!(*copy.resets.lock(), 2);
    }
}
