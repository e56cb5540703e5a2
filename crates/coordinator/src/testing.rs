//! Records in memory for the planners, and a coordinator's environment for the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redkite_catalog::{
    CollectionRecord, HeldRecord, HeldSegment, IndexMethod, IndexRecord, IndexSpec, IndexesRecord, Metadata,
    MetadataView, PartitionRecord, Properties, Record, SegmentIndexFile, SegmentRecord, SegmentState,
    ShardStatus, TaskKind, TaskOutcome, TaskRecord, TaskResult,
};
use redkite_cluster::kv::{
    Compare, Condition, EmbeddedKv, EmbeddedSettings, KeyValue, Kv, KvError, Op, Txn, TxnOutcome,
};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_runtime::{HybridClock, ManualClock, Tasks};
use redkite_service::{
    Ddl, DeleteBatch, Flushed, LeaderUsage, NewCollection, NodeUsage, ReadAck, RetrieveRequest,
    SearchRequest, SegmentRetrieve, SegmentSearch, Segments, SegmentsDirectory, Shard, ShardDirectory,
    WriteAck, WriteRequest,
};
use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, DataType, DatabaseId, FieldId, FieldSchema, IndexId,
    Metric, NodeId, PartitionId, Revision, SegmentId, ShardId, Timestamp,
};
use tokio::sync::watch;

use crate::balance::BalancingSettings;
use crate::environment::{Environment, Ids};
use crate::nodes::{LiveNode, LiveNodes, NodeSet, RoleNodes, StaticNodes};
use crate::query::{QueryCoordinator, QuerySettings};
use crate::step::Step;
use crate::writer::{MetaWriter, WriteError};

/// Records as a metastore would keep them, without one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) metadata: Metadata,
    revision: i64,
    entries: BTreeMap<String, (Bytes, Revision)>,
}

impl Records {
    /// Applies a transaction if its compares hold.
    pub(crate) fn apply(&mut self, txn: &Txn) -> bool {
        txn.check().expect("within the limits");
        let holds = txn.compares.iter().all(|compare| {
            let entry = self.entries.get(&compare.key).map(|(value, revision)| KeyValue {
                key: compare.key.clone(),
                value: value.clone(),
                create_revision: *revision,
                mod_revision: *revision,
                version: 1,
                lease: None,
            });
            assert!(
                matches!(
                    compare.condition,
                    Condition::ModRevision(_) | Condition::Exists | Condition::Absent
                ),
                "{compare:?}"
            );
            compare.holds(entry.as_ref())
        });
        if holds {
            self.revision += 1;
            let revision = Revision(self.revision);
            for op in &txn.then {
                match op {
                    Op::Put { key, value, .. } => {
                        self.entries.insert(key.clone(), (value.clone(), revision));
                        self.metadata.put(key, value, revision);
                    }
                    Op::Delete { key } => {
                        self.entries.remove(key);
                        self.metadata.delete(key);
                    }
                    Op::DeletePrefix { .. } => unreachable!("coordinators delete key by key"),
                }
            }
        }
        holds
    }

    /// Applies steps in order until one conflicts; whether all were applied.
    pub(crate) fn apply_all(&mut self, steps: &[Step]) -> bool {
        steps.iter().all(|step| self.apply(&step.txn))
    }

    pub(crate) fn put<R: Record>(&mut self, key: &R::Key, record: &R) {
        assert!(self.apply(&Txn::new().put(R::key(key), record.encode())));
    }

    pub(crate) fn delete<R: Record>(&mut self, key: &R::Key) {
        assert!(self.apply(&Txn::new().delete(R::key(key))));
    }
}

pub(crate) const COLLECTION: CollectionId = CollectionId(100);
pub(crate) const INDEX: IndexId = IndexId(7);
pub(crate) const VECTOR: FieldId = FieldId(101);

pub(crate) fn shard(ordinal: u16) -> ShardId {
    ShardId { collection: COLLECTION, ordinal }
}

