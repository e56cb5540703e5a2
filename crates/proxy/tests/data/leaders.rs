//! Leaders that move, die, hang and come back: what is sent again, to whom, and for how long?

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use redkite_catalog::{CollectionRecord, ShardAssignment};
use redkite_proto::milvus::DeleteRequest;
use redkite_proxy::RequestContext;
use redkite_service::{Error, WriteId};
use redkite_types::{Epoch, NodeId, ShardId};
use tokio::time::Instant;

use crate::reads::{found, hits, run, search};
use crate::world::{COLLECTION, World};

const SHARD: ShardId = ShardId { collection: COLLECTION, ordinal: 0 };

async fn write(world: &World) -> Result<(), Error> {
    let request = DeleteRequest {
        collection_name: "c".to_owned(),
        expr: "id in [1]".to_owned(),
        ..DeleteRequest::default()
    };
    world.proxy.delete(RequestContext::default(), request).await.map(drop)
}

fn sent(world: &World) -> Vec<WriteId> {
    world.shards.writes.lock().iter().map(|write| write.id).collect()
}

fn unavailable() -> Error {
    Error::Unavailable { reason: "away".to_owned() }
}

fn lost() -> Error {
    Error::ConnectionLost { what: "write".to_owned() }
}

async fn loaded() -> World {
    let world = World::new(1).await;
    world.load().await;
    world
}

#[tokio::test]
async fn a_write_without_an_answer_is_sent_again_under_the_same_number() {
    let world = loaded().await;
    let failures = [
        unavailable(),
        lost(),
        Error::Timeout { what: "write".to_owned() },
        Error::Unsettled { reason: "log".to_owned() },
        Error::Fenced { what: "shard".to_owned() },
        Error::NotReady { role: "streamingnode".to_owned(), node: 3, state: "starting".to_owned() },
    ];
    world.shards.write_failures.lock().extend(failures.map(Some));
    write(&world).await.unwrap();
    write(&world).await.unwrap();
    let ids = sent(&world);
    assert_eq!(ids.len(), 8);
    assert_eq!(ids[..7].iter().map(|id| (id.sequence, id.settled_below)).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!((ids[7].sequence, ids[7].settled_below), (ids[0].sequence + 1, ids[0].sequence + 1));
    assert_eq!(ids[7].proxy, ids[0].proxy);
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let world = loaded().await;
    for refusal in [
        Error::SchemaMismatch { collection: "c".to_owned() },
        Error::DiskFull { reason: "full".to_owned() },
        Error::internal("broken"),
    ] {
        world.shards.write_failures.lock().push_back(Some(refusal.clone()));
        assert_eq!(write(&world).await.unwrap_err(), refusal);
    }
    assert_eq!(sent(&world).len(), 3);
    let timeout = Error::Timeout { what: "guarantee".to_owned() };
    world.shards.search_answers.lock().push_back(Err(timeout.clone()));
    assert_eq!(run(&world, search(&[("topk", "2")])).await.unwrap_err(), timeout);
}

#[tokio::test]
async fn a_read_is_sent_again() {
    let world = loaded().await;
    let not_ready = Error::NotReady { role: "streamingnode".to_owned(), node: 3, state: "away".to_owned() };
    let answers = [Err(unavailable()), Err(lost()), Err(not_ready), Ok(hits(&[(1, 0.1)]))];
    world.shards.search_answers.lock().extend(answers);
    assert_eq!(found(&run(&world, search(&[("topk", "2")])).await.unwrap()), [1]);
}

#[tokio::test]
async fn patience_ends_and_the_leader_is_not_hammered() {
    let world = loaded().await;
    world.shards.write_failures.lock().extend((0..1000).map(|_| Some(lost())));
    tokio::time::pause();
    let began = Instant::now();
    assert_eq!(write(&world).await.unwrap_err(), lost());
    let (elapsed, tries) = (began.elapsed(), sent(&world).len());
    assert!((Duration::from_secs(29)..Duration::from_secs(31)).contains(&elapsed), "{elapsed:?}");
    assert!((100..140).contains(&tries), "{tries}");
}

#[tokio::test]
async fn the_next_leader_is_asked_at_once_and_a_hanging_one_given_up() {
    let world = loaded().await;
    let lead = |node, epoch| ShardAssignment::new(NodeId(node), Epoch(epoch));
    world.put(&SHARD, &lead(1, 1)).await;
    world.shards.write_failures.lock().push_back(None);
    let change = async {
        while sent(&world).is_empty() {
            tokio::task::yield_now().await;
        }
        world.put(&SHARD, &lead(2, 2)).await;
    };
    let began = Instant::now();
    let (written, ()) = tokio::join!(write(&world), change);
    written.unwrap();
    assert_eq!(sent(&world).len(), 2);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // Failures have made the pauses long; news of a leader cuts them short.
    world.shards.write_failures.lock().extend((0..8).map(|_| Some(unavailable())));
    tokio::time::pause();
    let mut writing = Box::pin(write(&world));
    while sent(&world).len() < 10 {
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut writing).await.is_err());
    }
    tokio::time::resume();
    world.put(&SHARD, &lead(1, 3)).await;
    let news = Instant::now();
    writing.await.unwrap();
    assert!(news.elapsed() < Duration::from_millis(200), "{:?}", news.elapsed());
    assert_eq!(sent(&world).len(), 11);
}

#[tokio::test]
async fn a_client_that_goes_away_settles_its_write() {
    let world = loaded().await;
    world.shards.write_failures.lock().push_back(None);
    let mut gone = Box::pin(write(&world));
    while sent(&world).is_empty() {
        assert!((&mut gone).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    write(&world).await.unwrap();
    drop(gone);
    write(&world).await.unwrap();
    let numbers: Vec<_> = sent(&world).iter().map(|id| (id.sequence, id.settled_below)).collect();
    assert_eq!(numbers, [(0, 0), (1, 0), (2, 2)]);
}

#[tokio::test]
async fn nobody_waits_for_the_leader_of_a_dropped_collection() {
    let world = loaded().await;
    world.shards.write_failures.lock().extend((0..1000).map(|_| Some(unavailable())));
    let drop = async {
        while sent(&world).len() < 3 {
            tokio::task::yield_now().await;
        }
        world.remove::<CollectionRecord>(&COLLECTION).await;
    };
    let (written, ()) = tokio::join!(write(&world), drop);
    assert_eq!(written.unwrap_err(), unavailable());
    assert!(sent(&world).len() < 20);
}
