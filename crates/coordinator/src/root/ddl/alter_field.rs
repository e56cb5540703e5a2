//! `AddField` and `AlterField`.

use redkite_catalog::{CollectionRecord, Properties};
use redkite_service::{Error, Result};
use redkite_types::{CollectionSchema, DataType, FieldId, FieldSchema, limits};

use super::lookup;
use crate::command::Draft;
use crate::step::Step;

/// Milvus: sets the field's description instead of a type parameter.
const DESCRIPTION: &str = "field.description";
/// The type parameter that bounds VarChar values.
const MAX_LENGTH: &str = "max_length";

pub(super) fn add(draft: &Draft<'_>, database: &str, name: &str, field: &FieldSchema) -> Result<Step> {
    let collection = lookup::collection(draft.metadata, database, name)?;
    check_new(&collection.schema, field)?;
    let mut record = (*collection.record).clone();
    let field = FieldSchema { id: next_field_id(&record.schema), ..field.clone() };
    // Declared fields come first, `$meta` stays last.
    let position = record.schema.fields.iter().position(|existing| existing.dynamic);
    record.schema.fields.insert(position.unwrap_or(record.schema.fields.len()), field);
    record.schema.version += 1;
    record.updated_at = draft.now;
    let mut step = Step::new("add field");
    step.replace(&record.id, Some(collection), &record);
    Ok(step)
}

fn check_new(schema: &CollectionSchema, field: &FieldSchema) -> Result<()> {
    if schema.field(&field.name).is_some() {
        return Err(Error::invalid(format!("field already exists, name: {}", field.name)));
    }
    if schema.fields.iter().filter(|field| !field.dynamic).count() >= limits::MAX_FIELDS {
        return Err(Error::invalid(format!(
            "The number of fields has reached the maximum value {}",
            limits::MAX_FIELDS
        )));
    }
    if field.primary_key || field.partition_key || field.dynamic {
        return Err(Error::invalid(format!(
            "added field must be a plain field, field name = {}",
            field.name
        )));
    }
    // Rows that exist already need a value.
    if !field.nullable && field.default_value.is_none() {
        return Err(Error::invalid(format!(
            "added field must be nullable, please check it, field name = {}",
            field.name
        )));
    }
    Ok(())
}

/// An id that no field of the schema has or had: fields are never removed.
pub(super) fn next_field_id(schema: &CollectionSchema) -> FieldId {
    let largest = schema.fields.iter().map(|field| field.id.0 + 1).max();
    FieldId(largest.unwrap_or(0).max(FieldId::FIRST_USER.0))
}

pub(super) fn alter(
    draft: &Draft<'_>,
    database: &str,
    name: &str,
    field: &str,
    set: &Properties,
    delete: &[String],
) -> Result<Step> {
    let collection = lookup::collection(draft.metadata, database, name)?;
    let mut record: CollectionRecord = (*collection.record).clone();
    let found = record.schema.fields.iter_mut().find(|candidate| candidate.name == field);
    let found = found.ok_or_else(|| Error::FieldNotFound { field: field.to_owned() })?;
    change(found, set, delete)?;
    let mut step = Step::new("alter field");
    if record != *collection.record {
        record.schema.version += 1;
        record.updated_at = draft.now;
        step.replace(&record.id, Some(collection), &record);
    }
    Ok(step)
}

fn change(field: &mut FieldSchema, set: &Properties, delete: &[String]) -> Result<()> {
    for (key, value) in set {
        if key == DESCRIPTION {
            field.description.clone_from(value);
            continue;
        }
        if key == MAX_LENGTH {
            field.max_length = max_length(field, value)?;
        }
        match field.type_params.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => old.clone_from(value),
            None => field.type_params.push((key.clone(), value.clone())),
        }
    }
    if delete.iter().any(|key| key == MAX_LENGTH || key == "dim") {
        return Err(Error::invalid(format!("cannot delete the type parameters of field {}", field.name)));
    }
    field.type_params.retain(|(key, _)| !delete.contains(key));
    Ok(())
}

fn max_length(field: &FieldSchema, text: &str) -> Result<u32> {
    if field.data_type != DataType::VarChar {
        return Err(Error::invalid(format!("{MAX_LENGTH} does not apply to field {}", field.name)));
    }
    let length = text.parse().ok().filter(|length| (1..=limits::MAX_VARCHAR_BYTES).contains(length));
    length.ok_or_else(|| {
        Error::invalid(format!(
            "the maximum length specified for the field({}) should be in (0, {}], but got {text} instead",
            field.name,
            limits::MAX_VARCHAR_BYTES
        ))
    })
}
