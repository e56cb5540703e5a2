//! The clusters that a balancer is judged by. B1 and so on are the scenarios that the black-box tests play with real
//! processes.

use std::time::Duration;

use redkite_types::{CollectionId, NodeId, SegmentId, Timestamp};

use super::world::{GIB, MIB, copy, node, now, one_replica, replica};
use crate::{
    BalanceSettings, Bytes, Copy, Cpu, DrainRefused, MoveLimits, NodeState, Observed, Obstacle, Occasion,
    Planner, Reason, Share, Transfer, TransferRefused,
};

/// Sizes spread 5 to 1, as many as there are, dealt out to nodes in turn.
fn spread_out(observed: &mut Observed, segments: i64, nodes: i64) {
    for segment in 0..segments {
        let bytes = (20 + segment * 7919 % 81) as u64 * MIB;
        observed.copies.push(copy(1, segment, bytes, Some(1 + segment % nodes)));
    }
}

/// A node joins `nodes` others that are even.
fn joined(nodes: i64, segments: i64) -> Observed {
    let mut observed = one_replica(nodes + 1, 16 * GIB);
    spread_out(&mut observed, segments, nodes);
    let even = observed.planner_without(nodes + 1);
    let mut observed = observed.after(&even, Timestamp::ZERO);
    observed.nodes[nodes as usize].joined = true;
    observed
}

impl Observed {
    /// A plan as if a node were not there.
    fn planner_without(&self, absent: i64) -> crate::Plan {
        let mut others = self.clone();
        others.nodes.retain(|node| node.id != NodeId(absent));
        others.planned(Occasion::Demand)
    }
}

#[test]
fn b1_a_node_that_joins_gets_its_share_with_hardly_a_byte_too_many() {
    for (nodes, segments) in [(1, 20), (2, 60), (3, 80), (3, 200), (5, 300), (9, 1000)] {
        let observed = joined(nodes, segments);
        let plan = observed.planned(Occasion::Change);
        assert!(plan.moves.iter().all(|one| one.reason == Reason::NodeJoined && one.to == NodeId(nodes + 1)));
        assert!(plan.after.memory.of_mean() <= Share::percent(5), "{nodes}: {:?}", plan.after);
        // The others may be higher than the new one by 5 % of the mean.
        let total: u64 = observed.copies.iter().map(|copy| copy.bytes.0).sum();
        let (total, nodes) = (total as f64, nodes as f64);
        let least = (total / nodes - 0.05 * total / (nodes + 1.0)) / (1.0 + 1.0 / nodes);
        assert!(plan.bytes().0 as f64 <= 1.1 * least, "{nodes}: {} of {least}", plan.bytes());
        assert!(plan.moves.iter().all(|one| one.gain.memory > Share(0) && !one.expected.is_zero()));
        assert!(!plan.duration.is_zero());
    }
}

#[test]
fn b1_joining_needs_no_interval_and_asks_nothing_of_other_nodes() {
    let mut observed = joined(3, 80);
    observed.nodes[3].joined = false;
    assert_eq!(observed.planned(Occasion::Change).moves, []);
    observed.nodes[3].joined = true;
    assert_ne!(observed.planned(Occasion::Change).moves, []);
    let off = BalanceSettings { auto_balance: false, ..BalanceSettings::default() };
    assert_eq!(crate::plan(&observed, &off, Occasion::Change, now()).moves, []);
}

#[test]
fn b2_once_even_nothing_moves_any_more() {
    let mut observed = joined(3, 60);
    observed.copies.push(copy(1, 1_000, 600, Some(1)));
    let plan = observed.planned(Occasion::Interval);
    assert!(plan.moves.iter().all(|one| one.copy.segment != SegmentId(1_000)), "one row is not worth it");
    let even = observed.after(&plan, now());
    let mut planner = even.planner();
    for minute in 1..60 {
        let later = Timestamp::from_physical(now().physical() + minute * 60_000);
        for occasion in [Occasion::Interval, Occasion::Demand] {
            assert_eq!(planner.plan(occasion, later).moves, [], "after {minute} minutes");
        }
    }
}

#[test]
fn b2_a_single_large_segment_does_not_wander() {
    let mut observed = one_replica(3, 16 * GIB);
    observed.copies.push(copy(1, 1, 8 * GIB, Some(1)));
    observed.copies.push(copy(1, 2, 1, Some(2)));
    assert_eq!(observed.planned(Occasion::Demand).moves, []);
}

