//! Which query node should hold which segment, and when do readers use it?
//!
//! Each replica holds every segment once, on its own nodes. Holds follow from what should be loaded. Nodes
//! report what they hold. Views, one per shard and replica, follow from that: a segment enters a view when
//! it is held; a compacted segment takes the place of its sources in one version; what left the views
//! leaves the holds afterwards. A node that is dead stays in the view until another holds the segment. One
//! that is stopping, or not the replica's any more, keeps its segments until they are moved; unless it is
//! stopping, no other is free, and another replica serves everything. A segment that moves is held by both
//! nodes until the target is ready: then one transaction names it in the view and ends the move.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{
    CollectionRecord, Entry, HoldRecord, LoadRecord, Metadata, ReplicasRecord, SegmentRecord, SegmentState,
    ServingView, ViewSegment,
};
use redkite_types::{CollectionId, NodeId, PartitionId, ReplicaId, SegmentId, ShardId};

use super::fleet::Fleet;
use super::{moves, replicas};
use crate::step::{Step, Steps};

/// The next steps for one collection: the replicas' nodes, then views, since holds and marks depend on
/// what they name.
pub(crate) fn plan(metadata: &Metadata, collection: CollectionId, fleet: &Fleet) -> Vec<Step> {
    let record = metadata.collections.get(&collection);
    let load = metadata.loads.get(&collection);
    let (Some(record), Some(load)) = (record, load) else {
        return tear_down(metadata, collection, fleet);
    };
    let divided = replicas::plan(metadata, record, load, fleet);
    let replicas = metadata.replicas.get(&collection).filter(|_| divided.is_empty());
    let Some(replicas) = replicas else {
        return divided;
    };
    let target = Target::new(metadata, record, load, replicas, fleet);
    let concerns: [&dyn Fn() -> Vec<Step>; 4] = [
        &|| moves::end(metadata, record.id, Some((replicas, &target.segments())), fleet),
        &|| views(metadata, record, load, replicas, &target, fleet),
        &|| holds(metadata, record, &target),
        &|| marks(metadata, record, load, &target),
    ];
    concerns.iter().map(|concern| concern()).find(|steps| !steps.is_empty()).unwrap_or_default()
}

/// Nobody is routed to a released collection any more; then nothing needs to be held.
fn tear_down(metadata: &Metadata, collection: CollectionId, fleet: &Fleet) -> Vec<Step> {
    let given_up = moves::end(metadata, collection, None, fleet);
    if !given_up.is_empty() {
        return given_up;
    }
    let mut steps = Steps::new("views withdrawn");
    for (key, _) in metadata.views_of(collection) {
        steps.next().relies_on::<LoadRecord>(&collection, None).delete::<ServingView>(key);
    }
    if let Some(replicas) = metadata.replicas.get(&collection) {
        let step = steps.next().relies_on::<LoadRecord>(&collection, None);
        step.relies_on(&collection, Some(replicas)).delete::<ReplicasRecord>(&collection);
    }
    let withdrawn = steps.finish();
    if !withdrawn.is_empty() {
        return withdrawn;
    }
    let mut steps = Steps::new("holds released");
    for (node, _) in metadata.holds_of(collection) {
        steps.next().delete::<HoldRecord>(&(node, collection));
    }
    steps.finish()
}

/// What should be served, and by whom.
struct Target<'a> {
    /// Per shard the segments that make up its loaded partitions.
    shards: BTreeMap<ShardId, Vec<&'a Entry<SegmentRecord>>>,
    /// Where they are to be held.
    replicas: BTreeMap<ReplicaId, Placement>,
}

/// Where one replica should hold its segments.
#[derive(Default)]
struct Placement {
    /// The node of each segment; missing if the replica has no node.
    nodes: BTreeMap<SegmentId, NodeId>,
    /// The nodes that moving segments go to: they are to hold them, too.
    coming: BTreeMap<SegmentId, NodeId>,
    /// The segments that are held there.
    ready: BTreeSet<SegmentId>,
    /// The replica has no node at present.
    homeless: bool,
}

impl Placement {
    /// Whether a view keeps nodes from stopping, and there are no others for the replica.
    fn is_adrift(&self, view: &ServingView, fleet: &Fleet) -> bool {
        self.homeless && view.segments.iter().any(|entry| fleet.stopping.contains(&entry.node))
    }

    /// The node that answers for a segment, if it is ready to.
    fn ready_at(&self, segment: SegmentId) -> Option<NodeId> {
        self.ready.contains(&segment).then(|| self.nodes.get(&segment).copied()).flatten()
    }
}

