//! Everything a streaming node needs, in one directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redkite_catalog::{
    CollectionRecord, LoadRecord, LoadScope, MetadataView, PartitionRecord, Record as _, ShardAssignment,
    ShardStatus,
};
use redkite_cluster::IdAllocator;
use redkite_cluster::kv::{EmbeddedKv, EmbeddedSettings, Kv as _, LeaseId, Txn};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_runtime::{CpuPool, SystemClock, Tasks};
use redkite_service::{
    Consistency, Flushed, Result, RetrieveRequest, SearchRequest, Shard, VectorParams, VectorQueries,
    WriteAck, WriteId, WriteOp, WriteRequest,
};
use redkite_storage::LocalStore;
use redkite_streaming_node::{Environment, StreamingNode, StreamingNodeSettings};
use redkite_types::{
    Batch, CollectionId, CollectionSchema, Column, ColumnData, ConsistencyLevel, DataType, DatabaseId, Epoch,
    FieldId, FieldSchema, Metric, NodeId, PartitionId, PrimaryKeys, ProxyRun, ShardId, Timestamp,
};
use redkite_wal::{LocalLogs, LogProvider, ObjectLogSettings, ObjectLogs, WalSettings};
use tokio::sync::watch;

use crate::neighbours::{Directory, FullableStore, Ground, Holder, OTHER_QUERY_NODE, QUERY_NODE};

pub(crate) const SHARD: ShardId = ShardId { collection: CollectionId(7), ordinal: 0 };
pub(crate) const KEY: FieldId = FieldId(100);
pub(crate) const VECTOR: FieldId = FieldId(101);
pub(crate) const VALUE: FieldId = FieldId(102);
pub(crate) const PARTITION: PartitionId = PartitionId(1);
pub(crate) const OTHER: PartitionId = PartitionId(2);

/// What the logs are in.
#[derive(Clone, Copy)]
pub(crate) enum Logs {
    Local,
    Objects,
}

impl Logs {
    /// Logs as a process that starts has them.
    async fn open(self, directory: &Path) -> Arc<dyn LogProvider> {
        match self {
            Self::Local => LocalLogs::open(&directory.join("wal"), WalSettings::default()).await.unwrap(),
            Self::Objects => {
                let store = LocalStore::open(directory.join("bucket")).await.unwrap();
                ObjectLogs::new(Arc::new(store), ObjectLogSettings::default())
            }
        }
    }
}

pub(crate) struct World {
    pub(crate) directory: Arc<tempfile::TempDir>,
    pub(crate) ground: Ground,
    pub(crate) holder: Arc<Holder>,
    pub(crate) logs: Arc<dyn LogProvider>,
    pub(crate) node: Arc<StreamingNode>,
    in_what: Logs,
    kv: Arc<EmbeddedKv>,
    tasks: Tasks,
    settings: StreamingNodeSettings,
}

fn field(id: FieldId, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        id,
        name: name.to_owned(),
        data_type,
        primary_key: id == KEY,
        dim: if data_type.is_vector() { 4 } else { 0 },
        ..serde_json::from_value(serde_json::json!({ "id": 0, "name": "", "data_type": "Int64" })).unwrap()
    }
}

