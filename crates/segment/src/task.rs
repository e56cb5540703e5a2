//! What is asked of a segment.

use redkite_index::vector::Range;
use redkite_query::{Plan, RetrievePart, SearchPart};
use redkite_types::{CollectionSchema, FieldId, Metric, Timestamp};

use crate::Result;

/// Rows that can be searched and retrieved. Reads block for as long as they compute.
///
/// Laws: a read sees exactly the rows with `timestamp <= read_timestamp` and, where given,
/// `timestamp >= expired_before`, without those killed by a delete at or before the read timestamp.
/// It sees the same whether the rows are growing or sealed; making files drops rows deleted until then,
/// so that reads at an earlier timestamp miss them.
pub trait SegmentReader: Send + Sync {
    /// The nearest rows to each query: at most `limit`, each primary key once, in the order of
    /// (score, primary key).
    ///
    /// # Errors
    /// If the task does not fit the schema, or a file is damaged.
    fn search(&self, task: &SearchTask<'_>) -> Result<SearchPart>;

    /// The first `limit` wanted rows in the order of their primary keys, each key once in its latest
    /// version.
    ///
    /// # Errors
    /// If the task does not fit the schema, or a file is damaged.
    fn retrieve(&self, task: &RetrieveTask<'_>) -> Result<RetrievePart>;

    /// How many rows are wanted; a key inserted twice counts twice. Output and limit do not matter.
    ///
    /// # Errors
    /// If the task does not fit the schema, or a file is damaged.
    fn count(&self, task: &RetrieveTask<'_>) -> Result<u64>;
}

/// A vector search.
#[derive(Clone, Copy, Debug)]
pub struct SearchTask<'a> {
    /// Fields the segment lacks read as this schema's defaults.
    pub schema: &'a CollectionSchema,
    /// The vector field.
    pub field: FieldId,
    /// How nearness is measured.
    pub metric: Metric,
    /// `nq × dim` values, row-major.
    pub queries: &'a [f32],
    /// Hits wanted per query.
    pub limit: usize,
    /// HNSW: candidates kept; the index's default without.
    pub ef: Option<u32>,
    /// IVF: lists compared; the index's default without.
    pub nprobe: Option<u32>,
    /// Scores wanted.
    pub range: Option<Range>,
    /// Which rows are wanted at all.
    pub filter: Option<&'a Plan>,
    /// Fields to return; the primary key always is.
    pub output: &'a [FieldId],
    /// The read point.
    pub read_timestamp: Timestamp,
    /// Rows written before this are expired.
    pub expired_before: Option<Timestamp>,
}

/// A retrieval by filter.
#[derive(Clone, Copy, Debug)]
pub struct RetrieveTask<'a> {
    /// Fields the segment lacks read as this schema's defaults.
    pub schema: &'a CollectionSchema,
    /// Which rows are wanted; all without.
    pub filter: Option<&'a Plan>,
    /// Fields to return; the primary key always is.
    pub output: &'a [FieldId],
    /// The first so many in primary key order; `None` for all.
    pub limit: Option<usize>,
    /// The read point.
    pub read_timestamp: Timestamp,
    /// Rows written before this are expired.
    pub expired_before: Option<Timestamp>,
}
