//! How much should go from one node to another?

use super::Draft;
use crate::cluster::{NodeSlot, Resource};
use crate::quantity::{Share, narrow};

/// A node with more load, and one with less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) source: NodeSlot,
    pub(super) target: NodeSlot,
    resource: Resource,
    used: [u64; 2],
    capacity: [u64; 2],
    levels: [Share; 2],
    /// What would make both equal.
    pub(super) equal: u64,
    /// The most that brings both closer to their fair parts: nothing moves that would have to come back.
    pub(super) fitting: u64,
}

impl Pair {
    /// None if the source is not the one with more.
    pub(super) fn new(
        draft: &Draft<'_>,
        source: NodeSlot,
        target: NodeSlot,
        resource: Resource,
    ) -> Option<Self> {
        let at = resource as usize;
        let nodes = [draft.cluster.node(source), draft.cluster.node(target)];
        let scope = draft.cluster.scope(nodes[0].scope?);
        let [used, capacity] = [nodes.map(|node| node.used[at]), nodes.map(|node| node.capacity[at])];
        let levels = nodes.map(|node| node.level(resource));
        let heavier = u128::from(used[0]) * u128::from(capacity[1]);
        let lighter = u128::from(used[1]) * u128::from(capacity[0]);
        let both = u128::from(capacity[0]) + u128::from(capacity[1]);
        let equal = narrow(heavier.checked_sub(lighter)? / both);
        if levels[1] >= levels[0] || equal == 0 {
            return None;
        }
        let fair = capacity.map(|capacity| scope.fair_part(resource, capacity));
        let excess = used[0].saturating_sub(fair[0]).min(fair[1].saturating_sub(used[1]));
        let fitting = if excess > 0 { excess.min(equal) } else { equal };
        Some(Self { source, target, resource, used, capacity, levels, equal, fitting })
    }

    pub(super) fn gap(&self) -> Share {
        self.levels[0] - self.levels[1]
    }

    /// How loaded both would be if so much went over.
    fn levels_after(&self, amount: u64) -> Option<[Share; 2]> {
        let used = [self.used[0].checked_sub(amount)?, self.used[1].checked_add(amount)?];
        Some([Share::of(used[0], self.capacity[0]), Share::of(used[1], self.capacity[1])])
    }

    /// What so much moved brings, in the same unit; less the further it goes beyond equality. None unless both
    /// nodes would be strictly between what they were.
    pub(super) fn gain(&self, amount: u64) -> Option<u64> {
        let between = |level: Share| self.levels[1] < level && level < self.levels[0];
        self.levels_after(amount)?
            .into_iter()
            .all(between)
            .then(|| if amount <= self.equal { amount } else { (self.equal * 2).saturating_sub(amount) })
    }

    /// By how much of what they have a gain brings the nodes closer.
    pub(super) fn closer(&self, gain: u64) -> Share {
        Share::of(gain, self.capacity[0]) + Share::of(gain, self.capacity[1])
    }

    /// The least and the most bytes that repay being moved alone.
    pub(super) fn repaying(&self, draft: &Draft<'_>) -> (u64, u64) {
        debug_assert_eq!(self.resource, Resource::Memory);
        let percentage = u128::from(draft.settings.minimum_gain_percentage.min(100));
        let overhead = u128::from(draft.settings.move_overhead_bytes.0) * percentage;
        let least = overhead.div_ceil((100 - percentage).max(1));
        let most = (u128::from(self.equal) * 200).saturating_sub(overhead) / (100 + percentage);
        (narrow(least).max(1), narrow(most).max(self.equal))
    }
}
