//! How does a plan come about?
//!
//! By steps, each of which moves one copy or exchanges two. There are four kinds, in the order of what matters:
//! strays are placed, overloaded nodes are relieved, bytes are evened out, heat is evened out. Every step lowers a
//! potential (see `tests/potential.rs`) in which each kind only matters where those before it are equal, so
//! there is an end; and it ends only when no step is left, so that planning on the result yields nothing.
//! Copies that go back and forth within a draft have not moved in the plan.

mod exchange;
mod heat;
mod memory;
mod overload;
mod pair;
mod strays;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hashbrown::HashMap;
use redkite_types::Timestamp;

use crate::cluster::{Cluster, CopySlot, NodeSlot, Resource, ScopeSlot};
use crate::plan::{Gain, Imbalance, Move, Obstacle, Plan, Reason, Unplaced};
use crate::quantity::{Bytes, Share};
use crate::settings::BalanceSettings;

/// Why a plan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Something has changed: what must move does, and nodes that joined or took over get even.
    Change,
    /// The interval has passed: nodes that are further apart than settings allow get even, too.
    Interval,
    /// Somebody wants it now: all nodes get even.
    Demand,
}

/// A copy, where it was before, and what moved it.
#[derive(Clone, Copy, Debug)]
struct Moved {
    copy: CopySlot,
    origin: Option<NodeSlot>,
    reason: Reason,
    gain: Gain,
}

/// A copy and where it goes.
pub(crate) type Shift = (CopySlot, NodeSlot);

