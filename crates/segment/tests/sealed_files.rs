//! Sealed segments with their indexes, loaded from an object store; and damaged ones.

#![allow(clippy::unwrap_used, reason = "a test")]

mod model;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use model::{KEY, Kit, Model, NUMBER, Read, Row, VECTOR, Wanted};
use redkite_catalog::{
    DeletesFile, IndexMethod, IndexRecord, IndexSpec, SegmentIndexFile, SegmentRecord, SegmentState,
};
use redkite_index::scalar::{self, ScalarIndexKind};
use redkite_index::vector::{self, BuildContext, VectorIndexKind, VectorIndexSpec};
use redkite_segment::{Error, RetrieveTask, SealedSegment, SearchTask, SegmentReader, read_deltas, seal};
use redkite_storage::format::KeyDeletes;
use redkite_storage::layout::ObjectPath;
use redkite_storage::{LocalStore, Mapped, ObjectStore};
use redkite_types::{
    CollectionId, CollectionSchema, DataType, FieldId, IndexId, Lsn, Metric, PartitionId, SegmentId, ShardId,
    TaskId, Timestamp,
};

const KIT: Kit = Kit { key_type: DataType::Int64 };
const ROWS: u8 = 200;

fn rows() -> Vec<Row> {
    let small = |value: u8, modulus: u8| i8::try_from(value % modulus).unwrap();
    (0..ROWS)
        .map(|key| Row {
            key,
            number: (!key.is_multiple_of(5)).then_some(i64::from(key % 17)),
            vector: [small(key, 7), small(key, 11), small(key, 13)],
            extra: Some(i64::from(key % 3)),
            written: 10,
            deleted: None,
        })
        .collect()
}

fn reads() -> Vec<Read> {
    let wanted = [
        Wanted::All,
        Wanted::NumberAbove(3),
        Wanted::NumberAbove(15),
        Wanted::Keys(vec![3, 77, 199, 250]),
        Wanted::KeysAndNumberAbove((0..ROWS).collect(), 8),
        Wanted::ExtraIs(1),
    ];
    let read = |(at, wanted): (u64, &Wanted)| Read {
        at,
        expired_before: None,
        wanted: wanted.clone(),
        limit: 12,
        metric: Metric::L2,
        query: [2, 5, 1],
    };
    wanted.iter().flat_map(|wanted| [10, 20, 30].map(|at| read((at, wanted)))).collect()
}

fn index(id: i64, field: FieldId, method: IndexMethod) -> IndexRecord {
    let metric = method.is_vector().then_some(Metric::L2);
    IndexRecord {
        id: IndexId(id),
        field,
        name: format!("i{id}"),
        params: Vec::new(),
        spec: IndexSpec { method, metric },
        created_at: Timestamp(1),
    }
}

/// Everything of a life in a store: data, folded deletes, a delta, indexes.
async fn stored(store: &LocalStore) -> (SegmentRecord, String, Model) {
    let growing = KIT.growing();
    growing.insert(KIT.batch(&rows()), Timestamp(10)).unwrap();
    let mut model = Model { rows: rows() };
    let (collection, segment) = (CollectionId(1), SegmentId(2));
    let shard = ShardId { collection, ordinal: 0 };
    let data = ObjectPath::SegmentData { collection, segment }.to_string();
    let mut out = store.writer(&data).await.unwrap();
    let stats = seal(&growing, &KIT.schema(), Timestamp(10), &mut out).unwrap();
    let bytes = store.publish(out).await.unwrap();
    let mut record = SegmentRecord {
        id: segment,
        collection,
        partition: PartitionId(1),
        shard,
        state: SegmentState::Flushed,
        rows: stats.rows,
        bytes,
        min_timestamp: stats.min_timestamp,
        max_timestamp: stats.max_timestamp,
        schema_version: 1,
        data,
        deletes_through: Timestamp(20),
        deletes: None,
        indexes: BTreeMap::new(),
        index_failures: BTreeMap::new(),
        sources: Vec::new(),
        created_at: Timestamp(11),
    };

    let open = SealedSegment::load(store, &record).await.unwrap();
    open.delete(&KIT.keys(&[3, 40, 41]), Timestamp(20)).unwrap();
    model.delete(&[3, 40, 41], 20);
    let folded = open.fold_deletes(Timestamp(20));
    let path = ObjectPath::SegmentDeletes { collection, segment, through: Timestamp(20) }.to_string();
    let encoded = folded.encode();
    record.deletes =
        Some(DeletesFile { path: path.clone(), rows: folded.len() as u64, bytes: encoded.len() as u64 });
    store.put(&path, encoded.into()).await.unwrap();

    let mut deltas = KeyDeletes::empty(DataType::Int64);
    deltas.push(KIT.key(77).as_ref(), Timestamp(30), None);
    model.delete(&[77], 30);
    let delta = ObjectPath::Delta { shard, from: Lsn(1), through: Lsn(9), id: 1 }.to_string();
    store.put(&delta, deltas.encode().into()).await.unwrap();
    (record, delta, model)
}

