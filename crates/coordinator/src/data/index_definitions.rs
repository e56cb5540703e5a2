//! `CreateIndex`, `AlterIndex`, `DropIndex`.

use std::collections::BTreeMap;

use redkite_catalog::{CollectionRecord, Entry, IndexRecord, IndexesRecord};
use redkite_service::{Error, NewIndex, Result};
use redkite_types::{CollectionId, IndexId};

use crate::command::Draft;
use crate::step::Step;

pub(super) fn create(draft: &mut Draft<'_>, new: &NewIndex) -> Result<Step> {
    let collection = collection(draft, new.collection)?;
    if collection.schema.field_by_id(new.field).is_none() {
        return Err(Error::FieldNotFound { field: new.field.to_string() });
    }
    let present = draft.metadata.indexes.get(&new.collection);
    let mut record = present.map(|entry| (*entry.record).clone()).unwrap_or_default();
    let mut step = Step::new("create index");
    if let Some(same_name) = record.named(&new.name) {
        let same = same_name.field == new.field && is_same(same_name, new);
        return if same {
            Ok(step)
        } else {
            Err(Error::invalid("at most one distinct index is allowed per field"))
        };
    }
    // A JSON field has an index per path; the proxy, which reads paths, tells them apart.
    if record.on_field(new.field).is_some() && !new.spec.is_json_path() {
        return Err(Error::invalid(
            "CreateIndex failed: creating multiple indexes on same field is not supported",
        ));
    }
    record.indexes.push(IndexRecord {
        id: IndexId(draft.id()?),
        name: new.name.clone(),
        field: new.field,
        params: new.params.clone(),
        spec: new.spec.clone(),
        created_at: draft.now,
    });
    step.relies_on(&new.collection, Some(collection)).replace(&new.collection, present, &record);
    Ok(step)
}

/// Parameters that were altered later do not make an index another one, what is built does.
fn is_same(existing: &IndexRecord, new: &NewIndex) -> bool {
    existing.spec == new.spec && (!new.spec.is_json_path() || existing.params == new.params)
}

pub(super) fn alter(
    draft: &Draft<'_>,
    id: CollectionId,
    name: &str,
    set: &BTreeMap<String, String>,
    delete: &[String],
) -> Result<Step> {
    let collection = collection(draft, id)?;
    let present = draft.metadata.indexes.get(&id);
    let mut record = present.map(|entry| (*entry.record).clone()).unwrap_or_default();
    let index = record.indexes.iter_mut().find(|index| index.name == name);
    let index = index.ok_or_else(|| Error::IndexNotFound { index: name.to_owned() })?;
    index.params.retain(|(key, _)| !set.contains_key(key) && !delete.contains(key));
    index.params.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut step = Step::new("alter index");
    if present.is_some_and(|entry| *entry.record == record) {
        return Ok(step);
    }
    step.relies_on(&id, Some(collection)).replace(&id, present, &record);
    Ok(step)
}

pub(super) fn drop(draft: &Draft<'_>, id: CollectionId, index: IndexId) -> Result<Step> {
    let mut step = Step::new("drop index");
    let Some(present) = draft.metadata.indexes.get(&id) else {
        return Ok(step);
    };
    let Some(found) = present.indexes.iter().find(|candidate| candidate.id == index) else {
        return Ok(step);
    };
    let load = draft.metadata.loads.get(&id);
    if found.spec.is_vector() {
        if load.is_some() {
            return Err(Error::invalid(format!("vector index cannot be dropped on loaded collection: {id}")));
        }
        // A load that was checked against this index must not slip in between.
        step.relies_on(&id, load);
    }
    let mut record: IndexesRecord = (*present.record).clone();
    record.indexes.retain(|candidate| candidate.id != index);
    step.replace(&id, Some(present), &record);
    Ok(step)
}

fn collection<'a>(draft: &Draft<'a>, id: CollectionId) -> Result<&'a Entry<CollectionRecord>> {
    draft
        .metadata
        .collections
        .get(&id)
        .ok_or_else(|| Error::CollectionNotFound { database: String::new(), collection: id.to_string() })
}
