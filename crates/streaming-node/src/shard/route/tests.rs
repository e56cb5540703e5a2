use redkite_catalog::{HoldRecord, PartitionRecord, Record, ReplicaRecord, SegmentState};
use redkite_types::{CollectionSchema, ConsistencyLevel, DatabaseId, Revision, Timestamp};

use super::*;

const SHARD: ShardId = ShardId { collection: CollectionId(7), ordinal: 0 };
const PARTITION: PartitionId = PartitionId(1);
const NODE: NodeId = NodeId(3);

fn put<R: Record>(metadata: &mut Metadata, key: &R::Key, record: &R) {
    metadata.put(&R::key(key), &record.encode(), Revision(1));
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    let collection = CollectionRecord {
        id: SHARD.collection,
        database: DatabaseId(1),
        name: "c".to_owned(),
        schema: CollectionSchema {
            description: String::new(),
            fields: Vec::new(),
            enable_dynamic_field: false,
            version: 0,
        },
        shards: 1,
        partitions: vec![PartitionRecord {
            id: PARTITION,
            name: "_default".to_owned(),
            created_at: Timestamp::ZERO,
        }],
        consistency: ConsistencyLevel::Strong,
        properties: BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    };
    put(&mut metadata, &SHARD.collection, &collection);
    metadata
}

fn segment(metadata: &mut Metadata, id: i64, state: SegmentState, sources: &[i64]) {
    let record = SegmentRecord {
        id: SegmentId(id),
        collection: SHARD.collection,
        partition: PARTITION,
        shard: SHARD,
        state,
        rows: 1,
        bytes: 1,
        min_timestamp: Timestamp::ZERO,
        max_timestamp: Timestamp::ZERO,
        schema_version: 0,
        data: String::new(),
        deletes_through: Timestamp::ZERO,
        deletes: None,
        indexes: BTreeMap::new(),
        index_failures: BTreeMap::new(),
        sources: sources.iter().copied().map(SegmentId).collect(),
        created_at: Timestamp::ZERO,
    };
    put(metadata, &(SHARD.collection, SegmentId(id)), &record);
}

fn dropped(by: Option<i64>) -> SegmentState {
    SegmentState::Dropped { at: Timestamp::ZERO, replaced_by: by.map(SegmentId) }
}

fn view(metadata: &mut Metadata, segments: &[i64]) {
    let segments = segments
        .iter()
        .map(|id| ViewSegment { segment: SegmentId(*id), partition: PARTITION, node: NODE })
        .collect();
    put(metadata, &(SHARD, ReplicaId(0)), &ServingView { version: 1, segments });
}

fn plan(metadata: &Metadata, in_memory: &[(i64, bool)]) -> ReplicaRoute {
    let in_memory = in_memory.iter().map(|(id, recorded)| (SegmentId(*id), *recorded)).collect();
    Route::plan(metadata, SHARD, &in_memory, None).replicas.remove(0)
}

#[test]
fn flushed_segments_must_be_in_view_or_in_memory() {
    let mut metadata = metadata();
    segment(&mut metadata, 1, SegmentState::Flushed, &[]);
    assert!(plan(&metadata, &[]).missing.contains(&PARTITION));
    let route = plan(&metadata, &[(1, true)]);
    assert!(route.missing.is_empty() && route.superseded.is_empty());
    view(&mut metadata, &[1]);
    let route = plan(&metadata, &[(1, false)]);
    assert!(route.missing.is_empty());
    assert!(route.superseded.contains(&SegmentId(1)), "the view may be ahead of the leader's own commit");
}

#[test]
fn merged_segments_are_served_by_their_sources_until_the_view_switches() {
    let mut metadata = metadata();
    segment(&mut metadata, 1, dropped(Some(3)), &[]);
    segment(&mut metadata, 2, dropped(Some(3)), &[]);
    segment(&mut metadata, 3, SegmentState::Flushed, &[1, 2]);
    view(&mut metadata, &[1]);
    assert!(plan(&metadata, &[]).missing.contains(&PARTITION), "segment 2 is nowhere");
    let route = plan(&metadata, &[(2, true)]);
    assert!(route.missing.is_empty() && route.superseded.is_empty());
    view(&mut metadata, &[3]);
    let route = plan(&metadata, &[(2, true)]);
    assert!(route.missing.is_empty());
    assert!(route.superseded.contains(&SegmentId(2)));
}

