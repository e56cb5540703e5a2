//! `RenameCollection`, also into another database.

use redkite_catalog::{CollectionRecord, NameRecord};
use redkite_service::{Error, Result};

use super::lookup;
use crate::command::Draft;
use crate::step::Step;

pub(super) fn plan(
    draft: &Draft<'_>,
    database_name: &str,
    name: &str,
    new_database_name: &str,
    new_name: &str,
) -> Result<Step> {
    let metadata = draft.metadata;
    let database = lookup::database(metadata, database_name)?;
    // No new database means the same one.
    let new_database_name = if new_database_name.is_empty() { database_name } else { new_database_name };
    let new_database = lookup::database(metadata, new_database_name)?;
    if database.id == new_database.id && name == new_name {
        return Err(Error::invalid("collection name or database name should be different"));
    }
    let old_key = (database.id, name.to_owned());
    let new_key = (new_database.id, new_name.to_owned());
    let old_entry = metadata.names.get(&old_key);
    if let Some(NameRecord::Alias(_)) = old_entry.map(|entry| &*entry.record) {
        return Err(Error::invalid(format!("unsupported use an alias to rename collection, alias:{name}")));
    }
    check_free(draft, &new_key, &new_database.name)?;
    let collection = lookup::collection(metadata, database_name, name)?;
    if database.id != new_database.id && metadata.aliases(collection).next().is_some() {
        return Err(Error::invalid(
            "fail to rename db name, must drop all aliases of this collection before rename",
        ));
    }
    let record = CollectionRecord {
        database: new_database.id,
        name: new_name.to_owned(),
        updated_at: draft.now,
        ..(*collection.record).clone()
    };
    let mut step = Step::new("rename collection");
    step.relies_on(&new_database.id, Some(new_database));
    step.relies_on(&old_key, old_entry).delete::<NameRecord>(&old_key);
    step.replace(&new_key, None, &NameRecord::Collection(record.id));
    step.replace(&record.id, Some(collection), &record);
    Ok(step)
}

fn check_free(
    draft: &Draft<'_>,
    key: &(redkite_types::DatabaseId, String),
    database_name: &str,
) -> Result<()> {
    match draft.metadata.names.get(key).map(|entry| &*entry.record) {
        None => Ok(()),
        Some(NameRecord::Alias(_)) => {
            Err(Error::AliasCollectionConflict { database: database_name.to_owned(), alias: key.1.clone() })
        }
        Some(NameRecord::Collection(_)) => Err(Error::invalid(format!(
            "duplicated new collection name {database_name}:{} with other collection name or alias",
            key.1
        ))),
    }
}
