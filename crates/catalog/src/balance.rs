//! Copies of segments on their way to another query node, and where balancing stands.

use std::collections::BTreeSet;

use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Entry, Metadata};

/// A replica's copy of a segment that moves. Until the target holds it, the source answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRecord {
    /// The node that answers for it until the switch.
    pub from: NodeId,
    /// The node that answers for it afterwards.
    pub to: NodeId,
    /// Its size when the move began.
    pub bytes: u64,
    /// Why it moves, such as `node_joined`.
    pub reason: String,
    /// When it began.
    pub begun: Timestamp,
}

/// Where a copy came to by its last move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StayRecord {
    /// On this node.
    pub node: NodeId,
    /// Since then.
    pub since: Timestamp,
    /// Somebody put it there by hand: nothing but the loss or leave of the node moves it.
    pub pinned: bool,
}

/// A move that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRecord {
    /// The collection.
    pub collection: CollectionId,
    /// The replica.
    pub replica: ReplicaId,
    /// The segment.
    pub segment: SegmentId,
    /// What was to be done.
    #[serde(flatten)]
    pub moved: MoveRecord,
    /// When it ended.
    pub ended: Timestamp,
    /// The target could not take it.
    #[serde(default)]
    pub refused: bool,
    /// Why it was given up; none if it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

impl MovedRecord {
    /// The key: in the order in which moves ended.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:020}-{}-{}", self.ended.0, self.segment, self.replica)
    }
}

/// A query node that everything is to leave while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// Since when.
    pub begun: Timestamp,
    /// What there was to move.
    pub bytes: u64,
    /// When whoever asked for it gives up waiting; the drain goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// Where balancing stands; one for all.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BalanceRecord {
    /// Somebody has suspended automatic balancing. What must move (from nodes that leave or by hand) does.
    #[serde(default)]
    pub suspended: bool,
    /// Nodes are being evened out, which ends when there is nothing left to do.
    #[serde(default)]
    pub evening: bool,
    /// Nodes that have had their share since they came.
    #[serde(default)]
    pub settled: BTreeSet<NodeId>,
    /// Streaming nodes that have had their share of shards since they came.
    #[serde(default)]
    pub leaders: BTreeSet<NodeId>,
}

impl BalanceRecord {
    /// The key of the only one.
    pub const KEY: &str = "state";
}

/// Names a replica's copy of a segment: collection, replica, segment.
pub type CopyKey = (CollectionId, (ReplicaId, SegmentId));

impl Metadata {
    /// The copies of a collection that are moving.
    pub fn moves_of(&self, collection: CollectionId) -> impl Iterator<Item = (&CopyKey, &Entry<MoveRecord>)> {
        self.moves.range(copies(collection))
    }

    /// Where copies of a collection have come by moves.
    pub fn stays_of(&self, collection: CollectionId) -> impl Iterator<Item = (&CopyKey, &Entry<StayRecord>)> {
        self.stays.range(copies(collection))
    }

    /// The node that answers for a replica's copy of a segment, as its view says.
    #[must_use]
    pub fn answers_for(&self, (collection, (replica, segment)): &CopyKey) -> Option<NodeId> {
        let mut views = self.views_of(*collection).filter(|((_, of), _)| of == replica);
        let entry = views.find_map(|(_, view)| view.segments.iter().find(|entry| entry.segment == *segment));
        entry.map(|entry| entry.node)
    }

    /// Where balancing stands.
    #[must_use]
    pub fn balance(&self) -> Option<&Entry<BalanceRecord>> {
        self.balance.get(BalanceRecord::KEY)
    }
}

fn copies(collection: CollectionId) -> std::ops::RangeInclusive<CopyKey> {
    let first = (ReplicaId(i64::MIN), SegmentId(i64::MIN));
    let last = (ReplicaId(i64::MAX), SegmentId(i64::MAX));
    (collection, first)..=(collection, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Record};

    #[test]
    fn records_are_found_by_their_keys() {
        let key = (CollectionId(1), (ReplicaId(2), SegmentId(3)));
        assert_eq!(MoveRecord::key(&key), "move/1/2/3");
        assert_eq!(CopyKey::decode("1/2/3"), Some(key));
        let moved = MoveRecord {
            from: NodeId(1),
            to: NodeId(2),
            bytes: 3,
            reason: "by_hand".to_owned(),
            begun: Timestamp(4),
        };
        let ended = MovedRecord {
            collection: CollectionId(1),
            replica: ReplicaId(2),
            segment: SegmentId(3),
            moved,
            ended: Timestamp(5),
            refused: false,
            dropped: None,
        };
        assert_eq!(MovedRecord::decode(&Record::encode(&ended)).unwrap(), ended);
        assert_eq!(ended.id(), "00000000000000000005-3-2");
    }
}
