//! Which streaming node leads which shard?

use std::collections::{BTreeMap, BTreeSet};

use redkite_rpc::role;
use redkite_types::{NodeId, ShardId};
use serde::Serialize;

use super::{Place, Seen};
use crate::surroundings::nodes_of;

/// Shards of a node that are named.
const NAMED: usize = 40;

#[derive(Debug, Serialize)]
pub(super) struct Shards {
    leaders: Vec<Leader>,
    leaderless: Led,
}

#[derive(Debug, Serialize)]
struct Leader {
    #[serde(flatten)]
    place: Place,
    /// Whether it has a session.
    alive: bool,
    /// Those it was given and does not serve yet.
    starting: usize,
    led: Led,
}

/// Shards, of which not all may be named.
#[derive(Debug, Default, Serialize)]
struct Led {
    total: usize,
    shards: Vec<Shard>,
}

#[derive(Debug, Serialize)]
struct Shard {
    collection: String,
    ordinal: u16,
    serving: bool,
}

impl Shards {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let mut led: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for shard in seen.records.collections.values().flat_map(|collection| collection.shard_ids()) {
            match seen.records.assignments.get(&shard) {
                Some(assignment) => led.entry(assignment.node).or_default().push(shard),
                None => leaderless.push(shard),
            }
        }
        let alive: BTreeMap<_, _> = nodes_of(seen.sessions, role::STREAMING_NODE).collect();
        let ids: BTreeSet<NodeId> = alive.keys().chain(led.keys()).copied().collect();
        let leader = |node: NodeId| {
            let shards = led.get(&node).map(Vec::as_slice).unwrap_or_default();
            Leader {
                place: Place::of(node, alive.get(&node).copied()),
                alive: alive.contains_key(&node),
                starting: shards.iter().filter(|shard| !is_serving(seen, **shard)).count(),
                led: Led::of(seen, shards),
            }
        };
        Self { leaders: ids.into_iter().map(leader).collect(), leaderless: Led::of(seen, &leaderless) }
    }
}

impl Led {
    fn of(seen: &Seen<'_>, shards: &[ShardId]) -> Self {
        let shard = |shard: &ShardId| Shard {
            collection: seen.name(shard.collection),
            ordinal: shard.ordinal,
            serving: is_serving(seen, *shard),
        };
        Self { total: shards.len(), shards: shards.iter().take(NAMED).map(shard).collect() }
    }
}

/// Whether the leader has said that it serves.
fn is_serving(seen: &Seen<'_>, shard: ShardId) -> bool {
    let assigned = seen.records.assignments.get(&shard);
    let status = seen.records.shards.get(&shard);
    assigned.zip(status).is_some_and(|(assigned, status)| assigned.epoch == status.epoch)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scene;

    #[test]
    fn leaders_are_told_with_what_they_lead() {
        let mut scene = Scene::with_nodes(&[1]);
        scene.streaming(8).streaming(9).collection_of(7, "birds", 3).led(7, 0, 8, true).led(7, 1, 8, false);
        let shards = &scene.shown()["shards"];
        let leader = &shards["leaders"][0];
        assert_eq!((&leader["node"], leader["starting"].as_u64()), (&"8".into(), Some(1)));
        let first = serde_json::json!({ "collection": "birds", "ordinal": 0, "serving": true });
        assert_eq!((leader["led"]["total"].as_u64(), &leader["led"]["shards"][0]), (Some(2), &first));
        assert_eq!(
            (&shards["leaders"][1]["node"], shards["leaders"][1]["led"]["total"].as_u64()),
            (&"9".into(), Some(0))
        );
        assert_eq!(shards["leaderless"]["shards"][0]["ordinal"], 2);
    }

    #[test]
    fn a_leader_that_is_gone_is_told_as_such() {
        let mut scene = Scene::with_nodes(&[1]);
        scene.collection_of(7, "birds", 1).led(7, 0, 8, true);
        let shards = &scene.shown()["shards"];
        assert_eq!(
            (&shards["leaders"][0]["node"], &shards["leaders"][0]["alive"]),
            (&"8".into(), &false.into())
        );
    }
}
