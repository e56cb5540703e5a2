//! Query nodes: reads of sealed segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_types::{NodeId, PartitionId, PrimaryKeys, SegmentId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Result, RetrieveRequest, SearchRequest};

/// Deletes of one shard, in timestamp order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteBatch {
    /// Every delete of the shard up to here is in an earlier batch; a node that did not get those must
    /// look for them.
    pub after: Timestamp,
    /// The deletes.
    pub deletes: Vec<Arc<Delete>>,
    /// Every delete of the shard up to here is in this batch or an earlier one.
    pub through: Timestamp,
}

/// One delete: rows with these keys that are older than `timestamp` are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delete {
    /// When.
    pub timestamp: Timestamp,
    /// Only in this partition.
    pub partition: Option<PartitionId>,
    /// Whose rows.
    pub keys: PrimaryKeys,
}

/// A search of some segments of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentSearch {
    /// The shard they belong to.
    pub shard: ShardId,
    /// The segments, all held by the called node according to the caller's view.
    pub segments: Vec<SegmentId>,
    /// The read point: deletes after it are ignored, deletes up to it have been sent before.
    pub read_timestamp: Timestamp,
    /// What to search for.
    pub request: Arc<SearchRequest>,
}

/// A retrieval from some segments of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentRetrieve {
    /// The shard they belong to.
    pub shard: ShardId,
    /// The segments, all held by the called node according to the caller's view.
    pub segments: Vec<SegmentId>,
    /// The read point.
    pub read_timestamp: Timestamp,
    /// What to retrieve.
    pub request: Arc<RetrieveRequest>,
}

/// What a query node has, and what it uses of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUsage {
    /// Memory that it may use, in bytes.
    pub memory: u64,
    /// Memory that it uses for other things than the segments it holds, in bytes.
    pub other_memory: u64,
    /// Threads that compute.
    pub threads: u32,
    /// CPU time that the process has used so far, in microseconds.
    pub cpu: u64,
    /// CPU time that reads of each held segment have taken so far, in microseconds.
    pub segments: BTreeMap<SegmentId, u64>,
}

/// The holders of sealed segments (query nodes).
///
/// A node that does not hold one of the segments MUST answer `SegmentNotLoaded`; it never leaves a
/// segment out of a result.
#[async_trait]
pub trait Segments: Send + Sync {
    /// Searches; the nearest `limit` per query over all named segments, best first.
    async fn search(&self, request: SegmentSearch) -> Result<SearchPart>;
    /// Retrieves over all named segments.
    async fn retrieve(&self, request: SegmentRetrieve) -> Result<RetrievePart>;
    /// Counts over all named segments.
    async fn count(&self, request: SegmentRetrieve) -> Result<u64>;
    /// Applies deletes to every segment of the shard that is held or being loaded. Idempotent.
    /// Leaders call it in timestamp order, each call after the one before was answered.
    async fn apply_deletes(&self, shard: ShardId, batch: DeleteBatch) -> Result<()>;
    /// What the node has and uses.
    async fn usage(&self) -> Result<NodeUsage>;
}

/// Finds query nodes.
#[async_trait]
pub trait SegmentsDirectory: Send + Sync {
    /// The service of a node.
    async fn node(&self, node: NodeId) -> Result<Arc<dyn Segments>>;
}