pub(crate) fn collection(partitions: i64) -> CollectionRecord {
    let partition = |id: i64| PartitionRecord {
        id: PartitionId(id),
        name: format!("p{id}"),
        created_at: Timestamp::ZERO,
    };
    CollectionRecord {
        id: SHARD.collection,
        database: DatabaseId(1),
        name: "rows".to_owned(),
        schema: CollectionSchema {
            description: String::new(),
            fields: vec![
                field(KEY, "key", DataType::Int64),
                field(VECTOR, "vector", DataType::FloatVector),
                field(VALUE, "value", DataType::Int64),
            ],
            enable_dynamic_field: false,
            version: 3,
        },
        shards: 1,
        partitions: (1..=partitions).map(partition).collect(),
        consistency: ConsistencyLevel::Strong,
        properties: BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

pub(crate) fn rows(keys: &[i64], value: i64) -> Batch {
    #[expect(clippy::cast_precision_loss, reason = "small keys")]
    let vectors = keys.iter().flat_map(|key| [*key as f32, 0.0, 1.0, 2.0]).collect();
    Batch::new(vec![
        Column::new(KEY, ColumnData::Int64(keys.to_vec())),
        Column::new(VECTOR, ColumnData::FloatVector { dim: 4, values: vectors }),
        Column::new(VALUE, ColumnData::Int64(vec![value; keys.len()])),
    ])
}

pub(crate) fn settings() -> StreamingNodeSettings {
    StreamingNodeSettings { delete_patience: Duration::from_millis(300), ..StreamingNodeSettings::default() }
}

impl World {
    /// A collection of two partitions, loaded, led by node 1.
    pub(crate) async fn new(logs: Logs, settings: StreamingNodeSettings) -> Self {
        let world = Self::without_leader(logs, settings).await;
        world.assign(NodeId(1), Epoch(1)).await;
        world
    }

    /// The same, led by nobody.
    pub(crate) async fn without_leader(logs: Logs, settings: StreamingNodeSettings) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let world = Self::open(logs, directory, Arc::default(), settings, NodeId(1)).await;
        world.define(&collection(2)).await;
        world
    }

    async fn open(
        in_what: Logs,
        directory: Arc<tempfile::TempDir>,
        holder: Arc<Holder>,
        settings: StreamingNodeSettings,
        node: NodeId,
    ) -> Self {
        let tasks = Tasks::new("test");
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        let view = MetadataView::start(kv.clone(), &tasks).await.unwrap();
        let store =
            Arc::new(FullableStore::new(LocalStore::open(directory.path().join("objects")).await.unwrap()));
        let logs = in_what.open(directory.path()).await;
        let alive = BTreeSet::from([QUERY_NODE, OTHER_QUERY_NODE]);
        let alive = Arc::new(watch::Sender::new(Arc::new(alive)));
        let ground = Ground { kv: kv.clone(), view, store, other: Arc::default(), alive };
        let _ = ground.other.schema.set(collection(2).schema);
        let node = start(&ground, &logs, &holder, settings.clone(), node, None, &tasks);
        let _ = holder.schema.set(collection(2).schema);
        Self { directory, ground, holder, logs, node, in_what, kv, tasks, settings }
    }

    pub(crate) async fn define(&self, collection: &CollectionRecord) {
        self.ground.put(&collection.id, collection).await;
        let load = LoadRecord {
            scope: LoadScope::Collection,
            replicas: 1,
            requested_at: Timestamp::ZERO,
            loaded: collection.partitions.iter().map(|partition| partition.id).collect(),
        };
        self.ground.put(&collection.id, &load).await;
    }

    /// Another leader, after the one before has died.
    pub(crate) async fn assign(&self, node: NodeId, epoch: Epoch) {
        self.reassign(node, epoch).await;
        self.end_lease().await;
    }

    /// What a leader has reported vanishes with its lease.
    pub(crate) async fn end_lease(&self) {
        self.kv.txn(Txn::new().delete(ShardStatus::key(&SHARD))).await.unwrap();
    }

    /// Another leader, while the one before may live.
    pub(crate) async fn reassign(&self, node: NodeId, epoch: Epoch) {
        self.ground.put(&SHARD, &ShardAssignment::new(node, epoch)).await;
    }

    /// Another node on the same ground.
    pub(crate) async fn second(&self, node: NodeId) -> Arc<StreamingNode> {
        self.another(node, self.logs_of_another().await)
    }

    /// Another node with logs of its own.
    pub(crate) fn another(&self, node: NodeId, logs: Arc<dyn LogProvider>) -> Arc<StreamingNode> {
        start(&self.ground, &logs, &self.holder, self.settings.clone(), node, None, &self.tasks)
    }

    /// Another node whose copy of the records stands still once the returned tasks are stopped: a hung
    /// process, as far as it knows what has changed.
    pub(crate) async fn second_that_can_hang(&self, node: NodeId) -> (Arc<StreamingNode>, Tasks) {
        self.another_that_can_hang(node, self.logs_of_another().await, None).await
    }

    pub(crate) async fn another_that_can_hang(
        &self,
        node: NodeId,
        logs: Arc<dyn LogProvider>,
        lease: Option<watch::Receiver<Option<LeaseId>>>,
    ) -> (Arc<StreamingNode>, Tasks) {
        let following = Tasks::new("following");
        let view = MetadataView::start(self.kv.clone(), &following).await.unwrap();
        let ground = Ground { view, ..self.ground.clone() };
        let node = start(&ground, &logs, &self.holder, self.settings.clone(), node, lease, &self.tasks);
        (node, following)
    }

    /// Logs in local files belong to one process, those in objects to any.
    pub(crate) async fn logs_of_another(&self) -> Arc<dyn LogProvider> {
        match self.in_what {
            Logs::Local => self.logs.clone(),
            Logs::Objects => self.in_what.open(self.directory.path()).await,
        }
    }

    /// Stops everything and starts it again from the directory.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await;
        let Self { directory, holder, in_what, settings, .. } = self;
        Self::open(in_what, directory, holder, settings, NodeId(1)).await
    }

    pub(crate) async fn stop(&self) {
        self.node.stop().await;
        self.tasks.stop(Duration::from_secs(5)).await;
        self.kv.close().await;
    }

    pub(crate) fn wal_files(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    pub(crate) async fn write(&self, op: WriteOp) -> Result<WriteAck> {
        write(&self.node, op).await
    }

    pub(crate) async fn insert(&self, keys: &[i64], value: i64) -> WriteAck {
        self.write(WriteOp::Insert(vec![(PARTITION, rows(keys, value))])).await.unwrap()
    }

    pub(crate) async fn upsert(&self, keys: &[i64], value: i64) -> WriteAck {
        self.write(WriteOp::Upsert(vec![(PARTITION, rows(keys, value))])).await.unwrap()
    }

    pub(crate) async fn delete(&self, keys: &[i64]) -> WriteAck {
        let keys = PrimaryKeys::Int64(keys.to_vec());
        self.write(WriteOp::Delete { partition: None, keys }).await.unwrap()
    }

    pub(crate) async fn count(&self) -> u64 {
        count(&self.node).await.unwrap()
    }

    /// Every row: key to value.
    pub(crate) async fn all(&self) -> BTreeMap<i64, i64> {
        all(&self.node, Consistency::Strong).await
    }

    pub(crate) async fn flush(&self) -> Flushed {
        let flushed = patiently(async || self.node.flush(SHARD).await).await.unwrap();
        self.checkpoint_reaches(flushed.timestamp).await;
        flushed
    }

    pub(crate) async fn checkpoint_reaches(&self, timestamp: Timestamp) {
        self.until(|world| {
            let reached =
                world.ground.view.read(|metadata| metadata.checkpoints.get(&SHARD).map(|c| c.timestamp));
            reached.unwrap_or_default() >= timestamp
        })
        .await;
    }

    /// Waits until records satisfy somebody.
    pub(crate) async fn until(&self, satisfied: impl Fn(&Self) -> bool) {
        let mut changes = self.ground.view.changes();
        let wait = async {
            while !satisfied(self) {
                changes.any().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("records change in time");
    }

    pub(crate) async fn publish(&self) -> bool {
        self.ground.publish(&self.holder, &self.node, SHARD).await
    }

    pub(crate) async fn search(&self, key: i64, limit: usize) -> SearchPart {
        self.node.search(SHARD, search(key, limit)).await.unwrap().part
    }
}

fn start(
    ground: &Ground,
    logs: &Arc<dyn LogProvider>,
    holder: &Arc<Holder>,
    settings: StreamingNodeSettings,
    node: NodeId,
    lease: Option<watch::Receiver<Option<LeaseId>>>,
    tasks: &Tasks,
) -> Arc<StreamingNode> {
    let clock = Arc::new(SystemClock);
    let node = StreamingNode::new(Environment {
        node,
        settings,
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        lease,
        logs: logs.clone(),
        store: ground.store.clone(),
        segments: Arc::new(Directory(holder.clone(), ground.other.clone())),
        query_nodes: Some(ground.alive.subscribe()),
        ids: Arc::new(IdAllocator::new(ground.kv.clone(), "segment", clock.clone())),
        cpu: CpuPool::new("test", 2).unwrap(),
        clock,
        tasks: tasks.clone(),
    });
    node.start();
    node
}

/// Tries again while the shard is not led yet.
async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    loop {
        match call().await {
            Err(redkite_service::Error::ShardNotAvailable { .. }) => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

/// A request that has not been sent yet.
pub(crate) fn request(op: WriteOp) -> WriteRequest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let sequence = NEXT.fetch_add(1, Ordering::SeqCst);
    // Whoever writes at the same time is not far behind.
    let id = WriteId { proxy: ProxyRun(7), sequence, settled_below: sequence.saturating_sub(1000) };
    WriteRequest { shard: SHARD, id, schema_version: 3, op }
}

pub(crate) async fn write(node: &StreamingNode, op: WriteOp) -> Result<WriteAck> {
    send(node, &request(op)).await
}

/// Sends a write, maybe not for the first time.
pub(crate) async fn send(node: &StreamingNode, request: &WriteRequest) -> Result<WriteAck> {
    patiently(async || node.write(request.clone()).await).await
}

pub(crate) fn retrieve(consistency: Consistency) -> Arc<RetrieveRequest> {
    Arc::new(RetrieveRequest {
        collection: SHARD.collection,
        schema_version: 3,
        partitions: Vec::new(),
        filter: None,
        output: vec![VALUE],
        limit: None,
        consistency,
        ignore_growing: false,
        expired_before: None,
    })
}

pub(crate) fn search(key: i64, limit: usize) -> Arc<SearchRequest> {
    #[expect(clippy::cast_precision_loss, reason = "small keys")]
    let values = vec![key as f32, 0.0, 1.0, 2.0];
    Arc::new(SearchRequest {
        collection: SHARD.collection,
        schema_version: 3,
        partitions: Vec::new(),
        field: VECTOR,
        metric: Metric::L2,
        queries: VectorQueries { dim: 4, values },
        limit,
        params: VectorParams::default(),
        range: None,
        filter: None,
        output: vec![VALUE],
        consistency: Consistency::Strong,
        ignore_growing: false,
        expired_before: None,
    })
}

pub(crate) async fn count(node: &StreamingNode) -> Result<u64> {
    patiently(async || node.count(SHARD, retrieve(Consistency::Strong)).await).await.map(|ack| ack.part)
}

pub(crate) async fn all(node: &StreamingNode, consistency: Consistency) -> BTreeMap<i64, i64> {
    let ack = patiently(async || node.retrieve(SHARD, retrieve(consistency)).await).await.unwrap();
    pairs(&ack.part)
}

fn pairs(part: &RetrievePart) -> BTreeMap<i64, i64> {
    let PrimaryKeys::Int64(keys) = &part.ids else { panic!("Int64 keys") };
    if keys.is_empty() {
        return BTreeMap::new();
    }
    let ColumnData::Int64(values) = &part.columns[0].data else { panic!("Int64 values") };
    keys.iter().copied().zip(values.iter().copied()).collect()
}
