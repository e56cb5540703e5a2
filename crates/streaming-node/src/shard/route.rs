//! Who serves the sealed rows of a shard, and is anything served by nobody?
//!
//! A route is a pure function of the metadata and of the segments that the leader itself still has in
//! memory. The leader keeps one, makes a new one when records change, and every read uses one route from
//! beginning to end: each row is then served exactly once, by the leader or by one query node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redkite_catalog::{
    CollectionRecord, Entry, LoadRecord, Metadata, SegmentRecord, ServingView, ViewSegment,
};
use redkite_types::{CollectionId, NodeId, PartitionId, ReplicaId, SegmentId, ShardId};

/// Sealed segments that the leader has in memory, and whether it knows that the metadata once had their record.
pub(crate) type InMemory = BTreeMap<SegmentId, bool>;

/// Where the rows of a shard are served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// The collection; `None` once it is dropped.
    pub(crate) collection: Option<Entry<CollectionRecord>>,
    /// What of it is loaded.
    pub(crate) load: Option<Entry<LoadRecord>>,
    /// The replicas that have a serving view; one without segments if none has.
    pub(crate) replicas: Vec<ReplicaRoute>,
    /// Living query nodes that hold, should hold or serve segments of the collection: they get every delete.
    pub(crate) receivers: BTreeSet<NodeId>,
}

/// Where one replica serves the sealed rows of a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaRoute {
    /// Which replica.
    pub(crate) id: ReplicaId,
    /// Whether it has nodes to take what it does not serve yet.
    pub(crate) growing: bool,
    /// Its segments by node.
    pub(crate) nodes: BTreeMap<NodeId, Vec<ViewSegment>>,
    /// Segments in the leader's memory whose rows this replica serves already.
    pub(crate) superseded: BTreeSet<SegmentId>,
    /// Partitions with sealed rows that neither this replica nor the leader serves.
    pub(crate) missing: BTreeSet<PartitionId>,
}

impl Route {
    /// The route that the records allow, for a leader with these sealed segments in memory. Of the query
    /// nodes, `alive` are alive; all, if that is not known.
    pub(crate) fn plan(
        metadata: &Metadata,
        shard: ShardId,
        in_memory: &InMemory,
        alive: Option<&BTreeSet<NodeId>>,
    ) -> Self {
        let collection = metadata.collections.get(&shard.collection).cloned();
        let planner = Planner { metadata, shard, in_memory };
        let views = metadata.views_on(shard);
        let mut replicas: Vec<ReplicaRoute> =
            views.map(|(id, view)| planner.replica(id, view, collection.as_ref())).collect();
        if replicas.is_empty() {
            let nothing = ServingView::default();
            replicas.push(planner.replica(ReplicaId::default(), &nothing, collection.as_ref()));
        }
        let mut receivers = holders(metadata, shard.collection);
        receivers.extend(replicas.iter().flat_map(|replica| replica.nodes.keys()));
        if let Some(alive) = alive {
            receivers.retain(|node| alive.contains(node));
        }
        Self { collection, load: metadata.loads.get(&shard.collection).cloned(), replicas, receivers }
    }

    /// Whether the leader need not keep the rows of a segment in memory: every replica serves them. Those
    /// without nodes do not count beside others, and if memory is short, one that serves everything will do.
    pub(crate) fn supersedes(&self, segment: SegmentId, short: bool) -> bool {
        let serves = |replica: &ReplicaRoute| replica.superseded.contains(&segment);
        let counts = |replica: &&ReplicaRoute| replica.growing;
        let mut growing = self.replicas.iter().filter(counts).peekable();
        (growing.peek().is_some() && growing.all(serves))
            || self.replicas.iter().all(serves)
            || (short && self.replicas.iter().any(|replica| serves(replica) && replica.missing.is_empty()))
    }

    /// Notes that the leader lets go of a segment: who does not serve it lacks rows from now on.
    pub(crate) fn let_go(&mut self, segment: SegmentId, partition: PartitionId) {
        for replica in self.replicas.iter_mut().filter(|replica| !replica.superseded.contains(&segment)) {
            replica.missing.insert(partition);
        }
    }

    /// Whether readers may ask for a partition.
    pub(crate) fn wants(&self, partition: PartitionId) -> bool {
        self.load.as_ref().is_some_and(|load| load.scope.contains(partition))
    }