#[test]
fn milvus_thresholds_decide_what_the_interval_starts() {
    let mut observed = one_replica(2, 10 * GIB);
    for segment in 0..40 {
        observed.copies.push(copy(1, segment, GIB / 10, Some(1)));
    }
    // 40 % and 11 %.
    observed.copies.extend((40..51).map(|segment| copy(1, segment, GIB / 10, Some(2))));
    assert_eq!(observed.planned(Occasion::Interval).moves, []);
    // 40 % and 10 %: not more than 30 apart, for what it is worth; 40 % and 9 % are.
    observed.copies.truncate(49);
    let plan = observed.planned(Occasion::Interval);
    assert!(plan.after.memory.of_mean() <= Share::percent(5));
    assert!(plan.moves.iter().all(|one| one.reason == Reason::UnevenMemory));
    assert_eq!(observed.planned(Occasion::Change).moves, []);
}

#[test]
fn an_overloaded_node_is_relieved_even_of_what_came_lately() {
    let mut observed = one_replica(2, 10 * GIB);
    for segment in 0..19 {
        let lately = Copy { moved_at: now(), ..copy(1, segment, GIB / 2, Some(1)) };
        observed.copies.push(lately);
    }
    observed.copies.extend((20..35).map(|segment| copy(1, segment, GIB / 2, Some(2))));
    let plan = observed.planned(Occasion::Change);
    assert_eq!(plan.moves.len(), 1, "no more than must be");
    assert_eq!((plan.moves[0].reason, plan.moves[0].to), (Reason::Overloaded, NodeId(2)));
    // If all are full, nobody is helped by moving.
    observed.copies.extend((40..43).map(|segment| copy(1, segment, GIB / 2, Some(2))));
    assert_eq!(observed.planned(Occasion::Change).moves, []);
}

#[test]
fn b3_a_drained_node_is_emptied_onto_the_others() {
    let mut observed = one_replica(4, 16 * GIB);
    spread_out(&mut observed, 120, 4);
    let asked = observed.planner().drain(NodeId(4), now()).unwrap();
    observed.nodes[3].state = NodeState::Draining;
    let plan = observed.planned(Occasion::Change);
    assert_eq!(plan, asked);
    let left: Vec<_> = plan.moves.iter().filter(|one| one.reason == Reason::Drained).collect();
    assert_eq!(left.iter().map(|one| one.bytes).sum::<Bytes>(), Bytes(observed.bytes_on(4)));
    assert_eq!(observed.after(&plan, now()).bytes_on(4), 0);
    assert!(plan.after.memory.of_mean() <= Share::percent(5));
    // Others hardly move, and nothing moves to it.
    assert!(plan.bytes().0 <= observed.bytes_on(4) * 11 / 10);
    assert!(plan.moves.iter().all(|one| one.to != NodeId(4)));
}

