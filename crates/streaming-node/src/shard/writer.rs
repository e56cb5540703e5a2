//! The one writer of a shard.
//!
//! It takes the queued writes that wait, stamps them and appends them to the log at once; while that
//! append becomes durable it takes the next ones, so that one sync of the disk serves many writers.
//! Durable groups are applied in the order of the log. An answer is sent when the write is visible.

use std::collections::VecDeque;
use std::sync::Arc;

use redkite_runtime::{Stopping, blocking};
use redkite_segment::GrowingSegment;
use redkite_service::{Delete, Error as ServiceError, Flushed, Result, WriteAck, WriteOp};
use redkite_types::{Batch, Lsn, PartitionId, PrimaryKeys, SegmentId, Timestamp};
use redkite_wal::{Append, WalError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tracing::{error, info};

use super::once::Claim;
use super::state::{Generation, Sealing};
use super::{Command, QueuedWrite, ShardLeader};
use crate::error::{ends_log, of_ended_log, of_log, of_metastore, of_segment};

/// Most queued writes taken at once: a group is answered as a whole.
const GROUP: usize = 128;
/// Inserts larger than this are applied off the threads that drive I/O.
const LARGE: usize = 1 << 20;

/// Writes of one append.
struct Group {
    append: Append,
    writes: Vec<StampedWrite>,
    bytes: usize,
}

struct StampedWrite {
    timestamp: Timestamp,
    op: WriteOp,
    claim: Claim,
    _room: OwnedSemaphorePermit,
}

struct Writer {
    shard: Arc<ShardLeader>,
    in_flight: VecDeque<Group>,
    /// Nothing stamped up to here is on its way any more, once what is in flight has been settled.
    refused: Timestamp,
}

impl ShardLeader {
    /// Works until stopped.
    pub(super) async fn run_writer(self: Arc<Self>, mut queue: mpsc::Receiver<Command>, stopping: Stopping) {
        let mut writer = Writer { shard: self.clone(), in_flight: VecDeque::new(), refused: Timestamp::ZERO };
        // Dropped before the writer: whoever then misses an answer learns why.
        let _broken = BrokenByPanic { shard: self, task: "writer" };
        loop {
            tokio::select! {
                biased;
                () = stopping.wait() => break,
                outcome = front(&mut writer.in_flight), if !writer.in_flight.is_empty() => writer.settle(outcome).await,
                Some(first) = queue.recv() => writer.take(first, &mut queue).await,
            }
        }
        // Writes on their way to the log may be durable: their writers must learn it.
        while !writer.in_flight.is_empty() {
            let outcome = front(&mut writer.in_flight).await;
            writer.settle(outcome).await;
        }
    }
}

/// Waits for the oldest append. Cancel-safe.
async fn front(in_flight: &mut VecDeque<Group>) -> std::result::Result<Lsn, WalError> {
    match in_flight.front_mut() {
        Some(group) => (&mut group.append).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    /// Takes a command and all that wait behind it.
    async fn take(&mut self, first: Command, queue: &mut mpsc::Receiver<Command>) {
        let mut writes = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write(write) => writes.push(*write),
                Command::Seal { reply } => {
                    self.append(std::mem::take(&mut writes));
                    let sealed = self.seal().await;
                    // Nobody waits for a seal of idle rows.
                    let _ = reply.send(sealed);
                }
            }
            next = if writes.len() < GROUP { queue.try_recv().ok() } else { None };
        }
        self.append(writes);
    }

    fn append(&mut self, writes: Vec<QueuedWrite>) {
        if writes.is_empty() {
            return;
        }
        let mut stamped = Vec::with_capacity(writes.len());
        let mut records = Vec::with_capacity(writes.len());
        let mut bytes = 0;
        {
            // Under the lock, so that whoever reads `stamped` knows what may still be applied.
            let mut state = self.shard.state.lock();
            self.shard.cpu.of(|| {
                for QueuedWrite { op, record, claim, room } in writes {
                    let timestamp = self.shard.clock.tick();
                    state.stamped = timestamp;
                    bytes += record.len();
                    records.push(record.stamped(timestamp).into());
                    stamped.push(StampedWrite { timestamp, op, claim, _room: room });
                }
            });
        }
        match self.shard.log.append(records) {
            Ok(append) => {
                self.in_flight.push_back(Group { append, writes: stamped, bytes });
            }
            Err(error) => self.refuse(stamped, &error),
        }
    }

    async fn settle(&mut self, outcome: std::result::Result<Lsn, WalError>) {
        let Some(group) = self.in_flight.pop_front() else { return };
        match outcome {
            Ok(last) => self.shard.apply(group.writes, last, group.bytes).await,
            Err(error) => self.refuse(group.writes, &error),
        }
        if self.in_flight.is_empty() {
            self.shard.read_through(self.refused);
        }
        if self.shard.is_full()
            && let Err(error) = self.seal().await
        {
            error!(shard = %self.shard.id, %error, "growing segments not sealed, trying again after the next write");
        }
    }

    fn refuse(&mut self, writes: Vec<StampedWrite>, error: &WalError) {
        error!(shard = %self.shard.id, %error, writes = writes.len(), "writes not logged");
        {
            let mut state = self.shard.state.lock();
            if ends_log(error) && state.failure.is_none() {
                state.failure = Some(of_ended_log(error));
            }
        }
        // Nothing of them will be applied: readers need not wait for them.
        self.refused = writes.last().map_or(self.refused, |last| last.timestamp);
        if self.in_flight.is_empty() {
            self.shard.read_through(self.refused);
        }
        metrics::counter!("redkite_shard_writes_failed_total").increment(writes.len() as u64);
        self.shard.changed();
        // After the failure is set: who tries again at once is told of it.
        let told = of_log(error);
        writes.into_iter().for_each(|write| write.claim.refused(told.clone()));
    }

    /// Seals everything that was applied. Only the writer adds rows, so nothing is added meanwhile.
    async fn seal(&self) -> Result<Flushed> {
        let shard = &self.shard;
        let count = shard.state.lock().growing.values().filter(|rows| rows.rows() > 0).count();
        let first = match u32::try_from(count).expect("fewer partitions than 2^32") {
            0 => 0,
            count => shard.node.ids.take(count).await.map_err(|error| of_metastore(&error))?,
        };
        // Nothing is applied meanwhile either.
        let writes = shard.writes.applied(shard.clock.now());
        let flushed = {
            let mut state = shard.state.lock();
            if state.is_open() {
                let growing = std::mem::take(&mut state.growing);
                let filled = growing.into_iter().filter(|(_, rows)| rows.rows() > 0);
                let segments: Vec<_> = filled
                    .zip(first..)
                    .map(|((partition, rows), id)| Arc::new(Sealing::new(SegmentId(id), partition, rows)))
                    .collect();
                state.sealing.extend(segments.iter().cloned());
                info!(shard = %shard.id, lsn = state.lsn.0, segments = segments.len(), bytes = state.open_bytes, "sealing");
                let generation = Generation { lsn: state.lsn, timestamp: state.applied, segments, writes };
                state.generations.push_back(Arc::new(generation));
                state.open_bytes = 0;
            }
            let (_, timestamp) = state.sealed_up_to();
            let sealing = state.generations.iter().flat_map(|generation| &generation.segments);
            Flushed { segments: sealing.map(|sealing| sealing.id).collect(), timestamp }
        };
        shard.start_flushing();
        Ok(flushed)
    }
}

