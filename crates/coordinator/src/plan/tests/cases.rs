//! Single plans.

use std::collections::BTreeSet;

use redkite_catalog::{
    DeletesFile, DeltaFile, HeldRecord, HeldSegment, IndexMethod, IndexSpec, LoadRecord, LoadScope,
    ShardAssignment, ShardCheckpoint, TaskKind, TaskRecord,
};
use redkite_runtime::units::Bytes;
use redkite_types::{Epoch, Metric, NodeId, PartitionId, SegmentId, TaskId, Timestamp};

use crate::data::{CompactionSettings, DataSettings, Merges};
use crate::environment::IdPool;
use crate::nodes::{LiveNode, RoleNodes};
use crate::plan::busy::Busy;
use crate::plan::fleet::Fleet;
use crate::plan::work::{self, Avoid};
use crate::plan::{compaction, deltas, index_files, serving, shards};
use crate::testing::{COLLECTION, INDEX, Records, collection, hnsw, indexes, segment, shard};

fn world() -> Records {
    let mut records = Records::default();
    records.put(&COLLECTION, &collection(1, &[0, 1]));
    records
}

const MIB: u64 = 1 << 20;

fn merges(records: &Records) -> Vec<Vec<i64>> {
    let settings = CompactionSettings::default();
    let groups = compaction::automatic(
        &records.metadata,
        COLLECTION,
        &Busy::default(),
        &BTreeSet::new(),
        &settings,
        Timestamp::ZERO,
    );
    groups.into_iter().map(|group| group.sources.into_iter().map(|id| id.0).collect()).collect()
}

fn with_sizes(sizes: &[u64]) -> Records {
    let mut records = world();
    for (id, size) in sizes.iter().enumerate() {
        let record = segment(id as i64, shard(0), 0, 1000, size * MIB);
        records.put(&(COLLECTION, record.id), &record);
    }
    records
}

#[test]
fn tiny_segments_are_merged_without_the_large_one() {
    assert_eq!(merges(&with_sizes(&[150, 1, 2, 1, 1])), [vec![1, 3, 4, 2]]);
}

#[test]
fn few_small_segments_are_left_alone() {
    assert!(merges(&with_sizes(&[1, 1, 1])).is_empty());
    assert!(merges(&with_sizes(&[150, 1, 1, 1])).is_empty());
}

#[test]
fn two_halves_make_a_full_segment() {
    assert_eq!(merges(&with_sizes(&[450, 460])), [vec![0, 1]]);
    assert!(merges(&with_sizes(&[600, 700, 800, 900])).is_empty(), "those are full");
}

#[test]
fn larger_segments_wait_until_they_make_a_full_one() {
    assert!(merges(&with_sizes(&[120; 5])).is_empty());
    assert_eq!(merges(&with_sizes(&[120; 6])), [vec![0, 1, 2, 3, 4, 5]]);
    // Whatever size segments are sealed at, some of them make a full one.
    for size in 60..512 {
        let groups = merges(&with_sizes(&[size; 20]));
        let merged = groups[0].len() as u64 * size;
        assert!((680..=1024).contains(&merged), "{merged} MiB of segments with {size} MiB");
    }
}

#[test]
fn expired_segments_are_rewritten() {
    let mut records = world();
    let mut record = collection(1, &[0]);
    record.properties.insert("collection.ttl.seconds".to_owned(), "60".to_owned());
    records.put(&COLLECTION, &record);
    for (id, newest) in [(1, 1000), (2, 70_000)] {
        let max_timestamp = Timestamp::from_physical(newest);
        let segment =
            redkite_catalog::SegmentRecord { max_timestamp, ..segment(id, shard(0), 0, 10, 900 * MIB) };
        records.put(&(COLLECTION, segment.id), &segment);
    }
    let now = Timestamp::from_physical(100_000);
    let (busy, none, settings) = (Busy::default(), BTreeSet::new(), CompactionSettings::default());
    let groups = compaction::automatic(&records.metadata, COLLECTION, &busy, &none, &settings, now);
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].sources, [SegmentId(1)]);
}

