//! Which query nodes have all deletes?
//!
//! Every node that holds, should hold or serves segments of the collection gets every delete before
//! readers can see it. A node that does not answer is taken out of the writer's way: it is *behind*,
//! a task of its own sends it what it has missed, and reads of it wait until it has caught up.
//!
//! A delete is put into the buffer before the nodes to send it to are looked up, both under the
//! leader's lock. So a node that appears later (it is being given segments) finds the delete in the
//! buffer when it asks for what it has missed, and one that appeared before is sent it.
//!
//! What a node has that is new to the leader is not known: it may have lost its segments and got them
//! again before it saw either, and the leader before may have died before it had sent everything. So it
//! begins behind, and every batch says after which delete it begins: a node that lacks an earlier one
//! notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redkite_runtime::{Backoff, Stopping};
use redkite_service::{Delete, DeleteBatch, Error as ServiceError};
use redkite_types::{NodeId, Timestamp};
use tracing::{info, warn};

use super::ShardLeader;

/// How far each node is.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    feeds: BTreeMap<NodeId, Feed>,
    /// Nodes that a task is catching up with: one a node, so that batches go out in order.
    chased: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    Current,
    Behind {
        delivered: Timestamp,
    },
    /// Behind, who knows how far: it has not said yet that it lacks nothing of what is in files.
    Unheard {
        in_files: Timestamp,
    },
    /// The same, and nobody is catching up with it yet.
    New {
        in_files: Timestamp,
    },
}

impl Feed {
    /// After which delete the next batch begins, if the node has not got all of them.
    fn next_after(self) -> Option<Timestamp> {
        match self {
            Self::Current => None,
            Self::Behind { delivered } => Some(delivered),
            Self::Unheard { in_files } | Self::New { in_files } => Some(in_files),
        }
    }

    /// Whether the node surely has all deletes up to a timestamp.
    fn has(self, timestamp: Timestamp) -> bool {
        match self {
            Self::Current => true,
            Self::Behind { delivered } => delivered >= timestamp,
            Self::Unheard { .. } | Self::New { .. } => false,
        }
    }
}

impl Feeds {
    /// Forgets other nodes. New ones are behind: they get what is not in files yet, and look into the
    /// files themselves.
    pub(crate) fn keep(&mut self, nodes: &BTreeSet<NodeId>, in_files: Timestamp) {
        self.feeds.retain(|node, _| nodes.contains(node));
        nodes.iter().for_each(|node| {
            self.feeds.entry(*node).or_insert(Feed::New { in_files });
        });
    }

    /// Takes new nodes as behind; whoever asks starts catching up with them.
    fn take_new(&mut self) -> Vec<NodeId> {
        let mut new = Vec::new();
        for (node, feed) in &mut self.feeds {
            if let Feed::New { in_files } = *feed {
                *feed = Feed::Unheard { in_files };
                new.push(*node);
            }
        }
        new
    }

    /// Timestamp up to which even the last node has all deletes; `None` if none is behind.
    pub(crate) fn behind(&self) -> Option<Timestamp> {
        self.feeds.values().filter_map(|feed| feed.next_after()).min()
    }

    /// Whether a node has all deletes up to a timestamp. One that is not fed has not.
    pub(crate) fn has(&self, node: NodeId, timestamp: Timestamp) -> bool {
        self.feeds.get(&node).is_some_and(|feed| feed.has(timestamp))
    }

    fn current(&self) -> Vec<NodeId> {
        let current = self.feeds.iter().filter(|(_, feed)| **feed == Feed::Current);
        current.map(|(node, _)| *node).collect()
    }

    fn next_after(&self, node: NodeId) -> Option<Timestamp> {
        self.feeds.get(&node).and_then(|feed| feed.next_after())
    }

    /// Notes up to where a node has said that it has all deletes, and whether those are all there are.
    fn took(&mut self, node: NodeId, delivered: Timestamp, all: bool) {
        if let Some(feed) = self.feeds.get_mut(&node) {
            *feed = if all { Feed::Current } else { Feed::Behind { delivered } };
        }
        if all {
            self.chased.remove(&node);
        }
    }
}

