//! What holds at every moment, and what holds when nothing is left to do.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{SegmentState, TaskKind};
use redkite_types::{NodeId, PartitionId, ReplicaId, SegmentId, limits};

use super::history::{World, checkpoint};
use crate::plan::busy::collection_of;
use crate::testing::{COLLECTION, shard};

/// The rows that the views of each replica serve, each once.
pub(super) fn rows_in_views(world: &World) -> BTreeMap<ReplicaId, BTreeSet<SegmentId>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for ((_, replica), view) in &world.records.metadata.views {
        let rows = all.entry(*replica).or_default();
        for entry in &view.segments {
            for row in &world.rows[&entry.segment] {
                assert!(rows.insert(*row), "rows of {row} are served twice: {view:?}");
            }
        }
    }
    all
}

pub(super) fn check(world: &World) {
    reads_are_complete(world);
    views_are_held(world);
    replicas_are_apart(world);
    tasks_do_not_collide(world);
    deltas_are_there(world);
}

/// Rows of loaded partitions are served by a view or by their leader.
fn reads_are_complete(world: &World) {
    let served: BTreeSet<_> = rows_in_views(world).into_values().flatten().collect();
    let metadata = &world.records.metadata;
    let Some(load) = world.load_record() else { return };
    let flushed = metadata.segments.values().filter(|segment| segment.is_flushed());
    let exists = |id: PartitionId| {
        metadata.collections.get(&COLLECTION).is_some_and(|record| record.partition_by_id(id).is_some())
    };
    for segment in flushed.filter(|segment| load.loaded.contains(&segment.partition)) {
        for row in world.rows[&segment.id].iter().filter(|_| exists(segment.partition)) {
            let somewhere = served.contains(row) || world.with_leader.contains(row);
            assert!(somewhere, "rows of {row}, now in {}, are served by nobody", segment.id);
        }
    }
}

/// A view names no segment whose files may be gone, and none that its node was told to release.
fn views_are_held(world: &World) {
    let metadata = &world.records.metadata;
    for view in metadata.views.values() {
        for entry in &view.segments {
            assert!(
                metadata.segments.contains_key(&(COLLECTION, entry.segment)),
                "{} is forgotten",
                entry.segment
            );
            let hold = metadata.holds.get(&(entry.node, COLLECTION));
            let held = hold.is_some_and(|hold| hold.segments.contains(&entry.segment));
            assert!(held, "{} is not to be held by {}", entry.segment, entry.node);
        }
    }
}

/// No living node is used by two replicas.
fn replicas_are_apart(world: &World) {
    let mut named = world.records.metadata.nodes_in_views(COLLECTION);
    let replicas = world.replicas().replicas;
    named.retain(|id, _| replicas.contains_key(id));
    for (id, replica) in replicas {
        named.entry(id).or_default().extend(replica.nodes);
    }
    let mut users = BTreeMap::new();
    for (id, nodes) in named {
        for node in nodes.into_iter().filter(|node| world.nodes.query.is_alive(*node)) {
            let other = users.insert(node, id);
            assert_eq!(other, None, "node {node} is used by {id}, too");
        }
    }
}

/// No segment is changed by two tasks.
fn tasks_do_not_collide(world: &World) {
    let mut seen = BTreeMap::new();
    for task in world.records.metadata.tasks.values() {
        assert_eq!(collection_of(task), COLLECTION);
        let segments = match &task.kind {
            TaskKind::BuildIndex { .. } => continue,
            TaskKind::Compact { sources, .. } => sources,
            TaskKind::FoldDeletes { segments, .. } => segments,
        };
        for segment in segments {
            let other = seen.insert(*segment, task.id);
            assert_eq!(other, None, "{segment} belongs to {} too", task.id);
        }
    }
}

/// Who opens a segment finds every delete that concerns it.
fn deltas_are_there(world: &World) {
    let metadata = &world.records.metadata;
    for (shard, through) in &world.deltas {
        let checkpoint = metadata.checkpoints.get(shard);
        if !metadata.collections.contains_key(&COLLECTION)
            || checkpoint.is_some_and(|entry| entry.deltas.iter().any(|delta| delta.through == *through))
        {
            continue;
        }
        let in_use = crate::plan::serving::placed(metadata, COLLECTION);
        for segment in metadata.segments.values().filter(|segment| segment.shard == *shard) {
            let opened =
                !matches!(segment.state, SegmentState::Dropped { .. }) || in_use.contains(&segment.id);
            let concerned = segment.min_timestamp < *through && segment.deletes_through < *through;
            assert!(!(opened && concerned), "{} lacks the deletes through {through}", segment.id);
        }
    }
}

pub(super) fn check_rest(world: &World) {
    check(world);
    let metadata = &world.records.metadata;
    assert!(metadata.tasks.is_empty() && metadata.results.is_empty());
    assert!(metadata.segments.values().all(|segment| segment.is_flushed()), "garbage is collected");
    let record = metadata.collections.get(&COLLECTION).unwrap();
    let load = world.load_record();
    let mut wanted = BTreeSet::new();
    for segment in metadata.segments.values() {
        assert!(record.partition_by_id(segment.partition).is_some());
        if load.as_ref().is_some_and(|load| load.scope.contains(segment.partition)) {
            wanted.insert(segment.id);
        }
        let indexed = metadata.indexes.get(&COLLECTION).map_or(0, |record| record.indexes.len());
        let indexed = if segment.rows < limits::MIN_ROWS_TO_INDEX { 0 } else { indexed };
        let done = segment.indexes.len() + segment.index_failures.len();
        assert!(done == indexed || (indexed == 0 && done <= 1), "{segment:?}");
    }
    let replicas = world.replicas().replicas;
    assert_eq!(replicas.len(), load.as_ref().map_or(0, |load| load.replicas as usize));
    let mut holders = 0;
    for (id, replica) in &replicas {
        let views = metadata.views.iter().filter(|((_, of), _)| of == id);
        let entries: Vec<_> = views.flat_map(|(_, view)| &view.segments).collect();
        if !replica.nodes.is_empty() {
            holders += 1;
            let served: BTreeSet<_> = entries.iter().map(|entry| entry.segment).collect();
            assert_eq!(served, wanted, "views of {id} name what is loaded");
            assert!(entries.iter().all(|entry| replica.nodes.contains(&entry.node)));
        }
    }
    assert!(metadata.views.keys().all(|(_, id)| replicas.contains_key(id)), "no view is left over");
    let open = |id: &NodeId| world.nodes.query.is_open(*id);
    let held = metadata.holds.iter().filter(|((node, _), _)| open(node));
    let held: Vec<_> = held.flat_map(|(_, hold)| hold.segments.iter().copied()).collect();
    assert_eq!(held.len(), wanted.len() * holders, "one node of each replica holds each segment");
    if let Some(load) = load.filter(|_| holders == replicas.len()) {
        let partitions = record.partitions.iter().map(|partition| partition.id);
        let partitions: BTreeSet<_> = partitions.filter(|id| load.scope.contains(*id)).collect();
        assert_eq!(load.loaded, partitions);
    }
    for ordinal in 0..2 {
        assert!(metadata.assignments.contains_key(&shard(ordinal)));
        assert!(checkpoint(world, ordinal).deltas.len() < 2, "deltas are folded");
    }
}
