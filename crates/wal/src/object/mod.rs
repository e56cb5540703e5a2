//! How do logs survive in the object store, when create-if-absent is all it offers?
//!
//! # A log is a chain of terms
//!
//! Every opening of a log is a *term*: an epoch and a random writer number. A term has *slots*, numbered from 0;
//! a slot is a name, and whoever creates it first has filled it for good. The term's writer fills its slots
//! in order, with records (`write`), up to `puts_in_flight` at a time. Whoever opens the log next creates a
//! *fence* in the first slot that is not filled (`open`); the fence names the next term. The records of the log
//! are those in each term's slots before its first fence, from the fence in slot 0 of a term that is nobody's
//! (`chain`). A hole ends a term for readers, because what lies behind it was never acknowledged.
//!
//! # Why nothing acknowledged is lost, and nothing lost is acknowledged
//!
//! - A put whose answer is an error is settled by reading the slot back: our header is there, or another
//!   object, or nothing and we try again with the same bytes. So a slot is settled as ours exactly if it is ours.
//! - Puts end in any order, but are settled in the order of their slots. An append in slot `n` is acknowledged
//!   when slots `0..=n` are all settled as ours. A fence in slot `f` is effective when slots `0..f` hold
//!   records. If an append in slot `n` is acknowledged, then `f > n`: the fence's owner reads it. If `f <= n`,
//!   slot `f` is never settled as ours, and neither `n` nor anything after it is acknowledged.
//!   Say `n`, `n + 1`, `n + 2` are in flight when the fence lands at `n + 1`: `n` is acknowledged and read, `n + 1`
//!   is refused, `n + 2` may exist, but lies behind the fence: it is neither acknowledged nor read.
//! - A term has one effective fence, and a fence names one term, so the chain does not branch: of two who
//!   open at the same time, one finds the slot taken and starts over. Epochs never decrease along the chain; who
//!   would make them is told it is fenced.
//! - Slots of records are deleted by truncation, and could then be filled again. What is then written there
//!   counts for nothing, as it lies before the beginning of the log, which `truncate` records first (an object
//!   `start/<lsn>`). A writer that retries a put there had it settled in truth: the slot had been filled, by it
//!   alone. An opener that puts its fence there sees the new beginning, which it looks for after the fence, and
//!   starts over. Fences are never deleted but with the whole log: each of them may have to stop a writer that
//!   wakes up after days. They are 128 bytes for each opening.
//!
//! # What is damage
//!
//! Every object says how many slots of its term were filled when it was made. A hole among these is an error
//! that names the object, as is a term with records that the chain does not reach, a wrong checksum, an object
//! under a wrong name, or a record out of order (`chain`, `format`, `read`).

mod bucket;
mod chain;
mod format;
mod handle;
mod objects;
mod open;
mod read;
mod truncate;
mod write;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::RngCore;
use rand::rngs::StdRng;
use redkite_runtime::{Tasks, chance, units};
use redkite_storage::ObjectStore;
use redkite_storage::layout::log::{LOGS, log_of, shard_of};
use redkite_types::{Epoch, ShardId};
use serde::{Deserialize, Serialize};

use crate::{Log, LogProvider, WalError};
use bucket::Bucket;
use handle::{Inner, ObjectLog};

/// How often a removal lists again for what a last put in flight may have left.
const REMOVALS: usize = 10;

/// How logs in the object store are written and read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectLogSettings {
    /// Bytes of records after which an object is put without waiting for more. An append is never divided,
    /// so a larger one makes a larger object.
    pub batch_bytes: usize,
    /// How long an append waits for others to share its object, while another put is in flight. Shorter:
    /// less latency; longer: fewer objects.
    #[serde(with = "units::millis")]
    pub max_delay: Duration,
    /// Objects on their way at the same time. More: throughput of small appends in spite of a slow store;
    /// fewer: less memory.
    pub puts_in_flight: usize,
    /// Objects read ahead at the same time, when a log is read: small ones take as long as the store answers.
    pub reads_in_flight: usize,
    /// Bytes read ahead at the same time, when a log is read. More: large objects come faster; fewer: less
    /// memory for each shard that is recovered.
    pub read_ahead_bytes: usize,
    /// How long an operation on the store is tried again before it counts as failed. A log whose put
    /// has failed must be opened anew.
    #[serde(with = "units::seconds")]
    pub retry_for: Duration,
}