pub(crate) fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        id: FieldId(id),
        name: name.to_owned(),
        description: String::new(),
        data_type,
        primary_key: id == 100,
        auto_id: false,
        nullable: false,
        default_value: None,
        dynamic: false,
        partition_key: false,
        clustering_key: false,
        dim: if data_type.is_vector() { 4 } else { 0 },
        max_length: if data_type == DataType::VarChar { 64 } else { 0 },
        type_params: Vec::new(),
    }
}

pub(crate) fn schema() -> CollectionSchema {
    CollectionSchema {
        description: String::new(),
        fields: vec![field(100, "id", DataType::Int64), field(101, "vector", DataType::FloatVector)],
        enable_dynamic_field: false,
        version: 0,
    }
}

pub(crate) fn create_collection(name: &str, shards: u16) -> Ddl {
    Ddl::CreateCollection(Box::new(NewCollection {
        database: String::new(),
        name: name.to_owned(),
        schema: schema(),
        partitions: vec!["_default".to_owned()],
        shards,
        consistency: ConsistencyLevel::Bounded,
        properties: Properties::new(),
    }))
}

pub(crate) fn collection(shards: u16, partitions: &[i64]) -> CollectionRecord {
    CollectionRecord {
        id: COLLECTION,
        database: DatabaseId(1),
        name: "c".to_owned(),
        schema: schema(),
        shards,
        partitions: partitions
            .iter()
            .map(|id| PartitionRecord {
                id: PartitionId(*id),
                name: format!("p{id}"),
                created_at: Timestamp::ZERO,
            })
            .collect(),
        consistency: ConsistencyLevel::Bounded,
        properties: Properties::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

pub(crate) fn hnsw() -> IndexSpec {
    IndexSpec { method: IndexMethod::Hnsw { m: 16, ef_construction: 100 }, metric: Some(Metric::L2) }
}

pub(crate) fn indexes(spec: IndexSpec) -> IndexesRecord {
    IndexesRecord {
        indexes: vec![IndexRecord {
            id: INDEX,
            name: "vector".to_owned(),
            field: VECTOR,
            params: Vec::new(),
            spec,
            created_at: Timestamp::ZERO,
        }],
    }
}

pub(crate) fn segment(id: i64, shard: ShardId, partition: i64, rows: u64, bytes: u64) -> SegmentRecord {
    SegmentRecord {
        id: SegmentId(id),
        collection: shard.collection,
        partition: PartitionId(partition),
        shard,
        state: SegmentState::Flushed,
        rows,
        bytes,
        min_timestamp: Timestamp(1),
        max_timestamp: Timestamp(1),
        schema_version: 0,
        data: format!("segments/{}/{id}/data.rks", shard.collection),
        deletes_through: Timestamp::ZERO,
        deletes: None,
        indexes: BTreeMap::new(),
        index_failures: BTreeMap::new(),
        sources: Vec::new(),
        created_at: Timestamp::ZERO,
    }
}

/// Ids from a counter that lives as long as the metastore of a test.
#[derive(Debug)]
pub(crate) struct CountingIds(AtomicI64);

#[async_trait]
impl Ids for CountingIds {
    async fn reserve(&self, count: u32) -> Result<i64, KvError> {
        Ok(self.0.fetch_add(i64::from(count), Ordering::SeqCst))
    }
}

/// Writes until it dies: then nothing gets through any more, as after a crash.
pub(crate) struct MortalWriter {
    kv: Arc<dyn Kv>,
    left: watch::Sender<usize>,
}

impl MortalWriter {
    pub(crate) fn is_dead(&self) -> bool {
        *self.left.borrow() == 0
    }

    pub(crate) async fn death(&self) {
        self.left.subscribe().wait_for(|left| *left == 0).await.unwrap();
    }
}

#[async_trait]
impl MetaWriter for MortalWriter {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, WriteError> {
        let fenced = || Err(WriteError::Fenced { role: "dead".to_owned() });
        if self.is_dead() {
            return fenced();
        }
        // Only what changes something counts: a crash elsewhere is a crash before the next change.
        if !txn.then.is_empty() {
            self.left.send_modify(|left| *left -= 1);
            if self.is_dead() {
                return fenced();
            }
        }
        Ok(self.kv.txn(txn).await?)
    }
}

/// A metastore of its own for one test.
pub(crate) struct World {
    pub(crate) kv: Arc<EmbeddedKv>,
    pub(crate) view: MetadataView,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) nodes: Arc<StaticNodes>,
    pub(crate) tasks: Tasks,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) balancing: watch::Sender<BalancingSettings>,
    /// What query nodes say; those that are not here have as much as others and use nothing.
    pub(crate) usages: Arc<Mutex<BTreeMap<NodeId, NodeUsage>>>,
    /// What streaming nodes say, likewise.
    pub(crate) leading: Arc<Mutex<BTreeMap<NodeId, LeaderUsage>>>,
    ids: Arc<CountingIds>,
}

