//! The query coordinator balances nodes that hold at once what they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redkite_balance::Bytes;
use redkite_catalog::{HeldRecord, LoadScope, Metadata, ResourceGroupConfig, ShardAssignment};
use redkite_service::{
    BalanceAnswer, BalanceCommand, BalanceStatus, Code, LeaderUsage, NewLoad, NodeUsage, PlacementCommand,
    QueryCoord, RequestId, ShardUsage, TransferRequest,
};
use redkite_types::{Epoch, NodeId, SegmentId, ShardId};

use crate::testing::{COLLECTION, World, collection, hnsw, indexes, segment, shard, spawn_fake_nodes};
use crate::{Environment, QueryCoordinator};

/// Bytes of a segment; nodes have a mebibyte.
const BYTES: u64 = 40_000;
const SEGMENTS: i64 = 8;

/// Segments that one node is to serve, and does once there is a coordinator.
async fn world() -> World {
    let world = World::start().await;
    world.set_query_nodes(&[(1, false)]);
    world.put(&COLLECTION, &collection(1, &[0])).await;
    world.put(&COLLECTION, &indexes(hnsw())).await;
    for id in 1..=SEGMENTS {
        let record = segment(id, shard(0), 0, 10, BYTES);
        world.put(&(COLLECTION, record.id), &record).await;
    }
    spawn_fake_nodes(&world);
    world
}

async fn loaded(world: &World) -> Arc<QueryCoordinator> {
    loaded_by(world, world.environment()).await
}

async fn loaded_by(world: &World, environment: Environment) -> Arc<QueryCoordinator> {
    let query = world.query(environment).await.unwrap();
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    world.until("loaded", |metadata| served(metadata).values().map(BTreeSet::len).sum::<usize>() == 8).await;
    world.until("the first node is settled", |metadata| is_settled(metadata, &[1])).await;
    query
}

/// The segments that views name, by node.
fn served(metadata: &Metadata) -> BTreeMap<i64, BTreeSet<SegmentId>> {
    let mut served: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for entry in metadata.views.values().flat_map(|view| &view.segments) {
        assert!(served.entry(entry.node.0).or_default().insert(entry.segment), "named twice");
    }
    served
}

/// The segments that nodes are to hold.
fn holds(metadata: &Metadata) -> BTreeMap<i64, BTreeSet<SegmentId>> {
    let holds = metadata.holds.iter().filter(|(_, hold)| !hold.segments.is_empty());
    holds.map(|((node, _), hold)| (node.0, hold.segments.clone())).collect()
}

/// Nodes have had their share, and nothing is left of moves.
fn is_settled(metadata: &Metadata, nodes: &[i64]) -> bool {
    let settled = metadata.balance().map(|record| record.settled.clone()).unwrap_or_default();
    nodes.iter().all(|node| settled.contains(&NodeId(*node)))
        && metadata.moves.is_empty()
        && holds(metadata) == served(metadata)
}

fn sizes(metadata: &Metadata) -> Vec<usize> {
    served(metadata).values().map(BTreeSet::len).collect()
}