#[test]
fn b3_a_drain_that_cannot_be_is_refused_with_figures() {
    let mut observed = one_replica(2, 10 * GIB);
    observed.copies.extend((0..10).map(|segment| copy(1, segment, GIB / 2, Some(1 + segment % 2))));
    observed.copies.push(copy(1, 100, 5 * GIB, Some(1)));
    observed.copies.push(copy(1, 101, 2 * GIB, Some(2)));
    let mut planner = observed.planner();
    let refused = planner.drain(NodeId(1), now()).unwrap_err();
    let DrainRefused::NoPlace { node, segments, bytes, missing, unplaced } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!((*node, *segments, *bytes), (NodeId(1), 6, Bytes(15 * GIB / 2)));
    assert_eq!(*missing, unplaced.iter().map(|one| one.bytes).sum());
    assert!(unplaced.iter().all(|one| matches!(one.obstacle, Obstacle::NoMemory { .. })));
    assert!(refused.to_string().starts_with("the other nodes cannot hold "), "{refused}");
    // Asking has changed nothing.
    assert!(planner.plan(Occasion::Change, now()).is_empty());
    let alone = one_replica(1, GIB);
    assert!(alone.planner().drain(NodeId(1), now()).unwrap().is_empty());
    let mut alone = alone;
    alone.copies.push(copy(1, 1, 1, Some(1)));
    let refused = alone.planner().drain(NodeId(1), now()).unwrap_err();
    let DrainRefused::NoPlace { unplaced, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(unplaced[0].obstacle, Obstacle::NoNode);
    assert_eq!(alone.planner().drain(NodeId(9), now()), Err(DrainRefused::Unknown(NodeId(9))));
}

#[test]
fn b4_what_a_lost_node_had_is_shared_by_the_others() {
    let mut observed = one_replica(5, 16 * GIB);
    spread_out(&mut observed, 200, 5);
    let plan = observed.planner().after_loss(NodeId(2), now());
    let missing: Vec<_> = plan.moves.iter().filter(|one| one.reason == Reason::Missing).collect();
    assert!(missing.iter().all(|one| one.from.is_none()));
    assert_eq!(missing.iter().map(|one| one.bytes).sum::<Bytes>(), Bytes(observed.bytes_on(2)));
    assert!(plan.after.memory.of_mean() <= Share::percent(5));
    // Rather above the threshold than nowhere.
    let mut full = one_replica(2, 10 * GIB);
    full.copies.push(copy(1, 1, 5 * GIB, Some(1)));
    full.copies.push(copy(1, 2, 9 * GIB / 2, Some(2)));
    full.copies.push(copy(1, 3, 9 * GIB / 2, Some(2)));
    let plan = full.planner().after_loss(NodeId(2), now());
    assert_eq!((plan.moves.len(), plan.unplaced.len()), (1, 1));
    assert_eq!(
        plan.unplaced[0].obstacle,
        Obstacle::NoMemory { needed: Bytes(9 * GIB / 2), largest: Bytes(0), free: Bytes(0) }
    );
}

#[test]
fn b5_bytes_count_and_not_how_many() {
    let mut observed = one_replica(3, 10 * GIB);
    // Node 1 has few rows of high dimension, node 2 many of a low one.
    observed.copies.extend((0..19).map(|segment| copy(1, segment, GIB / 2, Some(1))));
    observed.copies.extend((100..300).map(|segment| copy(1, segment, 10 * MIB, Some(2))));
    let plan = observed.planned(Occasion::Interval);
    let after = observed.after(&plan, now());
    for id in 1..=3 {
        let percent = after.bytes_on(id) * 100 / (10 * GIB);
        assert!((30..=42).contains(&percent), "node {id}: {percent} %");
    }
}

#[test]
fn b6_heat_is_shared_and_bytes_stay_even() {
    let mut observed = one_replica(3, 10 * GIB);
    for segment in 0..30 {
        let mut one = copy(1, segment, GIB / 5, Some(1 + segment % 3));
        // All that is hot is on node 1.
        one.cpu = Cpu(if segment % 3 == 0 { 600_000 } else { 60_000 });
        observed.copies.push(one);
    }
    let plan = observed.planned(Occasion::Interval);
    assert!(plan.moves.iter().all(|one| one.reason == Reason::UnevenHeat));
    let after = observed.after(&plan, now());
    let heats = [1, 2, 3].map(|id| after.cpu_on(id));
    let apart = heats.iter().max().unwrap() - heats.iter().min().unwrap();
    assert!(apart <= 800_000, "{heats:?} of 8 cores");
    for id in 1..=3 {
        assert_eq!(after.bytes_on(id), 10 * (GIB / 5));
    }
    assert!(plan.moves.len() <= 14, "{} moves", plan.moves.len());
    // Not while bytes are what is wrong: those first.
    observed.copies.iter_mut().for_each(|copy| copy.node = Some(NodeId(1)));
    let plan = observed.planned(Occasion::Interval);
    assert!(plan.after.memory.of_mean() <= Share::percent(5));
    assert!(plan.after.cpu.difference() <= Share::percent(10));
}

#[test]
fn b6_heat_that_is_not_much_moves_nothing() {
    let mut observed = one_replica(2, 10 * GIB);
    for segment in 0..20 {
        let mut one = copy(1, segment, GIB / 5, Some(1 + segment % 2));
        one.cpu = Cpu(if segment % 2 == 0 { 200_000 } else { 10_000 });
        observed.copies.push(one);
    }
    // 25 % of the CPUs and 1 %.
    assert_eq!(observed.planned(Occasion::Interval).moves, []);
    assert_ne!(observed.planned(Occasion::Demand).moves, []);
}

#[test]
fn b10_nothing_leaves_its_replica() {
    let mut observed = one_replica(6, 10 * GIB);
    observed.replicas = vec![replica(1, 1, &[1, 2, 3]), replica(2, 1, &[4, 5]), replica(3, 2, &[6])];
    for segment in 0..30 {
        observed.copies.push(copy(1, segment, GIB / 10, Some(1)));
        observed.copies.push(copy(2, segment, GIB / 10, Some(4)));
        observed.copies.push(copy(3, 100 + segment, GIB / 10, Some(6)));
    }
    let plan = observed.planned(Occasion::Demand);
    for one in &plan.moves {
        let nodes = &observed.replicas.iter().find(|replica| replica.id == one.copy.replica).unwrap().nodes;
        assert!(nodes.contains(&one.to));
    }
    let after = observed.after(&plan, now());
    assert_eq!([1, 2, 3, 4, 5, 6].map(|id| after.bytes_on(id) / (GIB / 10)), [10, 10, 10, 15, 15, 30]);
    // A node goes from one replica to another.
    observed = after;
    observed.replicas[0] = replica(1, 1, &[1, 2]);
    observed.replicas[1] = replica(2, 1, &[3, 4, 5]);
    let plan = observed.planned(Occasion::Change);
    assert!(
        plan.moves
            .iter()
            .filter(|one| one.from == Some(NodeId(3)))
            .all(|one| one.reason == Reason::OutsideReplica)
    );
    let after = observed.after(&plan, now());
    let strays = after.copies.iter().filter(|copy| copy.id.replica.0 == 1 && copy.node == Some(NodeId(3)));
    assert_eq!(strays.count(), 0);
}

#[test]
fn b11_what_was_moved_by_hand_stays() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.copies.extend((0..30).map(|segment| copy(1, segment, GIB / 10, Some(1 + segment % 3))));
    let wish = Transfer {
        collection: Some(CollectionId(1)),
        segments: [0, 3, 6, 9, 12].map(SegmentId).into(),
        from: NodeId(1),
        to: [NodeId(2)].into(),
    };
    let mut planner = observed.planner();
    let plan = planner.transfer(&wish, now()).unwrap();
    assert_eq!(plan.moves.len(), 5);
    assert!(plan.moves.iter().all(|one| (one.reason, one.to) == (Reason::ByHand, NodeId(2))));
    planner.begin(&plan.moves);
    assert!(matches!(planner.transfer(&wish, now()), Err(TransferRefused::UnderWay(_))));
    let mut moved = observed.after(&plan, Timestamp::ZERO);
    let segments: Vec<_> = plan.moves.iter().map(|one| one.copy).collect();
    moved.copies.iter_mut().for_each(|copy| copy.pinned = segments.contains(&copy.id));
    // Others may even it out; these stay until their node leaves.
    let plan = moved.planned(Occasion::Demand);
    assert_ne!(plan.moves, []);
    assert!(plan.moves.iter().all(|one| !segments.contains(&one.copy)));
    moved.nodes[1].state = NodeState::Draining;
    let plan = moved.planned(Occasion::Change);
    assert_eq!(segments.iter().filter(|id| plan.moves.iter().any(|one| one.copy == **id)).count(), 5);
}