async fn put_index(store: &LocalStore, id: i64, bytes: Vec<u8>) -> SegmentIndexFile {
    let path = ObjectPath::Index {
        collection: CollectionId(1),
        segment: SegmentId(2),
        index: IndexId(id),
        build: TaskId(7),
    };
    let file = SegmentIndexFile { path: path.to_string(), bytes: bytes.len() as u64 };
    store.put(&file.path, bytes.into()).await.unwrap();
    file
}

fn vector_index(segment: &SealedSegment, kind: VectorIndexKind) -> Vec<u8> {
    let vectors = segment.vectors(VECTOR).unwrap().unwrap();
    let (progress, cancel) = (AtomicU64::new(0), AtomicBool::new(false));
    let context = BuildContext { pool: None, progress: &progress, cancel: &cancel, seed: 1 };
    vector::build(VectorIndexSpec { kind, metric: Metric::L2 }, vectors, &context).unwrap().to_bytes()
}

#[tokio::test]
async fn indexes_change_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).await.unwrap();
    let (record, delta, model) = stored(&store).await;
    let segment = SealedSegment::load(&store, &record).await.unwrap();
    assert_eq!(segment.deleted_rows(), 3);
    segment.apply_deltas(&read_deltas(&store, &delta).await.unwrap()).unwrap();
    assert_eq!(segment.deleted_rows(), 4);
    segment.warm().unwrap();
    let compare = || reads().iter().for_each(|read| KIT.assert_same(&segment, &model, read));
    compare();

    // Exact indexes: the answers must be those of the model.
    for (kind, method) in [
        (VectorIndexKind::Flat, IndexMethod::Flat),
        (
            VectorIndexKind::Hnsw { m: 16, ef_construction: 200 },
            IndexMethod::Hnsw { m: 16, ef_construction: 200 },
        ),
    ] {
        let file = put_index(&store, 1, vector_index(&segment, kind)).await;
        segment.load_index(&store, &index(1, VECTOR, method), &file).await.unwrap();
        assert_eq!(segment.indexes(), [IndexId(1)]);
        if matches!(method, IndexMethod::Flat) {
            compare();
        } else {
            nearest_is_found(&segment);
        }
    }
    segment.detach_index(IndexId(1));
    for kind in [ScalarIndexKind::Inverted, ScalarIndexKind::Bitmap] {
        let column = segment.column(NUMBER).unwrap().unwrap();
        let file = put_index(&store, 2, scalar::build(kind, column).unwrap()).await;
        segment.load_index(&store, &index(2, NUMBER, IndexMethod::Inverted), &file).await.unwrap();
        compare();
    }
    let footprint = segment.footprint();
    assert!(footprint.mapped_bytes > record.bytes && footprint.resident_bytes > 0, "{footprint:?}");
}

/// The graph is approximate among equal scores; the best score is not in doubt at this size.
fn nearest_is_found(segment: &SealedSegment) {
    for read in reads() {
        let model_limit = Read { limit: 1, ..read };
        let part = KIT.search(segment, &model_limit, 2);
        assert!(part.topks.iter().all(|hits| *hits <= 1));
    }
}

