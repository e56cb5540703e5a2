//! A proxy whose shards are played by the test.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_catalog::{
    CollectionRecord, DEFAULT_DATABASE, DEFAULT_DATABASE_ID, DEFAULT_PARTITION, DatabaseRecord, IndexMethod,
    IndexRecord, IndexSpec, IndexesRecord, LoadRecord, LoadScope, MetadataView, NameRecord, PartitionRecord,
    Properties, Record,
};
use redkite_cluster::Kv;
use redkite_cluster::kv::{EmbeddedKv, EmbeddedSettings};
use redkite_proxy::{AutoIds, NodeAddress, OneNode, Proxy, ProxyParts, Settings};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_runtime::{HybridClock, ManualClock, Tasks};
use redkite_service::{
    BalanceAnswer, BalanceCommand, CompactionProgress, DataCoord, Ddl, DdlAck, DeleteBatch, Error, Flushed,
    LeaderUsage, NewIndex, NewLoad, PlacementCommand, QueryCoord, ReadAck, RequestId, RetrieveRequest,
    RootCoord, SearchRequest, Shard, ShardDirectory, WriteAck, WriteOp, WriteRequest,
};
use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, DataType, FieldId, FieldSchema, IndexId, Metric,
    NodeId, PartitionId, SegmentId, ShardId, TaskId, Timestamp,
};

/// The collection `c` of the tests.
pub(crate) const COLLECTION: CollectionId = CollectionId(7);
/// Its partition.
pub(crate) const PARTITION: PartitionId = PartitionId(70);
/// What the clock shows.
pub(crate) const NOW_MILLIS: u64 = 1_700_000_000_000;

/// Writes received, and answers to reads in the order they will be given.
#[derive(Default)]
pub(crate) struct Shards {
    pub(crate) writes: Mutex<Vec<WriteRequest>>,
    /// How the next writes fail; `None` never answers. Then they succeed.
    pub(crate) write_failures: Mutex<VecDeque<Option<Error>>>,
    pub(crate) searches: Mutex<Vec<Arc<SearchRequest>>>,
    pub(crate) retrieves: Mutex<Vec<Arc<RetrieveRequest>>>,
    pub(crate) search_answers: Mutex<VecDeque<Result<SearchPart, Error>>>,
    pub(crate) retrieve_answers: Mutex<VecDeque<RetrievePart>>,
    pub(crate) counts: Mutex<VecDeque<u64>>,
    /// Up to where flushes go, if not to the shard's own timestamp.
    pub(crate) flushed_through: Mutex<Option<Timestamp>>,
}

impl Shards {
    /// The writes so far, by shard.
    pub(crate) fn written(&self) -> Vec<(u16, WriteOp)> {
        let mut written: Vec<_> =
            self.writes.lock().iter().map(|write| (write.shard.ordinal, write.op.clone())).collect();
        written.sort_by_key(|(ordinal, _)| *ordinal);
        written
    }
}

/// Timestamps of answers: each shard has its own.
pub(crate) fn timestamp(shard: u16) -> Timestamp {
    Timestamp::from_physical(NOW_MILLIS + 1 + u64::from(shard))
}

#[async_trait]
impl Shard for Shards {
    async fn write(&self, request: WriteRequest) -> Result<WriteAck, Error> {
        let timestamp = timestamp(request.shard.ordinal);
        self.writes.lock().push(request);
        let failure = self.write_failures.lock().pop_front();
        match failure {
            None => Ok(WriteAck { timestamp }),
            Some(Some(error)) => Err(error),
            Some(None) => std::future::pending().await,
        }
    }

    async fn search(
        &self,
        shard: ShardId,
        request: Arc<SearchRequest>,
    ) -> Result<ReadAck<SearchPart>, Error> {
        self.searches.lock().push(request);
        let part = self.search_answers.lock().pop_front().expect("an answer for every search")?;
        Ok(ReadAck { part, read_timestamp: timestamp(shard.ordinal) })
    }

