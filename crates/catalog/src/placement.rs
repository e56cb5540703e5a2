//! What is loaded, where it is held, and who answers for it.

use std::collections::{BTreeMap, BTreeSet};

use redkite_types::{NodeId, PartitionId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

/// A collection that users asked to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// What of it.
    pub scope: LoadScope,
    /// How many replicas; what they are is in the [`crate::ReplicasRecord`].
    pub replicas: u32,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Partitions whose loading has been completed once, by every replica; reads of others answer "not fully loaded".
    #[serde(default)]
    pub loaded: BTreeSet<PartitionId>,
}

/// Which partitions are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadScope {
    /// All, also those created later.
    Collection,
    /// These.
    Partitions(BTreeSet<PartitionId>),
}

impl LoadScope {
    /// Whether the partition is meant.
    #[must_use]
    pub fn contains(&self, partition: PartitionId) -> bool {
        match self {
            Self::Collection => true,
            Self::Partitions(partitions) => partitions.contains(&partition),
        }
    }
}

/// The segments of a collection that a query node should hold.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HoldRecord {
    /// The segments.
    pub segments: BTreeSet<SegmentId>,
}

/// The segments of a collection that a query node does hold.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The segments, ready to be searched.
    pub segments: BTreeMap<SegmentId, HeldSegment>,
    /// Segments that cannot be opened, with the reason.
    #[serde(default)]
    pub failures: BTreeMap<SegmentId, String>,
}

/// What a held segment costs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeldSegment {
    /// Bytes on the heap.
    pub resident_bytes: u64,
    /// Bytes mapped from files.
    pub mapped_bytes: u64,
}

/// Who answers for the sealed segments of one shard in one replica.
///
/// A reader uses one version from beginning to end; the segments of a version hold every row of the
/// loaded partitions exactly once, apart from what the shard's leader still serves as growing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServingView {
    /// Grows by one with every change.
    pub version: u64,
    /// The segments.
    pub segments: Vec<ViewSegment>,
}

/// One segment of a [`ServingView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSegment {
    /// The segment.
    pub segment: SegmentId,
    /// Its partition.
    pub partition: PartitionId,
    /// The query node that answers for it.
    pub node: NodeId,
}