#[test]
fn what_was_merged_twice_is_served_once() {
    let mut metadata = metadata();
    segment(&mut metadata, 1, dropped(Some(2)), &[]);
    segment(&mut metadata, 2, dropped(Some(3)), &[1]);
    segment(&mut metadata, 3, SegmentState::Flushed, &[2]);
    view(&mut metadata, &[2]);
    let route = plan(&metadata, &[(1, true)]);
    assert!(route.missing.is_empty());
    assert!(route.superseded.contains(&SegmentId(1)), "the view serves it as part of 2");
}

#[test]
fn records_of_old_sources_may_be_gone() {
    let mut metadata = metadata();
    segment(&mut metadata, 4, SegmentState::Flushed, &[3]);
    view(&mut metadata, &[4]);
    let route = plan(&metadata, &[(1, true), (2, false)]);
    assert!(route.superseded.contains(&SegmentId(1)), "merged into 3, then 4, and collected");
    assert!(!route.superseded.contains(&SegmentId(2)), "not recorded yet");
}

#[test]
fn holders_are_found_among_many_collections() {
    let mut metadata = metadata();
    for node in 1..=3 {
        for collection in 1..=9 {
            if (node, collection) != (2, 7) {
                let key = (NodeId(node), CollectionId(collection));
                put(&mut metadata, &key, &HoldRecord::default());
            }
        }
    }
    let route = Route::plan(&metadata, SHARD, &InMemory::new(), None);
    assert_eq!(route.receivers, BTreeSet::from([NodeId(1), NodeId(3)]));
    let alive = BTreeSet::from([NodeId(3), NodeId(4)]);
    let route = Route::plan(&metadata, SHARD, &InMemory::new(), Some(&alive));
    assert_eq!(route.receivers, BTreeSet::from([NodeId(3)]), "the dead get nothing");
}

fn replica_with(metadata: &mut Metadata, id: i64, nodes: &[i64], segments: &[i64]) {
    let mut record =
        metadata.replicas.get(&SHARD.collection).map(|entry| (*entry.record).clone()).unwrap_or_default();
    let nodes = nodes.iter().copied().map(NodeId).collect();
    record.replicas.insert(ReplicaId(id), ReplicaRecord { nodes, ..Default::default() });
    put(metadata, &SHARD.collection, &record);
    let entry = |id: &i64| ViewSegment { segment: SegmentId(*id), partition: PARTITION, node: NODE };
    let segments = segments.iter().map(entry).collect();
    put(metadata, &(SHARD, ReplicaId(id)), &ServingView { version: 1, segments });
}

#[test]
fn memory_is_kept_for_replicas_that_will_serve_its_rows() {
    let mut metadata = metadata();
    segment(&mut metadata, 1, SegmentState::Flushed, &[]);
    let route =
        |metadata: &Metadata| Route::plan(metadata, SHARD, &InMemory::from([(SegmentId(1), true)]), None);
    replica_with(&mut metadata, 1, &[3], &[1]);
    replica_with(&mut metadata, 2, &[4], &[]);
    assert!(!route(&metadata).supersedes(SegmentId(1), false), "the second is loading it");
    assert!(route(&metadata).supersedes(SegmentId(1), true), "if memory is short, one replica will do");
    replica_with(&mut metadata, 2, &[], &[]);
    assert!(route(&metadata).supersedes(SegmentId(1), false), "the second has no node to load it");
    let mut route = route(&metadata);
    assert!(route.replicas.iter().all(|replica| replica.missing.is_empty()));
    route.let_go(SegmentId(1), PARTITION);
    let missing: Vec<bool> = route.replicas.iter().map(|replica| replica.missing.is_empty()).collect();
    assert_eq!(missing, [true, false]);
    replica_with(&mut metadata, 1, &[], &[]);
    let alone = Route::plan(&metadata, SHARD, &InMemory::from([(SegmentId(1), true)]), None);
    assert!(!alone.supersedes(SegmentId(1), false), "nobody has a node for it");
}
