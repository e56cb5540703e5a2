//! The query coordinator with nodes that hold at once what they are told to.

use std::collections::BTreeSet;
use std::time::Duration;

use redkite_catalog::{
    HeldRecord, HeldSegment, IndexesRecord, LoadScope, SegmentRecord, SegmentState, load_progress,
};
use redkite_service::{Code, NewLoad, QueryCoord, RequestId};
use redkite_types::{PartitionId, SegmentId, Timestamp};

use super::*;
use crate::step::Step;
use crate::testing::{
    COLLECTION, NODE, World, collection, field, hnsw, indexes, segment, shard, spawn_fake_nodes,
};

async fn start(world: &World) -> Arc<QueryCoordinator> {
    world.query(world.environment()).await.unwrap()
}

async fn prepared(partitions: &[i64]) -> World {
    let world = World::start().await;
    world.put(&COLLECTION, &collection(2, partitions)).await;
    world.put(&COLLECTION, &indexes(hnsw())).await;
    world
}

async fn flush(world: &World, id: i64, ordinal: u16, partition: i64) {
    let record = segment(id, shard(ordinal), partition, 10, 10);
    world.put(&(COLLECTION, record.id), &record).await;
}

fn scope(partitions: &[i64]) -> LoadScope {
    LoadScope::Partitions(partitions.iter().map(|id| PartitionId(*id)).collect())
}

fn served(metadata: &redkite_catalog::Metadata) -> BTreeSet<i64> {
    let entries = metadata.views.values().flat_map(|view| &view.segments);
    entries.map(|entry| entry.segment.0).collect()
}

fn percent(world: &World, partitions: &[i64]) -> Option<u8> {
    let partitions: Vec<_> = partitions.iter().map(|id| PartitionId(*id)).collect();
    let progress = world.view.read(|metadata| load_progress(metadata, COLLECTION, &partitions));
    progress.map(|progress| progress.percent)
}

#[tokio::test]
async fn load_needs_an_index_on_every_vector_field() {
    let world = World::start().await;
    let query = start(&world).await;
    let load = |id: u128, scope: LoadScope| query.load(RequestId(id), NewLoad::new(COLLECTION, scope));
    let missing = load(1, LoadScope::Collection).await.unwrap_err();
    assert_eq!(missing.code(), Code::CollectionNotFound);
    let mut record = collection(1, &[0]);
    let second = field(102, "second", redkite_types::DataType::FloatVector);
    record.schema.fields.push(second);
    world.put(&COLLECTION, &record).await;
    let none = load(2, LoadScope::Collection).await.unwrap_err();
    assert_eq!(
        (none.code(), none.to_string().as_str()),
        (Code::IndexNotFound, "index not found[collection=c]")
    );
    world.put(&COLLECTION, &IndexesRecord::default()).await;
    assert_eq!(load(3, LoadScope::Collection).await.unwrap_err().code(), Code::IndexNotFound);
    world.put(&COLLECTION, &indexes(hnsw())).await;
    assert_eq!(
        load(4, LoadScope::Collection).await.unwrap_err().to_string(),
        "there is no vector index on field: [second], please create index firstly"
    );
    record.schema.fields.pop();
    world.put(&COLLECTION, &record).await;
    assert_eq!(load(5, scope(&[9])).await.unwrap_err().code(), Code::PartitionNotFound);
    let many = query
        .load(RequestId(6), NewLoad { replicas: 3, ..NewLoad::new(COLLECTION, LoadScope::Collection) })
        .await
        .unwrap_err();
    assert_eq!(many.code(), Code::Unexpected);
    load(7, LoadScope::Collection).await.unwrap();
    load(8, LoadScope::Collection).await.unwrap();
}

