//! What is where, and how loaded does that make nodes?
//!
//! Kept between plans and changed by what is observed, so that a plan costs what it moves and not what there is.
//! A copy counts where it will be once the moves under way are done. Nodes that serve and could exchange segments,
//! directly or by way of others, form a *scope*; within one, nodes are kept in the order of their load.

mod change;
mod copies;
mod nodes;
mod pools;
mod scopes;
mod sizes;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use hashbrown::HashMap;
use redkite_types::{CollectionId, NodeId, ReplicaId, Timestamp};

pub(crate) use self::copies::{CopyEntry, CopySlot};
pub(crate) use self::nodes::{NodeEntry, NodeSlot};
use self::pools::{PoolSlot, Pools};
pub(crate) use self::scopes::{Scope, ScopeSlot};
use crate::observed::CopyId;
use crate::quantity::Share;

/// What loads a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Memory = 0,
    Cpu = 1,
}

impl Resource {
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Cpu];
}

#[derive(Clone, Debug)]
struct ReplicaEntry {
    id: ReplicaId,
    collection: CollectionId,
    pool: PoolSlot,
    copies: Vec<CopySlot>,
    /// The other replicas of the collection.
    others: Vec<ReplicaSlot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplicaSlot(u32);

/// All nodes, replicas and copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    nodes: Vec<NodeEntry>,
    node_slots: HashMap<NodeId, NodeSlot>,
    replicas: Vec<Option<ReplicaEntry>>,
    replica_slots: HashMap<ReplicaId, ReplicaSlot>,
    /// The replicas of each collection.
    siblings: HashMap<CollectionId, Vec<ReplicaSlot>>,
    copies: Vec<CopyEntry>,
    vacant: Vec<CopySlot>,
    copy_slots: HashMap<CopyId, CopySlot>,
    pools: Pools,
    scopes: Vec<Scope>,
    /// Nodes or pools have changed since scopes were worked out.
    scopes_are_old: bool,
    strays: Vec<CopySlot>,
    /// Copies with a move under way.
    under_way: BTreeSet<CopySlot>,
}

impl Cluster {
    pub(crate) fn node(&self, slot: NodeSlot) -> &NodeEntry {
        &self.nodes[slot.at()]
    }

    /// Brings a node's copies in order, for [`NodeEntry::sized`].
    pub(crate) fn sort(&mut self, node: NodeSlot) {
        self.nodes[node.at()].sort();
    }

    pub(crate) fn slot_of(&self, node: NodeId) -> Option<NodeSlot> {
        self.node_slots.get(&node).copied()
    }

    pub(crate) fn copy(&self, slot: CopySlot) -> &CopyEntry {
        &self.copies[slot.at()]
    }

    pub(crate) fn note(&mut self, slot: CopySlot, draft: NonZeroU32) {
        self.copies[slot.at()].draft = Some(draft);
    }

    pub(crate) fn copy_of(&self, id: CopyId) -> Option<CopySlot> {
        self.copy_slots.get(&id).copied()
    }

    pub(crate) fn collection_of(&self, copy: CopySlot) -> CollectionId {
        self.replica_of(copy).collection
    }

    fn replica_of(&self, copy: CopySlot) -> &ReplicaEntry {
        self.replica(self.copy(copy).replica)
    }

    fn replica(&self, slot: ReplicaSlot) -> &ReplicaEntry {
        self.replicas[slot.0 as usize].as_ref().expect("slots of replicas are given up with their copies")
    }

    /// Copies that are nowhere, or where they may not stay; in no order.
    pub(crate) fn strays(&self) -> &[CopySlot] {
        &self.strays
    }

    pub(crate) fn under_way(&self) -> &BTreeSet<CopySlot> {
        &self.under_way
    }

