//! Two replicas: what happens to query nodes, readers do not notice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redkite_catalog::{ReplicaRecord, ReplicasRecord};
use redkite_streaming_node::StreamingNodeSettings;
use redkite_types::ReplicaId;
use tokio::time::Instant;

use crate::neighbours::{Holder, OTHER_QUERY_NODE, QUERY_NODE};
use crate::world::{Logs, SHARD, World, settings};

/// Far less than anything that is waited for in vain.
const SOON: Duration = Duration::from_secs(4);

/// Ten flushed rows, served by both replicas.
async fn served_twice(settings: StreamingNodeSettings) -> World {
    let world = World::new(Logs::Local, settings).await;
    world.insert(&(0..10).collect::<Vec<_>>(), 1).await;
    world.flush().await;
    while world.publish().await {}
    while world.ground.publish_other(&world.node, SHARD).await {}
    // The leader has heard of both.
    let known = async {
        while reads(&world.holder) == 0 || reads(&world.ground.other) == 0 {
            assert_eq!(world.count().await, 10);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.expect("both replicas are read");
    world
}

fn reads(holder: &Holder) -> usize {
    holder.reads.load(Ordering::SeqCst)
}

/// Settings under which waiting for a node would be noticed.
fn impatient() -> StreamingNodeSettings {
    StreamingNodeSettings {
        hedge_after: Duration::from_millis(50),
        delete_patience: Duration::from_secs(30),
        read_patience: Duration::from_secs(30),
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_spread_over_replicas() {
    let world = served_twice(settings()).await;
    let before = (reads(&world.holder), reads(&world.ground.other));
    for _ in 0..20 {
        assert_eq!(world.count().await, 10);
    }
    let after = (reads(&world.holder), reads(&world.ground.other));
    assert_eq!(after, (before.0 + 10, before.1 + 10), "in turns");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_query_node_fails_no_read_and_slows_none_down() {
    let world = served_twice(impatient()).await;
    let before = reads(&world.holder);
    world.holder.dead.store(true, Ordering::SeqCst);
    let began = Instant::now();
    for key in 0..5 {
        for _ in 0..10 {
            assert_eq!(world.count().await, 10 - u64::try_from(key).unwrap());
        }
        world.delete(&[key]).await;
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(reads(&world.holder) <= before + 2, "it is avoided after it failed");
    world.holder.dead.store(false, Ordering::SeqCst);
    let back = async {
        let before = reads(&world.holder);
        while reads(&world.holder) < before + 5 {
            assert_eq!(world.count().await, 5, "it is read only with all deletes");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("asked again when it answers again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_query_node_is_found_out_by_its_silence() {
    let world = served_twice(impatient()).await;
    world.holder.hung.send_replace(true);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(world.count().await, 10);
    }
    // Known to be silent, it does not hold up writers.
    world.delete(&[1]).await;
    assert_eq!(world.count().await, 9);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    world.holder.hung.send_replace(false);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_for_a_node_goes_on_when_readers_find_it_silent() {
    let world = served_twice(impatient()).await;
    world.holder.hung.send_replace(true);
    let began = Instant::now();
    let readers = async {
        for _ in 0..5 {
            world.count().await;
        }
    };
    tokio::join!(world.delete(&[1]), readers);
    assert_eq!(world.count().await, 9);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    world.holder.hung.send_replace(false);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_session_is_neither_read_nor_fed() {
    let world = served_twice(impatient()).await;
    world.holder.hung.send_replace(true);
    world.ground.alive.send_replace(Arc::new([OTHER_QUERY_NODE].into()));
    let began = Instant::now();
    // The leader may still be about to hear of it: then the write finds out by itself.
    let deleted = async {
        while world.count().await != 9 {
            world.delete(&[1]).await;
        }
    };
    tokio::time::timeout(SOON, deleted).await.expect("nobody waits for the dead");
    let before = reads(&world.holder);
    for _ in 0..10 {
        assert_eq!(world.count().await, 9);
    }
    assert_eq!(reads(&world.holder), before);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    world.holder.hung.send_replace(false);
    world.ground.alive.send_replace(Arc::new([QUERY_NODE, OTHER_QUERY_NODE].into()));
    let back = async {
        while reads(&world.holder) == before {
            assert_eq!(world.count().await, 9)
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it is read again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_replica_a_read_waits_for_the_view() {
    let world = World::new(Logs::Local, impatient()).await;
    world.insert(&[1, 2], 1).await;
    world.flush().await;
    while world.publish().await {}
    world.ground.alive.send_replace(Arc::new([OTHER_QUERY_NODE].into()));
    let read = world.count();
    // Another node takes over, in a view of its own.
    let taken_over = world.ground.publish_other(&world.node, SHARD);
    let (count, _) = tokio::join!(read, taken_over);
    assert_eq!(count, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_is_not_read() {
    let world = served_twice(settings()).await;
    world.insert(&[20, 21], 1).await;
    world.flush().await;
    // The first replica has lost its nodes: nobody waits for it to serve the new segment.
    let with_nodes = ReplicaRecord { nodes: [OTHER_QUERY_NODE].into(), ..Default::default() };
    let replicas = [(ReplicaId(0), ReplicaRecord::default()), (ReplicaId(1), with_nodes)].into();
    world.ground.put(&SHARD.collection, &ReplicasRecord { replicas }).await;
    while world.ground.publish_other(&world.node, SHARD).await {}
    for _ in 0..10 {
        assert_eq!(world.count().await, 12);
    }
    let before = reads(&world.holder);
    for _ in 0..10 {
        assert_eq!(world.count().await, 12);
    }
    assert_eq!(reads(&world.holder), before, "it lacks rows that the leader has let go of");
    while world.publish().await {}
    let back = async {
        while reads(&world.holder) == before {
            assert_eq!(world.count().await, 12)
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it serves everything again");
    world.stop().await;
}