impl Default for ObjectLogSettings {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            max_delay: Duration::from_millis(20),
            puts_in_flight: 8,
            reads_in_flight: 64,
            read_ahead_bytes: 16 << 20,
            retry_for: Duration::from_secs(60),
        }
    }
}

/// Logs in an object store, under `wal/`.
#[derive(Debug)]
pub struct ObjectLogs {
    store: Arc<dyn ObjectStore>,
    settings: ObjectLogSettings,
    tasks: Tasks,
    /// Draws the writers' numbers.
    writers: Mutex<StdRng>,
    /// The handle that may append, of each shard that was opened here. The async lock serialises openings.
    slots: Mutex<HashMap<ShardId, Holder>>,
}

type Holder = Arc<tokio::sync::Mutex<Weak<Inner>>>;

impl ObjectLogs {
    /// Logs in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, settings: ObjectLogSettings) -> Arc<Self> {
        Self::with_writers(store, settings, chance::generator())
    }

    /// The same, with writers' numbers from `writers`. Two providers must never draw the same.
    #[must_use]
    pub fn with_writers(
        store: Arc<dyn ObjectStore>,
        settings: ObjectLogSettings,
        writers: StdRng,
    ) -> Arc<Self> {
        let slots = Mutex::new(HashMap::new());
        Arc::new(Self { store, settings, tasks: Tasks::new("wal"), writers: Mutex::new(writers), slots })
    }

    fn bucket(&self, shard: ShardId) -> Bucket {
        Bucket { shard, store: self.store.clone(), retry_for: self.settings.retry_for }
    }

    fn holder(&self, shard: ShardId) -> Holder {
        self.slots.lock().entry(shard).or_default().clone()
    }
}

#[async_trait]
impl LogProvider for ObjectLogs {
    async fn open(&self, shard: ShardId, epoch: Epoch) -> Result<Arc<dyn Log>, WalError> {
        let holder = self.holder(shard);
        let mut holder = holder.lock().await;
        if let Some(earlier) = holder.upgrade() {
            let current = earlier.term.epoch;
            if epoch < current {
                return Err(WalError::Fenced { shard, epoch, current });
            }
            // The fence would stop it too, but not without a race for the slots.
            earlier.abandon(WalError::Fenced { shard, epoch: current, current: epoch });
        }
        let bucket = self.bucket(shard);
        let opened = open::take_over(&bucket, epoch, || self.writers.lock().next_u64()).await?;
        tracing::debug!(%shard, %epoch, objects = opened.chain.records.len(), "shard log opened");
        let inner = Inner::new(bucket, opened, self.settings.clone(), self.tasks.clone());
        *holder = Arc::downgrade(&inner);
        self.tasks.spawn("log-writer", |_| write::run(inner.clone()));
        inner.start_sweeping(Vec::new());
        Ok(Arc::new(ObjectLog(inner)))
    }

    async fn remove(&self, shard: ShardId) -> Result<(), WalError> {
        let holder = self.holder(shard);
        let holder = holder.lock().await;
        if let Some(open) = holder.upgrade() {
            open.abandon(WalError::Closed { shard });
            open.wait_until_ended().await;
        }
        self.slots.lock().remove(&shard);
        let bucket = self.bucket(shard);
        for _ in 0..REMOVALS {
            let objects = bucket.list(&log_of(shard)).await?;
            if objects.is_empty() {
                return Ok(());
            }
            let (_, error) = bucket.delete(objects.into_iter().map(|object| object.path).collect()).await;
            error.map_or(Ok(()), Err)?;
        }
        let error = io::Error::other("somebody still writes it");
        Err(WalError::io("remove", Path::new(&log_of(shard)), error))
    }

    async fn list(&self) -> Result<Vec<ShardId>, WalError> {
        let folders = bucket::folders(&*self.store, LOGS, self.settings.retry_for).await?;
        let mut shards: Vec<_> = folders.iter().filter_map(|folder| shard_of(folder)).collect();
        shards.sort_unstable();
        Ok(shards)
    }
}
