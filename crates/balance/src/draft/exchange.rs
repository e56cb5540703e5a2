//! When no segment can go alone: can two change places?

use super::Draft;
use super::pair::Pair;
use crate::cluster::{CopySlot, NodeEntry, Resource};

/// How many segments of the source are tried. Those that are just large enough come first: they cost least.
const GIVEN: usize = 128;

/// How many of the target's, smaller and larger ones each, are tried for each.
const TAKEN: usize = 4;

impl Draft<'_> {
    /// Two segments that even the pair out in bytes, the source's first: those that bring most for what they cost.
    pub(super) fn exchange(&self, pair: &Pair) -> Option<[CopySlot; 2]> {
        let [source, target] = [pair.source, pair.target].map(|node| self.cluster.node(node));
        let room = [pair.source, pair.target]
            .map(|node| self.memory_limit(node).saturating_sub(self.cluster.node(node).used[0]));
        if pair.fitting > room[1] {
            return None;
        }
        let mut best: Option<(u128, [CopySlot; 2])> = None;
        for give in source.sized(Resource::Memory, pair.fitting..=room[1]).take(GIVEN) {
            if !self.may_go(give, pair.target) {
                continue;
            }
            let bytes = self.cluster.copy(give).bytes();
            let wanted = bytes - pair.fitting;
            for take in nearest(target, wanted, bytes) {
                let returned = self.cluster.copy(take).bytes();
                // Both are loaded before either is released.
                if returned > room[0] || !self.may_go(take, pair.source) {
                    continue;
                }
                let Some(gain) = pair.gain(bytes - returned) else { continue };
                let cost = bytes.saturating_add(returned);
                let worth = (u128::from(gain) << 32) / u128::from(cost);
                if self.settings.repays(gain, cost, 2) && best.is_none_or(|(most, _)| worth > most) {
                    best = Some((worth, [give, take]));
                }
            }
        }
        best.map(|(_, exchange)| exchange)
    }
}

/// Segments of about the wanted size, and smaller than what is given for them.
fn nearest(target: &NodeEntry, wanted: u64, given: u64) -> impl Iterator<Item = CopySlot> {
    let larger = target.sized(Resource::Memory, wanted..given).take(TAKEN);
    larger.chain(target.sized(Resource::Memory, ..wanted).rev().take(TAKEN))
}
