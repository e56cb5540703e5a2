//! Sealed segments: what is in them and in which files.

use std::collections::BTreeMap;

use redkite_types::{CollectionId, IndexId, PartitionId, SegmentId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Identity.
    pub id: SegmentId,
    /// The collection its rows belong to.
    pub collection: CollectionId,
    /// The partition its rows belong to.
    pub partition: PartitionId,
    /// The shard its rows belong to.
    pub shard: ShardId,
    /// Where it is in its life.
    pub state: SegmentState,
    /// Rows in the data file, deleted ones included.
    pub rows: u64,
    /// Size of the data file.
    pub bytes: u64,
    /// Timestamp of the oldest row.
    pub min_timestamp: Timestamp,
    /// Timestamp of the newest row.
    pub max_timestamp: Timestamp,
    /// Schema the rows were written under.
    pub schema_version: u32,
    /// Path of the data file in the object store.
    pub data: String,
    /// Deletes up to here have been applied to the data file or are in `deletes`; delta files that
    /// reach further must still be applied.
    pub deletes_through: Timestamp,
    /// Folded deletes.
    #[serde(default)]
    pub deletes: Option<DeletesFile>,
    /// Finished indexes.
    #[serde(default)]
    pub indexes: BTreeMap<IndexId, SegmentIndexFile>,
    /// Indexes that could not be built, with the reason.
    #[serde(default)]
    pub index_failures: BTreeMap<IndexId, String>,
    /// The segments this one replaces (compaction).
    #[serde(default)]
    pub sources: Vec<SegmentId>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// Where a sealed segment is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentState {
    /// Written by compaction, hidden until its indexes are built; its sources still serve.
    Building,
    /// Part of the collection.
    Flushed,
    /// Replaced or dropped; files are removed once no serving view names it.
    Dropped {
        /// Since when.
        at: Timestamp,
        /// The compacted segment that holds its rows now, if any.
        replaced_by: Option<SegmentId>,
    },
}

impl SegmentRecord {
    /// Whether its rows are part of the collection.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.state == SegmentState::Flushed
    }

    /// Rows known to be deleted by folded deletes.
    #[must_use]
    pub fn deleted_rows(&self) -> u64 {
        self.deletes.as_ref().map_or(0, |deletes| deletes.rows)
    }
}

/// A file naming the deleted rows of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletesFile {
    /// Path in the object store.
    pub path: String,
    /// Number of deleted rows.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// A finished index of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentIndexFile {
    /// Path in the object store.
    pub path: String,
    /// Size of the file.
    pub bytes: u64,
}
