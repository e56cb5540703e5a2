//! Names to records, and the errors for names that stand for nothing.

use redkite_catalog::{
    CollectionRecord, DEFAULT_DATABASE, DatabaseRecord, Entry, Metadata, NameRecord, Properties,
};
use redkite_service::{Error, Result};
use redkite_types::DatabaseId;

/// The database of this name; the empty name means the default one.
pub(super) fn database<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a Entry<DatabaseRecord>> {
    metadata.database(name).ok_or_else(|| Error::DatabaseNotFound { database: shown(name).to_owned() })
}

/// The collection that the name or alias stands for.
pub(super) fn collection<'a>(
    metadata: &'a Metadata,
    database_name: &str,
    name: &str,
) -> Result<&'a Entry<CollectionRecord>> {
    let database = database(metadata, database_name)?;
    metadata.collection(database.id, name).ok_or_else(|| not_found(database_name, name))
}

/// The collection whose own name it is, not an alias.
pub(super) fn named<'a>(
    metadata: &'a Metadata,
    database: DatabaseId,
    name: &str,
) -> Option<&'a Entry<CollectionRecord>> {
    match &*metadata.names.get(&(database, name.to_owned()))?.record {
        NameRecord::Collection(id) => metadata.collections.get(id),
        NameRecord::Alias(_) => None,
    }
}

/// The error for a name that stands for no collection.
pub(super) fn not_found(database: &str, name: &str) -> Error {
    Error::CollectionNotFound { database: shown(database).to_owned(), collection: name.to_owned() }
}

/// The database name that messages show.
pub(super) fn shown(database: &str) -> &str {
    if database.is_empty() { DEFAULT_DATABASE } else { database }
}

/// Settings with some set and some removed.
pub(super) fn changed(old: &Properties, set: &Properties, delete: &[String]) -> Properties {
    let mut new = old.clone();
    new.extend(set.clone());
    new.retain(|key, _| !delete.contains(key));
    new
}
