//! Who is active among the coordinators, who stands by, and how did it come to that?

use redkite_cluster::election::ElectionRecord;
use redkite_rpc::role;
use serde::Serialize;

use super::{Place, Seen};

/// Elections of a role that are shown.
const ELECTIONS: usize = 5;

#[derive(Debug, Serialize)]
pub(super) struct Coordinator {
    role: &'static str,
    active: Option<Place>,
    /// Of the active one, if its election is known.
    epoch: Option<u64>,
    since: Option<u64>,
    standby: Vec<Place>,
    /// The latest first.
    elections: Vec<Election>,
}

#[derive(Debug, Serialize)]
struct Election {
    epoch: u64,
    node: String,
    at: u64,
    reason: &'static str,
    by: String,
    /// For how many milliseconds nobody was active.
    waited: u64,
}

pub(super) fn of(seen: &Seen<'_>) -> Vec<Coordinator> {
    role::COORDINATORS.into_iter().map(|role| Coordinator::of(seen, role)).collect()
}

impl Coordinator {
    fn of(seen: &Seen<'_>, role: &'static str) -> Self {
        let active = seen.sessions.active(role);
        let elections = seen.elections.get(role).map(Vec::as_slice).unwrap_or_default();
        let elected =
            elections.last().filter(|last| active.is_some_and(|peer| peer.info.node() == last.node()));
        let others =
            seen.sessions.nodes(role).filter(|(node, _)| active.is_none_or(|peer| peer.info.node() != *node));
        Self {
            role,
            active: active.map(|peer| Place::of(peer.info.node(), Some(peer))),
            epoch: elected.map(|last| last.epoch),
            since: elected.map(|last| last.at),
            standby: others.map(|(node, peer)| Place::of(node, Some(peer))).collect(),
            elections: elections.iter().rev().take(ELECTIONS).map(Election::of).collect(),
        }
    }
}

impl Election {
    fn of(record: &ElectionRecord) -> Self {
        Self {
            epoch: record.epoch,
            node: record.server_id.to_string(),
            at: record.at,
            reason: record.reason.as_str(),
            by: record.by.clone(),
            waited: record.waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scene;

    #[test]
    fn the_active_one_its_standbys_and_its_epoch_are_told() {
        let mut scene = Scene::with_nodes(&[]);
        scene.candidate("querycoord", 2).candidate("querycoord", 3).active("querycoord", 3);
        scene.elected("querycoord", 1, 2).elected("querycoord", 2, 3);
        let shown = scene.shown();
        let roles: Vec<_> =
            shown["coordinators"].as_array().unwrap().iter().map(|it| it["role"].clone()).collect();
        assert_eq!(roles, ["rootcoord", "datacoord", "querycoord"]);
        let query = &shown["coordinators"][2];
        assert_eq!((&query["active"]["node"], query["epoch"].as_u64()), (&"3".into(), Some(2)));
        assert_eq!(
            (&query["standby"][0]["node"], query["standby"].as_array().unwrap().len()),
            (&"2".into(), 1)
        );
        assert_eq!(
            (query["elections"][0]["epoch"].as_u64(), &query["elections"][0]["reason"]),
            (Some(2), &"died".into())
        );
    }

    #[test]
    fn a_role_of_which_nobody_is_active_has_no_epoch() {
        let mut scene = Scene::with_nodes(&[]);
        scene.candidate("rootcoord", 2).elected("rootcoord", 1, 2);
        let root = &scene.shown()["coordinators"][0];
        assert_eq!((&root["active"], &root["epoch"]), (&serde_json::Value::Null, &serde_json::Value::Null));
        assert_eq!(root["standby"][0]["node"], "2");
    }
}