impl ShardLeader {
    /// Takes deletes into the buffer and to every node; returns when all have them or are behind.
    pub(super) async fn deliver(self: &Arc<Self>, deletes: Vec<Arc<Delete>>) {
        let Some(last) = deletes.last() else { return };
        let through = last.timestamp;
        let (batch, nodes, before) = {
            let mut state = self.state.lock();
            let batch = DeleteBatch { after: state.deletes.newest(), deletes, through };
            batch.deletes.iter().for_each(|delete| state.deletes.push(delete.clone()));
            (batch, state.feeds.current(), state.applied)
        };
        // Nobody waits for a node that did not answer lately.
        let (suspects, nodes): (Vec<_>, Vec<_>) = {
            let health = self.health.lock();
            nodes.into_iter().partition(|node| health.is_suspect(*node))
        };
        suspects.into_iter().for_each(|node| self.fall_behind(node, before));
        let patience = self.node.settings.delete_patience;
        let send = |node: NodeId| {
            let batch = batch.clone();
            async move {
                let sent = tokio::select! {
                    biased;
                    sent = self.send(node, batch, patience) => sent,
                    () = self.until_suspect(node) => {
                        Err(ServiceError::Timeout { what: format!("deletes to node {node}, which is silent") })
                    }
                };
                (node, sent)
            }
        };
        for (node, outcome) in join_all(nodes.into_iter().map(send)).await {
            if let Err(error) = outcome {
                warn!(shard = %self.id, node = node.0, %error, "query node did not take deletes");
                self.fall_behind(node, before);
            }
        }
    }

    /// Begins to feed nodes as they come.
    pub(super) async fn feed_new_receivers(self: Arc<Self>, stopping: Stopping) {
        loop {
            let new = self.state.lock().feeds.take_new();
            new.into_iter().for_each(|node| self.start_catching_up(node));
            if stopping.race(self.new_receivers.notified()).await.is_none() {
                return;
            }
        }
    }

    pub(super) async fn send(
        &self,
        node: NodeId,
        batch: DeleteBatch,
        patience: Duration,
    ) -> Result<(), ServiceError> {
        let send = async { self.node.segments.node(node).await?.apply_deletes(self.id, batch).await };
        match tokio::time::timeout(patience, send).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ServiceError::Timeout { what: format!("deletes to node {node}") }),
        }
    }

    fn fall_behind(self: &Arc<Self>, node: NodeId, delivered: Timestamp) {
        let known = match self.state.lock().feeds.feeds.get_mut(&node) {
            Some(feed) => {
                *feed = Feed::Behind { delivered };
                true
            }
            None => false,
        };
        if known {
            self.start_catching_up(node);
        }
    }

    fn start_catching_up(self: &Arc<Self>, node: NodeId) {
        // Whoever is at it already goes on with what is missing now.
        if self.state.lock().feeds.chased.insert(node) {
            let shard = self.clone();
            self.tasks.spawn("deletes-catch-up", move |stopping| shard.catch_up(node, stopping));
        }
    }

    async fn catch_up(self: Arc<Self>, node: NodeId, stopping: Stopping) {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
        loop {
            let batch = {
                let mut state = self.state.lock();
                let Some(after) = state.feeds.next_after(node) else {
                    state.feeds.chased.remove(&node);
                    return;
                };
                state.deletes.after(after)
            };
            let through = batch.through;
            let Some(outcome) =
                stopping.race(self.send(node, batch, self.node.settings.delete_patience)).await
            else {
                return;
            };
            match outcome {
                Ok(()) if self.caught_up(node, through) => {
                    info!(shard = %self.id, node = node.0, "query node has all deletes again");
                    return;
                }
                Ok(()) => backoff.reset(),
                Err(error) => {
                    warn!(shard = %self.id, node = node.0, %error, "query node is behind with deletes");
                    if stopping.race(backoff.wait()).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Notes what a node behind has got; whether that is everything.
    fn caught_up(&self, node: NodeId, delivered: Timestamp) -> bool {
        let current = {
            let mut state = self.state.lock();
            let current = state.deletes.after(delivered).deletes.is_empty();
            state.feeds.took(node, delivered, current);
            state.trim_deletes();
            current
        };
        self.changed();
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);

    /// It may be back after a long silence, with segments that lack deletes which were put into files meanwhile.
    #[test]
    fn a_new_node_has_nothing_for_sure_until_it_says_so() {
        let mut feeds = Feeds::default();
        feeds.keep(&[NODE].into(), Timestamp(10));
        assert!(!feeds.has(NODE, Timestamp(1)));
        assert_eq!((feeds.take_new(), feeds.take_new()), (vec![NODE], vec![]));
        assert!(!feeds.has(NODE, Timestamp(1)));
        assert_eq!((feeds.next_after(NODE), feeds.behind()), (Some(Timestamp(10)), Some(Timestamp(10))));
        feeds.took(NODE, Timestamp(12), false);
        assert!(feeds.has(NODE, Timestamp(12)) && !feeds.has(NODE, Timestamp(13)));
        feeds.took(NODE, Timestamp(20), true);
        assert!(feeds.has(NODE, Timestamp(30)));
        feeds.keep(&BTreeSet::new(), Timestamp(20));
        assert!(!feeds.has(NODE, Timestamp(1)));
    }
}
