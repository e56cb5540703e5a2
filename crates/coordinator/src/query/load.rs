//! `LoadCollection` and `LoadPartitions`.

use std::collections::BTreeSet;

use redkite_catalog::{CollectionRecord, LoadRecord, LoadScope, Metadata};
use redkite_service::{Error, NewLoad, Result};
use redkite_types::CollectionId;

use super::replicas;
use crate::command::Draft;
use crate::nodes::RoleNodes;
use crate::step::Step;

pub(super) fn plan(draft: &mut Draft<'_>, new: &NewLoad, nodes: &RoleNodes) -> Result<Step> {
    let metadata = draft.metadata;
    let id = new.collection;
    let collection = collection(metadata, id)?;
    let present = metadata.loads.get(&id);
    let recorded = metadata.replicas.get(&id).filter(|_| present.is_some());
    let wanted = replicas::wanted(metadata, collection, present.map(|load| &*load.record), new)?;
    if let Some(wanted) = &wanted {
        let partitions = matches!(new.scope, LoadScope::Partitions(_));
        match present.filter(|load| partitions && load.replicas as usize != wanted.total()) {
            Some(load) => return Err(changes_replicas(load, wanted.total())),
            // Milvus looks at the nodes of what is not loaded yet, and at each load of partitions.
            None if present.is_none() || partitions => wanted.check_nodes(metadata, nodes)?,
            None => {}
        }
    }
    check_partitions(collection, &new.scope)?;
    check_indexes(metadata, collection)?;
    let replicas = match (&wanted, recorded) {
        (Some(wanted), recorded) => {
            let now = recorded.map(|record| (*record.record).clone()).unwrap_or_default();
            Some(wanted.arrange(id, &now, draft)?)
        }
        (None, _) => None,
    };
    let count = replicas.as_ref().map_or(present.map_or(1, |load| load.replicas), |record| {
        u32::try_from(record.replicas.len()).unwrap_or(u32::MAX)
    });
    let record = match present {
        Some(present) => LoadRecord {
            scope: union(&present.scope, &new.scope),
            replicas: count,
            ..(*present.record).clone()
        },
        None => LoadRecord {
            scope: new.scope.clone(),
            replicas: count,
            requested_at: draft.now,
            loaded: BTreeSet::new(),
        },
    };
    let mut step = Step::new("load");
    if present.is_none_or(|present| *present.record != record) {
        step.replace(&id, present, &record);
    }
    let stored = metadata.replicas.get(&id);
    if let Some(replicas) = replicas.filter(|next| stored.is_none_or(|stored| *stored.record != *next)) {
        step.replace(&id, stored, &replicas);
    }
    if !step.is_empty() {
        // The collection and its indexes must still be there when the request is recorded.
        step.relies_on(&id, Some(collection))
            .relies_on(&id, metadata.indexes.get(&id))
            .relies_on(&id, present);
    }
    Ok(step)
}

pub(super) fn collection(
    metadata: &Metadata,
    id: CollectionId,
) -> Result<&redkite_catalog::Entry<CollectionRecord>> {
    let missing = || Error::CollectionNotFound { database: String::new(), collection: id.to_string() };
    metadata.collections.get(&id).ok_or_else(missing)
}

fn changes_replicas(load: &LoadRecord, wanted: usize) -> Error {
    Error::invalid(format!(
        "can't change the replica number for loaded partitions: invalid \
         parameter[expected={}][actual={wanted}]",
        load.replicas
    ))
}

fn union(present: &LoadScope, asked: &LoadScope) -> LoadScope {
    match (present, asked) {
        (LoadScope::Partitions(present), LoadScope::Partitions(asked)) => {
            LoadScope::Partitions(present | asked)
        }
        (LoadScope::Collection, _) | (_, LoadScope::Collection) => LoadScope::Collection,
    }
}

fn check_partitions(collection: &CollectionRecord, scope: &LoadScope) -> Result<()> {
    let LoadScope::Partitions(partitions) = scope else {
        return Ok(());
    };
    let missing = partitions.iter().find(|partition| collection.partition_by_id(**partition).is_none());
    match missing {
        Some(partition) => Err(Error::PartitionNotFound { partition: partition.to_string() }),
        None => Ok(()),
    }
}

fn check_indexes(metadata: &Metadata, collection: &CollectionRecord) -> Result<()> {
    let indexes = metadata.indexes.get(&collection.id).filter(|record| !record.indexes.is_empty());
    let Some(indexes) = indexes else {
        return Err(Error::NoIndexes { collection: collection.name.clone() });
    };
    let unindexed: Vec<_> = collection
        .schema
        .vector_fields()
        .filter(|field| indexes.on_field(field.id).is_none())
        .map(|field| field.name.as_str())
        .collect();
    if unindexed.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "there is no vector index on field: [{}], please create index firstly",
        unindexed.join(" ")
    )))
}
