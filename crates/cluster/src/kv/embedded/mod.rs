//! How does one process keep the laws of [`Kv`] with nothing else installed?
//!
//! Entries live in a redb file. A single committer takes transactions from a queue, applies as
//! many as wait in one durable commit, tells the history and answers. Reads take snapshots of the file
//! beside it. The history of changes for watches and the leases live in memory: both end with the
//! process, as does everybody who could use them.

mod committer;
mod database;
mod heal;
mod history;
mod leases;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use redkite_runtime::{Tasks, blocking};
use redkite_types::Revision;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{KeyValue, Kv, KvError, LeaseId, RangeResult, Txn, TxnOutcome, Watch};
use committer::{Committer, Request};
use database::{Database, Opening};
use history::History;
use leases::Leases;

/// How the embedded metastore trades memory for convenience.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Bytes of pages kept in memory.
    pub cache_bytes: usize,
    /// Bytes of past changes kept for watches; a follower further behind lists again.
    pub history_bytes: usize,
    /// Revisions of past changes kept for watches.
    pub history_revisions: usize,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, history_bytes: 32 << 20, history_revisions: 100_000 }
    }
}

/// How many requests may wait for the committer before callers wait too.
const QUEUE: usize = 1024;

/// A metastore in one file, for one process.
#[derive(Debug)]
pub struct EmbeddedKv {
    shared: Arc<Shared>,
    requests: RwLock<Option<mpsc::Sender<Request>>>,
    committing: Tasks,
}

/// What reads, the committer and the lease clock have in common.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    cache_bytes: usize,
    /// Held for reading by whoever uses the database, so that closing waits for them.
    database: RwLock<Slot>,
    history: Arc<History>,
    leases: Arc<Leases>,
}

/// The database, or why there is none.
#[derive(Debug)]
enum Slot {
    Open(Database),
    /// It could not be opened again after a failure.
    Broken {
        cause: String,
        disk_full: bool,
    },
    Closed,
}

impl Slot {
    fn broken_by(error: &KvError) -> Self {
        Self::Broken { cause: error.cause(), disk_full: error.disk_full() }
    }
}

impl Shared {
    fn with_database<T>(&self, work: impl FnOnce(&Database) -> Result<T, KvError>) -> Result<T, KvError> {
        match &*self.database.read() {
            Slot::Open(database) => work(database),
            Slot::Broken { cause, disk_full } => Err(KvError::Storage {
                path: self.path.clone(),
                source: cause.clone().into(),
                maybe_applied: false,
                disk_full: *disk_full,
            }),
            Slot::Closed => Err(KvError::Closed),
        }
    }
}

impl EmbeddedKv {
    /// Opens the store in the file at `path`, creating it and its directory if needed. Every lease of
    /// an earlier run has ended: keys under leases are deleted.
    ///
    /// # Errors
    /// [`KvError::InUse`], [`KvError::Corrupt`], [`KvError::Format`] or [`KvError::Storage`], each with the path.
    pub async fn open(path: &Path, settings: &EmbeddedSettings, tasks: &Tasks) -> Result<Arc<Self>, KvError> {
        let (file, cache) = (path.to_owned(), settings.cache_bytes);
        let (database, opening) = blocking(move || Database::open(&file, cache)).await?;
        Ok(Self::start(path, database, opening, settings, tasks))
    }

    fn start(
        path: &Path,
        database: Database,
        opening: Opening,
        settings: &EmbeddedSettings,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let history =
            Arc::new(History::new(opening.revision, settings.history_bytes, settings.history_revisions));
        let leases = Arc::new(Leases::new(opening.boot));
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            cache_bytes: settings.cache_bytes,
            database: RwLock::new(Slot::Open(database)),
            history,
            leases: leases.clone(),
        });
        let (requests, queue) = mpsc::channel(QUEUE);
        // Tasks of its own: others may write until they have stopped, so this one ends with the last of them.
        let committing = Tasks::new("metastore");
        let committer = Committer::new(shared.clone(), opening.revision);
        committing.spawn("commit", |_| committer.run(queue));
        tasks.spawn("lease-expiry", {
            let requests = requests.downgrade();
            move |stopping| leases::expire(leases, requests, stopping)
        });
        Arc::new(Self { shared, requests: RwLock::new(Some(requests)), committing })
    }

    /// Finishes what is queued and releases the file. Later calls fail with [`KvError::Closed`];
    /// watches end.
    pub async fn close(&self) {
        self.requests.write().take();
        self.shared.leases.close();
        self.committing.stop(Duration::MAX).await;
        self.shared.history.close();
        let shared = self.shared.clone();
        blocking(move || *shared.database.write() = Slot::Closed).await;
    }

    /// Forgets the history up to and including `through`: watches from there are refused as compacted.
    pub fn compact(&self, through: Revision) {
        self.shared.history.forget(through);
    }

    async fn request(
        &self,
        make: impl FnOnce(committer::Reply) -> Request + Send,
    ) -> Result<TxnOutcome, KvError> {
        let (reply, outcome) = oneshot::channel();
        let requests = self.requests.read().clone().ok_or(KvError::Closed)?;
        requests.send(make(reply)).await.map_err(|_| KvError::Closed)?;
        drop(requests);
        outcome.await.unwrap_or_else(|_| {
            Err(KvError::Storage {
                path: self.shared.path.clone(),
                source: "committer ended".into(),
                maybe_applied: true,
                disk_full: false,
            })
        })
    }
}

impl Drop for EmbeddedKv {
    fn drop(&mut self) {
        self.shared.leases.close();
        self.shared.history.close();
    }
}

#[async_trait]
impl Kv for EmbeddedKv {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError> {
        // One descent in a cached tree: cheaper than changing threads.
        self.shared.with_database(|database| database.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<RangeResult, KvError> {
        let (shared, prefix) = (self.shared.clone(), prefix.to_owned());
        blocking(move || shared.with_database(|database| database.range(&prefix))).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, KvError> {
        txn.check()?;
        self.request(|reply| Request::Txn { txn, reply }).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, KvError> {
        self.shared.history.clone().watch(prefix.to_owned(), from)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, KvError> {
        self.shared.leases.grant(ttl)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.shared.leases.keep_alive(lease)
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), KvError> {
        self.shared.leases.remove(lease)?;
        self.request(|reply| Request::EndLease { lease, reply: Some(reply) }).await?;
        Ok(())
    }
}
