//! `TruncateCollection`: every partition is replaced by an empty one of the same name.

use std::collections::BTreeSet;

use redkite_catalog::{CollectionRecord, LoadRecord, LoadScope, PartitionRecord};
use redkite_service::Result;
use redkite_types::PartitionId;

use super::lookup;
use crate::command::Draft;
use crate::step::Step;

/// Rows of the old partitions go the way of rows of dropped ones; what was loaded stays loaded.
pub(super) fn plan(draft: &mut Draft<'_>, database: &str, name: &str) -> Result<Step> {
    let collection = lookup::collection(draft.metadata, database, name)?;
    let mut partitions = Vec::with_capacity(collection.partitions.len());
    for old in &collection.partitions {
        let id = PartitionId(draft.id()?);
        partitions.push(PartitionRecord { id, name: old.name.clone(), created_at: draft.now });
    }
    let record = CollectionRecord { partitions, ..(*collection.record).clone() };
    let mut step = Step::new("truncate collection");
    step.replace(&record.id, Some(collection), &record);
    let load = draft.metadata.loads.get(&record.id);
    step.relies_on(&record.id, load);
    if let Some(load) = load {
        step.put(&record.id, &moved(load, collection, &record));
    }
    Ok(step)
}

/// The same request to load, for the new partitions: they have nothing to load.
fn moved(load: &LoadRecord, old: &CollectionRecord, new: &CollectionRecord) -> LoadRecord {
    let fresh = |ids: &BTreeSet<PartitionId>| {
        let pairs = old.partitions.iter().zip(&new.partitions);
        pairs.filter(|(old, _)| ids.contains(&old.id)).map(|(_, new)| new.id).collect()
    };
    let scope = match &load.scope {
        LoadScope::Collection => LoadScope::Collection,
        LoadScope::Partitions(ids) => LoadScope::Partitions(fresh(ids)),
    };
    LoadRecord { scope, loaded: fresh(&load.loaded), ..load.clone() }
}
