//! How does a read see every write up to its read point, each row once?
//!
//! Under one short lock it takes the read point, the rows in memory and the route. It searches the
//! memory itself, asks the query nodes of one replica's view at the same time, and merges. If a node fails,
//! another replica is asked at once. If there is none, or a node does not hold a segment any more, or not
//! yet, the view is about to change: the read waits for that and begins anew; the client sees an answer,
//! not the move.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, join, select, try_join_all};
use parking_lot::Mutex;
use rayon::prelude::*;
use redkite_catalog::CollectionRecord;
use redkite_query::reduce::{RetrievePart, SearchPart, merge_retrieve, merge_search};
use redkite_segment::{GrowingSegment, RetrieveTask, SearchTask, SegmentReader};
use redkite_service::{
    Consistency, Error as ServiceError, ReadAck, Result, RetrieveRequest, Retry, SearchRequest,
    SegmentRetrieve, SegmentSearch, Segments,
};
use redkite_types::{NodeId, PartitionId, ReplicaId, SegmentId, ShardId, Timestamp};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::ShardLeader;
use super::health::{Health, Reading};
use super::route::{ReplicaRoute, Route};
use super::state::State;
use crate::error::{of_reduce, of_segment};

/// How long a read waits for news of a view that did not work before it tries again all the same.
const PAUSE: Duration = Duration::from_millis(20);

/// What a read asks of the leader.
pub(super) struct Scope<'a> {
    schema_version: u32,
    partitions: &'a [PartitionId],
    consistency: Consistency,
    ignore_growing: bool,
}

/// Where one attempt of a read finds its rows.
#[derive(Debug)]
pub(super) struct Sources {
    read: Timestamp,
    collection: Arc<CollectionRecord>,
    rows: Vec<Arc<GrowingSegment>>,
    nodes: Vec<(NodeId, Vec<SegmentId>)>,
    /// Whose nodes these are.
    replica: ReplicaId,
    /// Whether another replica could answer as well.
    spare: bool,
}

/// Whether a read can begin.
enum Choice {
    Ready(Sources),
    /// Not at present: the view or a query node lags behind.
    NotYet(ServiceError),
    /// Not at all, as far as is known.
    Refused(ServiceError),
}

/// One kind of read.
#[async_trait]
pub(super) trait Read: Clone + Send + Sync + 'static {
    type Part: Send + 'static;

    fn scope(&self) -> Scope<'_>;
    /// Reads rows in memory; blocks while it computes.
    fn local(
        &self,
        rows: &GrowingSegment,
        collection: &CollectionRecord,
        read: Timestamp,
    ) -> redkite_segment::Result<Self::Part>;
    /// Reads sealed segments of a node.
    async fn remote(
        &self,
        node: &dyn Segments,
        shard: ShardId,
        segments: Vec<SegmentId>,
        read: Timestamp,
    ) -> Result<Self::Part>;
    /// Merges what was found; never called with one part.
    fn merge(&self, parts: Vec<Self::Part>, collection: &CollectionRecord) -> Result<Self::Part>;
}

impl ShardLeader {
    pub(crate) async fn search(self: &Arc<Self>, request: Arc<SearchRequest>) -> Result<ReadAck<SearchPart>> {
        self.read(Search(request)).await
    }

    pub(crate) async fn retrieve(
        self: &Arc<Self>,
        request: Arc<RetrieveRequest>,
    ) -> Result<ReadAck<RetrievePart>> {
        self.read(Retrieve(request)).await
    }

    pub(crate) async fn count(self: &Arc<Self>, request: Arc<RetrieveRequest>) -> Result<ReadAck<u64>> {
        self.read(Count(request)).await
    }

