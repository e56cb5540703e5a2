//! What is a plan made from?

use std::collections::BTreeSet;
use std::sync::Arc;

use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, Cpu};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The nodes that live.
    pub nodes: Vec<Node>,
    /// The replicas of loaded collections.
    pub replicas: Vec<Replica>,
    /// What they consist of.
    pub copies: Vec<Copy>,
}

/// A query node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Who it is.
    pub id: NodeId,
    /// What may be done with it.
    pub state: NodeState,
    /// Has come since nodes were last evened out, so it is to get its share now. The caller takes the mark away
    /// when the plan that gave it its share is done.
    pub joined: bool,
    /// Memory it may use.
    pub memory: Bytes,
    /// Memory that cannot move away.
    pub fixed: FixedBytes,
    /// CPUs it may use.
    pub cpu: Cpu,
    /// CPU spent on what cannot move away: all it spends, less what its copies do.
    pub fixed_cpu: Cpu,
    /// What moves may ask of it.
    pub limits: MoveLimits,
}

/// What may be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Gives and takes.
    Serving,
    /// Keeps what it holds; takes nothing, and gives nothing by itself.
    Suspended,
    /// Everything is to leave it.
    Draining,
}

/// Memory of a node that no move changes, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedBytes {
    /// Growing rows.
    pub growing: Bytes,
    /// Buffered deletes.
    pub deletes: Bytes,
    /// Whatever else the process needs.
    pub other: Bytes,
}

impl FixedBytes {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.growing + self.deletes + self.other
    }
}

/// What moves may ask of a node at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveLimits {
    /// Segments on their way to it, and as many on their way from it.
    pub concurrency: u32,
    /// Bytes per second it loads, over all moves.
    pub bandwidth: Bytes,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self { concurrency: 4, bandwidth: Bytes(200 << 20) }
    }
}

/// One whole copy of what is loaded of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Which one.
    pub id: ReplicaId,
    /// Of what.
    pub collection: CollectionId,
    /// The nodes its segments may be on. Those that do not live are disregarded.
    pub nodes: Arc<BTreeSet<NodeId>>,
}

/// Names a copy of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyId {
    /// The replica it belongs to.
    pub replica: ReplicaId,
    /// The segment.
    pub segment: SegmentId,
}

/// One replica's copy of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which one.
    pub id: CopyId,
    /// Memory it takes.
    pub bytes: Bytes,
    /// CPU spent on searching it.
    pub cpu: Cpu,
    /// The node that answers for it; none if it is new or its node was lost.
    pub node: Option<NodeId>,
    /// A move of it is under way, to this node.
    pub moving_to: Option<NodeId>,
    /// When it last moved, by whatever reason; zero if never.
    pub moved_at: Timestamp,
    /// It was put there by hand, so nothing but the loss or leave of its node moves it.
    pub pinned: bool,
}
