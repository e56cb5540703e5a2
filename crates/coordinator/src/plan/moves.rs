//! When does a move of a segment to another query node end?
//!
//! It is done with the very transaction that names its target in the serving view; that also notes where the
//! copy is now, and writes history. It is given up when it has lost its point or its target refuses.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{
    CopyKey, Entry, Metadata, MoveRecord, MovedRecord, ReplicasRecord, StayRecord, ViewSegment,
};
use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};

use super::fleet::Fleet;
use crate::step::{Step, Steps};

/// Moves that end with one change of a view.
pub(crate) const AT_ONCE: usize = 24;
/// Operations that the end of one takes.
pub(crate) const OPS: usize = 3;

/// The reason of moves that somebody asks for: what they move stays.
pub(crate) const BY_HAND: &str = "by_hand";

/// A move that goes on.
pub(crate) type Moving<'a> = (CopyKey, &'a Entry<MoveRecord>);

/// Where the moving segments of a replica go.
pub(crate) fn targets(
    metadata: &Metadata,
    collection: CollectionId,
    replica: ReplicaId,
) -> BTreeMap<SegmentId, NodeId> {
    let of_replica = metadata.moves_of(collection).filter(|((_, (of, _)), _)| *of == replica);
    of_replica.map(|((_, (_, segment)), one)| (*segment, one.to)).collect()
}

/// The moves of a replica that a view completes.
pub(crate) fn arrived<'a>(
    metadata: &'a Metadata,
    collection: CollectionId,
    replica: ReplicaId,
    view: &[ViewSegment],
) -> Vec<Moving<'a>> {
    let nodes: BTreeMap<_, _> = view.iter().map(|entry| (entry.segment, entry.node)).collect();
    let arrived = metadata
        .moves_of(collection)
        .filter(|((_, (of, segment)), one)| *of == replica && nodes.get(segment) == Some(&one.to));
    arrived.map(|(key, one)| (*key, one)).collect()
}

/// Notes that moves are done.
pub(crate) fn write_arrived(step: &mut Step, arrived: &[Moving<'_>], now: Timestamp) {
    for (key, one) in arrived {
        let stay = StayRecord { node: one.to, since: now, pinned: one.reason == BY_HAND };
        write_end(step, key, one, now, None, false);
        step.put(key, &stay);
    }
}

fn write_end(
    step: &mut Step,
    key: &CopyKey,
    one: &Entry<MoveRecord>,
    ended: Timestamp,
    dropped: Option<String>,
    refused: bool,
) {
    let (collection, (replica, segment)) = *key;
    let moved = (*one.record).clone();
    let record = MovedRecord { collection, replica, segment, moved, ended, refused, dropped };
    step.relies_on(key, Some(one)).delete::<MoveRecord>(key).put(&record.id(), &record);
}

/// Ends moves that have lost their point, and forgets stays of copies that are no more. Of a collection that is not
/// loaded there is nothing to be moved.
pub(crate) fn end(
    metadata: &Metadata,
    collection: CollectionId,
    loaded: Option<(&Entry<ReplicasRecord>, &BTreeSet<SegmentId>)>,
    fleet: &Fleet,
) -> Vec<Step> {
    let mut steps = Steps::new("moves ended");
    for (key, one) in metadata.moves_of(collection) {
        match state(metadata, key, one, loaded, fleet) {
            State::GoesOn => {}
            State::Done => write_arrived(steps.next_with(OPS), &[(*key, one)], fleet.now),
            State::Lost(why) => write_end(steps.next_with(OPS), key, one, fleet.now, Some(why), false),
            State::Refused(why) => write_end(steps.next_with(OPS), key, one, fleet.now, Some(why), true),
        }
    }
    for (key @ (_, (replica, segment)), stay) in metadata.stays_of(collection) {
        let exists = loaded.is_some_and(|(replicas, segments)| {
            replicas.replicas.contains_key(replica) && segments.contains(segment)
        });
        if !exists {
            steps.next().relies_on(key, Some(stay)).delete::<StayRecord>(key);
        }
    }
    steps.finish()
}

enum State {
    GoesOn,
    Done,
    Lost(String),
    Refused(String),
}

fn state(
    metadata: &Metadata,
    key @ (collection, (replica, segment)): &CopyKey,
    one: &MoveRecord,
    loaded: Option<(&Entry<ReplicasRecord>, &BTreeSet<SegmentId>)>,
    fleet: &Fleet,
) -> State {
    let lost = |why: &str| State::Lost(why.to_owned());
    let to = one.to;
    let Some((replicas, segments)) = loaded else {
        return lost("the collection is released");
    };
    let Some(replica_record) = replicas.replicas.get(replica) else {
        return lost("the replica is removed");
    };
    if !segments.contains(segment) {
        return lost("the segment is merged, dropped or released");
    }
    match metadata.answers_for(key) {
        Some(node) if node == to => State::Done,
        _ if !fleet.alive.contains(&to) => State::Lost(format!("node {to} is gone")),
        _ if !replica_record.nodes.contains(&to) => State::Lost(format!("node {to} takes no more")),
        Some(node) if node != one.from => State::Lost(format!("node {node} has it meanwhile")),
        Some(_) => match refusal(metadata, to, *collection, *segment) {
            Some(reason) => State::Refused(format!("node {to} refuses: {reason}")),
            None => State::GoesOn,
        },
        None => lost("nobody answers for it"),
    }
}

fn refusal(
    metadata: &Metadata,
    node: NodeId,
    collection: CollectionId,
    segment: SegmentId,
) -> Option<String> {
    metadata.held.get(&(node, collection))?.failures.get(&segment).cloned()
}
