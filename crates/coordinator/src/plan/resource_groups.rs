//! Which query node should be in which resource group?
//!
//! Nodes stay where they are unless a group has fewer than it requests, more than its limit, or does not
//! accept them. Every move makes one shortage or one excess smaller and none larger, so it ends.
//! Milvus: resource manager and resource observer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{DEFAULT_RESOURCE_GROUP, Metadata, ResourceGroupConfig, ResourceGroupRecord};
use redkite_types::NodeId;

use crate::nodes::{LiveNode, RoleNodes};
use crate::step::{Step, Steps};

/// The configurations of all groups, by name.
pub(crate) type Configs = BTreeMap<String, ResourceGroupConfig>;
/// The nodes of all groups, by name.
pub(crate) type Members = BTreeMap<String, BTreeSet<NodeId>>;

/// Writes down who belongs where by now.
pub(crate) fn plan(metadata: &Metadata, nodes: &RoleNodes) -> Vec<Step> {
    let mut configs = metadata.resource_group_configs();
    for (_, node) in nodes.alive().filter(|(_, node)| !node.stopping) {
        // Milvus makes the group that a node names, too.
        if let Some(name) = node.resource_group() {
            configs.entry(name.to_owned()).or_insert_with(ResourceGroupConfig::unlimited);
        }
    }
    let mut steps = Steps::new("resource groups");
    for (name, record) in changed(metadata, &configs, nodes) {
        steps.next().replace(&name, metadata.resource_groups.get(&name), &record);
    }
    steps.finish()
}

/// The records that differ under these configurations, with the nodes that each group gets.
pub(crate) fn changed(
    metadata: &Metadata,
    configs: &Configs,
    nodes: &RoleNodes,
) -> Vec<(String, ResourceGroupRecord)> {
    let recorded = metadata.resource_groups.iter().map(|(name, group)| (name.clone(), group.nodes.clone()));
    let mut members = assign(configs, &recorded.collect(), nodes);
    let mut changed = Vec::new();
    for (name, config) in configs {
        let mut nodes = members.remove(name).unwrap_or_default();
        // Who is in no other group is in the default one.
        let default = name == DEFAULT_RESOURCE_GROUP;
        if default {
            nodes.clear();
        }
        let record = ResourceGroupRecord { config: config.clone(), nodes };
        let present = metadata.resource_groups.get(name);
        let implied = default && present.is_none() && *config == ResourceGroupConfig::unlimited();
        if !implied && present.is_none_or(|present| *present.record != record) {
            changed.push((name.clone(), record));
        }
    }
    changed
}

/// Assigns every open node to a group, moving as few as possible.
pub(crate) fn assign(configs: &Configs, present: &Members, nodes: &RoleNodes) -> Members {
    let mut assignment = Assignment {
        configs,
        nodes,
        members: configs.keys().map(|name| (name.clone(), BTreeSet::new())).collect(),
    };
    for node in nodes.open() {
        let holds = |(_, members): &(&String, &BTreeSet<NodeId>)| members.contains(&node);
        let recorded = present.iter().find(holds).map(|(name, _)| name.as_str());
        let group = assignment.home(node, recorded).to_owned();
        assignment.members.entry(group).or_default().insert(node);
    }
    while assignment.relieve_shortage() || assignment.relieve_excess() {}
    assignment.members
}

struct Assignment<'a> {
    configs: &'a Configs,
    nodes: &'a RoleNodes,
    members: Members,
}

