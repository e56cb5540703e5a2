//! etcd, as one process reaches it.
//!
//! As the real client does: what may be repeated is, until the deadline; of what must happen once it is told that
//! nobody knows. A request that was sent lands, also if who sent it is gone or has given up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use redkite_cluster::KvError;
use redkite_cluster::kv::{KeyValue, Kv, LeaseId, RangeResult, Txn, TxnOutcome, Watch, WatchBatch};
use redkite_types::Revision;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Etcd;
use super::store::Store;
use crate::weather::{Fate, Place};

pub(super) type Outcome = Result<TxnOutcome, KvError>;

/// How long a call may take, as of the real client.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries of what may be repeated.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Client {
    etcd: Arc<Etcd>,
    place: Place,
}

/// Why there is no answer.
enum Silence {
    /// Nothing was sent.
    Unsent,
    /// It may have been done, or be done yet.
    Unknown,
}

impl From<Silence> for KvError {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Unsent => Self::Unavailable { source: "out of reach".into() },
            Silence::Unknown => Self::Unknown { source: "no answer".into() },
        }
    }
}

impl Client {
    pub(super) fn new(etcd: Arc<Etcd>, place: Place) -> Self {
        Self { etcd, place }
    }

    /// Has something done once.
    async fn once<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Etcd) -> T + Send + 'static,
    ) -> Result<T, Silence> {
        let weather = &self.etcd.weather;
        let reached = timeout_at(deadline, weather.until_open(self.place, Place::ETCD)).await;
        if reached.is_err() {
            return Err(Silence::Unsent);
        }
        let Fate { there, back, request_lost, answer_lost } = weather.fate();
        let (done, answer) = oneshot::channel();
        let (etcd, place) = (self.etcd.clone(), self.place);
        self.etcd.process.spawn(async move {
            sleep(there).await;
            etcd.weather.until_open(place, Place::ETCD).await;
            etcd.answering().await;
            if !request_lost {
                // Who asked may be gone.
                let _ = done.send(work(&etcd));
            }
        });
        let answered = async {
            let answer = answer.await.map_err(|_| Silence::Unknown)?;
            sleep(back).await;
            weather.until_open(Place::ETCD, self.place).await;
            if answer_lost { Err(Silence::Unknown) } else { Ok(answer) }
        };
        match timeout_at(deadline, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(Silence::Unknown),
        }
    }

    /// Has something done that may be done more than once.
    async fn repeatedly<T: Send + 'static>(
        &self,
        work: impl Fn(&Etcd) -> T + Clone + Send + 'static,
    ) -> Result<T, KvError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.once(deadline, work.clone()).await {
                Ok(done) => return Ok(done),
                Err(_) if Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                Err(_) => return Err(KvError::Unavailable { source: "no answer in time".into() }),
            }
        }
    }
}

#[async_trait]
impl Kv for Client {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError> {
        let key = key.to_owned();
        self.repeatedly(move |etcd| etcd.store.lock().get(&key)).await
    }

    async fn range(&self, prefix: &str) -> Result<RangeResult, KvError> {
        let prefix = prefix.to_owned();
        self.repeatedly(move |etcd| etcd.store.lock().range(&prefix)).await
    }

    async fn txn(&self, txn: Txn) -> Outcome {
        txn.check()?;
        let place = self.place;
        if txn.then.is_empty() {
            return self.repeatedly(move |etcd| etcd.store.lock().txn(&txn)).await?;
        }
        self.once(Instant::now() + PATIENCE, move |etcd| etcd.apply(place, &txn)).await?
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, KvError> {
        self.repeatedly(move |etcd| etcd.store.lock().check_watch(from)).await??;
        let follower = Follower {
            tip: self.etcd.tip.subscribe(),
            etcd: self.etcd.clone(),
            place: self.place,
            prefix: prefix.to_owned(),
            next: from.0,
        };
        Ok(Watch::new(stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            let batch = follower.next().await;
            let follower = batch.is_ok().then_some(follower);
            Some((batch, follower))
        })))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, KvError> {
        self.repeatedly(move |etcd| etcd.change(|store| store.grant(ttl))).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.repeatedly(move |etcd| etcd.change(|store| store.keep_alive(lease))).await?
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), KvError> {
        let place = self.place;
        self.repeatedly(move |etcd| {
            etcd.trace.note(format_args!("etcd {place} revokes lease {lease}"));
            etcd.change(|store: &mut Store| store.revoke(lease))
        })
        .await?
    }
}

/// A running watch.
struct Follower {
    etcd: Arc<Etcd>,
    place: Place,
    prefix: String,
    next: i64,
    tip: watch::Receiver<Revision>,
}

impl Follower {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        loop {
            self.tip.mark_unchanged();
            let found = self.etcd.store.lock().scan(&self.prefix, self.next)?;
            if let Some((batch, since)) = found {
                sleep_until(since + self.etcd.weather.lag()).await;
                self.etcd.weather.until_open(Place::ETCD, self.place).await;
                self.etcd.answering().await;
                self.next = batch.revision.0 + 1;
                return Ok(batch);
            }
            self.tip.changed().await.map_err(|_| KvError::Closed)?;
        }
    }
}
