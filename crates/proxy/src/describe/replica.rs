//! The replicas of a collection, and who serves them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redkite_catalog::{CollectionRecord, Metadata, ReplicaRecord};
use redkite_proto::milvus::{ReplicaInfo, ShardReplica};
use redkite_types::{NodeId, ReplicaId, ShardId};

use super::collection::channel;
use crate::nodes::Nodes;

/// The replicas of a loaded collection, with the query nodes of each shard if those are wanted.
pub(crate) fn replicas(
    metadata: &Metadata,
    collection: &CollectionRecord,
    nodes: &dyn Nodes,
    shard_nodes: bool,
) -> Vec<ReplicaInfo> {
    let Some(record) = metadata.replicas.get(&collection.id) else { return Vec::new() };
    let Some(load) = metadata.loads.get(&collection.id) else { return Vec::new() };
    let partitions = collection.partitions.iter().map(|partition| partition.id);
    let partitions: Vec<i64> = partitions.filter(|id| load.scope.contains(*id)).map(|id| id.0).collect();
    let groups = metadata.resource_group_nodes(&nodes.open_query_nodes());
    let in_views = metadata.nodes_in_views(collection.id);
    let info = |(id, replica): (&ReplicaId, &ReplicaRecord)| {
        let named = in_views.get(id).into_iter().flatten().copied();
        // Views name dead nodes until others have taken over.
        let leaving = named.filter(|node| !replica.nodes.contains(node) && nodes.address(*node).is_some());
        let leaving: BTreeSet<NodeId> = leaving.collect();
        let shards =
            collection.shard_ids().map(|shard| shard_replica(metadata, shard, *id, nodes, shard_nodes));
        ReplicaInfo {
            replica_id: id.0,
            collection_id: collection.id.0,
            partition_ids: partitions.clone(),
            shard_replicas: shards.collect(),
            node_ids: replica.nodes.union(&leaving).map(|node| node.0).collect(),
            resource_group_name: replica.resource_group.clone(),
            num_outbound_node: outbound(&replica.resource_group, &leaving, &groups),
        }
    };
    record.replicas.iter().map(info).collect()
}

fn shard_replica(
    metadata: &Metadata,
    shard: ShardId,
    replica: ReplicaId,
    nodes: &dyn Nodes,
    shard_nodes: bool,
) -> ShardReplica {
    let leader = metadata.shards.get(&shard).map(|status| status.node);
    let mut serving: BTreeSet<NodeId> = leader.into_iter().collect();
    if let Some(view) = metadata.views.get(&(shard, replica)).filter(|_| shard_nodes) {
        serving.extend(view.segments.iter().map(|segment| segment.node));
    }
    let address = leader.and_then(|leader| nodes.address(leader)).unwrap_or_default();
    ShardReplica {
        leader_id: leader.unwrap_or_default().0,
        leader_addr: address.address,
        dm_channel_name: channel(shard),
        node_ids: serving.iter().map(|node| node.0).collect(),
    }
}

/// The nodes of other groups that a replica still uses, by group.
fn outbound(
    group: &str,
    leaving: &BTreeSet<NodeId>,
    groups: &BTreeMap<String, BTreeSet<NodeId>>,
) -> HashMap<String, i32> {
    let others = groups.iter().filter(|(name, _)| *name != group);
    let counts = others.map(|(name, members)| (name.clone(), count(members.intersection(leaving).count())));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// A number of nodes or replicas on the wire.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
