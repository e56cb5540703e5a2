//! The data coordinator with nodes that do at once what they are told, and with crashes at every write.

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{
    CollectionRecord, DeltaFile, IndexesRecord, LoadRecord, LoadScope, Metadata, SegmentRecord,
    ShardCheckpoint,
};
use redkite_cluster::kv::Kv;
use redkite_runtime::units::Bytes;
use redkite_service::{Code, DataCoord, NewIndex, RequestId};
use redkite_storage::{LocalStore, ObjectStore};
use redkite_types::{FieldId, PartitionId, SegmentId, Timestamp};

use super::*;
use crate::drive::garbage::Collector;
use crate::testing::{COLLECTION, VECTOR, World, collection, hnsw, segment, shard, spawn_fake_nodes};

fn settings() -> DataSettings {
    let mut settings = DataSettings::default();
    settings.fold.max_files = 2;
    settings.compaction.max_segment_bytes = Bytes(100_000);
    settings.gc.check_interval = Duration::from_millis(20);
    settings.gc.drop_tolerance = Duration::ZERO;
    settings
}

async fn store(world: &World) -> Arc<dyn ObjectStore> {
    Arc::new(LocalStore::open(world.directory.path().join("objects")).await.unwrap())
}

async fn start(world: &World) -> Arc<DataCoordinator> {
    DataCoordinator::start(world.environment(), store(world).await, settings()).await.unwrap()
}

fn index(name: &str, field: FieldId) -> NewIndex {
    NewIndex {
        collection: COLLECTION,
        field,
        name: name.to_owned(),
        params: vec![("index_type".to_owned(), "HNSW".to_owned())],
        spec: hnsw(),
    }
}

async fn flush(world: &World, store: &dyn ObjectStore, id: i64, rows: u64) {
    let record = segment(id, shard(0), 0, rows, rows);
    store.put(&record.data, vec![1, 2, 3].into()).await.unwrap();
    world.put(&(COLLECTION, record.id), &record).await;
}

fn visible(metadata: &Metadata) -> Vec<&SegmentRecord> {
    metadata.segments_of(COLLECTION).filter(|segment| segment.is_flushed()).map(|entry| &**entry).collect()
}

#[tokio::test]
async fn definitions() {
    let world = World::start().await;
    let data = start(&world).await;
    let id = |n: u128| RequestId(n);
    let missing = data.create_index(id(1), index("vector", VECTOR)).await.unwrap_err();
    assert_eq!(missing.code(), Code::CollectionNotFound);
    world.put(&COLLECTION, &collection(1, &[0])).await;
    data.create_index(id(2), index("vector", VECTOR)).await.unwrap();
    data.create_index(id(3), index("vector", VECTOR)).await.unwrap();
    let other = data.create_index(id(4), index("vector", FieldId(100))).await.unwrap_err();
    assert_eq!(other.to_string(), "at most one distinct index is allowed per field");
    let second = data.create_index(id(5), index("other", VECTOR)).await.unwrap_err();
    assert_eq!(
        second.to_string(),
        "CreateIndex failed: creating multiple indexes on same field is not supported"
    );
    assert_eq!(
        data.create_index(id(6), index("x", FieldId(500))).await.unwrap_err().code(),
        Code::FieldNotFound
    );
    let set = [("mmap.enabled".to_owned(), "true".to_owned())];
    data.alter_index(id(7), COLLECTION, "vector".to_owned(), set.into(), Vec::new()).await.unwrap();
    let read = |world: &World| world.view.read(|metadata| (*metadata.indexes[&COLLECTION].record).clone());
    assert_eq!(read(&world).indexes[0].params.len(), 2);
    let delete = vec!["mmap.enabled".to_owned()];
    data.alter_index(id(8), COLLECTION, "vector".to_owned(), BTreeMap::new(), delete).await.unwrap();
    assert_eq!(read(&world).indexes[0].params.len(), 1);
    let unknown = data.alter_index(id(9), COLLECTION, "x".to_owned(), BTreeMap::new(), Vec::new()).await;
    assert_eq!(unknown.unwrap_err().to_string(), "index not found[indexName=x]");

    let load = LoadRecord {
        scope: LoadScope::Collection,
        replicas: 1,
        requested_at: Timestamp::ZERO,
        loaded: Default::default(),
    };
    world.put(&COLLECTION, &load).await;
    let vector = read(&world).indexes[0].id;
    let loaded = data.drop_index(id(10), COLLECTION, vector).await.unwrap_err();
    assert_eq!(loaded.to_string(), "vector index cannot be dropped on loaded collection: 100");
    let revision = world.kv.delete(<LoadRecord as redkite_catalog::Record>::key(&COLLECTION)).await.unwrap();
    world.view.wait_for(revision).await;
    data.drop_index(id(11), COLLECTION, vector).await.unwrap();
    data.drop_index(id(12), COLLECTION, vector).await.unwrap();
    assert_eq!(read(&world), IndexesRecord::default());
}

