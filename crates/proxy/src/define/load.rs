//! May this be loaded?

use redkite_catalog::{CollectionRecord, IndexesRecord};
use redkite_service::Error;
use redkite_types::FieldSchema;

use super::property::boolean;
use crate::refuse;

/// The replicas meant by a request; anything less than one leaves the number to the coordinator.
pub(crate) fn replicas(wanted: i32) -> u32 {
    u32::try_from(wanted).unwrap_or_default()
}

/// Checks the fields to load: those that reads depend on must be among them. Which fields are loaded
/// is a hint, all of them are readable anyway.
pub(crate) fn fields(
    collection: &CollectionRecord,
    wanted: &[String],
    skip_dynamic: bool,
) -> Result<(), Error> {
    let schema = &collection.schema;
    let mut vectors = 0;
    for name in wanted {
        let field = schema
            .field(name)
            .ok_or_else(|| refuse::invalid(format_args!("field {name} does not exist in schema")))?;
        vectors += usize::from(field.data_type.is_vector());
        if field.dynamic && skip_dynamic {
            return Err(refuse::invalid(format_args!(
                "load field list {wanted:?} contains dynamic field but skip load dynamic field is true"
            )));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let missing = |field: &&FieldSchema| !wanted.contains(&field.name);
    if Some(schema.primary_key()).filter(missing).is_some() {
        return Err(refuse::invalid(format_args!(
            "load field list {wanted:?} does not contain primary key field {}",
            schema.primary_key().name
        )));
    }
    if let Some(key) = schema.partition_key().filter(missing) {
        return Err(refuse::invalid(format_args!(
            "load field list {wanted:?} does not contain partition key field {}",
            key.name
        )));
    }
    if vectors == 0 {
        return Err(refuse::invalid(format_args!(
            "load field list {wanted:?} does not contain vector field"
        )));
    }
    Ok(())
}

/// Checks that every vector field that is loaded has an index.
pub(crate) fn indexes(
    collection: &CollectionRecord,
    indexes: Option<&IndexesRecord>,
    wanted: &[String],
) -> Result<(), Error> {
    let Some(indexes) = indexes.filter(|record| !record.indexes.is_empty()) else {
        return Err(Error::NoIndexes { collection: collection.name.clone() });
    };
    let skipped = |field: &FieldSchema| {
        let skip = field.type_params.iter().find(|(key, _)| key == "field.skipLoad");
        skip.and_then(|(_, value)| boolean(value)) == Some(true)
    };
    let unindexed: Vec<&str> = collection
        .schema
        .vector_fields()
        .filter(|field| wanted.is_empty() || wanted.contains(&field.name))
        .filter(|field| !(wanted.is_empty() && skipped(field)))
        .filter(|field| indexes.on_field(field.id).is_none())
        .map(|field| field.name.as_str())
        .collect();
    if unindexed.is_empty() {
        return Ok(());
    }
    Err(refuse::invalid(format_args!(
        "there is no vector index on field: [{}], please create index firstly",
        unindexed.join(" ")
    )))
}
