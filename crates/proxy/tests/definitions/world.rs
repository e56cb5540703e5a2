//! A proxy whose coordinators write down what they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_catalog::{
    CollectionRecord, DEFAULT_DATABASE, DEFAULT_DATABASE_ID, DatabaseRecord, MetadataView, NameRecord,
    PartitionRecord, Properties, Record, ShardStatus,
};
use redkite_cluster::Kv;
use redkite_cluster::kv::{EmbeddedKv, EmbeddedSettings};
use redkite_proxy::grpc::Grpc;
use redkite_proxy::{AutoIds, NodeAddress, OneNode, Proxy, ProxyParts, Settings};
use redkite_runtime::{HybridClock, ManualClock, Tasks};
use redkite_service::{
    BalanceAnswer, BalanceCommand, CompactionProgress, DataCoord, Ddl, DdlAck, Error, NewCollection,
    NewIndex, NewLoad, PlacementCommand, QueryCoord, RequestId, RootCoord, Shard, ShardDirectory,
};
use redkite_types::{CollectionId, Epoch, IndexId, NodeId, PartitionId, ShardId, TaskId, Timestamp};

/// What coordinators were asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Root(Ddl),
    CreateIndex(NewIndex),
    DropIndex(IndexId),
    Load(NewLoad),
    Place(PlacementCommand),
    Release(Vec<PartitionId>),
}

/// All coordinators in one.
pub(crate) struct Coordinators {
    kv: Arc<EmbeddedKv>,
    asked: Mutex<Vec<Asked>>,
}

impl Coordinators {
    async fn note(&self, asked: Asked) -> Result<DdlAck, Error> {
        self.asked.lock().push(asked);
        let revision = self.kv.put("noted".to_owned(), "1".into()).await.map_err(Error::internal)?;
        Ok(DdlAck { revision, timestamp: Timestamp::ZERO })
    }

    /// Writes the records of a new collection, as the real coordinator would.
    async fn record(&self, new: &NewCollection) -> Result<(), Error> {
        let id = CollectionId(7);
        let partition = |(name, id): (&String, i64)| PartitionRecord {
            id: PartitionId(id),
            name: name.clone(),
            created_at: Timestamp::ZERO,
        };
        let record = CollectionRecord {
            id,
            database: DEFAULT_DATABASE_ID,
            name: new.name.clone(),
            schema: new.schema.clone(),
            shards: new.shards,
            partitions: new.partitions.iter().zip(70..).map(partition).collect(),
            consistency: new.consistency,
            properties: new.properties.clone(),
            created_at: Timestamp(1),
            updated_at: Timestamp(2),
        };
        let name = NameRecord::key(&(DEFAULT_DATABASE_ID, new.name.clone()));
        put(&self.kv, name, NameRecord::Collection(id).encode()).await;
        put(&self.kv, CollectionRecord::key(&id), record.encode()).await;
        // The shards get their leaders a little later, by streaming nodes.
        for shard in record.shard_ids() {
            let status = ShardStatus { node: NodeId(1), epoch: Epoch(1) };
            put(&self.kv, ShardStatus::key(&shard), status.encode()).await;
        }
        Ok(())
    }
}

async fn put(kv: &EmbeddedKv, key: String, value: Vec<u8>) {
    kv.put(key, value.into()).await.expect("the store works");
}

#[async_trait]
impl RootCoord for Coordinators {
    async fn execute(&self, _: RequestId, command: Ddl) -> Result<DdlAck, Error> {
        if let Ddl::CreateCollection(new) = &command {
            self.record(new).await?;
        }
        self.note(Asked::Root(command)).await
    }
}