    /// Whether the partition exists.
    pub(crate) fn has_partition(&self, partition: PartitionId) -> bool {
        self.collection.as_ref().is_some_and(|record| record.partition_by_id(partition).is_some())
    }
}

impl ReplicaRoute {
    /// The nodes that a read of some partitions asks.
    pub(crate) fn asked<'a>(
        &'a self,
        partitions: &'a BTreeSet<PartitionId>,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let wanted = |segment: &ViewSegment| partitions.contains(&segment.partition);
        self.nodes.iter().filter(move |(_, segments)| segments.iter().any(wanted)).map(|(node, _)| *node)
    }
}

struct Planner<'a> {
    metadata: &'a Metadata,
    shard: ShardId,
    in_memory: &'a InMemory,
}

impl Planner<'_> {
    fn replica(
        &self,
        id: ReplicaId,
        view: &ServingView,
        collection: Option<&Entry<CollectionRecord>>,
    ) -> ReplicaRoute {
        let in_view: BTreeSet<SegmentId> = view.segments.iter().map(|segment| segment.segment).collect();
        let mut nodes: BTreeMap<NodeId, Vec<ViewSegment>> = BTreeMap::new();
        for segment in &view.segments {
            nodes.entry(segment.node).or_default().push(segment.clone());
        }
        let mut missing = BTreeSet::new();
        let mut needed = BTreeSet::new();
        for segment in self.metadata.segments_of(self.shard.collection) {
            if segment.shard != self.shard || !segment.is_flushed() || in_view.contains(&segment.id) {
                continue;
            }
            self.need(segment.id, &in_view, &mut needed);
            let exists = collection.is_some_and(|record| record.partition_by_id(segment.partition).is_some());
            if exists && !self.served(segment.id, &in_view) {
                missing.insert(segment.partition);
            }
        }
        let superseded = |(segment, recorded): (&SegmentId, &bool)| {
            let recorded = *recorded || self.record(*segment).is_some();
            let elsewhere = in_view.contains(segment) || (recorded && !needed.contains(segment));
            elsewhere.then_some(*segment)
        };
        let superseded = self.in_memory.iter().filter_map(superseded).collect();
        ReplicaRoute { id, growing: self.has_nodes(id), nodes, superseded, missing }
    }

    /// Whether new segments can be placed in a replica.
    fn has_nodes(&self, id: ReplicaId) -> bool {
        self.metadata
            .replicas
            .get(&self.shard.collection)
            .is_none_or(|record| record.replicas.get(&id).is_some_and(|replica| !replica.nodes.is_empty()))
    }

    fn record(&self, segment: SegmentId) -> Option<&SegmentRecord> {
        self.metadata.segments.get(&(self.shard.collection, segment)).map(|entry| &*entry.record)
    }

    /// Whether the rows of a flushed segment are served: by itself, or by the segments it was merged from
    /// while the view has not been switched over.
    fn served(&self, segment: SegmentId, in_view: &BTreeSet<SegmentId>) -> bool {
        if in_view.contains(&segment) || self.in_memory.contains_key(&segment) {
            return true;
        }
        self.record(segment).is_some_and(|record| {
            !record.sources.is_empty() && record.sources.iter().all(|source| self.served(*source, in_view))
        })
    }

    /// Adds a segment and what it was merged from, as far as the view does not serve it: what went into a segment
    /// of the view is served by that.
    fn need(&self, segment: SegmentId, in_view: &BTreeSet<SegmentId>, needed: &mut BTreeSet<SegmentId>) {
        if !in_view.contains(&segment)
            && needed.insert(segment)
            && let Some(record) = self.record(segment)
        {
            record.sources.iter().for_each(|source| self.need(*source, in_view, needed));
        }
    }
}

/// The nodes with a `hold` or `held` record of a collection.
fn holders(metadata: &Metadata, collection: CollectionId) -> BTreeSet<NodeId> {
    let holds = metadata.holds_of(collection).map(|(node, _)| node);
    holds.chain(metadata.held_of(collection).map(|(node, _)| node)).collect()
}

/// A route nobody has looked up yet.
pub(crate) fn unknown() -> Arc<Route> {
    Arc::new(Route::default())
}

#[cfg(test)]
mod tests;
