//! A metastore that fails on demand, for tests of what stands on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use redkite_runtime::Tasks;
use redkite_types::Revision;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::kv::{
    EmbeddedKv, EmbeddedSettings, KeyValue, Kv, KvError, LeaseId, RangeResult, Txn, TxnOutcome, Watch,
};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    /// Every call fails without effect.
    Refuse,
    /// No call returns.
    Hang,
    /// So many transactions are applied, but say that the answer was lost.
    LoseAnswers(u32),
}

pub(crate) struct Unreliable {
    inner: Arc<EmbeddedKv>,
    trouble: watch::Sender<Trouble>,
    left: Mutex<u32>,
    broken: watch::Sender<()>,
}

impl Unreliable {
    /// Over a new store in a temporary directory.
    pub(crate) async fn start() -> (Arc<Self>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.redb");
        let store = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &Tasks::new("test")).await;
        (Self::over(store.unwrap()), directory)
    }

    pub(crate) fn over(inner: Arc<EmbeddedKv>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            trouble: watch::Sender::new(Trouble::None),
            left: Mutex::new(0),
            broken: watch::Sender::new(()),
        })
    }

    /// The store without trouble.
    pub(crate) fn inner(&self) -> &Arc<EmbeddedKv> {
        &self.inner
    }

    pub(crate) fn set(&self, trouble: Trouble) {
        if let Trouble::LoseAnswers(count) = trouble {
            *self.left.lock() = count;
        }
        self.trouble.send_replace(trouble);
    }

    /// Ends all watches with an error.
    pub(crate) fn break_watches(&self) {
        self.broken.send_replace(());
    }

    async fn enter(&self) -> Result<(), KvError> {
        let mut trouble = self.trouble.subscribe();
        let now = *trouble.wait_for(|trouble| *trouble != Trouble::Hang).await.unwrap();
        match now {
            Trouble::Refuse => Err(KvError::Unavailable { source: "refused by the test".into() }),
            _ => Ok(()),
        }
    }

    fn loses_answer(&self) -> bool {
        let mut left = self.left.lock();
        let lost = *left > 0;
        *left = left.saturating_sub(1);
        lost
    }
}

#[async_trait]
impl Kv for Unreliable {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError> {
        self.enter().await?;
        self.inner.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<RangeResult, KvError> {
        self.enter().await?;
        self.inner.range(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, KvError> {
        self.enter().await?;
        let outcome = self.inner.txn(txn).await?;
        if self.loses_answer() {
            return Err(KvError::Unknown { source: "lost by the test".into() });
        }
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, KvError> {
        self.enter().await?;
        let mut broken = self.broken.subscribe();
        let watch = self.inner.watch(prefix, from).await?;
        let breaks = async move {
            // An error means that the store is gone, which breaks a watch too.
            let _ = broken.changed().await;
            Err(KvError::Unavailable { source: "broken by the test".into() })
        };
        Ok(Watch::new(stream::select(watch, stream::once(breaks))))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, KvError> {
        self.enter().await?;
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.enter().await?;
        self.inner.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), KvError> {
        self.enter().await?;
        self.inner.revoke_lease(lease).await
    }
}
