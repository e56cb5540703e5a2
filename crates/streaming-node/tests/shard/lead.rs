//! Who leads? A node leads what it is assigned, stops at once when another is, and does not speak over it.

use std::time::Duration;

use redkite_catalog::{ShardAssignment, ShardStatus};
use redkite_service::{Consistency, Error, Shard};
use redkite_streaming_node::StreamingNode;
use redkite_types::{Epoch, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::LOGS;
use crate::world::{PARTITION, SHARD, World, count, request, retrieve, rows, settings};

const PATIENCE: Duration = Duration::from_secs(20);

fn insert(key: i64) -> redkite_service::WriteRequest {
    request(redkite_service::WriteOp::Insert(vec![(PARTITION, rows(&[key], 1))]))
}

/// Waits until a node tells that it serves the shard.
async fn reported(world: &World, node: NodeId) {
    let tells = |world: &World| {
        world.ground.view.read(|metadata| metadata.shards.get(&SHARD).map(|status| status.node)) == Some(node)
    };
    world.until(tells).await;
}

async fn refused(node: &StreamingNode) -> Error {
    let refused = async {
        loop {
            match node.count(SHARD, retrieve(Consistency::Strong)).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    timeout(PATIENCE, refused).await.unwrap()
}

/// Whoever does not know yet that it is replaced answers reads, until its lease ends: the next one waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_waits_for_the_one_before() {
    let world = World::without_leader(LOGS, settings()).await;
    let (first, following) = world.second_that_can_hang(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(1)).await;
    reported(&world, NodeId(2)).await;
    first.write(insert(1)).await.unwrap();
    following.stop(PATIENCE).await;
    world.reassign(NodeId(1), Epoch(2)).await;
    let told = async {
        while world.node.health().is_empty() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, told).await.unwrap();
    let write = world.node.write(insert(2));
    assert!(
        timeout(Duration::from_millis(300), write).await.is_err(),
        "rows that the first one does not have"
    );
    assert_eq!(count(&first).await.unwrap(), 1);
    world.end_lease().await;
    world.node.write(insert(2)).await.unwrap();
    assert_eq!(world.count().await, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_when_its_shards_are_led_by_others() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    assert!(timeout(Duration::from_millis(50), world.node.drained()).await.is_err(), "it leads a shard");
    let second = world.second(NodeId(2)).await;
    let mut late = Vec::new();
    let writes = async {
        // Whatever is under way is settled or refused without effect.
        for key in 2..200 {
            late.push(world.node.write(insert(key)).await);
        }
    };
    let moved = async {
        world.assign(NodeId(2), Epoch(2)).await;
        timeout(PATIENCE, world.node.drained()).await.unwrap();
    };
    tokio::join!(writes, moved);
    let acknowledged = late.iter().filter(|end| end.is_ok()).count() as u64;
    for end in late {
        let certain = matches!(end, Ok(_) | Err(Error::ShardNotAvailable { .. } | Error::Fenced { .. }));
        assert!(certain, "{end:?}");
    }
    assert_eq!(count(&second).await.unwrap(), 1 + acknowledged);
    reported(&world, NodeId(2)).await;
    world.ground.delete::<ShardAssignment>(&SHARD).await;
    timeout(PATIENCE, second.drained()).await.unwrap();
    world.until(|world| world.ground.view.read(|metadata| metadata.shards.is_empty())).await;
    world.stop().await;
}

/// A hung leader finds out by its log that it is deposed: it says so to everybody who asks, and leads no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_its_log_gives_up() {
    let world = World::new(LOGS, settings()).await;
    let (hung, following) = world.second_that_can_hang(NodeId(3)).await;
    world.assign(NodeId(3), Epoch(2)).await;
    count(&hung).await.unwrap();
    following.stop(PATIENCE).await;
    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(3)).await;
    assert_eq!(count(&second).await.unwrap(), 0);
    let writes = (0..100).map(|key| hung.write(insert(key)));
    for end in futures::future::join_all(writes).await {
        // Those that come while it gives up are told that nobody leads here, which is as certain.
        assert!(matches!(end, Err(Error::Fenced { .. } | Error::ShardNotAvailable { .. })), "{end:?}");
    }
    let error = refused(&hung).await;
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    reported(&world, NodeId(2)).await;
    assert_eq!(count(&second).await.unwrap(), 0);
    hung.stop().await;
    second.stop().await;
    world.stop().await;
}

/// It wakes up, gets a new session, and tells again what it served: that is not true any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_wakes_up_does_not_speak_over_the_next_leader() {
    let world = World::new(LOGS, settings()).await;
    let kv = &world.ground.kv;
    let lease = async || kv.grant_lease(Duration::from_secs(600)).await.unwrap();
    let leases = watch::Sender::new(Some(lease().await));
    let logs = world.logs_of_another().await;
    let (hung, following) = world.another_that_can_hang(NodeId(3), logs, Some(leases.subscribe())).await;
    world.assign(NodeId(3), Epoch(2)).await;
    reported(&world, NodeId(3)).await;
    following.stop(PATIENCE).await;

    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(3)).await;
    reported(&world, NodeId(2)).await;
    let first = leases.send_replace(Some(lease().await));
    // Something under the new lease tells that the reports have been written again.
    kv.revoke_lease(first.unwrap()).await.unwrap();
    let error = async {
        while hung.write(insert(1)).await.is_ok() {}
        refused(&hung).await
    };
    let error = timeout(PATIENCE, error).await.unwrap();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    hung.stop().await;
    let status: ShardStatus = world.ground.get(&SHARD).await.unwrap();
    assert_eq!((status.node, status.epoch), (NodeId(2), Epoch(3)));
    second.stop().await;
    world.stop().await;
}
