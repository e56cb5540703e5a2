//! The planner, kept up to date.

use std::collections::{BTreeMap, BTreeSet};

use redkite_balance::{Bytes, Copy, CopyId, Cpu, FixedBytes, MoveLimits, Node, NodeState, Planner};
use redkite_catalog::{HeldSegment, Metadata, ReplicasRecord};
use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};

use super::usage::{Usage, Usages};
use crate::nodes::RoleNodes;

/// CPU of a segment is told to the planner when it has changed by more than this part of it, and by more than
/// [`NOTICED`]: heat is never quite the same twice.
const NOTICED_PART: u64 = 8;
const NOTICED: Cpu = Cpu(2_000);

/// What the planner knows of.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) planner: Planner,
    nodes: BTreeMap<NodeId, Node>,
    collections: BTreeMap<CollectionId, Known>,
}

/// What the planner knows of a collection.
#[derive(Default)]
struct Known {
    replicas: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    copies: BTreeMap<CopyId, Copy>,
}

/// What decides over how nodes are shown to the planner.
pub(crate) struct Around<'a> {
    pub(crate) nodes: &'a RoleNodes,
    pub(crate) usages: &'a Usages,
    /// Nodes that have had their share.
    pub(crate) settled: &'a BTreeSet<NodeId>,
    /// Nodes that are not to be given anything for a while.
    pub(crate) penalised: &'a BTreeSet<NodeId>,
    pub(crate) limits: MoveLimits,
}

impl Ledger {
    /// The nodes as they are now; whether that is a reason to plan anew.
    pub(crate) fn set_nodes(&mut self, around: &Around<'_>) -> bool {
        let mut changed = false;
        let alive = around.nodes.alive().filter_map(|(id, live)| Some((id, live, around.usages.get(&id)?)));
        let now: BTreeMap<_, _> =
            alive.map(|(id, live, usage)| (id, self.node(id, live.stopping, usage, around))).collect();
        for gone in self.nodes.keys().filter(|node| !now.contains_key(node)) {
            self.planner.remove_node(*gone);
            changed = true;
        }
        for node in now.values() {
            let before = self.nodes.get(&node.id);
            if before != Some(node) {
                let essence = |node: &Node| (node.state, node.memory, node.limits);
                changed |= before.map(essence) != Some(essence(node));
                self.planner.set_node(node.clone());
            }
        }
        self.nodes = now;
        changed
    }

    fn node(&self, id: NodeId, stopping: bool, usage: &Usage, around: &Around<'_>) -> Node {
        let state = match (stopping, around.penalised.contains(&id)) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Suspended,
            (false, false) => NodeState::Serving,
        };
        let spent = usage.other_cpu;
        let before = self.nodes.get(&id).map(|node| node.fixed_cpu);
        Node {
            id,
            state,
            joined: !around.settled.contains(&id),
            memory: Bytes(usage.said.memory),
            fixed: FixedBytes { other: Bytes(usage.said.other_memory), ..FixedBytes::default() },
            cpu: Cpu(u64::from(usage.said.threads) * 1_000_000),
            fixed_cpu: before.filter(|before| !is_noticed(*before, spent)).unwrap_or(spent),
            limits: around.limits,
        }
    }

    /// A collection as its records are now; whether that is a reason to plan anew.
    pub(crate) fn set_collection(
        &mut self,
        metadata: &Metadata,
        id: CollectionId,
        nodes: &RoleNodes,
        usages: &Usages,
    ) -> bool {
        let replicas = metadata.loads.get(&id).and_then(|_| metadata.replicas.get(&id));
        let Some(replicas) = replicas else {
            let Some(known) = self.collections.remove(&id) else { return false };
            known.replicas.keys().for_each(|replica| self.planner.remove_replica(*replica));
            return false;
        };
        let known = self.collections.entry(id).or_default();
        let copies = copies(metadata, id, replicas, nodes, usages, &known.copies);
        let mut changed = false;
        for gone in known.replicas.keys().filter(|replica| !replicas.replicas.contains_key(replica)) {
            self.planner.remove_replica(*gone);
        }
        known.replicas.retain(|replica, _| replicas.replicas.contains_key(replica));
        for (replica, record) in &replicas.replicas {
            if known.replicas.get(replica) != Some(&record.nodes) {
                self.planner.set_replica(*replica, id, &record.nodes);
                changed |= known.replicas.insert(*replica, record.nodes.clone()).is_some();
            }
        }
        for gone in known.copies.keys().filter(|copy| !copies.contains_key(copy)) {
            self.planner.remove_copy(*gone);
        }
        for (copy_id, copy) in &copies {
            if known.copies.get(copy_id) != Some(copy) {
                self.planner.set_copy(copy);
            }
        }
        known.copies = copies;
        changed
    }

    /// Heat has changed: what is noticed of it.
    pub(crate) fn set_heat(&mut self, usages: &Usages) {
        for known in self.collections.values_mut() {
            for copy in known.copies.values_mut() {
                let Some(now) = heat(copy.cpu, copy.node, copy.id.segment, usages) else { continue };
                copy.cpu = now;
                self.planner.set_copy(copy);
            }
        }
    }

    /// Everything that is known of nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Everything that is known of copies.
    pub(crate) fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.collections.values().flat_map(|known| known.copies.values())
    }

    pub(crate) fn copy(&self, collection: CollectionId, copy: CopyId) -> Option<&Copy> {
        self.collections.get(&collection)?.copies.get(&copy)
    }
}