    async fn retrieve(
        &self,
        shard: ShardId,
        request: Arc<RetrieveRequest>,
    ) -> Result<ReadAck<RetrievePart>, Error> {
        self.retrieves.lock().push(request);
        let part = self.retrieve_answers.lock().pop_front().expect("an answer for every retrieval");
        Ok(ReadAck { part, read_timestamp: timestamp(shard.ordinal) })
    }

    async fn count(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<u64>, Error> {
        self.retrieves.lock().push(request);
        let part = self.counts.lock().pop_front().expect("an answer for every count");
        Ok(ReadAck { part, read_timestamp: timestamp(shard.ordinal) })
    }

    async fn flush(&self, shard: ShardId) -> Result<Flushed, Error> {
        let segments = vec![SegmentId(i64::from(shard.ordinal) + 500)];
        let through = *self.flushed_through.lock();
        Ok(Flushed { segments, timestamp: through.unwrap_or_else(|| timestamp(shard.ordinal)) })
    }

    async fn deletes_after(&self, _: ShardId, _: Timestamp) -> Result<DeleteBatch, Error> {
        Err(nobody())
    }

    async fn usage(&self) -> Result<LeaderUsage, Error> {
        Err(nobody())
    }
}

struct Directory(Arc<Shards>);

#[async_trait]
impl ShardDirectory for Directory {
    async fn leader(&self, _: ShardId) -> Result<Arc<dyn Shard>, Error> {
        Ok(self.0.clone())
    }
    async fn on_node(&self, _: NodeId) -> Result<Arc<dyn Shard>, Error> {
        Ok(self.0.clone())
    }
}

/// Ids from 1000.
struct Ids(Mutex<i64>);

#[async_trait]
impl AutoIds for Ids {
    async fn allocate(&self, count: u32) -> Result<i64, Error> {
        let mut next = self.0.lock();
        let first = *next;
        *next += i64::from(count);
        Ok(first)
    }
}

fn nobody() -> Error {
    Error::Unimplemented { what: "not played in this test".to_owned() }
}

struct Nobody;

#[async_trait]
impl RootCoord for Nobody {
    async fn execute(&self, _: RequestId, _: Ddl) -> Result<DdlAck, Error> {
        Err(nobody())
    }
}

#[async_trait]
impl DataCoord for Nobody {
    async fn create_index(&self, _: RequestId, _: NewIndex) -> Result<DdlAck, Error> {
        Err(nobody())
    }
    async fn alter_index(
        &self,
        _: RequestId,
        _: CollectionId,
        _: String,
        _: std::collections::BTreeMap<String, String>,
        _: Vec<String>,
    ) -> Result<DdlAck, Error> {
        Err(nobody())
    }
    async fn drop_index(&self, _: RequestId, _: CollectionId, _: IndexId) -> Result<DdlAck, Error> {
        Err(nobody())
    }
    async fn compact(&self, _: RequestId, _: CollectionId) -> Result<(TaskId, usize), Error> {
        Err(nobody())
    }
    async fn compaction(&self, _: TaskId) -> Result<CompactionProgress, Error> {
        Err(nobody())
    }
}

#[async_trait]
impl QueryCoord for Nobody {
    async fn load(&self, _: RequestId, _: NewLoad) -> Result<DdlAck, Error> {
        Err(nobody())
    }
    async fn place(&self, _: RequestId, _: PlacementCommand) -> Result<DdlAck, Error> {
        Err(nobody())
    }
    async fn balance(&self, _: BalanceCommand) -> Result<BalanceAnswer, Error> {
        Err(nobody())
    }
    async fn release(&self, _: RequestId, _: CollectionId, _: Vec<PartitionId>) -> Result<DdlAck, Error> {
        Err(nobody())
    }
}

/// A proxy, its shards and its metastore.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) shards: Arc<Shards>,
    pub(crate) collection: CollectionRecord,
    kv: Arc<EmbeddedKv>,
    view: MetadataView,
    _directory: tempfile::TempDir,
}

impl World {
    /// A world with the collection `c` of some shards, indexed but not loaded.
    pub(crate) async fn new(shards: u16) -> Self {
        Self::with(CollectionRecord { shards, ..collection() }).await
    }

