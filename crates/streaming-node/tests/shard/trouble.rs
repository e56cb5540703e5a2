//! Full disks, damaged logs, deaf query nodes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redkite_runtime::units::Bytes;
use redkite_service::{Consistency, Error, Shard, WriteOp};
use redkite_streaming_node::StreamingNodeSettings;

use super::LOGS;
use crate::world::{PARTITION, SHARD, World, retrieve, rows, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_delays_a_flush_and_loses_nothing() {
    let world = World::new(LOGS, settings()).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_larger_than_the_room_for_growing_rows_do_not_stop_writers() {
    let late = StreamingNodeSettings {
        seal_bytes: Bytes(1 << 20),
        max_unsealed_bytes: Bytes(4 << 10),
        write_patience: Duration::from_secs(20),
        ..settings()
    };
    let world = World::new(LOGS, late).await;
    let writing = async {
        for key in 0..200 {
            world.insert(&[key], 1).await;
        }
    };
    // A write may wait for a flush that has to be published, too.
    let publishing = async {
        loop {
            world.publish().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = writing => {}
        () = publishing => {}
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
    let world = World::new(LOGS, small).await;
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
    let world = World::new(LOGS, settings()).await;
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
