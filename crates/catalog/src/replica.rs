//! The replicas of loaded collections: which query nodes each of them uses.

use std::collections::{BTreeMap, BTreeSet};

use redkite_types::{CollectionId, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::Metadata;

/// The replicas of a loaded collection.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicasRecord {
    /// Each with a serving view of its own per shard. No node is used by two of them.
    pub replicas: BTreeMap<ReplicaId, ReplicaRecord>,
}

/// One replica: a whole copy of the sealed segments, on nodes of its own.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The resource group whose nodes it may use.
    pub resource_group: String,
    /// The nodes that its segments are placed on. Others that its views still name are being left.
    /// Milvus: read-write nodes; those being left are read-only ones.
    #[serde(default)]
    pub nodes: BTreeSet<NodeId>,
}

impl Metadata {
    /// The nodes that the views of each replica of a collection name.
    #[must_use]
    pub fn nodes_in_views(&self, collection: CollectionId) -> BTreeMap<ReplicaId, BTreeSet<NodeId>> {
        let mut nodes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for ((_, replica), view) in self.views_of(collection) {
            nodes.entry(*replica).or_default().extend(view.segments.iter().map(|segment| segment.node));
        }
        nodes
    }
}