    /// A world with this collection, indexed but not loaded.
    pub(crate) async fn with(collection: CollectionRecord) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new("world");
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        let view = MetadataView::start(kv.clone(), &tasks).await.unwrap();
        let wall = Arc::new(ManualClock::new(NOW_MILLIS));
        let played = Arc::new(Shards::default());
        let proxy = Proxy::new(ProxyParts {
            metadata: view.clone(),
            kv: kv.clone(),
            root: Arc::new(Nobody),
            data: Arc::new(Nobody),
            query: Arc::new(Nobody),
            shards: Arc::new(Directory(played.clone())),
            nodes: Arc::new(OneNode { node: NodeId(1), address: NodeAddress::default() }),
            ids: Arc::new(Ids(Mutex::new(1000))),
            clock: Arc::new(HybridClock::new(wall)),
            settings: Settings::default(),
        });
        let world = Self { proxy, shards: played, collection, kv, view, _directory: directory };
        let database = DatabaseRecord {
            id: DEFAULT_DATABASE_ID,
            name: DEFAULT_DATABASE.to_owned(),
            properties: Properties::new(),
            created_at: Timestamp::ZERO,
        };
        world.put(&DEFAULT_DATABASE_ID, &database).await;
        let name = (DEFAULT_DATABASE_ID, world.collection.name.clone());
        world.put(&name, &NameRecord::Collection(COLLECTION)).await;
        world.put(&COLLECTION, &world.collection).await;
        world.put(&COLLECTION, &IndexesRecord { indexes: vec![index()] }).await;
        world
    }

    /// Records something and waits until the proxy sees it.
    pub(crate) async fn put<R: Record>(&self, key: &R::Key, record: &R) {
        let revision = self.kv.put(R::key(key), record.encode().into()).await.unwrap();
        self.view.wait_for(revision).await;
    }

    /// Removes a record and waits until the proxy sees it.
    pub(crate) async fn remove<R: Record>(&self, key: &R::Key) {
        let revision = self.kv.delete(R::key(key)).await.unwrap();
        self.view.wait_for(revision).await;
    }

    /// Records that the collection is loaded.
    pub(crate) async fn load(&self) {
        let load = LoadRecord {
            scope: LoadScope::Collection,
            replicas: 1,
            requested_at: Timestamp(10),
            loaded: BTreeSet::from([PARTITION]),
        };
        self.put(&COLLECTION, &load).await;
    }
}

/// Int64 `id` (primary key), VarChar `text`, FloatVector `vector` of two elements.
pub(crate) fn collection() -> CollectionRecord {
    let fields = vec![
        FieldSchema { primary_key: true, ..field(100, "id", DataType::Int64) },
        field(101, "text", DataType::VarChar),
        field(102, "vector", DataType::FloatVector),
    ];
    let schema =
        CollectionSchema { description: String::new(), fields, enable_dynamic_field: false, version: 3 };
    CollectionRecord {
        id: COLLECTION,
        database: DEFAULT_DATABASE_ID,
        name: "c".to_owned(),
        schema,
        shards: 1,
        partitions: vec![PartitionRecord {
            id: PARTITION,
            name: DEFAULT_PARTITION.to_owned(),
            created_at: Timestamp::ZERO,
        }],
        consistency: ConsistencyLevel::Bounded,
        properties: Properties::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp(5),
    }
}

fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        id: FieldId(id),
        name: name.to_owned(),
        description: String::new(),
        data_type,
        primary_key: false,
        auto_id: false,
        nullable: false,
        default_value: None,
        dynamic: false,
        partition_key: false,
        clustering_key: false,
        dim: if data_type.is_vector() { 2 } else { 0 },
        max_length: if data_type == DataType::VarChar { 10 } else { 0 },
        type_params: Vec::new(),
    }
}

fn index() -> IndexRecord {
    IndexRecord {
        id: IndexId(1),
        name: "vector".to_owned(),
        field: FieldId(102),
        params: Vec::new(),
        spec: IndexSpec { method: IndexMethod::Flat, metric: Some(Metric::L2) },
        created_at: Timestamp::ZERO,
    }
}
