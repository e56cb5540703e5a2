//! How many replicas should a collection have, and in which resource groups? `TransferReplica`.

use std::collections::BTreeMap;

use redkite_catalog::{
    CollectionRecord, DEFAULT_RESOURCE_GROUP, LoadRecord, Metadata, Properties, ReplicaRecord, ReplicasRecord,
};
use redkite_service::{Error, NewLoad, Result};
use redkite_types::{CollectionId, ReplicaId};

use super::load;
use super::resource_group::check_different;
use crate::command::Draft;
use crate::nodes::RoleNodes;
use crate::plan::replicas::by_service;
use crate::step::Step;

/// Milvus's names of the settings of collections and databases, as (number, groups).
const SETTINGS: [(&str, &str); 2] = [
    ("collection.replica.number", "collection.resource_groups"),
    ("database.replica.number", "database.resource_groups"),
];

/// The number of replicas in each resource group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted(BTreeMap<String, usize>);

/// What a request means; `None` if it says nothing and what is loaded stays as it is.
pub(super) fn wanted(
    metadata: &Metadata,
    collection: &CollectionRecord,
    present: Option<&LoadRecord>,
    new: &NewLoad,
) -> Result<Option<Wanted>> {
    let (mut number, mut groups) = (new.replicas as usize, new.resource_groups.clone());
    if number == 0 && groups.is_empty() {
        if present.is_some() {
            return Ok(None);
        }
        let database = metadata.databases.get(&collection.database).map(|database| &database.properties);
        (number, groups) = from_settings(&collection.properties, database);
    }
    let number = number.max(1);
    if groups.len() > 1 && groups.len() != number {
        return Err(Error::invalid(format!(
            "replica=[{number}] resource group=[{}], resource group num can only be 0, 1 or same as replica \
             number: invalid parameter",
            groups.join(",")
        )));
    }
    let mut wanted = BTreeMap::new();
    match groups.as_slice() {
        [] => drop(wanted.insert(DEFAULT_RESOURCE_GROUP.to_owned(), number)),
        [group] => drop(wanted.insert(group.clone(), number)),
        groups => groups.iter().for_each(|group| *wanted.entry(group.clone()).or_default() += 1),
    }
    let configs = metadata.resource_group_configs();
    match wanted.keys().find(|group| !configs.contains_key(*group)) {
        Some(group) => Err(Error::ResourceGroupNotFound { group: group.clone() }),
        None => Ok(Some(Wanted(wanted))),
    }
}

/// The settings of the collection, and of its database for what the collection does not say.
fn from_settings(collection: &Properties, database: Option<&Properties>) -> (usize, Vec<String>) {
    let (mut number, mut groups) = (0, Vec::new());
    for (properties, (number_key, groups_key)) in [Some(collection), database].into_iter().zip(SETTINGS) {
        let value = |key| properties.and_then(|properties| properties.get(key));
        if number == 0 {
            number = value(number_key).and_then(|value| value.parse().ok()).unwrap_or(0);
        }
        if groups.is_empty() {
            let names = value(groups_key).map(|value| value.split(',').map(str::trim)).into_iter().flatten();
            groups = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        }
    }
    (number, groups)
}

impl Wanted {
    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Whether there are nodes for as many replicas: they never share one.
    pub(super) fn check_nodes(&self, metadata: &Metadata, nodes: &RoleNodes) -> Result<()> {
        let open = nodes.open();
        let (replicas, present) = (self.total(), open.len());
        // One replica waits for a node.
        if replicas > present.max(1) {
            return Err(Error::Unexpected {
                reason: format!(
                    "load operation failed: when load {replicas} replica count: service resource \
                     insufficient[currentQueryNode={present}][expectedQueryNode={replicas}]"
                ),
            });
        }
        let groups = metadata.resource_group_nodes(&open);
        for (group, expected) in &self.0 {
            let current = groups.get(group).map_or(0, |nodes| nodes.len());
            if *expected > current && !(replicas == 1 && present == 0) {
                let (group, expected) = (group.clone(), *expected);
                return Err(Error::ResourceGroupNodeNotEnough { group, current, expected });
            }
        }
        Ok(())
    }

    /// The replicas as wanted: those that can stay do, others go where one is wanted, then new ones are made.
    pub(super) fn arrange(
        &self,
        collection: CollectionId,
        now: &ReplicasRecord,
        draft: &mut Draft<'_>,
    ) -> Result<ReplicasRecord> {
        let mut lacking = self.0.clone();
        let mut next = BTreeMap::new();
        let mut spare = Vec::new();
        for id in by_service(draft.metadata, collection, now) {
            let replica = &now.replicas[&id];
            match lacking.get_mut(&replica.resource_group).filter(|lacking| **lacking > 0) {
                Some(lacking) => {
                    *lacking -= 1;
                    next.insert(id, replica.clone());
                }
                None => spare.push((id, replica.clone())),
            }
        }
        let mut spare = spare.into_iter();
        for (group, lacking) in lacking {
            for _ in 0..lacking {
                let (id, replica) = match spare.next() {
                    Some(spare) => spare,
                    None => (ReplicaId(draft.id()?), ReplicaRecord::default()),
                };
                next.insert(id, ReplicaRecord { resource_group: group.clone(), ..replica });
            }
        }
        Ok(ReplicasRecord { replicas: next })
    }
}

/// Moves replicas of a collection to another resource group.
pub(super) fn transfer(
    draft: &mut Draft<'_>,
    id: CollectionId,
    source: &str,
    target: &str,
    number: u32,
) -> Result<Step> {
    let metadata = draft.metadata;
    let configs = metadata.resource_group_configs();
    if let Some(group) = [source, target].into_iter().find(|group| !configs.contains_key(*group)) {
        return Err(Error::ResourceGroupNotFound { group: group.to_owned() });
    }
    check_different(source, target)?;
    let number = number as usize;
    if number == 0 {
        return Err(Error::invalid(
            "invalid parameter[expected=NumReplica > 0][actual=invalid NumReplica 0]",
        ));
    }
    let collection = load::collection(metadata, id)?;
    let name = &collection.name;
    let (Some(load), Some(replicas)) = (metadata.loads.get(&id), metadata.replicas.get(&id)) else {
        return Err(Error::CollectionNotLoaded { collection: name.clone() });
    };
    let total = replicas.replicas.len();
    if number > total {
        return Err(Error::invalid(format!(
            "the number of replicas to transfer is greater than the number of replicas in the collection: \
             invalid parameter[expected={number}][actual={total}]"
        )));
    }
    let mut next = (*replicas.record).clone();
    let there = next.replicas.values_mut().filter(|replica| replica.resource_group == source);
    let moved: Vec<_> =
        there.take(number).map(|replica| replica.resource_group = target.to_owned()).collect();
    if moved.len() < number {
        return Err(Error::invalid(format!(
            "invalid parameter[expected=NumReplica not greater than the number of replica in source resource \
             group][actual=only found [{}] replicas of collection [{name}] in source resource group [{source}], \
             but {number} require]",
            moved.len()
        )));
    }
    let mut step = Step::new("transfer replicas");
    step.relies_on(&id, Some(load)).replace(&id, Some(replicas), &next);
    step.relies_on(&target.to_owned(), metadata.resource_groups.get(target));
    Ok(step)
}

#[cfg(test)]
mod tests;