impl<'a> Target<'a> {
    fn new(
        metadata: &'a Metadata,
        record: &CollectionRecord,
        load: &LoadRecord,
        replicas: &ReplicasRecord,
        fleet: &Fleet,
    ) -> Self {
        let mut shards: BTreeMap<_, Vec<_>> = record.shard_ids().map(|shard| (shard, Vec::new())).collect();
        for segment in metadata.segments_of(record.id).filter(|segment| segment.is_flushed()) {
            let partition = segment.partition;
            if load.scope.contains(partition) && record.partition_by_id(partition).is_some() {
                shards.entry(segment.shard).or_default().push(segment);
            }
        }
        let mut placements = BTreeMap::new();
        for (id, replica) in &replicas.replicas {
            let present = present_places(metadata, record.id, *id, &replica.nodes, fleet);
            let mut nodes = place(shards.values().flatten().copied(), &present, &replica.nodes, fleet);
            let mut coming = moves::targets(metadata, record.id, *id);
            let arrived = coming.iter().filter(|(segment, to)| is_held(metadata, **to, record.id, **segment));
            let arrived: Vec<_> = arrived.map(|(segment, _)| *segment).take(moves::AT_ONCE).collect();
            nodes.extend(arrived.iter().filter_map(|segment| coming.remove_entry(segment)));
            let held = nodes.iter().filter(|(segment, node)| is_held(metadata, **node, record.id, **segment));
            let ready = held.map(|(segment, _)| *segment).collect();
            placements.insert(*id, Placement { nodes, coming, ready, homeless: replica.nodes.is_empty() });
        }
        Self { shards, replicas: placements }
    }

    fn segments(&self) -> BTreeSet<SegmentId> {
        self.shards.values().flatten().map(|segment| segment.id).collect()
    }

    /// Whether another replica serves everything from nodes of its own.
    fn serves_without(&self, metadata: &Metadata, without: ReplicaId) -> bool {
        let others = self.replicas.iter().filter(|(id, placement)| **id != without && !placement.homeless);
        others.map(|(id, _)| *id).any(|id| {
            self.shards.iter().all(|(shard, segments)| {
                metadata.views.get(&(*shard, id)).is_some_and(|view| lacking(view, segments).next().is_none())
            })
        })
    }
}

/// Whether the node holds the segment, and is not about to release it.
fn is_held(metadata: &Metadata, node: NodeId, collection: CollectionId, segment: SegmentId) -> bool {
    let key = (node, collection);
    metadata.held.get(&key).is_some_and(|held| held.segments.contains_key(&segment))
        && metadata.holds.get(&key).is_some_and(|hold| hold.segments.contains(&segment))
}

/// Segments stay where they are; new ones go, largest first, where most of the memory is free then.
fn place<'a>(
    segments: impl Iterator<Item = &'a Entry<SegmentRecord>>,
    present: &BTreeMap<SegmentId, NodeId>,
    nodes: &BTreeSet<NodeId>,
    fleet: &Fleet,
) -> BTreeMap<SegmentId, NodeId> {
    let mut placement = BTreeMap::new();
    let mut homeless = Vec::new();
    for segment in segments {
        match present.get(&segment.id) {
            Some(node) => {
                placement.insert(segment.id, *node);
            }
            None => homeless.push(segment),
        }
    }
    if homeless.is_empty() {
        return placement;
    }
    let mut levels = Levels::of(nodes, fleet);
    homeless.sort_by_key(|segment| (std::cmp::Reverse(segment.bytes), segment.id));
    for segment in homeless {
        if let Some(node) = levels.take(segment.bytes) {
            placement.insert(segment.id, node);
        }
    }
    placement
}

/// How full nodes are, relative to what they have.
struct Levels {
    /// Bytes in use and bytes there are, by node.
    nodes: BTreeMap<NodeId, (u64, u64)>,
}

impl Levels {
    fn of(nodes: &BTreeSet<NodeId>, fleet: &Fleet) -> Self {
        let memory = |node: &NodeId| fleet.memory.get(node).copied();
        // Of whom nothing is known may have as much as the others.
        let all_known = nodes.iter().all(|node| memory(node).is_some());
        let nodes = nodes.iter().map(|node| {
            let memory = memory(node).filter(|_| all_known).unwrap_or(u64::MAX);
            (*node, (fleet.usage.bytes(*node), memory.max(1)))
        });
        Self { nodes: nodes.collect() }
    }

    /// The node that is least full with so many bytes more; from then on it has them.
    fn take(&mut self, bytes: u64) -> Option<NodeId> {
        let level = |(used, memory): &(u64, u64)| {
            u128::from(used.saturating_add(bytes)) * u128::from(u64::MAX) / u128::from(*memory)
        };
        let (node, (used, _)) = self.nodes.iter_mut().min_by_key(|(_, node)| level(node))?;
        *used = used.saturating_add(bytes);
        Some(*node)
    }
}

