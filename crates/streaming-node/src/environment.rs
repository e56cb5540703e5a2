//! What a streaming node is given: records, logs, files, ids, time, its neighbours.

use std::collections::BTreeSet;
use std::sync::Arc;

use redkite_catalog::MetadataView;
use redkite_cluster::IdAllocator;
use redkite_cluster::kv::{Kv, KvError, LeaseId, Txn};
use redkite_runtime::{Clock, CpuPool, Tasks};
use redkite_service::SegmentsDirectory;
use redkite_storage::ObjectStore;
use redkite_types::NodeId;
use redkite_wal::LogProvider;
use tokio::sync::watch;

use crate::StreamingNodeSettings;

/// What a streaming node is given.
#[derive(Clone)]
pub struct Environment {
    /// Who it is.
    pub node: NodeId,
    /// How it behaves.
    pub settings: StreamingNodeSettings,
    /// The watched records.
    pub view: MetadataView,
    /// The metastore.
    pub kv: Arc<dyn Kv>,
    /// The lease of this process's session, as it changes: what the node reports vanishes with it.
    /// Without a session reports stay until they are taken back.
    pub lease: Option<watch::Receiver<Option<LeaseId>>>,
    /// The logs of shards.
    pub logs: Arc<dyn LogProvider>,
    /// Where sealed segments and delete files go.
    pub store: Arc<dyn ObjectStore>,
    /// Query nodes.
    pub segments: Arc<dyn SegmentsDirectory>,
    /// The query nodes that are alive, as they change: others get no deletes and are not read from. Without
    /// it all are taken to be alive.
    pub query_nodes: Option<watch::Receiver<Arc<BTreeSet<NodeId>>>>,
    /// New segment ids.
    pub ids: Arc<IdAllocator>,
    /// Where searches compute.
    pub cpu: CpuPool,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where background loops run.
    pub tasks: Tasks,
}

impl Environment {
    /// Waits until the view shows everything that is committed at this moment: a miss in the view is
    /// confirmed so before it becomes an error.
    pub(crate) async fn catch_up(&self) -> Result<(), KvError> {
        // A transaction without changes takes no revision and tells the present one.
        let revision = self.kv.txn(Txn::new()).await?.revision;
        self.view.wait_for(revision).await;
        Ok(())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("node", &self.node).finish_non_exhaustive()
    }
}
