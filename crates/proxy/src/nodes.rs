//! Where are the nodes that clients ask about?

use std::collections::BTreeSet;

use redkite_types::NodeId;

/// Where a node can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddress {
    /// `host:port`.
    pub address: String,
    /// Name of its machine.
    pub host: String,
}

/// Knows the nodes that are alive.
pub trait Nodes: Send + Sync {
    /// Where a node is, if it lives.
    fn address(&self, node: NodeId) -> Option<NodeAddress>;
    /// The query nodes that can be given segments: those that live and are not stopping.
    fn open_query_nodes(&self) -> BTreeSet<NodeId>;
}

/// The one node that has every role.
#[derive(Clone, Debug)]
pub struct OneNode {
    /// The node.
    pub node: NodeId,
    /// Where it is.
    pub address: NodeAddress,
}

impl Nodes for OneNode {
    fn address(&self, node: NodeId) -> Option<NodeAddress> {
        (node == self.node).then(|| self.address.clone())
    }

    fn open_query_nodes(&self) -> BTreeSet<NodeId> {
        [self.node].into()
    }
}
