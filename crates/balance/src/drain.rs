//! Can a node be emptied?

use redkite_types::{NodeId, Timestamp};

use crate::draft::Occasion;
use crate::observed::NodeState;
use crate::plan::{Plan, Unplaced};
use crate::planner::Planner;
use crate::quantity::Bytes;

/// Why a node is not drained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainRefused {
    /// There is no such node.
    #[error("node {0} does not live")]
    Unknown(NodeId),
    /// The others cannot hold everything.
    #[error(
        "the other nodes cannot hold {} of {segments} segments of node {node}, {missing} of {bytes}: {}",
        unplaced.len(), unplaced.first().map(|one| one.obstacle.to_string()).unwrap_or_default()
    )]
    NoPlace {
        /// The node.
        node: NodeId,
        /// How many segments are on it.
        segments: usize,
        /// How large they are.
        bytes: Bytes,
        /// How large those are for which there is no place.
        missing: Bytes,
        /// Those, and what is in the way of each.
        unplaced: Vec<Unplaced>,
    },
}

pub(crate) fn plan(planner: &mut Planner, id: NodeId, now: Timestamp) -> Result<Plan, DrainRefused> {
    let slot = planner.cluster.slot_of(id);
    let node = slot.and_then(|slot| planner.cluster.node(slot).observed.clone());
    let (Some(slot), Some(node)) = (slot, node) else {
        return Err(DrainRefused::Unknown(id));
    };
    let mut draining = node.clone();
    draining.state = NodeState::Draining;
    planner.set_node(draining);
    planner.cluster.sort(slot);
    let copies = planner.cluster.node(slot).sized(crate::cluster::Resource::Memory, ..);
    let (segments, bytes) = copies.fold((0, Bytes(0)), |(count, bytes), copy| {
        (count + 1, bytes + Bytes(planner.cluster.copy(copy).bytes()))
    });
    let plan = planner.plan(Occasion::Change, now);
    planner.set_node(node);
    let unplaced: Vec<_> = plan.unplaced.iter().filter(|one| one.on == Some(id)).cloned().collect();
    if unplaced.is_empty() {
        return Ok(plan);
    }
    let missing = unplaced.iter().map(|one| one.bytes).sum();
    Err(DrainRefused::NoPlace { node: id, segments, bytes, missing, unplaced })
}
