//! What is acknowledged is there, at once and after a restart, and nobody sees half of it.

use std::collections::BTreeMap;

use redkite_service::{Consistency, Error, Shard, WriteOp, WriteRequest};
use redkite_types::{Epoch, NodeId, PartitionId, PrimaryKeys};

use super::LOGS;
use crate::world::{OTHER, PARTITION, SHARD, World, all, count, request, rows, settings, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_visible_when_acknowledged_and_after_a_restart() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1, 2, 3], 10).await;
    assert_eq!(world.search(2, 1).await.ids, PrimaryKeys::Int64(vec![2]));
    world.upsert(&[2, 4], 20).await;
    world.delete(&[1]).await;
    let expected = BTreeMap::from([(2, 20), (3, 10), (4, 20)]);
    assert_eq!(world.all().await, expected);
    assert_eq!(world.count().await, 3);

    let world = world.restart().await;
    assert_eq!(world.all().await, expected);
    world.insert(&[5], 30).await;
    assert_eq!(world.count().await, 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_in_one_partition_leaves_the_other_alone() {
    let world = World::new(LOGS, settings()).await;
    let both = vec![(PARTITION, rows(&[1, 2], 1)), (OTHER, rows(&[1, 2], 2))];
    world.write(WriteOp::Insert(both)).await.unwrap();
    let delete = WriteOp::Delete { partition: Some(OTHER), keys: PrimaryKeys::Int64(vec![1]) };
    world.write(delete).await.unwrap();
    assert_eq!(world.count().await, 3);
    // Sealed, reloaded from files: the same.
    world.flush().await;
    world.publish().await;
    assert_eq!(world.count().await, 3);
    let delete = WriteOp::Delete { partition: Some(PARTITION), keys: PrimaryKeys::Int64(vec![2]) };
    world.write(delete).await.unwrap();
    assert_eq!(world.count().await, 2);
    world.flush().await;
    let world = world.restart().await;
    world.holder.clear();
    for record in world.ground.flushed(SHARD) {
        world.holder.load(&world.node, &world.ground, &record).await;
    }
    assert_eq!(world.count().await, 2, "deltas name the partition");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_cannot_be_applied_are_refused() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    let request = |schema_version, op| WriteRequest { schema_version, ..request(op) };
    let op = || WriteOp::Insert(vec![(PARTITION, rows(&[2], 1))]);
    for version in [2, 4] {
        let refused = world.node.write(request(version, op())).await.unwrap_err();
        assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
    }
    let nowhere = WriteOp::Insert(vec![(PartitionId(9), rows(&[2], 1))]);
    let refused = world.node.write(request(3, nowhere)).await.unwrap_err();
    assert!(matches!(refused, Error::PartitionNotFound { .. }), "{refused}");
    let mut torn = rows(&[2], 1);
    torn.columns.pop();
    let refused = world.node.write(request(3, WriteOp::Insert(vec![(PARTITION, torn)]))).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidParameter { .. }), "{refused}");
    let keys = PrimaryKeys::VarChar(["a"].iter().collect());
    let refused = world.node.write(request(3, WriteOp::Delete { partition: None, keys })).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidParameter { .. }), "{refused}");
    assert_eq!(world.count().await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_has_everything_and_the_old_one_writes_nothing() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1, 2], 1).await;
    world.delete(&[2]).await;
    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(2)).await;
    write(&second, WriteOp::Insert(vec![(PARTITION, rows(&[3], 3))])).await.unwrap();
    let op = WriteOp::Insert(vec![(PARTITION, rows(&[4], 4))]);
    let refused = world.node.write(request(op)).await.unwrap_err();
    assert!(matches!(refused, Error::ShardNotAvailable { .. } | Error::Fenced { .. }), "{refused}");
    assert_eq!(all(&second, Consistency::Strong).await, BTreeMap::from([(1, 1), (3, 3)]));
    assert_eq!(count(&second).await.unwrap(), 2);
    second.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_collection_takes_its_log_along() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    assert_eq!(world.logs.list().await.unwrap(), [SHARD]);
    world.ground.delete::<redkite_catalog::CollectionRecord>(&SHARD.collection).await;
    world.ground.delete::<redkite_catalog::ShardAssignment>(&SHARD).await;
    // The log goes after the shard has stopped; nothing records that.
    let gone = async {
        while !world.logs.list().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
    world.stop().await;
}
