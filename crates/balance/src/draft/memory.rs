//! Bytes: the fullest nodes give to the emptiest.
//!
//! First whatever fits between what the one has too much and the other too little, large segments before small
//! ones: then hardly a byte moves that an ideal plan would not move, and few segments do. Only when nothing fits,
//! a segment goes that overshoots, or two are exchanged.

use std::collections::BTreeSet;

use super::Draft;
use super::pair::Pair;
use crate::cluster::{CopySlot, NodeSlot, Resource, ScopeSlot};
use crate::plan::Gain;
use crate::quantity::Share;

/// How many of the emptiest nodes are looked at for each source.
pub(super) const TARGETS: usize = 6;

/// Among segments of nearly the same size, how many are compared for what else they bring.
const ALIKE: usize = 3;

impl Draft<'_> {
    /// Evens a scope out; whether there was anything to do.
    pub(super) fn even_memory(&mut self, scope: ScopeSlot) -> bool {
        let mut stepped = false;
        loop {
            // Targets only fill up, so what cannot give now can rarely do so later: it is asked once a round.
            let mut stuck = BTreeSet::new();
            let mut stepped_now = false;
            // No step leads above its source.
            let mut highest = Share(u64::MAX);
            while let Some(source) = self.next_source(scope, &stuck, highest) {
                highest = self.cluster.node(source).level(Resource::Memory);
                if self.even_one(source, scope) {
                    stepped_now = true;
                } else {
                    stuck.insert(source);
                }
            }
            if !stepped_now {
                return stepped;
            }
            stepped = true;
        }
    }

    /// The fullest node that has not been asked in vain, if it is too far from the emptiest.
    fn next_source(&self, scope: ScopeSlot, stuck: &BTreeSet<NodeSlot>, highest: Share) -> Option<NodeSlot> {
        let goal = self.goal(scope);
        let scope = self.cluster.scope(scope);
        let lowest = scope.spread(Resource::Memory).lowest;
        let mut sources = scope.descending_from(Resource::Memory, highest);
        let source = sources.find(|node| !stuck.contains(node))?;
        (self.cluster.node(source).level(Resource::Memory) - lowest > goal).then_some(source)
    }

    fn even_one(&mut self, source: NodeSlot, scope: ScopeSlot) -> bool {
        let goal = self.goal(scope);
        let targets = self.cluster.lowest_partners(source, Resource::Memory, TARGETS);
        let pairs = || {
            let pairs =
                targets.iter().filter_map(|target| Pair::new(self, source, *target, Resource::Memory));
            pairs.filter(|pair| pair.gap() > goal)
        };
        let bytes = |copy| self.cluster.copy(copy).bytes();
        let single = || {
            pairs().find_map(|pair| {
                let copy = self.single(&pair)?;
                Some((pair, self.gain_of(&pair, bytes(copy)), vec![(copy, pair.target)]))
            })
        };
        let exchange = || {
            pairs().find_map(|pair| {
                let [give, take] = self.exchange(&pair)?;
                let gain = self.gain_of(&pair, bytes(give) - bytes(take));
                Some((pair, gain, vec![(give, pair.target), (take, source)]))
            })
        };
        let found = single().or_else(exchange);
        if let Some((pair, gain, shifts)) = &found {
            self.step(shifts, self.evening_reason(pair.target), *gain);
        }
        found.is_some()
    }

    pub(super) fn gain_of(&self, pair: &Pair, bytes: u64) -> Gain {
        let memory = pair.gain(bytes).map_or(Share(0), |gain| pair.closer(gain));
        Gain { memory, ..Gain::default() }
    }

    /// The segment that should go: the largest that fits, else the one that overshoots least.
    fn single(&self, pair: &Pair) -> Option<CopySlot> {
        let (least, most) = pair.repaying(self);
        let room = self.memory_limit(pair.target).saturating_sub(self.cluster.node(pair.target).used[0]);
        let most = most.min(room);
        let fitting = pair.fitting.min(room);
        if least > most {
            return None;
        }
        let source = self.cluster.node(pair.source);
        let can_go = |copy: &CopySlot| self.may_go(*copy, pair.target);
        let helps = |copy: &CopySlot| pair.gain(self.cluster.copy(*copy).bytes()).is_some();
        if least <= fitting {
            let mut fits = source.sized(Resource::Memory, least..=fitting).rev().filter(can_go);
            if let Some(largest) = fits.find(helps) {
                return Some(self.best_alike(pair, largest, fits.take(ALIKE)));
            }
        }
        let over = fitting.saturating_add(1).max(least);
        if over > most {
            return None;
        }
        let mut beyond = source.sized(Resource::Memory, over..=most).filter(can_go);
        beyond.find(helps)
    }

    /// Of segments nearly as large as the largest: one whose collection is crowded on the source, and missed on
    /// the target, for searches to run side by side; then the hottest, if that evens heat out as well.
    fn best_alike(&self, pair: &Pair, largest: CopySlot, others: impl Iterator<Item = CopySlot>) -> CopySlot {
        let bytes = self.cluster.copy(largest).bytes();
        let others = others.take_while(|copy| self.cluster.copy(*copy).bytes() >= bytes - bytes / 16);
        let [source, target] = [pair.source, pair.target].map(|node| self.cluster.node(node));
        let cooler = target.level(Resource::Cpu) < source.level(Resource::Cpu);
        let worth = |copy: &CopySlot| {
            let together = [pair.source, pair.target].map(|node| self.cluster.together(node, *copy));
            let heat = if cooler { self.cluster.copy(*copy).heat() } else { 0 };
            (i64::from(together[0]) - i64::from(together[1]), heat)
        };
        // Of equals the first, which is the largest.
        std::iter::once(largest)
            .chain(others)
            .reduce(|best, one| if worth(&one) > worth(&best) { one } else { best })
            .unwrap_or(largest)
    }
}
