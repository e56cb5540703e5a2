//! Nodes that have too little memory left give what they must, also segments that have moved lately.

use super::Draft;
use super::memory::TARGETS;
use super::pair::Pair;
use crate::cluster::{CopySlot, NodeSlot, Resource, ScopeSlot};
use crate::plan::Reason;

impl Draft<'_> {
    /// Relieves the overloaded nodes of a scope as far as others can help; whether they could.
    pub(super) fn relieve(&mut self, scope: ScopeSlot) -> bool {
        let descending = self.cluster.scope(scope).ascending(Resource::Memory).rev();
        let overloaded: Vec<_> = descending.take_while(|node| self.excess(*node) > 0).collect();
        let mut stepped = false;
        for node in overloaded {
            while self.excess(node) > 0 && self.relieve_once(node) {
                stepped = true;
            }
        }
        stepped
    }

    /// Bytes above the threshold.
    fn excess(&self, node: NodeSlot) -> u64 {
        self.cluster.node(node).used[0].saturating_sub(self.memory_limit(node))
    }

    fn relieve_once(&mut self, source: NodeSlot) -> bool {
        let targets = self.cluster.lowest_partners(source, Resource::Memory, TARGETS);
        let pairs =
            targets.into_iter().filter_map(|target| Pair::new(self, source, target, Resource::Memory));
        let pairs: Vec<_> = pairs.collect();
        let among =
            |respecting_stay| pairs.iter().find_map(|pair| Some((pair, self.relief(pair, respecting_stay)?)));
        let Some((pair, copy)) = among(true).or_else(|| among(false)) else {
            return false;
        };
        let gain = self.gain_of(pair, self.cluster.copy(copy).bytes());
        let shifts = [(copy, pair.target)];
        self.step(&shifts, Reason::Overloaded, gain);
        true
    }

    /// The smallest segment that is enough, else the largest there is.
    fn relief(&self, pair: &Pair, respecting_stay: bool) -> Option<CopySlot> {
        let room = self.memory_limit(pair.target).saturating_sub(self.cluster.node(pair.target).used[0]);
        let excess = self.excess(pair.source);
        let source = self.cluster.node(pair.source);
        let fits = |copy: &CopySlot| {
            let entry = self.cluster.copy(*copy);
            entry.bytes() <= room
                && pair.gain(entry.bytes()).is_some()
                && entry.may_leave()
                && (!respecting_stay || self.is_free(*copy))
                && self.cluster.may_hold(pair.target, *copy)
        };
        let mut enough = source
            .sized(Resource::Memory, excess..)
            .take_while(|copy| self.cluster.copy(*copy).bytes() <= room);
        let mut less = source.sized(Resource::Memory, 1..excess).rev();
        enough.find(fits).or_else(|| less.find(fits))
    }
}