/// Marks a shard as broken if one of its tasks panics: it is opened anew then.
pub(super) struct BrokenByPanic {
    pub(super) shard: Arc<ShardLeader>,
    pub(super) task: &'static str,
}

impl Drop for BrokenByPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failure =
                ServiceError::internal(format!("{} of shard {} panicked", self.task, self.shard.id));
            self.shard.state.lock().failure.get_or_insert(failure);
            self.shard.changed();
        }
    }
}

impl ShardLeader {
    /// Shows readers everything up to a timestamp.
    fn read_through(&self, timestamp: Timestamp) {
        let mut state = self.state.lock();
        if timestamp > state.read {
            state.read = timestamp;
            drop(state);
            self.changed();
        }
    }

    /// Whether it is time to seal: not so late that writers wait for room which only sealing makes.
    pub(super) fn is_full(&self) -> bool {
        let settings = &self.node.settings;
        let full = settings.seal_bytes.0.min(settings.max_unsealed_bytes.0 / 2);
        let (bytes, (sealed, _)) = {
            let state = self.state.lock();
            (state.open_bytes as u64, state.sealed_up_to())
        };
        bytes >= full || self.log.pieces_after(sealed) >= settings.seal_log_pieces
    }

    /// Makes durable writes visible, in their order, and answers them.
    async fn apply(self: &Arc<Self>, writes: Vec<StampedWrite>, last: Lsn, bytes: usize) {
        let deletes = writes.iter().flat_map(|write| self.delete_of(write.timestamp, &write.op));
        let deletes = deletes.map(Arc::new).collect();
        self.deliver(deletes).await;
        let through = writes.last().map_or(Timestamp::ZERO, |write| write.timestamp);
        let mut acks = Vec::with_capacity(writes.len());
        for StampedWrite { timestamp, op, claim, .. } in writes {
            let applied = self.apply_one(timestamp, op).await;
            acks.push((claim, timestamp, applied.map(|()| WriteAck { timestamp })));
        }
        {
            let mut state = self.state.lock();
            state.lsn = last;
            state.applied = through;
            state.deletes.advance(through);
            state.read = state.read.max(through);
            state.open_bytes += bytes;
            state.last_write = Instant::now();
        }
        self.changed();
        metrics::counter!("redkite_shard_writes_total").increment(acks.len() as u64);
        metrics::counter!("redkite_shard_written_bytes_total").increment(bytes as u64);
        for (claim, timestamp, ack) in acks {
            claim.applied(timestamp, ack);
        }
    }