#[test]
fn b11_wishes_that_cannot_be_are_refused_as_a_whole() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.replicas[0] = replica(1, 1, &[1, 2]);
    observed.copies.extend((0..30).map(|segment| copy(1, segment, GIB / 10, Some(1 + segment % 2))));
    observed.copies.push(copy(1, 100, 6 * GIB, Some(1)));
    let mut planner = observed.planner();
    let wish = |segments: &[i64], to: &[i64]| Transfer {
        collection: None,
        segments: segments.iter().copied().map(SegmentId).collect(),
        from: NodeId(1),
        to: to.iter().copied().map(NodeId).collect(),
    };
    let mut refused = |wish| planner.transfer(&wish, now()).unwrap_err();
    assert_eq!(refused(wish(&[0], &[7])), TransferRefused::Unknown(NodeId(7)));
    let there = TransferRefused::NotThere { segment: SegmentId(1), node: NodeId(1) };
    assert_eq!(refused(wish(&[0, 1], &[2])), there);
    let outside = TransferRefused::NoPlace { segment: SegmentId(0), obstacle: Obstacle::NoNode };
    assert_eq!(refused(wish(&[0], &[3])), outside);
    assert!(planner.transfer(&wish(&[0, 100], &[]), now()).is_ok());
    observed.copies.push(copy(1, 101, 3 * GIB, Some(2)));
    let refused = observed.planner().transfer(&wish(&[0, 100], &[]), now()).unwrap_err();
    assert!(matches!(refused, TransferRefused::NoPlace { segment: SegmentId(100), .. }), "{refused}");
}

