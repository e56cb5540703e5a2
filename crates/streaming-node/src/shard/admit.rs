//! May this write go to the log?
//!
//! Everything that could make a logged write impossible to apply is checked here, against records that
//! are confirmed before they are held against the caller; and writers wait here when files are behind.

use redkite_catalog::CollectionRecord;
use redkite_runtime::blocking;
use redkite_service::{Error as ServiceError, Result, WriteAck, WriteId, WriteOp, WriteRequest};
use redkite_types::{Batch, DataType, FieldSchema, PartitionId, PrimaryKeys};
use redkite_wal::MAX_RECORD_BYTES;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::once::{Arrival, Claim};
use super::{Command, QueuedWrite, ShardLeader};
use crate::record::EncodedWrite;

/// Writes larger than this are encoded off the threads that drive I/O.
const LARGE: usize = 1 << 20;

/// How much room bytes take: a permit for every KiB begun.
pub(super) fn permits(bytes: u64) -> usize {
    usize::try_from(bytes / 1024).map_or(Semaphore::MAX_PERMITS, |kib| (kib + 1).min(Semaphore::MAX_PERMITS))
}

impl ShardLeader {
    /// Writes; returns when durable and visible.
    pub(crate) async fn write(&self, request: WriteRequest) -> Result<WriteAck> {
        loop {
            match self.writes.arrive(request.id, self.clock.now())? {
                Arrival::New(claim, outcome) => {
                    self.enqueue(request, claim).await?;
                    // Once queued there is no giving up: the answer must say what happened.
                    return outcome.await.map_err(|_| self.unanswered())?;
                }
                Arrival::UnderWay(outcome) => {
                    metrics::counter!("redkite_shard_writes_repeated_total").increment(1);
                    if let Ok(outcome) = outcome.await {
                        return outcome;
                    }
                    // Given up by whoever sent it first: it is up to this one.
                }
                Arrival::Applied(timestamp) => {
                    metrics::counter!("redkite_shard_writes_repeated_total").increment(1);
                    return Ok(WriteAck { timestamp });
                }
                Arrival::Settled => {
                    let WriteId { proxy, sequence, .. } = request.id;
                    return Err(ServiceError::invalid(format!(
                        "write {sequence} of proxy {proxy} came after it was settled"
                    )));
                }
            }
        }
    }

    /// Hands a write over to the shard's writer. If it is refused, the claim is dropped: nothing was done.
    async fn enqueue(&self, request: WriteRequest, claim: Claim) -> Result<()> {
        let deadline = Instant::now() + self.node.settings.write_patience;
        self.admit(&request).await?;
        self.files_keep_up(deadline).await?;
        let most = permits(self.node.settings.max_in_flight_bytes.0);
        let wanted = permits(request.op.memory_bytes() as u64).min(most);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let room = tokio::time::timeout_at(deadline, self.room.clone().acquire_many_owned(wanted)).await;
        let room = room.map_err(|_| self.too_many_writes())?.map_err(|_| self.stopped())?;
        let (op, record) = encode(request.id, request.op).await;
        // The log refuses a group as a whole.
        if record.len() > MAX_RECORD_BYTES {
            let (size, most) = (record.len(), MAX_RECORD_BYTES);
            return Err(ServiceError::InvalidParameter {
                reason: format!("a write of {size} bytes to one shard is larger than {most} bytes"),
            });
        }
        let write = Command::Write(Box::new(QueuedWrite { op, record, claim, room }));
        let queued = tokio::time::timeout_at(deadline, self.queue.send(write)).await;
        queued.map_err(|_| self.too_many_writes())?.map_err(|_| self.stopped())
    }

    /// What is known of a queued write that the writer let go.
    fn unanswered(&self) -> ServiceError {
        match self.failure() {
            // It stopped before it took the write.
            None => self.stopped(),
            Some(failure @ ServiceError::Fenced { .. }) => failure,
            // It broke, perhaps with the write in its hands.
            Some(failure) => ServiceError::Unsettled { reason: failure.to_string() },
        }
    }

