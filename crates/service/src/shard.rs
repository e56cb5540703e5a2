//! A shard's leader: writes, reads, flush.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_types::{Batch, NodeId, PartitionId, PrimaryKeys, ProxyRun, SegmentId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::segments::DeleteBatch;
use crate::{Result, RetrieveRequest, SearchRequest};

/// One write to one shard; atomic: a reader sees all of it or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The shard.
    pub shard: ShardId,
    /// Which write it is: sent again, it is answered again, but not applied again.
    pub id: WriteId,
    /// Schema the rows were validated against; a leader that knows a newer one answers `SchemaMismatch`.
    pub schema_version: u32,
    /// What to do.
    pub op: WriteOp,
}

/// How far the number of a write may be ahead of the first one that is not settled: this bounds what a leader
/// has to remember of a proxy.
pub const MAX_UNSETTLED_WRITES: u64 = 8192;

/// Which write this is, however often it is sent, through whatever change of leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteId {
    /// Who numbers its writes.
    pub proxy: ProxyRun,
    /// Which of that proxy's writes to this shard.
    pub sequence: u64,
    /// Everything below is answered or given up, and is not sent again: what still arrives is refused. At
    /// most `sequence`, and less than [`MAX_UNSETTLED_WRITES`] below it.
    pub settled_below: u64,
}

/// What a write does. Batches hold every stored field of the schema, `$meta` included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Adds rows, per partition.
    Insert(Vec<(PartitionId, Batch)>),
    /// Deletes, then adds, under one timestamp: rows with these keys are replaced, in the partition they are
    /// added to, or in all partitions if those are chosen by a partition key.
    Upsert(Vec<(PartitionId, Batch)>),
    /// Deletes the rows with these keys, in one partition or in all.
    Delete {
        /// Only in this partition.
        partition: Option<PartitionId>,
        /// Whose rows.
        keys: PrimaryKeys,
    },
}

impl WriteOp {
    /// Bytes held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Insert(parts) | Self::Upsert(parts) => {
                parts.iter().map(|(_, batch)| batch.memory_bytes()).sum()
            }
            Self::Delete { keys, .. } => keys.memory_bytes(),
        }
    }
}

/// A write is durable and visible to every later strong read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteAck {
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// A flush was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Segments being sealed; flushed when each has a record in the metastore (or had no rows left).
    pub segments: Vec<SegmentId>,
    /// Every write up to here is in them or in earlier ones: the flush is complete when the shard's
    /// checkpoint reaches this timestamp.
    pub timestamp: Timestamp,
}

/// What a read saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadAck<T> {
    /// The result.
    pub part: T,
    /// The read point: every write up to here is reflected, none after it.
    pub read_timestamp: Timestamp,
}

/// What a streaming node has, and what the shards that it leads take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderUsage {
    /// Memory that it may use, in bytes.
    pub memory: u64,
    /// Threads that compute.
    pub threads: u32,
    /// The shards that it leads.
    pub shards: BTreeMap<ShardId, ShardUsage>,
}

/// What a shard takes where it is led.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardUsage {
    /// Bytes of rows and deletes that are only in the log and in memory.
    pub memory: u64,
    /// CPU time that writes, and reads of those rows, have taken here so far, in microseconds.
    pub cpu: u64,
}

/// The leaders of shards (streaming nodes).
///
/// A node that does not lead the shard MUST answer `ShardNotAvailable` or `Fenced` without effect.
#[async_trait]
pub trait Shard: Send + Sync {
    /// Writes; returns when durable and visible. A write that was applied before is only acknowledged, by
    /// whichever leader, until its proxy settles it or has been silent for ten minutes.
    async fn write(&self, request: WriteRequest) -> Result<WriteAck>;
    /// Searches growing and sealed rows of one shard; the nearest `limit` per query, best first.
    async fn search(&self, shard: ShardId, request: Arc<SearchRequest>) -> Result<ReadAck<SearchPart>>;
    /// Rows of one shard that satisfy a filter, deduplicated by primary key (the latest wins), in
    /// primary key order.
    async fn retrieve(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<RetrievePart>>;
    /// Number of rows of one shard that satisfy a filter; rows that share a primary key all count.
    async fn count(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<u64>>;
    /// Seals everything written so far; returns when that has begun.
    async fn flush(&self, shard: ShardId) -> Result<Flushed>;
    /// Every delete of the shard after `after`, as far as it is not in delete files recorded in the
    /// shard's checkpoint, for a segment that is being loaded.
    async fn deletes_after(&self, shard: ShardId, after: Timestamp) -> Result<DeleteBatch>;
    /// What the node has, and what its shards take.
    async fn usage(&self) -> Result<LeaderUsage>;
}

/// Finds the leader of a shard.
#[async_trait]
pub trait ShardDirectory: Send + Sync {
    /// The shard's present leader; waits a while for one to appear.
    async fn leader(&self, shard: ShardId) -> Result<Arc<dyn Shard>>;
    /// The leaders on a node.
    async fn on_node(&self, node: NodeId) -> Result<Arc<dyn Shard>>;
}
