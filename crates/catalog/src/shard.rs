//! Who leads a shard, and how far its log has become files.

use std::collections::BTreeMap;

use redkite_types::{Epoch, Lsn, NodeId, PartitionId, ProxyRun, Timestamp};
use serde::{Deserialize, Serialize};

/// Which streaming node leads a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardAssignment {
    /// The leader.
    pub node: NodeId,
    /// Fences the leaders before it.
    pub epoch: Epoch,
    /// Since when, if the shard was moved there to even nodes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Timestamp>,
}

impl ShardAssignment {
    /// A leader that was chosen because there was none.
    #[must_use]
    pub fn new(node: NodeId, epoch: Epoch) -> Self {
        Self { node, epoch, moved: None }
    }
}

/// A leader's word that it serves a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The leader.
    pub node: NodeId,
    /// The assignment it acts on.
    pub epoch: Epoch,
}

/// How much of a shard's log is in segment and delta files.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardCheckpoint {
    /// Every record up to here is in files; recovery reads the log after it.
    pub lsn: Lsn,
    /// No write up to here comes from the log after `lsn`.
    pub timestamp: Timestamp,
    /// Partitions whose inserts are in files further than `lsn` (a flush of many partitions commits in parts).
    #[serde(default)]
    pub ahead: BTreeMap<PartitionId, Lsn>,
    /// Delete files that some sealed segment has not folded in yet, oldest first.
    #[serde(default)]
    pub deltas: Vec<DeltaFile>,
    /// Which writes up to `lsn` may still be sent again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writes: BTreeMap<ProxyRun, AppliedWrites>,
}

/// What a shard remembers of one proxy, so that none of its writes is applied twice.
///
/// Small: a proxy numbers its writes in a row, and is forgotten when it has been silent for minutes. What
/// interrupts a row is a write that was refused, or one under way; there can be no more of them than a
/// proxy may have unsettled.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppliedWrites {
    /// When it wrote last.
    pub heard: Timestamp,
    /// Everything below is settled and will not be sent again.
    pub settled_below: u64,
    /// What else is applied: first and last of each row of consecutive numbers.
    pub applied: Vec<(u64, u64)>,
}

/// A file of deletes (primary key, timestamp) of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaFile {
    /// Path in the object store.
    pub path: String,
    /// Deletes are after this timestamp …
    pub after: Timestamp,
    /// … and not after this one.
    pub through: Timestamp,
    /// Number of deletes.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
}