#[test]
fn b12_unequal_nodes_get_their_share() {
    let mut observed = one_replica(3, 16 * GIB);
    observed.nodes[1] = node(2, 32 * GIB);
    observed.nodes[2] = node(3, 64 * GIB);
    observed.copies.extend((0..560).map(|segment| copy(1, segment, 100 * MIB, Some(3))));
    let plan = observed.planned(Occasion::Interval);
    let after = observed.after(&plan, now());
    assert_eq!([1, 2, 3].map(|id| after.bytes_on(id) / (100 * MIB) / 10), [7, 15, 32]);
    assert!(plan.after.memory.of_mean() <= Share::percent(5), "{:?}", plan.after);
    // Growing rows and the like take part, though they do not move.
    observed.nodes[2].fixed.growing = Bytes(24 * GIB);
    let plan = observed.planned(Occasion::Interval);
    assert!(plan.after.memory.of_mean() <= Share::percent(5), "{:?}", plan.after);
}

#[test]
fn b13_a_thousand_collections_of_one_segment_are_spread_over_all() {
    let ids: Vec<_> = (1..=10).collect();
    let mut observed = one_replica(10, 64 * GIB);
    observed.replicas = (0..1000).map(|id| replica(id, id, &ids)).collect();
    observed.copies = (0..1000).map(|id| copy(id, id, (id % 5 + 1) as u64 * 20 * MIB, None)).collect();
    let plan = observed.planned(Occasion::Change);
    assert_eq!(plan.moves.len(), 1000);
    assert!(plan.after.memory.of_mean() <= Share::percent(5), "{:?}", plan.after);
    observed.copies.iter_mut().for_each(|copy| copy.node = Some(NodeId(1 + copy.id.segment.0 % 2)));
    let plan = observed.planned(Occasion::Demand);
    assert!(plan.after.memory.of_mean() <= Share::percent(5), "{:?}", plan.after);
}

#[test]
fn segments_of_a_collection_are_searched_side_by_side() {
    let ids = [1, 2, 3, 4];
    let mut observed = one_replica(4, 64 * GIB);
    observed.replicas = (0..8).map(|id| replica(id, id, &ids)).collect();
    observed.copies = (0..64).map(|segment| copy(segment / 8, segment, 100 * MIB, None)).collect();
    let after = observed.after(&observed.planned(Occasion::Change), now());
    for collection in 0..8 {
        let of_it = after.copies.iter().filter(|copy| copy.id.replica.0 == collection);
        let mut nodes: Vec<_> = of_it.map(|copy| copy.node.unwrap().0).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [1, 1, 2, 2, 3, 3, 4, 4], "collection {collection}");
    }
}

#[test]
fn new_segments_go_where_there_is_least() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.copies.push(copy(1, 1, GIB, Some(1)));
    observed.copies.push(copy(1, 2, 2 * GIB, Some(2)));
    let mut planner = observed.planner();
    let placed: Vec<_> =
        (10..14).map(|segment| planner.place(&copy(1, segment, GIB, None), now()).unwrap()).collect();
    // All have 2 GiB in the end, but node 2 the fewest segments.
    assert_eq!(placed, [3, 1, 3, 2].map(NodeId));
    assert!(planner.plan(Occasion::Demand, now()).is_empty());
    let refused = planner.place(&copy(1, 20, 9 * GIB, None), now()).unwrap_err();
    assert_eq!(
        refused,
        Obstacle::NoMemory { needed: Bytes(9 * GIB), largest: Bytes(7 * GIB), free: Bytes(20 * GIB) }
    );
    assert_eq!(planner.plan(Occasion::Change, now()).unplaced.len(), 1);
    assert_eq!(planner.place(&copy(7, 20, GIB, None), now()), Err(Obstacle::NoNode), "no such replica");
}

