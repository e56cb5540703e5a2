//! What is being worked on? No segment is given to two tasks that could undo each other's work.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{Metadata, SegmentState, TaskKind, TaskRecord};
use redkite_types::{CollectionId, IndexId, NodeId, SegmentId, ShardId};

/// The segments of one collection that tasks work on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy {
    /// Being compacted, or waiting to be replaced by a compacted segment that is not ready yet.
    pub(crate) compacting: BTreeSet<SegmentId>,
    /// Deletes are being folded in.
    pub(crate) folding: BTreeSet<SegmentId>,
    /// An index is being built.
    pub(crate) indexing: BTreeSet<(SegmentId, IndexId)>,
    /// Shards with a fold in progress.
    pub(crate) folding_shards: BTreeSet<ShardId>,
}

impl Busy {
    /// What is going on in a collection.
    pub(crate) fn in_collection(metadata: &Metadata, collection: CollectionId) -> Self {
        let mut busy = Self::default();
        for task in metadata.tasks.values().filter(|task| collection_of(task) == collection) {
            busy.add(&task.kind);
        }
        for segment in metadata.segments_of(collection) {
            if segment.state == SegmentState::Building {
                busy.compacting.extend(&segment.sources);
            }
        }
        busy
    }

    fn add(&mut self, kind: &TaskKind) {
        match kind {
            TaskKind::BuildIndex { segment, index, .. } => {
                self.indexing.insert((*segment, *index));
            }
            TaskKind::Compact { sources, .. } => self.compacting.extend(sources),
            TaskKind::FoldDeletes { shard, segments, .. } => {
                self.folding.extend(segments);
                self.folding_shards.insert(*shard);
            }
        }
    }

    /// Whether an index of the segment is being built.
    pub(crate) fn is_indexing(&self, segment: SegmentId) -> bool {
        let from = (segment, IndexId(i64::MIN));
        self.indexing.range(from..).next().is_some_and(|(id, _)| *id == segment)
    }
}

/// The collection that a task works for.
pub(crate) fn collection_of(task: &TaskRecord) -> CollectionId {
    match &task.kind {
        TaskKind::BuildIndex { collection, .. } | TaskKind::Compact { collection, .. } => *collection,
        TaskKind::FoldDeletes { shard, .. } => shard.collection,
    }
}

/// Number of tasks each node has been given.
pub(crate) fn load_of_nodes(metadata: &Metadata) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for task in metadata.tasks.values() {
        *counts.entry(task.node).or_insert(0) += 1;
    }
    counts
}
