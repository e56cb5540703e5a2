//! May a collection look like this?

use redkite_catalog::DEFAULT_PARTITION;
use redkite_proto::milvus::CreateCollectionRequest;
use redkite_proto::schema::{CollectionSchema, DataType as WireType, FieldSchema};
use redkite_service::Error;
use redkite_types::limits;

use super::{field, name, property};
use crate::refuse;

/// Names that Milvus uses itself.
const RESERVED: [&str; 3] = ["RowID", "Timestamp", "__virtual_pk__"];
/// Partitions of a collection with a partition key, unless the user says how many.
const DEFAULT_KEY_PARTITIONS: usize = 16;

/// Checks what is to be created; returns the names of its partitions.
pub(crate) fn check(
    request: &CreateCollectionRequest,
    schema: &CollectionSchema,
) -> Result<Vec<String>, Error> {
    check_kind(schema)?;
    check_size(request.shards_num, schema)?;
    name::collection(&schema.name)?;
    property::description(&schema.description)?;
    reserved_names(schema)?;
    primary_key(schema)?;
    if schema.fields.iter().any(|field| field.is_dynamic) {
        return Err(refuse::invalid("cannot explicitly set a field as a dynamic field"));
    }
    auto_id(schema)?;
    field_types(schema)?;
    let partitions = partition_key(request.num_partitions, schema)?;
    let has_key = schema.fields.iter().any(|field| field.is_partition_key);
    property::collection(&request.collection_name, &request.properties, has_key)?;
    clustering_key(request, schema)?;
    for field in &schema.fields {
        field::check(field, &schema.name)?;
    }
    duplicate_names(schema)?;
    loaded_fields(schema)?;
    if request.collection_name != schema.name {
        return Err(refuse::mismatch(
            "collection name matches schema name",
            "don't match",
            format_args!("collection name = {}, schema.Name={}", request.collection_name, schema.name),
        ));
    }
    schema.fields.iter().try_for_each(field::default_value)?;
    property::not_repeated(&request.properties)?;
    for wire in &schema.fields {
        field::stored_type(wire)?;
    }
    Ok(partitions)
}

fn check_kind(schema: &CollectionSchema) -> Result<(), Error> {
    let what = if !schema.functions.is_empty() {
        "functions are not supported yet"
    } else if !schema.struct_array_fields.is_empty() {
        "struct array fields are not supported yet"
    } else if !schema.external_source.is_empty() || !schema.external_spec.is_empty() {
        "external collections are not supported yet"
    } else if schema.enable_namespace {
        "namespaces are not supported yet"
    } else if !schema.file_resource_ids.is_empty() {
        "file resources are not supported yet"
    } else if !schema.properties.is_empty() {
        "properties inside the schema: send them beside it"
    } else {
        return Ok(());
    };
    Err(refuse::unsupported(what))
}

fn check_size(shards: i32, schema: &CollectionSchema) -> Result<(), Error> {
    let limited = |what: &str, limit: usize| {
        refuse::invalid(format_args!("maximum {what} number should be limited to {limit}"))
    };
    let max_shards = limits::MAX_SHARDS;
    if shards > i32::try_from(max_shards).unwrap_or(i32::MAX) {
        return Err(limited("shards's", max_shards as usize));
    }
    if schema.fields.len() > limits::MAX_FIELDS {
        return Err(limited("field's", limits::MAX_FIELDS));
    }
    match schema.fields.iter().filter(|wire| field::is_vector(field::wire_type(wire))).count() {
        0 => Err(refuse::invalid("schema does not contain vector field")),
        count if count > limits::MAX_VECTOR_FIELDS => {
            Err(limited("vector field's", limits::MAX_VECTOR_FIELDS))
        }
        _ => Ok(()),
    }
}

fn reserved_names(schema: &CollectionSchema) -> Result<(), Error> {
    match schema.fields.iter().find(|field| RESERVED.contains(&field.name.as_str())) {
        Some(FieldSchema { name, .. }) => Err(Error::FieldInvalidName {
            field: name.clone(),
            reason: format!(
                "field name \"{name}\" is reserved for internal use and cannot be used in user schemas"
            ),
        }),
        None => Ok(()),
    }
}

fn primary_key(schema: &CollectionSchema) -> Result<(), Error> {
    let mut keys = schema.fields.iter().filter(|field| field.is_primary_key);
    let Some(key) = keys.next() else {
        return Err(refuse::missing("primary key is not specified"));
    };
    key_type(key, "primary")?;
    match keys.next() {
        Some(second) => Err(refuse::invalid(format_args!(
            "there are more than one primary key, field name = {}, {}",
            key.name, second.name
        ))),
        None => Ok(()),
    }
}

fn key_type(key: &FieldSchema, kind: &str) -> Result<(), Error> {
    match field::wire_type(key) {
        WireType::Int64 | WireType::VarChar => Ok(()),
        _ if kind == "primary" => {
            Err(refuse::invalid("the data type of primary key should be Int64 or VarChar"))
        }
        _ => Err(refuse::invalid("the data type of partition key should be Int64 or VarChar")),
    }
}

