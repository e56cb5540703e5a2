//! A write that is sent again is applied once, by whichever leader, and is answered all the same.

use futures::FutureExt;
use futures::future::join_all;
use redkite_service::{Error, Result, Retry, Shard, WriteAck, WriteId, WriteOp, WriteRequest};
use redkite_types::{Epoch, NodeId, ProxyRun};

use super::LOGS;
use crate::world::{PARTITION, SHARD, World, count, request, rows, send, settings};

fn insert(key: i64) -> WriteRequest {
    request(WriteOp::Insert(vec![(PARTITION, rows(&[key], 1))]))
}

/// Sends a write until it is known what became of it, as a proxy does.
async fn insist(world: &World, request: &WriteRequest) -> Result<WriteAck> {
    loop {
        match send(&world.node, request).await {
            Err(error) if error.retry() != Retry::No => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_are_answered_by_the_same_leader_and_by_later_ones() {
    let world = World::new(LOGS, settings()).await;
    let writes: Vec<_> = (0..5).map(insert).collect();
    let mut first = Vec::new();
    for write in &writes {
        first.push(send(&world.node, write).await.unwrap());
    }
    let again = join_all(writes.iter().map(|write| send(&world.node, write))).await;
    assert_eq!(again.into_iter().collect::<Result<Vec<_>>>().unwrap(), first);
    assert_eq!(world.count().await, 5);

    // From the log.
    let world = world.restart().await;
    for (write, first) in writes.iter().zip(&first) {
        assert_eq!(send(&world.node, write).await.unwrap(), *first);
    }
    assert_eq!(world.count().await, 5);
    // From the checkpoint, and from the log behind it.
    world.flush().await;
    let late = insert(5);
    let late_first = send(&world.node, &late).await.unwrap();
    let world = world.restart().await;
    for (write, first) in writes.iter().zip(&first) {
        assert!(send(&world.node, write).await.unwrap().timestamp >= first.timestamp);
    }
    assert_eq!(send(&world.node, &late).await.unwrap(), late_first);
    world.publish().await;
    assert_eq!(world.count().await, 6);

    let second = world.second(NodeId(2)).await;
    world.assign(NodeId(2), Epoch(2)).await;
    for write in writes.iter().chain([&late]) {
        send(&second, write).await.unwrap();
    }
    world.ground.publish(&world.holder, &second, SHARD).await;
    assert_eq!(count(&second).await.unwrap(), 6);
    second.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_sent_many_times_at_once_is_one_write() {
    let world = World::new(LOGS, settings()).await;
    world.insert(&[0], 1).await;
    for key in 1..=20 {
        let write = insert(key);
        let mut sent: Vec<_> = (0..8).map(|_| Box::pin(world.node.write(write.clone()))).collect();
        // Some who sent it go away, the first one among them.
        let gone: Vec<_> = sent.drain(..3).map(|mut write| (&mut write).now_or_never()).collect();
        assert_eq!(gone.len(), 3);
        let answers = join_all(sent).await.into_iter().collect::<Result<Vec<_>>>().unwrap();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(world.count().await, 1 + u64::try_from(key).unwrap());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_forgotten() {
    let world = World::new(LOGS, settings()).await;
    let write = insert(1);
    let stale = WriteRequest { schema_version: 2, ..write.clone() };
    for _ in 0..2 {
        let refused = send(&world.node, &stale).await.unwrap_err();
        assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
    }
    send(&world.node, &write).await.unwrap();
    send(&world.node, &stale).await.unwrap();
    assert_eq!(world.count().await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_comes_to_nothing() {
    let world = World::new(LOGS, settings()).await;
    let numbered = |key, sequence, settled_below| WriteRequest {
        id: WriteId { proxy: ProxyRun(1), sequence, settled_below },
        ..insert(key)
    };
    send(&world.node, &numbered(1, 0, 0)).await.unwrap();
    send(&world.node, &numbered(3, 2, 2)).await.unwrap();
    // The second was given up, but arrives nevertheless; the first was answered, and comes once more.
    for late in [numbered(2, 1, 0), numbered(1, 0, 0)] {
        let refused = send(&world.node, &late).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidParameter { .. }), "{refused}");
    }
    for impossible in [numbered(4, 3, 4), numbered(4, 20_000, 3)] {
        let refused = send(&world.node, &impossible).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidParameter { .. }), "{refused}");
    }
    assert_eq!(world.count().await, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_in_the_middle_has_written_once() {
    let world = World::new(LOGS, settings()).await;
    let writes: Vec<_> = (0..200).map(insert).collect();
    let sending = join_all(writes.iter().map(|write| world.node.write(write.clone())));
    let (answers, ()) = tokio::join!(sending, async {
        tokio::task::yield_now().await;
        world.node.stop().await;
    });
    for answer in answers {
        let certain = answer.as_ref().map_or_else(|error| error.retry() == Retry::Yes, |_| true);
        assert!(certain, "{answer:?}");
    }
    let world = world.restart().await;
    for write in &writes {
        insist(&world, write).await.unwrap();
    }
    assert_eq!(world.count().await, 200);
    world.stop().await;
}
