//! Which replica should a read ask?
//!
//! The one with the fewest reads on their way, in turns. A query node that failed, or did not answer in
//! time, is suspect: its replica is asked only if no other can answer, and the node is probed until it
//! answers again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use redkite_runtime::{Backoff, Stopping};
use redkite_service::DeleteBatch;
use redkite_types::{NodeId, ReplicaId, Timestamp};
use tracing::{info, warn};

use super::ShardLeader;

/// How long a probe waits for its answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// What a leader knows of the replicas' health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    suspects: BTreeSet<NodeId>,
    /// Reads on their way.
    reading: BTreeMap<ReplicaId, usize>,
    /// The replica that was chosen last.
    last: ReplicaId,
}

impl Health {
    pub(crate) fn is_suspect(&self, node: NodeId) -> bool {
        self.suspects.contains(&node)
    }

    /// The place of a replica in the choice; the least is best.
    pub(crate) fn rank(&self, replica: ReplicaId) -> (usize, bool, ReplicaId) {
        (self.reading.get(&replica).copied().unwrap_or(0), replica <= self.last, replica)
    }
}

/// A read on its way.
pub(super) struct Reading<'a> {
    health: &'a Mutex<Health>,
    replica: ReplicaId,
}

impl<'a> Reading<'a> {
    pub(super) fn begin(health: &'a Mutex<Health>, replica: ReplicaId) -> Self {
        let mut present = health.lock();
        *present.reading.entry(replica).or_default() += 1;
        present.last = replica;
        Self { health, replica }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut health = self.health.lock();
        if let Some(count) = health.reading.get_mut(&self.replica) {
            *count -= 1;
            if *count == 0 {
                health.reading.remove(&self.replica);
            }
        }
    }
}

impl ShardLeader {
    /// Avoids a node until it answers a probe.
    pub(super) fn suspect(&self, node: NodeId, why: &dyn std::fmt::Display) {
        if self.health.lock().suspects.insert(node) {
            warn!(shard = %self.id, node = node.0, %why, "query node is avoided");
            metrics::counter!("redkite_shard_suspected_query_nodes_total").increment(1);
            self.suspected.notify_one();
            self.changed();
        }
    }

    /// Waits until a node is suspect.
    pub(super) async fn until_suspect(&self, node: NodeId) {
        let mut changes = self.changes.subscribe();
        while !self.health.lock().is_suspect(node) {
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Asks suspect nodes until they answer or are not needed any more.
    pub(super) async fn probe_suspects(self: Arc<Self>, stopping: Stopping) {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            let suspects = self.suspects();
            let wait = async {
                if suspects.is_empty() {
                    self.suspected.notified().await;
                    backoff.reset();
                } else {
                    self.probe(suspects).await;
                    backoff.wait().await;
                }
            };
            if stopping.race(wait).await.is_none() {
                return;
            }
        }
    }

    /// The suspect nodes that the route still needs; others are forgotten.
    fn suspects(&self) -> BTreeSet<NodeId> {
        let route = self.state.lock().route.clone();
        let mut health = self.health.lock();
        health.suspects.retain(|node| route.receivers.contains(node));
        health.suspects.clone()
    }

    async fn probe(&self, suspects: BTreeSet<NodeId>) {
        // Says nothing about deletes, so it is taken at any time; but it must be answered.
        let nothing = DeleteBatch { after: Timestamp::ZERO, deletes: Vec::new(), through: Timestamp::ZERO };
        let probes = suspects.into_iter().map(|node| {
            let nothing = nothing.clone();
            async move { (node, self.send(node, nothing, PROBE_PATIENCE).await) }
        });
        for (node, outcome) in join_all(probes).await {
            if outcome.is_ok() && self.health.lock().suspects.remove(&node) {
                info!(shard = %self.id, node = node.0, "query node answers again");
                self.changed();
            }
        }
    }
}