/// A plan in the making. The cluster shows what it would lead to, until [`Draft::finish`].
pub(crate) struct Draft<'a> {
    pub(crate) cluster: &'a mut Cluster,
    settings: &'a BalanceSettings,
    now: Timestamp,
    moved: Vec<Moved>,
    before: Imbalance,
    /// Scopes that are being evened out, by resource.
    evening: [BTreeSet<ScopeSlot>; 2],
    #[cfg(test)]
    pub(crate) steps: Vec<(Reason, Vec<Shift>)>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster, settings: &'a BalanceSettings, now: Timestamp) -> Self {
        cluster.settle();
        let before = worst(cluster);
        Self {
            cluster,
            settings,
            now,
            moved: Vec::new(),
            before,
            evening: [BTreeSet::new(), BTreeSet::new()],
            #[cfg(test)]
            steps: Vec::new(),
        }
    }

    /// Takes steps until none is left.
    pub(crate) fn run(&mut self, occasion: Occasion) {
        loop {
            let mut stepped = self.place_strays();
            if self.settings.auto_balance {
                let scopes: Vec<_> = self.cluster.scopes().map(|(slot, _)| slot).collect();
                for scope in scopes {
                    self.begin_evening(scope, occasion);
                    stepped |= self.relieve(scope);
                    if self.evening[0].contains(&scope) {
                        stepped |= self.even_memory(scope);
                    }
                    if self.evening[1].contains(&scope) {
                        stepped |= self.even_heat(scope);
                    }
                }
            }
            if !stepped {
                return;
            }
        }
    }

    /// Decides whether a scope is to be evened out.
    fn begin_evening(&mut self, slot: ScopeSlot, occasion: Occasion) {
        let settings = self.settings;
        let scope = self.cluster.scope(slot);
        let mut joined = scope.ascending(Resource::Memory).map(|node| self.cluster.node(node).has_joined());
        let at_once = occasion == Occasion::Demand || joined.any(|joined| joined);
        let spread = scope.imbalance();
        let apart = [
            spread.memory.difference() > Share::percent(settings.memory_usage_max_difference_percentage)
                || spread.memory.highest > settings.overloaded(),
            spread.cpu.difference() > Share::percent(settings.cpu_usage_max_difference_percentage),
        ];
        for (evening, apart) in self.evening.iter_mut().zip(apart) {
            if at_once || (apart && occasion == Occasion::Interval) {
                evening.insert(slot);
            }
        }
    }

    /// How far apart nodes of a scope may be once they are even in bytes.
    fn goal(&self, scope: ScopeSlot) -> Share {
        let mean = self.cluster.scope(scope).mean(Resource::Memory);
        Share(Share::percent(self.settings.balance_goal_percentage).amount(mean.0))
    }

    fn is_free(&self, copy: CopySlot) -> bool {
        self.cluster.is_free(copy, self.now, self.settings.minimum_stay_seconds)
    }

    /// Whether a copy may move to a node for the sake of evenness. A node that has joined must not wait for its share
    /// because others have joined shortly before.
    fn may_go(&self, copy: CopySlot, to: NodeSlot) -> bool {
        let lately = self.cluster.node(to).has_joined() && self.cluster.copy(copy).may_leave();
        (lately || self.is_free(copy)) && self.cluster.may_hold(to, copy)
    }

    /// What a node may use at most if a copy is to come.
    pub(crate) fn memory_limit(&self, node: NodeSlot) -> u64 {
        self.settings.overloaded().amount(self.cluster.node(node).capacity[0])
    }

    /// Moves copies, all or none of which are worth it.
    pub(crate) fn step(&mut self, shifts: &[Shift], reason: Reason, gain: Gain) {
        for (number, (copy, to)) in shifts.iter().enumerate() {
            let origin = self.cluster.copy(*copy).at;
            let place = self.cluster.copy(*copy).draft.unwrap_or_else(|| self.enter(*copy, origin, reason));
            let moved = &mut self.moved[place.get() as usize - 1];
            // What must move keeps that as its reason, wherever it ends up.
            moved.reason = moved.reason.min(reason);
            if number == 0 {
                moved.gain.memory += gain.memory;
                moved.gain.cpu += gain.cpu;
            }
            self.cluster.shift(*copy, Some(*to));
        }
        #[cfg(test)]
        self.steps.push((reason, shifts.to_vec()));
    }

    fn enter(&mut self, copy: CopySlot, origin: Option<NodeSlot>, reason: Reason) -> NonZeroU32 {
        self.moved.push(Moved { copy, origin, reason, gain: Gain::default() });
        let place = u32::try_from(self.moved.len()).ok().and_then(NonZeroU32::new);
        let place = place.expect("between 1 and 2^32 copies");
        self.cluster.note(copy, place);
        place
    }

    /// The reason of a step that evens out bytes.
    fn evening_reason(&self, to: NodeSlot) -> Reason {
        if self.cluster.node(to).has_joined() { Reason::NodeJoined } else { Reason::UnevenMemory }
    }

    /// Writes the plan down and leaves the cluster as it was.
    pub(crate) fn finish(self) -> Plan {
        let plan = self.write_down();
        self.cluster.put_back(self.moved.iter().map(|moved| (moved.copy, moved.origin)));
        plan
    }

    /// The plan, while the cluster shows what it would lead to.
    pub(crate) fn write_down(&self) -> Plan {
        let mut unplaced: Vec<_> = self.cluster.strays().iter().map(|copy| self.unplaced(*copy)).collect();
        unplaced.sort_by_key(|one| one.copy);
        let mut moves: Vec<_> = self.moved.iter().filter_map(|moved| self.written(moved)).collect();
        moves.sort_by_cached_key(|one| (one.reason, Reverse(one.bytes), one.copy));
        let duration = self.duration(&moves);
        Plan { moves, unplaced, before: self.before, after: worst(self.cluster), duration }
    }

    fn written(&self, moved: &Moved) -> Option<Move> {
        let entry = self.cluster.copy(moved.copy);
        let to = entry.at.filter(|at| Some(*at) != moved.origin)?;
        let to = self.cluster.node(to);
        let bytes = Bytes(entry.bytes());
        Some(Move {
            copy: entry.id,
            collection: self.cluster.collection_of(moved.copy),
            from: entry
                .home
                .map(|node| self.cluster.node(node))
                .filter(|node| node.observed.is_some())
                .map(|node| node.id),
            to: to.id,
            bytes,
            expected: self.time_to_load(
                bytes,
                1,
                to.observed.as_ref().map_or(0, |node| node.limits.bandwidth.0),
            ),
            reason: moved.reason,
            gain: moved.gain,
        })
    }

    fn time_to_load(&self, bytes: Bytes, turns: u64, bandwidth: u64) -> Duration {
        let millis = u128::from(bytes.0) * 1000 / u128::from(bandwidth.max(1));
        let overhead = turns.saturating_mul(self.settings.move_overhead_milliseconds);
        Duration::from_millis(crate::quantity::narrow(millis).saturating_add(overhead))
    }

    /// Targets load side by side, each at its own pace.
    fn duration(&self, moves: &[Move]) -> Duration {
        let mut targets: HashMap<_, (Bytes, u64)> = HashMap::new();
        for one in moves {
            let (bytes, count) = targets.entry(one.to).or_default();
            *bytes += one.bytes;
            *count += 1;
        }
        let limits = |id| {
            let node = self.cluster.slot_of(id).and_then(|slot| self.cluster.node(slot).observed.as_ref());
            node.map(|node| node.limits).unwrap_or_default()
        };
        let times = targets.into_iter().map(|(id, (bytes, count))| {
            let limits = limits(id);
            self.time_to_load(bytes, count.div_ceil(u64::from(limits.concurrency.max(1))), limits.bandwidth.0)
        });
        times.max().unwrap_or_default()
    }

    fn unplaced(&self, copy: CopySlot) -> Unplaced {
        let entry = self.cluster.copy(copy);
        let on = entry.home.map(|node| self.cluster.node(node).id);
        Unplaced { copy: entry.id, on, bytes: Bytes(entry.bytes()), obstacle: self.obstacle(copy) }
    }

    /// Why no node takes a copy.
    pub(crate) fn obstacle(&self, copy: CopySlot) -> Obstacle {
        self.obstacle_among(copy, self.cluster.places(copy))
    }

    pub(crate) fn obstacle_among(&self, copy: CopySlot, places: impl Iterator<Item = NodeSlot>) -> Obstacle {
        let mut places = places.peekable();
        if places.peek().is_none() {
            return Obstacle::NoNode;
        }
        let places = places.filter(|node| !self.cluster.holds_sibling(*node, copy));
        let free =
            places.map(|node| Bytes(self.memory_limit(node).saturating_sub(self.cluster.node(node).used[0])));
        let free: Vec<_> = free.collect();
        match free.iter().max() {
            None => Obstacle::HeldEverywhere,
            Some(largest) => Obstacle::NoMemory {
                needed: Bytes(self.cluster.copy(copy).bytes()),
                largest: *largest,
                free: free.iter().copied().sum(),
            },
        }
    }
}

/// The imbalance of the scope that is worst, by resource.
pub(crate) fn worst(cluster: &Cluster) -> Imbalance {
    let mut worst = Imbalance::default();
    for (_, scope) in cluster.scopes() {
        let Imbalance { memory, cpu } = scope.imbalance();
        worst.memory = worst.memory.max_by_difference(memory);
        worst.cpu = worst.cpu.max_by_difference(cpu);
    }
    worst
}