#[tokio::test]
async fn an_empty_collection_is_loaded_without_any_node() {
    let world = prepared(&[0]).await;
    let query = start(&world).await;
    assert_eq!(percent(&world, &[]), None);
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    world
        .until("loaded", |metadata| {
            metadata.views.len() == 2 && metadata.loads[&COLLECTION].loaded.len() == 1
        })
        .await;
    assert_eq!(percent(&world, &[]), Some(100));
    query.release(RequestId(2), COLLECTION, Vec::new()).await.unwrap();
    world.view.read(|metadata| assert!(metadata.views.is_empty() && metadata.loads.is_empty()));
    query.release(RequestId(3), COLLECTION, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn loading_shows_its_progress_and_ends_when_everything_is_served() {
    let world = prepared(&[0, 1]).await;
    for (id, ordinal, partition) in [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1)] {
        flush(&world, id, ordinal, partition).await;
    }
    let query = start(&world).await;
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    world.until("the node is told", |metadata| metadata.holds.contains_key(&(NODE, COLLECTION))).await;
    assert_eq!(percent(&world, &[]), Some(0));
    let held = |ids: &[i64]| HeldRecord {
        segments: ids.iter().map(|id| (SegmentId(*id), HeldSegment::default())).collect(),
        failures: [(SegmentId(4), "no such file".to_owned())].into(),
    };
    world.put(&(NODE, COLLECTION), &held(&[1, 2, 3])).await;
    assert_eq!(percent(&world, &[]), Some(75));
    let failure = world.view.read(|metadata| load_progress(metadata, COLLECTION, &[])).unwrap().failure;
    assert_eq!(failure.unwrap(), "segment 4 not loaded on node 1: no such file");
    world.put(&(NODE, COLLECTION), &held(&[1, 2, 3, 4])).await;
    world.until("loaded", |metadata| metadata.loads[&COLLECTION].loaded.len() == 2).await;
    assert_eq!(percent(&world, &[]), Some(100));
    assert_eq!(percent(&world, &[1]), Some(100));
    assert_eq!(world.view.read(served), [1, 2, 3, 4].into());
}

#[tokio::test]
async fn partitions_are_loaded_and_released_one_by_one() {
    let world = prepared(&[0, 1]).await;
    spawn_fake_nodes(&world);
    for (id, partition) in [(1, 0), (2, 1)] {
        flush(&world, id, 0, partition).await;
    }
    let query = start(&world).await;
    query.load(RequestId(1), NewLoad::new(COLLECTION, scope(&[0]))).await.unwrap();
    world.until("one", |metadata| served(metadata) == [1].into()).await;
    assert_eq!(percent(&world, &[1]), None);
    query.load(RequestId(2), NewLoad::new(COLLECTION, scope(&[1]))).await.unwrap();
    world.until("both", |metadata| metadata.loads[&COLLECTION].loaded.len() == 2).await;
    assert_eq!(world.view.read(served), [1, 2].into());
    query.release(RequestId(3), COLLECTION, vec![PartitionId(0)]).await.unwrap();
    assert_eq!(world.view.read(served), [2].into());
    world.until("released", |metadata| metadata.held[&(NODE, COLLECTION)].segments.len() == 1).await;
    query.release(RequestId(4), COLLECTION, vec![PartitionId(1)]).await.unwrap();
    world
        .until("nothing is left", |metadata| {
            metadata.loads.is_empty() && metadata.views.is_empty() && metadata.holds.is_empty()
        })
        .await;
}

#[tokio::test]
async fn releasing_one_partition_of_a_loaded_collection_keeps_the_others() {
    let world = prepared(&[0, 1]).await;
    let query = start(&world).await;
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    query.release(RequestId(2), COLLECTION, vec![PartitionId(0)]).await.unwrap();
    assert_eq!(world.view.read(|metadata| metadata.loads[&COLLECTION].scope.clone()), scope(&[1]));
    query.load(RequestId(3), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    assert_eq!(world.view.read(|metadata| metadata.loads[&COLLECTION].scope.clone()), LoadScope::Collection);
}

#[tokio::test]
async fn a_merged_segment_takes_the_place_of_its_sources_at_once() {
    let world = prepared(&[0]).await;
    spawn_fake_nodes(&world);
    for id in [1, 2, 3] {
        flush(&world, id, 0, 0).await;
    }
    let query = start(&world).await;
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    world.until("loaded", |metadata| served(metadata) == [1, 2, 3].into()).await;
    let dropped = |id: i64| SegmentRecord {
        state: SegmentState::Dropped { at: Timestamp(9), replaced_by: Some(SegmentId(4)) },
        ..segment(id, shard(0), 0, 10, 10)
    };
    let merged =
        SegmentRecord { sources: vec![SegmentId(1), SegmentId(2)], ..segment(4, shard(0), 0, 20, 20) };
    let mut step = Step::new("switch");
    step.put(&(COLLECTION, SegmentId(4)), &merged)
        .put(&(COLLECTION, SegmentId(1)), &dropped(1))
        .put(&(COLLECTION, SegmentId(2)), &dropped(2));
    redkite_cluster::Kv::txn(&*world.kv, step.txn).await.unwrap();
    world.until("switched", |metadata| served(metadata) == [3, 4].into()).await;
    world
        .until("sources are released", |metadata| {
            metadata.holds[&(NODE, COLLECTION)].segments == [3, 4].map(SegmentId).into()
        })
        .await;
}

#[tokio::test]
async fn a_dead_node_is_replaced_in_the_view() {
    let world = prepared(&[0]).await;
    world.set_nodes(&[1], &[1, 2], &[1]);
    spawn_fake_nodes(&world);
    for id in [1, 2, 3, 4] {
        flush(&world, id, 0, 0).await;
    }
    let query = start(&world).await;
    query.load(RequestId(1), NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
    world.until("loaded", |metadata| served(metadata) == [1, 2, 3, 4].into()).await;
    assert_eq!(world.view.read(|metadata| metadata.holds.len()), 2, "both nodes have a part");
    world.set_nodes(&[1], &[2], &[1]);
    world
        .until("the living node answers for all", |metadata| {
            let entries = metadata.views.values().flat_map(|view| &view.segments);
            entries.clone().count() == 4 && entries.into_iter().all(|entry| entry.node.0 == 2)
        })
        .await;
}

#[tokio::test]
async fn a_crash_between_any_two_writes_changes_nothing_in_the_end() {
    for writes in 0.. {
        let world = prepared(&[0, 1]).await;
        spawn_fake_nodes(&world);
        for (id, ordinal, partition) in [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1)] {
            flush(&world, id, ordinal, partition).await;
        }
        let (environment, writer) = world.mortal(writes);
        let request = RequestId(1);
        if let Ok(query) = world.query(environment).await {
            let _ = query.load(request, NewLoad::new(COLLECTION, LoadScope::Collection)).await;
            tokio::select! {
                () = writer.death() => {}
                () = world.until("it is done", loaded) => {}
            }
        }
        let died = writer.is_dead();
        let query = start(&world).await;
        query.load(request, NewLoad::new(COLLECTION, LoadScope::Collection)).await.unwrap();
        world
            .until("loaded", |metadata| {
                metadata.loads.get(&COLLECTION).is_some_and(|load| load.loaded.len() == 2)
            })
            .await;
        assert_eq!(world.view.read(served), [1, 2, 3, 4].into());
        world.tasks.stop(Duration::from_secs(5)).await;
        if !died {
            assert!(writes > 3);
            break;
        }
    }
}

fn loaded(metadata: &redkite_catalog::Metadata) -> bool {
    metadata.loads.get(&COLLECTION).is_some_and(|load| load.loaded.len() == 2)
}
