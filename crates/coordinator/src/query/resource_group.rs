//! Commands about resource groups: they change what is asked of groups, and who is in them by that.

use std::collections::BTreeMap;

use redkite_catalog::{DEFAULT_RESOURCE_GROUP, Metadata, ResourceGroupConfig, ResourceGroupRecord};
use redkite_service::{Error, Result};

use crate::command::Draft;
use crate::nodes::RoleNodes;
use crate::plan::resource_groups::{Configs, changed};
use crate::step::Step;

/// Most groups, the default one included. Milvus: `quotaAndLimits.limits.maxResourceGroupNumOfQueryNode`.
const MOST_GROUPS: usize = 1024;
/// Most groups of one update: it is one transaction.
const MOST_UPDATED: usize = 64;

pub(super) fn create(
    draft: &Draft<'_>,
    name: &str,
    config: &ResourceGroupConfig,
    nodes: &RoleNodes,
) -> Result<Step> {
    let mut configs = draft.metadata.resource_group_configs();
    match configs.get(name) {
        Some(present) if present == config => return Ok(Step::new("create resource group")),
        Some(_) => return Err(Error::ResourceGroupExists { group: name.to_owned() }),
        None => {}
    }
    if configs.len() >= MOST_GROUPS {
        return Err(Error::ResourceGroupNumLimit { group: name.to_owned(), limit: MOST_GROUPS });
    }
    check_transfers(&configs, name, config)?;
    configs.insert(name.to_owned(), config.clone());
    Ok(rewrite("create resource group", draft.metadata, &configs, &[name], nodes))
}

pub(super) fn update(
    draft: &Draft<'_>,
    updates: &BTreeMap<String, ResourceGroupConfig>,
    nodes: &RoleNodes,
) -> Result<Step> {
    if updates.len() > MOST_UPDATED {
        return Err(Error::invalid(format!(
            "{} resource groups are more than {MOST_UPDATED}: invalid parameter",
            updates.len()
        )));
    }
    let mut configs = draft.metadata.resource_group_configs();
    for (name, config) in updates {
        if !configs.contains_key(name) {
            return Err(Error::ResourceGroupNotFound { group: name.clone() });
        }
        check_transfers(&configs, name, config)?;
    }
    configs.extend(updates.clone());
    let names: Vec<&str> = updates.keys().map(String::as_str).collect();
    Ok(rewrite("update resource groups", draft.metadata, &configs, &names, nodes))
}

pub(super) fn drop_group(draft: &Draft<'_>, name: &str, nodes: &RoleNodes) -> Result<Step> {
    let metadata = draft.metadata;
    let here = |record: &redkite_catalog::ReplicasRecord| {
        record.replicas.values().any(|replica| replica.resource_group == name)
    };
    if let Some((collection, _)) = metadata.replicas.iter().find(|(_, record)| here(record)) {
        return Err(Error::invalid(format!(
            "some replicas still loaded in resource group[{name}], release it first: invalid \
             parameter[expected=empty resource group][actual=resource group {name} has collection \
             {collection} loaded]"
        )));
    }
    let mut configs = metadata.resource_group_configs();
    check_deletable(&configs, name, nodes)?;
    let mut step = Step::new("drop resource group");
    if let Some(present) = metadata.resource_groups.get(name) {
        configs.remove(name);
        step = rewrite("drop resource group", metadata, &configs, &[], nodes);
        let key = name.to_owned();
        step.relies_on(&key, Some(present)).delete::<ResourceGroupRecord>(&key);
    }
    Ok(step)
}

