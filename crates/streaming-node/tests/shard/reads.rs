//! What reads wait for, what they refuse, and what they see.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{LoadRecord, LoadScope, ServingView};
use redkite_service::{Consistency, Error, Shard};
use redkite_types::{PartitionId, ReplicaId, Timestamp};

use super::LOGS;
use crate::world::{OTHER, PARTITION, SHARD, World, all, retrieve, settings};

fn load(scope: LoadScope, loaded: &[PartitionId]) -> LoadRecord {
    let loaded: BTreeSet<PartitionId> = loaded.iter().copied().collect();
    LoadRecord { scope, replicas: 1, requested_at: Timestamp::ZERO, loaded }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_loaded_is_not_read() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    let ground = &world.ground;
    ground.delete::<LoadRecord>(&SHARD.collection).await;
    let wait = world.node.count(SHARD, retrieve(Consistency::Strong)).await;
    assert!(matches!(wait, Err(Error::CollectionNotLoaded { .. }) | Ok(_)), "{wait:?}");
    // A flush is a barrier: the node has followed the records by its end.
    world.flush().await;
    let refused = world.node.count(SHARD, retrieve(Consistency::Strong)).await.unwrap_err();
    assert!(matches!(refused, Error::CollectionNotLoaded { .. }), "{refused}");

    let only = LoadScope::Partitions(BTreeSet::from([PARTITION]));
    ground.put(&SHARD.collection, &load(only, &[])).await;
    let refused = world.node.count(SHARD, retrieve(Consistency::Strong)).await.unwrap_err();
    assert!(matches!(refused, Error::CollectionNotFullyLoaded { .. }), "sealed rows are nowhere: {refused}");
    world.publish().await;
    assert_eq!(world.count().await, 1);
    let mut request = (*retrieve(Consistency::Strong)).clone();
    request.partitions = vec![OTHER];
    let refused = world.node.count(SHARD, request.into()).await.unwrap_err();
    assert!(matches!(refused, Error::PartitionNotLoaded { .. }), "{refused}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_does_not_change() {
    let world = World::new(LOGS, settings()).await;
    let first = world.insert(&[1, 2], 1).await.timestamp;
    world.upsert(&[1], 2).await;
    world.insert(&[3], 3).await;
    let snapshot = Consistency::Snapshot(first);
    assert_eq!(all(&world.node, snapshot).await, BTreeMap::from([(1, 1), (2, 1)]));
    world.flush().await;
    let now = world.insert(&[4], 4).await.timestamp;
    assert_eq!(all(&world.node, Consistency::AtLeast(now)).await.len(), 4);
    let future = Timestamp::from_physical(now.physical() + 3_600_000);
    let late = world.node.count(SHARD, retrieve(Consistency::AtLeast(future))).await.unwrap_err();
    assert!(matches!(late, Error::Timeout { .. }), "{late}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_a_restarted_query_node() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1, 2, 3], 1).await;
    world.flush().await;
    world.publish().await;
    world.insert(&[4], 1).await;
    assert_eq!(world.count().await, 4);
    world.holder.clear();
    let records = world.ground.flushed(SHARD);
    let reload = async {
        for record in &records {
            world.holder.load(&world.node, &world.ground, record).await;
        }
    };
    let (count, ()) = tokio::join!(world.count(), reload);
    assert_eq!(count, 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_sealed_rows_are_awaited_not_left_out() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1, 2], 1).await;
    world.flush().await;
    // Served from memory so far: no view names the segment when the node comes back.
    let world = world.restart().await;
    assert!(world.ground.get::<ServingView>(&(SHARD, ReplicaId(0))).await.is_none());
    world.insert(&[3], 1).await;
    let (count, _) = tokio::join!(world.count(), world.publish());
    assert_eq!(count, 3);
    world.stop().await;
}