#[test]
fn a_merge_is_no_larger_than_a_full_segment() {
    for sources in merges(&with_sizes(&[400, 400, 400, 400])) {
        assert_eq!(sources.len(), 2);
    }
}

#[test]
fn partitions_and_shards_are_not_mixed() {
    let mut records = with_sizes(&[1, 1, 1]);
    let other = segment(9, shard(0), 1, 1000, MIB);
    records.put(&(COLLECTION, other.id), &other);
    assert!(merges(&records).is_empty());
}

#[test]
fn a_segment_with_many_deleted_rows_is_rewritten() {
    let mut records = world();
    let mut record = segment(1, shard(0), 0, 1000, 900 * MIB);
    record.deletes = Some(DeletesFile { path: String::new(), rows: 200, bytes: 0 });
    records.put(&(COLLECTION, record.id), &record);
    assert!(merges(&records).is_empty());
    record.deletes = Some(DeletesFile { path: String::new(), rows: 201, bytes: 0 });
    records.put(&(COLLECTION, record.id), &record);
    assert_eq!(merges(&records), [vec![1]]);
}

#[test]
fn rows_are_rewritten_a_few_times_only() {
    // 512 flushes of 4 MiB: each row may be written once per doubling, at most.
    let settings = CompactionSettings { max_segment_bytes: Bytes(1024 * MIB), ..Default::default() };
    let mut records = world();
    let (mut written, mut next) = (0, 10_000);
    for flush in 0..512_i64 {
        let record = segment(flush, shard(0), 0, 1000, 4 * MIB);
        records.put(&(COLLECTION, record.id), &record);
        let none = BTreeSet::new();
        let groups = compaction::automatic(
            &records.metadata,
            COLLECTION,
            &Busy::default(),
            &none,
            &settings,
            Timestamp::ZERO,
        );
        for group in groups {
            let size = |id: &SegmentId| records.metadata.segments[&(COLLECTION, *id)].bytes;
            let bytes: u64 = group.sources.iter().map(size).sum();
            for source in &group.sources {
                records.delete::<redkite_catalog::SegmentRecord>(&(COLLECTION, *source));
            }
            next += 1;
            let merged = segment(next, shard(0), 0, 1000, bytes);
            records.put(&(COLLECTION, merged.id), &merged);
            written += bytes;
        }
    }
    let left = records.metadata.segments.len();
    assert!(left <= 16, "{left} segments are left");
    assert!(written <= 6 * 512 * 4 * MIB, "{} MiB written for 2048", written / MIB);
}

#[test]
fn manual_compaction_packs_everything() {
    let records = with_sizes(&[150, 1, 2, 300, 900, 400]);
    let settings = CompactionSettings::default();
    let groups =
        compaction::manual(&records.metadata, COLLECTION, &BTreeSet::new(), &settings, Timestamp::ZERO);
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].sources.len(), 5, "all but the full one: {groups:?}");
}

#[test]
fn exact_scans_count_as_built() {
    let mut records = world();
    let flat = IndexSpec { method: IndexMethod::Flat, metric: Some(Metric::L2) };
    records.put(&COLLECTION, &indexes(flat));
    for (id, rows) in [(1, 5000), (2, 10)] {
        let record = segment(id, shard(0), 0, rows, MIB);
        records.put(&(COLLECTION, record.id), &record);
    }
    let steps = index_files::plan(&records.metadata, COLLECTION);
    assert!(records.apply_all(&steps));
    let large = &records.metadata.segments[&(COLLECTION, SegmentId(1))];
    assert_eq!(large.indexes[&INDEX].path, "");
    assert!(records.metadata.segments[&(COLLECTION, SegmentId(2))].indexes.is_empty());
    assert!(index_files::plan(&records.metadata, COLLECTION).is_empty());
}

