//! Which query nodes does each replica of a collection use?
//!
//! The nodes of a resource group are divided evenly among the replicas that are placed there. A node is
//! used by one replica of a collection only: one that a replica is leaving, which is one that its views
//! still name, becomes free for others when the views name it no more. Nodes of a removed replica are free
//! at once: what they hold is just what another needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{
    BalanceRecord, CollectionRecord, DEFAULT_RESOURCE_GROUP, Entry, LoadRecord, Metadata, ReplicaRecord,
    ReplicasRecord,
};
use redkite_types::{CollectionId, NodeId, ReplicaId};

use super::fleet::Fleet;
use crate::step::Step;

/// The nodes that views of replicas name.
type InViews = BTreeMap<ReplicaId, BTreeSet<NodeId>>;

/// Writes down the nodes of a collection's replicas by now.
pub(crate) fn plan(
    metadata: &Metadata,
    record: &Entry<CollectionRecord>,
    load: &Entry<LoadRecord>,
    fleet: &Fleet,
) -> Vec<Step> {
    let present = metadata.replicas.get(&record.id);
    let replicas = present.map_or_else(|| unrecorded(load), |present| (*present.record).clone());
    let in_views = metadata.nodes_in_views(record.id);
    let next = ReplicasRecord { replicas: divide(&replicas.replicas, &in_views, fleet) };
    if present.is_some_and(|present| *present.record == next) {
        return Vec::new();
    }
    let mut step = Step::new("replicas");
    // A release in between must not be undone.
    step.relies_on(&record.id, Some(load)).replace(&record.id, present, &next);
    if let (Some(present), Some(balance)) = (present, metadata.balance()) {
        let mut settled = balance.settled.clone();
        settled.retain(|node| !has_come(&present.replicas, &next.replicas, *node));
        if settled != balance.settled {
            let next = BalanceRecord { settled, ..(*balance.record).clone() };
            step.replace(&BalanceRecord::KEY.to_owned(), Some(balance), &next);
        }
    }
    vec![step]
}

/// Whether a replica uses a node beside others that it did not use: it is to get its share then.
fn has_come(
    before: &BTreeMap<ReplicaId, ReplicaRecord>,
    now: &BTreeMap<ReplicaId, ReplicaRecord>,
    node: NodeId,
) -> bool {
    now.iter().filter(|(_, replica)| replica.nodes.contains(&node)).any(|(id, _)| {
        before.get(id).is_some_and(|before| !before.nodes.is_empty() && !before.nodes.contains(&node))
    })
}

/// Loads from before replicas were recorded have views of replicas that are counted from 0.
fn unrecorded(load: &LoadRecord) -> ReplicasRecord {
    let replica = ReplicaRecord { resource_group: DEFAULT_RESOURCE_GROUP.to_owned(), ..Default::default() };
    let ids = (0..i64::from(load.replicas.max(1))).map(ReplicaId);
    ReplicasRecord { replicas: ids.map(|id| (id, replica.clone())).collect() }
}

/// The replicas in the order in which they should be kept if there are too many: those that serve most first.
pub(crate) fn by_service(
    metadata: &Metadata,
    collection: CollectionId,
    replicas: &ReplicasRecord,
) -> Vec<ReplicaId> {
    let mut served: BTreeMap<ReplicaId, usize> = BTreeMap::new();
    for ((_, id), view) in metadata.views_of(collection) {
        if let Some(replica) = replicas.replicas.get(id) {
            let there = view.segments.iter().filter(|segment| replica.nodes.contains(&segment.node));
            *served.entry(*id).or_default() += there.count();
        }
    }
    let mut ids: Vec<_> = replicas.replicas.iter().collect();
    ids.sort_by_key(|(id, replica)| (Reverse(served.get(id).copied()), Reverse(replica.nodes.len()), **id));
    ids.into_iter().map(|(id, _)| *id).collect()
}

