//! Background work of data nodes: what should be done, and what came of it.

use redkite_types::{CollectionId, IndexId, NodeId, PartitionId, SegmentId, ShardId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{DeletesFile, DeltaFile, IndexSpec, SegmentIndexFile, SegmentRecord};

/// Work that a data node should do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Identity.
    pub id: TaskId,
    /// The node that should do it.
    pub node: NodeId,
    /// What.
    pub kind: TaskKind,
    /// When it was planned.
    pub created_at: Timestamp,
}

/// What a task does. Sources are read as they are recorded when the work starts; the planner gives no
/// segment to two tasks at once, except that indexes may be built beside each other and beside a fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskKind {
    /// Build one index of one segment.
    BuildIndex {
        /// The segment's collection.
        collection: CollectionId,
        /// The segment.
        segment: SegmentId,
        /// The definition.
        index: IndexId,
        /// What to build.
        spec: IndexSpec,
        /// Path the file gets.
        path: String,
    },
    /// Merge segments of one shard and partition, leaving out deleted rows.
    Compact {
        /// The collection.
        collection: CollectionId,
        /// The partition.
        partition: PartitionId,
        /// The shard.
        shard: ShardId,
        /// What is merged.
        sources: Vec<SegmentId>,
        /// Id of the result.
        target: SegmentId,
    },
    /// Fold delta files into per-segment delete files.
    FoldDeletes {
        /// The shard.
        shard: ShardId,
        /// Every sealed segment of the shard that has not folded `deltas` in.
        segments: Vec<SegmentId>,
        /// What is folded.
        deltas: Vec<DeltaFile>,
    },
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task.
    pub id: TaskId,
    /// The node that did it.
    pub node: NodeId,
    /// The outcome.
    pub outcome: TaskOutcome,
}

/// Outcome of a task. Files are durable before the outcome is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskOutcome {
    /// An index file.
    IndexBuilt(SegmentIndexFile),
    /// The merged segment in state `Building`, or `None` if every row was deleted.
    Compacted(Option<Box<SegmentRecord>>),
    /// Per segment its new delete file (`None` if no row is deleted); deletes are folded through `through`.
    DeletesFolded {
        /// New delete files.
        files: Vec<(SegmentId, Option<DeletesFile>)>,
        /// The reach of the folded deltas.
        through: Timestamp,
    },
    /// It cannot be done: trying again would fail again.
    Failed {
        /// Why.
        reason: String,
    },
}
