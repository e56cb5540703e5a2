//! What does each query node hold, of how much?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use redkite_balance::NodeState;
use redkite_rpc::role;
use redkite_service::NodeStatus;
use redkite_types::{CollectionId, NodeId};
use serde::Serialize;

use super::{Place, Seen};
use crate::surroundings::nodes_of;

/// Collections that are told apart, the largest; an eye does not tell more colours apart.
const COLLECTIONS: usize = 8;

#[derive(Debug, Serialize)]
pub(super) struct Nodes {
    /// Those told apart, the largest first.
    collections: Vec<Collection>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Collection {
    id: String,
    name: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Node {
    #[serde(flatten)]
    place: Place,
    /// `serving`, `suspended`, `draining`, `stopping` or `unknown`.
    state: &'static str,
    held: Vec<Held>,
    /// What the query coordinator says of it.
    #[serde(flatten)]
    told: Option<Told>,
}

/// What is held of one collection, or of all that are not told apart.
#[derive(Debug, Default, Serialize)]
struct Held {
    collection: Option<String>,
    bytes: u64,
    segments: usize,
}

#[derive(Debug, Serialize)]
struct Told {
    /// Memory it may use.
    limit: u64,
    /// Memory for other things than segments.
    other: u64,
    /// Segments it answers for.
    serves: usize,
    /// In cores.
    cpu: f64,
    cores: f64,
    coming: usize,
    going: usize,
    drain: Option<Drain>,
}

#[derive(Debug, Serialize)]
struct Drain {
    begun: u64,
    /// What there was to move.
    bytes: u64,
    /// What is left of that.
    left: u64,
}

impl Nodes {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let mut totals: BTreeMap<CollectionId, u64> = BTreeMap::new();
        let mut held: BTreeMap<NodeId, Vec<(CollectionId, u64, usize)>> = BTreeMap::new();
        for ((node, collection), record) in &seen.records.held {
            let bytes = record.segments.values().map(|one| one.resident_bytes + one.mapped_bytes).sum();
            *totals.entry(*collection).or_default() += bytes;
            held.entry(*node).or_default().push((*collection, bytes, record.segments.len()));
        }
        let mut largest: Vec<_> = totals.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        largest.sort_by_key(|(id, bytes)| (Reverse(*bytes), *id));
        largest.truncate(COLLECTIONS);
        let told_apart: Vec<CollectionId> = largest.iter().map(|(id, _)| *id).collect();
        let of = |node: NodeId| {
            let held = held.get(&node).map(|held| parts(held, &told_apart)).unwrap_or_default();
            Node::of(seen, node, held)
        };
        let collection =
            |(id, bytes): (CollectionId, u64)| Collection { id: id.to_string(), name: seen.name(id), bytes };
        Self {
            collections: largest.into_iter().map(collection).collect(),
            nodes: ids(seen).into_iter().map(of).collect(),
        }
    }
}

/// Who has a session, and whoever the query coordinator has heard of besides.
fn ids(seen: &Seen<'_>) -> BTreeSet<NodeId> {
    let told = seen.balance.into_iter().flat_map(|status| &status.nodes).map(|status| status.node);
    nodes_of(seen.sessions, role::QUERY_NODE).map(|(node, _)| node).chain(told).collect()
}

/// What is held, in the order of colours; the rest as one.
fn parts(held: &[(CollectionId, u64, usize)], told_apart: &[CollectionId]) -> Vec<Held> {
    let mut rest = Held::default();
    let mut parts: Vec<Option<Held>> = told_apart.iter().map(|_| None).collect();
    for (collection, bytes, segments) in held.iter().copied() {
        match told_apart.iter().position(|id| *id == collection) {
            Some(place) => {
                parts[place] = Some(Held { collection: Some(collection.to_string()), bytes, segments });
            }
            None => {
                rest.bytes += bytes;
                rest.segments += segments;
            }
        }
    }
    let rest = (rest.segments > 0).then_some(rest);
    parts.into_iter().chain([rest]).flatten().collect()
}

impl Node {
    fn of(seen: &Seen<'_>, node: NodeId, held: Vec<Held>) -> Self {
        let peer =
            nodes_of(seen.sessions, role::QUERY_NODE).find(|(id, _)| *id == node).map(|(_, peer)| peer);
        let mut statuses = seen.balance.into_iter().flat_map(|status| &status.nodes);
        let status = statuses.find(|status| status.node == node);
        let place = Place::of(node, peer);
        let state = match (place.stopping, status.map(|status| status.state)) {
            (true, _) => "stopping",
            (false, Some(NodeState::Serving)) => "serving",
            (false, Some(NodeState::Suspended)) => "suspended",
            (false, Some(NodeState::Draining)) => "draining",
            (false, None) => "unknown",
        };
        // A drain that is recorded acts, whether or not the coordinator has told of it yet.
        let state =
            if seen.records.drains.contains_key(&node) && !place.stopping { "draining" } else { state };
        Self { place, state, held, told: status.map(Told::of) }
    }
}

impl Told {
    fn of(status: &NodeStatus) -> Self {
        let drain = status.drain.as_ref().map(|drain| Drain {
            begun: drain.begun.physical(),
            bytes: drain.bytes,
            left: status.bytes.0,
        });
        Self {
            limit: status.memory.0,
            other: status.other.0,
            serves: status.segments,
            cpu: cores(status.cpu.0),
            cores: cores(status.cpus.0),
            coming: status.coming,
            going: status.going,
            drain,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn cores(millionths: u64) -> f64 {
    millionths as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scene;

    #[test]
    fn what_is_held_is_told_by_collection_and_node() {
        let mut scene = Scene::with_nodes(&[4, 5]);
        scene.collection(7, "birds").held(4, 7, &[(70, 100, 20), (71, 5, 0)]).held(5, 7, &[(72, 10, 0)]);
        scene.status(4, 1000, 40).status(5, 2000, 0);
        let shown = scene.shown();
        assert_eq!(shown["collections"][0]["name"], "birds");
        assert_eq!(shown["collections"][0]["bytes"], 135);
        let node = &shown["nodes"][0];
        assert_eq!(
            (&node["node"], &node["address"], &node["state"]),
            (&"4".into(), &"host:4".into(), &"serving".into())
        );
        assert_eq!(node["held"][0], serde_json::json!({ "collection": "7", "bytes": 125, "segments": 2 }));
        assert_eq!((node["limit"].as_u64(), node["other"].as_u64()), (Some(1000), Some(40)));
        assert_eq!(shown["nodes"][1]["held"][0]["bytes"], 10);
    }

    #[test]
    fn small_collections_are_one() {
        let mut scene = Scene::with_nodes(&[1]);
        for id in 1..=10 {
            scene.collection(id, "c").held(1, id, &[(id * 10, u64::try_from(id).unwrap(), 0)]);
        }
        let shown = scene.shown();
        let largest: Vec<_> =
            shown["collections"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        assert_eq!(largest, ["10", "9", "8", "7", "6", "5", "4", "3"]);
        let held = shown["nodes"][0]["held"].as_array().unwrap().clone();
        assert_eq!(held.len(), 9);
        assert_eq!(held[8], serde_json::json!({ "collection": null, "bytes": 3, "segments": 2 }));
    }

    #[test]
    fn without_a_word_from_the_coordinator_nodes_are_shown_all_the_same() {
        let mut scene = Scene::with_nodes(&[3]);
        scene.held(3, 9, &[(1, 1, 1)]);
        let shown = scene.shown();
        assert_eq!(shown["balance"], serde_json::Value::Null);
        assert_eq!(
            (&shown["nodes"][0]["state"], &shown["nodes"][0]["limit"]),
            (&"unknown".into(), &serde_json::Value::Null)
        );
        assert_eq!(shown["collections"][0]["name"], "collection 9", "it may have been dropped");
    }

    #[test]
    fn a_drain_tells_how_far_it_is() {
        let mut scene = Scene::with_nodes(&[1, 2]);
        scene.status(1, 1000, 0).status(2, 1000, 0).drained(2, 500, 200);
        let shown = scene.shown();
        assert_eq!(shown["nodes"][1]["state"], "draining");
        let drain = &shown["nodes"][1]["drain"];
        assert_eq!((drain["bytes"].as_u64(), drain["left"].as_u64()), (Some(500), Some(200)));
    }

    #[test]
    fn one_process_may_have_every_role() {
        let scene = Scene::standalone();
        let shown = scene.shown();
        assert_eq!(shown["nodes"][0]["node"], "1");
        assert_eq!(shown["shards"]["leaders"][0]["node"], "1");
    }
}
