//! Query nodes: which there are, and that one is not used or used again.

use redkite_cluster::sessions::Sessions;
use redkite_rpc::role;
use redkite_service::{BalanceCommand, Error};
use redkite_types::NodeId;
use serde::Serialize;

use super::form::Form;
use super::{Answer, Refused, coordinator, done};
use crate::surroundings::{Surroundings, nodes_of};

/// Milvus: `ListQueryNodeResponse`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeList {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    node_infos: Vec<NodeInfo>,
}

/// Milvus: `querypb.NodeInfo`.
#[derive(Debug, Serialize)]
struct NodeInfo {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    state: &'static str,
}

pub(super) async fn list(around: Surroundings, _: Form) -> Answer {
    let status = coordinator(&around).await?;
    let drained: Vec<NodeId> =
        status.nodes.iter().filter(|node| node.drain.is_some()).map(|node| node.node).collect();
    let sessions = around.sessions.current();
    let info = |(node, peer): (NodeId, &redkite_cluster::Peer)| NodeInfo {
        id: node.0,
        address: peer.info.address.clone(),
        state: match (peer.info.stopping, drained.contains(&node)) {
            (true, _) => "stopping",
            (false, true) => "suspended",
            (false, false) => "active",
        },
    };
    let list = NodeList { node_infos: nodes_of(&sessions, role::QUERY_NODE).map(info).collect() };
    serde_json::to_string(&list).map_err(|error| Refused::failed(error.to_string()))
}

/// Drains it.
pub(super) async fn suspend(around: Surroundings, form: Form) -> Answer {
    let node = form.node("node_id")?;
    let drain = BalanceCommand::Drain { node, deadline: None };
    around.query.balance(drain).await.map_err(|error| match error {
        Error::NodeNotFound { node } => unknown(NodeId(node), "failed to suspend query node"),
        error => error.into(),
    })?;
    done()
}

pub(super) async fn resume(around: Surroundings, form: Form) -> Answer {
    let node = form.node("node_id")?;
    if !is_there(&around.sessions.current(), node) {
        return Err(unknown(node, "failed to resume query node"));
    }
    around.query.balance(BalanceCommand::Undrain(node)).await?;
    done()
}

/// Whether it is a query node with a session.
pub(super) fn is_there(sessions: &Sessions, node: NodeId) -> bool {
    nodes_of(sessions, role::QUERY_NODE).any(|(id, _)| id == node)
}

/// In Milvus's words.
pub(super) fn unknown(node: NodeId, what: &str) -> Refused {
    Refused::failed(format!("{what}: {}", Error::NodeNotFound { node: node.0 }))
}
