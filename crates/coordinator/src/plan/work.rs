//! What should data nodes do next?
//!
//! [`wanted`] lists what would be useful for one collection; [`schedule`] gives the free slots of nodes
//! to the kinds of work in turn and, within a kind, to what is of most use.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{IndexMethod, IndexRecord, Metadata, SegmentRecord, TaskKind, TaskRecord};
use redkite_storage::layout::ObjectPath;
use redkite_types::{CollectionId, NodeId, SegmentId, ShardId, TaskId, Timestamp};

use super::busy::{Busy, load_of_nodes};
use super::compaction::{self, Group};
use super::deltas::{self, Fold};
use super::index_files;
use crate::data::{DataSettings, Merges};
use crate::environment::IdPool;
use crate::nodes::RoleNodes;
use crate::step::Step;

/// One useful piece of work.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Higher goes first, among work of the same kind.
    pub(crate) benefit: u64,
    pub(crate) job: Job,
}

/// What is to be done; becomes a task when a node has time for it.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Fold(Fold),
    Index {
        collection: CollectionId,
        segment: SegmentId,
        index: Box<IndexRecord>,
    },
    /// `target` is set for merges that a user has been told of.
    Merge {
        group: Group,
        target: Option<SegmentId>,
    },
}

impl Job {
    /// Folds are quick, so they go first among equals; then what makes reads faster.
    fn kind(&self) -> u8 {
        match self {
            Self::Fold(_) => 0,
            Self::Index { .. } => 1,
            Self::Merge { .. } => 2,
        }
    }
}

/// What has failed lately and should not be tried again at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Avoid {
    pub(crate) segments: BTreeSet<SegmentId>,
    pub(crate) shards: BTreeSet<ShardId>,
}

/// All useful work for a collection; no two pieces contradict each other.
pub(crate) fn wanted(
    metadata: &Metadata,
    collection: CollectionId,
    merges: &Merges,
    avoid: &Avoid,
    settings: &DataSettings,
    now: Timestamp,
) -> Vec<Work> {
    if !metadata.collections.contains_key(&collection) {
        return Vec::new();
    }
    let mut busy = Busy::in_collection(metadata, collection);
    let mut work = Vec::new();
    merge_work(metadata, collection, merges, &mut busy, (avoid, settings, now), &mut work);
    for fold in deltas::folds(metadata, collection, &busy, &avoid.shards, &settings.fold, now) {
        work.push(Work { benefit: fold.rows, job: Job::Fold(fold) });
    }
    index_work(metadata, collection, &busy, &mut work);
    work
}

/// Asked-for merges first; their sources, and then those of automatic ones, are spoken for.
fn merge_work(
    metadata: &Metadata,
    collection: CollectionId,
    merges: &Merges,
    busy: &mut Busy,
    (avoid, settings, now): (&Avoid, &DataSettings, Timestamp),
    work: &mut Vec<Work>,
) {
    let pending = merges.pending(metadata, collection);
    let free = if pending.is_empty() {
        BTreeSet::new()
    } else {
        compaction::free_segments(metadata, collection, busy)
    };
    for (group, target) in pending {
        let ready = group.sources.iter().all(|source| free.contains(source));
        busy.compacting.extend(&group.sources);
        if ready {
            work.push(Work { benefit: u64::MAX, job: Job::Merge { group, target: Some(target) } });
        }
    }
    if !settings.compaction.enabled {
        return;
    }
    let groups =
        compaction::automatic(metadata, collection, busy, &avoid.segments, &settings.compaction, now);
    for group in groups {
        busy.compacting.extend(&group.sources);
        let benefit = group.sources.len() as u64;
        work.push(Work { benefit, job: Job::Merge { group, target: None } });
    }
}

/// Indexes of segments that will not be replaced soon.
fn index_work(metadata: &Metadata, collection: CollectionId, busy: &Busy, work: &mut Vec<Work>) {
    for segment in metadata.segments_of(collection) {
        // A fold does not matter: indexes cover deleted rows, too.
        if busy.compacting.contains(&segment.id) {
            continue;
        }
        for index in index_files::missing(metadata, segment) {
            let done_otherwise = index.spec.method == IndexMethod::Flat;
            if !done_otherwise && !busy.indexing.contains(&(segment.id, index.id)) {
                let benefit = benefit_of_index(metadata, segment, index);
                let job = Job::Index { collection, segment: segment.id, index: Box::new(index.clone()) };
                work.push(Work { benefit, job });
            }
        }
    }
}

