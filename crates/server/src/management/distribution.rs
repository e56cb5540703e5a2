//! What is on a node, and whether another has all of it?

use std::collections::BTreeSet;

use redkite_catalog::{Entry, HeldRecord, Metadata};
use redkite_cluster::sessions::Sessions;
use redkite_proxy::channel;
use redkite_rpc::role;
use redkite_types::{CollectionId, NodeId, SegmentId};
use serde::Serialize;

use super::form::Form;
use super::{Answer, Refused, done, nodes};
use crate::surroundings::{Surroundings, nodes_of};

/// What is on a node. Ids are text, as in Milvus: they are too large for what reads numbers as floats.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Distribution {
    channel_names: Vec<String>,
    #[serde(rename = "sealed_segmentIDs")]
    sealed_segments: Vec<String>,
}

/// Segments that a query node holds; shards that a streaming node leads.
pub(super) async fn get(around: Surroundings, form: Form) -> Answer {
    let node = form.node("node_id")?;
    if !is_there(&around.sessions.current(), node) {
        return Err(nodes::unknown(node, "failed to get query node distribution"));
    }
    let distribution = around.view.read(|records| of(records, node));
    serde_json::to_string(&distribution).map_err(|error| Refused::failed(error.to_string()))
}

/// Whether the target has everything of the source that is in use.
pub(super) async fn check(around: Surroundings, form: Form) -> Answer {
    let (source, target) = (form.node("source_node_id")?, form.node("target_node_id")?);
    for (node, which) in [(source, "source node not found"), (target, "target node not found")] {
        if !is_there(&around.sessions.current(), node) {
            return Err(nodes::unknown(node, which));
        }
    }
    match around.view.read(|records| lacks(records, source, target)) {
        None => done(),
        Some(what) => Err(Refused::failed(what)),
    }
}

/// Milvus's streaming nodes count as query nodes here, too.
fn is_there(sessions: &Sessions, node: NodeId) -> bool {
    nodes::is_there(sessions, node) || nodes_of(sessions, role::STREAMING_NODE).any(|(id, _)| id == node)
}

fn of(records: &Metadata, node: NodeId) -> Distribution {
    let segments = held(records, node).flat_map(|(_, held)| held.segments.keys());
    Distribution {
        channel_names: channels(records, node).into_iter().collect(),
        sealed_segments: segments.map(ToString::to_string).collect(),
    }
}

fn channels(records: &Metadata, node: NodeId) -> BTreeSet<String> {
    let led = records.assignments.iter().filter(|(_, assignment)| assignment.node == node);
    led.map(|(shard, _)| channel(*shard)).collect()
}

fn held(records: &Metadata, node: NodeId) -> impl Iterator<Item = (CollectionId, &Entry<HeldRecord>)> {
    let range = (node, CollectionId(i64::MIN))..=(node, CollectionId(i64::MAX));
    records.held.range(range).map(|((_, collection), held)| (*collection, held))
}

/// The first thing that is missing, in Milvus's words.
fn lacks(records: &Metadata, source: NodeId, target: NodeId) -> Option<String> {
    if let Some(channel) = channels(records, source).difference(&channels(records, target)).next() {
        return Some(format!("channel lacks[channel={channel}]"));
    }
    for (collection, of_source) in held(records, source) {
        let views = records.views_of(collection).flat_map(|(_, view)| &view.segments);
        let in_use: BTreeSet<SegmentId> = views.map(|entry| entry.segment).collect();
        let of_target = records.held.get(&(target, collection));
        let there = |segment: &SegmentId| of_target.is_some_and(|held| held.segments.contains_key(segment));
        let missing = of_source.segments.keys().find(|segment| in_use.contains(*segment) && !there(segment));
        if let Some(segment) = missing {
            return Some(format!("segment lacks[segment={segment}]"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use redkite_catalog::{HeldSegment, Record, ServingView, ShardAssignment, ViewSegment};
    use redkite_types::{Epoch, PartitionId, ReplicaId, Revision, ShardId};

    use super::*;

    const COLLECTION: CollectionId = CollectionId(7);
    const SHARD: ShardId = ShardId { collection: COLLECTION, ordinal: 0 };

    fn put<R: Record>(records: &mut Metadata, key: &R::Key, record: &R) {
        records.put(&R::key(key), &record.encode(), Revision(1));
    }

    fn records(held: &[(i64, &[i64])], in_use: &[i64]) -> Metadata {
        let mut records = Metadata::default();
        for (node, segments) in held {
            let segments = segments.iter().map(|id| (SegmentId(*id), HeldSegment::default())).collect();
            let record = HeldRecord { segments, ..HeldRecord::default() };
            put(&mut records, &(NodeId(*node), COLLECTION), &record);
        }
        let entry =
            |id: &i64| ViewSegment { segment: SegmentId(*id), partition: PartitionId(1), node: NodeId(1) };
        let view = ServingView { version: 1, segments: in_use.iter().map(entry).collect() };
        put(&mut records, &(SHARD, ReplicaId(1)), &view);
        put(&mut records, &SHARD, &ShardAssignment::new(NodeId(9), Epoch(1)));
        records
    }

    #[test]
    fn nodes_have_segments_or_shards() {
        let records = records(&[(1, &[30, 4_500_000_000_000_000_001]), (2, &[])], &[]);
        let json = |node| serde_json::to_string(&of(&records, NodeId(node))).unwrap();
        assert_eq!(json(1), r#"{"channel_names":[],"sealed_segmentIDs":["30","4500000000000000001"]}"#);
        assert_eq!(json(2), r#"{"channel_names":[],"sealed_segmentIDs":[]}"#);
        assert_eq!(json(9), r#"{"channel_names":["by-dev-rootcoord-dml_0_7v0"],"sealed_segmentIDs":[]}"#);
    }

    #[test]
    fn what_is_in_use_and_missing_is_told() {
        let records = records(&[(1, &[30, 31, 32]), (2, &[30])], &[30, 32]);
        assert_eq!(lacks(&records, NodeId(1), NodeId(2)), Some("segment lacks[segment=32]".to_owned()));
        assert_eq!(lacks(&records, NodeId(2), NodeId(1)), None);
        let channel = "channel lacks[channel=by-dev-rootcoord-dml_0_7v0]".to_owned();
        assert_eq!(lacks(&records, NodeId(9), NodeId(1)), Some(channel));
    }
}
