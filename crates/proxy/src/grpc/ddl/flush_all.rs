//! Flush of everything.

#![allow(deprecated, reason = "clients of today read these fields")]

use std::sync::Arc;

use redkite_catalog::{CollectionRecord, Metadata};
use redkite_proto::milvus::{
    FlushAllRequest, FlushAllResponse, FlushAllResult, FlushAllState, FlushAllTarget, FlushCollectionResult,
    GetFlushAllStateRequest, GetFlushAllStateResponse,
};
use redkite_proto::schema::LongArray;
use redkite_service::Error;
use redkite_types::{ShardId, Timestamp};

use crate::flush::reached;
use crate::{Proxy, RequestContext};

/// A collection and the name of its database.
type Named = (String, Arc<CollectionRecord>);

impl Proxy {
    pub(in crate::grpc) async fn flush_all(
        &self,
        context: RequestContext,
        request: FlushAllRequest,
    ) -> Result<FlushAllResponse, Error> {
        self.check_databases(&context, &request.db_name, &request.flush_targets).await?;
        let mut begun = Vec::new();
        for (database, collection) in self.meant(&request.db_name, &request.flush_targets) {
            // Flushes of thousands of collections one after another: shards work meanwhile.
            let flushes = self.begin_flush(&collection).await?;
            begun.push((database, collection, flushes));
        }
        let timestamps =
            begun.iter().flat_map(|(_, _, flushes)| flushes).map(|(_, flushed)| flushed.timestamp);
        let flush = timestamps.max().unwrap_or_else(|| self.parts.clock.tick());
        let mut response = FlushAllResponse { flush_all_ts: flush.0, ..FlushAllResponse::default() };
        for (database, collection, flushes) in begun {
            let goals = flushes.iter().map(|(shard, flushed)| (*shard, flushed.timestamp)).collect();
            self.flushes.remember(collection.id, flush, goals);
            let segments = flushes.iter().flat_map(|(_, flushed)| &flushed.segments).map(|id| id.0).collect();
            let result = FlushCollectionResult {
                collection_name: collection.name.clone(),
                segment_ids: Some(LongArray { data: segments }),
                flush_segment_ids: Some(LongArray::default()),
                seal_time: i64::try_from(flush.physical() / 1000).unwrap_or(i64::MAX),
                flush_ts: flush.0,
                ..FlushCollectionResult::default()
            };
            match response.flush_results.iter_mut().find(|results| results.db_name == database) {
                Some(results) => results.collection_results.push(result),
                None => response
                    .flush_results
                    .push(FlushAllResult { db_name: database, collection_results: vec![result] }),
            }
        }
        Ok(response)
    }

    pub(in crate::grpc) async fn get_flush_all_state(
        &self,
        context: RequestContext,
        request: GetFlushAllStateRequest,
    ) -> Result<GetFlushAllStateResponse, Error> {
        self.check_databases(&context, &request.db_name, &request.flush_targets).await?;
        let flush = Timestamp(request.flush_all_ts);
        let mut response = GetFlushAllStateResponse { flushed: true, ..GetFlushAllStateResponse::default() };
        for (database, collection) in self.meant(&request.db_name, &request.flush_targets) {
            let goals = self.flushes.goals(collection.id, flush);
            let flushed =
                self.parts.metadata.read(|metadata| is_flushed(metadata, &collection, flush, goals));
            response.flushed &= flushed;
            let states = match response.flush_states.iter_mut().position(|state| state.db_name == database) {
                Some(position) => &mut response.flush_states[position],
                None => {
                    let state = FlushAllState { db_name: database, ..FlushAllState::default() };
                    response.flush_states.push(state);
                    response.flush_states.last_mut().expect("just pushed")
                }
            };
            states.collection_flush_states.insert(collection.name.clone(), flushed);
        }
        Ok(response)
    }

    /// A misspelt database must not look like one that is flushed.
    async fn check_databases(
        &self,
        context: &RequestContext,
        database: &str,
        targets: &[FlushAllTarget],
    ) -> Result<(), Error> {
        let named = targets.iter().map(|target| target.db_name.as_str()).chain([database]);
        for name in named.filter(|name| !name.is_empty()) {
            self.database(context, name).await?;
        }
        Ok(())
    }

    /// The collections of the targets; without targets those of the database, or all there are.
    fn meant(&self, database: &str, targets: &[FlushAllTarget]) -> Vec<Named> {
        self.parts.metadata.read(|metadata| {
            let collections = metadata.collections.values().filter_map(|collection| {
                let name = &metadata.databases.get(&collection.database)?.name;
                is_meant(name, &collection.name, database, targets)
                    .then(|| (name.clone(), collection.record.clone()))
            });
            collections.collect()
        })
    }
}

fn is_meant(database: &str, collection: &str, wanted: &str, targets: &[FlushAllTarget]) -> bool {
    if targets.is_empty() {
        return wanted.is_empty() || wanted == database;
    }
    targets.iter().any(|target| {
        target.db_name == database
            && (target.collection_names.is_empty()
                || target.collection_names.iter().any(|name| name == collection))
    })
}

fn is_flushed(
    metadata: &Metadata,
    collection: &CollectionRecord,
    flush: Timestamp,
    goals: Option<Vec<(ShardId, Timestamp)>>,
) -> bool {
    match goals {
        Some(goals) => goals.iter().all(|(shard, goal)| reached(metadata, *shard, *goal)),
        // Another proxy began the flush, or the collection is younger than it.
        None => {
            collection.created_at > flush
                || collection.shard_ids().all(|shard| reached(metadata, shard, flush))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_choose_collections() {
        let target = |db_name: &str, names: &[&str]| FlushAllTarget {
            db_name: db_name.to_owned(),
            collection_names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert!(is_meant("a", "c", "", &[]));
        assert!(is_meant("a", "c", "a", &[]));
        assert!(!is_meant("a", "c", "b", &[]));
        assert!(is_meant("a", "c", "b", &[target("a", &[])]));
        assert!(is_meant("a", "c", "", &[target("b", &[]), target("a", &["c"])]));
        assert!(!is_meant("a", "c", "", &[target("a", &["d"])]));
    }
}
