//! Which nodes can be given something to do?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redkite_types::NodeId;
use tokio::sync::watch;

/// The label with the resource group that a query node asks to be in. Milvus: environment
/// `MILVUS_SERVER_LABEL_qn_RESOURCE_GROUP`.
pub const RESOURCE_GROUP_LABEL: &str = "RESOURCE_GROUP";

/// What is known of a living node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveNode {
    /// It is leaving: it is given nothing new, and what it has moves away.
    pub stopping: bool,
    /// Its labels, for placement.
    pub labels: BTreeMap<String, String>,
}

impl LiveNode {
    /// The resource group it asks to be in.
    #[must_use]
    pub fn resource_group(&self) -> Option<&str> {
        self.labels.get(RESOURCE_GROUP_LABEL).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// The living nodes of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleNodes(BTreeMap<NodeId, LiveNode>);

impl RoleNodes {
    /// Whether the node lives, be it that it is stopping.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    /// Whether the node lives and can be given something.
    #[must_use]
    pub fn is_open(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(|live| !live.stopping)
    }

    /// What is known of a node, if it lives.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&LiveNode> {
        self.0.get(&node)
    }

    /// All living nodes.
    pub fn alive(&self) -> impl Iterator<Item = (NodeId, &LiveNode)> {
        self.0.iter().map(|(node, live)| (*node, live))
    }

    /// The nodes that can be given something: those that live and are not stopping.
    #[must_use]
    pub fn open(&self) -> BTreeSet<NodeId> {
        self.0.iter().filter(|(_, live)| !live.stopping).map(|(node, _)| *node).collect()
    }
}

impl FromIterator<(NodeId, LiveNode)> for RoleNodes {
    fn from_iter<I: IntoIterator<Item = (NodeId, LiveNode)>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}

/// Nodes without labels, none of them stopping.
impl FromIterator<NodeId> for RoleNodes {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().map(|node| (node, LiveNode::default())).collect()
    }
}

/// The nodes of a moment, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    /// Streaming nodes.
    pub streaming: RoleNodes,
    /// Query nodes.
    pub query: RoleNodes,
    /// Data nodes.
    pub data: RoleNodes,
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
        let one: RoleNodes = [node].into_iter().collect();
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
