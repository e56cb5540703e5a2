//! How is the leader of a shard reached, while it starts, moves or is replaced?
//!
//! A call that was refused without effect is repeated until somebody leads the shard and holds its
//! segments: clients see an answer, not the move. What may have been applied is never repeated.

use std::time::Duration;

use futures::future::BoxFuture;
use redkite_runtime::Backoff;
use redkite_service::{Error, Shard};
use redkite_types::ShardId;

use crate::Proxy;

/// Tries, some eight seconds with the delays below: a leader that dies is replaced sooner.
const ATTEMPTS: usize = 40;
const FIRST_DELAY: Duration = Duration::from_millis(2);
const LONGEST_DELAY: Duration = Duration::from_millis(250);

/// A call that can be repeated.
pub(crate) trait ShardCall: Send + Sync {
    /// What comes back.
    type Answer: Send;

    /// Calls a leader once.
    fn call<'a>(
        &'a self,
        shard: ShardId,
        leader: &'a dyn Shard,
    ) -> BoxFuture<'a, Result<Self::Answer, Error>>;
}

impl Proxy {
    /// Calls the leader of a shard, again if it has moved.
    pub(crate) async fn ask_leader<C: ShardCall>(
        &self,
        shard: ShardId,
        call: &C,
    ) -> Result<C::Answer, Error> {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        for _ in 1..ATTEMPTS {
            match self.attempt(shard, call).await {
                Err(error) if has_moved(&error) && self.has_collection_of(shard) => backoff.wait().await,
                answer => return answer,
            }
        }
        self.attempt(shard, call).await
    }

    async fn attempt<C: ShardCall>(&self, shard: ShardId, call: &C) -> Result<C::Answer, Error> {
        let leader = self.parts.shards.leader(shard).await?;
        call.call(shard, leader.as_ref()).await
    }

    /// Nobody will ever lead a shard of a dropped collection.
    fn has_collection_of(&self, shard: ShardId) -> bool {
        self.parts.metadata.read(|metadata| metadata.collections.contains_key(&shard.collection))
    }
}

/// Whether nothing was done, and a newer view of the cluster would find what is missing.
fn has_moved(error: &Error) -> bool {
    matches!(
        error,
        Error::ShardNotAvailable { .. }
            | Error::SegmentNotLoaded { .. }
            | Error::NodeNotFound { .. }
            | Error::Fenced { .. }
    )
}
