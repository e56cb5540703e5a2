//! `CreateAlias`, `AlterAlias`, `DropAlias`.

use redkite_catalog::{CollectionRecord, Entry, NameRecord};
use redkite_service::{Error, Result};
use redkite_types::DatabaseId;

use super::lookup;
use crate::command::Draft;
use crate::step::Step;

pub(super) fn create(draft: &Draft<'_>, database: &str, collection: &str, alias: &str) -> Result<Step> {
    let metadata = draft.metadata;
    let id = lookup::database(metadata, database)?.id;
    let key = (id, alias.to_owned());
    refuse_collection_name(draft, &key, database)?;
    let collection =
        lookup::named(metadata, id, collection).ok_or_else(|| lookup::not_found(database, collection))?;
    let mut step = Step::new("create alias");
    match metadata.names.get(&key).map(|entry| entry.collection()) {
        Some(other) if other == collection.id => {}
        Some(other) => {
            let collection = metadata.collections.get(&other);
            return Err(Error::AliasExists {
                database: lookup::shown(database).to_owned(),
                alias: alias.to_owned(),
                collection: collection.map(|collection| collection.name.clone()).unwrap_or_default(),
            });
        }
        None => point(&mut step, draft, &key, collection),
    }
    Ok(step)
}

pub(super) fn alter(draft: &Draft<'_>, database: &str, collection: &str, alias: &str) -> Result<Step> {
    let metadata = draft.metadata;
    let id = lookup::database(metadata, database)?.id;
    let key = (id, alias.to_owned());
    refuse_collection_name(draft, &key, database)?;
    // Milvus names no database in this one message.
    let collection = lookup::named(metadata, id, collection).ok_or_else(|| Error::CollectionNotFound {
        database: String::new(),
        collection: collection.to_owned(),
    })?;
    let mut step = Step::new("alter alias");
    match metadata.names.get(&key).map(|entry| entry.collection()) {
        Some(present) if present == collection.id => {}
        Some(_) => point(&mut step, draft, &key, collection),
        None => {
            return Err(Error::AliasNotFound {
                database: lookup::shown(database).to_owned(),
                alias: alias.to_owned(),
            });
        }
    }
    Ok(step)
}

pub(super) fn drop(draft: &Draft<'_>, database: &str, alias: &str) -> Result<Step> {
    let key = (lookup::database(draft.metadata, database)?.id, alias.to_owned());
    let mut step = Step::new("drop alias");
    if let Some(entry) = draft.metadata.names.get(&key)
        && let NameRecord::Alias(_) = *entry.record
    {
        step.relies_on(&key, Some(entry)).delete::<NameRecord>(&key);
    }
    Ok(step)
}

fn refuse_collection_name(draft: &Draft<'_>, key: &(DatabaseId, String), database: &str) -> Result<()> {
    match draft.metadata.names.get(key).map(|entry| &*entry.record) {
        Some(NameRecord::Collection(_)) => Err(Error::AliasCollectionConflict {
            database: lookup::shown(database).to_owned(),
            alias: key.1.clone(),
        }),
        Some(NameRecord::Alias(_)) | None => Ok(()),
    }
}

fn point(
    step: &mut Step,
    draft: &Draft<'_>,
    key: &(DatabaseId, String),
    collection: &Entry<CollectionRecord>,
) {
    step.relies_on(&collection.id, Some(collection)).replace(
        key,
        draft.metadata.names.get(key),
        &NameRecord::Alias(collection.id),
    );
}
