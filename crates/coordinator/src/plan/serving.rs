//! Which query node should hold which segment, and when do readers use it?
//!
//! Holds follow from what should be loaded. Nodes report what they hold. Views follow from that: a
//! segment enters a shard's view when it is held; a compacted segment takes the place of its sources in
//! one version; what left the view leaves the holds afterwards.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{
    CollectionRecord, Entry, HoldRecord, LoadRecord, Metadata, SegmentRecord, SegmentState, ServingView,
    ViewSegment,
};
use redkite_types::{CollectionId, NodeId, PartitionId, SegmentId, ShardId};

use crate::step::{Step, Steps};

/// The replica that is served; there is one.
pub(crate) const REPLICA: u32 = 0;

/// The next steps for one collection: views first, since holds and marks depend on what they name.
pub(crate) fn plan(metadata: &Metadata, collection: CollectionId, live: &BTreeSet<NodeId>) -> Vec<Step> {
    let record = metadata.collections.get(&collection);
    let load = metadata.loads.get(&collection);
    let (Some(record), Some(load)) = (record, load) else {
        return tear_down(metadata, collection);
    };
    let target = Target::new(metadata, record, load, live);
    let concerns = [views(metadata, record, load, &target), holds(metadata, record, &target)];
    let steps = concerns.into_iter().find(|steps| !steps.is_empty());
    steps.unwrap_or_else(|| marks(metadata, record, load, &target))
}

/// Nobody is routed to a released collection any more; then nothing needs to be held.
fn tear_down(metadata: &Metadata, collection: CollectionId) -> Vec<Step> {
    let mut steps = Steps::new("views withdrawn");
    for (key, _) in views_in(metadata, collection) {
        steps.next().delete::<ServingView>(key);
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
    /// Where each of them is to be held; missing if there is no node.
    placement: BTreeMap<SegmentId, NodeId>,
    /// Those that are held there.
    ready: BTreeSet<SegmentId>,
}

impl<'a> Target<'a> {
    fn new(
        metadata: &'a Metadata,
        record: &CollectionRecord,
        load: &LoadRecord,
        live: &BTreeSet<NodeId>,
    ) -> Self {
        let mut shards: BTreeMap<_, Vec<_>> = record.shard_ids().map(|shard| (shard, Vec::new())).collect();
        for segment in metadata.segments_of(record.id).filter(|segment| segment.is_flushed()) {
            let partition = segment.partition;
            if load.scope.contains(partition) && record.partition_by_id(partition).is_some() {
                shards.entry(segment.shard).or_default().push(segment);
            }
        }
        let placement = place(metadata, record.id, shards.values().flatten().copied(), live);
        let ready =
            placement.iter().filter(|(segment, node)| is_held(metadata, **node, record.id, **segment));
        let ready = ready.map(|(segment, _)| *segment).collect();
        Self { shards, placement, ready }
    }

    /// The node that answers for a segment, if it is ready to.
    fn ready_at(&self, segment: SegmentId) -> Option<NodeId> {
        self.ready.contains(&segment).then(|| self.placement.get(&segment).copied()).flatten()
    }
}

/// Whether the node holds the segment, and is not about to release it.
fn is_held(metadata: &Metadata, node: NodeId, collection: CollectionId, segment: SegmentId) -> bool {
    let key = (node, collection);
    metadata.held.get(&key).is_some_and(|held| held.segments.contains_key(&segment))
        && metadata.holds.get(&key).is_some_and(|hold| hold.segments.contains(&segment))
}

/// Segments stay where they are; new ones go, largest first, where the fewest bytes are.
fn place<'a>(
    metadata: &Metadata,
    collection: CollectionId,
    segments: impl Iterator<Item = &'a Entry<SegmentRecord>>,
    live: &BTreeSet<NodeId>,
) -> BTreeMap<SegmentId, NodeId> {
    let mut placement = BTreeMap::new();
    let present = present_places(metadata, collection, live);
    let mut homeless = Vec::new();
    for segment in segments {
        match present.get(&segment.id) {
            Some(node) => {
                placement.insert(segment.id, *node);
            }
            None => homeless.push(segment),
        }
    }
    if homeless.is_empty() || live.is_empty() {
        return placement;
    }
    let mut bytes = bytes_of_nodes(metadata, live);
    homeless.sort_by_key(|segment| (std::cmp::Reverse(segment.bytes), segment.id));
    for segment in homeless {
        if let Some((node, used)) = bytes.iter_mut().min_by_key(|(_, used)| **used) {
            *used += segment.bytes;
            placement.insert(segment.id, *node);
        }
    }
    placement
}

