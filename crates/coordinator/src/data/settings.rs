//! How background work is weighed against its cost.

use std::time::Duration;

use redkite_runtime::units::{self, Bytes};
use serde::{Deserialize, Serialize};

/// Settings of the data coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataSettings {
    /// Tasks a data node is given at once. More overlap better, but share the same cores.
    pub tasks_per_node: usize,
    /// Changes that arrive within this time are planned together.
    #[serde(with = "units::millis")]
    pub debounce: Duration,
    /// How often everything is looked at again, for what depends on time.
    #[serde(with = "units::seconds")]
    pub review_interval: Duration,
    /// How long work that failed is left alone.
    #[serde(with = "units::seconds")]
    pub retry_failed_after: Duration,
    /// Merging of segments.
    pub compaction: CompactionSettings,
    /// Folding of deletes into segments.
    pub fold: FoldSettings,
    /// Removal of what nobody needs.
    pub gc: GarbageSettings,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            tasks_per_node: 2,
            debounce: Duration::from_millis(5),
            review_interval: Duration::from_secs(30),
            retry_failed_after: Duration::from_secs(600),
            compaction: CompactionSettings::default(),
            fold: FoldSettings::default(),
            gc: GarbageSettings::default(),
        }
    }
}

/// When segments are merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CompactionSettings {
    /// Whether segments are merged without being asked to. Milvus: `dataCoord.enableCompaction`.
    pub enabled: bool,
    /// Size of a full segment; a bare number is MiB. Larger ones search faster and are rewritten
    /// dearer. Milvus: `dataCoord.segment.maxSize`.
    #[serde(with = "units::mebibytes")]
    pub max_segment_bytes: Bytes,
    /// Small segments of a shard and partition that make a merge worthwhile. Milvus:
    /// `dataCoord.compaction.min.segment`.
    pub min_segments: usize,
    /// A segment with more deleted rows than this share, in percent, is rewritten. Milvus:
    /// `dataCoord.compaction.single.ratio.threshold`.
    pub deleted_rows_percent: u8,
}

impl Default for CompactionSettings {
    fn default() -> Self {
        Self { enabled: true, max_segment_bytes: Bytes(1 << 30), min_segments: 4, deleted_rows_percent: 20 }
    }
}

/// When deletes are folded into segments: opening a segment applies every delta file it lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FoldSettings {
    /// Delta files of a shard.
    pub max_files: usize,
    /// Their size together.
    #[serde(with = "units::mebibytes")]
    pub max_bytes: Bytes,
    /// Deletes in them.
    pub max_rows: u64,
    /// Age of the oldest.
    #[serde(with = "units::seconds")]
    pub max_age: Duration,
}

impl Default for FoldSettings {
    fn default() -> Self {
        Self {
            max_files: 16,
            max_bytes: Bytes(16 << 20),
            max_rows: 200_000,
            max_age: Duration::from_secs(600),
        }
    }
}

/// When what nobody needs is removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GarbageSettings {
    /// How often dropped segments and collections are looked for.
    #[serde(with = "units::seconds")]
    pub check_interval: Duration,
    /// How long files of a dropped segment stay, for reads that have begun. Milvus:
    /// `dataCoord.gc.dropTolerance`.
    #[serde(with = "units::seconds")]
    pub drop_tolerance: Duration,
    /// How often all objects are compared with the records. Milvus: `dataCoord.gc.interval`.
    #[serde(with = "units::seconds")]
    pub interval: Duration,
    /// How old an object without record must be to be removed: longer than any write from its first
    /// byte to its record. Milvus: `dataCoord.gc.missingTolerance`.
    #[serde(with = "units::seconds")]
    pub missing_tolerance: Duration,
    /// Nobody else can be writing when this process starts: objects without record that are older than
    /// the process are removed at once. Only for the standalone shape.
    pub sole_writer: bool,
}

impl Default for GarbageSettings {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            drop_tolerance: Duration::from_secs(30),
            interval: Duration::from_secs(3600),
            missing_tolerance: Duration::from_secs(3600),
            sole_writer: false,
        }
    }
}
