//! Which streaming node should lead which shard?

use std::collections::BTreeMap;

use redkite_catalog::{Metadata, ShardAssignment};
use redkite_types::{CollectionId, Epoch, NodeId};

use crate::nodes::RoleNodes;
use crate::step::{Step, Steps};

/// Gives every shard whose leader is dead or stopping to the streaming node with the fewest shards. A new
/// assignment has the next epoch, which fences the leader before it. While no node is open, a stopping
/// leader goes on.
pub(crate) fn plan(metadata: &Metadata, collection: CollectionId, nodes: &RoleNodes) -> Vec<Step> {
    let Some(record) = metadata.collections.get(&collection) else {
        return Vec::new();
    };
    let mut steps = Steps::new("shard assignment");
    let mut counts = None;
    for shard in record.shard_ids() {
        let present = metadata.assignments.get(&shard);
        if present.is_some_and(|assignment| nodes.is_open(assignment.node)) {
            continue;
        }
        let counts = counts.get_or_insert_with(|| shards_of(metadata, nodes));
        let Some(node) = least(counts) else {
            break;
        };
        *counts.entry(node).or_default() += 1;
        let epoch = Epoch(present.map_or(0, |assignment| assignment.epoch.0) + 1);
        // Without the collection's record the assignment would be made for a dropped collection.
        steps.next().relies_on(&collection, Some(record)).replace(
            &shard,
            present,
            &ShardAssignment::new(node, epoch),
        );
    }
    steps.finish()
}

fn shards_of(metadata: &Metadata, nodes: &RoleNodes) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<_, _> = nodes.open().into_iter().map(|node| (node, 0)).collect();
    if counts.len() > 1 {
        for assignment in metadata.assignments.values() {
            counts.entry(assignment.node).and_modify(|count| *count += 1);
        }
    }
    counts
}

fn least(counts: &BTreeMap<NodeId, usize>) -> Option<NodeId> {
    counts.iter().min_by_key(|(_, count)| **count).map(|(node, _)| *node)
}
