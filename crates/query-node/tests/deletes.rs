//! No delete is lost while a segment is being loaded, whatever happens in between.
//!
//! A delete goes from the leader's buffer to a delta file to the segment's own delete file. Every way
//! to spread these three steps over the steps of loading is tried.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redkite_catalog::{
    CollectionRecord, DeletesFile, DeltaFile, HoldRecord, MetadataView, Record, SegmentRecord, SegmentState,
    ShardCheckpoint,
};
use redkite_cluster::kv::{
    EmbeddedKv, EmbeddedSettings, KeyValue, Kv, KvError, LeaseId, RangeResult, Txn, TxnOutcome, Watch,
};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_query_node::{Environment, QueryNode, QueryNodeSettings};
use redkite_runtime::{CpuPool, Tasks};
use redkite_segment::{GrowingSegment, SealedSegment, read_deltas, seal};
use redkite_service::{
    Consistency, Delete, DeleteBatch, Error, Flushed, LeaderUsage, ReadAck, Result, RetrieveRequest,
    SearchRequest, SegmentRetrieve, Segments, Shard, ShardDirectory, WriteAck, WriteRequest,
};
use redkite_storage::format::KeyDeletes;
use redkite_storage::{LocalStore, ObjectStore};
use redkite_types::{
    Batch, CollectionId, CollectionSchema, Column, ColumnData, DataType, FieldId, Lsn, NodeId, PartitionId,
    PrimaryKeyRef, PrimaryKeys, Revision, SegmentId, ShardId, Timestamp,
};

const NODE: NodeId = NodeId(1);
const SEGMENT: SegmentId = SegmentId(9);
const SHARD: ShardId = ShardId { collection: CollectionId(7), ordinal: 0 };
const PARTITION: PartitionId = PartitionId(1);
const KEY: FieldId = FieldId(100);
const SEALED: Timestamp = Timestamp(10);
const DELETED: Timestamp = Timestamp(20);

/// Moments at which something can happen: each time the node reads a record of the segment or the
/// checkpoint, when it asks the leader, when that has answered, and at the end. They are counted as they
/// come, so that whatever order the node chooses is tried, the wrong ones too.
const MOMENTS: usize = 7;
/// What happens to a delete, in this order: it is written, flushed, folded.
const EVENTS: usize = 3;

fn schema() -> CollectionSchema {
    serde_json::from_value(serde_json::json!({
        "fields": [{ "id": 100, "name": "key", "data_type": "Int64", "primary_key": true }]
    }))
    .unwrap()
}

fn keys() -> PrimaryKeys {
    PrimaryKeys::Int64(vec![2])
}

/// Plays the leader and the coordinators; `schedule` says at which moment each event happens.
struct Stage {
    kv: OnceLock<Arc<dyn Kv>>,
    store: Arc<LocalStore>,
    node: OnceLock<Arc<QueryNode>>,
    buffer: Mutex<Vec<Arc<Delete>>>,
    schedule: [usize; EVENTS],
    done: AtomicUsize,
    moment: AtomicUsize,
}

impl Stage {
    fn kv(&self) -> &dyn Kv {
        &**self.kv.get().unwrap()
    }

    /// The next moment: lets everything happen that is due by it.
    async fn next(&self) {
        let moment = self.moment.fetch_add(1, Ordering::SeqCst);
        self.reach(moment).await;
    }

    async fn reach(&self, moment: usize) {
        loop {
            let next = self.done.load(Ordering::SeqCst);
            if next == EVENTS || self.schedule[next] > moment {
                return;
            }
            self.done.store(next + 1, Ordering::SeqCst);
            match next {
                0 => self.delete().await,
                1 => self.flush().await,
                _ => self.fold().await,
            }
        }
    }

    async fn delete(&self) {
        let delete = Arc::new(Delete { timestamp: DELETED, partition: None, keys: keys() });
        self.buffer.lock().push(delete.clone());
        let batch = DeleteBatch { after: SEALED, deletes: vec![delete], through: DELETED };
        self.node.get().unwrap().apply_deletes(SHARD, batch).await.unwrap();
    }

    async fn flush(&self) {
        let mut deletes = KeyDeletes::empty(DataType::Int64);
        deletes.push(PrimaryKeyRef::Int64(2), DELETED, None);
        let path = "deltas/7-0/1-2.rkd".to_owned();
        self.store.put(&path, deletes.encode().into()).await.unwrap();
        let delta = DeltaFile { path, after: SEALED, through: DELETED, rows: 1, bytes: 1 };
        self.checkpoint(vec![delta]).await;
        self.buffer.lock().clear();
    }

