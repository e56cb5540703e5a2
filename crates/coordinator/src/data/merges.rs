//! Compactions that users asked for: what was promised, and how far it has come.
//!
//! A promise is kept under `compaction/<task>` by the data coordinator alone, and in memory.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{Metadata, SegmentState, TaskKind};
use redkite_cluster::kv::KeyValue;
use redkite_service::{CompactionProgress, Merge, RequestId};
use redkite_types::{CollectionId, PartitionId, SegmentId, ShardId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::compaction::Group;

/// Where the promises are kept.
pub(crate) const PREFIX: &str = "compaction/";

/// One merge that was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromisedMerge {
    pub(crate) shard: ShardId,
    pub(crate) partition: PartitionId,
    pub(crate) sources: Vec<SegmentId>,
    pub(crate) target: SegmentId,
}

/// A compaction that was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompactionRecord {
    /// The command that asked for it, in hexadecimal.
    pub(crate) request: String,
    pub(crate) collection: CollectionId,
    pub(crate) merges: Vec<PromisedMerge>,
    /// Targets of merges that failed.
    #[serde(default)]
    pub(crate) failed: BTreeSet<SegmentId>,
    pub(crate) created_at: Timestamp,
}

/// The promises that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Merges(BTreeMap<TaskId, CompactionRecord>);

/// How a merge is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No task works on it yet.
    Pending,
    Executing,
    Done,
    Failed,
}

impl Merges {
    /// The promises found in the metastore.
    pub(crate) fn recall(entries: &[KeyValue]) -> Self {
        let parse = |entry: &KeyValue| {
            let id = entry.key.strip_prefix(PREFIX)?.parse().ok()?;
            Some((id, serde_json::from_slice(&entry.value).ok()?))
        };
        Self(entries.iter().filter_map(parse).collect())
    }

    /// Where a promise is kept.
    pub(crate) fn key(id: TaskId) -> String {
        format!("{PREFIX}{id}")
    }

    /// How a request is written in the record.
    pub(crate) fn request(id: RequestId) -> String {
        format!("{:032x}", id.0)
    }

    pub(crate) fn insert(&mut self, id: TaskId, record: CompactionRecord) {
        self.0.insert(id, record);
    }

    pub(crate) fn remove(&mut self, id: TaskId) {
        self.0.remove(&id);
    }

    /// The compaction that this request asked for.
    pub(crate) fn of_request(&self, id: RequestId) -> Option<(TaskId, usize)> {
        let request = Self::request(id);
        self.0
            .iter()
            .find(|(_, record)| record.request == request)
            .map(|(id, record)| (*id, record.merges.len()))
    }

    /// The promise with this merge, with the merge marked as failed.
    pub(crate) fn with_failed(&self, target: SegmentId) -> Option<(TaskId, CompactionRecord)> {
        let promises = |record: &CompactionRecord| record.merges.iter().any(|merge| merge.target == target);
        let (id, record) = self.0.iter().find(|(_, record)| promises(record))?;
        let mut record = record.clone();
        record.failed.insert(target).then_some((*id, record))
    }

    /// The merges of a collection that wait for a task.
    pub(crate) fn pending(&self, metadata: &Metadata, collection: CollectionId) -> Vec<(Group, SegmentId)> {
        let records = self.0.values().filter(|record| record.collection == collection);
        let merges = records.flat_map(|record| record.merges.iter().map(move |merge| (record, merge)));
        merges
            .filter(|(record, merge)| stage(metadata, record, merge) == Stage::Pending)
            .map(|(_, merge)| {
                let PromisedMerge { shard, partition, sources, target } = merge.clone();
                (Group { shard, partition, sources }, target)
            })
            .collect()
    }

    /// How far a compaction has come; one that is not remembered is over.
    pub(crate) fn progress(&self, metadata: &Metadata, id: TaskId) -> CompactionProgress {
        let mut progress = CompactionProgress::default();
        let Some(record) = self.0.get(&id) else {
            return progress;
        };
        for merge in &record.merges {
            let shown = Merge { sources: merge.sources.clone(), target: merge.target };
            match stage(metadata, record, merge) {
                Stage::Pending | Stage::Executing => progress.executing.push(shown),
                Stage::Done => progress.completed.push(shown),
                Stage::Failed => progress.failed.push(shown),
            }
        }
        progress
    }

    /// Compactions from before `horizon` that are over.
    pub(crate) fn forgettable(&self, metadata: &Metadata, horizon: Timestamp) -> Vec<TaskId> {
        let over = |record: &CompactionRecord| {
            let going_on =
                |merge| matches!(stage(metadata, record, merge), Stage::Pending | Stage::Executing);
            !record.merges.iter().any(going_on)
        };
        let old = self.0.iter().filter(|(_, record)| record.created_at < horizon && over(record));
        old.map(|(id, _)| *id).collect()
    }
}

fn stage(metadata: &Metadata, record: &CompactionRecord, merge: &PromisedMerge) -> Stage {
    if record.failed.contains(&merge.target) {
        return Stage::Failed;
    }
    let target = metadata.segments.get(&(record.collection, merge.target));
    match target.map(|target| &target.state) {
        Some(SegmentState::Building) => return Stage::Executing,
        Some(SegmentState::Flushed | SegmentState::Dropped { .. }) => return Stage::Done,
        None => {}
    }
    let is_task =
        |kind: &TaskKind| matches!(kind, TaskKind::Compact { target, .. } if *target == merge.target);
    if metadata.tasks.values().any(|task| is_task(&task.kind)) {
        return Stage::Executing;
    }
    let waiting = merge.sources.iter().all(|source| {
        metadata.segments.get(&(record.collection, *source)).is_some_and(|segment| segment.is_flushed())
    });
    // Without target and without sources: no row was left, or the partition is gone.
    if waiting { Stage::Pending } else { Stage::Done }
}
