//! Trouble with logs in local files.

use std::time::Duration;

use redkite_catalog::{CollectionRecord, ShardAssignment};
use redkite_runtime::failpoint::arm;
use redkite_service::{Consistency, Error, Shard, WriteOp};
use redkite_types::{CollectionId, Epoch, NodeId, ShardId};

use crate::world::{Logs, PARTITION, SHARD, World, collection, request, retrieve, rows, send, settings};

const LOGS: Logs = Logs::Local;

/// The flush comes after a write of which nobody knows whether it is in the log. Failpoints are the process's:
/// nextest gives every test its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_after_a_failed_sync_does_not_cover_the_failed_write() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[1, 2], 1).await;
    arm("wal::after-sync=1*return", redkite_wal::FAILPOINTS).unwrap();
    let upsert = WriteOp::Upsert(vec![(PARTITION, rows(&[1], 7))]);
    // The flush is queued behind the write, and either done or refused.
    let (failed, flushed) = tokio::join!(world.write(upsert), world.node.flush(SHARD));
    failed.unwrap_err();
    assert!(matches!(flushed, Ok(_) | Err(Error::ShardNotAvailable { .. })), "{flushed:?}");
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
async fn a_damaged_log_is_refused_and_the_others_serve() {
    let world = World::new(LOGS, settings()).await;
    let other = ShardId { collection: CollectionId(8), ordinal: 0 };
    let record = CollectionRecord { id: other.collection, name: "other".to_owned(), ..collection(2) };
    world.define(&record).await;
    world.ground.put(&other, &ShardAssignment::new(NodeId(1), Epoch(1))).await;
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

/// Nobody knows whether the write is in the log: it is, or it is not, and sent again it is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_failed_with_the_log_is_written_once() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[0], 1).await;
    for (key, failpoint) in [(1, "wal::after-sync"), (2, "wal::before-write"), (3, "wal::after-write")] {
        arm(&format!("{failpoint}=1*return"), redkite_wal::FAILPOINTS).unwrap();
        let write = request(WriteOp::Insert(vec![(PARTITION, rows(&[key], 1))]));
        let failed = send(&world.node, &write).await.unwrap_err();
        assert!(matches!(failed, Error::Unsettled { .. } | Error::Io { .. }), "{failpoint}: {failed}");
        let answered = async { while send(&world.node, &write).await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
        assert_eq!(world.count().await, 1 + u64::try_from(key).unwrap(), "{failpoint}");
    }
    world.stop().await;
}
