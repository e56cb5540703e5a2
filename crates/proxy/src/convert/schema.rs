//! Schemas: fields and collections between the wire and our own types.
//!
//! Nothing is checked here: `define` has looked at a schema before it is taken over.

use redkite_catalog::{CollectionRecord, Properties};
use redkite_proto::common::KeyValuePair;
use redkite_proto::schema::value_field::Data;
use redkite_proto::schema::{self, ValueField};
use redkite_types::{CollectionSchema, DataType, FieldId, FieldSchema, Value};

/// Milvus's description of the hidden field.
const DYNAMIC_FIELD_DESCRIPTION: &str = "dynamic schema";

/// A collection's schema as users declared it: the hidden field is left out.
pub(crate) fn to_wire(collection: &CollectionRecord) -> schema::CollectionSchema {
    let fields = &collection.schema.fields;
    schema::CollectionSchema {
        name: collection.name.clone(),
        description: collection.schema.description.clone(),
        fields: fields.iter().filter(|field| !field.dynamic).map(field_to_wire).collect(),
        enable_dynamic_field: collection.schema.enable_dynamic_field,
        version: i32::try_from(collection.schema.version).unwrap_or(i32::MAX),
        ..schema::CollectionSchema::default()
    }
}

fn field_to_wire(field: &FieldSchema) -> schema::FieldSchema {
    schema::FieldSchema {
        field_id: field.id.0,
        name: field.name.clone(),
        is_primary_key: field.primary_key,
        description: field.description.clone(),
        data_type: field.data_type.wire(),
        type_params: pairs(field.type_params.iter().cloned()),
        auto_id: field.auto_id,
        default_value: field.default_value.as_ref().map(|value| value_to_wire(value, field.data_type)),
        is_dynamic: field.dynamic,
        is_partition_key: field.partition_key,
        is_clustering_key: field.clustering_key,
        nullable: field.nullable,
        ..schema::FieldSchema::default()
    }
}

/// A checked schema with ids given out in order, and the hidden field if dynamic fields are on.
pub(crate) fn from_wire(wire: &schema::CollectionSchema) -> CollectionSchema {
    let ids = (FieldId::FIRST_USER.0..).map(FieldId);
    let mut fields: Vec<FieldSchema> = wire
        .fields
        .iter()
        .zip(ids)
        .filter_map(|(field, id)| Some(field_from_wire(field, id, DataType::from_wire(field.data_type)?)))
        .collect();
    if wire.enable_dynamic_field {
        let next = FieldId(fields.last().map_or(FieldId::FIRST_USER.0, |field| field.id.0 + 1));
        fields.push(dynamic_field(next));
    }
    CollectionSchema {
        description: wire.description.clone(),
        fields,
        enable_dynamic_field: wire.enable_dynamic_field,
        version: 0,
    }
}

/// A checked field.
pub(crate) fn field_from_wire(wire: &schema::FieldSchema, id: FieldId, data_type: DataType) -> FieldSchema {
    let number = |key| param(&wire.type_params, key).and_then(|text| text.parse().ok()).unwrap_or(0);
    FieldSchema {
        id,
        name: wire.name.clone(),
        description: wire.description.clone(),
        data_type,
        primary_key: wire.is_primary_key,
        auto_id: wire.auto_id,
        nullable: wire.nullable,
        default_value: wire.default_value.as_ref().and_then(value_from_wire),
        dynamic: false,
        partition_key: wire.is_partition_key,
        clustering_key: wire.is_clustering_key,
        dim: if data_type.is_vector() { number("dim") } else { 0 },
        max_length: if data_type == DataType::VarChar { number("max_length") } else { 0 },
        type_params: wire.type_params.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
    }
}

/// The hidden field that keeps undeclared keys.
pub(crate) fn dynamic_field(id: FieldId) -> FieldSchema {
    FieldSchema {
        id,
        name: redkite_types::schema::DYNAMIC_FIELD_NAME.to_owned(),
        description: DYNAMIC_FIELD_DESCRIPTION.to_owned(),
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
    }
}

