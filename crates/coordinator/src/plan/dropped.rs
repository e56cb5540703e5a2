//! What is left to do for dropped partitions and collections?

use redkite_catalog::{Metadata, SegmentState, ShardAssignment, ShardCheckpoint, TaskRecord, TaskResult};
use redkite_types::{CollectionId, ShardId, Timestamp};

use super::busy::collection_of;
use super::switch::give_up;
use crate::step::{Step, Steps};

/// Gives up the segments of partitions that are gone.
pub(crate) fn partitions(metadata: &Metadata, collection: CollectionId, now: Timestamp) -> Vec<Step> {
    let Some(record) = metadata.collections.get(&collection) else {
        return Vec::new();
    };
    let mut steps = Steps::new("dropped partition");
    for segment in metadata.segments_of(collection) {
        let dropped = matches!(segment.state, SegmentState::Dropped { .. });
        if !dropped && record.partition_by_id(segment.partition).is_none() {
            give_up(steps.next(), &[segment], None, now);
        }
    }
    steps.finish()
}

/// Ends the tasks of a dropped collection and, once their leaders have stopped, its shards.
///
/// A leader that sees its collection dropped removes the log and withdraws its status. Without a status
/// nobody leads the shard; whoever was about to will find neither collection nor assignment.
pub(crate) fn collection(metadata: &Metadata, collection: CollectionId) -> Vec<Step> {
    let Some(dropped) = metadata.dropped.get(&collection) else {
        return Vec::new();
    };
    let mut steps = Steps::new("dropped collection");
    for (id, _) in metadata.tasks.iter().filter(|(_, task)| collection_of(task) == collection) {
        steps.next().delete::<TaskRecord>(id);
        if metadata.results.contains_key(id) {
            steps.next().delete::<TaskResult>(id);
        }
    }
    for ordinal in 0..dropped.shards {
        let shard = ShardId { collection, ordinal };
        let status = metadata.shards.get(&shard);
        let assignment = metadata.assignments.get(&shard);
        let checkpoint = metadata.checkpoints.get(&shard);
        if status.is_some() || (assignment.is_none() && checkpoint.is_none()) {
            continue;
        }
        let step = steps.next();
        step.relies_on(&shard, status);
        step.delete::<ShardAssignment>(&shard).delete::<ShardCheckpoint>(&shard);
    }
    steps.finish()
}

/// Whether nobody can add to, or reads from, a dropped collection any more: its segments and files can
/// be removed.
pub(crate) fn is_quiet(metadata: &Metadata, collection: CollectionId) -> bool {
    let shards = ShardId { collection, ordinal: 0 }..=ShardId { collection, ordinal: u16::MAX };
    metadata.assignments.range(shards.clone()).next().is_none()
        && metadata.shards.range(shards.clone()).next().is_none()
        && metadata.checkpoints.range(shards).next().is_none()
        && metadata.views_of(collection).next().is_none()
        && !metadata.replicas.contains_key(&collection)
        && metadata.holds_of(collection).next().is_none()
        && !metadata.tasks.values().any(|task| collection_of(task) == collection)
}
