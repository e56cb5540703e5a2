//! How does one shard work? Its leader: the only writer of its log, the server of its newest rows.
//!
//! ```text
//! write   [`once`] knows repetitions → [`admit`] checks and waits for room → queue → [`writer`] stamps, appends to the log; once
//!         durable: deletes to query nodes ([`feed`]), rows to growing segments, read point forward, answer
//! read    [`read`] takes memory, [`route`] and read point together, asks query nodes, merges; [`health`]
//!         says which replica to ask
//! flush   [`writer`] seals everything at one position of the log → [`flush`] writes files →
//!         [`commit`] records them → the log is cut
//! start   [`recover`] reads the log after the checkpoint
//! ```

mod admit;
mod commit;
pub(crate) mod deletes;
mod feed;
mod flush;
mod health;
mod once;
mod read;
mod recover;
pub(crate) mod route;
pub(crate) mod state;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_runtime::machine::CpuTime;
use redkite_runtime::{HybridClock, Tasks};
use redkite_service::{DeleteBatch, Error as ServiceError, Flushed, Result, ShardUsage};
use redkite_types::{Epoch, Revision, ShardId, Timestamp};
use redkite_wal::Log;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::Environment;
use crate::error::of_metastore;
use crate::record::EncodedWrite;
use health::Health;
use once::{Claim, Writes};
use route::Route;
use state::State;

/// How long tasks of a shard may take to stop before that is worth a warning.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a shard is told to do, in this order.
#[derive(Debug)]
enum Command {
    /// Append and apply.
    Write(Box<QueuedWrite>),
    /// Seal everything written so far.
    Seal {
        /// Who waits.
        reply: oneshot::Sender<Result<Flushed>>,
    },
}

/// A write that waits for the shard's writer.
#[derive(Debug)]
struct QueuedWrite {
    op: redkite_service::WriteOp,
    record: EncodedWrite,
    claim: Claim,
    /// Given back with the answer.
    room: tokio::sync::OwnedSemaphorePermit,
}

/// Which assignment a leader acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// Fences earlier leaders of the log.
    pub(crate) epoch: Epoch,
    /// Revision of the assignment; fences what is recorded.
    pub(crate) revision: Revision,
}

/// The leader of one shard.
pub(crate) struct ShardLeader {
    pub(crate) id: ShardId,
    pub(crate) leadership: Leadership,
    node: Arc<Environment>,
    log: Arc<dyn Log>,
    clock: HybridClock,
    state: Mutex<State>,
    /// Held while a route is planned and installed, so that an older one never replaces a newer.
    routing: Mutex<()>,
    /// Which writes are applied or under way.
    writes: Arc<Writes>,
    queue: mpsc::Sender<Command>,
    /// Room for writes that are not answered yet, in KiB.
    room: Arc<Semaphore>,
    /// The route may name query nodes that are to be fed with deletes from now on.
    new_receivers: Notify,
    health: Mutex<Health>,
    /// There are nodes to be probed.
    suspected: Notify,
    /// Counts changes of anything in `state` that somebody may wait for.
    changes: watch::Sender<u64>,
    /// Flushes of the node that may run at once.
    flushes: Arc<Semaphore>,
    /// Held while a generation is made files.
    flush: tokio::sync::Mutex<()>,
    /// What writes, and reads of rows in memory, have taken.
    cpu: CpuTime,
    tasks: Tasks,
}

impl ShardLeader {
    /// Plans the route anew.
    pub(crate) fn refresh(&self) {
        let _routing = self.routing.lock();
        loop {
            // Before the records are looked at: they are at least this new.
            let revision = self.node.view.revision();
            let in_memory = self.state.lock().in_memory(revision);
            let alive = self.node.query_nodes.as_ref().map(|nodes| nodes.borrow().clone());
            let plan = |metadata: &_| Route::plan(metadata, self.id, &in_memory, alive.as_deref());
            let route = self.node.view.read(plan);
            let mut state = self.state.lock();
            // Sealed meanwhile: the plan does not know where these rows are.
            if state.sealing.iter().all(|sealing| in_memory.contains_key(&sealing.id)) {
                let short = state.unsealed_bytes() as u64 > self.node.settings.max_unsealed_bytes.0 / 2;
                state.install(route, revision, short);
                self.new_receivers.notify_one();
                break;
            }
        }
        self.changed();
    }