    /// The scopes as of now.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (ScopeSlot, &Scope)> {
        debug_assert!(!self.scopes_are_old, "plans begin with `Cluster::settle`");
        (0..).map(ScopeSlot).zip(&self.scopes)
    }

    pub(crate) fn scope(&self, slot: ScopeSlot) -> &Scope {
        &self.scopes[slot.at()]
    }

    /// Whether a copy may be on a node: its replica may use it, and no other copy of the segment is there.
    pub(crate) fn may_hold(&self, node: NodeSlot, copy: CopySlot) -> bool {
        self.pools.contains(self.replica_of(copy).pool, node) && !self.holds_sibling(node, copy)
    }

    /// Whether another copy of the segment counts there.
    pub(crate) fn holds_sibling(&self, node: NodeSlot, copy: CopySlot) -> bool {
        self.siblings_of(copy).any(|other| other.at == Some(node))
    }

    /// Whether another copy of the segment is there, or will be.
    pub(crate) fn sibling_touches(&self, node: NodeSlot, copy: CopySlot) -> bool {
        self.siblings_of(copy).any(|other| other.touches(node))
    }

    fn siblings_of(&self, copy: CopySlot) -> impl Iterator<Item = &CopyEntry> {
        let own = self.copy(copy);
        let others = self.replica(own.replica).others.iter().map(|slot| self.replica(*slot).id);
        let segment = own.id.segment;
        let copies = others.filter_map(move |replica| self.copy_of(CopyId { replica, segment }));
        copies.map(|other| self.copy(other))
    }

    /// Whether a copy may be moved for the sake of evenness.
    pub(crate) fn is_free(&self, copy: CopySlot, now: Timestamp, stay_seconds: u64) -> bool {
        let entry = self.copy(copy);
        let stays_until = entry.moved_at.physical().saturating_add(stay_seconds.saturating_mul(1000));
        entry.may_leave() && (entry.moved_at == Timestamp::ZERO || stays_until <= now.physical())
    }

    /// Copies of the same replica on a node.
    pub(crate) fn together(&self, node: NodeSlot, copy: CopySlot) -> u32 {
        self.node(node).crowd(self.copy(copy).replica)
    }

    /// The nodes that serve of those a copy's replica may use.
    pub(crate) fn places(&self, copy: CopySlot) -> impl Iterator<Item = NodeSlot> {
        let members = self.pools.members(self.replica_of(copy).pool);
        members.iter().copied().filter(|node| self.node(*node).scope.is_some())
    }

    /// The nodes with the least memory used, of those a copy's replica may use.
    pub(crate) fn lowest_places(&self, copy: CopySlot, count: usize) -> Vec<NodeSlot> {
        self.lowest_in(self.replica_of(copy).pool, Resource::Memory, count)
    }

    /// Nodes to which something on `source` could move, the least loaded first; they and it are sorted then.
    pub(crate) fn lowest_partners(
        &mut self,
        source: NodeSlot,
        resource: Resource,
        count: usize,
    ) -> Vec<NodeSlot> {
        let pools = self.node(source).pools.keys();
        let several = pools.len() > 1;
        let mut partners: Vec<_> = pools.flat_map(|pool| self.lowest_in(*pool, resource, count)).collect();
        if several {
            partners.sort_by_key(|node| self.order_key(*node, resource));
            partners.dedup();
        }
        partners.retain(|node| *node != source);
        partners.iter().chain([&source]).for_each(|node| self.sort(*node));
        partners
    }

    fn lowest_in(&self, pool: PoolSlot, resource: Resource, count: usize) -> Vec<NodeSlot> {
        /// Up to here looking at each is cheaper than looking for the least loaded ones.
        const FEW: usize = 24;
        let members = self.pools.members(pool);
        let serving = |node: &NodeSlot| self.node(*node).scope.is_some();
        if members.len() > FEW {
            let Some(scope) = members.iter().find_map(|node| self.node(*node).scope) else {
                return Vec::new();
            };
            let ascending = self.scope(scope).ascending(resource);
            return ascending.filter(|node| self.pools.contains(pool, *node)).take(count).collect();
        }
        let mut nodes: Vec<_> = members.iter().copied().filter(serving).collect();
        nodes.sort_by_key(|node| self.order_key(*node, resource));
        nodes.truncate(count);
        nodes
    }

    /// Puts a copy elsewhere.
    pub(crate) fn shift(&mut self, copy: CopySlot, to: Option<NodeSlot>) {
        let from = std::mem::replace(&mut self.copies[copy.at()].at, to);
        if from == to {
            return;
        }
        if let Some(node) = from {
            self.detach(copy, node);
        }
        if let Some(node) = to {
            self.attach(copy, node);
        }
        self.judge(copy);
    }

    /// Puts copies that a draft has moved back, node by node: what is known of a node is spread over memory.
    pub(crate) fn put_back(&mut self, origins: impl Iterator<Item = (CopySlot, Option<NodeSlot>)>) {
        let mut changes = Vec::new();
        for (copy, origin) in origins {
            let entry = &mut self.copies[copy.at()];
            entry.draft = None;
            let at = std::mem::replace(&mut entry.at, origin);
            if at != origin {
                changes.extend(at.map(|node| (node, copy, false)));
                changes.extend(origin.map(|node| (node, copy, true)));
            }
            self.judge(copy);
        }
        changes.sort_unstable();
        for changes in changes.chunk_by(|(one, ..), (other, ..)| one == other) {
            let node = changes[0].0;
            let mut used = self.node(node).used;
            for (_, copy, comes) in changes {
                used = if *comes { self.list(*copy, node, used) } else { self.unlist(*copy, node, used) };
            }
            self.reload(node, used);
        }
    }

    fn attach(&mut self, copy: CopySlot, node: NodeSlot) {
        let used = self.list(copy, node, self.node(node).used);
        self.reload(node, used);
    }

    fn detach(&mut self, copy: CopySlot, node: NodeSlot) {
        let used = self.unlist(copy, node, self.node(node).used);
        self.reload(node, used);
    }

    /// Lists a copy at a node; what is used with it.
    fn list(&mut self, copy: CopySlot, node: NodeSlot, used: [u64; 2]) -> [u64; 2] {
        let pool = self.replica_of(copy).pool;
        let entry = &self.copies[copy.at()];
        self.nodes[node.at()].index(copy, entry, pool);
        [used[0] + entry.load[0], used[1] + entry.load[1]]
    }

    /// Lists it no more; what is used without it.
    fn unlist(&mut self, copy: CopySlot, node: NodeSlot, used: [u64; 2]) -> [u64; 2] {
        let pool = self.replica_of(copy).pool;
        let entry = &self.copies[copy.at()];
        self.nodes[node.at()].unindex(copy, entry, pool);
        [used[0] - entry.load[0], used[1] - entry.load[1]]
    }

    /// Changes what a node uses, and its place in the order of its scope.
    fn reload(&mut self, node: NodeSlot, used: [u64; 2]) {
        let entry = &mut self.nodes[node.at()];
        let before = entry.used;
        let levels = entry.set_load(used, entry.capacity);
        if let Some(scope) = entry.scope {
            self.scopes[scope.at()].reload(entry, node, before, levels);
        }
    }

    pub(crate) fn order_key(&self, node: NodeSlot, resource: Resource) -> (Share, NodeId) {
        let entry = self.node(node);
        (entry.level(resource), entry.id)
    }

    /// Notes whether a copy is where it may stay.
    fn judge(&mut self, copy: CopySlot) {
        let pool = self.replica_of(copy).pool;
        let stays = self
            .copy(copy)
            .at
            .is_some_and(|node| self.pools.contains(pool, node) && !self.node(node).is_left());
        match (stays, self.copy(copy).stray) {
            (true, Some(place)) => self.forget_stray(copy, place),
            (false, None) => {
                let place = u32::try_from(self.strays.len()).expect("fewer than 2^32 copies");
                self.copies[copy.at()].stray = Some(place);
                self.strays.push(copy);
            }
            _ => {}
        }
    }

    fn forget_stray(&mut self, copy: CopySlot, place: u32) {
        self.copies[copy.at()].stray = None;
        self.strays.swap_remove(place as usize);
        if let Some(moved) = self.strays.get(place as usize) {
            self.copies[moved.at()].stray = Some(place);
        }
    }
}
