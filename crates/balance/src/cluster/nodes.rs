//! A node, and what is on it by size.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use redkite_types::{NodeId, SegmentId};

use super::pools::PoolSlot;
use super::{CopySlot, Resource, ScopeSlot};
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

/// Copies by the amount of one resource.
type BySize = BTreeSet<(u64, SegmentId, CopySlot)>;

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
    sizes: BySize,
    /// The hot ones only.
    heats: BySize,
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
            sizes: BySize::new(),
            heats: BySize::new(),
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

    /// Its copies by size, ascending.
    pub(crate) fn sized(
        &self,
        resource: Resource,
        amounts: impl RangeBounds<u64>,
    ) -> impl DoubleEndedIterator<Item = CopySlot> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        const FIRST: (SegmentId, CopySlot) = (SegmentId(i64::MIN), CopySlot(0));
        const LAST: (SegmentId, CopySlot) = (SegmentId(i64::MAX), CopySlot(u32::MAX));
        let from = match amounts.start_bound() {
            Included(amount) => Included((*amount, FIRST.0, FIRST.1)),
            Excluded(amount) => Excluded((*amount, LAST.0, LAST.1)),
            Unbounded => Unbounded,
        };
        let to = match amounts.end_bound() {
            Included(amount) => Included((*amount, LAST.0, LAST.1)),
            Excluded(amount) => Excluded((*amount, FIRST.0, FIRST.1)),
            Unbounded => Unbounded,
        };
        let sizes = match resource {
            Resource::Memory => &self.sizes,
            Resource::Cpu => &self.heats,
        };
        sizes.range((from, to)).map(|(_, _, copy)| *copy)
    }

    pub(super) fn index(&mut self, copy: CopySlot, segment: SegmentId, [bytes, heat]: [u64; 2]) {
        self.sizes.insert((bytes, segment, copy));
        if heat >= HOT {
            self.heats.insert((heat, segment, copy));
        }
    }

    pub(super) fn unindex(&mut self, copy: CopySlot, segment: SegmentId, [bytes, heat]: [u64; 2]) {
        self.sizes.remove(&(bytes, segment, copy));
        if heat >= HOT {
            self.heats.remove(&(heat, segment, copy));
        }
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
