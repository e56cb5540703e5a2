//! When has everything written before a flush become files?
//!
//! A flush is begun at every shard and finishes on its own; clients ask until it has. Each shard says
//! up to which timestamp it flushes; the client gets one timestamp for all of them, and the proxy
//! remembers what it stands for. A proxy that does not (another one began the flush) looks at the
//! segments that the client names.

use std::collections::{BTreeSet, HashMap, VecDeque};

use futures::future::{BoxFuture, try_join_all};
use parking_lot::Mutex;
use redkite_catalog::{CollectionRecord, Metadata};
use redkite_proto::common::Status;
use redkite_proto::milvus::{FlushRequest, FlushResponse, GetFlushStateRequest, GetFlushStateResponse};
use redkite_proto::schema::LongArray;
use redkite_service::{Error, Flushed, Shard};
use redkite_types::{CollectionId, SegmentId, ShardId, Timestamp};

use crate::leader::{ShardCall, of_writes};
use crate::{Proxy, RequestContext};

/// Flushes remembered; clients ask within seconds.
const REMEMBERED: usize = 1024;

/// The flushes begun by this proxy: which shard must reach which timestamp.
#[derive(Debug, Default)]
pub(crate) struct Flushes(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    goals: HashMap<(CollectionId, Timestamp), Vec<(ShardId, Timestamp)>>,
    order: VecDeque<(CollectionId, Timestamp)>,
}

impl Flushes {
    pub(crate) fn remember(
        &self,
        collection: CollectionId,
        flush: Timestamp,
        goals: Vec<(ShardId, Timestamp)>,
    ) {
        let mut remembered = self.0.lock();
        if remembered.goals.insert((collection, flush), goals).is_none() {
            remembered.order.push_back((collection, flush));
        }
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.goals.remove(&oldest);
        }
    }

    pub(crate) fn goals(
        &self,
        collection: CollectionId,
        flush: Timestamp,
    ) -> Option<Vec<(ShardId, Timestamp)>> {
        self.0.lock().goals.get(&(collection, flush)).cloned()
    }
}

struct Flush;

impl ShardCall for Flush {
    type Answer = Flushed;

    fn call<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> BoxFuture<'a, Result<Flushed, Error>> {
        leader.flush(shard)
    }

    /// What a flush has sealed, the next one does not seal again.
    fn is_repeated(&self, error: &Error) -> bool {
        of_writes(error)
    }
}

impl Proxy {
    /// Begins to flush collections.
    ///
    /// # Errors
    /// If there is no such collection, or a shard has no leader.
    pub async fn flush(
        &self,
        context: RequestContext,
        request: FlushRequest,
    ) -> Result<FlushResponse, Error> {
        let mut response = FlushResponse {
            status: Some(Status::default()),
            db_name: request.db_name.clone(),
            ..FlushResponse::default()
        };
        for name in request.collection_names {
            let collection = self.collection(&context, &request.db_name, &name).await?;
            let begun = self.begin_flush(&collection).await?;
            let segments = begun.iter().flat_map(|(_, flushed)| &flushed.segments).map(|id| id.0).collect();
            let flush = begun.iter().map(|(_, flushed)| flushed.timestamp).max().unwrap_or_default();
            let goals = begun.iter().map(|(shard, flushed)| (*shard, flushed.timestamp)).collect();
            self.flushes.remember(collection.id, flush, goals);
            let sealed = i64::try_from(flush.physical() / 1000).unwrap_or(i64::MAX);
            response.coll_seg_i_ds.insert(name.clone(), LongArray { data: segments });
            response.flush_coll_seg_i_ds.insert(name.clone(), LongArray::default());
            response.coll_seal_times.insert(name.clone(), sealed);
            response.coll_flush_ts.insert(name, flush.0);
        }
        Ok(response)
    }

    pub(crate) async fn begin_flush(
        &self,
        collection: &CollectionRecord,
    ) -> Result<Vec<(ShardId, Flushed)>, Error> {
        let begin = async |shard| Ok((shard, self.ask_leader(shard, &Flush).await?));
        try_join_all(collection.shard_ids().map(begin)).await
    }

    /// Whether a flush is done.
    ///
    /// # Errors
    /// If there is no such collection.
    pub async fn get_flush_state(
        &self,
        context: RequestContext,
        request: GetFlushStateRequest,
    ) -> Result<GetFlushStateResponse, Error> {
        let segments: Vec<SegmentId> = request.segment_i_ds.into_iter().map(SegmentId).collect();
        let flush = Timestamp(request.flush_ts);
        let flushed = if request.collection_name.is_empty() {
            // Clients older than flush timestamps name segments only.
            self.parts.metadata.read(|metadata| all_recorded(metadata, &segments))
        } else {
            let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
            let goals = self.flushes.goals(collection.id, flush);
            self.parts.metadata.read(|metadata| match goals {
                Some(goals) => goals.iter().all(|(shard, goal)| reached(metadata, *shard, *goal)),
                None if segments.is_empty() => {
                    collection.shard_ids().all(|shard| reached(metadata, shard, flush))
                }
                None => all_recorded(metadata, &segments),
            })
        };
        Ok(GetFlushStateResponse { status: Some(Status::default()), flushed })
    }
}

/// A shard without a checkpoint has never been written to, or not flushed yet.
pub(crate) fn reached(metadata: &Metadata, shard: ShardId, goal: Timestamp) -> bool {
    metadata.checkpoints.get(&shard).map_or(Timestamp::ZERO, |checkpoint| checkpoint.timestamp) >= goal
}

/// Whether all of the segments have records, in whatever collection.
fn all_recorded(metadata: &Metadata, segments: &[SegmentId]) -> bool {
    let mut missing: BTreeSet<SegmentId> = segments.iter().copied().collect();
    metadata.segments.keys().for_each(|(_, id)| {
        missing.remove(id);
    });
    missing.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_flushes_are_forgotten() {
        let flushes = Flushes::default();
        let collection = CollectionId(1);
        for flush in 0..=REMEMBERED as u64 {
            flushes.remember(collection, Timestamp(flush), Vec::new());
        }
        assert!(flushes.goals(collection, Timestamp(0)).is_none());
        assert!(flushes.goals(collection, Timestamp(1)).is_some());
        assert_eq!(flushes.0.lock().goals.len(), REMEMBERED);
    }
}
