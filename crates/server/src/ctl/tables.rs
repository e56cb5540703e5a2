//! What is shown, from the records.

use std::sync::Arc;

use redkite_catalog::{Metadata, SegmentRecord, SegmentState, TaskKind, TaskOutcome};
use redkite_cluster::session::active_key;
use redkite_cluster::sessions::Sessions;
use redkite_types::{CollectionId, NodeId, SegmentId, Timestamp};

use super::table::{self, Cell, Table};
use super::{Of, Records};
use crate::cluster::Role;

/// The metastore at a moment.
pub(super) struct Picture {
    pub(super) metadata: Metadata,
    pub(super) sessions: Arc<Sessions>,
}

pub(super) fn draw(picture: &Picture, what: Records) -> Table {
    match what {
        Records::Nodes => nodes(picture),
        Records::Sessions => sessions(picture),
        Records::Shards(of) => shards(picture, of),
        Records::Segments(of) => segments(picture, of),
        Records::Tasks => tasks(picture),
    }
}

fn nodes(picture: &Picture) -> Table {
    let mut table =
        Table::new(&["role", "node", "address", "state", "shards", "segments", "tasks", "host", "version"]);
    for role in Role::ALL {
        for (node, peer) in picture.sessions.nodes(role.name()) {
            let state = match (peer.info.stopping, role.is_coordinator()) {
                (true, _) => "stopping",
                (false, false) => "serving",
                (false, true)
                    if picture.sessions.active(role.name()).is_some_and(|a| a.info.node() == node) =>
                {
                    "active"
                }
                (false, true) => "standby",
            };
            table.add([
                role.name().into(),
                node.0.into(),
                peer.info.address.as_str().into(),
                state.into(),
                Cell::count(shards_of(picture, role, node)),
                Cell::count(segments_of(picture, role, node)),
                Cell::count(tasks_of(picture, role, node)),
                peer.info.host_name.as_str().into(),
                peer.info.version.as_str().into(),
            ]);
        }
    }
    table
}

fn shards_of(picture: &Picture, role: Role, node: NodeId) -> u64 {
    let led = picture.metadata.assignments.values().filter(|assignment| assignment.node == node);
    if role == Role::StreamingNode { led.count() as u64 } else { 0 }
}

fn segments_of(picture: &Picture, role: Role, node: NodeId) -> u64 {
    let held = picture.metadata.held.iter().filter(|((holder, _), _)| *holder == node);
    let segments = held.map(|(_, held)| held.segments.len() as u64).sum();
    if role == Role::QueryNode { segments } else { 0 }
}

fn tasks_of(picture: &Picture, role: Role, node: NodeId) -> u64 {
    let mine = picture.metadata.tasks.values().filter(|task| task.node == node);
    if role == Role::DataNode { mine.count() as u64 } else { 0 }
}

fn sessions(picture: &Picture) -> Table {
    let mut table = Table::new(&["key", "node", "address", "lease", "revision"]);
    for role in Role::ALL {
        let active = picture.sessions.active(role.name()).map(|peer| (active_key(role.name()), peer));
        let all = picture.sessions.nodes(role.name()).map(|(_, peer)| (peer.info.key(), peer));
        for (key, peer) in active.into_iter().chain(all) {
            table.add([
                key.into(),
                peer.info.server_id.into(),
                peer.info.address.as_str().into(),
                peer.lease.map_or_else(String::new, |lease| lease.to_string()).into(),
                peer.revision.0.into(),
            ]);
        }
    }
    table
}

fn name_of(picture: &Picture, collection: CollectionId) -> String {
    picture.metadata.collections.get(&collection).map_or_else(String::new, |record| record.name.clone())
}

