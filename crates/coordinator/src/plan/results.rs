//! What does a finished task change, and which tasks are pointless?

use redkite_catalog::{
    DeletesFile, Entry, Metadata, SegmentIndexFile, SegmentRecord, SegmentState, TaskKind, TaskOutcome,
    TaskRecord, TaskResult,
};
use redkite_types::{CollectionId, IndexId, SegmentId, TaskId, Timestamp};
use tracing::warn;

use super::busy::collection_of;
use super::switch::give_up;
use crate::nodes::RoleNodes;
use crate::step::{Step, Steps};

/// Applies the results of a collection's tasks, and withdraws tasks that nobody can or need do: what a dead or
/// stopping node was to do is then given to another.
pub(crate) fn plan(
    metadata: &Metadata,
    collection: CollectionId,
    nodes: &RoleNodes,
    now: Timestamp,
) -> Vec<Step> {
    let mut all = Vec::new();
    for (id, task) in metadata.tasks.iter().filter(|(_, task)| collection_of(task) == collection) {
        match metadata.results.get(id) {
            Some(result) => all.extend(apply(metadata, task, &result.outcome, now)),
            None if !nodes.is_open(task.node) || is_pointless(metadata, &task.kind) => {
                let mut step = Step::new("task withdrawn");
                step.relies_on(id, Some(task)).relies_on::<TaskResult>(id, None).delete::<TaskRecord>(id);
                all.push(step);
            }
            None => {}
        }
    }
    all
}

/// Removes results whose task is gone.
pub(crate) fn orphans(metadata: &Metadata) -> Vec<Step> {
    let mut steps = Steps::new("result without task");
    for id in metadata.results.keys().filter(|id| !metadata.tasks.contains_key(id)) {
        steps.next().delete::<TaskResult>(id);
    }
    steps.finish()
}

fn is_pointless(metadata: &Metadata, kind: &TaskKind) -> bool {
    match kind {
        TaskKind::BuildIndex { collection, segment, index, .. } => {
            let defined = metadata.indexes.get(collection);
            let defined = defined.is_some_and(|record| record.indexes.iter().any(|def| def.id == *index));
            !defined || living(metadata, *collection, *segment).is_none()
        }
        TaskKind::Compact { collection, sources, .. } => {
            !sources.iter().all(|source| flushed(metadata, *collection, *source).is_some())
        }
        TaskKind::FoldDeletes { shard, segments, .. } => {
            !segments.iter().any(|segment| living(metadata, shard.collection, *segment).is_some())
        }
    }
}

fn apply(metadata: &Metadata, task: &Entry<TaskRecord>, outcome: &TaskOutcome, now: Timestamp) -> Vec<Step> {
    match (&task.kind, outcome) {
        (TaskKind::BuildIndex { collection, segment, index, .. }, TaskOutcome::IndexBuilt(file)) => {
            vec![index_built(metadata, task.id, (*collection, *segment), *index, file)]
        }
        (TaskKind::BuildIndex { collection, segment, index, .. }, TaskOutcome::Failed { reason }) => {
            vec![index_failed(metadata, task.id, (*collection, *segment), *index, reason)]
        }
        (TaskKind::Compact { collection, sources, .. }, TaskOutcome::Compacted(target)) => {
            vec![compacted(metadata, task.id, *collection, sources, target.as_deref(), now)]
        }
        (TaskKind::FoldDeletes { shard, .. }, TaskOutcome::DeletesFolded { files, through }) => {
            folded(metadata, task.id, shard.collection, files, *through)
        }
        (_, outcome) => {
            // Failures of the other tasks change nothing; the driver remembers not to try at once again.
            if !matches!(outcome, TaskOutcome::Failed { .. }) {
                warn!(task = task.id.0, "task result does not fit the task");
            }
            vec![done("task failed", task.id)]
        }
    }
}

fn done(what: &'static str, task: TaskId) -> Step {
    let mut step = Step::new(what);
    step.delete::<TaskRecord>(&task).delete::<TaskResult>(&task);
    step
}

fn index_built(
    metadata: &Metadata,
    task: TaskId,
    key: (CollectionId, SegmentId),
    index: IndexId,
    file: &SegmentIndexFile,
) -> Step {
    let mut step = done("index built", task);
    let definitions = metadata.indexes.get(&key.0);
    let defined = definitions.is_some_and(|record| record.indexes.iter().any(|def| def.id == index));
    if let Some(segment) = living(metadata, key.0, key.1).filter(|_| defined) {
        let mut record = (*segment.record).clone();
        record.indexes.insert(index, file.clone());
        step.relies_on(&key.0, definitions).replace(&key, Some(segment), &record);
    }
    step
}

fn index_failed(
    metadata: &Metadata,
    task: TaskId,
    key: (CollectionId, SegmentId),
    index: IndexId,
    reason: &str,
) -> Step {
    let mut step = done("index failed", task);
    if let Some(segment) = living(metadata, key.0, key.1) {
        let mut record = (*segment.record).clone();
        record.index_failures.insert(index, reason.to_owned());
        step.replace(&key, Some(segment), &record);
    }
    step
}

/// Records the merged segment, hidden; [`super::switch`] makes it visible. If no row was left there
/// is nothing to wait for.
fn compacted(
    metadata: &Metadata,
    task: TaskId,
    collection: CollectionId,
    sources: &[SegmentId],
    target: Option<&SegmentRecord>,
    now: Timestamp,
) -> Step {
    let mut step = done("compacted", task);
    let present: Option<Vec<_>> =
        sources.iter().map(|source| flushed(metadata, collection, *source)).collect();
    // A source was dropped with its partition: the result is not wanted, its files are garbage.
    let Some(present) = present else {
        return step;
    };
    match target {
        Some(target) => {
            let record =
                SegmentRecord { state: SegmentState::Building, sources: sources.to_vec(), ..target.clone() };
            let key = (collection, record.id);
            step.replace(&key, metadata.segments.get(&key), &record);
            for source in present {
                step.relies_on(&(collection, source.id), Some(source));
            }
        }
        None => give_up(&mut step, &present, None, now),
    }
    step
}

/// Records the delete files some segments at a time; the task goes with the last of them, so that its
/// segments stay out of other hands until then.
fn folded(
    metadata: &Metadata,
    task: TaskId,
    collection: CollectionId,
    files: &[(SegmentId, Option<DeletesFile>)],
    through: Timestamp,
) -> Vec<Step> {
    let mut steps = Steps::new("deletes folded");
    for (id, file) in files {
        let segment = living(metadata, collection, *id).filter(|segment| segment.deletes_through < through);
        if let Some(segment) = segment {
            let record = SegmentRecord {
                deletes: file.clone(),
                deletes_through: through,
                ..(*segment.record).clone()
            };
            steps.next().replace(&(collection, *id), Some(segment), &record);
        }
    }
    let mut steps = steps.finish();
    steps.push(done("fold done", task));
    steps
}

fn living(
    metadata: &Metadata,
    collection: CollectionId,
    segment: SegmentId,
) -> Option<&Entry<SegmentRecord>> {
    let segment = metadata.segments.get(&(collection, segment))?;
    (!matches!(segment.state, SegmentState::Dropped { .. })).then_some(segment)
}

fn flushed(
    metadata: &Metadata,
    collection: CollectionId,
    segment: SegmentId,
) -> Option<&Entry<SegmentRecord>> {
    metadata.segments.get(&(collection, segment)).filter(|segment| segment.is_flushed())
}
