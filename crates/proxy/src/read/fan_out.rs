//! How is one read asked of every shard, and what if a leader has just moved?

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use redkite_catalog::CollectionRecord;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_runtime::Backoff;
use redkite_service::{Error, ReadAck, RetrieveRequest, SearchRequest, Shard};
use redkite_types::{ShardId, Timestamp};

use crate::Proxy;

/// Repetitions of a read whose shard or segment has moved away meanwhile.
const ATTEMPTS: usize = 8;
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_millis(200);

/// The parts of all shards, and the latest of their read points.
pub(crate) struct Parts<T> {
    pub(crate) parts: Vec<T>,
    pub(crate) read_timestamp: Timestamp,
}

/// A read, the same for every shard.
trait ShardRead: Send + Sync {
    type Part: Send;

    fn ask<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, Self::Part>;
}

type Answer<'a, T> = BoxFuture<'a, Result<ReadAck<T>, Error>>;

struct Search(Arc<SearchRequest>);
struct Retrieve(Arc<RetrieveRequest>);
struct Count(Arc<RetrieveRequest>);

impl ShardRead for Search {
    type Part = SearchPart;

    fn ask<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, SearchPart> {
        leader.search(shard, self.0.clone())
    }
}

impl ShardRead for Retrieve {
    type Part = RetrievePart;

    fn ask<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, RetrievePart> {
        leader.retrieve(shard, self.0.clone())
    }
}

impl ShardRead for Count {
    type Part = u64;

    fn ask<'a>(&'a self, shard: ShardId, leader: &'a dyn Shard) -> Answer<'a, u64> {
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
        self.one_shard(shard, &Retrieve(request)).await
    }

    async fn every_shard<R: ShardRead>(
        &self,
        collection: &CollectionRecord,
        read: &R,
    ) -> Result<Parts<R::Part>, Error> {
        if collection.shards == 1 {
            let shard = ShardId { collection: collection.id, ordinal: 0 };
            let ReadAck { part, read_timestamp } = self.one_shard(shard, read).await?;
            return Ok(Parts { parts: vec![part], read_timestamp });
        }
        let answers = try_join_all(collection.shard_ids().map(|shard| self.one_shard(shard, read))).await?;
        let read_timestamp = answers.iter().map(|answer| answer.read_timestamp).max().unwrap_or_default();
        Ok(Parts { parts: answers.into_iter().map(|answer| answer.part).collect(), read_timestamp })
    }

    async fn one_shard<R: ShardRead>(&self, shard: ShardId, read: &R) -> Result<ReadAck<R::Part>, Error> {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        for _ in 1..ATTEMPTS {
            match self.attempt(shard, read).await {
                Err(error) if has_moved(&error) => backoff.wait().await,
                answer => return answer,
            }
        }
        self.attempt(shard, read).await
    }

    async fn attempt<R: ShardRead>(&self, shard: ShardId, read: &R) -> Result<ReadAck<R::Part>, Error> {
        let leader = self.parts.shards.leader(shard).await?;
        read.ask(shard, leader.as_ref()).await
    }
}

/// Whether a newer view of the cluster would find what is missing.
fn has_moved(error: &Error) -> bool {
    matches!(
        error,
        Error::ShardNotAvailable { .. }
            | Error::SegmentNotLoaded { .. }
            | Error::NodeNotFound { .. }
            | Error::Fenced { .. }
    )
}