/// Query nodes that tell what they have.
struct Telling {
    node: NodeId,
    usages: Arc<Mutex<BTreeMap<NodeId, NodeUsage>>>,
}

#[async_trait]
impl Segments for Telling {
    async fn search(&self, _: SegmentSearch) -> redkite_service::Result<SearchPart> {
        unreachable!("coordinators do not search")
    }
    async fn retrieve(&self, _: SegmentRetrieve) -> redkite_service::Result<RetrievePart> {
        unreachable!("coordinators do not read")
    }
    async fn count(&self, _: SegmentRetrieve) -> redkite_service::Result<u64> {
        unreachable!("coordinators do not count")
    }
    async fn apply_deletes(&self, _: ShardId, _: DeleteBatch) -> redkite_service::Result<()> {
        unreachable!("coordinators do not delete")
    }
    async fn usage(&self) -> redkite_service::Result<NodeUsage> {
        let said = self.usages.lock().get(&self.node).cloned();
        Ok(said.unwrap_or(NodeUsage { memory: 1 << 20, threads: 1, ..NodeUsage::default() }))
    }
}

/// Streaming nodes that tell what their shards take.
struct Leading {
    node: NodeId,
    usages: Arc<Mutex<BTreeMap<NodeId, LeaderUsage>>>,
}

#[async_trait]
impl Shard for Leading {
    async fn write(&self, _: WriteRequest) -> redkite_service::Result<WriteAck> {
        unreachable!("coordinators do not write")
    }
    async fn search(
        &self,
        _: ShardId,
        _: Arc<SearchRequest>,
    ) -> redkite_service::Result<ReadAck<SearchPart>> {
        unreachable!("coordinators do not search")
    }
    async fn retrieve(
        &self,
        _: ShardId,
        _: Arc<RetrieveRequest>,
    ) -> redkite_service::Result<ReadAck<RetrievePart>> {
        unreachable!("coordinators do not read")
    }
    async fn count(&self, _: ShardId, _: Arc<RetrieveRequest>) -> redkite_service::Result<ReadAck<u64>> {
        unreachable!("coordinators do not count")
    }
    async fn flush(&self, _: ShardId) -> redkite_service::Result<Flushed> {
        unreachable!("coordinators do not flush")
    }
    async fn deletes_after(&self, _: ShardId, _: Timestamp) -> redkite_service::Result<DeleteBatch> {
        unreachable!("coordinators do not load")
    }
    async fn usage(&self) -> redkite_service::Result<LeaderUsage> {
        let said = self.usages.lock().get(&self.node).cloned();
        Ok(said.unwrap_or(LeaderUsage { memory: 1 << 30, threads: 1, ..LeaderUsage::default() }))
    }
}

