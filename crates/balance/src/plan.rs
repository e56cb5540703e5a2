//! What does a plan say?

use std::collections::BTreeMap;
use std::time::Duration;

use redkite_types::{CollectionId, NodeId};
use serde::{Deserialize, Serialize};

use crate::observed::{Copy, CopyId, NodeState, Observed};
use crate::quantity::{Bytes, Share};

/// Where copies should go, and what that is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which they should start.
    pub moves: Vec<Move>,
    /// What should be elsewhere, but can not.
    pub unplaced: Vec<Unplaced>,
    /// How uneven nodes are, counting moves under way as done.
    pub before: Imbalance,
    /// How uneven they are once the plan is done.
    pub after: Imbalance,
    /// How long that takes if nodes load as fast as they may.
    pub duration: Duration,
}

impl Plan {
    /// Nothing to do and nothing to complain about.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.unplaced.is_empty()
    }

    /// All bytes that move.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.moves.iter().map(|one| one.bytes).sum()
    }

    /// Where every copy is once this plan and the moves under way are done; none if no living node has it then.
    #[must_use]
    pub fn assignment(&self, observed: &Observed) -> BTreeMap<CopyId, Option<NodeId>> {
        let nodes: BTreeMap<_, _> = observed.nodes.iter().map(|node| (node.id, node.state)).collect();
        let replicas = observed.replicas.iter().map(|replica| (replica.id, &replica.nodes));
        let replicas: BTreeMap<_, _> = replicas.collect();
        let takes = |copy: &Copy, node: &NodeId| {
            nodes.get(node) == Some(&NodeState::Serving)
                && replicas.get(&copy.id.replica).is_some_and(|nodes| nodes.contains(node))
        };
        let place = |copy: &Copy| {
            let target = copy.moving_to.filter(|node| takes(copy, node));
            target.or(copy.node.filter(|node| nodes.contains_key(node)))
        };
        let mut all: BTreeMap<_, _> = observed.copies.iter().map(|copy| (copy.id, place(copy))).collect();
        all.extend(self.moves.iter().map(|one| (one.copy, Some(one.to))));
        all
    }
}

/// One copy goes from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What moves.
    pub copy: CopyId,
    /// Its collection.
    pub collection: CollectionId,
    /// Who answers for it until it has moved; none if nobody does.
    pub from: Option<NodeId>,
    /// Where it goes.
    pub to: NodeId,
    /// Its size.
    pub bytes: Bytes,
    /// How long it takes if it has the target's bandwidth for itself.
    pub expected: Duration,
    /// Why it moves.
    pub reason: Reason,
    /// What it brings.
    pub gain: Gain,
}

/// Why a copy moves; the most urgent come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Nobody holds it: it is new, or its node was lost.
    Missing,
    /// Somebody asked for it.
    ByHand,
    /// Its node is leaving.
    Drained,
    /// Its node is not among those its replica may use any more.
    OutsideReplica,
    /// Its node has too little memory left.
    Overloaded,
    /// Another node has joined, and gets its share.
    NodeJoined,
    /// Its node holds more than others.
    UnevenMemory,
    /// Its node is busier than others.
    UnevenHeat,
}

impl Reason {
    /// As metrics and pages spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::ByHand => "by_hand",
            Self::Drained => "drained",
            Self::OutsideReplica => "outside_replica",
            Self::Overloaded => "overloaded",
            Self::NodeJoined => "node_joined",
            Self::UnevenMemory => "uneven_memory",
            Self::UnevenHeat => "uneven_heat",
        }
    }
}

/// How much closer a step brings its two nodes; an exchange of two segments has it with the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gain {
    /// In memory.
    pub memory: Share,
    /// In CPU.
    pub cpu: Share,
}

/// A copy that has to be elsewhere, and why there is no place for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// The copy.
    pub copy: CopyId,
    /// Where it is now.
    pub on: Option<NodeId>,
    /// Its size.
    pub bytes: Bytes,
    /// What is in the way.
    pub obstacle: Obstacle,
}

/// Why no node can take a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Obstacle {
    /// None of the nodes it may use serves.
    #[error("the replica has no node that serves")]
    NoNode,
    /// The nodes it may use hold the segment already, for other replicas.
    #[error("every node the replica may use holds the segment for another replica")]
    HeldEverywhere,
    /// The nodes it may use have too little memory left.
    #[error("{needed} needed, at most {largest} free on one node, {free} on all")]
    NoMemory {
        /// What the copy takes.
        needed: Bytes,
        /// What is left of the most that any one of them may use.
        largest: Bytes,
        /// The same for all of them together.
        free: Bytes,
    },
}

/// How far nodes are apart that could exchange segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imbalance {
    /// In memory.
    pub memory: Spread,
    /// In CPU.
    pub cpu: Spread,
}

/// The most and the least loaded of nodes, each relative to what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The most loaded.
    pub highest: Share,
    /// The least loaded.
    pub lowest: Share,
    /// All load of all capacity.
    pub mean: Share,
}

impl Spread {
    /// Between the most and the least loaded.
    #[must_use]
    pub fn difference(&self) -> Share {
        self.highest - self.lowest
    }

    pub(crate) fn max_by_difference(self, other: Self) -> Self {
        let key = |one: &Self| (one.difference(), one.highest, one.mean);
        if key(&other) > key(&self) { other } else { self }
    }

    /// The difference in relation to the mean.
    #[must_use]
    pub fn of_mean(&self) -> Share {
        Share::of(self.difference().0, self.mean.0)
    }
}
