//! A query node that holds what it is told, a coordinator that publishes what is flushed, and a store
//! that can be full.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_catalog::{HoldRecord, MetadataView, Record, SegmentRecord, ServingView, ViewSegment};
use redkite_cluster::kv::Kv;
use redkite_query::reduce::{RetrievePart, SearchPart, merge_retrieve, merge_search};
use redkite_segment::{RetrieveTask, SealedSegment, SearchTask, SegmentReader, read_deltas};
use redkite_service::{
    DeleteBatch, Error, NodeUsage, Result, SegmentRetrieve, SegmentSearch, Segments, SegmentsDirectory, Shard,
};
use redkite_storage::{LocalObject, LocalStore, ObjectEntry, ObjectStore, ObjectWriter};
use redkite_streaming_node::StreamingNode;
use redkite_types::{CollectionSchema, NodeId, ReplicaId, SegmentId, ShardId};
use tokio::sync::watch;

pub(crate) const QUERY_NODE: NodeId = NodeId(50);
/// The one of the second replica.
pub(crate) const OTHER_QUERY_NODE: NodeId = NodeId(51);

/// A query node with one room for everything.
#[derive(Default)]
pub(crate) struct Holder {
    segments: Mutex<BTreeMap<SegmentId, (ShardId, Arc<SealedSegment>)>>,
    /// Not read yet, but sent every delete; some of them for ever, as loading may be given up.
    loading: Mutex<Vec<(ShardId, Arc<SealedSegment>)>>,
    pub(crate) schema: OnceLock<CollectionSchema>,
    /// Refuses deletes while set.
    pub(crate) deaf: AtomicBool,
    /// Refuses everything while set.
    pub(crate) dead: AtomicBool,
    /// Answers nothing while set.
    pub(crate) hung: watch::Sender<bool>,
    /// Reads it was asked for.
    pub(crate) reads: AtomicUsize,
}

impl Holder {
    fn find(&self, wanted: &[SegmentId]) -> Result<Vec<Arc<SealedSegment>>> {
        let segments = self.segments.lock();
        let find = |id: &SegmentId| segments.get(id).map(|(_, segment)| segment.clone());
        wanted.iter().map(|id| find(id).ok_or(Error::SegmentNotLoaded { segment: id.0 })).collect()
    }

    async fn answer(&self) -> Result<()> {
        // The sender lives in `self`.
        let _ = self.hung.subscribe().wait_for(|hung| !hung).await;
        match self.dead.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable { reason: "dead on purpose".to_owned() }),
            false => Ok(()),
        }
    }

    async fn answer_read(&self) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answer().await
    }

    fn schema(&self) -> &CollectionSchema {
        self.schema.get().expect("set by the world")
    }

    /// Opens a segment in the order that loses no delete.
    pub(crate) async fn load(&self, node: &StreamingNode, ground: &Ground, record: &SegmentRecord) {
        let segment = Arc::new(SealedSegment::load(&*ground.store, record).await.unwrap());
        self.loading.lock().push((record.shard, segment.clone()));
        let missed = loop {
            match node.deletes_after(record.shard, record.deletes_through).await {
                Ok(missed) => break missed,
                Err(error) => {
                    assert_eq!(error.retry(), redkite_service::Retry::Yes, "{error}");
                    tokio::task::yield_now().await;
                }
            }
        };
        for delete in missed.deletes.iter().filter(|d| d.partition.is_none_or(|p| p == record.partition)) {
            segment.delete(&delete.keys, delete.timestamp).unwrap();
        }
        for delta in ground.checkpoint(record.shard).await.deltas {
            segment.apply_deltas(&read_deltas(&*ground.store, &delta.path).await.unwrap()).unwrap();
        }
        self.segments.lock().insert(record.id, (record.shard, segment));
    }

    /// Forgets everything, as after a restart.
    pub(crate) fn clear(&self) {
        self.segments.lock().clear();
    }
}

#[async_trait]
impl Segments for Holder {
    async fn search(&self, search: SegmentSearch) -> Result<SearchPart> {
        self.answer_read().await?;
        let request = &search.request;
        let task = SearchTask::of(request, self.schema(), search.read_timestamp);
        let parts = self.find(&search.segments)?.iter().map(|s| s.search(&task).unwrap()).collect();
        Ok(merge_search(parts, request.metric.larger_is_nearer(), 0, request.limit).unwrap())
    }

    async fn retrieve(&self, retrieve: SegmentRetrieve) -> Result<RetrievePart> {
        self.answer_read().await?;
        let task = RetrieveTask::of(&retrieve.request, self.schema(), retrieve.read_timestamp);
        let parts = self.find(&retrieve.segments)?.iter().map(|s| s.retrieve(&task).unwrap()).collect();
        Ok(merge_retrieve(parts, 0, retrieve.request.limit).unwrap())
    }

    async fn count(&self, retrieve: SegmentRetrieve) -> Result<u64> {
        self.answer_read().await?;
        let task = RetrieveTask::of(&retrieve.request, self.schema(), retrieve.read_timestamp);
        Ok(self.find(&retrieve.segments)?.iter().map(|s| s.count(&task).unwrap()).sum())
    }

    async fn usage(&self) -> Result<NodeUsage> {
        unreachable!("leaders do not ask")
    }

    async fn apply_deletes(&self, shard: ShardId, batch: DeleteBatch) -> Result<()> {
        self.answer().await?;
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::Unavailable { reason: "deaf on purpose".to_owned() });
        }
        // A segment goes from one to the other, so in this order.
        let mut all = self.loading.lock().clone();
        all.extend(self.segments.lock().values().cloned());
        for (_, segment) in all.iter().filter(|(of, _)| *of == shard) {
            for delete in &batch.deletes {
                if delete.partition.is_none_or(|partition| partition == segment.partition()) {
                    segment.delete(&delete.keys, delete.timestamp).unwrap();
                }
            }
        }
        Ok(())
    }
}