#[test]
fn shards_move_off_dead_and_stopping_nodes_with_the_next_epoch() {
    let mut records = Records::default();
    records.put(&COLLECTION, &collection(4, &[0]));
    let two: RoleNodes = [1, 2].map(NodeId).into_iter().collect();
    assert!(records.apply_all(&shards::plan(&records.metadata, COLLECTION, &two)));
    let on = |records: &Records, node| {
        records.metadata.assignments.values().filter(|assignment| assignment.node == NodeId(node)).count()
    };
    assert_eq!((on(&records, 1), on(&records, 2)), (2, 2));
    assert!(shards::plan(&records.metadata, COLLECTION, &two).is_empty());
    let one: RoleNodes = [NodeId(2)].into_iter().collect();
    assert!(records.apply_all(&shards::plan(&records.metadata, COLLECTION, &one)));
    assert_eq!(on(&records, 2), 4);
    let moved = records.metadata.assignments.values().filter(|assignment| assignment.epoch == Epoch(2));
    assert_eq!(moved.count(), 2);
    assert!(shards::plan(&records.metadata, COLLECTION, &RoleNodes::default()).is_empty(), "nowhere to go");
    let leaving = LiveNode { stopping: true, ..LiveNode::default() };
    let alone: RoleNodes = [(NodeId(2), leaving.clone())].into_iter().collect();
    assert!(shards::plan(&records.metadata, COLLECTION, &alone).is_empty(), "it goes on while it can");
    let relieved = [(NodeId(2), leaving), (NodeId(3), LiveNode::default())].into_iter().collect();
    assert!(records.apply_all(&shards::plan(&records.metadata, COLLECTION, &relieved)));
    assert_eq!(on(&records, 3), 4);
    assert!(shards::plan(&records.metadata, COLLECTION, &relieved).is_empty());
}

#[test]
fn an_empty_collection_is_loaded_at_once() {
    let mut records = world();
    let load = LoadRecord {
        scope: LoadScope::Collection,
        replicas: 1,
        requested_at: Timestamp::ZERO,
        loaded: BTreeSet::new(),
    };
    records.put(&COLLECTION, &load);
    let fleet = Fleet::of(&records.metadata, &[NodeId(1)].into_iter().collect());
    for _ in 0..3 {
        assert!(records.apply_all(&serving::plan(&records.metadata, COLLECTION, &fleet)));
    }
    assert!(serving::plan(&records.metadata, COLLECTION, &fleet).is_empty());
    assert_eq!(records.metadata.loads[&COLLECTION].loaded, [0, 1].map(PartitionId).into());
    assert_eq!(records.metadata.views.len(), 1);
}

#[test]
fn new_segments_are_spread_by_bytes() {
    let mut records = world();
    for (id, bytes) in [(1, 100), (2, 50), (3, 60), (4, 10)] {
        let record = segment(id, shard(0), 0, 10, bytes);
        records.put(&(COLLECTION, record.id), &record);
    }
    let load = LoadRecord {
        scope: LoadScope::Collection,
        replicas: 1,
        requested_at: Timestamp::ZERO,
        loaded: BTreeSet::new(),
    };
    records.put(&COLLECTION, &load);
    let live: RoleNodes = [1, 2].map(NodeId).into_iter().collect();
    for _ in 0..2 {
        let fleet = Fleet::of(&records.metadata, &live);
        assert!(records.apply_all(&serving::plan(&records.metadata, COLLECTION, &fleet)));
    }
    let bytes = |node| -> u64 {
        let hold = &records.metadata.holds[&(NodeId(node), COLLECTION)];
        hold.segments.iter().map(|id| records.metadata.segments[&(COLLECTION, *id)].bytes).sum()
    };
    assert_eq!((bytes(1), bytes(2)), (110, 110));
    let one = HeldRecord { segments: [(SegmentId(1), HeldSegment::default())].into(), ..Default::default() };
    records.put(&(NodeId(1), COLLECTION), &one);
    assert!(
        serving::plan(&records.metadata, COLLECTION, &Fleet::of(&records.metadata, &live)).is_empty(),
        "the first view names all segments or does not exist"
    );
}