#[tokio::test]
async fn segments_are_indexed_and_merged_and_sources_removed() {
    let world = World::start().await;
    spawn_fake_nodes(&world);
    let (data, store) = (start(&world).await, store(&world).await);
    world.put(&COLLECTION, &collection(2, &[0])).await;
    world.until("shards are led", |metadata| metadata.shards.len() == 2).await;
    data.create_index(RequestId(1), index("vector", VECTOR)).await.unwrap();
    flush(&world, &*store, 1, 60_000).await;
    world
        .until("the large segment is indexed", |metadata| {
            metadata.segments[&(COLLECTION, SegmentId(1))].indexes.len() == 1
        })
        .await;
    for id in 2..6 {
        flush(&world, &*store, id, 2_000).await;
    }
    world
        .until("the small ones are one, indexed, and nothing else is left", |metadata| {
            let visible = visible(metadata);
            metadata.segments.len() == 2
                && visible.iter().any(|segment| segment.rows == 8_000 && segment.indexes.len() == 1)
        })
        .await;
    let files: Vec<_> = store.list("segments/").await.unwrap().into_iter().map(|entry| entry.path).collect();
    assert_eq!(files, ["segments/100/1/data.rks"], "files of the sources are gone");
}

#[tokio::test]
async fn deletes_are_folded_and_their_files_forgotten() {
    let world = World::start().await;
    spawn_fake_nodes(&world);
    let (_data, store) = (start(&world).await, store(&world).await);
    world.put(&COLLECTION, &collection(1, &[0])).await;
    flush(&world, &*store, 1, 60_000).await;
    world.put(&shard(0), &checkpoint(2)).await;
    world
        .until("deltas are folded", |metadata| {
            metadata.checkpoints[&shard(0)].deltas.is_empty()
                && metadata.segments[&(COLLECTION, SegmentId(1))].deletes_through == Timestamp(12)
        })
        .await;
}

fn checkpoint(deltas: u64) -> ShardCheckpoint {
    let delta = |n: u64| DeltaFile {
        path: format!("deltas/100-0/{n}-{n}.rkd"),
        after: Timestamp(10 + n - 1),
        through: Timestamp(10 + n),
        rows: 1,
        bytes: 1,
    };
    ShardCheckpoint { deltas: (1..=deltas).map(delta).collect(), ..ShardCheckpoint::default() }
}

#[tokio::test]
async fn a_manual_compaction_is_kept_and_told_of() {
    let world = World::start().await;
    let (data, store) = (start(&world).await, store(&world).await);
    world.put(&COLLECTION, &collection(1, &[0, 1])).await;
    assert_eq!(data.compact(RequestId(1), COLLECTION).await.unwrap().1, 0, "nothing to do");
    flush(&world, &*store, 1, 500).await;
    flush(&world, &*store, 2, 600).await;
    let (id, merges) = data.compact(RequestId(2), COLLECTION).await.unwrap();
    assert_eq!(merges, 1);
    assert_eq!(data.compact(RequestId(2), COLLECTION).await.unwrap(), (id, 1), "repeated");
    assert_eq!(data.compact(RequestId(3), COLLECTION).await.unwrap().1, 0, "they are spoken for");
    let progress = data.compaction(id).await.unwrap();
    assert_eq!((progress.executing.len(), progress.completed.len()), (1, 0));
    world.until("a task", |metadata| metadata.tasks.len() == 1).await;

    let next = start(&world).await;
    assert_eq!(next.compaction(id).await.unwrap().executing.len(), 1, "recalled by the next coordinator");
    assert_eq!(next.compact(RequestId(2), COLLECTION).await.unwrap(), (id, 1));
    spawn_fake_nodes(&world);
    world.until("merged", |metadata| visible(metadata).iter().any(|segment| segment.rows == 1100)).await;
    let progress = next.compaction(id).await.unwrap();
    assert_eq!((progress.executing.len(), progress.completed.len()), (0, 1));
    assert_eq!(progress.completed[0].sources.len(), 2);
}

#[tokio::test]
async fn unrecorded_files_of_an_earlier_life_are_removed() {
    let world = World::start().await;
    let store = store(&world).await;
    store.put("segments/100/77/data.rks", vec![1].into()).await.unwrap();
    store.put("indexes/100/1/7-9.rki", vec![1].into()).await.unwrap();
    store.put("segments/other", vec![1].into()).await.unwrap();
    world.put(&COLLECTION, &collection(1, &[0])).await;
    flush(&world, &*store, 1, 10).await;
    // The files carry the machine's time.
    world.clock.set(u64::MAX >> 20);
    let gc = GarbageSettings { sole_writer: true, ..GarbageSettings::default() };
    Collector::new(&world.environment(), store.clone(), &gc).collect(&mut None).await.unwrap();
    let left: Vec<_> = store.list("").await.unwrap().into_iter().map(|entry| entry.path).collect();
    assert_eq!(left, ["segments/100/1/data.rks", "segments/other"]);
}

