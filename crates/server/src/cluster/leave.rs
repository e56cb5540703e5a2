//! What does a stop wait for? Until others serve what this process serves, if there are others.

use redkite_catalog::Metadata;
use redkite_cluster::sessions::Sessions;
use redkite_types::NodeId;

use super::Role;

/// How many things are still this node's to do, as far as another could do them.
pub(super) fn left(metadata: &Metadata, sessions: &Sessions, role: Role, node: NodeId) -> usize {
    let another = sessions.nodes(role.name()).any(|(other, peer)| other != node && !peer.info.stopping);
    if !another {
        return 0;
    }
    match role {
        Role::StreamingNode => {
            metadata.assignments.values().filter(|assignment| assignment.node == node).count()
        }
        Role::QueryNode => {
            let mine = metadata.holds.iter().filter(|((holder, _), _)| *holder == node);
            mine.map(|(_, hold)| hold.segments.len()).sum()
        }
        Role::DataNode => metadata.tasks.values().filter(|task| task.node == node).count(),
        Role::Proxy | Role::RootCoord | Role::DataCoord | Role::QueryCoord => 0,
    }
}
