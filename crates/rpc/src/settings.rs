//! What can be set on calls between processes.

use std::time::Duration;

use redkite_runtime::units::{self, Bytes};
use serde::{Deserialize, Serialize};

/// Settings of both ends of calls between processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RpcSettings {
    /// Largest request or answer. It has to hold a client's largest write, and results before they are
    /// merged.
    pub max_message: Bytes,
    /// Connections to each process. One is driven by one thread at a time (about 1 GB/s on loopback); more
    /// let large messages use more threads.
    pub connections: usize,
    /// How long making a connection may take.
    #[serde(with = "units::seconds")]
    pub connect_timeout: Duration,
    /// How long a read may take.
    #[serde(with = "units::seconds")]
    pub read_timeout: Duration,
    /// How long a write may take.
    #[serde(with = "units::seconds")]
    pub write_timeout: Duration,
    /// How long one try of a definition command may take.
    #[serde(with = "units::seconds")]
    pub command_timeout: Duration,
    /// How long a definition command is tried again while there is no active coordinator.
    #[serde(with = "units::seconds")]
    pub command_patience: Duration,
    /// How long a call waits for its shard to get a leader that is alive.
    #[serde(with = "units::seconds")]
    pub leader_patience: Duration,
    /// Pause between pings of a connection, also of one that is idle.
    #[serde(with = "units::seconds")]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take before the connection counts as lost.
    #[serde(with = "units::seconds")]
    pub ping_timeout: Duration,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self {
            max_message: Bytes(256 << 20),
            connections: 2,
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            command_timeout: Duration::from_secs(60),
            command_patience: Duration::from_secs(30),
            leader_patience: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
        }
    }
}

impl RpcSettings {
    pub(crate) fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_message.0).unwrap_or(usize::MAX)
    }
}
