//! Which moves may begin now?
//!
//! As many as limits of source and target allow, in the plan's order, and only where there is memory for the
//! segment beside everything that has not left yet.

use std::collections::BTreeMap;

use redkite_types::NodeId;

use crate::cluster::{Cluster, NodeSlot};
use crate::plan::Move;
use crate::quantity::narrow;

/// What is going on at a node.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    coming: u32,
    going: u32,
    /// Bytes that count elsewhere already, but are still here.
    leaving: u64,
    /// Bytes that are to come by moves that begin now.
    promised: u64,
}

pub(crate) fn startable<'a>(cluster: &Cluster, moves: &'a [Move]) -> Vec<&'a Move> {
    let mut traffic: BTreeMap<NodeSlot, Traffic> = BTreeMap::new();
    for copy in cluster.under_way() {
        let entry = cluster.copy(*copy);
        if !entry.on_its_way {
            continue;
        }
        if let Some(target) = entry.target {
            traffic.entry(target).or_default().coming += 1;
        }
        if let Some(home) = entry.home.filter(|home| entry.at != Some(*home)) {
            let here = traffic.entry(home).or_default();
            here.going += 1;
            here.leaving = here.leaving.saturating_add(entry.bytes());
        }
    }
    moves.iter().filter(|one| begins(cluster, &mut traffic, one)).collect()
}

fn begins(cluster: &Cluster, traffic: &mut BTreeMap<NodeSlot, Traffic>, one: &Move) -> bool {
    let concurrency = |node: NodeSlot| {
        let observed = cluster.node(node).observed.as_ref();
        observed.map_or(0, |node| node.limits.concurrency.max(1))
    };
    let slot = |id: NodeId| cluster.slot_of(id);
    let (Some(copy), Some(to)) = (cluster.copy_of(one.copy), slot(one.to)) else {
        return false;
    };
    let from = one.from.and_then(slot);
    let target = traffic.get(&to).copied().unwrap_or_default();
    let source = from.and_then(|from| traffic.get(&from)).copied().unwrap_or_default();
    let node = cluster.node(to);
    let there: u128 =
        [node.used[0], target.leaving, target.promised, one.bytes.0].map(u128::from).iter().sum();
    let may = !cluster.copy(copy).on_its_way
        && node.scope.is_some()
        && target.coming < concurrency(to)
        && from.is_none_or(|from| source.going < concurrency(from))
        && narrow(there) <= node.capacity[0]
        && !cluster.sibling_touches(to, copy);
    if may {
        let target = traffic.entry(to).or_default();
        target.coming += 1;
        target.promised = target.promised.saturating_add(one.bytes.0);
        if let Some(from) = from {
            traffic.entry(from).or_default().going += 1;
        }
    }
    may
}
