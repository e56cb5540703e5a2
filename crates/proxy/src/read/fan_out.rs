//! How is one read asked of every shard?

use std::sync::Arc;

use futures::future::{BoxFuture, try_join_all};
use redkite_catalog::CollectionRecord;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_service::{Error, ReadAck, RetrieveRequest, SearchRequest, Shard};
use redkite_types::{ShardId, Timestamp};

use crate::Proxy;
use crate::leader::ShardCall;

/// The parts of all shards, and the latest of their read points.
pub(crate) struct Parts<T> {
    pub(crate) parts: Vec<T>,
    pub(crate) read_timestamp: Timestamp,
}

type Answer<'a, T> = BoxFuture<'a, Result<ReadAck<T>, Error>>;

struct Search(Arc<SearchRequest>);
struct Retrieve(Arc<RetrieveRequest>);
struct Count(Arc<RetrieveRequest>);

impl ShardCall for Search {
    type Answer = ReadAck<SearchPart>;

    fn call<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, SearchPart> {
        leader.search(shard, self.0.clone())
    }
}

impl ShardCall for Retrieve {
    type Answer = ReadAck<RetrievePart>;

    fn call<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, RetrievePart> {
        leader.retrieve(shard, self.0.clone())
    }
}

impl ShardCall for Count {
    type Answer = ReadAck<u64>;

    fn call<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, u64> {
        leader.count(shard, self.0.clone())
    }
}

impl Proxy {
    /// Searches every shard of a collection.
    pub(crate) async fn search_shards(
        &self,
        collection: &CollectionRecord,
        request: Arc<SearchRequest>,
    ) -> Result<Parts<SearchPart>, Error> {
        self.every_shard(collection, &Search(request)).await
    }

    /// Retrieves from every shard of a collection.
    pub(crate) async fn retrieve_shards(
        &self,
        collection: &CollectionRecord,
        request: Arc<RetrieveRequest>,
    ) -> Result<Parts<RetrievePart>, Error> {
        self.every_shard(collection, &Retrieve(request)).await
    }

    /// Counts in every shard of a collection.
    pub(crate) async fn count_shards(
        &self,
        collection: &CollectionRecord,
        request: Arc<RetrieveRequest>,
    ) -> Result<Parts<u64>, Error> {
        self.every_shard(collection, &Count(request)).await
    }

    /// Retrieves from one shard.
    pub(crate) async fn retrieve_shard(
        &self,
        shard: ShardId,
        request: Arc<RetrieveRequest>,
    ) -> Result<ReadAck<RetrievePart>, Error> {
        self.ask_leader(shard, &Retrieve(request)).await
    }

    async fn every_shard<T, R: ShardCall<Answer = ReadAck<T>>>(
        &self,
        collection: &CollectionRecord,
        read: &R,
    ) -> Result<Parts<T>, Error> {
        if collection.shards == 1 {
            let shard = ShardId { collection: collection.id, ordinal: 0 };
            let ReadAck { part, read_timestamp } = self.ask_leader(shard, read).await?;
            return Ok(Parts { parts: vec![part], read_timestamp });
        }
        let answers = try_join_all(collection.shard_ids().map(|shard| self.ask_leader(shard, read))).await?;
        let read_timestamp = answers.iter().map(|answer| answer.read_timestamp).max().unwrap_or_default();
        Ok(Parts { parts: answers.into_iter().map(|answer| answer.part).collect(), read_timestamp })
    }
}
