//! What a data node is given: records, files, threads, time.

use std::sync::Arc;

use redkite_catalog::{MetadataView, SegmentRecord};
use redkite_cluster::kv::Kv;
use redkite_runtime::{Clock, CpuPool, Tasks};
use redkite_segment::SealedSegment;
use redkite_storage::ObjectStore;
use redkite_types::{CollectionId, NodeId, SegmentId};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a data node behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNodeSettings {
    /// Tasks done at the same time. Each uses all threads of the pool while it can; more tasks mean
    /// that small ones do not wait for large ones, at the price of memory.
    pub concurrent_tasks: usize,
}

impl Default for DataNodeSettings {
    fn default() -> Self {
        Self { concurrent_tasks: 2 }
    }
}

/// What a data node is given.
#[derive(Clone)]
pub struct Environment {
    /// Who it is.
    pub node: NodeId,
    /// How it behaves.
    pub settings: DataNodeSettings,
    /// The watched records.
    pub view: MetadataView,
    /// The metastore.
    pub kv: Arc<dyn Kv>,
    /// Where files are read and written.
    pub store: Arc<dyn ObjectStore>,
    /// Where the work computes; background threads.
    pub cpu: CpuPool,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where background loops run.
    pub tasks: Tasks,
}

impl Environment {
    /// The record of a segment.
    pub(crate) fn segment(&self, collection: CollectionId, segment: SegmentId) -> Result<Arc<SegmentRecord>> {
        self.view
            .read(|metadata| metadata.segments.get(&(collection, segment)).map(|entry| entry.record.clone()))
            .ok_or(Error::NoSegment { segment })
    }

    /// A segment with its folded deletes.
    pub(crate) async fn open(&self, record: &SegmentRecord) -> Result<SealedSegment> {
        Ok(SealedSegment::load(&*self.store, record).await?)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("node", &self.node).finish_non_exhaustive()
    }
}
