//! Where does a copy go that is nowhere, or has to leave?
//!
//! The largest first, each to where the least of the memory is used then; of nodes that are about equal, to the
//! one with the fewest segments of the replica, so that many nodes share a search, and then to the idlest.

use std::cmp::Reverse;

use super::Draft;
use crate::cluster::{CopySlot, NodeSlot, Resource};
use crate::plan::{Gain, Reason};
use crate::quantity::Share;

/// How many of the emptiest nodes are compared.
const COMPARED: usize = 4;

/// Nodes are about equal if what they use differs by less than this percentage of the mean.
const ABOUT_EQUAL_PERCENTAGE: u64 = 1;

impl Draft<'_> {
    /// Places all strays that can be; whether there were any. Scopes that took some are evened out afterwards.
    pub(super) fn place_strays(&mut self) -> bool {
        let strays = self.cluster.strays().iter().map(|copy| {
            let entry = self.cluster.copy(*copy);
            (Reverse(entry.bytes()), entry.id, *copy)
        });
        let mut strays: Vec<_> = strays.collect();
        strays.sort_unstable();
        let mut placed = false;
        for (.., copy) in strays {
            placed |= self.place(copy);
        }
        placed
    }

    /// Finds a place for one copy; whether there is one.
    pub(crate) fn place(&mut self, copy: CopySlot) -> bool {
        let Some(node) = self.place_for(copy) else {
            return false;
        };
        let reason = self.stray_reason(copy);
        if let Some(scope) = self.cluster.node(node).scope {
            self.evening.iter_mut().for_each(|evening| {
                evening.insert(scope);
            });
        }
        self.step(&[(copy, node)], reason, Gain::default());
        true
    }

    fn stray_reason(&self, copy: CopySlot) -> Reason {
        let home = self.cluster.copy(copy).at.map(|node| self.cluster.node(node));
        match home.and_then(|node| node.observed.as_ref()) {
            None => Reason::Missing,
            Some(node) if node.state == crate::observed::NodeState::Draining => Reason::Drained,
            Some(_) => Reason::OutsideReplica,
        }
    }

    pub(crate) fn place_for(&self, copy: CopySlot) -> Option<NodeSlot> {
        let whole = |node: NodeSlot| self.cluster.node(node).capacity[0];
        let place = self.place_within(copy, |node| self.memory_limit(node));
        // What nobody else answers for may fill a node further than balancing would.
        let is_missing = self.cluster.copy(copy).at.is_none();
        place.or_else(|| is_missing.then(|| self.place_within(copy, whole)).flatten())
    }

    fn place_within(&self, copy: CopySlot, limit: impl Fn(NodeSlot) -> u64) -> Option<NodeSlot> {
        let bytes = self.cluster.copy(copy).bytes();
        let can_take = |node: &NodeSlot| {
            let used = self.cluster.node(*node).used[0].saturating_add(bytes);
            used <= limit(*node) && !self.cluster.holds_sibling(*node, copy)
        };
        let mut places = self.cluster.lowest_places(copy, COMPARED);
        places.retain(can_take);
        if places.is_empty() {
            places = self.cluster.places(copy).filter(can_take).collect();
        }
        let level = |node: NodeSlot| {
            let entry = self.cluster.node(node);
            entry.level_with(Resource::Memory, entry.used[0].saturating_add(bytes))
        };
        let levels: Vec<_> = places.iter().map(|node| level(*node)).collect();
        let lowest = *levels.iter().min()?;
        let mean = self.cluster.scope(self.cluster.node(places[0]).scope?).mean(Resource::Memory);
        let about_equal = lowest + Share(Share::percent(ABOUT_EQUAL_PERCENTAGE).amount(mean.0));
        let equals = places.into_iter().zip(levels).filter(|(_, level)| *level <= about_equal);
        let (node, _) = equals.min_by_key(|(node, level)| {
            let entry = self.cluster.node(*node);
            (self.cluster.together(*node, copy), entry.level(Resource::Cpu), *level, entry.id)
        })?;
        Some(node)
    }
}