    async fn fold(&self) {
        let mut record = self.record().await;
        let segment = SealedSegment::load(&*self.store, &record).await.unwrap();
        segment.apply_deltas(&read_deltas(&*self.store, "deltas/7-0/1-2.rkd").await.unwrap()).unwrap();
        let folded = segment.fold_deletes(DELETED);
        let path = format!("segments/7/9/deletes-{DELETED}.rkd");
        self.store.put(&path, folded.encode().into()).await.unwrap();
        record.deletes = Some(DeletesFile { path, rows: 1, bytes: 1 });
        record.deletes_through = DELETED;
        let key = SegmentRecord::key(&(SHARD.collection, SEGMENT));
        self.kv().put(key, record.encode().into()).await.unwrap();
        // The data coordinator lets go of a delta only when every segment has folded it in.
        self.checkpoint(Vec::new()).await;
    }

    async fn checkpoint(&self, deltas: Vec<DeltaFile>) {
        let checkpoint =
            ShardCheckpoint { lsn: Lsn(2), timestamp: DELETED, deltas, ..ShardCheckpoint::default() };
        self.kv().put(ShardCheckpoint::key(&SHARD), checkpoint.encode().into()).await.unwrap();
    }

    async fn record(&self) -> SegmentRecord {
        let key = SegmentRecord::key(&(SHARD.collection, SEGMENT));
        SegmentRecord::decode(&self.kv().get(&key).await.unwrap().unwrap().value).unwrap()
    }
}

type KvResult<T> = std::result::Result<T, KvError>;

/// The metastore as the query node sees it: its reads are moments.
struct Watched {
    inner: Arc<EmbeddedKv>,
    stage: Arc<Stage>,
}

#[async_trait]
impl Kv for Watched {
    async fn get(&self, key: &str) -> KvResult<Option<KeyValue>> {
        if key.starts_with(SegmentRecord::PREFIX) || key.starts_with(ShardCheckpoint::PREFIX) {
            self.stage.next().await;
        }
        self.inner.get(key).await
    }

    async fn range(&self, prefix: &str) -> KvResult<RangeResult> {
        self.inner.range(prefix).await
    }

