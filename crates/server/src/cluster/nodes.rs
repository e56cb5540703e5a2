//! Which nodes are alive? Those that have a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use redkite_cluster::sessions::{Peer, Sessions, SessionsView};
use redkite_coordinator::LiveNodes;
use redkite_coordinator::nodes::{LiveNode, NodeSet};
use redkite_proxy::{NodeAddress, Nodes};
use redkite_runtime::Tasks;
use redkite_types::NodeId;
use tokio::sync::watch;

use super::Role;

/// The nodes with a session.
pub(super) struct SessionNodes(watch::Receiver<Arc<NodeSet>>);

impl SessionNodes {
    pub(super) fn start(sessions: &SessionsView, tasks: &Tasks) -> Arc<Self> {
        let mut changes = sessions.watch();
        let first = node_set(&changes.borrow_and_update());
        let (sender, receiver) = watch::channel(Arc::new(first));
        tasks.spawn("live-nodes", |stopping| async move {
            while let Some(Ok(())) = stopping.race(changes.changed()).await {
                let next = node_set(&changes.borrow_and_update());
                // Coordinators come and go too: that is no change here.
                sender.send_if_modified(|present| {
                    let changed = **present != next;
                    if changed {
                        *present = Arc::new(next);
                    }
                    changed
                });
            }
        });
        Arc::new(Self(receiver))
    }
}

fn node_set(sessions: &Sessions) -> NodeSet {
    let of = |role: Role| {
        let live =
            |peer: &Peer| LiveNode { stopping: peer.info.stopping, labels: peer.info.server_labels.clone() };
        sessions.nodes(role.name()).map(|(node, peer)| (node, live(peer))).collect()
    };
    NodeSet { streaming: of(Role::StreamingNode), query: of(Role::QueryNode), data: of(Role::DataNode) }
}

impl LiveNodes for SessionNodes {
    fn watch(&self) -> watch::Receiver<Arc<NodeSet>> {
        self.0.clone()
    }
}

/// The addresses of nodes with a session.
pub(super) struct SessionAddresses(pub(super) SessionsView);

impl Nodes for SessionAddresses {
    fn address(&self, node: NodeId) -> Option<NodeAddress> {
        let sessions = self.0.current();
        let nodes = [Role::QueryNode, Role::StreamingNode, Role::DataNode].map(Role::name);
        let peer = nodes.into_iter().find_map(|role| sessions.node(role, node))?;
        Some(NodeAddress { address: peer.info.address.clone(), host: peer.info.host_name.clone() })
    }

    fn open_query_nodes(&self) -> BTreeSet<NodeId> {
        let sessions = self.0.current();
        let nodes = sessions.nodes(Role::QueryNode.name());
        nodes.filter(|(_, peer)| !peer.info.stopping).map(|(node, _)| node).collect()
    }
}

/// The query nodes with a session, as they change.
pub(super) fn query_nodes(sessions: &SessionsView, tasks: &Tasks) -> watch::Receiver<Arc<BTreeSet<NodeId>>> {
    fn of(sessions: &Sessions) -> BTreeSet<NodeId> {
        sessions.nodes(Role::QueryNode.name()).map(|(node, _)| node).collect()
    }

    let mut changes = sessions.watch();
    let (sender, receiver) = watch::channel(Arc::new(of(&changes.borrow_and_update())));
    tasks.spawn("living-query-nodes", |stopping| async move {
        while let Some(Ok(())) = stopping.race(changes.changed()).await {
            let next = of(&changes.borrow_and_update());
            sender.send_if_modified(|present| {
                let changed = **present != next;
                if changed {
                    *present = Arc::new(next);
                }
                changed
            });
        }
    });
    receiver
}
