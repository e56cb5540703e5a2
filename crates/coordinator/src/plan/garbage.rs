//! Which files and records is nobody going to ask for again?

use std::collections::BTreeSet;

use redkite_catalog::{Metadata, SegmentState, TaskKind};
use redkite_storage::layout::ObjectPath;
use redkite_types::{CollectionId, SegmentId, TaskId, Timestamp};

use super::dropped;
use super::serving::placed;

/// Dropped segments of a living collection that no view and no node needs, dropped no later than `before`,
/// to the millisecond.
pub(crate) fn segments(metadata: &Metadata, collection: CollectionId, before: Timestamp) -> Vec<SegmentId> {
    if !metadata.collections.contains_key(&collection) {
        return Vec::new();
    }
    let dropped = |state: &SegmentState| matches!(state, SegmentState::Dropped { at, .. } if at.physical() <= before.physical());
    let segments = metadata.segments_of(collection).filter(|segment| dropped(&segment.state));
    let mut found: Vec<_> = segments.map(|segment| segment.id).collect();
    if !found.is_empty() {
        let mut in_use = placed(metadata, collection);
        in_use.extend(held_or_worked_on(metadata, collection));
        found.retain(|segment| !in_use.contains(segment));
    }
    found
}

fn held_or_worked_on(metadata: &Metadata, collection: CollectionId) -> BTreeSet<SegmentId> {
    let held = metadata.held_of(collection);
    let mut ids: BTreeSet<_> = held.flat_map(|(_, held)| held.segments.keys().copied()).collect();
    for task in metadata.tasks.values() {
        match &task.kind {
            TaskKind::BuildIndex { segment, .. } => {
                ids.insert(*segment);
            }
            TaskKind::Compact { sources, .. } => ids.extend(sources),
            TaskKind::FoldDeletes { segments, .. } => ids.extend(segments),
        }
    }
    ids
}

/// Dropped collections that nobody writes to or reads from any more.
pub(crate) fn collections(metadata: &Metadata) -> Vec<CollectionId> {
    metadata.dropped.keys().copied().filter(|id| dropped::is_quiet(metadata, *id)).collect()
}

/// Whether a record or a task accounts for the object. Flushes that are not yet recorded are not seen
/// here: callers leave young objects alone.
pub(crate) fn is_referenced(metadata: &Metadata, path: &str, object: &ObjectPath) -> bool {
    match object {
        ObjectPath::SegmentData { collection, segment } => {
            metadata.segments.contains_key(&(*collection, *segment)) || is_target(metadata, *segment)
        }
        ObjectPath::SegmentDeletes { collection, segment, .. } => {
            let record = metadata.segments.get(&(*collection, *segment));
            let deletes = record.and_then(|record| record.deletes.as_ref());
            deletes.is_some_and(|file| file.path == path) || is_folding(metadata, *segment)
        }
        ObjectPath::Index { collection, segment, index, build } => {
            let record = metadata.segments.get(&(*collection, *segment));
            let file = record.and_then(|record| record.indexes.get(index));
            file.is_some_and(|file| file.path == path) || is_task(metadata, *build)
        }
        ObjectPath::Delta { shard, .. } => {
            let checkpoint = metadata.checkpoints.get(shard);
            let named = |deltas: &[redkite_catalog::DeltaFile]| deltas.iter().any(|delta| delta.path == path);
            checkpoint.is_some_and(|checkpoint| named(&checkpoint.deltas))
                || metadata.tasks.values().any(|task| match &task.kind {
                    TaskKind::FoldDeletes { deltas, .. } => named(deltas),
                    TaskKind::BuildIndex { .. } | TaskKind::Compact { .. } => false,
                })
        }
    }
}

/// Whether nobody can record an object any more that is not referenced: it was recorded once and has been given
/// up, or whoever made it failed. Of data files it is not known: a flush may be about to record them.
pub(crate) fn is_given_up(metadata: &Metadata, object: &ObjectPath) -> bool {
    match object {
        ObjectPath::SegmentData { .. } => false,
        // Made by tasks, which are referenced until their results are recorded.
        ObjectPath::SegmentDeletes { .. } | ObjectPath::Index { .. } => true,
        // Made by flushes, of the log after the checkpoint.
        ObjectPath::Delta { shard, through, .. } => {
            metadata.checkpoints.get(shard).is_some_and(|checkpoint| *through <= checkpoint.lsn)
        }
    }
}

fn is_target(metadata: &Metadata, segment: SegmentId) -> bool {
    metadata
        .tasks
        .values()
        .any(|task| matches!(&task.kind, TaskKind::Compact { target, .. } if *target == segment))
}

fn is_folding(metadata: &Metadata, segment: SegmentId) -> bool {
    metadata.tasks.values().any(
        |task| matches!(&task.kind, TaskKind::FoldDeletes { segments, .. } if segments.contains(&segment)),
    )
}

fn is_task(metadata: &Metadata, task: TaskId) -> bool {
    metadata.tasks.contains_key(&task)
}
