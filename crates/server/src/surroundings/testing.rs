//! Surroundings for tests: processes with sessions, and a query coordinator that says what it is told to say.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use redkite_balance::{Bytes, Cpu, Imbalance, NodeState, Share};
use redkite_catalog::MetadataView;
use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};
use redkite_cluster::sessions::SessionsView;
use redkite_cluster::{Kv, SessionInfo};
use redkite_runtime::Tasks;
use redkite_service::{
    BalanceAnswer, BalanceCommand, BalanceStatus, DdlAck, NewLoad, NodeStatus, PlacementCommand, QueryCoord,
    RequestId, Result,
};
use redkite_types::{CollectionId, NodeId, PartitionId, Timestamp};

use super::Surroundings;

/// Balances as it is told to.
pub(crate) struct Coordinator<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(BalanceCommand) -> BoxFuture<'static, Result<BalanceAnswer>> + Send + Sync> QueryCoord
    for Coordinator<F>
{
    async fn load(&self, _: RequestId, _: NewLoad) -> Result<DdlAck> {
        unreachable!("nobody asks")
    }

    async fn place(&self, _: RequestId, _: PlacementCommand) -> Result<DdlAck> {
        unreachable!("nobody asks")
    }

    async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        self.0(command).await
    }

    async fn release(&self, _: RequestId, _: CollectionId, _: Vec<PartitionId>) -> Result<DdlAck> {
        unreachable!("nobody asks")
    }
}

/// What is around node 1. Lives as long as the directory.
pub(crate) async fn surroundings(
    sessions: &[SessionInfo],
    query: Arc<dyn QueryCoord>,
) -> (Surroundings, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::new("test");
    let path = directory.path().join("metadata.redb");
    let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
    for info in sessions {
        kv.put(info.key(), info.to_value()).await.unwrap();
    }
    let surroundings = Surroundings {
        node: NodeId(1),
        view: MetadataView::start(kv.clone(), &tasks).await.unwrap(),
        sessions: SessionsView::start(kv.clone(), &tasks).await.unwrap(),
        kv,
        query,
    };
    (surroundings, directory)
}

pub(crate) fn session(role: &str, node: i64) -> SessionInfo {
    SessionInfo {
        server_id: node,
        server_name: role.to_owned(),
        address: format!("host:{node}"),
        host_name: "host".to_owned(),
        ..SessionInfo::default()
    }
}

/// Everything is even and nothing moves.
pub(crate) fn status(nodes: Vec<NodeStatus>) -> BalanceStatus {
    BalanceStatus {
        at: Timestamp(1),
        automatic: true,
        suspended: false,
        evening: false,
        imbalance: Imbalance::default(),
        nodes,
        leaders: Vec::new(),
        moving: Vec::new(),
        waiting: Vec::new(),
        unplaced: Vec::new(),
    }
}

/// An empty node of two cores.
pub(crate) fn node_status(node: i64) -> NodeStatus {
    NodeStatus {
        node: NodeId(node),
        state: NodeState::Serving,
        memory: Bytes(0),
        used: Share(0),
        segments: 0,
        bytes: Bytes(0),
        other: Bytes(0),
        cpus: Cpu(2_000_000),
        cpu: Cpu(500_000),
        coming: 0,
        going: 0,
        drain: None,
    }
}
