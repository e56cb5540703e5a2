//! What to read: searches and retrievals, as planned by the proxy.

use std::sync::Arc;

use redkite_query::Plan;
use redkite_types::{CollectionId, FieldId, Metric, PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Everything acknowledged when the leader receives the read.
    Strong,
    /// At least everything up to this timestamp.
    AtLeast(Timestamp),
    /// The state at this timestamp (iterators): later inserts and deletes are not seen. As in Milvus, rows
    /// deleted since are missing once a flush or a merge has dropped them from the files.
    Snapshot(Timestamp),
    /// What is there.
    Eventual,
}

/// Query vectors, always as `f32`: row-major, `dim` elements each. They are rounded to the field's
/// element type by the proxy where the client sent that type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorQueries {
    /// Elements of one vector.
    pub dim: usize,
    /// `nq × dim` elements.
    #[serde(with = "redkite_types::bulk")]
    pub values: Vec<f32>,
}

impl VectorQueries {
    /// Number of query vectors.
    #[must_use]
    pub fn nq(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// One query vector.
    #[must_use]
    pub fn query(&self, position: usize) -> &[f32] {
        &self.values[position * self.dim..(position + 1) * self.dim]
    }
}

/// Index parameters of a search; each is used by the indexes it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VectorParams {
    /// HNSW: size of the candidate list, at least the limit. `None`: the default.
    pub ef: Option<u32>,
    /// IVF: lists visited. `None`: the default (8).
    pub nprobe: Option<u32>,
}

/// Bounds on scores, in raw metric values. Milvus: range search.
///
/// L2: `range_filter ≤ score < radius`. IP and COSINE: `radius < score ≤ range_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeBounds {
    /// The far bound, exclusive.
    pub radius: f32,
    /// The near bound, inclusive.
    pub range_filter: Option<f32>,
}

/// A search, the same for every shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The collection.
    pub collection: CollectionId,
    /// Schema the request was planned with.
    pub schema_version: u32,
    /// The partitions to search, all loaded; empty means every loaded one.
    pub partitions: Vec<PartitionId>,
    /// The vector field.
    pub field: FieldId,
    /// Its metric.
    pub metric: Metric,
    /// The query vectors.
    pub queries: VectorQueries,
    /// Results wanted per query (`limit + offset` of the client).
    pub limit: usize,
    /// Index parameters.
    pub params: VectorParams,
    /// Bounds on scores.
    pub range: Option<RangeBounds>,
    /// Rows must satisfy this.
    pub filter: Option<Arc<Plan>>,
    /// Fields to return, the primary key not among them (it always is).
    pub output: Vec<FieldId>,
    /// How fresh.
    pub consistency: Consistency,
    /// Leave growing rows out.
    pub ignore_growing: bool,
    /// Rows written before this are expired. Milvus: `collection.ttl.seconds`.
    pub expired_before: Option<Timestamp>,
}

/// A retrieval, the same for every shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrieveRequest {
    /// The collection.
    pub collection: CollectionId,
    /// Schema the request was planned with.
    pub schema_version: u32,
    /// The partitions to read, all loaded; empty means every loaded one.
    pub partitions: Vec<PartitionId>,
    /// Rows must satisfy this.
    pub filter: Option<Arc<Plan>>,
    /// Fields to return, the primary key not among them (it always is).
    pub output: Vec<FieldId>,
    /// The first so many rows in primary key order (`limit + offset` of the client); `None` means all.
    pub limit: Option<usize>,
    /// How fresh.
    pub consistency: Consistency,
    /// Leave growing rows out.
    pub ignore_growing: bool,
    /// Rows written before this are expired.
    pub expired_before: Option<Timestamp>,
}