#[async_trait]
impl DataCoord for Coordinators {
    async fn create_index(&self, _: RequestId, index: NewIndex) -> Result<DdlAck, Error> {
        self.note(Asked::CreateIndex(index)).await
    }
    async fn alter_index(
        &self,
        _: RequestId,
        _: CollectionId,
        name: String,
        _: BTreeMap<String, String>,
        _: Vec<String>,
    ) -> Result<DdlAck, Error> {
        Err(Error::IndexNotFound { index: name })
    }
    async fn drop_index(&self, _: RequestId, _: CollectionId, index: IndexId) -> Result<DdlAck, Error> {
        self.note(Asked::DropIndex(index)).await
    }
    async fn compact(&self, _: RequestId, _: CollectionId) -> Result<(TaskId, usize), Error> {
        Ok((TaskId(5), 2))
    }
    async fn compaction(&self, _: TaskId) -> Result<CompactionProgress, Error> {
        Ok(CompactionProgress::default())
    }
}

#[async_trait]
impl QueryCoord for Coordinators {
    async fn load(&self, _: RequestId, load: NewLoad) -> Result<DdlAck, Error> {
        self.note(Asked::Load(load)).await
    }
    async fn place(&self, _: RequestId, command: PlacementCommand) -> Result<DdlAck, Error> {
        self.note(Asked::Place(command)).await
    }
    async fn balance(&self, _: BalanceCommand) -> Result<BalanceAnswer, Error> {
        unreachable!("no test asks for it")
    }
    async fn release(&self, _: RequestId, _: CollectionId, ids: Vec<PartitionId>) -> Result<DdlAck, Error> {
        self.note(Asked::Release(ids)).await
    }
}

struct NoShards;

#[async_trait]
impl ShardDirectory for NoShards {
    async fn leader(&self, shard: ShardId) -> Result<Arc<dyn Shard>, Error> {
        Err(Error::ShardNotAvailable { shard: shard.to_string() })
    }
    async fn on_node(&self, node: NodeId) -> Result<Arc<dyn Shard>, Error> {
        Err(Error::NodeNotFound { node: node.0 })
    }
}

struct Ids(AtomicI64);

#[async_trait]
impl AutoIds for Ids {
    async fn allocate(&self, count: u32) -> Result<i64, Error> {
        Ok(self.0.fetch_add(i64::from(count), Ordering::SeqCst))
    }
}

/// A proxy with an empty metastore.
pub(crate) struct World {
    pub(crate) grpc: Grpc,
    pub(crate) kv: Arc<EmbeddedKv>,
    coordinators: Arc<Coordinators>,
    _directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tasks = Tasks::new("world");
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.expect("a new store");
        let database = DatabaseRecord {
            id: DEFAULT_DATABASE_ID,
            name: DEFAULT_DATABASE.to_owned(),
            properties: Properties::new(),
            created_at: Timestamp::ZERO,
        };
        put(&kv, DatabaseRecord::key(&DEFAULT_DATABASE_ID), database.encode()).await;
        let metadata = MetadataView::start(kv.clone(), &tasks).await.expect("a readable store");
        let coordinators = Arc::new(Coordinators { kv: kv.clone(), asked: Mutex::default() });
        let proxy = Proxy::new(ProxyParts {
            metadata,
            kv: kv.clone(),
            root: coordinators.clone(),
            data: coordinators.clone(),
            query: coordinators.clone(),
            shards: Arc::new(NoShards),
            nodes: Arc::new(OneNode { node: NodeId(1), address: NodeAddress::default() }),
            ids: Arc::new(Ids(AtomicI64::new(1))),
            clock: Arc::new(HybridClock::new(Arc::new(ManualClock::new(1_700_000_000_000)))),
            settings: Settings::default(),
        });
        Self { grpc: Grpc::new(Arc::new(proxy)), kv, coordinators, _directory: directory }
    }

    /// What coordinators were asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.coordinators.asked.lock())
    }

    /// Writes a record behind the proxy's back.
    pub(crate) async fn put<R: Record>(&self, key: &R::Key, record: &R) {
        put(&self.kv, R::key(key), record.encode()).await;
    }
}
