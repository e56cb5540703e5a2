//! Full disks, damaged logs, deaf query nodes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redkite_catalog::{CollectionRecord, ShardAssignment};
use redkite_runtime::failpoint::arm;
use redkite_runtime::units::Bytes;
use redkite_service::{Consistency, Error, Shard, WriteOp};
use redkite_streaming_node::StreamingNodeSettings;
use redkite_types::{CollectionId, Epoch, NodeId, ShardId};

use crate::world::{PARTITION, SHARD, World, collection, retrieve, rows, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_delays_a_flush_and_loses_nothing() {
    let world = World::new(settings()).await;
    world.insert(&[1, 2], 1).await;
    world.ground.store.full.store(true, Ordering::SeqCst);
    let flushed = world.node.flush(SHARD).await.unwrap();
    let failing = async {
        while world.node.health()[0].problem.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failing).await.unwrap();
    assert!(world.node.health()[0].serving);
    world.insert(&[3], 1).await;
    assert_eq!(world.count().await, 3);
    world.ground.store.full.store(false, Ordering::SeqCst);
    world.checkpoint_reaches(flushed.timestamp).await;
    assert_eq!(world.count().await, 3);
    world.stop().await;
}

/// The flush comes after a write of which nobody knows whether it is in the log. Failpoints are the process's:
/// nextest gives every test its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_after_a_failed_sync_does_not_cover_the_failed_write() {
    let world = World::new(settings()).await;
    world.insert(&[1, 2], 1).await;
    arm("wal::after-sync=1*return", redkite_wal::FAILPOINTS).unwrap();
    let upsert = WriteOp::Upsert(vec![(PARTITION, rows(&[1], 7))]);
    world.write(upsert).await.unwrap_err();
    world.node.flush(SHARD).await.unwrap();
    // Until the log is opened anew: the upsert is in it.
    let healed =
        async { while world.write(WriteOp::Insert(vec![(PARTITION, rows(&[3], 1))])).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), healed).await.unwrap();
    world.flush().await;
    while world.publish().await {}
    assert_eq!(world.count().await, 3);
    assert_eq!(world.all().await, [(1, 7), (2, 1), (3, 1)].into());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_larger_than_the_room_for_growing_rows_do_not_stop_writers() {
    let late = StreamingNodeSettings {
        seal_bytes: Bytes(1 << 20),
        max_unsealed_bytes: Bytes(4 << 10),
        write_patience: Duration::from_secs(20),
        ..settings()
    };
    let world = World::new(late).await;
    for key in 0..200 {
        world.insert(&[key], 1).await;
        world.publish().await;
    }
    assert_eq!(world.count().await, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_when_files_are_far_behind() {
    let small = StreamingNodeSettings {
        seal_bytes: Bytes(1 << 10),
        max_unsealed_bytes: Bytes(4 << 10),
        write_patience: Duration::from_millis(300),
        ..settings()
    };
    let world = World::new(small).await;
    world.ground.store.full.store(true, Ordering::SeqCst);
    let mut written = 0;
    let refused = loop {
        match world.write(WriteOp::Insert(vec![(PARTITION, rows(&[written], 1))])).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "writers must be held back");
    };
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    assert_eq!(world.count().await, u64::try_from(written).unwrap());
    world.ground.store.full.store(false, Ordering::SeqCst);
    world.until(|world| !world.ground.flushed(SHARD).is_empty()).await;
    while world.publish().await {}
    let op = WriteOp::Insert(vec![(PARTITION, rows(&[written], 1))]);
    while let Err(error) = world.write(op.clone()).await {
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        world.publish().await;
    }
    assert_eq!(world.count().await, u64::try_from(written + 1).unwrap());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_node_that_takes_no_deletes_is_not_read_until_it_does() {
    let world = World::new(settings()).await;
    world.insert(&[1, 2, 3], 1).await;
    world.flush().await;
    world.publish().await;
    world.holder.deaf.store(true, Ordering::SeqCst);
    // The writer is not held up for long, the reader never sees the deleted row.
    world.delete(&[2]).await;
    let read = world.node.count(SHARD, retrieve(Consistency::Strong));
    let listen = async { world.holder.deaf.store(false, Ordering::SeqCst) };
    let (count, ()) = tokio::join!(read, listen);
    assert_eq!(count.unwrap().part, 2);
    world.delete(&[3]).await;
    assert_eq!(world.count().await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_refused_and_the_others_serve() {
    let world = World::new(settings()).await;
    let other = ShardId { collection: CollectionId(8), ordinal: 0 };
    let record = CollectionRecord { id: other.collection, name: "other".to_owned(), ..collection(2) };
    world.define(&record).await;
    world.ground.put(&other, &ShardAssignment { node: NodeId(1), epoch: Epoch(1) }).await;
    for key in 0..100 {
        world.insert(&[key], 1).await;
    }
    let logs = world.wal_files();
    world.node.stop().await;
    damage(&logs.join(SHARD.to_string()));
    let world = world.restart().await;
    let refused = loop {
        match world.node.count(SHARD, retrieve(Consistency::Strong)).await {
            // Asked before the node has looked at its assignments.
            Err(Error::ShardNotAvailable { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(refused.to_string().contains("corrupted"), "{refused}");
    let problem = world.node.health().into_iter().find(|shard| shard.shard == SHARD).unwrap().problem;
    assert!(problem.unwrap().contains("corrupted"));
    world.until(|world| world.ground.view.read(|metadata| metadata.shards.contains_key(&other))).await;
    world.stop().await;
}

/// Changes a byte in the first half of the largest file.
fn damage(directory: &std::path::Path) {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&largest, bytes).unwrap();
}