    async fn txn(&self, txn: Txn) -> KvResult<TxnOutcome> {
        self.inner.txn(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> KvResult<Watch> {
        self.inner.watch(prefix, from).await
    }

    async fn grant_lease(&self, ttl: Duration) -> KvResult<LeaseId> {
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> KvResult<Duration> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> KvResult<()> {
        self.inner.revoke_lease(lease).await
    }
}

struct Leader(Arc<Stage>);

fn never<T>() -> Result<T> {
    Err(Error::Unimplemented { what: "not asked for by a query node".to_owned() })
}

#[async_trait]
impl Shard for Leader {
    async fn write(&self, _: WriteRequest) -> Result<WriteAck> {
        never()
    }

    async fn search(&self, _: ShardId, _: Arc<SearchRequest>) -> Result<ReadAck<SearchPart>> {
        never()
    }

    async fn retrieve(&self, _: ShardId, _: Arc<RetrieveRequest>) -> Result<ReadAck<RetrievePart>> {
        never()
    }

    async fn count(&self, _: ShardId, _: Arc<RetrieveRequest>) -> Result<ReadAck<u64>> {
        never()
    }

    async fn flush(&self, _: ShardId) -> Result<Flushed> {
        never()
    }

    async fn deletes_after(&self, _: ShardId, after: Timestamp) -> Result<DeleteBatch> {
        self.0.next().await;
        let later = |delete: &&Arc<Delete>| delete.timestamp > after;
        let deletes: Vec<_> = self.0.buffer.lock().iter().filter(later).cloned().collect();
        let written = self.0.done.load(Ordering::SeqCst) > 0;
        self.0.next().await;
        Ok(DeleteBatch { after, deletes, through: if written { DELETED } else { SEALED } })
    }

    async fn usage(&self) -> Result<LeaderUsage> {
        never()
    }
}

#[async_trait]
impl ShardDirectory for Leader {
    async fn leader(&self, _: ShardId) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(Self(self.0.clone())))
    }

    async fn on_node(&self, _: NodeId) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

/// Rows 1, 2, 3, sealed.
async fn write_segment(store: &LocalStore) -> SegmentRecord {
    let schema = schema();
    let growing = GrowingSegment::new(schema.primary_key());
    let rows = Batch::new(vec![Column::new(KEY, ColumnData::Int64(vec![1, 2, 3]))]);
    growing.insert(rows, SEALED).unwrap();
    let data = "segments/7/9/data.rks".to_owned();
    let mut writer = store.writer(&data).await.unwrap();
    let stats = seal(&growing, &schema, SEALED, &mut writer).unwrap();
    let bytes = store.publish(writer).await.unwrap();
    SegmentRecord {
        id: SEGMENT,
        collection: SHARD.collection,
        partition: PARTITION,
        shard: SHARD,
        state: SegmentState::Flushed,
        rows: stats.rows,
        bytes,
        min_timestamp: stats.min_timestamp,
        max_timestamp: stats.max_timestamp,
        schema_version: 0,
        data,
        deletes_through: SEALED,
        deletes: None,
        indexes: BTreeMap::new(),
        index_failures: BTreeMap::new(),
        sources: Vec::new(),
        created_at: Timestamp::ZERO,
    }
}

fn collection() -> CollectionRecord {
    serde_json::from_value(serde_json::json!({
        "id": 7, "database": 1, "name": "rows", "schema": schema(), "shards": 1,
        "partitions": [{ "id": 1, "name": "_default", "created_at": 0 }],
        "consistency": "Strong", "created_at": 0, "updated_at": 0
    }))
    .unwrap()
}

async fn put<R: Record>(kv: &dyn Kv, key: &R::Key, record: &R) {
    kv.put(R::key(key), Bytes::from(record.encode())).await.unwrap();
}

/// A query node that is to hold the segment.
struct World {
    stage: Arc<Stage>,
    node: Arc<QueryNode>,
    kv: Arc<EmbeddedKv>,
    tasks: Tasks,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(schedule: [usize; EVENTS]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new("test");
        let path = directory.path().join("metadata.redb");
        let inner = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        let store = Arc::new(LocalStore::open(directory.path().join("objects")).await.unwrap());
        let stage = Arc::new(Stage {
            kv: OnceLock::new(),
            store: store.clone(),
            node: OnceLock::new(),
            buffer: Mutex::default(),
            schedule,
            done: AtomicUsize::new(0),
            moment: AtomicUsize::new(0),
        });
        let _ = stage.kv.set(inner.clone());
        let record = write_segment(&store).await;
        put(&*inner, &SHARD.collection, &collection()).await;
        put(&*inner, &(SHARD.collection, SEGMENT), &record).await;
        let kv = Arc::new(Watched { inner: inner.clone(), stage: stage.clone() });
        let view = MetadataView::start(kv.clone(), &tasks).await.unwrap();
        let node = Arc::new(QueryNode::start(Environment {
            node: NODE,
            settings: QueryNodeSettings::default(),
            view,
            kv,
            lease: None,
            store,
            shards: Arc::new(Leader(stage.clone())),
            cpu: CpuPool::new("test", 1).unwrap(),
            tasks: tasks.clone(),
        }));
        let _ = stage.node.set(node.clone());
        put(&*inner, &(NODE, SHARD.collection), &HoldRecord { segments: [SEGMENT].into() }).await;
        Self { stage, node, kv: inner, tasks, _directory: directory }
    }

    async fn end(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
        self.kv.close().await;
    }
}

/// Loads the segment with events at these moments; returns the number of rows at a late read point, and
/// before the delete.
async fn play(schedule: [usize; EVENTS]) -> (u64, u64) {
    let world = World::new(schedule).await;
    let (stage, node) = (&world.stage, &world.node);
    let counts = async {
        // Waits until the segment is held.
        count(node, Timestamp(100)).await;
        // Were there more moments than are tried, late events would come too early.
        let seen = stage.moment.load(Ordering::SeqCst);
        assert!((5..MOMENTS).contains(&seen), "{seen} moments in a load: adjust MOMENTS");
        stage.reach(MOMENTS).await;
        (count(node, Timestamp(100)).await, count(node, SEALED).await)
    };
    let counts = tokio::time::timeout(Duration::from_secs(20), counts).await.expect("loaded in time");
    world.end().await;
    counts
}

async fn count(node: &QueryNode, read_timestamp: Timestamp) -> u64 {
    let request = RetrieveRequest {
        collection: SHARD.collection,
        schema_version: 0,
        partitions: Vec::new(),
        filter: None,
        output: Vec::new(),
        limit: None,
        consistency: Consistency::Strong,
        ignore_growing: false,
        expired_before: None,
    };
    let request =
        SegmentRetrieve { shard: SHARD, segments: vec![SEGMENT], read_timestamp, request: Arc::new(request) };
    loop {
        match node.count(request.clone()).await {
            Ok(count) => return count,
            // The hold has not been seen yet.
            Err(Error::SegmentNotLoaded { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_delete_is_lost_in_any_order_of_events() {
    for written in 0..MOMENTS {
        for flushed in written..MOMENTS {
            for folded in flushed..MOMENTS {
                let schedule = [written, flushed, folded];
                assert_eq!(play(schedule).await, (2, 3), "events at moments {schedule:?}");
            }
        }
    }
}

/// As when the node lost the segment and got it back before it saw either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_sent_is_looked_for() {
    let world = World::new([usize::MAX; EVENTS]).await;
    assert_eq!(count(&world.node, Timestamp(100)).await, 3);
    world.stage.buffer.lock().push(Arc::new(Delete { timestamp: DELETED, partition: None, keys: keys() }));
    world.stage.done.store(1, Ordering::SeqCst);
    let batch = DeleteBatch { after: DELETED, deletes: Vec::new(), through: DELETED };
    world.node.apply_deletes(SHARD, batch).await.unwrap();
    assert_eq!(count(&world.node, Timestamp(100)).await, 2);
    world.end().await;
}
