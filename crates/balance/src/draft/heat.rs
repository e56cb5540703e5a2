//! Heat: the busiest nodes give to the idlest what costs the fewest bytes, and bytes stay even.
//!
//! A hot segment goes alone if memory allows it, else a cold one of about its size comes back for it.

use std::collections::BTreeSet;

use super::memory::TARGETS;
use super::pair::Pair;
use super::{Draft, Shift};
use crate::cluster::{CopySlot, NodeSlot, Resource, ScopeSlot};
use crate::plan::{Gain, Reason};
use crate::quantity::Share;

/// How many hot segments of a source are tried with each target.
const HOT: usize = 16;

/// How many segments about as large, smaller and larger ones each, are tried in exchange for each.
const IN_EXCHANGE: usize = 6;

/// A step, and how much it brings for what it costs.
struct Candidate {
    worth: u128,
    shifts: Vec<Shift>,
    gain: Gain,
}

impl Candidate {
    /// Of equals the one found first.
    fn better(self, other: Self) -> Self {
        if other.worth > self.worth { other } else { self }
    }
}

impl Draft<'_> {
    /// Evens a scope out; whether there was anything to do.
    pub(super) fn even_heat(&mut self, scope: ScopeSlot) -> bool {
        let mut stepped = false;
        loop {
            let mut stuck = BTreeSet::new();
            let mut stepped_now = false;
            // No step leads above its source.
            let mut highest = Share(u64::MAX);
            while let Some(source) = self.next_hot(scope, &stuck, highest) {
                highest = self.cluster.node(source).level(Resource::Cpu);
                match self.cool(source, scope) {
                    Some(found) => {
                        self.step(&found.shifts, Reason::UnevenHeat, found.gain);
                        stepped_now = true;
                    }
                    None => {
                        stuck.insert(source);
                    }
                }
            }
            if !stepped_now {
                return stepped;
            }
            stepped = true;
        }
    }

    /// The busiest node that has not been asked in vain, if it is too far from the idlest.
    fn next_hot(&self, scope: ScopeSlot, stuck: &BTreeSet<NodeSlot>, highest: Share) -> Option<NodeSlot> {
        let scope = self.cluster.scope(scope);
        let lowest = scope.spread(Resource::Cpu).lowest;
        let source = scope.descending_from(Resource::Cpu, highest).find(|node| !stuck.contains(node))?;
        (self.cluster.node(source).level(Resource::Cpu) - lowest > self.heat_goal()).then_some(source)
    }

    fn heat_goal(&self) -> Share {
        Share::percent(self.settings.cpu_balance_goal_percentage)
    }

    fn cool(&mut self, source: NodeSlot, scope: ScopeSlot) -> Option<Candidate> {
        let targets = self.cluster.lowest_partners(source, Resource::Cpu, TARGETS);
        let pairs = targets.into_iter().filter_map(|target| Pair::new(self, source, target, Resource::Cpu));
        let mut pairs = pairs.filter(|pair| pair.gap() > self.heat_goal());
        pairs.find_map(|pair| self.best_for_heat(&pair, scope))
    }

    fn best_for_heat(&self, pair: &Pair, scope: ScopeSlot) -> Option<Candidate> {
        let hot = self.cluster.node(pair.source);
        let fitting = hot.sized(Resource::Cpu, 1..=pair.fitting).rev().take(HOT);
        let hotter = hot.sized(Resource::Cpu, pair.fitting + 1..).take(HOT);
        let hot = fitting.chain(hotter);
        let can_go = |copy: &CopySlot| self.is_free(*copy) && self.cluster.may_hold(pair.target, *copy);
        let mut best: Option<Candidate> = None;
        for give in hot.filter(can_go) {
            let found = self.judge_heat(pair, scope, give, None).or_else(|| {
                let exchanged = self.in_exchange(pair, give);
                let judged = exchanged.filter_map(|take| self.judge_heat(pair, scope, give, Some(take)));
                judged.reduce(Candidate::better)
            });
            best = best.into_iter().chain(found).reduce(Candidate::better);
        }
        best
    }

    /// Segments of the target about as large as one of the source.
    fn in_exchange(&self, pair: &Pair, give: CopySlot) -> impl Iterator<Item = CopySlot> {
        let bytes = self.cluster.copy(give).bytes();
        let target = self.cluster.node(pair.target);
        let smaller = target.sized(Resource::Memory, ..=bytes).rev().take(IN_EXCHANGE);
        let larger = target.sized(Resource::Memory, bytes.saturating_add(1)..).take(IN_EXCHANGE);
        let source = pair.source;
        let can_come = move |copy: &CopySlot| self.is_free(*copy) && self.cluster.may_hold(source, *copy);
        smaller.chain(larger).filter(can_come)
    }

    /// What it brings to send one segment there, and maybe one back; none if it is not worth it.
    fn judge_heat(
        &self,
        pair: &Pair,
        scope: ScopeSlot,
        give: CopySlot,
        take: Option<CopySlot>,
    ) -> Option<Candidate> {
        let given = self.cluster.copy(give);
        let taken = take.map_or([0; 2], |take| self.cluster.copy(take).load);
        let heat = given.heat().checked_sub(taken[1])?;
        let gain = pair.gain(heat).filter(|gain| *gain > 0)?;
        let bytes = given.bytes().saturating_add(taken[0]);
        let moves = 1 + u64::from(take.is_some());
        if !self.heat_repays(pair, gain, bytes, moves)
            || !self.memory_allows(pair, scope, given.bytes(), taken[0])
        {
            return None;
        }
        let cost = bytes.saturating_add(self.settings.move_overhead_bytes.0.saturating_mul(moves));
        let mut shifts = vec![(give, pair.target)];
        shifts.extend(take.map(|take| (take, pair.source)));
        let worth = (u128::from(gain) << 64) / u128::from(cost.max(1));
        Some(Candidate { worth, shifts, gain: Gain { cpu: pair.closer(gain), ..Gain::default() } })
    }

    /// Compares shares: of the CPUs that are relieved, and of the memory that is moved for it.
    fn heat_repays(&self, pair: &Pair, gain: u64, bytes: u64, moves: u64) -> bool {
        let overhead = self.settings.move_overhead_bytes.0.saturating_mul(moves);
        let moved = bytes.saturating_add(overhead);
        let capacity = [pair.source, pair.target].map(|node| self.cluster.node(node).capacity[0]);
        let cost = Share::of(moved, capacity[0]) + Share::of(moved, capacity[1]);
        let percentage = u128::from(self.settings.minimum_gain_percentage);
        u128::from(pair.closer(gain).0) * 100 >= u128::from(cost.0) * percentage
    }

    /// Whether bytes are as even as before, or as even as they should be; and there is room for both segments
    /// before either is released.
    fn memory_allows(&self, pair: &Pair, scope: ScopeSlot, out: u64, back: u64) -> bool {
        let nodes = [pair.source, pair.target];
        let entries = nodes.map(|node| self.cluster.node(node));
        let coming = [back, out];
        let mut fits = nodes.iter().zip(&entries).zip(coming).map(|((node, entry), coming)| {
            coming == 0 || entry.used[0].saturating_add(coming) <= self.memory_limit(*node)
        });
        if !fits.all(|fits| fits) {
            return false;
        }
        let used = [entries[0].used[0] - out + back, entries[1].used[0] + out - back];
        let after = [0, 1].map(|at| entries[at].level_with(Resource::Memory, used[at]));
        let before = entries.map(|entry| entry.level(Resource::Memory));
        let goal = self.goal(scope);
        let scope = self.cluster.scope(scope);
        let changed = [(nodes[0], after[0]), (nodes[1], after[1])];
        if scope.spread_with(Resource::Memory, changed) <= goal {
            return true;
        }
        let [highest, lowest] = [before[0].max(before[1]), before[0].min(before[1])];
        let [high, low] = [after[0].max(after[1]), after[0].min(after[1])];
        let not_wider = high <= highest && low >= lowest && (high < highest || low == lowest);
        not_wider && scope.spread(Resource::Memory).difference() > goal
    }
}
