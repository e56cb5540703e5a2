//! Telling the metastore which shards are served here.
//!
//! Statuses are collected and written many to a transaction: at a start there are thousands. They stand
//! under the process's lease; when that is replaced, all are written again. Each is only written while
//! the assignment is the one it acts on: a node that wakes up late does not speak over the next leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_catalog::{Record, ShardAssignment, ShardStatus};
use redkite_cluster::kv::{Compare, KvError, LeaseId, Txn};
use redkite_runtime::{Backoff, Stopping};
use redkite_types::{NodeId, ShardId};
use tokio::sync::Notify;
use tracing::warn;

use crate::Environment;
use crate::shard::Leadership;

/// Statuses written by one transaction; it takes 128 operations.
const PART: usize = 100;

/// What should be reported.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    statuses: BTreeMap<ShardId, Claimed>,
    /// Statuses to be written.
    dirty: BTreeSet<ShardId>,
    /// Statuses to be taken back.
    gone: BTreeMap<ShardId, ShardStatus>,
}

/// A status, and the assignment it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claimed {
    status: ShardStatus,
    leadership: Leadership,
}

impl Reports {
    /// The shard is served.
    pub(crate) fn serving(&self, shard: ShardId, node: NodeId, leadership: Leadership) {
        let status = ShardStatus { node, epoch: leadership.epoch };
        let mut wanted = self.wanted.lock();
        wanted.gone.remove(&shard);
        wanted.statuses.insert(shard, Claimed { status, leadership });
        wanted.dirty.insert(shard);
        self.changed.notify_one();
    }

    /// The shard is not served any more.
    pub(crate) fn stopped(&self, shard: ShardId) {
        let mut wanted = self.wanted.lock();
        if let Some(claimed) = wanted.statuses.remove(&shard) {
            wanted.dirty.remove(&shard);
            wanted.gone.insert(shard, claimed.status);
            self.changed.notify_one();
        }
    }

    /// The shard is not served any more under this assignment.
    pub(crate) fn withdrawn(&self, shard: ShardId, leadership: Leadership) {
        let reported =
            self.wanted.lock().statuses.get(&shard).is_some_and(|claimed| claimed.leadership == leadership);
        if reported {
            self.stopped(shard);
        }
    }

    /// Writes what is wanted until stopped.
    pub(crate) async fn run(self: Arc<Self>, node: Arc<Environment>, stopping: Stopping) {
        let mut lease = node.lease.clone();
        // What was written under another lease is gone with it.
        let mut written_under = None;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let held = lease.as_mut().map(|lease| *lease.borrow_and_update());
            if held != written_under {
                self.all_again();
                written_under = held;
            }
            let outcome = match held {
                // The session is being registered anew: what was reported is gone.
                Some(None) => Ok(()),
                Some(Some(lease)) => self.write(&node, Some(lease)).await,
                None => self.write(&node, None).await,
            };
            let idle = async {
                match (&outcome, &mut lease) {
                    (Err(_), _) => backoff.wait().await,
                    (Ok(()), None) => self.changed.notified().await,
                    (Ok(()), Some(lease)) => tokio::select! {
                        biased;
                        () = self.changed.notified() => {}
                        Ok(()) = lease.changed() => {}
                    },
                }
            };
            if stopping.race(idle).await.is_none() {
                return;
            }
            match outcome {
                Ok(()) => backoff.reset(),
                Err(error) => warn!(%error, "shard statuses not reported"),
            }
        }
    }

    fn all_again(&self) {
        let mut wanted = self.wanted.lock();
        let all: Vec<ShardId> = wanted.statuses.keys().copied().collect();
        wanted.dirty.extend(all);
    }

    async fn write(&self, node: &Environment, lease: Option<LeaseId>) -> Result<(), KvError> {
        loop {
            let part: Vec<(ShardId, Claimed)> = {
                let wanted = self.wanted.lock();
                let claimed = |shard: &ShardId| Some((*shard, wanted.statuses.get(shard)?.clone()));
                wanted.dirty.iter().filter_map(claimed).take(PART).collect()
            };
            if part.is_empty() {
                return self.take_back(node).await;
            }
            if !put(node, lease, &part).await? && part.len() > 1 {
                // One of the assignments has changed: the others are still good.
                for one in part.chunks(1) {
                    put(node, lease, one).await?;
                }
            }
            let mut wanted = self.wanted.lock();
            for (shard, claimed) in part {
                if wanted.statuses.get(&shard) == Some(&claimed) {
                    wanted.dirty.remove(&shard);
                }
            }
        }
    }

    /// Deletes what was reported, unless the next leader reports already.
    async fn take_back(&self, node: &Environment) -> Result<(), KvError> {
        loop {
            let gone =
                self.wanted.lock().gone.first_key_value().map(|(shard, status)| (*shard, status.clone()));
            let Some((shard, status)) = gone else { return Ok(()) };
            let key = ShardStatus::key(&shard);
            node.kv.txn(Txn::new().when(Compare::value(&*key, status.encode())).delete(&*key)).await?;
            self.wanted.lock().gone.remove(&shard);
        }
    }
}

/// Writes statuses; `false` if an assignment is not what it was.
async fn put(
    node: &Environment,
    lease: Option<LeaseId>,
    part: &[(ShardId, Claimed)],
) -> Result<bool, KvError> {
    let txn = part.iter().fold(Txn::new(), |txn, (shard, Claimed { status, leadership })| {
        let txn = txn.when(Compare::mod_revision(ShardAssignment::key(shard), leadership.revision));
        match lease {
            Some(lease) => txn.put_leased(ShardStatus::key(shard), status.encode(), lease),
            None => txn.put(ShardStatus::key(shard), status.encode()),
        }
    });
    Ok(node.kv.txn(txn).await?.committed)
}