/// Where segments are to be held already, by a replica's nodes; the node that a view names is preferred, as long as it
/// lives.
fn present_places(
    metadata: &Metadata,
    collection: CollectionId,
    replica: ReplicaId,
    nodes: &BTreeSet<NodeId>,
    fleet: &Fleet,
) -> BTreeMap<SegmentId, NodeId> {
    let mut places = BTreeMap::new();
    for node in nodes {
        if let Some(hold) = metadata.holds.get(&(*node, collection)) {
            for segment in &hold.segments {
                places.entry(*segment).or_insert(*node);
            }
        }
    }
    for (_, view) in metadata.views_of(collection).filter(|((_, id), _)| *id == replica) {
        for entry in view.segments.iter().filter(|entry| fleet.alive.contains(&entry.node)) {
            places.insert(entry.segment, entry.node);
        }
    }
    places
}

fn views(
    metadata: &Metadata,
    record: &Entry<CollectionRecord>,
    load: &Entry<LoadRecord>,
    replicas: &Entry<ReplicasRecord>,
    target: &Target<'_>,
    fleet: &Fleet,
) -> Vec<Step> {
    let mut steps = Steps::new("serving views");
    for (key, view) in metadata.views_of(record.id) {
        // A removed replica serves until another does.
        if !target.replicas.contains_key(&key.1) && target.serves_without(metadata, key.1) {
            let step = steps.next().relies_on(&record.id, Some(replicas));
            step.relies_on(key, Some(view)).delete::<ServingView>(key);
        }
    }
    for (shard, segments) in &target.shards {
        for (replica, placement) in &target.replicas {
            let key = (*shard, *replica);
            let present = metadata.views.get(&key);
            if let Some(view) = present.filter(|view| placement.is_adrift(view, fleet)) {
                if target.serves_without(metadata, *replica) {
                    let step = steps.next().relies_on(&record.id, Some(replicas));
                    step.relies_on(&key, Some(view)).delete::<ServingView>(&key);
                }
                continue;
            }
            let next = match present {
                Some(view) => next_view(metadata, view, segments, placement, load),
                None => first_view(segments, placement),
            };
            let Some(mut next) = next else { continue };
            next.sort_by_key(|entry| entry.segment);
            if present.is_some_and(|view| view.segments == next) {
                continue;
            }
            let version = present.map_or(0, |view| view.version) + 1;
            // A release, or the removal of the replica, in between must not be undone.
            let arrived = moves::arrived(metadata, record.id, *replica, &next);
            let step = steps.next_with(moves::OPS * arrived.len() + 1);
            step.relies_on(&record.id, Some(load)).relies_on(&record.id, Some(replicas));
            step.replace(&key, present, &ServingView { version, segments: next });
            moves::write_arrived(step, &arrived, fleet.now);
        }
    }
    steps.finish()
}

/// The segments that a view does not name.
fn lacking<'a>(
    view: &ServingView,
    segments: &'a [&Entry<SegmentRecord>],
) -> impl Iterator<Item = &'a SegmentRecord> {
    let served: BTreeSet<SegmentId> = view.segments.iter().map(|entry| entry.segment).collect();
    segments.iter().map(|segment| &*segment.record).filter(move |segment| !served.contains(&segment.id))
}

/// The first view names all segments at once.
fn first_view(segments: &[&Entry<SegmentRecord>], placement: &Placement) -> Option<Vec<ViewSegment>> {
    segments.iter().map(|segment| Some(entry(segment, placement.ready_at(segment.id)?))).collect()
}

fn entry(segment: &SegmentRecord, node: NodeId) -> ViewSegment {
    ViewSegment { segment: segment.id, partition: segment.partition, node }
}

/// What is ready comes in. What is not yet ready is answered for by others: a new segment by its
/// leader, a compacted one by its sources.
fn next_view(
    metadata: &Metadata,
    view: &ServingView,
    segments: &[&Entry<SegmentRecord>],
    placement: &Placement,
    load: &LoadRecord,
) -> Option<Vec<ViewSegment>> {
    let present: BTreeMap<_, _> = view.segments.iter().map(|entry| (entry.segment, entry)).collect();
    let mut next = Vec::new();
    let mut wanted = BTreeMap::new();
    for segment in segments {
        let served = match (placement.ready_at(segment.id), present.get(&segment.id)) {
            (Some(node), _) => Some(entry(segment, node)),
            (None, Some(entry)) => Some((*entry).clone()),
            (None, None) => None,
        };
        wanted.insert(segment.id, served.is_some());
        next.extend(served);
    }
    let all_served = wanted.values().all(|served| *served);
    for entry in &view.segments {
        let leaving = !wanted.contains_key(&entry.segment) && load.scope.contains(entry.partition);
        if leaving && must_stay(metadata, entry.segment, segments, &wanted, all_served) {
            next.push(entry.clone());
        }
    }
    Some(next)
}