/// Rows that need not be scanned any more; vectors cost most, and only loaded rows are scanned.
fn benefit_of_index(metadata: &Metadata, segment: &SegmentRecord, index: &IndexRecord) -> u64 {
    let vector = if index.spec.method.is_vector() { 16 } else { 1 };
    let loaded = metadata.loads.get(&segment.collection);
    let loaded = if loaded.is_some_and(|load| load.scope.contains(segment.partition)) { 16 } else { 1 };
    segment.rows.saturating_mul(vector * loaded)
}

/// Tasks for the free slots of the nodes, each with the collection it is for.
pub(crate) fn schedule(
    metadata: &Metadata,
    backlog: &BTreeMap<CollectionId, Vec<Work>>,
    nodes: &RoleNodes,
    slots: usize,
    ids: &mut IdPool,
    now: Timestamp,
) -> Vec<(CollectionId, Step)> {
    let mut free: BTreeMap<NodeId, usize> = nodes.open().into_iter().map(|node| (node, 0)).collect();
    for (node, count) in load_of_nodes(metadata) {
        free.entry(node).and_modify(|used| *used = count);
    }
    let mut running = [0_usize; 3];
    for task in metadata.tasks.values() {
        running[kind_of_task(&task.kind)] += 1;
    }
    let mut queues = queues(backlog);
    let mut chosen = Vec::new();
    while let Some(node) = least_busy(&free, slots) {
        let next = (0..3).filter(|kind| !queues[*kind].is_empty()).min_by_key(|kind| running[*kind]);
        let Some((kind, (collection, work))) = next.and_then(|kind| Some((kind, queues[kind].pop()?))) else {
            break;
        };
        let Some(task) = task(&work.job, node, ids, now) else {
            break;
        };
        running[kind] += 1;
        *free.entry(node).or_default() += 1;
        let mut step = Step::new("task");
        step.replace(&task.id, None, &task);
        chosen.push((collection, step));
    }
    chosen
}

fn kind_of_task(kind: &TaskKind) -> usize {
    match kind {
        TaskKind::FoldDeletes { .. } => 0,
        TaskKind::BuildIndex { .. } => 1,
        TaskKind::Compact { .. } => 2,
    }
}

/// Work by kind, the most useful last.
fn queues(backlog: &BTreeMap<CollectionId, Vec<Work>>) -> [Vec<(CollectionId, &Work)>; 3] {
    let mut queues: [Vec<_>; 3] = Default::default();
    for (collection, works) in backlog {
        for work in works {
            queues[usize::from(work.job.kind())].push((*collection, work));
        }
    }
    for queue in &mut queues {
        queue.sort_by_key(|(_, work)| work.benefit);
    }
    queues
}

fn least_busy(used: &BTreeMap<NodeId, usize>, slots: usize) -> Option<NodeId> {
    let (node, count) = used.iter().min_by_key(|(_, count)| **count)?;
    (*count < slots).then_some(*node)
}

fn task(job: &Job, node: NodeId, ids: &mut IdPool, now: Timestamp) -> Option<TaskRecord> {
    let id = TaskId(ids.take()?);
    let kind = match job {
        Job::Fold(fold) => TaskKind::FoldDeletes {
            shard: fold.shard,
            segments: fold.segments.clone(),
            deltas: fold.deltas.clone(),
        },
        Job::Index { collection, segment, index } => TaskKind::BuildIndex {
            collection: *collection,
            segment: *segment,
            index: index.id,
            spec: index.spec.clone(),
            path: ObjectPath::Index {
                collection: *collection,
                segment: *segment,
                index: index.id,
                build: id,
            }
            .to_string(),
        },
        Job::Merge { group, target } => TaskKind::Compact {
            collection: group.shard.collection,
            partition: group.partition,
            shard: group.shard,
            sources: group.sources.clone(),
            target: match target {
                Some(target) => *target,
                None => SegmentId(ids.take()?),
            },
        },
    };
    Some(TaskRecord { id, node, kind, created_at: now })
}
