//! Leaders and nodes are found where they are now.

use std::sync::Arc;
use std::time::Duration;

use redkite_rpc::{RpcSettings, role};
use redkite_service::{Error, SegmentsDirectory, ShardDirectory};
use redkite_types::NodeId;

use crate::fake::Fake;
use crate::samples::{COLLECTION, SHARD};
use crate::world::{Process, World};

/// Gives the others a chance to begin waiting. Whether they have makes no difference to the outcome.
async fn others_first() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_leader_is_waited_for_and_followed() {
    let world = World::start().await;
    let fakes = [Arc::new(Fake::default()), Arc::new(Fake::default())];
    let appearing = async {
        others_first().await;
        world.assign(1).await;
        others_first().await;
        world.process(role::STREAMING_NODE, 1, fakes[0].services(1)).await
    };
    let (leader, first) = tokio::join!(world.peers.leader(SHARD), appearing);
    leader.unwrap().flush(SHARD).await.unwrap();
    assert_eq!(fakes[0].heard().len(), 1);

    let _second = world.process(role::STREAMING_NODE, 2, fakes[1].services(2)).await;
    let dying = async {
        first.kill();
        world.kv.delete("session/streamingnode-1".to_owned()).await.unwrap();
        world.gone(role::STREAMING_NODE, 1).await;
        others_first().await;
        world.assign(2).await;
    };
    dying.await;
    // The view may not show the new assignment yet: the old leader has no session, so it is waited for.
    world.peers.leader(SHARD).await.unwrap().flush(SHARD).await.unwrap();
    assert_eq!((fakes[0].heard().len(), fakes[1].heard().len()), (0, 1));
}

#[tokio::test]
async fn a_shard_without_a_leader_is_not_waited_for_for_ever() {
    let leader_patience = Duration::from_millis(50);
    let world = World::with(RpcSettings { leader_patience, ..RpcSettings::default() }).await;
    let error = world.peers.leader(SHARD).await.err().unwrap();
    assert_eq!(error, Error::ShardNotAvailable { shard: SHARD.to_string() });
}

#[tokio::test]
async fn a_shard_of_a_dropped_collection_is_not_waited_for() {
    let patience = Duration::from_secs(3600);
    let world = World::with(RpcSettings { leader_patience: patience, ..RpcSettings::default() }).await;
    let dropping = async {
        others_first().await;
        world.kv.delete(format!("collection/{COLLECTION}")).await.unwrap();
    };
    let (leader, ()) = tokio::join!(world.peers.leader(SHARD), dropping);
    assert_eq!(leader.err().unwrap(), Error::ShardNotAvailable { shard: SHARD.to_string() });
}

#[tokio::test]
async fn nodes_come_and_go() {
    let world = World::start().await;
    assert_eq!(world.peers.node(NodeId(1)).await.err().unwrap(), Error::NodeNotFound { node: 1 });
    let fake = Arc::new(Fake::default());
    let process = Process::start(fake.services(1)).await;
    let lease = world.register(role::QUERY_NODE, 1, &process.address).await;
    let node = world.peers.node(NodeId(1)).await.unwrap();
    node.apply_deletes(SHARD, crate::samples::deletes()).await.unwrap();

    world.kv.revoke_lease(lease).await.unwrap();
    world.gone(role::QUERY_NODE, 1).await;
    assert_eq!(world.peers.node(NodeId(1)).await.err().unwrap(), Error::NodeNotFound { node: 1 });
    // Registered again, it is found again: its lease was lost, not the process.
    world.register(role::QUERY_NODE, 1, &process.address).await;
    let node = world.peers.node(NodeId(1)).await.unwrap();
    node.apply_deletes(SHARD, crate::samples::deletes()).await.unwrap();
}