/// Finds the query nodes.
pub(crate) struct Directory(pub(crate) Arc<Holder>, pub(crate) Arc<Holder>);

#[async_trait]
impl SegmentsDirectory for Directory {
    async fn node(&self, node: NodeId) -> Result<Arc<dyn Segments>> {
        match node {
            QUERY_NODE => Ok(self.0.clone()),
            OTHER_QUERY_NODE => Ok(self.1.clone()),
            _ => Err(Error::NodeNotFound { node: node.0 }),
        }
    }
}

/// What nodes stand on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) view: MetadataView,
    pub(crate) store: Arc<FullableStore>,
    /// The query node of the second replica.
    pub(crate) other: Arc<Holder>,
    /// Query nodes that have a session.
    pub(crate) alive: Arc<watch::Sender<Arc<BTreeSet<NodeId>>>>,
}

impl Ground {
    pub(crate) async fn put<R: Record>(&self, key: &R::Key, record: &R) {
        let revision = self.kv.put(R::key(key), record.encode().into()).await.unwrap();
        self.view.wait_for(revision).await;
    }

    pub(crate) async fn delete<R: Record>(&self, key: &R::Key) {
        let revision = self.kv.delete(R::key(key)).await.unwrap();
        self.view.wait_for(revision).await;
    }

    pub(crate) async fn get<R: Record>(&self, key: &R::Key) -> Option<R> {
        let entry = self.kv.get(&R::key(key)).await.unwrap()?;
        Some(R::decode(&entry.value).unwrap())
    }

    pub(crate) async fn checkpoint(&self, shard: ShardId) -> redkite_catalog::ShardCheckpoint {
        self.get(&shard).await.unwrap_or_default()
    }

    pub(crate) fn flushed(&self, shard: ShardId) -> Vec<SegmentRecord> {
        self.view.read(|metadata| {
            let of = metadata.segments_of(shard.collection).filter(|segment| segment.shard == shard);
            of.filter(|segment| segment.is_flushed()).map(|segment| (*segment.record).clone()).collect()
        })
    }

    /// Does once what a query coordinator and a query node do: hold, load, serve. Whether anything was new.
    pub(crate) async fn publish(&self, holder: &Holder, node: &StreamingNode, shard: ShardId) -> bool {
        self.publish_at((holder, QUERY_NODE), ReplicaId(0), node, shard).await
    }

    /// The same for the second replica.
    pub(crate) async fn publish_other(&self, node: &StreamingNode, shard: ShardId) -> bool {
        self.publish_at((&self.other, OTHER_QUERY_NODE), ReplicaId(1), node, shard).await
    }

    async fn publish_at(
        &self,
        (holder, query_node): (&Holder, NodeId),
        replica: ReplicaId,
        node: &StreamingNode,
        shard: ShardId,
    ) -> bool {
        let flushed = self.flushed(shard);
        let view: ServingView = self.get(&(shard, replica)).await.unwrap_or_default();
        let served: BTreeSet<SegmentId> = view.segments.iter().map(|segment| segment.segment).collect();
        let new: Vec<_> = flushed.iter().filter(|record| !served.contains(&record.id)).collect();
        if new.is_empty() && !view.segments.is_empty() {
            return false;
        }
        let hold = HoldRecord { segments: flushed.iter().map(|record| record.id).collect() };
        self.put(&(query_node, shard.collection), &hold).await;
        for record in &new {
            holder.load(node, self, record).await;
        }
        let segment = |record: &SegmentRecord| ViewSegment {
            segment: record.id,
            partition: record.partition,
            node: query_node,
        };
        let segments = flushed.iter().map(segment).collect();
        self.put(&(shard, replica), &ServingView { version: view.version + 1, segments }).await;
        !new.is_empty()
    }
}

/// A store whose disk can be full.
#[derive(Debug)]
pub(crate) struct FullableStore {
    inner: LocalStore,
    pub(crate) full: AtomicBool,
}

impl FullableStore {
    pub(crate) fn new(inner: LocalStore) -> Self {
        Self { inner, full: AtomicBool::new(false) }
    }

    fn check(&self, path: &str) -> redkite_storage::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(redkite_storage::Error::Io { operation: "write", path: path.to_owned(), source });
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for FullableStore {
    async fn put(&self, path: &str, bytes: bytes::Bytes) -> redkite_storage::Result<()> {
        self.check(path)?;
        self.inner.put(path, bytes).await
    }

    async fn create(&self, path: &str, bytes: bytes::Bytes) -> redkite_storage::Result<()> {
        self.check(path)?;
        self.inner.create(path, bytes).await
    }

    async fn get(&self, path: &str) -> redkite_storage::Result<bytes::Bytes> {
        self.inner.get(path).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> redkite_storage::Result<bytes::Bytes> {
        self.inner.get_range(path, range).await
    }

    async fn list(&self, prefix: &str) -> redkite_storage::Result<Vec<ObjectEntry>> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &str) -> redkite_storage::Result<()> {
        self.inner.delete(path).await
    }

    async fn local(&self, path: &str) -> redkite_storage::Result<LocalObject> {
        self.inner.local(path).await
    }

    async fn writer(&self, path: &str) -> redkite_storage::Result<ObjectWriter> {
        self.check(path)?;
        self.inner.writer(path).await
    }

    async fn publish(&self, writer: ObjectWriter) -> redkite_storage::Result<u64> {
        self.check(writer.object())?;
        self.inner.publish(writer).await
    }
}