#[tokio::test]
async fn an_index_over_other_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).await.unwrap();
    let (record, _, _) = stored(&store).await;
    let segment = SealedSegment::load(&store, &record).await.unwrap();
    let growing = KIT.growing();
    growing.insert(KIT.batch(&rows()[..50]), Timestamp(10)).unwrap();
    let (other, _) = KIT.file(dir.path(), 5, |out| seal(&growing, &KIT.schema(), Timestamp(10), out));
    let file = put_index(&store, 1, vector_index(&other, VectorIndexKind::Flat)).await;
    let refused = segment.load_index(&store, &index(1, VECTOR, IndexMethod::Flat), &file).await;
    assert!(matches!(refused, Err(Error::IndexRows { rows: 200, found: 50, .. })), "{refused:?}");
    let garbage = put_index(&store, 3, vec![1, 2, 3]).await;
    for method in [IndexMethod::Flat, IndexMethod::Trie] {
        let refused = segment.load_index(&store, &index(3, VECTOR, method), &garbage).await;
        assert!(refused.unwrap_err().to_string().contains(&garbage.path));
    }
    assert!(segment.indexes().is_empty());
}

/// Every read of every damaged file gives an answer or an error that names file and place; the
/// vectors alone are unchecked, their damage can only change scores.
#[test]
fn damage_is_reported_and_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let growing = KIT.growing();
    growing.insert(KIT.batch(&rows()[..6]), Timestamp(10)).unwrap();
    KIT.file(dir.path(), 1, |out| seal(&growing, &KIT.schema(), Timestamp(10), out));
    let whole = std::fs::read(dir.path().join("1.rks")).unwrap();
    let path = dir.path().join("damaged.rks");
    let mut reported = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::remove_file(&path).ok();
        std::fs::write(&path, &bytes).unwrap();
        let outcome = catch_unwind(|| use_all(&path)).expect("no panic");
        if let Err(error) = outcome {
            reported += 1;
            assert!(error.to_string().contains("damaged.rks"), "{error}");
        }
    }
    let padding = whole.iter().filter(|byte| **byte == 0).count();
    assert!(reported + padding + 6 * 12 >= whole.len(), "{reported} of {} reported", whole.len());
}

fn use_all(path: &std::path::Path) -> redkite_segment::Result<()> {
    let map = Arc::new(Mapped::open(path)?);
    let segment = SealedSegment::open(SegmentId(1), PartitionId(1), map)?;
    segment.delete(&KIT.keys(&[1, 2]), Timestamp(20))?;
    let schema = KIT.schema();
    let plan = KIT.plan(&Wanted::KeysAndNumberAbove(vec![1], 0));
    let output: Vec<_> = schema.fields.iter().map(|field| field.id).filter(|id| *id != KEY).collect();
    for filter in [None, plan.as_ref()] {
        let retrieval = RetrieveTask {
            schema: &schema,
            filter,
            output: &output,
            limit: None,
            read_timestamp: Timestamp(15),
            expired_before: Some(Timestamp(5)),
        };
        segment.retrieve(&retrieval)?;
        segment.count(&retrieval)?;
        segment.search(&SearchTask {
            metric: Metric::Cosine,
            filter,
            output: &output,
            ..task(&schema, VECTOR, &[1.0, 2.0, 3.0])
        })?;
    }
    Ok(())
}

fn task<'a>(schema: &'a CollectionSchema, field: FieldId, queries: &'a [f32]) -> SearchTask<'a> {
    SearchTask {
        schema,
        field,
        metric: Metric::L2,
        queries,
        limit: 3,
        ef: None,
        nprobe: None,
        range: None,
        filter: None,
        output: &[],
        read_timestamp: Timestamp::MAX,
        expired_before: None,
    }
}

#[test]
fn tasks_that_do_not_fit_are_refused() {
    let growing = KIT.growing();
    growing.insert(KIT.batch(&rows()), Timestamp(10)).unwrap();
    let schema = KIT.schema();
    let refused = |field, queries: &[f32]| growing.search(&task(&schema, field, queries)).unwrap_err();
    assert!(matches!(refused(VECTOR, &[1.0; 4]), Error::Queries { dim: 3, values: 4 }));
    assert!(matches!(refused(NUMBER, &[1.0; 4]), Error::Queries { dim: 0, .. }));
    assert!(matches!(refused(FieldId(999), &[1.0; 3]), Error::UnknownField { .. }));
    assert!(growing.search(&task(&schema, VECTOR, &[])).unwrap().topks.is_empty());
    let mut narrower = schema.clone();
    narrower.fields[3].dim = 2;
    let refused = growing.search(&task(&narrower, VECTOR, &[1.0; 2]));
    assert!(matches!(refused, Err(Error::FieldType { found_dim: 3, dim: 2, .. })));
}
