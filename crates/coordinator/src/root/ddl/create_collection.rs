//! `CreateCollection`.

use redkite_catalog::{CollectionRecord, Metadata, NameRecord, PartitionRecord};
use redkite_service::{Error, NewCollection, Result};
use redkite_types::{CollectionId, CollectionSchema, FieldSchema, PartitionId};

use super::super::RootSettings;
use super::lookup;
use crate::command::Draft;
use crate::step::Step;

pub(super) fn plan(draft: &mut Draft<'_>, settings: &RootSettings, new: &NewCollection) -> Result<Step> {
    let metadata = draft.metadata;
    let database = lookup::database(metadata, &new.database)?;
    let name = (database.id, new.name.clone());
    let mut step = Step::new("create collection");
    match metadata.names.get(&name).map(|entry| &*entry.record) {
        Some(NameRecord::Alias(_)) => {
            return Err(Error::AliasCollectionConflict {
                database: database.name.clone(),
                alias: new.name.clone(),
            });
        }
        Some(NameRecord::Collection(id)) => {
            let same = metadata.collections.get(id).is_some_and(|existing| is_same(existing, new));
            return if same { Ok(step) } else { Err(different(&new.name)) };
        }
        None => {}
    }
    check_limits(metadata, settings, new)?;
    let record = record(draft, database.id, new)?;
    step.relies_on(&database.id, Some(database))
        .replace(&name, None, &NameRecord::Collection(record.id))
        .replace(&record.id, None, &record);
    Ok(step)
}

fn different(name: &str) -> Error {
    Error::invalid(format!("create duplicate collection with different parameters, collection: {name}"))
}

fn record(
    draft: &mut Draft<'_>,
    database: redkite_types::DatabaseId,
    new: &NewCollection,
) -> Result<CollectionRecord> {
    let id = CollectionId(draft.id()?);
    let mut partitions = Vec::with_capacity(new.partitions.len());
    for name in &new.partitions {
        let id = PartitionId(draft.id()?);
        partitions.push(PartitionRecord { id, name: name.clone(), created_at: draft.now });
    }
    Ok(CollectionRecord {
        id,
        database,
        name: new.name.clone(),
        schema: new.schema.clone(),
        shards: new.shards,
        partitions,
        consistency: new.consistency,
        properties: new.properties.clone(),
        created_at: draft.now,
        updated_at: draft.now,
    })
}

fn check_limits(metadata: &Metadata, settings: &RootSettings, new: &NewCollection) -> Result<()> {
    if new.shards == 0 || new.partitions.is_empty() {
        return Err(Error::invalid("a collection needs a shard and a partition"));
    }
    if metadata.collections.len() >= settings.max_collection_num {
        return Err(Error::CollectionNumLimit { limit: settings.max_collection_num });
    }
    if new.partitions.len() > settings.max_partition_num {
        return Err(Error::invalid(format!(
            "partition number ({}) exceeds max configuration ({}), collection: {}",
            new.partitions.len(),
            settings.max_partition_num,
            new.name
        )));
    }
    check_capacity(metadata, settings, new.partitions.len() * usize::from(new.shards))
}

/// Refuses to let the sum of partitions × shards grow over its limit.
pub(super) fn check_capacity(metadata: &Metadata, settings: &RootSettings, added: usize) -> Result<()> {
    let used: usize = metadata
        .collections
        .values()
        .map(|collection| collection.partitions.len() * usize::from(collection.shards))
        .sum();
    if used + added > settings.max_general_capacity {
        return Err(Error::GeneralCapacityExceeded { limit: settings.max_general_capacity });
    }
    Ok(())
}

fn is_same(existing: &CollectionRecord, new: &NewCollection) -> bool {
    existing.shards == new.shards
        && existing.consistency == new.consistency
        && existing.properties == new.properties
        && existing.partitions.iter().map(|partition| &partition.name).eq(&new.partitions)
        && same_schema(&existing.schema, &new.schema)
}

/// The schema's version does not count: a changed schema differs in its fields anyway.
fn same_schema(left: &CollectionSchema, right: &CollectionSchema) -> bool {
    left.description == right.description
        && left.enable_dynamic_field == right.enable_dynamic_field
        && left.fields.iter().map(with_sorted_params).eq(right.fields.iter().map(with_sorted_params))
}

fn with_sorted_params(field: &FieldSchema) -> FieldSchema {
    let mut field = field.clone();
    field.type_params.sort();
    field
}
