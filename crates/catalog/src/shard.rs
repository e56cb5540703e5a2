//! Who leads a shard, and how far its log has become files.

use std::collections::BTreeMap;

use redkite_types::{Epoch, Lsn, NodeId, PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

/// Which streaming node leads a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardAssignment {
    /// The leader.
    pub node: NodeId,
    /// Fences the leaders before it.
    pub epoch: Epoch,
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
