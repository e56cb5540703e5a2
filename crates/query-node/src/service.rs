//! Reads of held segments, and the deletes they take.

use std::sync::Arc;

use async_trait::async_trait;
use redkite_catalog::CollectionRecord;
use redkite_query::reduce::{RetrievePart, SearchPart, merge_retrieve, merge_search};
use redkite_segment::{RetrieveTask, SearchTask, SegmentReader};
use redkite_service::{
    DeleteBatch, Error as ServiceError, NodeUsage, SegmentRetrieve, SegmentSearch, Segments,
};
use redkite_types::{CollectionId, SegmentId, ShardId};
use tracing::error;

use crate::Environment;
use crate::error::{Error, Result};
use crate::holder::{Held, Holder, Slot};
use crate::load::apply_missed;
use crate::reconcile::{Reconciler, wanted};
use crate::usage;

/// A query node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryNode {
    environment: Environment,
    holder: Arc<Holder>,
}

impl QueryNode {
    /// Starts following the desired placement, until the environment's tasks stop.
    #[must_use]
    pub fn start(environment: Environment) -> Self {
        let holder = Arc::new(Holder::new());
        let reconciler = Reconciler::new(environment.clone(), holder.clone());
        environment.tasks.spawn("placement-follower", |stopping| reconciler.run(stopping));
        Self { environment, holder }
    }

    /// Segments that cannot be opened, each with the reason.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let slots = self.holder.slots().into_iter();
        slots
            .filter_map(|(segment, _, slot)| match slot {
                Slot::Failed(reason) | Slot::Damaged(reason) => Some(format!("segment {segment}: {reason}")),
                Slot::Opening | Slot::Ready(_) => None,
            })
            .collect()
    }

    async fn held(&self, segments: &[SegmentId]) -> Result<Vec<Arc<Held>>> {
        let coming = |segment| wanted(&self.environment).contains_key(&segment);
        Ok(self.holder.ready(segments, self.environment.settings.load_patience, coming).await?)
    }

    fn collection(&self, id: CollectionId) -> Result<Arc<CollectionRecord>> {
        let record = self
            .environment
            .view
            .read(|metadata| metadata.collections.get(&id).map(|entry| entry.record.clone()));
        Ok(record.ok_or_else(|| ServiceError::CollectionNotFound {
            database: String::new(),
            collection: id.to_string(),
        })?)
    }

    /// Runs `read` on every segment on the computing threads.
    async fn each<T: Send + 'static>(
        &self,
        segments: &[SegmentId],
        read: impl Fn(&Held) -> redkite_segment::Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        use rayon::prelude::*;

        let held = self.held(segments).await?;
        let parts = self
            .environment
            .cpu
            .run(move || match held.as_slice() {
                [one] => one.read(&read).map(|part| vec![part]),
                many => many.par_iter().map(|one| one.read(&read)).collect(),
            })
            .await?;
        Ok(parts?)
    }

    async fn search_held(&self, request: SegmentSearch) -> Result<SearchPart> {
        let collection = self.collection(request.request.collection)?;
        let search = request.request;
        let (metric, limit) = (search.metric, search.limit);
        let read_timestamp = request.read_timestamp;
        let mut parts = self
            .each(&request.segments, move |held| {
                held.segment.search(&SearchTask::of(&search, &collection.schema, read_timestamp))
            })
            .await?;
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        Ok(merge_search(parts, metric.larger_is_nearer(), 0, limit)?)
    }

    async fn retrieve_held(&self, request: SegmentRetrieve) -> Result<RetrievePart> {
        let collection = self.collection(request.request.collection)?;
        let (retrieve, read_timestamp) = (request.request, request.read_timestamp);
        let limit = retrieve.limit;
        let mut parts = self
            .each(&request.segments, move |held| {
                held.segment.retrieve(&RetrieveTask::of(&retrieve, &collection.schema, read_timestamp))
            })
            .await?;
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        Ok(merge_retrieve(parts, 0, limit)?)
    }

    async fn count_held(&self, request: SegmentRetrieve) -> Result<u64> {
        let collection = self.collection(request.request.collection)?;
        let (retrieve, read_timestamp) = (request.request, request.read_timestamp);
        let counts = self
            .each(&request.segments, move |held| {
                held.segment.count(&RetrieveTask::of(&retrieve, &collection.schema, read_timestamp))
            })
            .await?;
        Ok(counts.into_iter().sum())
    }

    async fn take_deletes(&self, shard: ShardId, batch: DeleteBatch) -> Result<()> {
        let held = self.holder.fed(shard);
        if held.is_empty() {
            return Ok(());
        }
        if !batch.deletes.is_empty() {
            let (holder, all, deletes) = (self.holder.clone(), held.clone(), batch.deletes);
            // One segment that takes none must not keep the others from being read.
            let apply_all = move || {
                for held in all {
                    if let Err(error) = held.apply(&deletes) {
                        let reason = Error::from(error).chain();
                        error!(segment = %held.segment.id(), reason, "delete not applied, segment not read any more");
                        holder.spoil(&held, reason);
                    }
                }
            };
            self.environment.cpu.run(apply_all).await?;
        }
        for held in held.into_iter().filter(|held| held.spoilt().is_none()) {
            let gap = {
                let mut deletes = held.deletes.lock();
                deletes.add(batch.after, batch.through);
                deletes.gap_when_loaded()
            };
            if let Some(after) = gap {
                apply_missed(&self.environment, &held, after).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Segments for QueryNode {
    async fn search(&self, request: SegmentSearch) -> redkite_service::Result<SearchPart> {
        self.search_held(request).await.map_err(Error::into_service)
    }

    async fn retrieve(&self, request: SegmentRetrieve) -> redkite_service::Result<RetrievePart> {
        self.retrieve_held(request).await.map_err(Error::into_service)
    }

    async fn count(&self, request: SegmentRetrieve) -> redkite_service::Result<u64> {
        self.count_held(request).await.map_err(Error::into_service)
    }

    async fn apply_deletes(&self, shard: ShardId, batch: DeleteBatch) -> redkite_service::Result<()> {
        self.take_deletes(shard, batch).await.map_err(Error::into_service)
    }

    async fn usage(&self) -> redkite_service::Result<NodeUsage> {
        Ok(usage::of(&self.environment, &self.holder))
    }
}