fn is_noticed(before: Cpu, now: Cpu) -> bool {
    let apart = before.0.abs_diff(now.0);
    apart > NOTICED.0 && apart > before.0 / NOTICED_PART
}

/// The CPU that a copy takes, if that is not what is known. What has just come to a node is as hot as it was where it came
/// from, until it has been measured for long enough.
fn heat(known: Cpu, node: Option<NodeId>, segment: SegmentId, usages: &Usages) -> Option<Cpu> {
    let heat = usages.get(&node?)?.segments.get(&segment).copied().unwrap_or_default();
    let believed = heat.is_settled() || heat.cpu > known;
    (believed && is_noticed(known, heat.cpu)).then_some(heat.cpu)
}

fn copies(
    metadata: &Metadata,
    collection: CollectionId,
    replicas: &ReplicasRecord,
    nodes: &RoleNodes,
    usages: &Usages,
    before: &BTreeMap<CopyId, Copy>,
) -> BTreeMap<CopyId, Copy> {
    let mut held: BTreeMap<SegmentId, &HeldSegment> = BTreeMap::new();
    for (_, record) in metadata.held_of(collection) {
        held.extend(record.record.segments.iter().map(|(segment, cost)| (*segment, cost)));
    }
    let bytes = |segment: SegmentId| match held.get(&segment) {
        Some(held) => Bytes(held.resident_bytes + held.mapped_bytes),
        None => Bytes(metadata.segments.get(&(collection, segment)).map_or(0, |record| record.bytes)),
    };
    let mut copies = BTreeMap::new();
    let mut add = |replica: ReplicaId, segment: SegmentId, node: Option<NodeId>, coming: Option<NodeId>| {
        let id = CopyId { replica, segment };
        let key = (collection, (replica, segment));
        let stay = metadata.stays.get(&key).filter(|stay| Some(stay.node) == node);
        let known = before.get(&id).map(|copy| copy.cpu).unwrap_or_default();
        copies.entry(id).or_insert_with(|| Copy {
            id,
            bytes: bytes(segment),
            cpu: heat(known, node, segment, usages).unwrap_or(known),
            node,
            moving_to: metadata.moves.get(&key).map(|one| one.to).or(coming),
            moved_at: stay.map_or(Timestamp::ZERO, |stay| stay.since),
            pinned: stay.is_some_and(|stay| stay.pinned),
        });
    };
    for ((_, replica), view) in metadata.views_of(collection) {
        for entry in view.segments.iter().filter(|entry| nodes.is_alive(entry.node)) {
            add(*replica, entry.segment, Some(entry.node), None);
        }
    }
    // What is being loaded for the first time, or again after a loss, counts where it is going to be.
    for (replica, record) in &replicas.replicas {
        for node in &record.nodes {
            let hold = metadata.holds.get(&(*node, collection));
            for segment in hold.into_iter().flat_map(|hold| &hold.segments) {
                add(*replica, *segment, None, Some(*node));
            }
        }
    }
    copies
}
