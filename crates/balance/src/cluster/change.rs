//! How does what is observed become what is known?

use std::collections::BTreeSet;

use redkite_types::{CollectionId, NodeId, ReplicaId};

use super::{Cluster, CopyEntry, CopySlot, NodeEntry, NodeSlot, ReplicaEntry, ReplicaSlot};
use crate::observed::{Copy, CopyId, Node};

impl Cluster {
    /// The entry of a node; nodes that are only named have one, too.
    fn enter(&mut self, id: NodeId) -> NodeSlot {
        *self.node_slots.entry(id).or_insert_with(|| {
            self.nodes.push(NodeEntry::new(id));
            NodeSlot(u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes ever"))
        })
    }

    /// A node has come, or has changed.
    pub(crate) fn set_node(&mut self, node: Node) {
        let slot = self.enter(node.id);
        let capacity = [node.memory.0.max(1), node.cpu.0.max(1)];
        let fixed = [node.fixed.total().0, node.fixed_cpu.0];
        let state = node.state;
        let entry = &mut self.nodes[slot.at()];
        let before = entry.observed.replace(node);
        let was_fixed = before.as_ref().map_or([0; 2], |node| [node.fixed.total().0, node.fixed_cpu.0]);
        let has_changed = before.as_ref().map(|node| node.state) != Some(state);
        if has_changed || entry.capacity != capacity {
            entry.set_load(entry.used, capacity);
            entry.scope = None;
            self.scopes_are_old = true;
        }
        let used = self.node(slot).used;
        self.reload(slot, [0, 1].map(|at| used[at] - was_fixed[at] + fixed[at]));
        if has_changed {
            self.resettle_around(slot);
        }
        if before.is_none() {
            self.strays.clone().into_iter().for_each(|copy| self.resettle(copy));
        }
    }

    /// A node is no more: its copies are nowhere.
    pub(crate) fn remove_node(&mut self, id: NodeId) {
        let Some(slot) = self.slot_of(id) else { return };
        let entry = &mut self.nodes[slot.at()];
        let Some(node) = entry.observed.take() else { return };
        entry.scope = None;
        let used = [entry.used[0] - node.fixed.total().0, entry.used[1] - node.fixed_cpu.0];
        entry.set_load(used, entry.capacity);
        self.scopes_are_old = true;
        self.resettle_around(slot);
    }

    /// What may be done with a node has changed, so its copies may belong elsewhere.
    fn resettle_around(&mut self, node: NodeSlot) {
        self.sort(node);
        let mut copies: BTreeSet<_> = self.node(node).sized(super::Resource::Memory, ..).collect();
        copies.extend(&self.under_way);
        copies.into_iter().for_each(|copy| self.resettle(copy));
    }

    /// A replica has come, or uses other nodes.
    pub(crate) fn set_replica(&mut self, id: ReplicaId, collection: CollectionId, nodes: &BTreeSet<NodeId>) {
        let mut pools = std::mem::take(&mut self.pools);
        let (pool, is_new) = pools.join(nodes.iter().copied().collect(), |node| self.enter(node));
        self.pools = pools;
        self.scopes_are_old |= is_new;
        let Some(slot) = self.replica_slots.get(&id).copied() else {
            let slot =
                ReplicaSlot(u32::try_from(self.replicas.len()).expect("fewer than 2^32 replicas ever"));
            let others = self.siblings.entry(collection).or_default();
            let entry = ReplicaEntry { id, collection, pool, copies: Vec::new(), others: others.clone() };
            for other in others.iter() {
                self.replicas[other.0 as usize].as_mut().expect("it has a slot").others.push(slot);
            }
            others.push(slot);
            self.replicas.push(Some(entry));
            self.replica_slots.insert(id, slot);
            return;
        };
        let entry = self.replicas[slot.0 as usize].as_mut().expect("it has a slot");
        let before = std::mem::replace(&mut entry.pool, pool);
        if before != pool {
            let copies = entry.copies.clone();
            for copy in &copies {
                if let Some(node) = self.copy(*copy).at {
                    let there = &mut self.nodes[node.at()];
                    there.forget_pool(before);
                    *there.pools.entry(pool).or_default() += 1;
                }
            }
            copies.into_iter().for_each(|copy| self.resettle(copy));
        }
        self.scopes_are_old |= self.pools.leave(before);
    }

    /// A replica is no more, nor are its copies.
    pub(crate) fn remove_replica(&mut self, id: ReplicaId) {
        let Some(slot) = self.replica_slots.get(&id).copied() else { return };
        for copy in self.replica(slot).copies.clone() {
            self.remove_copy(self.copy(copy).id);
        }
        let entry = self.replicas[slot.0 as usize].take().expect("it has a slot");
        self.replica_slots.remove(&id);
        for other in entry.others {
            let other = self.replicas[other.0 as usize].as_mut().expect("it has a slot");
            other.others.retain(|one| *one != slot);
        }
        if let Some(siblings) = self.siblings.get_mut(&entry.collection) {
            siblings.retain(|one| *one != slot);
            if siblings.is_empty() {
                self.siblings.remove(&entry.collection);
            }
        }
        self.scopes_are_old |= self.pools.leave(entry.pool);
    }

    /// A copy has come, or has changed. Those of unknown replicas are disregarded.
    pub(crate) fn set_copy(&mut self, copy: &Copy) {
        let Some(replica) = self.replica_slots.get(&copy.id.replica).copied() else { return };
        let home = copy.node.map(|node| self.enter(node));
        let target = copy.moving_to.map(|node| self.enter(node));
        let load = [copy.bytes.0, copy.cpu.0];
        let slot = self.copy_of(copy.id).unwrap_or_else(|| self.new_copy(copy.id, replica));
        if self.copy(slot).load != load {
            self.shift(slot, None);
        }
        let entry = &mut self.copies[slot.at()];
        entry.load = load;
        entry.home = home;
        entry.target = target;
        entry.moved_at = copy.moved_at;
        entry.pinned = copy.pinned;
        if target.is_some() {
            self.under_way.insert(slot);
        } else {
            self.under_way.remove(&slot);
        }
        self.resettle(slot);
    }

    fn new_copy(&mut self, id: CopyId, replica: ReplicaSlot) -> CopySlot {
        let siblings = &mut self.replicas[replica.0 as usize].as_mut().expect("it has a slot").copies;
        let entry = CopyEntry {
            id,
            replica,
            position: u32::try_from(siblings.len()).expect("fewer than 2^32 segments"),
            stray: None,
            load: [0; 2],
            home: None,
            target: None,
            on_its_way: false,
            draft: None,
            at: None,
            moved_at: redkite_types::Timestamp::ZERO,
            pinned: false,
        };
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.copies[slot.at()] = entry;
                slot
            }
            None => {
                self.copies.push(entry);
                CopySlot(u32::try_from(self.copies.len() - 1).expect("fewer than 2^32 copies"))
            }
        };
        siblings.push(slot);
        self.copy_slots.insert(id, slot);
        slot
    }

    /// A copy is no more.
    pub(crate) fn remove_copy(&mut self, id: CopyId) {
        let Some(slot) = self.copy_slots.remove(&id) else { return };
        self.shift(slot, None);
        if let Some(place) = self.copy(slot).stray {
            self.forget_stray(slot, place);
        }
        self.under_way.remove(&slot);
        let (replica, position) = (self.copy(slot).replica, self.copy(slot).position);
        let siblings = &mut self.replicas[replica.0 as usize].as_mut().expect("it has a slot").copies;
        siblings.swap_remove(position as usize);
        if let Some(moved) = siblings.get(position as usize) {
            self.copies[moved.at()].position = position;
        }
        self.vacant.push(slot);
    }

    /// Puts a copy where it counts: at the target of its move, else where it is.
    fn resettle(&mut self, copy: CopySlot) {
        let entry = self.copy(copy);
        let pool = self.replica_of(copy).pool;
        let target =
            entry.target.filter(|node| self.node(*node).serves() && self.pools.contains(pool, *node));
        let home = entry.home.filter(|node| self.node(*node).observed.is_some());
        self.copies[copy.at()].on_its_way = target.is_some();
        self.shift(copy, target.or(home));
        self.judge(copy);
    }

    /// Takes a move for begun.
    pub(crate) fn begin(&mut self, copy: CopySlot, to: NodeId, by_hand: bool) {
        let to = self.enter(to);
        let entry = &mut self.copies[copy.at()];
        entry.target = Some(to);
        entry.pinned |= by_hand;
        self.under_way.insert(copy);
        self.resettle(copy);
    }
}
