//! Neighbours that live in the same process.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
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

    async fn on_node(&self, node: NodeId) -> Result<Arc<dyn Shard>, Error> {
        let present = self.streaming.get().ok_or(Error::NodeNotFound { node: node.0 })?;
        Ok(present.clone())
    }
}

#[async_trait]
impl SegmentsDirectory for Neighbours {
    async fn node(&self, node: NodeId) -> Result<Arc<dyn Segments>, Error> {
        let present = self.query.get().ok_or(Error::NodeNotFound { node: node.0 })?;
        Ok(present.clone())
    }
}
