//! The query nodes as plans see them: who lives, who belongs where, who has how much to hold.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::Metadata;
use redkite_types::{CollectionId, NodeId, Timestamp};

use super::resource_groups::Members;
use crate::nodes::RoleNodes;

/// The query nodes of a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    /// Open nodes by resource group.
    pub(crate) groups: Members,
    /// Nodes that live, be it that they wait for others to take over.
    pub(crate) alive: BTreeSet<NodeId>,
    /// Nodes that live, but wait for others to take over.
    pub(crate) stopping: BTreeSet<NodeId>,
    /// Memory that nodes may use, in bytes, as far as they have told.
    pub(crate) memory: BTreeMap<NodeId, u64>,
    /// When this was looked at.
    pub(crate) now: Timestamp,
    pub(crate) usage: Usage,
}

impl Fleet {
    /// Looks at the groups anew.
    pub(crate) fn regroup(&mut self, metadata: &Metadata, nodes: &RoleNodes) {
        self.groups = metadata.resource_group_nodes(&nodes.open());
        self.alive = nodes.alive().map(|(node, _)| node).collect();
        self.stopping = nodes.alive().filter(|(_, live)| live.stopping).map(|(node, _)| node).collect();
    }

    /// Everything worked out from the records.
    #[cfg(test)]
    pub(crate) fn of(metadata: &Metadata, nodes: &RoleNodes) -> Self {
        let mut fleet = Self::default();
        fleet.regroup(metadata, nodes);
        let collections: BTreeSet<_> = metadata.holds.keys().map(|(_, collection)| *collection).collect();
        collections.into_iter().for_each(|collection| fleet.usage.refresh(metadata, collection));
        fleet
    }
}

/// Bytes that nodes are to hold, over all collections. Kept up to date collection by collection: to add
/// everything up for each new segment would take too long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    parts: BTreeMap<CollectionId, BTreeMap<NodeId, u64>>,
    total: BTreeMap<NodeId, u64>,
}

impl Usage {
    /// What a node is to hold.
    pub(crate) fn bytes(&self, node: NodeId) -> u64 {
        self.total.get(&node).copied().unwrap_or(0)
    }

    /// Looks anew at what nodes are to hold of a collection.
    pub(crate) fn refresh(&mut self, metadata: &Metadata, collection: CollectionId) {
        let mut part = BTreeMap::new();
        for (node, hold) in metadata.holds_of(collection) {
            let sizes = hold.segments.iter().map(|segment| metadata.segments.get(&(collection, *segment)));
            part.insert(node, sizes.map(|segment| segment.map_or(0, |segment| segment.bytes)).sum::<u64>());
        }
        for (node, bytes) in self.parts.remove(&collection).unwrap_or_default() {
            if let Some(total) = self.total.get_mut(&node) {
                *total = total.saturating_sub(bytes);
            }
        }
        for (node, bytes) in &part {
            *self.total.entry(*node).or_default() += bytes;
        }
        if !part.is_empty() {
            self.parts.insert(collection, part);
        }
        self.total.retain(|_, bytes| *bytes > 0);
    }
}
