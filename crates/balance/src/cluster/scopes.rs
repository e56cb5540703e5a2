//! Which nodes can be compared, and in which order does their load put them?

use std::collections::{BTreeMap, BTreeSet};

use redkite_types::NodeId;

use super::{Cluster, NodeEntry, NodeSlot, Resource};
use crate::plan::{Imbalance, Spread};
use crate::quantity::{Share, narrow};

/// Where a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ScopeSlot(pub(super) u32);

impl ScopeSlot {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// Nodes that serve and could exchange segments, directly or by way of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    orders: [BTreeSet<(Share, NodeId, NodeSlot)>; 2],
    used: [u128; 2],
    capacity: [u128; 2],
}

impl Scope {
    /// Its nodes, the least loaded first.
    pub(crate) fn ascending(&self, resource: Resource) -> impl DoubleEndedIterator<Item = NodeSlot> {
        self.orders[resource as usize].iter().map(|(_, _, node)| *node)
    }

    /// Those of its nodes that are loaded so much or less, the most loaded first.
    pub(crate) fn descending_from(
        &self,
        resource: Resource,
        highest: Share,
    ) -> impl Iterator<Item = NodeSlot> {
        let last = (highest, NodeId(i64::MAX), NodeSlot(u32::MAX));
        self.orders[resource as usize].range(..=last).rev().map(|(_, _, node)| *node)
    }

    pub(crate) fn spread(&self, resource: Resource) -> Spread {
        let order = &self.orders[resource as usize];
        Spread {
            highest: order.last().map_or(Share(0), |(level, ..)| *level),
            lowest: order.first().map_or(Share(0), |(level, ..)| *level),
            mean: self.mean(resource),
        }
    }

    pub(crate) fn imbalance(&self) -> Imbalance {
        Imbalance { memory: self.spread(Resource::Memory), cpu: self.spread(Resource::Cpu) }
    }

    /// All load of all capacity.
    pub(crate) fn mean(&self, resource: Resource) -> Share {
        let (used, capacity) = (self.used[resource as usize], self.capacity[resource as usize].max(1));
        Share(narrow(used.saturating_mul(u128::from(Share::WHOLE.0)) / capacity))
    }

    /// The part of all load that a node of this capacity should have.
    pub(crate) fn fair_part(&self, resource: Resource, capacity: u64) -> u64 {
        let (used, all) = (self.used[resource as usize], self.capacity[resource as usize].max(1));
        narrow(used.saturating_mul(u128::from(capacity)) / all)
    }

    /// The spread if two of the nodes had other levels.
    pub(crate) fn spread_with(&self, resource: Resource, changed: [(NodeSlot, Share); 2]) -> Share {
        let order = &self.orders[resource as usize];
        let others = |(_, _, node): &&(Share, NodeId, NodeSlot)| changed.iter().all(|(one, _)| one != node);
        let levels = [order.iter().find(others), order.iter().rev().find(others)];
        let levels = levels.into_iter().flatten().map(|(level, ..)| *level);
        let levels = levels.chain(changed.iter().map(|(_, level)| *level));
        let (lowest, highest) = levels.fold((Share(u64::MAX), Share(0)), |(lowest, highest), level| {
            (lowest.min(level), highest.max(level))
        });
        highest - lowest
    }

    /// Takes in a node, or follows a change of what it uses.
    pub(super) fn reload(&mut self, entry: &NodeEntry, node: NodeSlot, used: [u64; 2], levels: [Share; 2]) {
        for resource in Resource::ALL {
            let at = resource as usize;
            self.used[at] = self.used[at] - u128::from(used[at]) + u128::from(entry.used[at]);
            let (old, new) = (levels[at], entry.level(resource));
            if old != new {
                self.orders[at].remove(&(old, entry.id, node));
                self.orders[at].insert((new, entry.id, node));
            }
        }
    }

    fn take_in(&mut self, entry: &NodeEntry, node: NodeSlot) {
        for resource in Resource::ALL {
            let at = resource as usize;
            self.used[at] += u128::from(entry.used[at]);
            self.capacity[at] += u128::from(entry.capacity[at]);
            self.orders[at].insert((entry.level(resource), entry.id, node));
        }
    }
}

impl Cluster {
    /// Works scopes out anew if nodes or what replicas use have changed.
    pub(crate) fn settle(&mut self) {
        if !std::mem::take(&mut self.scopes_are_old) {
            return;
        }
        let mut groups = Groups::new(self.nodes.len());
        for members in self.pools.all() {
            let mut serving = members.iter().filter(|node| self.nodes[node.at()].serves());
            if let Some(first) = serving.next() {
                serving.for_each(|node| groups.join(first.at(), node.at()));
            }
        }
        self.scopes.clear();
        let mut slots = BTreeMap::new();
        for (at, entry) in self.nodes.iter_mut().enumerate() {
            entry.scope = None;
            if !entry.serves() {
                continue;
            }
            let slot = *slots.entry(groups.find(at)).or_insert_with(|| {
                self.scopes.push(Scope::default());
                ScopeSlot(u32::try_from(self.scopes.len() - 1).expect("fewer scopes than nodes"))
            });
            entry.scope = Some(slot);
            let node = NodeSlot(u32::try_from(at).expect("slots of nodes are numbered so"));
            self.scopes[slot.at()].take_in(entry, node);
        }
    }
}

/// Disjoint groups of nodes (union-find with path halving).
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        // The smaller number leads, so that scopes come in the order of nodes.
        self.0[one.max(other)] = one.min(other);
    }
}