struct Directory {
    query: Arc<Mutex<BTreeMap<NodeId, NodeUsage>>>,
    streaming: Arc<Mutex<BTreeMap<NodeId, LeaderUsage>>>,
}

#[async_trait]
impl SegmentsDirectory for Directory {
    async fn node(&self, node: NodeId) -> redkite_service::Result<Arc<dyn Segments>> {
        Ok(Arc::new(Telling { node, usages: self.query.clone() }))
    }
}

#[async_trait]
impl ShardDirectory for Directory {
    async fn leader(&self, _: ShardId) -> redkite_service::Result<Arc<dyn Shard>> {
        unreachable!("coordinators do not write")
    }
    async fn on_node(&self, node: NodeId) -> redkite_service::Result<Arc<dyn Shard>> {
        Ok(Arc::new(Leading { node, usages: self.streaming.clone() }))
    }
}

pub(crate) const NODE: NodeId = NodeId(1);

impl World {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new("test");
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        let view = MetadataView::start(kv.clone(), &tasks).await.unwrap();
        Self {
            kv,
            view,
            clock: Arc::new(ManualClock::new(1_000_000)),
            nodes: Arc::new(StaticNodes::standalone(NODE)),
            tasks,
            directory,
            balancing: watch::Sender::default(),
            usages: Arc::default(),
            leading: Arc::default(),
            ids: Arc::new(CountingIds(AtomicI64::new(1000))),
        }
    }

    /// The environment of a coordinator that lives for ever.
    pub(crate) fn environment(&self) -> Environment {
        self.mortal(usize::MAX - 1).0
    }

    /// The environment of a coordinator that dies after so many writes.
    pub(crate) fn mortal(&self, writes: usize) -> (Environment, Arc<MortalWriter>) {
        let writer = Arc::new(MortalWriter { kv: self.kv.clone(), left: watch::Sender::new(writes + 1) });
        let environment = Environment {
            view: self.view.clone(),
            kv: self.kv.clone(),
            writer: writer.clone(),
            ids: self.ids.clone(),
            clock: Arc::new(HybridClock::new(self.clock.clone())),
            nodes: self.nodes.clone(),
            tasks: self.tasks.child("coordinator"),
        };
        (environment, writer)
    }

    /// A query coordinator.
    pub(crate) async fn query(
        &self,
        environment: Environment,
    ) -> redkite_service::Result<Arc<QueryCoordinator>> {
        let directory = Directory { query: self.usages.clone(), streaming: self.leading.clone() };
        let (directory, settings) = (Arc::new(directory), QuerySettings::default());
        let balancing = self.balancing.subscribe();
        QueryCoordinator::start(environment, settings, balancing, directory.clone(), directory).await
    }

    /// Writes a record as a node would.
    pub(crate) async fn put<R: Record>(&self, key: &R::Key, record: &R) {
        let revision = self.kv.put(R::key(key), record.encode().into()).await.unwrap();
        self.view.wait_for(revision).await;
    }

    /// Waits until the records are as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Metadata) -> bool) {
        let mut changes = self.view.changes();
        let wait = async {
            while !self.view.read(&wanted) {
                changes.any().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), wait)
            .await
            .unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    /// Replaces the query nodes by these, each with whether it is stopping.
    pub(crate) fn set_query_nodes(&self, nodes: &[(i64, bool)]) {
        let live = |(node, stopping): &(i64, bool)| {
            (NodeId(*node), LiveNode { stopping: *stopping, ..LiveNode::default() })
        };
        let query = nodes.iter().map(live).collect();
        let present = NodeSet::clone(&self.nodes.watch().borrow());
        self.nodes.set(NodeSet { query, ..present });
    }

    pub(crate) fn set_streaming_nodes(&self, nodes: &[i64]) {
        let streaming = nodes.iter().map(|node| NodeId(*node)).collect();
        let present = NodeSet::clone(&self.nodes.watch().borrow());
        self.nodes.set(NodeSet { streaming, ..present });
    }

    pub(crate) fn set_nodes(&self, streaming: &[i64], query: &[i64], data: &[i64]) {
        let ids = |nodes: &[i64]| nodes.iter().map(|node| NodeId(*node)).collect::<RoleNodes>();
        self.nodes.set(NodeSet { streaming: ids(streaming), query: ids(query), data: ids(data) });
    }
}

