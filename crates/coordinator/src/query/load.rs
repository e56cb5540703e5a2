//! `LoadCollection` and `LoadPartitions`.

use std::collections::BTreeSet;

use redkite_catalog::{CollectionRecord, LoadRecord, LoadScope, Metadata};
use redkite_service::{Error, Result};
use redkite_types::CollectionId;

use crate::command::Draft;
use crate::step::Step;

pub(super) fn plan(
    draft: &Draft<'_>,
    id: CollectionId,
    scope: &LoadScope,
    replicas: u32,
    nodes: usize,
) -> Result<Step> {
    let metadata = draft.metadata;
    let collection = metadata
        .collections
        .get(&id)
        .ok_or_else(|| Error::CollectionNotFound { database: String::new(), collection: id.to_string() })?;
    let replicas = replicas.max(1);
    if replicas as usize > nodes.max(1) {
        return Err(Error::Unexpected {
            reason: format!(
                "load operation failed: when load {replicas} replica count: service resource \
                 insufficient[currentQueryNode={nodes}][expectedQueryNode={replicas}]"
            ),
        });
    }
    check_partitions(collection, scope)?;
    check_indexes(metadata, collection)?;
    let present = metadata.loads.get(&id);
    let record = match present {
        Some(present) => {
            LoadRecord { scope: union(&present.scope, scope), replicas, ..(*present.record).clone() }
        }
        None => {
            LoadRecord { scope: scope.clone(), replicas, requested_at: draft.now, loaded: BTreeSet::new() }
        }
    };
    let mut step = Step::new("load");
    if present.is_none_or(|present| *present.record != record) {
        // The collection and its indexes must still be there when the request is recorded.
        step.relies_on(&id, Some(collection))
            .relies_on(&id, metadata.indexes.get(&id))
            .replace(&id, present, &record);
    }
    Ok(step)
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
