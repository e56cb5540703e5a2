//! A node, and what is on it by size.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use redkite_types::NodeId;

use super::pools::PoolSlot;
use super::sizes::Sizes;
use super::{CopyEntry, CopySlot, ReplicaSlot, Resource, ScopeSlot};
use crate::observed::{Node, NodeState};
use crate::quantity::Share;

/// Where a node's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeSlot(pub(super) u32);

impl NodeSlot {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// A copy that spends less, a thousandth of a core, does not count as hot: to move it for that is never worth it.
const HOT: u64 = 1_000;

/// A node, alive or only named.
#[derive(Clone, Debug)]
pub(crate) struct NodeEntry {
    pub(crate) id: NodeId,
    /// None if it does not live.
    pub(crate) observed: Option<Node>,
    /// What it and its copies use, by resource.
    pub(crate) used: [u64; 2],
    pub(crate) capacity: [u64; 2],
    /// The one of the other.
    levels: [Share; 2],
    /// Set if it serves.
    pub(crate) scope: Option<ScopeSlot>,
    /// How many of its copies may use which nodes.
    pub(super) pools: BTreeMap<PoolSlot, u32>,
    /// How many of its copies are of which replica.
    crowds: HashMap<ReplicaSlot, u32>,
    sizes: Sizes,
    /// The hot ones only.
    heats: Sizes,
}

impl NodeEntry {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            observed: None,
            used: [0; 2],
            capacity: [1; 2],
            levels: [Share(0); 2],
            scope: None,
            pools: BTreeMap::new(),
            crowds: HashMap::new(),
            sizes: Sizes::default(),
            heats: Sizes::default(),
        }
    }

    pub(crate) fn level(&self, resource: Resource) -> Share {
        self.levels[resource as usize]
    }

    /// Sets what it uses and has; gives what that was of each other before.
    pub(super) fn set_load(&mut self, used: [u64; 2], capacity: [u64; 2]) -> [Share; 2] {
        (self.used, self.capacity) = (used, capacity);
        let levels = Resource::ALL.map(|resource| self.level_with(resource, self.used[resource as usize]));
        std::mem::replace(&mut self.levels, levels)
    }

    /// How loaded it would be if it used so much.
    pub(crate) fn level_with(&self, resource: Resource, used: u64) -> Share {
        Share::of(used, self.capacity[resource as usize])
    }

    pub(super) fn serves(&self) -> bool {
        self.observed.as_ref().is_some_and(|node| node.state == NodeState::Serving)
    }

    /// Nothing may stay on it.
    pub(super) fn is_left(&self) -> bool {
        self.observed.as_ref().is_none_or(|node| node.state == NodeState::Draining)
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.observed.as_ref().is_some_and(|node| node.joined)
    }

    /// Makes ready for [`NodeEntry::sized`].
    pub(super) fn sort(&mut self) {
        self.sizes.settle();
        self.heats.settle();
    }

    /// Its copies by size, ascending, once it is sorted.
    pub(crate) fn sized(
        &self,
        resource: Resource,
        amounts: impl RangeBounds<u64>,
    ) -> impl DoubleEndedIterator<Item = CopySlot> {
        match resource {
            Resource::Memory => &self.sizes,
            Resource::Cpu => &self.heats,
        }
        .range(amounts)
    }

    /// How many of its copies are of a replica.
    pub(super) fn crowd(&self, replica: ReplicaSlot) -> u32 {
        self.crowds.get(&replica).copied().unwrap_or(0)
    }

    pub(super) fn index(&mut self, slot: CopySlot, copy: &CopyEntry, pool: PoolSlot) {
        let (segment, [bytes, heat]) = (copy.id.segment, copy.load);
        self.sizes.insert((bytes, segment, slot));
        if heat >= HOT {
            self.heats.insert((heat, segment, slot));
        }
        *self.crowds.entry(copy.replica).or_default() += 1;
        *self.pools.entry(pool).or_default() += 1;
    }

    pub(super) fn unindex(&mut self, slot: CopySlot, copy: &CopyEntry, pool: PoolSlot) {
        let (segment, [bytes, heat]) = (copy.id.segment, copy.load);
        self.sizes.remove((bytes, segment, slot));
        if heat >= HOT {
            self.heats.remove((heat, segment, slot));
        }
        if let Entry::Occupied(mut count) = self.crowds.entry(copy.replica) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.forget_pool(pool);
    }

    pub(super) fn forget_pool(&mut self, pool: PoolSlot) {
        if let Some(count) = self.pools.get_mut(&pool) {
            *count -= 1;
            if *count == 0 {
                self.pools.remove(&pool);
            }
        }
    }
}