/// Where segments are to be held already, by living nodes; the node that a view names is preferred.
fn present_places(
    metadata: &Metadata,
    collection: CollectionId,
    live: &BTreeSet<NodeId>,
) -> BTreeMap<SegmentId, NodeId> {
    let mut places = BTreeMap::new();
    for node in live {
        if let Some(hold) = metadata.holds.get(&(*node, collection)) {
            for segment in &hold.segments {
                places.entry(*segment).or_insert(*node);
            }
        }
    }
    for (_, view) in views_in(metadata, collection) {
        for entry in view.segments.iter().filter(|entry| live.contains(&entry.node)) {
            places.insert(entry.segment, entry.node);
        }
    }
    places
}

fn bytes_of_nodes(metadata: &Metadata, live: &BTreeSet<NodeId>) -> BTreeMap<NodeId, u64> {
    let mut bytes: BTreeMap<_, _> = live.iter().map(|node| (*node, 0)).collect();
    // With one node there is nothing to compare.
    if live.len() > 1 {
        for ((node, collection), hold) in &metadata.holds {
            let Some(used) = bytes.get_mut(node) else { continue };
            let sizes = hold.segments.iter().map(|segment| metadata.segments.get(&(*collection, *segment)));
            *used += sizes.map(|segment| segment.map_or(0, |segment| segment.bytes)).sum::<u64>();
        }
    }
    bytes
}

fn views(
    metadata: &Metadata,
    record: &Entry<CollectionRecord>,
    load: &Entry<LoadRecord>,
    target: &Target<'_>,
) -> Vec<Step> {
    let mut steps = Steps::new("serving views");
    for (shard, segments) in &target.shards {
        let key = (*shard, REPLICA);
        let present = metadata.views.get(&key);
        let next = match present {
            Some(view) => next_view(metadata, view, segments, target, load),
            None => first_view(segments, target),
        };
        let Some(mut next) = next else { continue };
        next.sort_by_key(|entry| entry.segment);
        if present.is_some_and(|view| view.segments == next) {
            continue;
        }
        let version = present.map_or(0, |view| view.version) + 1;
        // A release in between must not be undone.
        steps.next().relies_on(&record.id, Some(load)).replace(
            &key,
            present,
            &ServingView { version, segments: next },
        );
    }
    steps.finish()
}

/// The first view names all segments at once.
fn first_view(segments: &[&Entry<SegmentRecord>], target: &Target<'_>) -> Option<Vec<ViewSegment>> {
    segments.iter().map(|segment| Some(entry(segment, target.ready_at(segment.id)?))).collect()
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
    target: &Target<'_>,
    load: &LoadRecord,
) -> Option<Vec<ViewSegment>> {
    let present: BTreeMap<_, _> = view.segments.iter().map(|entry| (entry.segment, entry)).collect();
    let mut next = Vec::new();
    let mut wanted = BTreeMap::new();
    for segment in segments {
        let served = match (target.ready_at(segment.id), present.get(&segment.id)) {
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
    for (segment, node) in &target.placement {
        wanted.entry(*node).or_default().insert(*segment);
    }
    for (_, view) in views_in(metadata, record.id) {
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

/// Marks partitions as loaded whose segments are all in views.
fn marks(
    metadata: &Metadata,
    record: &Entry<CollectionRecord>,
    load: &Entry<LoadRecord>,
    target: &Target<'_>,
) -> Vec<Step> {
    let served = views_of(metadata, record.id);
    let complete = target.shards.keys().all(|shard| metadata.views.contains_key(&(*shard, REPLICA)));
    let missing: BTreeSet<PartitionId> = target
        .shards
        .values()
        .flatten()
        .filter(|segment| !served.contains(&segment.id))
        .map(|segment| segment.partition)
        .collect();
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

/// The views of a collection.
pub(crate) fn views_in(
    metadata: &Metadata,
    collection: CollectionId,
) -> impl Iterator<Item = (&(ShardId, u32), &Entry<ServingView>)> {
    let from = (ShardId { collection, ordinal: 0 }, 0);
    let through = (ShardId { collection, ordinal: u16::MAX }, u32::MAX);
    metadata.views.range(from..=through)
}

/// The segments that the views of a collection name.
pub(crate) fn views_of(metadata: &Metadata, collection: CollectionId) -> BTreeSet<SegmentId> {
    views_in(metadata, collection)
        .flat_map(|(_, view)| view.segments.iter().map(|entry| entry.segment))
        .collect()
}

/// The segments of a collection that are to be held or that a view names.
pub(crate) fn placed(metadata: &Metadata, collection: CollectionId) -> BTreeSet<SegmentId> {
    let holds = metadata.holds_of(collection);
    let mut placed = views_of(metadata, collection);
    placed.extend(holds.flat_map(|(_, hold)| hold.segments.iter().copied()));
    placed
}
