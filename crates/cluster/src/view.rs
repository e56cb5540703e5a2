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
