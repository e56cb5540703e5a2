//! How does a shard come up?
//!
//! Opening the log fences the leader before. Then the records after the checkpoint are applied as if
//! they had just been written, apart from rows of partitions that a flush recorded ahead of it. All
//! segments the leader before recorded are in the view by then, so that no read misses their rows.

use std::sync::Arc;

use parking_lot::Mutex;
use redkite_runtime::machine::CpuTime;
use redkite_runtime::{HybridClock, Tasks};
use redkite_service::WriteOp;
use redkite_types::{Lsn, ShardId, Timestamp};
use redkite_wal::Log;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use super::admit::permits;
use super::commit::read_checkpoint;
use super::once::Writes;
use super::state::State;
use super::{Command, Leadership, ShardLeader};
use crate::record::{DecodedWrite, decode};
use crate::{Environment, Error};

impl ShardLeader {
    /// Opens a shard's log and brings back what was written to it.
    pub(crate) async fn recover(
        node: Arc<Environment>,
        id: ShardId,
        leadership: Leadership,
        flushes: Arc<Semaphore>,
    ) -> Result<Arc<Self>, Error> {
        let began = Instant::now();
        let log = node.logs.open(id, leadership.epoch).await?;
        // After the leader before was fenced: it may have moved the checkpoint until now.
        let checkpoint = read_checkpoint(&*node.kv, id).await?.record;
        node.catch_up().await?;
        if log.last_lsn() < checkpoint.lsn {
            return Err(Error::LogLost { shard: id, last: log.last_lsn(), checkpoint: checkpoint.lsn });
        }
        let clock = HybridClock::new(node.clock.clone());
        clock.observe(checkpoint.timestamp);
        let (queue, commands) = mpsc::channel(node.settings.queued_writes.max(1));
        let shard = Arc::new(Self {
            id,
            leadership,
            log: log.clone(),
            clock,
            state: Mutex::new(State::at(checkpoint.lsn, checkpoint.timestamp)),
            routing: Mutex::default(),
            writes: Writes::restore(&checkpoint.writes, checkpoint.timestamp),
            queue,
            room: Arc::new(Semaphore::new(permits(node.settings.max_in_flight_bytes.0))),
            new_receivers: Notify::new(),
            health: Mutex::default(),
            suspected: Notify::new(),
            changes: watch::Sender::new(0),
            flushes,
            flush: tokio::sync::Mutex::default(),
            cpu: CpuTime::default(),
            tasks: Tasks::new("shard"),
            node,
        });
        shard.refresh();
        let records = shard.replay(&*log, &checkpoint).await?;
        // That is no load that goes on.
        shard.cpu.forget();
        shard.open(commands);
        if records > 0 {
            let (_, rows) = shard.load();
            info!(shard = %id, records, rows, elapsed = ?began.elapsed(), "shard recovered");
        }
        Ok(shard)
    }

    async fn replay(
        self: &Arc<Self>,
        log: &dyn Log,
        checkpoint: &redkite_catalog::ShardCheckpoint,
    ) -> Result<usize, Error> {
        let mut records = 0;
        let mut entries = log.read(checkpoint.lsn.next());
        while let Some(entry) = entries.next().await? {
            let DecodedWrite { timestamp, id, op } = decode(&entry.payload)
                .map_err(|source| Error::Record { shard: self.id, lsn: entry.lsn, source })?;
            self.clock.observe(timestamp);
            let recorded =
                |partition| checkpoint.ahead.get(&partition).is_some_and(|ahead| *ahead >= entry.lsn);
            self.replay_one(timestamp, op, recorded).await?;
            self.advance(entry.lsn, timestamp, entry.payload.len());
            if let Some(id) = id {
                self.writes.replayed(id, timestamp);
            }
            records += 1;
        }
        Ok(records)
    }

    async fn replay_one(
        self: &Arc<Self>,
        timestamp: Timestamp,
        op: WriteOp,
        recorded: impl Fn(redkite_types::PartitionId) -> bool,
    ) -> Result<(), Error> {
        for delete in self.delete_of(timestamp, &op) {
            self.delete_in_memory(delete.partition, &delete.keys, timestamp)?;
            self.state.lock().deletes.push(Arc::new(delete));
        }
        match op {
            WriteOp::Insert(mut parts) | WriteOp::Upsert(mut parts) => {
                parts.retain(|(partition, _)| !recorded(*partition));
                Ok(self.insert_all(parts, timestamp).await?)
            }
            WriteOp::Delete { .. } => Ok(()),
        }
    }

    fn advance(&self, lsn: Lsn, timestamp: Timestamp, bytes: usize) {
        let mut state = self.state.lock();
        state.lsn = lsn;
        state.applied = timestamp;
        state.deletes.advance(timestamp);
        state.read = state.read.max(timestamp);
        state.stamped = state.read;
        state.open_bytes += bytes;
    }

    /// Begins to take writes.
    fn open(self: &Arc<Self>, commands: mpsc::Receiver<Command>) {
        let shard = self.clone();
        self.tasks.spawn("delete-feeds", move |stopping| shard.feed_new_receivers(stopping));
        let shard = self.clone();
        self.tasks.spawn("suspect-probes", move |stopping| shard.probe_suspects(stopping));
        let shard = self.clone();
        self.tasks.spawn("shard-writer", move |stopping| shard.run_writer(commands, stopping));
        if self.is_full() {
            let (reply, _) = tokio::sync::oneshot::channel();
            // The queue is empty and takes it.
            let _ = self.queue.try_send(Command::Seal { reply });
        }
    }
}