/// Moves nodes by lowering what one group asks for and raising it for another, as Milvus does.
pub(super) fn transfer_nodes(
    draft: &Draft<'_>,
    source: &str,
    target: &str,
    number: u32,
    nodes: &RoleNodes,
) -> Result<Step> {
    check_different(source, target)?;
    if number == 0 {
        return Err(Error::invalid("invalid parameter[expected=NumNode > 0][actual=invalid NumNode 0]"));
    }
    let mut configs = draft.metadata.resource_group_configs();
    if let Some(group) = [source, target].into_iter().find(|group| !configs.contains_key(*group)) {
        return Err(Error::ResourceGroupNotFound { group: group.to_owned() });
    }
    let members = draft.metadata.resource_group_nodes(&nodes.open());
    let (current, expected) = (members.get(source).map_or(0, |members| members.len()), number as usize);
    if current < expected {
        return Err(Error::ResourceGroupNodeNotEnough { group: source.to_owned(), current, expected });
    }
    if let Some(config) = configs.get_mut(source) {
        config.requests = config.requests.saturating_sub(number);
        if source != DEFAULT_RESOURCE_GROUP {
            config.limits = config.limits.saturating_sub(number).max(config.requests);
        }
    }
    if let Some(config) = configs.get_mut(target) {
        config.requests = config.requests.saturating_add(number);
        config.limits = config.limits.max(config.requests);
    }
    Ok(rewrite("transfer nodes", draft.metadata, &configs, &[source, target], nodes))
}

pub(super) fn check_different(source: &str, target: &str) -> Result<()> {
    if source == target {
        return Err(Error::invalid(format!(
            "source resource group and target resource group should not be the same, resource group: \
             {source}: invalid parameter"
        )));
    }
    Ok(())
}

/// Writes the named groups, and everybody's nodes as they follow, as far as one transaction holds them; the
/// rest is for the loop that looks after groups.
fn rewrite(
    what: &'static str,
    metadata: &Metadata,
    configs: &Configs,
    names: &[&str],
    nodes: &RoleNodes,
) -> Step {
    let mut changed = changed(metadata, configs, nodes);
    changed.sort_by_key(|(name, _)| !names.contains(&name.as_str()));
    let mut step = Step::new(what);
    for (name, record) in changed {
        if step.is_full() && !names.contains(&name.as_str()) {
            break;
        }
        step.replace(&name, metadata.resource_groups.get(&name), &record);
    }
    step
}

/// Groups that a configuration names must exist.
fn check_transfers(configs: &Configs, name: &str, config: &ResourceGroupConfig) -> Result<()> {
    let lists = [("TransferFrom", &config.transfer_from), ("TransferTo", &config.transfer_to)];
    for (list, groups) in lists {
        if let Some(group) = groups.iter().find(|group| !configs.contains_key(*group)) {
            return Err(Error::ResourceGroupIllegalConfig {
                group: name.to_owned(),
                config: shown(config),
                reason: format!("resource group in `{list}` {group} not exist"),
            });
        }
    }
    Ok(())
}

fn shown(config: &ResourceGroupConfig) -> String {
    format!("requests:{{node_num:{}}} limits:{{node_num:{}}}", config.requests, config.limits)
}

fn check_deletable(configs: &Configs, name: &str, nodes: &RoleNodes) -> Result<()> {
    let refused = |expected: &str, actual: &str, reason: &str| {
        let reason = if reason.is_empty() { String::new() } else { format!("{reason}: ") };
        Err(Error::invalid(format!("{reason}invalid parameter[expected={expected}][actual={actual}]")))
    };
    if name == DEFAULT_RESOURCE_GROUP {
        return refused("not default resource group", name, "default resource group is not deletable");
    }
    if configs.get(name).is_some_and(|config| config.limits != 0) {
        return refused("not empty resource group", name, "resource group's limits node num is not 0");
    }
    if let Some((node, _)) = nodes.alive().find(|(_, live)| live.resource_group() == Some(name)) {
        let actual = format!("node {node} is still in the resource group");
        return refused("not empty resource group", &actual, "");
    }
    for (user, config) in configs {
        for (list, groups) in [("TransferFrom", &config.transfer_from), ("TransferTo", &config.transfer_to)] {
            if groups.iter().any(|group| group == name) {
                let expected = format!("not `{list}` of resource group");
                let reason = format!(
                    "resource group {name} is used by {user}'s `{list}`, remove that configuration first"
                );
                return refused(&expected, name, &reason);
            }
        }
    }
    Ok(())
}