fn value_from_wire(wire: &ValueField) -> Option<Value> {
    Some(match wire.data.as_ref()? {
        Data::BoolData(value) => Value::Bool(*value),
        Data::IntData(value) => Value::Int64(i64::from(*value)),
        Data::LongData(value) => Value::Int64(*value),
        Data::FloatData(value) => Value::Double(f64::from(*value)),
        Data::DoubleData(value) => Value::Double(*value),
        Data::StringData(value) => Value::VarChar(value.clone()),
        Data::BytesData(value) => Value::Json(value.to_vec()),
        Data::TimestamptzData(_) | Data::DateData(_) | Data::TimeData(_) => return None,
    })
}

#[allow(clippy::cast_possible_truncation, reason = "a default came in with the type of its field")]
fn value_to_wire(value: &Value, data_type: DataType) -> ValueField {
    let data = match (value, data_type) {
        (Value::Null, _) => None,
        (Value::Bool(value), _) => Some(Data::BoolData(*value)),
        (Value::Int64(value), DataType::Int64) => Some(Data::LongData(*value)),
        (Value::Int64(value), _) => Some(Data::IntData(*value as i32)),
        (Value::Double(value), DataType::Float) => Some(Data::FloatData(*value as f32)),
        (Value::Double(value), _) => Some(Data::DoubleData(*value)),
        (Value::VarChar(value), _) => Some(Data::StringData(value.clone())),
        (Value::Json(value), _) => Some(Data::BytesData(value.clone().into())),
    };
    ValueField { data }
}

/// The value of a key in a list of pairs.
pub(crate) fn param<'a>(pairs: &'a [KeyValuePair], key: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

/// Settings from the wire; of a key that is given twice the last value counts.
pub(crate) fn properties(wire: &[KeyValuePair]) -> Properties {
    wire.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// Pairs for the wire.
pub(crate) fn pairs(of: impl IntoIterator<Item = (String, String)>) -> Vec<KeyValuePair> {
    of.into_iter().map(|(key, value)| KeyValuePair { key, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str, data_type: DataType, params: &[(&str, &str)]) -> schema::FieldSchema {
        schema::FieldSchema {
            name: name.to_owned(),
            data_type: data_type.wire(),
            type_params: pairs(params.iter().map(|(key, value)| (key.to_string(), value.to_string()))),
            ..schema::FieldSchema::default()
        }
    }

    #[test]
    fn a_field_comes_back_as_it_was_declared() {
        let defaults = [
            (DataType::Bool, Data::BoolData(true)),
            (DataType::Int8, Data::IntData(-3)),
            (DataType::Int64, Data::LongData(1 << 40)),
            (DataType::Float, Data::FloatData(0.1)),
            (DataType::Double, Data::DoubleData(0.1)),
            (DataType::VarChar, Data::StringData("x".to_owned())),
        ];
        for (data_type, default) in defaults {
            let wire = schema::FieldSchema {
                field_id: 107,
                description: "text".to_owned(),
                nullable: true,
                default_value: Some(ValueField { data: Some(default) }),
                is_partition_key: data_type == DataType::Int64,
                ..declared("f", data_type, &[("max_length", "9"), ("mmap.enabled", "true")])
            };
            assert_eq!(field_to_wire(&field_from_wire(&wire, FieldId(107), data_type)), wire);
        }
    }

    #[test]
    fn ids_are_given_out_in_order_and_the_hidden_field_is_last() {
        let wire = schema::CollectionSchema {
            fields: vec![
                declared("id", DataType::Int64, &[]),
                declared("vector", DataType::FloatVector, &[("dim", "4")]),
            ],
            enable_dynamic_field: true,
            ..schema::CollectionSchema::default()
        };
        let ours = from_wire(&wire);
        let seen: Vec<_> = ours.fields.iter().map(|field| (field.id.0, field.name.as_str())).collect();
        assert_eq!(seen, [(100, "id"), (101, "vector"), (102, "$meta")]);
        assert_eq!(ours.fields[1].dim, 4);
        assert!(ours.dynamic_field().is_some());
    }
}