#[tokio::test]
async fn young_files_without_record_are_left_alone() {
    let world = World::start().await;
    let store = store(&world).await;
    store.put("segments/100/77/data.rks", vec![1].into()).await.unwrap();
    let modified = store.list("").await.unwrap()[0].modified_millis;
    world.clock.set(modified + 1000);
    let gc = GarbageSettings { missing_tolerance: Duration::from_secs(2), ..GarbageSettings::default() };
    let collector = Collector::new(&world.environment(), store.clone(), &gc);
    collector.collect(&mut None).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1, "its record may be on its way");
    world.clock.set(modified + 3000);
    collector.collect(&mut None).await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
}

/// Delta files that every segment has applied must not wait as long as files that may yet be recorded.
#[tokio::test]
async fn files_that_records_gave_up_go_soon() {
    let world = World::start().await;
    let store = store(&world).await;
    world.put(&COLLECTION, &collection(1, &[0])).await;
    world.put(&shard(0), &ShardCheckpoint { lsn: redkite_types::Lsn(10), ..checkpoint(0) }).await;
    let (applied, coming) = ("deltas/100-0/1-10-7.rkd", "deltas/100-0/11-12-8.rkd");
    let fold = "segments/100/1/deletes-9.rkd";
    let names = [applied, coming, fold];
    assert!(names.iter().all(|name| name.parse::<redkite_storage::layout::ObjectPath>().is_ok()));
    for name in names {
        store.put(name, vec![1].into()).await.unwrap();
    }
    let modified = store.list("").await.unwrap()[0].modified_millis;
    let gc = GarbageSettings { drop_tolerance: Duration::from_secs(10), ..GarbageSettings::default() };
    let collector = Collector::new(&world.environment(), store.clone(), &gc);
    for (seconds, left) in [(100, 3), (109, 3), (111, 1), (200, 1)] {
        world.clock.set(modified + seconds * 1000);
        collector.collect(&mut None).await.unwrap();
        assert_eq!(store.list("").await.unwrap().len(), left, "after {seconds} s");
    }
    assert_eq!(store.list("").await.unwrap()[0].path, coming, "a flush may be about to record it");
}

/// The whole life of a collection, with a coordinator that dies after every so many writes.
#[tokio::test]
async fn a_crash_between_any_two_writes_changes_nothing_in_the_end() {
    let mut deaths = 0;
    for writes in 0.. {
        let world = World::start().await;
        spawn_fake_nodes(&world);
        let store = store(&world).await;
        world.put(&COLLECTION, &collection(2, &[0, 1])).await;
        world.put(&COLLECTION, &crate::testing::indexes(hnsw())).await;
        world.put(&shard(0), &checkpoint(3)).await;
        for id in 1..6 {
            flush(&world, &*store, id, 2_000).await;
        }
        let (environment, writer) = world.mortal(writes);
        let first = DataCoordinator::start(environment, store.clone(), settings()).await;
        tokio::select! {
            () = writer.death() => {}
            () = live_and_be_dropped(&world) => {}
        }
        let died = writer.is_dead();
        deaths += usize::from(died);
        drop(first);
        let _second = start(&world).await;
        live_and_be_dropped(&world).await;
        assert!(store.list("").await.unwrap().is_empty());
        world.tasks.stop(Duration::from_secs(5)).await;
        if !died {
            break;
        }
    }
    assert!(deaths > 10, "the history has {deaths} writes");
}

/// Goes on from wherever it was left.
async fn live_and_be_dropped(world: &World) {
    if world.view.read(|metadata| metadata.collections.contains_key(&COLLECTION)) {
        world.until("one segment is left", settled).await;
        let dropped =
            redkite_catalog::DroppedRecord { id: COLLECTION, shards: 2, dropped_at: Timestamp::ZERO };
        let mut step = crate::step::Step::new("drop");
        step.put(&COLLECTION, &dropped);
        step.delete::<CollectionRecord>(&COLLECTION).delete::<IndexesRecord>(&COLLECTION);
        let outcome = world.kv.txn(step.txn).await.unwrap();
        world.view.wait_for(outcome.revision).await;
    }
    world
        .until("nothing is left", |metadata| {
            metadata.dropped.is_empty() && metadata.segments.is_empty() && metadata.assignments.is_empty()
        })
        .await;
}

fn settled(metadata: &Metadata) -> bool {
    let visible = visible(metadata);
    metadata.tasks.is_empty()
        && metadata.segments.len() == 1
        && visible.len() == 1
        && visible[0].rows == 10_000
        && visible[0].indexes.len() == 1
        && metadata.checkpoints[&shard(0)].deltas.is_empty()
}

#[tokio::test]
async fn a_dropped_partition_takes_its_segments_along() {
    let world = World::start().await;
    let (_data, store) = (start(&world).await, store(&world).await);
    world.put(&COLLECTION, &collection(1, &[0, 1])).await;
    flush(&world, &*store, 1, 10).await;
    let other = segment(2, shard(0), 1, 10, 10);
    world.put(&(COLLECTION, other.id), &other).await;
    world.put(&COLLECTION, &collection(1, &[0])).await;
    world
        .until("its segment is gone", |metadata| {
            metadata.segments.len() == 1
                && metadata.segments.values().all(|segment| segment.partition == PartitionId(0))
        })
        .await;
}
