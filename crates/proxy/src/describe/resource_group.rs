//! A resource group: what is asked of it, its nodes, and who uses them.

use std::collections::{BTreeSet, HashMap};

use redkite_catalog::{DEFAULT_RESOURCE_GROUP, Metadata, ResourceGroupConfig, UNLIMITED_NODES};
use redkite_proto::common::{KeyValuePair, NodeInfo};
use redkite_proto::milvus::ResourceGroup;
use redkite_proto::rg;
use redkite_types::NodeId;

use super::replica::count;
use crate::nodes::Nodes;

/// The group, if there is one of this name.
pub(crate) fn describe(metadata: &Metadata, name: &str, nodes: &dyn Nodes) -> Option<ResourceGroup> {
    let config = metadata.resource_group_configs().remove(name)?;
    let members = metadata.resource_group_nodes(&nodes.open_query_nodes()).remove(name).unwrap_or_default();
    let capacity = if name == DEFAULT_RESOURCE_GROUP { UNLIMITED_NODES } else { config.requests };
    let info = |node: &NodeId| {
        let address = nodes.address(*node)?;
        Some(NodeInfo { node_id: node.0, address: address.address, hostname: address.host })
    };
    let mut group = ResourceGroup {
        name: name.to_owned(),
        capacity: wire(capacity),
        num_available_node: count(members.len()),
        config: Some(config_to_wire(&config)),
        nodes: members.iter().filter_map(info).collect(),
        ..ResourceGroup::default()
    };
    count_users(metadata, name, &members, nodes, &mut group);
    Some(group)
}

/// Counts, by collection, replicas in the group and nodes that are used across the group's border.
fn count_users(
    metadata: &Metadata,
    name: &str,
    members: &BTreeSet<NodeId>,
    nodes: &dyn Nodes,
    group: &mut ResourceGroup,
) {
    for (id, record) in &metadata.replicas {
        let Some(collection) = metadata.collections.get(id) else { continue };
        let in_views = metadata.nodes_in_views(*id);
        for (replica_id, replica) in &record.replicas {
            let named = in_views.get(replica_id).into_iter().flatten();
            let leaving =
                named.filter(|node| !replica.nodes.contains(node) && nodes.address(**node).is_some());
            if replica.resource_group == name {
                *group.num_loaded_replica.entry(collection.name.clone()).or_default() += 1;
                let outside = leaving.filter(|node| !members.contains(node)).count();
                add(&mut group.num_outgoing_node, &collection.name, outside);
            } else {
                let inside = leaving.filter(|node| members.contains(node)).count();
                add(&mut group.num_incoming_node, &collection.name, inside);
            }
        }
    }
}

fn add(counts: &mut HashMap<String, i32>, collection: &str, number: usize) {
    if number > 0 {
        *counts.entry(collection.to_owned()).or_default() += count(number);
    }
}

fn config_to_wire(config: &ResourceGroupConfig) -> rg::ResourceGroupConfig {
    let limit = |nodes| Some(rg::ResourceGroupLimit { node_num: wire(nodes) });
    let transfers = |groups: &[String]| {
        groups.iter().map(|group| rg::ResourceGroupTransfer { resource_group: group.clone() }).collect()
    };
    let labels = config.node_labels.iter();
    let node_labels: Vec<_> =
        labels.map(|(key, value)| KeyValuePair { key: key.clone(), value: value.clone() }).collect();
    rg::ResourceGroupConfig {
        requests: limit(config.requests),
        limits: limit(config.limits),
        transfer_from: transfers(&config.transfer_from),
        transfer_to: transfers(&config.transfer_to),
        node_filter: (!node_labels.is_empty()).then_some(rg::ResourceGroupNodeFilter { node_labels }),
    }
}

fn wire(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use redkite_catalog::{
        Record, ReplicaRecord, ReplicasRecord, ResourceGroupRecord, ServingView, ViewSegment,
    };
    use redkite_types::{PartitionId, ReplicaId, Revision, SegmentId, ShardId};

    use super::*;
    use crate::describe;
    use crate::nodes::NodeAddress;
    use crate::testing;

    struct Three;

    impl Nodes for Three {
        fn address(&self, node: NodeId) -> Option<NodeAddress> {
            Some(NodeAddress { address: format!("h{node}:1"), host: format!("h{node}") })
        }

        fn open_query_nodes(&self) -> BTreeSet<NodeId> {
            [1, 2, 3].map(NodeId).into()
        }
    }

    /// A replica of `c` in group `a`, which has node 2, and still served from node 1.
    fn metadata() -> Metadata {
        let mut metadata = Metadata::default();
        let collection = testing::collection();
        let id = collection.id;
        let mut put = |key: String, value: Vec<u8>| metadata.put(&key, &value, Revision(1)).unwrap();
        put(redkite_catalog::CollectionRecord::key(&id), collection.encode());
        let config = ResourceGroupConfig { requests: 1, limits: 2, ..Default::default() };
        let group = ResourceGroupRecord { config, nodes: [NodeId(2)].into() };
        put(ResourceGroupRecord::key(&"a".to_owned()), group.encode());
        let replica = ReplicaRecord { resource_group: "a".to_owned(), nodes: [NodeId(2)].into() };
        let replicas = ReplicasRecord { replicas: [(ReplicaId(9), replica)].into() };
        put(ReplicasRecord::key(&id), replicas.encode());
        let load = redkite_catalog::LoadRecord {
            scope: redkite_catalog::LoadScope::Collection,
            replicas: 1,
            requested_at: redkite_types::Timestamp::ZERO,
            loaded: BTreeSet::new(),
        };
        put(redkite_catalog::LoadRecord::key(&id), load.encode());
        let entry = ViewSegment { segment: SegmentId(5), partition: PartitionId(70), node: NodeId(1) };
        let view = ServingView { version: 1, segments: vec![entry] };
        put(ServingView::key(&(ShardId { collection: id, ordinal: 0 }, ReplicaId(9))), view.encode());
        metadata
    }

    #[test]
    fn groups_show_who_uses_their_nodes() {
        let metadata = metadata();
        assert_eq!(describe(&metadata, "b", &Three), None);
        let group = describe(&metadata, "a", &Three).unwrap();
        assert_eq!((group.capacity, group.num_available_node), (1, 1));
        let one: HashMap<String, i32> = [("c".to_owned(), 1)].into();
        assert_eq!((&group.num_loaded_replica, &group.num_outgoing_node), (&one, &one));
        assert_eq!(group.nodes[0].address, "h2:1");
        let default = describe(&metadata, DEFAULT_RESOURCE_GROUP, &Three).unwrap();
        assert_eq!((default.capacity, default.num_available_node), (1_000_000, 2));
        assert_eq!(default.num_incoming_node, one);
        assert!(default.num_loaded_replica.is_empty());
    }

    #[test]
    fn replicas_show_their_nodes_and_those_they_leave() {
        let collection = testing::collection();
        let replicas = describe::replica::replicas(&metadata(), &collection, &Three, true);
        assert_eq!((replicas.len(), replicas[0].replica_id), (1, 9));
        assert_eq!(replicas[0].node_ids, [1, 2]);
        assert_eq!(replicas[0].resource_group_name, "a");
        assert_eq!(replicas[0].num_outbound_node[DEFAULT_RESOURCE_GROUP], 1);
        assert_eq!(replicas[0].shard_replicas[0].node_ids, [1]);
    }
}