#[tokio::test]
async fn a_node_that_joins_gets_its_share_and_keeps_it() {
    let world = world().await;
    let query = loaded(&world).await;
    world.set_query_nodes(&[(1, false), (2, false)]);
    world.until("both are even", |metadata| is_settled(metadata, &[1, 2])).await;
    assert_eq!(world.view.read(sizes), [4, 4]);
    let reasons: BTreeSet<_> =
        world.view.read(|metadata| metadata.moved.values().map(|moved| moved.moved.reason.clone()).collect());
    assert_eq!(reasons, ["node_joined".to_owned()].into());
    let BalanceAnswer::Plan(plan) = query.balance(BalanceCommand::Plan).await.unwrap() else { panic!() };
    assert!(plan.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn a_node_that_comes_to_a_resource_group_gets_its_share() {
    let world = world().await;
    world.set_query_nodes(&[(1, false), (2, false)]);
    let query = world.query(world.environment()).await.unwrap();
    let of = |nodes| ResourceGroupConfig { requests: nodes, limits: nodes, ..Default::default() };
    let create = PlacementCommand::CreateResourceGroup { name: "a".to_owned(), config: of(1) };
    query.place(RequestId(1), create).await.unwrap();
    let resource_groups = vec!["a".to_owned()];
    let load = NewLoad { resource_groups, ..NewLoad::new(COLLECTION, LoadScope::Collection) };
    query.load(RequestId(2), load).await.unwrap();
    world
        .until("one serves, both are settled", |metadata| {
            sizes(metadata) == [8] && is_settled(metadata, &[1, 2])
        })
        .await;
    let more = PlacementCommand::UpdateResourceGroups { configs: [("a".to_owned(), of(2))].into() };
    query.place(RequestId(3), more).await.unwrap();
    world.until("both serve", |metadata| sizes(metadata) == [4, 4] && is_settled(metadata, &[1, 2])).await;
}

#[tokio::test]
async fn a_node_is_drained_unless_the_others_are_too_small() {
    let world = world().await;
    let small = NodeUsage { memory: 8 * BYTES, threads: 1, ..NodeUsage::default() };
    world.usages.lock().insert(NodeId(2), small);
    let query = loaded(&world).await;
    world.set_query_nodes(&[(1, false), (2, false)]);
    world.until("both have their share", |metadata| is_settled(metadata, &[1, 2])).await;
    let drain = |node| BalanceCommand::Drain { node: NodeId(node), deadline: None };
    let refused = query.balance(drain(1)).await.unwrap_err();
    assert!(refused.to_string().contains("the other nodes cannot hold"), "{refused}");
    assert_eq!(query.balance(drain(3)).await.unwrap_err().code(), Code::NodeNotFound);
    query.balance(drain(2)).await.unwrap();
    world.until("it is empty", |metadata| !holds(metadata).contains_key(&2)).await;
    assert_eq!(world.view.read(sizes), [8]);
    query.balance(BalanceCommand::Undrain(NodeId(2))).await.unwrap();
    world.until("it is used again", |metadata| served(metadata).contains_key(&2)).await;
}

#[tokio::test]
async fn a_transfer_waits_and_pins() {
    let world = world().await;
    let query = loaded(&world).await;
    world.set_query_nodes(&[(1, false), (2, false)]);
    world.until("both are even", |metadata| is_settled(metadata, &[1, 2])).await;
    let mine = world.view.read(served)[&1].clone();
    let transfer = TransferRequest {
        collection: Some(COLLECTION),
        segments: BTreeSet::new(),
        from: NodeId(1),
        to: [NodeId(2)].into(),
    };
    let done = query.balance(BalanceCommand::Transfer(transfer.clone())).await.unwrap();
    let bytes = Bytes(4 * BYTES);
    assert!(
        matches!(done, BalanceAnswer::Done { segments: 4, bytes: moved, .. } if moved == bytes),
        "{done:?}"
    );
    assert_eq!(world.view.read(sizes), [8]);
    let pinned = |metadata: &Metadata| {
        let pinned = metadata.stays.iter().filter(|(_, stay)| stay.pinned && stay.node == NodeId(2));
        pinned.map(|((_, (_, segment)), _)| *segment).collect::<BTreeSet<_>>()
    };
    assert_eq!(world.view.read(pinned), mine);
    let nowhere = TransferRequest { to: [NodeId(7)].into(), ..transfer };
    let refused = query.balance(BalanceCommand::Transfer(nowhere)).await.unwrap_err();
    assert_eq!(refused.to_string(), "destination node not found in the same replica: node not found[node=7]");
}

#[tokio::test]
async fn a_refused_move_is_given_up_with_its_reason() {
    let world = World::start().await;
    world.set_query_nodes(&[(1, false)]);
    world.put(&COLLECTION, &collection(1, &[0])).await;
    world.put(&COLLECTION, &indexes(hnsw())).await;
    let record = segment(1, shard(0), 0, 10, BYTES);
    world.put(&(COLLECTION, record.id), &record).await;
    let query = world.query(world.environment()).await.unwrap();
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    let held = HeldRecord { segments: [(SegmentId(1), Default::default())].into(), ..HeldRecord::default() };
    world.put(&(NodeId(1), COLLECTION), &held).await;
    world.until("served", |metadata| served(metadata).contains_key(&1)).await;
    world.set_query_nodes(&[(1, true), (2, false)]);
    world.until("it moves", |metadata| !metadata.moves.is_empty()).await;
    let full = HeldRecord { failures: [(SegmentId(1), "full".to_owned())].into(), ..HeldRecord::default() };
    world.put(&(NodeId(2), COLLECTION), &full).await;
    world.until("it is given up", |metadata| !metadata.moved.is_empty()).await;
    let moved = world.view.read(|metadata| (*metadata.moved.values().next().unwrap().record).clone());
    assert_eq!((moved.refused, moved.dropped.as_deref()), (true, Some("node 2 refuses: full")));
    world.until("it is not held there", |metadata| !holds(metadata).contains_key(&2)).await;
    assert_eq!(world.view.read(served).keys().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_crash_between_any_two_writes_loses_no_segment_and_leaves_no_copy() {
    for writes in 0.. {
        let world = world().await;
        let environment = world.environment();
        let tasks = environment.tasks.clone();
        loaded_by(&world, environment).await;
        tasks.cancel();
        let (environment, writer) = world.mortal(writes);
        let _first = world.query(environment).await;
        world.set_query_nodes(&[(1, false), (2, false)]);
        let even = |metadata: &Metadata| is_settled(metadata, &[1, 2]) && sizes(metadata) == [4, 4];
        tokio::select! {
            () = writer.death() => {}
            () = world.until("they are even", even) => {}
        }
        if !writer.is_dead() {
            assert!(writes > 4, "a plan of four moves takes more than {writes} writes");
            return;
        }
        let _second = world.query(world.environment()).await.unwrap();
        world.until("they are even in the end", even).await;
    }
}

/// The shards of a collection, all led by one node, and a query coordinator that looks after them.
async fn led(shards: u16) -> (World, Arc<QueryCoordinator>) {
    let world = World::start().await;
    world.set_streaming_nodes(&[1]);
    world.put(&COLLECTION, &collection(shards, &[0])).await;
    for ordinal in 0..shards {
        world.put(&shard(ordinal), &ShardAssignment::new(NodeId(1), Epoch(1))).await;
    }
    spawn_fake_nodes(&world);
    let query = world.query(world.environment()).await.unwrap();
    world.until("the first node has its share", |metadata| have_share(metadata, &[1])).await;
    (world, query)
}

/// These streaming nodes have had their share, and serve what they lead.
fn have_share(metadata: &Metadata, nodes: &[i64]) -> bool {
    let leaders = metadata.balance().map(|record| record.leaders.clone()).unwrap_or_default();
    let serves = |shard: &ShardId| {
        let status = &metadata.shards[shard];
        metadata.assignments[shard].node == status.node
    };
    leaders == nodes.iter().map(|node| NodeId(*node)).collect() && metadata.shards.keys().all(serves)
}

/// The shards of each streaming node.
fn leads(metadata: &Metadata) -> BTreeMap<i64, Vec<u16>> {
    let mut leads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (shard, assignment) in &metadata.assignments {
        leads.entry(assignment.node.0).or_default().push(shard.ordinal);
    }
    leads
}

#[tokio::test]
async fn a_streaming_node_that_joins_gets_its_share_of_shards() {
    let (world, _query) = led(8).await;
    world.set_streaming_nodes(&[1, 2]);
    world.until("both have their share", |metadata| have_share(metadata, &[1, 2])).await;
    let leads: Vec<_> = world.view.read(leads).values().map(Vec::len).collect();
    assert_eq!(leads, [4, 4]);
    let epochs = world.view.read(|metadata| metadata.assignments.values().map(|it| it.epoch.0).sum::<u64>());
    assert_eq!(epochs, 8 + 4, "each moved once, and only those that had to");
}

#[tokio::test]
async fn shards_count_by_what_they_take() {
    let (world, query) = led(5).await;
    let (busy, idle) = (ShardUsage { memory: 1 << 30, cpu: 0 }, ShardUsage::default());
    let shards = (0..5).map(|ordinal| (shard(ordinal), if ordinal == 2 { busy } else { idle })).collect();
    let empty = LeaderUsage { memory: 1 << 34, threads: 1, ..LeaderUsage::default() };
    world.leading.lock().insert(NodeId(2), empty.clone());
    world.leading.lock().insert(NodeId(1), LeaderUsage { shards, ..empty });
    looks(&query, |status| status.leaders[0].bytes > Bytes(0)).await;
    world.set_streaming_nodes(&[1, 2]);
    world.until("both have their share", |metadata| have_share(metadata, &[1, 2])).await;
    let leads: BTreeSet<_> = world.view.read(leads).into_values().collect();
    assert_eq!(leads, [vec![0, 1, 3, 4], vec![2]].into(), "the busy one is alone");
}

/// A node that comes while nothing is served yet, as at a start of everything, gets its share when there is something.
#[tokio::test]
async fn shards_that_are_not_served_yet_are_waited_for() {
    let world = World::start().await;
    world.set_streaming_nodes(&[1]);
    world.put(&COLLECTION, &collection(4, &[0])).await;
    for ordinal in 0..4 {
        world.put(&shard(ordinal), &ShardAssignment::new(NodeId(1), Epoch(1))).await;
    }
    let query = world.query(world.environment()).await.unwrap();
    world.set_streaming_nodes(&[1, 2]);
    looks(&query, |status| status.leaders.len() == 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!world.view.read(|metadata| have_share(metadata, &[1, 2])));
    spawn_fake_nodes(&world);
    world.until("both have their share", |metadata| have_share(metadata, &[1, 2])).await;
    assert_eq!(world.view.read(leads).values().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn shards_stay_while_balancing_is_suspended() {
    let (world, query) = led(4).await;
    query.balance(BalanceCommand::Suspend).await.unwrap();
    world.set_streaming_nodes(&[1, 2]);
    looks(&query, |status| status.leaders.len() == 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(world.view.read(leads).len(), 1);
    query.balance(BalanceCommand::Resume).await.unwrap();
    world.until("both have their share", |metadata| have_share(metadata, &[1, 2])).await;
    assert_eq!(world.view.read(leads).len(), 2);
}

/// Waits until it looks like that.
async fn looks(query: &QueryCoordinator, like: impl Fn(&BalanceStatus) -> bool) {
    let looked = async {
        loop {
            match query.balance(BalanceCommand::Status).await.unwrap() {
                BalanceAnswer::Status(status) if like(&status) => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), looked).await.unwrap();
}