/// Nodes that do at once what the records ask for: they lead shards, hold segments, do tasks.
pub(crate) fn spawn_fake_nodes(world: &World) {
    let (kv, view) = (world.kv.clone(), world.view.clone());
    world.tasks.spawn("fake-nodes", |stopping| async move {
        let mut changes = view.changes();
        loop {
            for txn in view.read(reactions) {
                kv.txn(txn).await.unwrap();
            }
            if stopping.race(changes.any()).await.is_none() {
                return;
            }
        }
    });
}

fn reactions(metadata: &Metadata) -> Vec<Txn> {
    let mut txns = Vec::new();
    for (shard, assignment) in &metadata.assignments {
        let exists = metadata.collections.contains_key(&shard.collection);
        let status = ShardStatus { node: assignment.node, epoch: assignment.epoch };
        let present = metadata.shards.get(shard);
        if exists && present.is_none_or(|present| *present.record != status) {
            txns.push(Txn::new().put(ShardStatus::key(shard), status.encode()));
        }
    }
    for shard in metadata.shards.keys().filter(|shard| !metadata.collections.contains_key(&shard.collection))
    {
        txns.push(Txn::new().delete(ShardStatus::key(shard)));
    }
    for (key, hold) in &metadata.holds {
        let bytes = |id| metadata.segments.get(&(key.1, id)).map_or(0, |segment| segment.bytes);
        let cost = |id| HeldSegment { resident_bytes: 0, mapped_bytes: bytes(id) };
        let segments = hold.segments.iter().map(|id| (*id, cost(*id))).collect();
        let wanted = HeldRecord { segments, ..Default::default() };
        if metadata.held.get(key).is_none_or(|held| *held.record != wanted) {
            txns.push(Txn::new().put(HeldRecord::key(key), wanted.encode()));
        }
    }
    for key in metadata.held.keys().filter(|key| !metadata.holds.contains_key(key)) {
        txns.push(Txn::new().delete(HeldRecord::key(key)));
    }
    for task in metadata.tasks.values().filter(|task| !metadata.results.contains_key(&task.id)) {
        let result = TaskResult { id: task.id, node: task.node, outcome: done(metadata, &task.kind) };
        txns.push(
            Txn::new()
                .when(Compare::exists(TaskRecord::key(&task.id)))
                .put(TaskResult::key(&task.id), result.encode()),
        );
    }
    txns
}

fn done(metadata: &Metadata, kind: &TaskKind) -> TaskOutcome {
    match kind {
        TaskKind::BuildIndex { path, .. } => {
            TaskOutcome::IndexBuilt(SegmentIndexFile { path: path.clone(), bytes: 1 })
        }
        TaskKind::Compact { collection, partition, shard, sources, target } => {
            let sizes = sources.iter().filter_map(|id| metadata.segments.get(&(*collection, *id)));
            let (rows, bytes) = sizes.fold((0, 0), |sum, record| (sum.0 + record.rows, sum.1 + record.bytes));
            let record = SegmentRecord {
                collection: *collection,
                state: SegmentState::Building,
                sources: sources.clone(),
                deletes_through: Timestamp(50),
                ..segment(target.0, *shard, partition.0, rows, bytes)
            };
            TaskOutcome::Compacted(Some(Box::new(record)))
        }
        TaskKind::FoldDeletes { segments, deltas, .. } => {
            let through = deltas.iter().map(|delta| delta.through).max().unwrap();
            TaskOutcome::DeletesFolded { files: segments.iter().map(|id| (*id, None)).collect(), through }
        }
    }
}