fn shards(picture: &Picture, of: Of) -> Table {
    let mut table = Table::new(&[
        "shard",
        "collection",
        "leader",
        "epoch",
        "state",
        "checkpoint",
        "flushed through",
        "delete files",
    ]);
    let metadata = &picture.metadata;
    let wanted = |collection: CollectionId| of.collection.is_none_or(|id| id == collection.0);
    for collection in metadata.collections.values().filter(|collection| wanted(collection.id)) {
        for shard in collection.shard_ids() {
            let assignment = metadata.assignments.get(&shard);
            let status = metadata.shards.get(&shard);
            let state = match (assignment, status) {
                (None, _) => "no leader",
                (Some(assignment), Some(status)) if status.epoch == assignment.epoch => "serving",
                (Some(_), _) => "starting",
            };
            let checkpoint = metadata.checkpoints.get(&shard);
            table.add([
                shard.to_string().into(),
                name_of(picture, collection.id).into(),
                assignment.map_or_else(String::new, |assignment| assignment.node.to_string()).into(),
                assignment.map_or_else(String::new, |assignment| assignment.epoch.to_string()).into(),
                state.into(),
                checkpoint.map_or_else(String::new, |checkpoint| checkpoint.lsn.to_string()).into(),
                checkpoint.map_or_else(String::new, |checkpoint| age(checkpoint.timestamp)).into(),
                Cell::count(checkpoint.map_or(0, |checkpoint| checkpoint.deltas.len() as u64)),
            ]);
        }
    }
    table
}

/// How long ago.
fn age(timestamp: Timestamp) -> String {
    if timestamp == Timestamp::ZERO { String::new() } else { table::age(timestamp.physical()) }
}

fn segments(picture: &Picture, of: Of) -> Table {
    let mut table = Table::new(&[
        "segment",
        "collection",
        "partition",
        "shard",
        "state",
        "rows",
        "deleted",
        "bytes",
        "indexes",
        "index bytes",
        "served by",
    ]);
    for segment in picture.metadata.segments.values() {
        if of.collection.is_some_and(|id| id != segment.collection.0) {
            continue;
        }
        let index_bytes = segment.indexes.values().map(|file| file.bytes).sum();
        table.add([
            segment.id.0.into(),
            name_of(picture, segment.collection).into(),
            segment.partition.to_string().into(),
            segment.shard.to_string().into(),
            state_of(segment).into(),
            Cell::count(segment.rows),
            Cell::count(segment.deleted_rows()),
            Cell::Bytes(segment.bytes),
            Cell::count(segment.indexes.len() as u64),
            Cell::Bytes(index_bytes),
            places(picture, segment).into(),
        ]);
    }
    table
}

fn state_of(segment: &SegmentRecord) -> &'static str {
    match segment.state {
        SegmentState::Building => "building",
        SegmentState::Flushed => "flushed",
        SegmentState::Dropped { .. } => "dropped",
    }
}

/// The nodes that answer for a segment, and those that hold it without (yet) answering.
fn places(picture: &Picture, segment: &SegmentRecord) -> String {
    let views = picture.metadata.views_on(segment.shard);
    let mut serving: Vec<NodeId> = views
        .flat_map(|(_, view)| &view.segments)
        .filter(|entry| entry.segment == segment.id)
        .map(|entry| entry.node)
        .collect();
    serving.sort_unstable();
    let holding = holders(&picture.metadata, segment.collection, segment.id);
    let idle = holding.filter(|node| !serving.contains(node)).map(|node| format!("({node})"));
    serving.iter().map(ToString::to_string).chain(idle).collect::<Vec<_>>().join(" ")
}

fn holders(
    metadata: &Metadata,
    collection: CollectionId,
    segment: SegmentId,
) -> impl Iterator<Item = NodeId> {
    let held = metadata.held_of(collection);
    held.filter(move |(_, held)| held.segments.contains_key(&segment)).map(|(node, _)| node)
}

fn tasks(picture: &Picture) -> Table {
    let mut table = Table::new(&["task", "kind", "collection", "on", "node", "given out", "result"]);
    for task in picture.metadata.tasks.values() {
        let (kind, collection, on) = match &task.kind {
            TaskKind::BuildIndex { collection, segment, index, .. } => {
                ("build index", *collection, format!("segment {segment}, index {index}"))
            }
            TaskKind::Compact { collection, sources, target, .. } => {
                ("compact", *collection, format!("{} segments into {target}", sources.len()))
            }
            TaskKind::FoldDeletes { shard, segments, deltas } => (
                "fold deletes",
                shard.collection,
                format!("{} files into {} segments", deltas.len(), segments.len()),
            ),
        };
        let result = match picture.metadata.results.get(&task.id).map(|result| &result.outcome) {
            None => String::new(),
            Some(TaskOutcome::Failed { reason }) => format!("failed: {reason}"),
            Some(_) => "done".to_owned(),
        };
        table.add([
            task.id.0.into(),
            kind.into(),
            name_of(picture, collection).into(),
            on.into(),
            task.node.0.into(),
            age(task.created_at).into(),
            result.into(),
        ]);
    }
    table
}