    fn too_many_writes(&self) -> ServiceError {
        ServiceError::Unavailable { reason: format!("too many writes to shard {}", self.id) }
    }

    async fn admit(&self, request: &WriteRequest) -> Result<()> {
        if self.check(request).is_ok() {
            return Ok(());
        }
        self.refresh_confirmed().await?;
        self.check(request)
    }

    fn check(&self, request: &WriteRequest) -> Result<()> {
        let route = {
            let state = self.state.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state.route.clone()
        };
        let Some(collection) = &route.collection else {
            return Err(ServiceError::CollectionNotFound {
                database: String::new(),
                collection: self.id.collection.to_string(),
            });
        };
        if request.schema_version != collection.schema.version {
            return Err(ServiceError::SchemaMismatch { collection: collection.name.clone() });
        }
        match &request.op {
            WriteOp::Insert(parts) | WriteOp::Upsert(parts) => {
                parts.iter().try_for_each(|(partition, batch)| check_rows(collection, *partition, batch))
            }
            WriteOp::Delete { partition, keys } => {
                partition.map_or(Ok(()), |partition| check_partition(collection, partition))?;
                check_keys(collection.schema.primary_key(), keys)
            }
        }
    }

    /// Waits until files are not too far behind.
    async fn files_keep_up(&self, deadline: Instant) -> Result<()> {
        let most = usize::try_from(self.node.settings.max_unsealed_bytes.0).unwrap_or(usize::MAX);
        let room = self.wait_until(deadline, |state| {
            let free = state.unsealed_bytes() < most;
            (free || state.failure.is_some()).then_some(())
        });
        if room.await.is_some() {
            return Ok(());
        }
        let cause =
            self.flush_failure().unwrap_or_else(|| "segments are not flushed or loaded yet".to_owned());
        Err(ServiceError::Unavailable {
            reason: format!("shard {} has no room for writes: {cause}", self.id),
        })
    }
}

fn check_partition(collection: &CollectionRecord, partition: PartitionId) -> Result<()> {
    match collection.partition_by_id(partition) {
        Some(_) => Ok(()),
        None => Err(ServiceError::PartitionNotFound { partition: partition.to_string() }),
    }
}

fn check_rows(collection: &CollectionRecord, partition: PartitionId, batch: &Batch) -> Result<()> {
    check_partition(collection, partition)?;
    for field in &collection.schema.fields {
        let dim = usize::try_from(field.dim).unwrap_or_default();
        let fits = batch.column(field.id).is_some_and(|column| {
            let data = column.data.view();
            data.data_type() == field.data_type && data.dim() == dim && data.len() == batch.rows
        });
        if !fits {
            return Err(ServiceError::invalid(format!(
                "field {:?} does not hold {} rows",
                field.name, batch.rows
            )));
        }
    }
    Ok(())
}

fn check_keys(key: &FieldSchema, keys: &PrimaryKeys) -> Result<()> {
    let found = match keys {
        PrimaryKeys::Int64(_) => DataType::Int64,
        PrimaryKeys::VarChar(_) => DataType::VarChar,
    };
    if found == key.data_type {
        Ok(())
    } else {
        Err(ServiceError::invalid(format!(
            "{found} keys for primary key {:?} of {}",
            key.name, key.data_type
        )))
    }
}

async fn encode(id: WriteId, op: WriteOp) -> (WriteOp, EncodedWrite) {
    let large = match &op {
        WriteOp::Insert(parts) | WriteOp::Upsert(parts) => {
            parts.iter().map(|(_, batch)| batch.memory_bytes()).sum::<usize>() > LARGE
        }
        WriteOp::Delete { keys, .. } => keys.len() > LARGE / 16,
    };
    let work = move || {
        let record = EncodedWrite::new(id, &op);
        (op, record)
    };
    if large { blocking(work).await } else { work() }
}