impl Assignment<'_> {
    /// Where a node begins: where it is, in the group that it names, or in the default one.
    fn home(&self, node: NodeId, recorded: Option<&str>) -> String {
        let named = self.nodes.get(node).and_then(LiveNode::resource_group);
        let homes = [recorded, named].into_iter().flatten();
        let accepting = homes.filter(|name| self.configs.contains_key(*name) && self.accepts(name, node));
        accepting.map(str::to_owned).next().unwrap_or_else(|| DEFAULT_RESOURCE_GROUP.to_owned())
    }

    /// Whether a node may be in a group.
    fn accepts(&self, group: &str, node: NodeId) -> bool {
        let Some(live) = self.nodes.get(node) else { return false };
        if live.resource_group().is_some_and(|named| named != group) {
            return false;
        }
        let has = |(key, value): &(String, String)| live.labels.get(key) == Some(value);
        group == DEFAULT_RESOURCE_GROUP
            || self.configs.get(group).is_some_and(|config| config.node_labels.iter().all(has))
    }

    fn size(&self, group: &str) -> usize {
        self.members.get(group).map_or(0, BTreeSet::len)
    }

    /// Nodes it lacks of what it requests.
    fn missing(&self, group: &str) -> usize {
        (self.configs[group].requests as usize).saturating_sub(self.size(group))
    }

    /// Nodes it has above what it requests.
    fn spare(&self, group: &str) -> usize {
        self.size(group).saturating_sub(self.configs[group].requests as usize)
    }

    /// Nodes it has above its limit.
    fn excess(&self, group: &str) -> usize {
        self.size(group).saturating_sub(self.configs[group].limits as usize)
    }

    /// Nodes it may still get.
    fn room(&self, group: &str) -> usize {
        (self.configs[group].limits as usize).saturating_sub(self.size(group))
    }

    /// The node that would go from one group to another: the youngest that may, which has the least to lose.
    fn candidate(&self, source: &str, target: &str) -> Option<NodeId> {
        self.members.get(source)?.iter().rev().copied().find(|node| self.accepts(target, *node))
    }

    fn transfer(&mut self, node: NodeId, source: &str, target: &str) {
        self.members.get_mut(source).map(|members| members.remove(&node));
        self.members.entry(target.to_owned()).or_default().insert(node);
    }

    /// Gives one node to the group that lacks most; whether anything moved. Groups above their limit give
    /// first, then those that it prefers to take from, then those with most to spare.
    fn relieve_shortage(&mut self) -> bool {
        let mut lacking: Vec<&String> = self.configs.keys().filter(|group| self.missing(group) > 0).collect();
        lacking.sort_by_key(|group| Reverse(self.missing(group)));
        for target in lacking {
            let preferred = &self.configs[target].transfer_from;
            let sources = self.configs.keys().filter(|source| *source != target && self.spare(source) > 0);
            let possible = sources.filter_map(|source| Some((source, self.candidate(source, target)?)));
            let best = possible.min_by_key(|(source, _)| {
                (Reverse(self.excess(source)), !preferred.contains(source), Reverse(self.spare(source)))
            });
            if let Some((source, node)) = best {
                let (source, target) = (source.clone(), target.clone());
                self.transfer(node, &source, &target);
                return true;
            }
        }
        false
    }

    /// Takes one node from a group above its limit; whether anything moved. It goes where the group prefers
    /// to give, or where most room is; the default group takes what nobody has room for.
    fn relieve_excess(&mut self) -> bool {
        let mut full: Vec<&String> = self.configs.keys().filter(|group| self.excess(group) > 0).collect();
        full.sort_by_key(|group| *group == DEFAULT_RESOURCE_GROUP);
        for source in full {
            let preferred = &self.configs[source].transfer_to;
            let targets = self.configs.keys().filter(|target| *target != source && self.room(target) > 0);
            let possible =
                targets.filter_map(|target| Some((target.as_str(), self.candidate(source, target)?)));
            let best = possible.min_by_key(|(target, _)| {
                (!preferred.iter().any(|group| group == target), Reverse(self.room(target)))
            });
            let last = || {
                let node = self.candidate(source, DEFAULT_RESOURCE_GROUP)?;
                (source != DEFAULT_RESOURCE_GROUP).then_some((DEFAULT_RESOURCE_GROUP, node))
            };
            if let Some((target, node)) = best.or_else(last) {
                let (source, target) = (source.clone(), target.to_owned());
                self.transfer(node, &source, &target);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
