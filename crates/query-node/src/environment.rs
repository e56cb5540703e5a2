//! What a query node is given: records, files, shard leaders, threads.

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::MetadataView;
use redkite_cluster::kv::{Kv, LeaseId};
use redkite_runtime::{CpuPool, Tasks};
use redkite_service::ShardDirectory;
use redkite_storage::ObjectStore;
use redkite_types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How a query node behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryNodeSettings {
    /// Segments opened at the same time.
    pub concurrent_loads: usize,
    /// Memory that the node may use, in bytes. 0: all that the machine or its control group allows.
    pub memory_limit: u64,
    /// How long a read waits for a segment that is being opened before it fails.
    pub load_patience: Duration,
}

impl Default for QueryNodeSettings {
    fn default() -> Self {
        Self { concurrent_loads: 8, memory_limit: 0, load_patience: Duration::from_secs(10) }
    }
}

/// What a query node is given.
#[derive(Clone)]
pub struct Environment {
    /// Who it is.
    pub node: NodeId,
    /// How it behaves.
    pub settings: QueryNodeSettings,
    /// The watched records.
    pub view: MetadataView,
    /// The metastore.
    pub kv: Arc<dyn Kv>,
    /// The lease of this process; what the node reports vanishes with it, and is reported again under
    /// the next one.
    pub lease: Option<watch::Receiver<Option<LeaseId>>>,
    /// Where segment files are.
    pub store: Arc<dyn ObjectStore>,
    /// Leaders of shards, for deletes that a new segment has missed.
    pub shards: Arc<dyn ShardDirectory>,
    /// Where searches compute.
    pub cpu: CpuPool,
    /// Where background loops run.
    pub tasks: Tasks,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("node", &self.node).finish_non_exhaustive()
    }
}