/// Whether a replaced segment still answers because the one that holds its rows now does not.
fn must_stay(
    metadata: &Metadata,
    segment: SegmentId,
    segments: &[&Entry<SegmentRecord>],
    wanted: &BTreeMap<SegmentId, bool>,
    all_served: bool,
) -> bool {
    let Some(collection) = segments.first().map(|segment| segment.collection) else {
        return false;
    };
    let mut at = segment;
    loop {
        if let Some(served) = wanted.get(&at) {
            return !served;
        }
        match metadata.segments.get(&(collection, at)).map(|entry| &entry.state) {
            Some(SegmentState::Dropped { replaced_by: Some(next), .. }) => at = *next,
            // Nothing is left of its rows, or they do not belong to the collection any more.
            Some(
                SegmentState::Dropped { replaced_by: None, .. }
                | SegmentState::Flushed
                | SegmentState::Building,
            ) => return false,
            // The trail is lost: once everything is served, its rows are, too.
            None => return !all_served,
        }
    }
}

fn holds(metadata: &Metadata, record: &Entry<CollectionRecord>, target: &Target<'_>) -> Vec<Step> {
    let mut wanted: BTreeMap<NodeId, BTreeSet<SegmentId>> = BTreeMap::new();
    let wanted_of = |placement: &'_ Placement| {
        let both = placement.nodes.iter().chain(&placement.coming);
        both.map(|(segment, node)| (*segment, *node)).collect::<Vec<_>>()
    };
    for (segment, node) in target.replicas.values().flat_map(wanted_of) {
        wanted.entry(node).or_default().insert(segment);
    }
    for (_, view) in metadata.views_of(record.id) {
        for entry in &view.segments {
            wanted.entry(entry.node).or_default().insert(entry.segment);
        }
    }
    let mut steps = Steps::new("holds");
    for (node, hold) in metadata.holds_of(record.id) {
        let key = &(node, record.id);
        match wanted.remove(&node) {
            Some(segments) if segments == hold.segments => {}
            Some(segments) => {
                steps.next().replace(key, Some(hold), &HoldRecord { segments });
            }
            None => {
                steps.next().relies_on(key, Some(hold)).delete::<HoldRecord>(key);
            }
        }
    }
    for (node, segments) in wanted {
        steps.next().replace(&(node, record.id), None, &HoldRecord { segments });
    }
    steps.finish()
}

/// Marks partitions as loaded whose segments are in the views of every replica.
fn marks(
    metadata: &Metadata,
    record: &Entry<CollectionRecord>,
    load: &Entry<LoadRecord>,
    target: &Target<'_>,
) -> Vec<Step> {
    let mut complete = true;
    let mut missing: BTreeSet<PartitionId> = BTreeSet::new();
    for (shard, segments) in &target.shards {
        for replica in target.replicas.keys() {
            let Some(view) = metadata.views.get(&(*shard, *replica)) else {
                complete = false;
                continue;
            };
            missing.extend(lacking(view, segments).map(|segment| segment.partition));
        }
    }
    let exists = |partition: &PartitionId| record.partition_by_id(*partition).is_some();
    let mut loaded: BTreeSet<_> = load.loaded.iter().copied().filter(exists).collect();
    if complete {
        let wanted = record.partitions.iter().map(|partition| partition.id);
        loaded.extend(wanted.filter(|id| load.scope.contains(*id) && !missing.contains(id)));
    }
    if loaded == load.loaded {
        return Vec::new();
    }
    let mut step = Step::new("loaded");
    step.replace(&record.id, Some(load), &LoadRecord { loaded, ..(*load.record).clone() });
    vec![step]
}

/// The segments that the views of a collection name.
pub(crate) fn in_views(metadata: &Metadata, collection: CollectionId) -> BTreeSet<SegmentId> {
    metadata
        .views_of(collection)
        .flat_map(|(_, view)| view.segments.iter().map(|entry| entry.segment))
        .collect()
}

/// The segments of a collection that are to be held or that a view names.
pub(crate) fn placed(metadata: &Metadata, collection: CollectionId) -> BTreeSet<SegmentId> {
    let holds = metadata.holds_of(collection);
    let mut placed = in_views(metadata, collection);
    placed.extend(holds.flat_map(|(_, hold)| hold.segments.iter().copied()));
    placed
}
