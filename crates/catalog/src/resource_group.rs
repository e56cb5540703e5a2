//! Resource groups: which query nodes are kept apart for which replicas.
//!
//! Every open query node is in one group. Groups other than the default one have records that name
//! their nodes; all other nodes are in the default group, which needs no record.

use std::collections::{BTreeMap, BTreeSet};

use redkite_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::Metadata;

/// Name of the group that always exists.
pub const DEFAULT_RESOURCE_GROUP: &str = "__default_resource_group";
/// More nodes than there ever are: the limit of a group that was given none.
pub const UNLIMITED_NODES: u32 = 1_000_000;

/// A resource group.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceGroupRecord {
    /// What users asked for.
    pub config: ResourceGroupConfig,
    /// Its nodes; none are named for the default group.
    #[serde(default)]
    pub nodes: BTreeSet<NodeId>,
}

/// What users ask of a resource group.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceGroupConfig {
    /// Nodes it should have at least; taken from groups that have more than they ask for.
    pub requests: u32,
    /// Nodes it has at most; more are given away.
    pub limits: u32,
    /// Groups that missing nodes are preferably taken from.
    #[serde(default)]
    pub transfer_from: Vec<String>,
    /// Groups that nodes above the limit are preferably given to.
    #[serde(default)]
    pub transfer_to: Vec<String>,
    /// Labels that its nodes must have.
    #[serde(default)]
    pub node_labels: Vec<(String, String)>,
}

impl ResourceGroupConfig {
    /// A group that takes what it is given: the default one, and those that nodes name themselves.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { limits: UNLIMITED_NODES, ..Self::default() }
    }
}

impl Metadata {
    /// The configuration of every resource group, the default one included.
    #[must_use]
    pub fn resource_group_configs(&self) -> BTreeMap<String, ResourceGroupConfig> {
        let default = (DEFAULT_RESOURCE_GROUP.to_owned(), ResourceGroupConfig::unlimited());
        let recorded = self.resource_groups.iter().map(|(name, group)| (name.clone(), group.config.clone()));
        std::iter::once(default).chain(recorded).collect()
    }

    /// The nodes of every resource group, of these query nodes.
    #[must_use]
    pub fn resource_group_nodes(&self, open: &BTreeSet<NodeId>) -> BTreeMap<String, BTreeSet<NodeId>> {
        let mut free = open.clone();
        let mut groups = BTreeMap::new();
        for (name, group) in &self.resource_groups {
            groups
                .insert(name.clone(), group.nodes.iter().copied().filter(|node| free.remove(node)).collect());
        }
        groups.entry(DEFAULT_RESOURCE_GROUP.to_owned()).or_insert_with(BTreeSet::new).extend(free);
        groups
    }
}

#[cfg(test)]
mod tests {
    use redkite_types::Revision;

    use super::*;
    use crate::Record;

    #[test]
    fn whoever_is_in_no_group_is_in_the_default_one() {
        let mut metadata = Metadata::default();
        let nodes = |ids: &[i64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        for (name, members) in [("a", nodes(&[1, 9])), ("b", nodes(&[2, 1]))] {
            let record = ResourceGroupRecord { nodes: members, ..Default::default() };
            metadata.put(&ResourceGroupRecord::key(&name.to_owned()), &record.encode(), Revision(1));
        }
        let groups = metadata.resource_group_nodes(&nodes(&[1, 2, 3]));
        let named = |name: &str| groups[name].clone();
        assert_eq!((named("a"), named("b")), (nodes(&[1]), nodes(&[2])), "dead ones do not count");
        assert_eq!(named(DEFAULT_RESOURCE_GROUP), nodes(&[3]));
        assert_eq!(metadata.resource_group_configs().len(), 3);
    }
}