    /// Plans the route anew with everything that is committed at this moment.
    async fn refresh_confirmed(&self) -> Result<()> {
        self.node.catch_up().await.map_err(|error| of_metastore(&error))?;
        self.refresh();
        Ok(())
    }

    /// Seals everything written so far.
    pub(crate) async fn flush(&self) -> Result<Flushed> {
        let (reply, sealed) = oneshot::channel();
        self.queue.send(Command::Seal { reply }).await.map_err(|_| self.stopped())?;
        sealed.await.map_err(|_| self.stopped())?
    }

    /// Seals if there is something and nothing has been written for a while.
    pub(crate) fn seal_if_idle(&self) {
        let idle = {
            let state = self.state.lock();
            state.is_open() && state.last_write.elapsed() >= self.node.settings.seal_idle
        };
        if idle {
            let (reply, _) = oneshot::channel();
            // A full queue is not idle.
            let _ = self.queue.try_send(Command::Seal { reply });
        }
    }

    /// Forgets proxies that have not written for long.
    pub(crate) fn forget_silent_proxies(&self) {
        self.writes.forget_silent(self.clock.now());
    }

    /// Every delete after a timestamp that is not in recorded delete files.
    pub(crate) async fn deletes_after(&self, after: Timestamp) -> Result<DeleteBatch> {
        // The asker is among the receivers of deletes once the route shows what it was given to hold:
        // from then on it is sent what is not in the buffer yet.
        self.refresh_confirmed().await?;
        // The next leader has deletes that this one never hears of.
        self.check_assignment()?;
        Ok(self.state.lock().deletes.after(after))
    }

    fn check_assignment(&self) -> Result<()> {
        let assigned = self.node.view.read(|metadata| {
            metadata.assignments.get(&self.id).is_some_and(|entry| entry.revision == self.leadership.revision)
        });
        if assigned { Ok(()) } else { Err(ServiceError::Fenced { what: format!("shard {}", self.id) }) }
    }

    /// Why no write is taken any more, if so.
    pub(crate) fn failure(&self) -> Option<ServiceError> {
        self.state.lock().failure.clone()
    }

    /// Waits until no write is taken any more.
    pub(crate) async fn failed(&self) -> ServiceError {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(failure) = self.failure() {
                return failure;
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Why the last try of a flush failed, if so.
    pub(crate) fn flush_failure(&self) -> Option<String> {
        self.state.lock().flush_failure.clone()
    }

    /// Bytes that are only in the log and in memory, and rows that can still be added to.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.unsealed_bytes(), state.growing.values().map(|rows| rows.rows()).sum())
    }

    /// What it takes of its node.
    pub(crate) fn usage(&self) -> ShardUsage {
        ShardUsage { memory: self.state.lock().unsealed_bytes() as u64, cpu: self.cpu.micros() }
    }

    /// Stops taking writes, settles those on their way, closes the log. Reads go on. Once this has
    /// returned, nothing is recorded any more.
    pub(crate) async fn stop(&self) {
        self.tasks.stop(PATIENCE).await;
        drop(self.flush.lock().await);
        if let Err(error) = self.log.close().await {
            tracing::warn!(shard = %self.id, %error, "log not closed");
        }
    }

    fn stopped(&self) -> ServiceError {
        ServiceError::ShardNotAvailable { shard: self.id.to_string() }
    }

    /// Tells everybody who waits to look again.
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until the state satisfies somebody, or time is over.
    async fn wait_until<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&mut State) -> Option<T> + Send,
    ) -> Option<T> {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(found) = look(&mut self.state.lock()) {
                return Some(found);
            }
            // The sender lives in `self`, so only time ends this.
            tokio::time::timeout_at(deadline, changes.changed()).await.ok()?.ok()?;
        }
    }
}

impl std::fmt::Debug for ShardLeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardLeader").field("id", &self.id).finish_non_exhaustive()
    }
}
