//! What can be set on a streaming node.

use std::time::Duration;

use redkite_runtime::units::{self, Bytes};
use serde::{Deserialize, Serialize};

/// Settings of a streaming node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StreamingNodeSettings {
    /// Bytes written to a shard after which its growing segments are sealed. Larger makes fewer, larger
    /// segments, but more memory, more brute-force search, and a longer recovery.
    pub seal_bytes: Bytes,
    /// Pieces of a shard's log after which its growing segments are sealed, where logs are read piece by piece:
    /// objects in a bucket. More make fewer, larger segments of a trickle of small writes, but a longer
    /// recovery: at 20 ms for an object and 64 at a time, 4096 take more than a second.
    pub seal_log_pieces: usize,
    /// Growing rows that nobody has added to for so long are sealed, so that they get indexed.
    #[serde(with = "units::seconds")]
    pub seal_idle: Duration,
    /// Bytes written to a shard and not yet in files (or not yet served by query nodes) above which
    /// writers wait.
    pub max_unsealed_bytes: Bytes,
    /// Bytes of writes to one shard that may be queued or on their way to its log.
    pub max_in_flight_bytes: Bytes,
    /// Writes of one shard that may wait for its writer.
    pub queued_writes: usize,
    /// How long a write waits for room.
    #[serde(with = "units::seconds")]
    pub write_patience: Duration,
    /// How long a read waits for a serving view, a restarting node or its guarantee timestamp, and how long
    /// any call waits for its shard to come up.
    #[serde(with = "units::seconds")]
    pub read_patience: Duration,
    /// How long a query node may take to confirm deletes before it is taken out of the writers' way;
    /// reads then wait for it instead.
    #[serde(with = "units::seconds")]
    pub delete_patience: Duration,
    /// How long a query node may take to answer a read before another replica is asked, too. Shorter hides
    /// hung nodes better, longer asks twice less often.
    #[serde(with = "units::millis")]
    pub hedge_after: Duration,
    /// Shards recovered at the same time.
    pub parallel_recoveries: usize,
    /// Pauses between tries of a failing flush grow up to this.
    #[serde(with = "units::seconds")]
    pub retry_ceiling: Duration,
}

impl Default for StreamingNodeSettings {
    fn default() -> Self {
        Self {
            seal_bytes: Bytes(256 << 20),
            seal_log_pieces: 4096,
            seal_idle: Duration::from_secs(600),
            max_unsealed_bytes: Bytes(1 << 30),
            max_in_flight_bytes: Bytes(64 << 20),
            queued_writes: 256,
            write_patience: Duration::from_secs(30),
            read_patience: Duration::from_secs(10),
            delete_patience: Duration::from_secs(2),
            hedge_after: Duration::from_secs(1),
            parallel_recoveries: 16,
            retry_ceiling: Duration::from_secs(5),
        }
    }
}
