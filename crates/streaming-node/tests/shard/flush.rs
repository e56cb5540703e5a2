//! Rows move from memory to files to a query node, and are seen once all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redkite_catalog::DeltaFile;
use redkite_runtime::units::Bytes;
use redkite_service::{Consistency, Shard, WriteOp};
use redkite_streaming_node::StreamingNodeSettings;
use redkite_types::{Epoch, NodeId, PartitionId};

use super::LOGS;
use crate::world::{Logs, PARTITION, SHARD, World, all, collection, count, rows, settings, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_records_segments_and_deletes_and_cuts_the_log() {
    let world = World::new(LOGS, settings()).await;
    let nothing = world.flush().await;
    assert!(nothing.segments.is_empty());
    world.insert(&[1, 2, 3], 1).await;
    world.delete(&[1]).await;
    let flushed = world.flush().await;
    let records = world.ground.flushed(SHARD);
    assert_eq!(records.iter().map(|record| record.id).collect::<Vec<_>>(), flushed.segments);
    assert_eq!(records[0].rows, 2, "a deleted row is not written");
    assert!(world.ground.checkpoint(SHARD).await.deltas.is_empty(), "no older segment is concerned");

    world.publish().await;
    world.delete(&[2]).await;
    world.insert(&[4], 1).await;
    assert_eq!(world.count().await, 2);
    world.flush().await;
    let checkpoint = world.ground.checkpoint(SHARD).await;
    let [DeltaFile { rows: 1, .. }] = &checkpoint.deltas[..] else { panic!("{:?}", checkpoint.deltas) };
    assert_eq!(world.count().await, 2);
    // The log is cut after the checkpoint is recorded; a stopped node has done both. Opening the log
    // would fence one that runs.
    world.node.stop().await;
    let log = world.logs.open(SHARD, Epoch(1)).await.unwrap();
    assert_eq!(log.first_lsn(), checkpoint.lsn.next());
    world.stop().await;
}

/// A trickle of small writes makes a log of many small objects, which a recovery would read one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_many_pieces_is_made_files() {
    let few = StreamingNodeSettings { seal_log_pieces: 10, ..settings() };
    let world = World::new(LOGS, few).await;
    for key in 0..35 {
        world.insert(&[key], 1).await;
    }
    if matches!(LOGS, Logs::Objects) {
        world.until(|world| world.ground.flushed(SHARD).len() >= 3).await;
    } else {
        assert!(world.ground.flushed(SHARD).is_empty(), "local files are read in one run");
    }
    while world.publish().await {}
    assert_eq!(world.count().await, 35);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_all_deleted_make_no_segment() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    world.delete(&[1]).await;
    let flushed = world.flush().await;
    assert_eq!(flushed.segments.len(), 1);
    assert!(world.ground.flushed(SHARD).is_empty());
    assert_eq!(world.count().await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_are_recorded_in_parts() {
    let world = World::new(LOGS, settings()).await;
    let many = 250;
    world.define(&collection(many)).await;
    let mut parts: Vec<_> = (1..=many).map(|id| (PartitionId(id), rows(&[id], id))).collect();
    // The node may not have followed yet: the write is checked against what is committed.
    world.write(WriteOp::Insert(std::mem::take(&mut parts))).await.unwrap();
    world.flush().await;
    assert_eq!(world.ground.flushed(SHARD).len(), 250);
    assert!(world.ground.checkpoint(SHARD).await.ahead.is_empty());
    assert_eq!(world.count().await, 250);
    world.publish().await;
    let world = world.restart().await;
    assert_eq!(world.count().await, 250);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_was_cut_short_between_parts_doubles_nothing() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    world.write(WriteOp::Insert(vec![(PartitionId(2), rows(&[2], 2))])).await.unwrap();
    world.flush().await;
    // As a crash after the first of two parts leaves it: one partition is ahead of the checkpoint.
    let lsn = world.ground.checkpoint(SHARD).await.lsn;
    world.insert(&[3], 3).await;
    world.write(WriteOp::Insert(vec![(PartitionId(2), rows(&[4], 4))])).await.unwrap();
    let mut checkpoint = world.ground.checkpoint(SHARD).await;
    checkpoint.ahead.insert(PARTITION, redkite_types::Lsn(lsn.0 + 1));
    world.ground.put(&SHARD, &checkpoint).await;
    let world = world.restart().await;
    let served = world.publish().await;
    assert!(served);
    let rows = world.all().await;
    assert!(rows.contains_key(&4) && rows.contains_key(&1) && rows.contains_key(&2));
    assert!(!rows.contains_key(&3), "its partition is ahead of the checkpoint: the row is in a file");
    world.stop().await;
}

/// Writers upsert the same keys over and over while everything is sealed, flushed, loaded and served:
/// every count and every retrieval has every key once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_seen_once_while_they_move() {
    let small = StreamingNodeSettings { seal_bytes: Bytes(8 << 10), ..settings() };
    let world = Arc::new(World::new(LOGS, small).await);
    let keys: Vec<i64> = (0..50).collect();
    world.insert(&keys, 0).await;
    let done = Arc::new(AtomicBool::new(false));

    let coordinator = {
        let (world, done) = (world.clone(), done.clone());
        async move {
            let mut published = 0;
            while !done.load(Ordering::SeqCst) {
                published += usize::from(world.publish().await);
                tokio::task::yield_now().await;
            }
            published
        }
    };
    let reader = {
        let (node, done) = (world.node.clone(), done.clone());
        async move {
            let mut reads = 0;
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                assert_eq!(count(&node).await.unwrap(), 50);
                let all = all(&node, Consistency::Strong).await;
                let values: std::collections::BTreeSet<i64> = all.values().copied().collect();
                assert_eq!((all.len(), values.len()), (50, 1), "an upsert is seen whole");
                let value = *values.first().unwrap();
                assert!(value >= last, "time does not go back");
                last = value;
                reads += 1;
            }
            reads
        }
    };
    let writer = {
        let (world, done) = (world.clone(), done.clone());
        async move {
            for round in 1..=150 {
                world.upsert(&(0..50).collect::<Vec<_>>(), round).await;
                let found = world.search(7, 1).await;
                assert_eq!(found.columns[0].data, redkite_types::ColumnData::Int64(vec![round]));
            }
            done.store(true, Ordering::SeqCst);
        }
    };
    let (published, reads, ()) = tokio::join!(coordinator, reader, writer);
    assert!(published > 3 && reads > 10, "{published} views, {reads} reads");
    world.flush().await;
    world.publish().await;
    assert_eq!(world.count().await, 50);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_records_nothing() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1], 1).await;
    world.ground.store.full.store(true, Ordering::SeqCst);
    world.node.flush(SHARD).await.unwrap();
    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(2)).await;
    world.ground.store.full.store(false, Ordering::SeqCst);
    assert_eq!(count(&second).await.unwrap(), 1);
    let flushed = second.flush(SHARD).await.unwrap();
    world.checkpoint_reaches(flushed.timestamp).await;
    assert_eq!(world.ground.flushed(SHARD).len(), 1, "only one leader recorded the row");
    assert_eq!(count(&second).await.unwrap(), 1);
    second.stop().await;
    world.stop().await;
}

