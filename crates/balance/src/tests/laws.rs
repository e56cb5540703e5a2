//! What holds for any cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use redkite_types::{NodeId, Timestamp};

use super::potential::Potential;
use super::world::{MIB, copy, node, now};
use crate::cluster::Resource;
use crate::draft::Draft;
use crate::{
    BalanceSettings, Bytes, Copy, CopyId, Cpu, FixedBytes, NodeState, Observed, Occasion, Plan, Planner,
    Reason, Replica, Share,
};

fn occasions() -> impl Strategy<Value = Occasion> {
    prop_oneof![Just(Occasion::Change), Just(Occasion::Interval), Just(Occasion::Demand)]
}

fn nodes() -> impl Strategy<Value = Vec<crate::Node>> {
    let state = prop_oneof![
        8 => Just(NodeState::Serving), 1 => Just(NodeState::Suspended), 1 => Just(NodeState::Draining)
    ];
    let one =
        (prop_oneof![Just(16), Just(32), Just(64), 1..100_u64], 0..30_u64, state, any::<bool>(), 1..5_u64);
    prop::collection::vec(one, 1..9).prop_map(|nodes| {
        let nodes = (1..).zip(nodes);
        let nodes = nodes.map(|(id, (memory, fixed, state, joined, cores))| {
            let mut node = node(id, memory * MIB);
            node.fixed = FixedBytes { growing: Bytes(memory * MIB * fixed / 100), ..FixedBytes::default() };
            (node.state, node.joined, node.cpu) = (state, joined, Cpu(cores * 1_000_000));
            node
        });
        nodes.collect()
    })
}

#[derive(Clone, Debug)]
struct Segment {
    bytes: u64,
    /// Per replica: CPU, where it is, where it is going, whether it moved lately, whether it is pinned.
    copies: Vec<(u64, Index, Option<Index>, bool, bool)>,
}