fn auto_id(schema: &CollectionSchema) -> Result<(), Error> {
    let mut automatic = schema.fields.iter().filter(|field| field.auto_id);
    let Some(first) = automatic.next() else {
        return Ok(());
    };
    if !first.is_primary_key {
        return Err(refuse::invalid(format_args!(
            "only primary field can speficy AutoID with true, field name = {}",
            first.name
        )));
    }
    match automatic.next() {
        Some(second) => Err(refuse::invalid(format_args!(
            "only one field can speficy AutoID with true, field name = {}, {}",
            first.name, second.name
        ))),
        None => Ok(()),
    }
}

fn field_types(schema: &CollectionSchema) -> Result<(), Error> {
    for wire in &schema.fields {
        match field::wire_type(wire) {
            WireType::String | WireType::None => {
                field::stored_type(wire)?;
            }
            WireType::Array => {
                field::element_type(WireType::try_from(wire.element_type).unwrap_or(WireType::None))?;
            }
            WireType::ArrayOfVector => {
                return Err(refuse::invalid(format_args!(
                    "array of vector can only be in the struct array field, field name: {}",
                    wire.name
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn partition_key(wanted: i64, schema: &CollectionSchema) -> Result<Vec<String>, Error> {
    let mut keys = schema.fields.iter().filter(|field| field.is_partition_key);
    let Some(key) = keys.next() else {
        if wanted != 0 {
            return Err(refuse::invalid(
                "num_partitions should only be specified with partition key field enabled",
            ));
        }
        return Ok(vec![DEFAULT_PARTITION.to_owned()]);
    };
    if let Some(second) = keys.next() {
        return Err(refuse::invalid(format_args!(
            "there are more than one partition key, field name = {}, {}",
            key.name, second.name
        )));
    }
    if key.is_primary_key {
        return Err(refuse::invalid("the partition key field must not be primary field"));
    }
    if key.nullable {
        return Err(refuse::invalid("partition key field not support nullable"));
    }
    key_type(key, "partition")?;
    let count = match usize::try_from(wanted) {
        Err(_) => {
            return Err(refuse::invalid(
                "the specified partitions should be greater than 0 if partition key is used",
            ));
        }
        Ok(0) => DEFAULT_KEY_PARTITIONS,
        Ok(count) if count > limits::MAX_PARTITIONS => {
            return Err(refuse::invalid(format_args!(
                "partition number ({count}) exceeds max configuration ({})",
                limits::MAX_PARTITIONS
            )));
        }
        Ok(count) => count,
    };
    Ok((0..count).map(|ordinal| format!("{DEFAULT_PARTITION}_{ordinal}")).collect())
}

fn clustering_key(request: &CreateCollectionRequest, schema: &CollectionSchema) -> Result<(), Error> {
    let illegal =
        |reason: String| Err(Error::IllegalSchema { collection: request.collection_name.clone(), reason });
    let mut first: Option<&FieldSchema> = None;
    for wire in schema.fields.iter().filter(|field| field.is_clustering_key) {
        let data_type = field::wire_type(wire);
        if !is_clustering_type(data_type) {
            return illegal(format!(
                "clustering key field {} has unsupported data type {}",
                wire.name,
                data_type.as_str_name()
            ));
        }
        if let Some(first) = first {
            return illegal(format!(
                "there are more than one clustering key, field name = {}, {}",
                first.name, wire.name
            ));
        }
        first = Some(wire);
    }
    Ok(())
}

/// Whether compaction could order rows by such a field.
pub(crate) fn is_clustering_type(data_type: WireType) -> bool {
    matches!(
        data_type,
        WireType::Int8
            | WireType::Int16
            | WireType::Int32
            | WireType::Int64
            | WireType::Float
            | WireType::Double
            | WireType::VarChar
    )
}

fn duplicate_names(schema: &CollectionSchema) -> Result<(), Error> {
    for (position, field) in schema.fields.iter().enumerate() {
        if schema.fields[..position].iter().any(|earlier| earlier.name == field.name) {
            return Err(refuse::invalid(format_args!("duplicated field name {} found", field.name)));
        }
    }
    Ok(())
}

fn loaded_fields(schema: &CollectionSchema) -> Result<(), Error> {
    for wire in schema.fields.iter().filter(|wire| !field::is_loaded(wire)) {
        let kind = if wire.is_primary_key {
            "Primary key"
        } else if wire.is_partition_key {
            "Partition Key"
        } else if wire.is_clustering_key {
            "Clustering Key"
        } else {
            continue;
        };
        return Err(refuse::invalid(format_args!("{kind} field {} cannot skip loading", wire.name)));
    }
    let loads_vector =
        |wire: &FieldSchema| field::is_vector(field::wire_type(wire)) && field::is_loaded(wire);
    if !schema.fields.iter().any(loads_vector) {
        return Err(refuse::invalid("cannot config all vector field(s) skip loading"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
