//! Services that answer with samples, with an error, or not yet.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_rpc::Services;
use redkite_service::{
    BalanceAnswer, BalanceCommand, CompactionProgress, DataCoord, Ddl, DdlAck, DeleteBatch, Error, Flushed,
    LeaderUsage, NewIndex, NewLoad, NodeUsage, PlacementCommand, QueryCoord, ReadAck, RequestId, Result,
    RetrieveRequest, RootCoord, SearchRequest, SegmentRetrieve, SegmentSearch, Segments, Shard, WriteAck,
    WriteRequest,
};
use redkite_types::{
    CollectionId, IndexId, NodeId, PartitionId, Revision, SegmentId, ShardId, TaskId, Timestamp,
};
use tokio::sync::{Semaphore, watch};

use crate::samples;

pub(crate) const TIMESTAMP: Timestamp = Timestamp(4711);

/// All five services.
pub(crate) struct Fake {
    /// What was asked, as text.
    pub(crate) heard: Mutex<Vec<String>>,
    /// What was asked is not noted.
    pub(crate) quiet: bool,
    /// The answer instead of the sample.
    pub(crate) error: Mutex<Option<Error>>,
    /// Calls are answered while it is open.
    pub(crate) open: watch::Sender<bool>,
    /// One permit for every call that came in.
    pub(crate) entered: Semaphore,
    /// One permit for every call that was cancelled.
    pub(crate) cancelled: Semaphore,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            heard: Mutex::default(),
            quiet: false,
            error: Mutex::default(),
            open: watch::Sender::new(true),
            entered: Semaphore::new(0),
            cancelled: Semaphore::new(0),
        }
    }
}

struct Cancelled<'a>(Option<&'a Semaphore>);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        if let Some(cancelled) = self.0 {
            cancelled.add_permits(1);
        }
    }
}

impl Fake {
    /// It answers nothing until it is opened.
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(false), ..Self::default() })
    }

    /// Everything it can be, as a process.
    pub(crate) fn services(self: &Arc<Self>, node: i64) -> Services {
        Services {
            node: NodeId(node),
            shard: Some(self.clone()),
            segments: Some(self.clone()),
            root: Some(self.clone()),
            data: Some(self.clone()),
            query: Some(self.clone()),
            seats: None,
        }
    }

    /// Waits for the next call to come in.
    pub(crate) async fn call(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    async fn answer<T>(&self, asked: impl Debug, answer: T) -> Result<T> {
        if !self.quiet {
            self.heard.lock().unwrap().push(format!("{asked:?}"));
        }
        let mut cancelled = Cancelled(Some(&self.cancelled));
        self.entered.add_permits(1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        cancelled.0 = None;
        self.error.lock().unwrap().clone().map_or(Ok(answer), Err)
    }
}

pub(crate) fn ack() -> DdlAck {
    DdlAck { revision: Revision(17), timestamp: TIMESTAMP }
}

pub(crate) fn read<T>(part: T) -> ReadAck<T> {
    ReadAck { part, read_timestamp: TIMESTAMP }
}

pub(crate) fn flushed() -> Flushed {
    Flushed { segments: vec![SegmentId(1), SegmentId(2)], timestamp: TIMESTAMP }
}

#[async_trait]
impl Shard for Fake {
    async fn write(&self, request: WriteRequest) -> Result<WriteAck> {
        self.answer(request, WriteAck { timestamp: TIMESTAMP }).await
    }
    async fn search(&self, shard: ShardId, request: Arc<SearchRequest>) -> Result<ReadAck<SearchPart>> {
        self.answer((shard, request), read(samples::found())).await
    }
    async fn retrieve(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<RetrievePart>> {
        self.answer((shard, request), read(samples::retrieved())).await
    }
    async fn count(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<u64>> {
        self.answer((shard, request), read(u64::MAX)).await
    }
    async fn flush(&self, shard: ShardId) -> Result<Flushed> {
        self.answer(shard, flushed()).await
    }
    async fn deletes_after(&self, shard: ShardId, after: Timestamp) -> Result<DeleteBatch> {
        self.answer((shard, after), samples::deletes()).await
    }
    async fn usage(&self) -> Result<LeaderUsage> {
        self.answer((), samples::leader_usage()).await
    }
}

#[async_trait]
impl Segments for Fake {
    async fn search(&self, request: SegmentSearch) -> Result<SearchPart> {
        self.answer(request, samples::found()).await
    }
    async fn retrieve(&self, request: SegmentRetrieve) -> Result<RetrievePart> {
        self.answer(request, samples::retrieved()).await
    }
    async fn count(&self, request: SegmentRetrieve) -> Result<u64> {
        self.answer(request, 12).await
    }
    async fn apply_deletes(&self, shard: ShardId, batch: DeleteBatch) -> Result<()> {
        self.answer((shard, batch), ()).await
    }
    async fn usage(&self) -> Result<NodeUsage> {
        self.answer((), samples::usage()).await
    }
}

#[async_trait]
impl RootCoord for Fake {
    async fn execute(&self, id: RequestId, command: Ddl) -> Result<DdlAck> {
        self.answer((id, command), ack()).await
    }
}

#[async_trait]
impl DataCoord for Fake {
    async fn create_index(&self, id: RequestId, index: NewIndex) -> Result<DdlAck> {
        self.answer((id, index), ack()).await
    }
    async fn alter_index(
        &self,
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<DdlAck> {
        self.answer((id, collection, name, set, delete), ack()).await
    }
    async fn drop_index(&self, id: RequestId, collection: CollectionId, index: IndexId) -> Result<DdlAck> {
        self.answer((id, collection, index), ack()).await
    }
    async fn compact(&self, id: RequestId, collection: CollectionId) -> Result<(TaskId, usize)> {
        self.answer((id, collection), (TaskId(8), 2)).await
    }
    async fn compaction(&self, compaction: TaskId) -> Result<CompactionProgress> {
        self.answer(compaction, CompactionProgress::default()).await
    }
}

#[async_trait]
impl QueryCoord for Fake {
    async fn load(&self, id: RequestId, load: NewLoad) -> Result<DdlAck> {
        self.answer((id, load), ack()).await
    }
    async fn place(&self, id: RequestId, command: PlacementCommand) -> Result<DdlAck> {
        self.answer((id, command), ack()).await
    }
    async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        self.answer(command, samples::balanced()).await
    }
    async fn release(
        &self,
        id: RequestId,
        collection: CollectionId,
        partitions: Vec<PartitionId>,
    ) -> Result<DdlAck> {
        self.answer((id, collection, partitions), ack()).await
    }
}