fn segment() -> impl Strategy<Value = Segment> {
    let bytes = prop_oneof![1 => Just(1), 1 => 1..2048_u64, 4 => 64 * 1024..MIB, 4 => MIB..6 * MIB, 1 => 6 * MIB..30 * MIB];
    let cpu = prop_oneof![3 => Just(0), 3 => 0..50_000_u64, 1 => 0..1_000_000_u64];
    let going = prop_oneof![9 => Just(None), 1 => any::<Index>().prop_map(Some)];
    let one = (cpu, any::<Index>(), going, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (bytes, prop::collection::vec(one, 3)).prop_map(|(bytes, copies)| Segment { bytes, copies })
}

/// Which nodes replicas of a collection may use, by place, and its segments.
fn collection() -> impl Strategy<Value = (Vec<u16>, Vec<Segment>)> {
    let pool =
        prop_oneof![3 => Just(u16::MAX), 2 => any::<u16>(), 1 => Just(0b0101_0101), 1 => Just(0b1010_1010)];
    (prop::collection::vec(pool, 1..4), prop::collection::vec(segment(), 0..25))
}

prop_compose! {
    /// Any cluster in which no node holds a segment twice.
    fn clusters()(
        nodes in nodes(), collections in prop::collection::vec(collection(), 1..5), homely in any::<bool>(),
    ) -> Observed {
        let mut observed = Observed { nodes, ..Observed::default() };
        let (mut replicas, mut segments) = (0.., 0..);
        for (collection, (pools, members)) in (0..).zip(collections) {
            let ids: Vec<i64> = replicas.by_ref().take(pools.len()).collect();
            for (id, pool) in ids.iter().zip(&pools) {
                let usable = (1..=9).filter(|node| pool & (1 << node) != 0).map(NodeId);
                let nodes = Arc::new(usable.collect());
                let collection = redkite_types::CollectionId(collection);
                observed.replicas.push(Replica { id: redkite_types::ReplicaId(*id), collection, nodes });
            }
            for (number, segment) in segments.by_ref().zip(members) {
                let mut taken = BTreeSet::new();
                for ((id, pool), (cpu, at, going, lately, pinned)) in ids.iter().zip(&pools).zip(segment.copies) {
                    let mut one = copy(*id, number, segment.bytes, None);
                    // Nodes 8 and above may not live; half of the clusters have nothing astray.
                    let usable: Vec<i64> = (1..=9).filter(|node| pool & (1 << node) != 0 || !homely).collect();
                    let lives = |node: &i64| observed.nodes.iter().any(|one| one.id.0 == *node && one.state == NodeState::Serving);
                    let usable: Vec<_> = usable.into_iter().filter(|node| !homely || lives(node)).collect();
                    let pick = |index: Index| (!usable.is_empty()).then(|| NodeId(*index.get(&usable)));
                    one.cpu = Cpu(cpu);
                    one.node = pick(at).filter(|node| taken.insert(*node));
                    one.moving_to = going.and_then(pick).filter(|node| taken.insert(*node));
                    one.moved_at = if lately { now() } else { Timestamp::ZERO };
                    one.pinned = pinned;
                    observed.copies.push(one);
                }
            }
        }
        observed
    }
}

fn settings() -> BalanceSettings {
    BalanceSettings::default()
}

fn plan(observed: &Observed, occasion: Occasion) -> Plan {
    crate::plan(observed, &settings(), occasion, now())
}

fn copies(observed: &Observed) -> BTreeMap<CopyId, &Copy> {
    observed.copies.iter().map(|copy| (copy.id, copy)).collect()
}

/// How often each node holds each segment.
fn holders(observed: &Observed, plan: &Plan) -> BTreeMap<(redkite_types::SegmentId, NodeId), usize> {
    let mut holders = BTreeMap::new();
    for (id, node) in plan.assignment(observed) {
        if let Some(node) = node {
            *holders.entry((id.segment, node)).or_default() += 1;
        }
    }
    holders
}

fn may_serve(observed: &Observed, id: CopyId, node: NodeId) -> bool {
    let replica = observed.replicas.iter().find(|replica| replica.id == id.replica).unwrap();
    let serves = |one: &crate::Node| one.id == node && one.state == NodeState::Serving;
    replica.nodes.contains(&node) && observed.nodes.iter().any(serves)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// So planning ends.
    #[test]
    fn every_step_lowers_the_potential(observed in clusters(), occasion in occasions()) {
        let settings = settings();
        let mut planner = Planner::of(&observed, settings.clone());
        let mut replayed = planner.cluster.clone();
        replayed.settle();
        let mut draft = Draft::new(&mut planner.cluster, &settings, now());
        draft.run(occasion);
        let mut before = Potential::of(&replayed, &settings);
        for (reason, shifts) in &draft.steps {
            let spreads: Vec<_> = replayed.scopes().map(|(_, scope)| scope.imbalance()).collect();
            for (copy, to) in shifts {
                replayed.shift(*copy, Some(*to));
            }
            let after = Potential::of(&replayed, &settings);
            prop_assert!(after < before, "{reason:?} {after:?} {before:?}");
            before = after;
            if *reason < Reason::Overloaded {
                continue;
            }
            for ((_, scope), before) in replayed.scopes().zip(spreads) {
                let after = scope.imbalance();
                let goal = Share::percent(5).amount(scope.mean(Resource::Memory).0);
                let most = before.memory.difference().max(Share(goal));
                prop_assert!(after.memory.difference() <= most, "{reason:?}: memory {before:?} {after:?}");
                prop_assert!(
                    *reason < Reason::UnevenHeat || after.cpu.difference() <= before.cpu.difference(),
                    "CPU {before:?} {after:?}"
                );
            }
        }
    }

    #[test]
    fn planning_on_the_result_yields_nothing(observed in clusters(), occasion in occasions()) {
        let first = plan(&observed, occasion);
        let second = plan(&observed.after(&first, now()), occasion);
        prop_assert_eq!(&second.moves, &Vec::new());
        prop_assert_eq!(second.unplaced.len(), first.unplaced.len());
        prop_assert_eq!(second.before, first.after);
        // The same while the moves are under way, and long after.
        let mut planner = Planner::of(&observed, settings());
        planner.begin(&first.moves);
        prop_assert_eq!(&planner.plan(occasion, now()).moves, &Vec::new());
    }

    #[test]
    fn imbalance_never_grows(observed in clusters(), occasion in occasions()) {
        let plan = plan(&observed, occasion);
        let forced = plan.moves.iter().any(|one| one.reason < Reason::Overloaded);
        let goal = Share::percent(5).amount(plan.after.memory.mean.0);
        if !forced && plan.after.memory.difference().0 > goal {
            prop_assert!(plan.after.memory.difference() <= plan.before.memory.difference());
        }
        if plan.moves.iter().all(|one| one.reason == Reason::UnevenHeat) {
            prop_assert!(plan.after.cpu.difference() <= plan.before.cpu.difference());
        }
    }

    #[test]
    fn copies_go_only_where_they_may(observed in clusters(), occasion in occasions()) {
        let plan = plan(&observed, occasion);
        let held_before = holders(&observed, &Plan::default());
        for (place, count) in holders(&observed, &plan) {
            prop_assert!(count <= held_before.get(&place).copied().unwrap_or(0).max(1), "{place:?} twice");
        }
        let copies = copies(&observed);
        for one in &plan.moves {
            prop_assert!(may_serve(&observed, one.copy, one.to), "{one:?}");
            prop_assert!(one.from != Some(one.to));
            let copy = copies[&one.copy];
            let at = copy.moving_to.filter(|node| may_serve(&observed, copy.id, *node));
            prop_assert!(at.is_none(), "a move under way is changed: {one:?}");
            if one.reason >= Reason::Overloaded {
                prop_assert!(!copy.pinned, "what was put there by hand moves: {one:?}");
            }
            if one.reason > Reason::Overloaded {
                let joined = observed.nodes.iter().any(|node| node.id == one.to && node.joined);
                let may = copy.moved_at == Timestamp::ZERO || joined;
                prop_assert!(may, "a recent move is undone: {one:?}");
            }
        }
    }

    #[test]
    fn what_must_leave_does_or_is_named(observed in clusters(), occasion in occasions()) {
        let plan = plan(&observed, occasion);
        let stuck: BTreeSet<_> = plan.unplaced.iter().map(|one| one.copy).collect();
        let suspended = |node: NodeId| {
            let one = observed.nodes.iter().find(|one| one.id == node);
            one.is_some_and(|one| one.state == NodeState::Suspended)
        };
        let after = observed.after(&plan, now());
        for copy in &after.copies {
            let target = copy.moving_to.filter(|node| may_serve(&observed, copy.id, *node));
            let at = target.or(copy.node);
            let replica = observed.replicas.iter().find(|replica| replica.id == copy.id.replica).unwrap();
            let stays = |node: NodeId| replica.nodes.contains(&node) && suspended(node);
            let well = at.is_some_and(|node| may_serve(&observed, copy.id, node) || stays(node));
            prop_assert_eq!(!well, stuck.contains(&copy.id), "{:?}", copy);
        }
    }

    #[test]
    fn moves_do_not_overload(observed in clusters(), occasion in occasions()) {
        let plan = plan(&observed, occasion);
        let used = |assigned: &BTreeMap<CopyId, Option<NodeId>>, node: NodeId| {
            let here = observed.copies.iter().filter(|copy| assigned[&copy.id] == Some(node));
            here.map(|copy| copy.bytes.0).sum::<u64>()
        };
        let (before, after) = (Plan::default().assignment(&observed), plan.assignment(&observed));
        for node in observed.nodes.iter().filter(|node| node.state == NodeState::Serving) {
            let fixed = node.fixed.total().0;
            let [before, after] = [&before, &after].map(|assigned| fixed + used(assigned, node.id));
            let new = plan.moves.iter().any(|one| one.to == node.id && one.reason == Reason::Missing);
            let limit = if new { node.memory.0 } else { node.memory.0 * 9 / 10 };
            prop_assert!(after <= before.max(limit), "{} of {:?}", after, node);
        }
    }

    /// Whatever has happened in between, what the planner knows is what is there.
    #[test]
    fn changes_lead_where_a_fresh_start_does(
        was in clusters(), is in clusters(), occasion in occasions(), asked in any::<bool>(),
    ) {
        let mut planner = Planner::of(&was, settings());
        if asked {
            let _ = planner.plan(occasion, now());
            if let Some(node) = was.nodes.first() {
                let _ = planner.drain(node.id, now());
            }
        }
        let known: BTreeSet<_> = copies(&is).into_keys().collect();
        was.nodes.iter().filter(|one| is.nodes.iter().all(|node| node.id != one.id)).for_each(|one| planner.remove_node(one.id));
        is.nodes.iter().for_each(|one| planner.set_node(one.clone()));
        for one in &was.replicas {
            let same = |other: &&Replica| (other.id, other.collection) == (one.id, one.collection);
            if is.replicas.iter().find(same).is_none() {
                planner.remove_replica(one.id);
            }
        }
        is.replicas.iter().for_each(|one| planner.set_replica(one.id, one.collection, &one.nodes));
        was.copies.iter().filter(|copy| !known.contains(&copy.id)).for_each(|copy| planner.remove_copy(copy.id));
        is.copies.iter().for_each(|copy| planner.set_copy(copy));
        prop_assert_eq!(planner.plan(occasion, now()), plan(&is, occasion));
    }

    #[test]
    fn asking_changes_nothing(observed in clusters(), occasion in occasions()) {
        let mut planner = Planner::of(&observed, settings());
        let first = planner.plan(occasion, now());
        prop_assert_eq!(planner.plan(occasion, now()), first);
    }

    /// All moves of a plan get their turn, whatever the limits.
    #[test]
    fn a_plan_is_carried_out_step_by_step(observed in clusters(), occasion in occasions()) {
        let mut observed = observed;
        observed.copies.iter_mut().for_each(|copy| copy.moving_to = None);
        let plan = plan(&observed, occasion);
        let mut planner = Planner::of(&observed, settings());
        let mut waiting = plan.moves.clone();
        let copies = copies(&observed);
        while !waiting.is_empty() {
            let started: Vec<_> = planner.startable(&waiting).into_iter().cloned().collect();
            if started.is_empty() {
                // Exchanges between full nodes, or of nodes between replicas, can be in each other's way.
                break;
            }
            planner.begin(&started);
            for one in &started {
                let done = Copy { node: Some(one.to), moved_at: now(), ..copies[&one.copy].clone() };
                planner.set_copy(&done);
            }
            waiting.retain(|one| started.iter().all(|done| done.copy != one.copy));
        }
        if waiting.is_empty() {
            prop_assert_eq!(planner.imbalance(), plan.after);
        }
    }
}