/// The old leader is hung: it does not know that it is deposed. Its flush must fail by what the metastore
/// says, not by its own good behaviour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_know_it_is_deposed_records_nothing() {
    let world = World::new(LOGS, settings()).await;
    let (hung, following) = world.second_that_can_hang(NodeId(3)).await;
    world.assign(NodeId(3), Epoch(2)).await;
    write(&hung, WriteOp::Insert(vec![(PARTITION, rows(&[1], 1))])).await.unwrap();
    world.ground.store.full.store(true, Ordering::SeqCst);
    hung.flush(SHARD).await.unwrap();

    following.stop(Duration::from_secs(5)).await;
    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(3)).await;
    assert_eq!(count(&second).await.unwrap(), 1);
    world.ground.store.full.store(false, Ordering::SeqCst);
    let refused = async {
        while !hung.health().iter().any(|shard| shard.problem.as_ref().is_some_and(|p| p.contains("fenced")))
        {
            assert!(world.ground.flushed(SHARD).is_empty(), "a deposed leader recorded a segment");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    assert!(world.ground.flushed(SHARD).is_empty());
    let flushed = second.flush(SHARD).await.unwrap();
    world.checkpoint_reaches(flushed.timestamp).await;
    assert_eq!(world.ground.flushed(SHARD).len(), 1);
    assert_eq!(count(&second).await.unwrap(), 1);
    hung.stop().await;
    second.stop().await;
    world.stop().await;
}
