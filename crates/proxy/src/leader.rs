//! How is the leader of a shard reached, while it starts, moves, dies or is replaced?
//!
//! A call that may be sent again is sent again until somebody leads the shard and answers: clients see
//! an answer, not the move. The next leader is asked as soon as it is assigned, and answers when it is
//! ready; the one that failed is only asked after growing pauses. A call that hangs at a leader that is not the leader any more is given up and
//! sent to the next one. When the client goes away, or the collection, it ends.

use std::pin::pin;
use std::time::Duration;

use futures::future::BoxFuture;
use redkite_catalog::ShardAssignment;
use redkite_runtime::Backoff;
use redkite_service::{Error, Retry, Shard};
use redkite_types::ShardId;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Proxy;

/// Pauses before the same leader is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));
/// A call under way for so long is given up when the shard has another leader. Shorter ones are
/// answered by leaders that hand over.
const SLOW: Duration = Duration::from_millis(300);

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

    /// Whether the call is sent again after such an end.
    fn is_repeated(&self, error: &Error) -> bool {
        of_reads(error)
    }
}

/// A read does nothing, so it is repeated whenever a newer view of the cluster may find what is missing.
fn of_reads(error: &Error) -> bool {
    matches!(
        error,
        Error::ShardNotAvailable { .. }
            | Error::SegmentNotLoaded { .. }
            | Error::NodeNotFound { .. }
            | Error::NodeNotMatch { .. }
            | Error::Fenced { .. }
            | Error::Unavailable { .. }
            | Error::NotReady { .. }
            | Error::ConnectionLost { .. }
    )
}

/// A write carries its id, so it is also repeated when it may have been applied.
pub(crate) fn of_writes(error: &Error) -> bool {
    error.retry() != Retry::No
}

impl Proxy {
    /// Calls the leader of a shard, again if that may help.
    pub(crate) async fn ask_leader<C: ShardCall>(
        &self,
        shard: ShardId,
        call: &C,
    ) -> Result<C::Answer, Error> {
        let deadline = Instant::now() + self.parts.settings.patience;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let (asked, answer) = self.attempt(shard, call, deadline).await;
            let error = match answer {
                Err(error) if call.is_repeated(&error) && self.has_collection_of(shard) => error,
                answer => return answer,
            };
            tracing::debug!(%shard, %error, "call of a shard's leader failed, trying again");
            metrics::counter!("redkite_proxy_shard_calls_repeated_total").increment(1);
            let pause = deadline.min(Instant::now() + backoff.next_delay());
            if timeout_at(pause, self.other_leader(shard, asked.as_ref())).await.is_ok() {
                backoff.reset();
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    /// Calls the present leader; who that was, as far as was known.
    async fn attempt<C: ShardCall>(
        &self,
        shard: ShardId,
        call: &C,
        deadline: Instant,
    ) -> (Option<ShardAssignment>, Result<C::Answer, Error>) {
        let found = timeout_at(deadline, self.parts.shards.leader(shard)).await;
        let asked = self.leader_of(shard);
        let leader = match found {
            Ok(Ok(leader)) => leader,
            Ok(Err(error)) => return (asked, Err(error)),
            Err(_) => return (asked, Err(Error::ShardNotAvailable { shard: shard.to_string() })),
        };
        let mut answer = pin!(call.call(shard, leader.as_ref()));
        if let Ok(answer) = timeout(SLOW, &mut answer).await {
            return (asked, answer);
        }
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.other_leader(shard, asked.as_ref()) => {
                Err(Error::ConnectionLost { what: format!("shard {shard} has another leader") })
            }
        };
        (asked, answer)
    }

    /// Who should lead a shard.
    fn leader_of(&self, shard: ShardId) -> Option<ShardAssignment> {
        self.parts.metadata.read(|metadata| Some((*metadata.assignments.get(&shard)?.record).clone()))
    }

    /// Waits until somebody else should lead the shard.
    async fn other_leader(&self, shard: ShardId, than: Option<&ShardAssignment>) {
        let mut changes = self.parts.metadata.changes();
        loop {
            let leader = self.leader_of(shard);
            if leader.is_some() && leader.as_ref() != than {
                return;
            }
            changes.any().await;
        }
    }

    /// Nobody will ever lead a shard of a dropped collection.
    pub(crate) fn has_collection_of(&self, shard: ShardId) -> bool {
        self.parts.metadata.read(|metadata| metadata.collections.contains_key(&shard.collection))
    }
}