/// The replicas with the nodes that each should use, moving as few as possible.
pub(crate) fn divide(
    replicas: &BTreeMap<ReplicaId, ReplicaRecord>,
    in_views: &InViews,
    fleet: &Fleet,
) -> BTreeMap<ReplicaId, ReplicaRecord> {
    let mut next = replicas.clone();
    let groups: BTreeSet<&String> = replicas.values().map(|replica| &replica.resource_group).collect();
    for group in groups {
        let members = fleet.groups.get(group).cloned().unwrap_or_default();
        let mut division = Division::new(replicas, in_views, group, members);
        division.make_even();
        for (id, nodes) in division.shares {
            if let Some(replica) = next.get_mut(&id) {
                replica.nodes = nodes;
            }
        }
    }
    next
}

/// How the nodes of one group are divided.
struct Division<'a> {
    in_views: &'a InViews,
    /// The nodes of each replica.
    shares: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    /// Nodes that may be used, by replica where views name them: only that one may have them.
    members: BTreeMap<NodeId, Option<ReplicaId>>,
}

impl<'a> Division<'a> {
    fn new(
        replicas: &BTreeMap<ReplicaId, ReplicaRecord>,
        in_views: &'a InViews,
        group: &str,
        members: BTreeSet<NodeId>,
    ) -> Self {
        let here = |replica: &ReplicaRecord| replica.resource_group == group;
        let named = |node: NodeId| {
            let mut naming = replicas.keys().filter(|id| in_views.get(id).is_some_and(|n| n.contains(&node)));
            naming.next().copied()
        };
        let mut members: BTreeMap<_, _> = members.into_iter().map(|node| (node, named(node))).collect();
        // What replicas elsewhere still use is not there to be divided.
        members.retain(|_, user| user.is_none_or(|id| replicas.get(&id).is_some_and(here)));
        let mut shares = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (id, replica) in replicas.iter().filter(|(_, replica)| here(replica)) {
            let mine =
                |node: &NodeId| members.get(node).is_some_and(|user| user.is_none_or(|user| user == *id));
            let nodes = replica.nodes.iter().copied().filter(|node| mine(node) && taken.insert(*node));
            shares.insert(*id, nodes.collect::<BTreeSet<_>>());
        }
        Self { in_views, shares, members }
    }

    fn make_even(&mut self) {
        let fair_shares = self.fair_shares();
        for (id, fair) in fair_shares.iter().copied() {
            while self.shares[&id].len() > fair {
                let Some(node) = self.least_used(id) else { break };
                self.shares.get_mut(&id).map(|nodes| nodes.remove(&node));
            }
        }
        for (id, fair) in fair_shares {
            while self.shares[&id].len() < fair {
                let Some(node) = self.free_for(id) else { break };
                self.shares.get_mut(&id).map(|nodes| nodes.insert(node));
            }
        }
    }

    /// How many nodes each replica should have; those with more nodes get the ones left over.
    fn fair_shares(&self) -> Vec<(ReplicaId, usize)> {
        let (each, left) = (self.members.len() / self.shares.len(), self.members.len() % self.shares.len());
        let mut ids: Vec<ReplicaId> = self.shares.keys().copied().collect();
        ids.sort_by_key(|id| (Reverse(self.could_keep(*id)), *id));
        ids.into_iter().enumerate().map(|(place, id)| (id, each + usize::from(place < left))).collect()
    }

    /// Nodes that are a replica's or that its views still name.
    fn could_keep(&self, id: ReplicaId) -> usize {
        let named = self.members.values().filter(|user| **user == Some(id)).count();
        let others = self.shares[&id].iter().filter(|node| self.members[node].is_none()).count();
        named + others
    }

    /// The node that is given up first: one that serves nothing, and the youngest of those.
    fn least_used(&self, id: ReplicaId) -> Option<NodeId> {
        let serves = |node: &NodeId| self.in_views.get(&id).is_some_and(|nodes| nodes.contains(node));
        self.shares[&id].iter().copied().min_by_key(|node| (serves(node), Reverse(*node)))
    }

    /// The node that is taken first: one that views of the replica name still, and the oldest of those.
    fn free_for(&self, id: ReplicaId) -> Option<NodeId> {
        let used = |node: &NodeId| self.shares.values().any(|nodes| nodes.contains(node));
        let mine =
            self.members.iter().filter(|(node, user)| user.is_none_or(|user| user == id) && !used(node));
        mine.min_by_key(|(node, user)| (user.is_none(), **node)).map(|(node, _)| *node)
    }
}

#[cfg(test)]
mod tests;