#[test]
fn deltas_stay_while_a_flush_is_under_way() {
    let mut records = world();
    let delta =
        DeltaFile { path: "d".to_owned(), after: Timestamp(1), through: Timestamp(9), rows: 1, bytes: 1 };
    let mut checkpoint = ShardCheckpoint { deltas: vec![delta], ..Default::default() };
    checkpoint.ahead.insert(PartitionId(0), redkite_types::Lsn(4));
    records.put(&shard(0), &checkpoint);
    assert!(deltas::prune(&records.metadata, COLLECTION).is_empty());
    checkpoint.ahead.clear();
    records.put(&shard(0), &checkpoint);
    assert!(records.apply_all(&deltas::prune(&records.metadata, COLLECTION)));
    assert!(records.metadata.checkpoints[&shard(0)].deltas.is_empty());
    let assignment = ShardAssignment::new(NodeId(1), Epoch(1));
    records.put(&shard(0), &assignment);
    assert!(deltas::prune(&records.metadata, COLLECTION).is_empty());
}

#[test]
fn work_is_spread_over_free_slots_and_kinds() {
    let mut records = Records::default();
    records.put(&COLLECTION, &collection(1, &[0, 1, 2]));
    records.put(&COLLECTION, &indexes(hnsw()));
    for id in 0..8 {
        let large = segment(id, shard(0), 0, 5000 + id as u64, 900 * MIB);
        records.put(&(COLLECTION, large.id), &large);
        let small = segment(100 + id, shard(0), 1, 100, MIB);
        records.put(&(COLLECTION, small.id), &small);
    }
    let settings = DataSettings::default();
    let wanted = work::wanted(
        &records.metadata,
        COLLECTION,
        &Merges::default(),
        &Avoid::default(),
        &settings,
        Timestamp(1),
    );
    assert_eq!(wanted.len(), 9, "eight indexes and a merge");
    let backlog = [(COLLECTION, wanted)].into();
    let live: RoleNodes = [1, 2].map(NodeId).into_iter().collect();
    let mut ids = IdPool::new(1000, 100);
    let mut give = |records: &mut Records| {
        let chosen = work::schedule(&records.metadata, &backlog, &live, 2, &mut ids, Timestamp(1));
        for (_, step) in &chosen {
            assert!(records.apply(&step.txn));
        }
        chosen.len()
    };
    assert_eq!(give(&mut records), 4);
    assert_eq!(give(&mut records), 0, "no slot is left");
    let tasks: Vec<_> = records.metadata.tasks.values().collect();
    for node in live.open() {
        assert_eq!(tasks.iter().filter(|task| task.node == node).count(), 2);
    }
    let merges = tasks.iter().filter(|task| matches!(task.kind, TaskKind::Compact { .. }));
    assert_eq!(merges.count(), 1, "the merge is not kept waiting by the indexes");
    let largest = tasks
        .iter()
        .any(|task| matches!(task.kind, TaskKind::BuildIndex { segment, .. } if segment == SegmentId(7)));
    assert!(largest, "the largest segment gets its index first");
}

#[test]
fn nothing_is_worked_on_twice() {
    let mut records = Records::default();
    records.put(&COLLECTION, &collection(1, &[0]));
    records.put(&COLLECTION, &indexes(hnsw()));
    for id in 0..5 {
        let record = segment(id, shard(0), 0, 5000, MIB);
        records.put(&(COLLECTION, record.id), &record);
    }
    let task = TaskRecord {
        id: TaskId(1),
        node: NodeId(1),
        kind: TaskKind::Compact {
            collection: COLLECTION,
            partition: PartitionId(0),
            shard: shard(0),
            sources: (0..5).map(SegmentId).collect(),
            target: SegmentId(50),
        },
        created_at: Timestamp(1),
    };
    records.put(&task.id, &task);
    let (merges, avoid) = (Merges::default(), Avoid::default());
    let settings = DataSettings::default();
    let wanted = work::wanted(&records.metadata, COLLECTION, &merges, &avoid, &settings, Timestamp(1));
    assert!(wanted.is_empty(), "{wanted:?}");
}