    /// The delete that a write contains.
    pub(super) fn delete_of(&self, timestamp: Timestamp, op: &WriteOp) -> Vec<Delete> {
        match op {
            WriteOp::Insert(_) => Vec::new(),
            WriteOp::Upsert(parts) => {
                let replaced = self.replaced(parts).into_iter();
                replaced.map(|(partition, keys)| Delete { timestamp, partition, keys }).collect()
            }
            WriteOp::Delete { partition, keys } => {
                vec![Delete { timestamp, partition: *partition, keys: keys.clone() }]
            }
        }
    }

    /// What an upsert replaces: keys, and in which partition if not in all.
    fn replaced(&self, parts: &[(PartitionId, Batch)]) -> Vec<(Option<PartitionId>, PrimaryKeys)> {
        let state = self.state.lock();
        let Some(collection) = &state.route.collection else { return Vec::new() };
        let schema = &collection.record.schema;
        let anywhere = schema.partition_key().is_some();
        let keys = |(partition, batch): &(PartitionId, Batch)| {
            Some(((!anywhere).then_some(*partition), batch.primary_keys(schema.primary_key().id)?))
        };
        parts.iter().filter_map(keys).collect()
    }

    /// Applies one write to the rows in memory. Readers do not see it before the read point is moved.
    pub(super) async fn apply_one(self: &Arc<Self>, timestamp: Timestamp, op: WriteOp) -> Result<()> {
        match op {
            WriteOp::Insert(parts) => self.insert_all(parts, timestamp).await,
            WriteOp::Upsert(parts) => {
                for (partition, keys) in self.replaced(&parts) {
                    self.delete_in_memory(partition, &keys, timestamp)?;
                }
                self.insert_all(parts, timestamp).await
            }
            WriteOp::Delete { partition, keys } => self.delete_in_memory(partition, &keys, timestamp),
        }
    }

    pub(super) fn delete_in_memory(
        &self,
        partition: Option<PartitionId>,
        keys: &PrimaryKeys,
        timestamp: Timestamp,
    ) -> Result<()> {
        let meant = |other: PartitionId| partition.is_none_or(|partition| partition == other);
        let segments: Vec<Arc<GrowingSegment>> = {
            let state = self.state.lock();
            let sealing = state.sealing.iter().filter(|sealing| meant(sealing.partition));
            let growing = state.growing.iter().filter(|(partition, _)| meant(**partition));
            sealing.map(|sealing| sealing.rows.clone()).chain(growing.map(|(_, rows)| rows.clone())).collect()
        };
        for segment in segments {
            self.cpu.of(|| segment.delete(keys, timestamp)).map_err(of_segment)?;
        }
        Ok(())
    }

    pub(super) async fn insert_all(
        self: &Arc<Self>,
        parts: Vec<(PartitionId, Batch)>,
        timestamp: Timestamp,
    ) -> Result<()> {
        for (partition, batch) in parts {
            let Some(rows) = self.growing(partition) else { continue };
            let inserted = if batch.memory_bytes() > LARGE {
                let shard = self.clone();
                blocking(move || shard.cpu.of(|| rows.insert(batch, timestamp))).await
            } else {
                self.cpu.of(|| rows.insert(batch, timestamp))
            };
            inserted.map_err(of_segment)?;
        }
        Ok(())
    }

    /// The growing rows of a partition; `None` if it is gone.
    fn growing(&self, partition: PartitionId) -> Option<Arc<GrowingSegment>> {
        let mut state = self.state.lock();
        let route = state.route.clone();
        let collection = route.collection.as_ref()?;
        collection.partition_by_id(partition)?;
        let empty = || Arc::new(GrowingSegment::new(collection.schema.primary_key()));
        Some(state.growing.entry(partition).or_insert_with(empty).clone())
    }
}