    async fn read<R: Read>(self: &Arc<Self>, read: R) -> Result<ReadAck<R::Part>> {
        let deadline = Instant::now() + self.node.settings.read_patience;
        self.guarantee(read.scope().consistency, deadline).await?;
        let mut tried = BTreeSet::new();
        loop {
            let mut changes = self.changes.subscribe();
            let sources = self.sources(&read.scope(), &tried, deadline).await?;
            let (replica, spare) = (sources.replica, sources.spare);
            match self.attempt(&read, sources, &tried).await {
                Ok(ack) => return Ok(ack),
                // A read may be repeated whatever became of it.
                Err(error) if error.retry() != Retry::No && Instant::now() < deadline => {
                    metrics::counter!("redkite_shard_reads_repeated_total").increment(1);
                    tried.insert(replica);
                    if !spare {
                        // News or not, the next attempt may find a restarted node.
                        let _ = timeout_at(deadline.min(Instant::now() + PAUSE), changes.changed()).await;
                        tried.clear();
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks one replica and, if that takes long and there is another, that one too.
    async fn attempt<R: Read>(
        self: &Arc<Self>,
        read: &R,
        sources: Sources,
        tried: &BTreeSet<ReplicaId>,
    ) -> Result<ReadAck<R::Part>> {
        let replica = sources.replica;
        let mut tried = tried.clone();
        tried.insert(replica);
        let silent = Mutex::new(BTreeSet::new());
        let mut first = pin!(self.read_sources(read, sources, &silent));
        let others = loop {
            if let Ok(done) = timeout(self.node.settings.hedge_after, &mut first).await {
                return done;
            }
            let late = silent.lock().clone();
            match self.choose(&read.scope(), &tried) {
                Choice::Ready(others) if others.replica != replica && !late.is_empty() => {
                    late.into_iter().for_each(|node| self.suspect(node, &"no answer yet"));
                    break others;
                }
                // There may be another replica later.
                _ => {}
            }
        };
        metrics::counter!("redkite_shard_reads_hedged_total").increment(1);
        let unheard = Mutex::default();
        let second = pin!(self.read_sources(read, others, &unheard));
        match select(first, second).await {
            Either::Left((Ok(ack), _)) | Either::Right((Ok(ack), _)) => Ok(ack),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// Reads everything. `silent` is kept to the nodes that were asked and have not answered.
    async fn read_sources<R: Read>(
        self: &Arc<Self>,
        read: &R,
        sources: Sources,
        silent: &Mutex<BTreeSet<NodeId>>,
    ) -> Result<ReadAck<R::Part>> {
        let Sources { read: read_timestamp, collection, rows, nodes, replica, spare: _ } = sources;
        let _reading = Reading::begin(&self.health, replica);
        silent.lock().extend(nodes.iter().map(|(node, _)| *node));
        let remote = try_join_all(nodes.into_iter().map(|(node, segments)| async move {
            let part = self.read_node(read, node, segments, read_timestamp).await;
            silent.lock().remove(&node);
            if let Err(error) = part.as_ref()
                && error.retry() != Retry::No
                && !matches!(error, ServiceError::SegmentNotLoaded { .. })
            {
                self.suspect(node, error);
            }
            part
        }));
        let (local, remote) =
            join(self.read_memory(read, rows, collection.clone(), read_timestamp), remote).await;
        let mut parts = remote?;
        parts.extend(local?);
        let part = match parts.len() {
            1 => parts.remove(0),
            _ => self.cpu.of(|| read.merge(parts, &collection))?,
        };
        Ok(ReadAck { part, read_timestamp })
    }

    async fn read_node<R: Read>(
        &self,
        read: &R,
        node: NodeId,
        segments: Vec<SegmentId>,
        at: Timestamp,
    ) -> Result<R::Part> {
        let node = self.node.segments.node(node).await?;
        read.remote(&*node, self.id, segments, at).await
    }

    async fn read_memory<R: Read>(
        self: &Arc<Self>,
        read: &R,
        rows: Vec<Arc<GrowingSegment>>,
        collection: Arc<CollectionRecord>,
        at: Timestamp,
    ) -> Result<Vec<R::Part>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (read, shard) = (read.clone(), self.clone());
        let work = move || -> redkite_segment::Result<Vec<R::Part>> {
            let local = |rows: &GrowingSegment| shard.cpu.of(|| read.local(rows, &collection, at));
            match &rows[..] {
                [only] => Ok(vec![local(only)?]),
                rows => rows.par_iter().map(|rows| local(rows)).collect(),
            }
        };
        let found = self.node.cpu.run(work).await.map_err(ServiceError::internal)?;
        found.map_err(of_segment)
    }

    /// Waits until a read may begin that asks for such consistency.
    async fn guarantee(&self, consistency: Consistency, deadline: Instant) -> Result<()> {
        let (Consistency::AtLeast(wanted) | Consistency::Snapshot(wanted)) = consistency else {
            return Ok(());
        };
        let late =
            || ServiceError::Timeout { what: format!("guarantee timestamp {wanted} lies in the future") };
        loop {
            let ahead = wanted.physical().saturating_sub(self.node.clock.now_millis());
            if ahead == 0 {
                break;
            }
            let ahead = Duration::from_millis(ahead);
            if Instant::now() + ahead > deadline {
                return Err(late());
            }
            sleep(ahead).await;
        }
        // From now on every write is stamped later; those stamped before must be settled.
        self.clock.observe(wanted);
        let stamped = self.state.lock().stamped.min(wanted);
        self.wait_until(deadline, |state| (state.read >= stamped).then_some(())).await.ok_or_else(late)
    }

    fn choose(&self, scope: &Scope<'_>, tried: &BTreeSet<ReplicaId>) -> Choice {
        let state = self.state.lock();
        choose(&state, &self.health.lock(), scope, tried)
    }

    /// Where to read; waits while that is about to change.
    async fn sources(
        &self,
        scope: &Scope<'_>,
        tried: &BTreeSet<ReplicaId>,
        deadline: Instant,
    ) -> Result<Sources> {
        let mut confirmed = false;
        loop {
            let mut changes = self.changes.subscribe();
            match self.choose(scope, tried) {
                Choice::Ready(sources) => return Ok(sources),
                Choice::Refused(error) if confirmed => return Err(error),
                Choice::Refused(_) => {
                    self.refresh_confirmed().await?;
                    confirmed = true;
                }
                Choice::NotYet(error) => {
                    timeout_at(deadline, changes.changed())
                        .await
                        .map_err(|_| error)?
                        .map_err(|_| self.stopped())?;
                }
            }
        }
    }
}

fn choose(state: &State, health: &Health, scope: &Scope<'_>, tried: &BTreeSet<ReplicaId>) -> Choice {
    let route = &state.route;
    let Some(collection) = &route.collection else {
        return Choice::Refused(ServiceError::CollectionNotFound {
            database: String::new(),
            collection: "dropped".to_owned(),
        });
    };
    let name = || collection.name.clone();
    let Some(load) = &route.load else {
        return Choice::Refused(ServiceError::CollectionNotLoaded { collection: name() });
    };
    if scope.schema_version > collection.schema.version {
        return Choice::Refused(ServiceError::SchemaMismatch { collection: name() });
    }
    let partitions = match partitions(route, collection, scope) {
        Ok(partitions) => partitions,
        Err(error) => return Choice::Refused(error),
    };
    let complete =
        |replica: &&ReplicaRoute| partitions.iter().all(|wanted| !replica.missing.contains(wanted));
    let replicas: Vec<_> = route.replicas.iter().filter(complete).collect();
    if replicas.is_empty() {
        let loading = partitions.iter().any(|partition| {
            !load.loaded.contains(partition) && route.replicas.iter().all(|r| r.missing.contains(partition))
        });
        let error = ServiceError::CollectionNotFullyLoaded { collection: name() };
        return if loading { Choice::Refused(error) } else { Choice::NotYet(error) };
    }
    let read = read_point(state, scope);
    // A node that has not all deletes would show rows that are gone.
    let fed = |replica: &&ReplicaRoute| replica.asked(&partitions).all(|node| state.feeds.has(node, read));
    let mut ready: Vec<_> = replicas.into_iter().filter(fed).collect();
    let doubtful = |replica: &ReplicaRoute| replica.asked(&partitions).any(|node| health.is_suspect(node));
    ready.sort_by_key(|replica| (tried.contains(&replica.id), doubtful(replica), health.rank(replica.id)));
    let Some(replica) = ready.first() else {
        return Choice::NotYet(ServiceError::Unavailable {
            reason: format!("query nodes of collection {} are gone or lack deletes", name()),
        });
    };
    let spare = ready.get(1).is_some_and(|other| !tried.contains(&other.id) && !doubtful(other));
    let mut sources = gather(state, replica, &partitions, scope, collection.record.clone());
    sources.spare = spare;
    Choice::Ready(sources)
}

fn read_point(state: &State, scope: &Scope<'_>) -> Timestamp {
    match scope.consistency {
        Consistency::Snapshot(wanted) => wanted.min(state.read),
        Consistency::Strong | Consistency::AtLeast(_) | Consistency::Eventual => state.read,
    }
}

fn partitions(
    route: &Route,
    collection: &CollectionRecord,
    scope: &Scope<'_>,
) -> Result<BTreeSet<PartitionId>> {
    if scope.partitions.is_empty() {
        let all = collection.partitions.iter().map(|partition| partition.id);
        return Ok(all.filter(|partition| route.wants(*partition)).collect());
    }
    for partition in scope.partitions {
        let Some(record) = collection.partition_by_id(*partition) else {
            return Err(ServiceError::PartitionNotFound { partition: partition.to_string() });
        };
        if !route.wants(*partition) {
            return Err(ServiceError::PartitionNotLoaded { partition: record.name.clone() });
        }
    }
    Ok(scope.partitions.iter().copied().collect())
}

fn gather(
    state: &State,
    replica: &ReplicaRoute,
    partitions: &BTreeSet<PartitionId>,
    scope: &Scope<'_>,
    collection: Arc<CollectionRecord>,
) -> Sources {
    let sealing = state
        .sealing
        .iter()
        .filter(|sealing| {
            partitions.contains(&sealing.partition) && !replica.superseded.contains(&sealing.id)
        })
        .map(|sealing| &sealing.rows);
    let growing = state
        .growing
        .iter()
        .filter(|(partition, _)| !scope.ignore_growing && partitions.contains(partition))
        .map(|(_, rows)| rows);
    let rows = sealing.chain(growing).filter(|rows| rows.rows() > 0).cloned().collect();
    let mut nodes = Vec::with_capacity(replica.nodes.len());
    for (node, segments) in &replica.nodes {
        let segments = segments.iter().filter(|segment| partitions.contains(&segment.partition));
        let segments: Vec<_> = segments.map(|segment| segment.segment).collect();
        if !segments.is_empty() {
            nodes.push((*node, segments));
        }
    }
    Sources { read: read_point(state, scope), collection, rows, nodes, replica: replica.id, spare: false }
}

#[derive(Clone)]
struct Search(Arc<SearchRequest>);

#[async_trait]
impl Read for Search {
    type Part = SearchPart;

    fn scope(&self) -> Scope<'_> {
        Scope {
            schema_version: self.0.schema_version,
            partitions: &self.0.partitions,
            consistency: self.0.consistency,
            ignore_growing: self.0.ignore_growing,
        }
    }

    fn local(
        &self,
        rows: &GrowingSegment,
        collection: &CollectionRecord,
        read: Timestamp,
    ) -> redkite_segment::Result<SearchPart> {
        rows.search(&SearchTask::of(&self.0, &collection.schema, read))
    }

    async fn remote(
        &self,
        node: &dyn Segments,
        shard: ShardId,
        segments: Vec<SegmentId>,
        read: Timestamp,
    ) -> Result<SearchPart> {
        node.search(SegmentSearch { shard, segments, read_timestamp: read, request: self.0.clone() }).await
    }

    fn merge(&self, parts: Vec<SearchPart>, collection: &CollectionRecord) -> Result<SearchPart> {
        if parts.is_empty() {
            let nq =
                u32::try_from(self.0.queries.nq()).map_err(|_| ServiceError::invalid("too many queries"))?;
            return Ok(SearchPart::empty(nq, collection.schema.primary_key().data_type));
        }
        merge_search(parts, self.0.metric.larger_is_nearer(), 0, self.0.limit)
            .map_err(|error| of_reduce(&error))
    }
}

fn retrieve_scope(request: &RetrieveRequest) -> Scope<'_> {
    Scope {
        schema_version: request.schema_version,
        partitions: &request.partitions,
        consistency: request.consistency,
        ignore_growing: request.ignore_growing,
    }
}

#[derive(Clone)]
struct Retrieve(Arc<RetrieveRequest>);

#[async_trait]
impl Read for Retrieve {
    type Part = RetrievePart;

    fn scope(&self) -> Scope<'_> {
        retrieve_scope(&self.0)
    }

    fn local(
        &self,
        rows: &GrowingSegment,
        collection: &CollectionRecord,
        read: Timestamp,
    ) -> redkite_segment::Result<RetrievePart> {
        rows.retrieve(&RetrieveTask::of(&self.0, &collection.schema, read))
    }

    async fn remote(
        &self,
        node: &dyn Segments,
        shard: ShardId,
        segments: Vec<SegmentId>,
        read: Timestamp,
    ) -> Result<RetrievePart> {
        node.retrieve(SegmentRetrieve { shard, segments, read_timestamp: read, request: self.0.clone() })
            .await
    }

    fn merge(&self, parts: Vec<RetrievePart>, collection: &CollectionRecord) -> Result<RetrievePart> {
        if parts.is_empty() {
            return Ok(RetrievePart::empty(collection.schema.primary_key().data_type));
        }
        merge_retrieve(parts, 0, self.0.limit).map_err(|error| of_reduce(&error))
    }
}

#[derive(Clone)]
struct Count(Arc<RetrieveRequest>);

#[async_trait]
impl Read for Count {
    type Part = u64;

    fn scope(&self) -> Scope<'_> {
        retrieve_scope(&self.0)
    }

    fn local(
        &self,
        rows: &GrowingSegment,
        collection: &CollectionRecord,
        read: Timestamp,
    ) -> redkite_segment::Result<u64> {
        rows.count(&RetrieveTask::of(&self.0, &collection.schema, read))
    }

    async fn remote(
        &self,
        node: &dyn Segments,
        shard: ShardId,
        segments: Vec<SegmentId>,
        read: Timestamp,
    ) -> Result<u64> {
        node.count(SegmentRetrieve { shard, segments, read_timestamp: read, request: self.0.clone() }).await
    }

    fn merge(&self, parts: Vec<u64>, _: &CollectionRecord) -> Result<u64> {
        Ok(parts.into_iter().sum())
    }
}
