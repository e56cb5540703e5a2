//! Balancing of query nodes: what may be asked of the query coordinator, and what it tells.

use std::collections::BTreeSet;

use redkite_balance::{Bytes, Cpu, Imbalance, Move, NodeState, Plan, Share, Unplaced};
use redkite_catalog::{CopyKey, DrainRecord, MoveRecord, MovedRecord};
use redkite_types::{CollectionId, NodeId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

/// What is to be done or told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalanceCommand {
    /// What would make nodes even now, without doing it.
    Plan,
    /// How things stand.
    Status,
    /// The latest moves, at most so many.
    History(usize),
    /// Automatic balancing stops. What must move (from nodes that leave, or by hand) still does.
    Suspend,
    /// Automatic balancing goes on.
    Resume,
    /// Everything leaves a node, which takes nothing more. Refused if the others cannot hold it.
    Drain {
        /// The node.
        node: NodeId,
        /// How long whoever asks is going to wait, in seconds.
        deadline: Option<u64>,
    },
    /// A drained node is used again.
    Undrain(NodeId),
    /// Segments go to other nodes; answered when they have.
    Transfer(TransferRequest),
}

/// Segments that somebody wants elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRequest {
    /// Of this collection only.
    pub collection: Option<CollectionId>,
    /// These; all if empty.
    pub segments: BTreeSet<SegmentId>,
    /// From this node.
    pub from: NodeId,
    /// To these nodes; to any that the replica may use if empty.
    pub to: BTreeSet<NodeId>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalanceAnswer {
    /// What would be done.
    Plan(Plan),
    /// How things stand.
    Status(Box<BalanceStatus>),
    /// The latest moves, the latest first.
    History(Vec<MovedRecord>),
    /// It is done, or has begun: so many segments with so many bytes are concerned.
    Done {
        /// Segments.
        segments: usize,
        /// Their bytes.
        bytes: Bytes,
        /// How long it takes, in milliseconds, if nodes load as fast as they may.
        milliseconds: u64,
    },
}

/// How balancing stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceStatus {
    /// When this was looked at.
    pub at: Timestamp,
    /// Whether nodes are evened out automatically: it is switched on, and nobody has suspended it.
    pub automatic: bool,
    /// Somebody has suspended it.
    pub suspended: bool,
    /// Nodes are being evened out.
    pub evening: bool,
    /// How uneven nodes are, counting moves under way as done.
    pub imbalance: Imbalance,
    /// The query nodes.
    pub nodes: Vec<NodeStatus>,
    /// The streaming nodes.
    #[serde(default)]
    pub leaders: Vec<LeaderStatus>,
    /// Moves under way.
    pub moving: Vec<(CopyKey, MoveRecord)>,
    /// Moves that wait for their turn.
    pub waiting: Vec<Move>,
    /// What should be elsewhere, but can not.
    pub unplaced: Vec<Unplaced>,
}

/// How a streaming node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStatus {
    /// Which one.
    pub node: NodeId,
    /// What may be done with it.
    pub state: NodeState,
    /// Memory it may use.
    pub memory: Bytes,
    /// Shards that it leads.
    pub shards: usize,
    /// Their bytes that are only in the log and in memory, on average.
    pub bytes: Bytes,
    /// CPU it has.
    pub cpus: Cpu,
    /// CPU that writes to them, and reads of those bytes, take.
    pub cpu: Cpu,
    /// Shards that it has been given, and does not serve yet.
    pub coming: usize,
}

/// How a query node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which one.
    pub node: NodeId,
    /// What may be done with it.
    pub state: NodeState,
    /// Memory it may use.
    pub memory: Bytes,
    /// What it uses of that.
    pub used: Share,
    /// Segments that it answers for.
    pub segments: usize,
    /// Their bytes on the heap and mapped from files.
    pub bytes: Bytes,
    /// Memory for other things.
    pub other: Bytes,
    /// CPU it has.
    pub cpus: Cpu,
    /// CPU it spends.
    pub cpu: Cpu,
    /// Segments on their way to it.
    pub coming: usize,
    /// Segments on their way from it.
    pub going: usize,
    /// The drain of it.
    pub drain: Option<DrainRecord>,
}
