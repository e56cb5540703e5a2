//! How long does taking over take, with how much metadata? A standby that holds the records, and one that
//! has to read them first.

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{
    CollectionRecord, MetadataView, NameRecord, PartitionRecord, Record, SegmentRecord, ShardAssignment,
    ShardStatus,
};
use redkite_cluster::kv::{Kv, Txn};
use redkite_cluster::{Candidate, SessionInfo, SessionSettings};
use redkite_runtime::{SystemClock, Tasks};
use redkite_service::{RequestId, RootCoord};
use redkite_storage::LocalStore;
use redkite_types::{CollectionId, DatabaseId, Epoch, PartitionId, ShardId, Timestamp};
use tokio::time::Instant;

use crate::testing::{NODE, World, collection, create_collection, segment};
use crate::{DataCoordinator, DataSettings, Environment, RootCoordinator, RootSettings};

/// What a full segment has, so that nobody wants to merge it.
const FULL: u64 = 1 << 30;

/// Fills a metastore with collections that have a shard and these segments each.
async fn fill(kv: &dyn Kv, collections: i64, segments: i64) {
    let mut txn = Txn::new();
    for id in 1..=collections {
        let (name, id) = (format!("c{id}"), CollectionId(id * 10_000));
        let shard = ShardId { collection: id, ordinal: 0 };
        let partition = PartitionRecord {
            id: PartitionId(id.0 + 1),
            name: "_default".to_owned(),
            created_at: Timestamp::ZERO,
        };
        let record =
            CollectionRecord { id, name: name.clone(), partitions: vec![partition], ..collection(1, &[]) };
        let led = ShardAssignment::new(NODE, Epoch(1));
        let leads = ShardStatus { node: NODE, epoch: Epoch(1) };
        txn = txn
            .put(NameRecord::key(&(DatabaseId(1), name)), NameRecord::Collection(id).encode())
            .put(CollectionRecord::key(&id), record.encode())
            .put(ShardAssignment::key(&shard), led.encode())
            .put(ShardStatus::key(&shard), leads.encode());
        for ordinal in 0..segments {
            let record = segment(id.0 + 2 + ordinal, shard, id.0 + 1, 1_000_000, FULL);
            txn = txn.put(SegmentRecord::key(&(id, record.id)), record.encode());
            if txn.then.len() >= 120 {
                kv.txn(std::mem::take(&mut txn)).await.unwrap();
            }
        }
    }
    kv.txn(txn).await.unwrap();
}

async fn candidate(world: &World, id: i64) -> Candidate {
    let info = SessionInfo { server_id: id, server_name: "coord".to_owned(), ..SessionInfo::default() };
    let settings = SessionSettings { ttl: 600 };
    Candidate::start(world.kv.clone(), info, &settings, Arc::new(SystemClock), &world.tasks).await.unwrap()
}

/// What taking over took, step by step.
#[derive(Debug)]
#[expect(dead_code, reason = "shown")]
struct Takeover {
    elected: Duration,
    started: Duration,
    first_command: Duration,
    first_shard_led: Duration,
}

/// A standby takes over from an active one, with its copy of the records.
async fn take_over(world: &World, view: &MetadataView, tasks: &Tasks) -> Takeover {
    let (one, two) = (candidate(world, 1).await, candidate(world, 2).await);
    let first = one.campaign().await.unwrap();
    let began = Instant::now();
    let (leader, resigned) = tokio::join!(two.campaign(), first.resign());
    resigned.unwrap();
    let elected = began.elapsed();
    let writer = Arc::new(leader.unwrap());
    let environment = Environment { view: view.clone(), writer, tasks: tasks.clone(), ..world.environment() };
    let store = Arc::new(LocalStore::open(world.directory.path().join("objects")).await.unwrap());
    let root = RootCoordinator::start(environment.clone(), RootSettings::default());
    let data = DataCoordinator::start(environment.clone(), store, DataSettings::default());
    let query = world.query(environment);
    let (root, _data, _query) = tokio::try_join!(root, data, query).unwrap();
    let started = began.elapsed();
    root.execute(RequestId(1), create_collection("after", 1)).await.unwrap();
    let first_command = began.elapsed();
    let mut changes = view.changes();
    let led = || {
        view.read(|metadata| {
            let named = metadata.collection(DatabaseId(1), "after").expect("just created");
            metadata.assignments.contains_key(&ShardId { collection: named.id, ordinal: 0 })
        })
    };
    while !led() {
        changes.any().await;
    }
    Takeover { elected, started, first_command, first_shard_led: began.elapsed() }
}

async fn measure(collections: i64, segments: i64) -> Duration {
    let world = World::start().await;
    fill(&*world.kv, collections, segments).await;
    let tasks = Tasks::new("standby");
    let cold = Instant::now();
    let view = MetadataView::start(world.kv.clone(), &tasks).await.unwrap();
    let cold = cold.elapsed();
    let takeover = take_over(&world, &view, &tasks).await;
    eprintln!(
        "{collections} collections with {segments} segments each: reading everything {cold:?}, {takeover:?}"
    );
    tasks.stop(Duration::from_secs(10)).await;
    takeover.first_shard_led
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_holds_the_records_takes_over_and_serves() {
    measure(200, 10).await;
}

/// Takes minutes, and some gigabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn a_million_segments_are_taken_over_within_a_second() {
    let took = measure(10_000, 100).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}
