//! Which nodes can be given something to do?

use std::collections::BTreeSet;
use std::sync::Arc;

use redkite_types::NodeId;
use tokio::sync::watch;

/// The nodes of a moment, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    /// Streaming nodes.
    pub streaming: BTreeSet<NodeId>,
    /// Query nodes.
    pub query: BTreeSet<NodeId>,
    /// Data nodes.
    pub data: BTreeSet<NodeId>,
}

/// Knows the nodes that are alive.
pub trait LiveNodes: Send + Sync + 'static {
    /// The nodes as they are, and as they change.
    fn watch(&self) -> watch::Receiver<Arc<NodeSet>>;
}

/// Nodes that are named at the start and never change: a process with all roles.
#[derive(Debug)]
pub struct StaticNodes(watch::Sender<Arc<NodeSet>>);

impl StaticNodes {
    /// These nodes.
    #[must_use]
    pub fn new(nodes: NodeSet) -> Self {
        Self(watch::Sender::new(Arc::new(nodes)))
    }

    /// One node with every role.
    #[must_use]
    pub fn standalone(node: NodeId) -> Self {
        let one = BTreeSet::from([node]);
        Self::new(NodeSet { streaming: one.clone(), query: one.clone(), data: one })
    }

    /// Replaces the nodes; for tests.
    pub fn set(&self, nodes: NodeSet) {
        self.0.send_replace(Arc::new(nodes));
    }
}

impl LiveNodes for StaticNodes {
    fn watch(&self) -> watch::Receiver<Arc<NodeSet>> {
        self.0.subscribe()
    }
}
