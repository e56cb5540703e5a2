//! Segments that somebody wants elsewhere.

use axum::http::StatusCode;
use redkite_cluster::sessions::Sessions;
use redkite_rpc::role;
use redkite_service::{BalanceCommand, Error, TransferRequest};
use redkite_types::NodeId;

use super::form::Form;
use super::{Answer, Refused, done};
use crate::surroundings::{Surroundings, nodes_of};

/// Answers when they have moved; Milvus does when it has begun.
pub(super) async fn segment(around: Surroundings, form: Form) -> Answer {
    let from = form.node("source_node_id")?;
    let to = form.optional_node("target_node_id")?;
    let segment = form.optional_segment("segment_id")?;
    // Milvus's default is to copy. Whoever wants that must not be given something else.
    if form.flag("copy_mode", true)? {
        return Err(Refused::request(
            "copy_mode=true, the default, is not supported: the source would go on serving what it has given away. \
             Say copy_mode=false to move",
        ));
    }
    let sessions = around.sessions.current();
    is_available(&sessions, from).then_some(()).ok_or_else(|| unavailable(from, "source"))?;
    if let Some(to) = to {
        is_available(&sessions, to).then_some(()).ok_or_else(|| unavailable(to, "target"))?;
    }
    let request = TransferRequest {
        collection: None,
        segments: segment.into_iter().collect(),
        from,
        to: to.into_iter().collect(),
    };
    match around.query.balance(BalanceCommand::Transfer(request)).await {
        Ok(_) => done(),
        Err(error @ Error::SegmentNotFound { .. }) => Err(error.into()),
        Err(error) => Err(Refused::failed(format!("failed to balance segments: {error}"))),
    }
}

/// Streaming nodes lead shards, and hand them over only when they stop.
pub(super) async fn channel(_: Surroundings, form: Form) -> Answer {
    form.node("source_node_id")?;
    form.optional_node("target_node_id")?;
    form.flag("copy_mode", false)?;
    let what = "shard leaders stay on their streaming nodes until these stop".to_owned();
    Err(Refused { status: StatusCode::NOT_IMPLEMENTED, why: Error::Unimplemented { what }.to_string() })
}

fn is_available(sessions: &Sessions, node: NodeId) -> bool {
    nodes_of(sessions, role::QUERY_NODE).any(|(id, peer)| id == node && !peer.info.stopping)
}

/// In Milvus's words.
fn unavailable(node: NodeId, which: &str) -> Refused {
    Refused::failed(format!("the {which} node is invalid: node not available[node={node}]"))
}