#[test]
fn when_nothing_fits_two_change_places() {
    let mut observed = one_replica(2, 10 * GIB);
    for (segment, (size, node)) in (0..).zip([(20, 1), (20, 1), (20, 1), (10, 2), (10, 2), (25, 2)]) {
        observed.copies.push(copy(1, segment, size * GIB / 20, Some(node)));
    }
    // 60 and 45: to move 20 would make 40 and 65, to exchange 20 for 10 makes 50 and 55.
    let settings = BalanceSettings { minimum_gain_percentage: 10, ..BalanceSettings::default() };
    let plan = crate::plan(&observed, &settings, Occasion::Demand, now());
    assert_eq!(plan.moves.len(), 2);
    assert_eq!(plan.bytes(), Bytes(30 * GIB / 20));
    // 30 moved for the 5 that it brings are too many.
    assert_eq!(observed.planned(Occasion::Demand).moves, []);
}

#[test]
fn a_suspended_node_keeps_what_it_has() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.copies.extend((0..30).map(|segment| copy(1, segment, GIB / 10, Some(1))));
    observed.nodes[0].state = NodeState::Suspended;
    assert!(observed.planned(Occasion::Demand).is_empty());
    observed.nodes[0].state = NodeState::Serving;
    observed.nodes[2].state = NodeState::Suspended;
    assert!(observed.planned(Occasion::Demand).moves.iter().all(|one| one.to == NodeId(2)));
}

#[test]
fn moves_begin_as_limits_allow() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.nodes[2].joined = true;
    observed.nodes[2].limits = MoveLimits { concurrency: 2, bandwidth: Bytes(100 * MIB) };
    observed.copies.extend((0..40).map(|segment| copy(1, segment, 100 * MIB, Some(1 + segment % 2))));
    let mut planner = observed.planner();
    let plan = planner.plan(Occasion::Change, now());
    assert!(plan.moves.len() >= 12, "{} moves", plan.moves.len());
    assert_eq!(plan.moves[0].expected, Duration::from_millis(1200));
    let seconds = plan.moves.len() as u64;
    assert_eq!(plan.duration, Duration::from_millis(seconds * 1000 + seconds.div_ceil(2) * 200));
    let first: Vec<_> = planner.startable(&plan.moves).into_iter().cloned().collect();
    assert_eq!(first.len(), 2);
    planner.begin(&first);
    assert!(planner.startable(&plan.moves).is_empty());
    // The rest is what is planned while they are under way.
    let rest = planner.plan(Occasion::Change, now());
    assert_eq!(rest.moves.len(), plan.moves.len() - 2);
    // One of them is done.
    let done = first[0].copy;
    planner.set_copy(&Copy { id: done, moved_at: now(), ..copy(1, 0, 100 * MIB, Some(3)) });
    assert_eq!(planner.startable(&rest.moves).len(), 1);
}

#[test]
fn a_target_that_is_lost_leaves_the_copy_where_it_was() {
    let mut observed = one_replica(3, 10 * GIB);
    observed.copies.push(Copy { moving_to: Some(NodeId(3)), ..copy(1, 1, GIB, Some(1)) });
    let mut planner = observed.planner();
    assert!(planner.plan(Occasion::Change, now()).is_empty());
    assert!(planner.after_loss(NodeId(3), now()).is_empty(), "its source still answers");
    // The source is lost as well.
    let plan = planner.after_loss(NodeId(1), now());
    assert_eq!((plan.moves.len(), plan.moves[0].to), (1, NodeId(2)));
}

#[test]
fn a_planner_without_nodes_waits_for_some() {
    let mut planner = Planner::new(BalanceSettings::default());
    planner.set_replica(replica(1, 1, &[1, 2]).id, CollectionId(1), &replica(1, 1, &[1, 2]).nodes);
    planner.set_copy(&copy(1, 1, GIB, Some(1)));
    assert_eq!(planner.plan(Occasion::Change, now()).unplaced[0].obstacle, Obstacle::NoNode);
    planner.set_node(node(2, 10 * GIB));
    let plan = planner.plan(Occasion::Change, now());
    assert_eq!((plan.moves[0].from, plan.moves[0].to), (None, NodeId(2)));
    planner.set_node(node(1, 10 * GIB));
    assert!(planner.plan(Occasion::Change, now()).is_empty(), "it is found where it always was");
}
