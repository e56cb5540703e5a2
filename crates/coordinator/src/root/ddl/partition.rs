//! `CreatePartition` and `DropPartition`.

use redkite_catalog::{
    CollectionRecord, DEFAULT_PARTITION, LoadRecord, LoadScope, Metadata, PartitionRecord,
};
use redkite_service::{Error, Result};
use redkite_types::PartitionId;

use super::super::RootSettings;
use super::create_collection::check_capacity;
use super::lookup;
use crate::command::Draft;
use crate::step::Step;

pub(super) fn create(
    draft: &mut Draft<'_>,
    settings: &RootSettings,
    database: &str,
    name: &str,
    partition: &str,
) -> Result<Step> {
    let collection = lookup::collection(draft.metadata, database, name)?;
    let mut step = Step::new("create partition");
    if collection.partition(partition).is_some() {
        return Ok(step);
    }
    if collection.partitions.len() >= settings.max_partition_num {
        return Err(Error::invalid(format!(
            "partition number ({}) exceeds max configuration ({}), collection: {}",
            collection.partitions.len(),
            settings.max_partition_num,
            collection.name
        )));
    }
    check_capacity(draft.metadata, settings, usize::from(collection.shards))?;
    let mut record = (*collection.record).clone();
    let id = PartitionId(draft.id()?);
    record.partitions.push(PartitionRecord { id, name: partition.to_owned(), created_at: draft.now });
    step.replace(&record.id, Some(collection), &record);
    stay_loaded(draft.metadata, &record, id, &mut step);
    Ok(step)
}

/// A new partition of a loaded collection has nothing to load: it is loaded with its creation, so that
/// the collection does not look half loaded for a moment.
fn stay_loaded(metadata: &Metadata, collection: &CollectionRecord, new: PartitionId, step: &mut Step) {
    let load = metadata.loads.get(&collection.id);
    step.relies_on(&collection.id, load);
    if let Some(load) = load.filter(|load| load.scope == LoadScope::Collection) {
        let mut record: LoadRecord = (*load.record).clone();
        record.loaded.insert(new);
        step.put(&collection.id, &record);
    }
}

/// Removes the partition; its segments are given up by the data coordinator, which sees it gone.
pub(super) fn drop(draft: &Draft<'_>, database: &str, name: &str, partition: &str) -> Result<Step> {
    let mut step = Step::new("drop partition");
    if partition == DEFAULT_PARTITION {
        return Err(Error::invalid("default partition cannot be deleted"));
    }
    let collection = lookup::collection(draft.metadata, database, name)?;
    let Some(found) = collection.partition(partition) else {
        return Ok(step);
    };
    if collection.schema.partition_key().is_some() {
        return Err(Error::invalid("disable drop partition if partition key mode is used"));
    }
    let load = draft.metadata.loads.get(&collection.id);
    if load.is_some_and(|load| load.scope.contains(found.id)) {
        return Err(Error::invalid(
            "partition cannot be dropped, partition is loaded, please release it first",
        ));
    }
    let mut record = (*collection.record).clone();
    record.partitions.retain(|partition| partition.id != found.id);
    step.relies_on(&record.id, load).replace(&record.id, Some(collection), &record);
    Ok(step)
}
