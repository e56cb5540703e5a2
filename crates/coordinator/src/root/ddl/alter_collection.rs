//! `AlterCollection`: settings, description, consistency level, dynamic fields.

use redkite_catalog::{CollectionRecord, Properties};
use redkite_service::{Error, Result};
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{ConsistencyLevel, DataType, FieldSchema, Value};

use super::alter_field::next_field_id;
use super::lookup;
use crate::command::Draft;
use crate::step::Step;

/// Milvus: sets the collection's description instead of a property.
const DESCRIPTION: &str = "collection.description";
/// Milvus: sets the collection's consistency level instead of a property.
const CONSISTENCY: &str = "consistency_level";
/// Milvus: adds the dynamic field instead of a property.
const DYNAMIC: &str = "dynamicfield.enabled";

pub(super) fn plan(
    draft: &Draft<'_>,
    database: &str,
    name: &str,
    set: &Properties,
    delete: &[String],
) -> Result<Step> {
    let collection = lookup::collection(draft.metadata, database, name)?;
    let record = altered(collection, set, delete)?;
    let mut step = Step::new("alter collection");
    if record != *collection.record {
        let record = CollectionRecord { updated_at: draft.now, ..record };
        step.replace(&record.id, Some(collection), &record);
    }
    Ok(step)
}

fn altered(old: &CollectionRecord, set: &Properties, delete: &[String]) -> Result<CollectionRecord> {
    let mut record = old.clone();
    let mut plain = set.clone();
    if let Some(description) = plain.remove(DESCRIPTION) {
        record.schema.description = description;
    }
    if let Some(level) = plain.remove(CONSISTENCY) {
        record.consistency = consistency(&level)?;
    }
    if let Some(enabled) = plain.remove(DYNAMIC) {
        if set.len() > 1 {
            return Err(Error::invalid("cannot alter dynamic schema with other properties at the same time"));
        }
        set_dynamic(&mut record, &enabled)?;
    }
    if delete.iter().any(|key| key == DYNAMIC) {
        return Err(Error::invalid(format!(
            "cannot delete key {DYNAMIC}, dynamic field schema could support set to true/false"
        )));
    }
    record.properties = lookup::changed(&record.properties, &plain, delete);
    Ok(record)
}

fn consistency(text: &str) -> Result<ConsistencyLevel> {
    let level = match text.to_ascii_lowercase().as_str() {
        "strong" => Some(ConsistencyLevel::Strong),
        "session" => Some(ConsistencyLevel::Session),
        "bounded" => Some(ConsistencyLevel::Bounded),
        "eventually" => Some(ConsistencyLevel::Eventually),
        number => number.parse().ok().and_then(ConsistencyLevel::from_wire),
    };
    level.ok_or_else(|| Error::invalid(format!("invalid consistency level: {text}")))
}

fn set_dynamic(record: &mut CollectionRecord, text: &str) -> Result<()> {
    let enabled = match text.to_ascii_lowercase().as_str() {
        "true" | "1" => true,
        "false" | "0" => false,
        _ => return Err(Error::invalid(format!("invalid dynamic schema property value: {text}"))),
    };
    if enabled == record.schema.enable_dynamic_field {
        return Ok(());
    }
    if !enabled {
        return Err(Error::NotSupported { what: "disabling the dynamic field".to_owned() });
    }
    let id = next_field_id(&record.schema);
    record.schema.enable_dynamic_field = true;
    record.schema.version += 1;
    record.schema.fields.push(FieldSchema {
        id,
        name: DYNAMIC_FIELD_NAME.to_owned(),
        description: String::new(),
        data_type: DataType::Json,
        primary_key: false,
        auto_id: false,
        nullable: true,
        default_value: Some(Value::Json(b"{}".to_vec())),
        dynamic: true,
        partition_key: false,
        clustering_key: false,
        dim: 0,
        max_length: 0,
        type_params: Vec::new(),
    });
    Ok(())
}
