//! Neighbours that live in the same process, and ids for whoever names things.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use redkite_cluster::{IdAllocator, KvError};
use redkite_query_node::QueryNode;
use redkite_service::{Error, Segments, SegmentsDirectory, Shard, ShardDirectory};
use redkite_streaming_node::StreamingNode;
use redkite_types::{NodeId, ShardId};

/// The nodes of the process, once they are made: each needs the other.
#[derive(Default)]
pub(super) struct Neighbours {
    pub(super) streaming: OnceLock<Arc<StreamingNode>>,
    pub(super) query: OnceLock<Arc<QueryNode>>,
}

#[async_trait]
impl ShardDirectory for Neighbours {
    async fn leader(&self, shard: ShardId) -> Result<Arc<dyn Shard>, Error> {
        // The node itself knows whether it leads the shard, and why perhaps it cannot.
        let node = self.streaming.get().ok_or(Error::ShardNotAvailable { shard: shard.to_string() })?;
        Ok(node.clone())
    }
}

#[async_trait]
impl SegmentsDirectory for Neighbours {
    async fn node(&self, node: NodeId) -> Result<Arc<dyn Segments>, Error> {
        let present = self.query.get().ok_or(Error::NodeNotFound { node: node.0 })?;
        Ok(present.clone())
    }
}

/// One source of ids for every role.
#[derive(Clone)]
pub(super) struct SharedIds(pub(super) Arc<IdAllocator>);

#[async_trait]
impl redkite_coordinator::Ids for SharedIds {
    async fn reserve(&self, count: u32) -> Result<i64, KvError> {
        self.0.take(count).await
    }
}

#[async_trait]
impl redkite_proxy::AutoIds for SharedIds {
    async fn allocate(&self, count: u32) -> Result<i64, Error> {
        self.0.take(count).await.map_err(|error| {
            let reason = error.to_string();
            if error.disk_full() { Error::DiskFull { reason } } else { Error::Unavailable { reason } }
        })
    }
}
