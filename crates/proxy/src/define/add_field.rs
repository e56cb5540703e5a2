//! May this field be added to an existing collection?

use redkite_proto::schema::{DataType as WireType, FieldSchema};
use redkite_service::Error;
use redkite_types::{CollectionSchema, DataType, limits};

use super::field;
use super::schema::is_clustering_type;
use crate::refuse;

/// Names that Milvus uses itself.
const SYSTEM: [&str; 5] = ["RowID", "Timestamp", "$meta", "$namespace_id", "__virtual_pk__"];

/// Checks a new field; returns the type under which it is stored.
pub(crate) fn check(
    collection: &str,
    schema: &CollectionSchema,
    new: &FieldSchema,
) -> Result<DataType, Error> {
    let declared = schema.fields.iter().filter(|field| !field.dynamic);
    if declared.clone().count() >= limits::MAX_FIELDS {
        return Err(refuse::invalid(format_args!(
            "The number of fields has reached the maximum value {}",
            limits::MAX_FIELDS
        )));
    }
    if declared.clone().any(|field| field.name == new.name) {
        return Err(refuse::invalid(format_args!("duplicated field name {}", new.name)));
    }
    let data_type = field::wire_type(new);
    if data_type == WireType::None {
        return Err(refuse::mismatch(
            "valid field",
            format_args!("field data type: {} is not supported", data_type.as_str_name()),
            "valid field",
        ));
    }
    if SYSTEM.contains(&new.name.as_str()) {
        return Err(named("not support to add system field, field name = ", new));
    }
    if new.is_primary_key {
        return Err(named("not support to add pk field, field name = ", new));
    }
    if new.auto_id {
        return Err(named("only primary field can speficy AutoID with true, field name = ", new));
    }
    if new.is_partition_key {
        return Err(named("not support to add partition key field, field name  = ", new));
    }
    clustering_key(schema, new, data_type)?;
    if field::is_vector(data_type) {
        vector(schema, new, data_type)?;
    }
    if !new.nullable {
        return Err(named("added field must be nullable, please check it, field name = ", new));
    }
    field::check(new, collection)?;
    field::default_value(new)?;
    field::stored_type(new)
}

fn named(what: &str, new: &FieldSchema) -> Error {
    refuse::invalid(format_args!("{what}{}", new.name))
}

fn clustering_key(schema: &CollectionSchema, new: &FieldSchema, data_type: WireType) -> Result<(), Error> {
    if !new.is_clustering_key {
        return Ok(());
    }
    if !is_clustering_type(data_type) {
        return Err(refuse::invalid(format_args!(
            "clustering key field {} has unsupported data type {}",
            new.name,
            data_type.as_str_name()
        )));
    }
    if schema.fields.iter().any(|field| field.clustering_key) {
        return Err(named("already has another clustering key field, field name: ", new));
    }
    Ok(())
}

fn vector(schema: &CollectionSchema, new: &FieldSchema, data_type: WireType) -> Result<(), Error> {
    if schema.vector_fields().count() >= limits::MAX_VECTOR_FIELDS {
        return Err(refuse::invalid(format_args!(
            "maximum vector field's number should be limited to {}",
            limits::MAX_VECTOR_FIELDS
        )));
    }
    if data_type != WireType::SparseFloatVector && new.type_params.is_empty() {
        return Err(named("vector field must have dimension specified, field name = ", new));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redkite_proto::common::KeyValuePair;
    use redkite_types::FieldId;

    use super::*;
    use crate::convert;

    fn schema() -> CollectionSchema {
        let wire = FieldSchema { name: "id".to_owned(), is_primary_key: true, ..FieldSchema::default() };
        CollectionSchema {
            description: String::new(),
            fields: vec![convert::schema::field_from_wire(&wire, FieldId(100), DataType::Int64)],
            enable_dynamic_field: false,
            version: 0,
        }
    }

    fn new() -> FieldSchema {
        FieldSchema {
            name: "new".to_owned(),
            data_type: WireType::Int64.into(),
            nullable: true,
            ..FieldSchema::default()
        }
    }

    #[test]
    fn defaults_are_finite() {
        use redkite_proto::schema::ValueField;
        use redkite_proto::schema::value_field::Data;
        let with = |data_type: WireType, data| FieldSchema {
            data_type: data_type.into(),
            default_value: Some(ValueField { data: Some(data) }),
            ..new()
        };
        check("c", &schema(), &with(WireType::Double, Data::DoubleData(1e308))).unwrap();
        let table = [
            (
                with(WireType::Double, Data::DoubleData(f64::INFINITY)),
                "value '+Inf' is not a number or infinity",
            ),
            (with(WireType::Double, Data::DoubleData(f64::NAN)), "value 'NaN' is not a number or infinity"),
            (
                with(WireType::Float, Data::FloatData(f32::NEG_INFINITY)),
                "value '-Inf' is not a number or infinity",
            ),
        ];
        for (field, expected) in table {
            let message = check("c", &schema(), &field).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn what_would_be_forgotten_is_refused() {
        let table = [
            (FieldSchema { is_function_output: true, ..new() }, "output of functions"),
            (FieldSchema { element_nullable: true, ..new() }, "nullable elements"),
            (FieldSchema { type_schema: Some(Default::default()), ..new() }, "nested types"),
        ];
        for (field, what) in table {
            let message = check("c", &schema(), &field).unwrap_err().to_string();
            assert!(message.starts_with("operation not supported: field new: "), "{message}");
            assert!(message.ends_with(what), "{message}");
        }
    }

    #[test]
    fn fields_are_checked_in_milvus_words() {
        assert_eq!(check("c", &schema(), &new()).unwrap(), DataType::Int64);
        let text = |length: &str| FieldSchema {
            data_type: WireType::VarChar.into(),
            type_params: vec![KeyValuePair { key: "max_length".to_owned(), value: length.to_owned() }],
            ..new()
        };
        assert_eq!(check("c", &schema(), &text("9")).unwrap(), DataType::VarChar);
        let table = [
            (FieldSchema { name: "id".to_owned(), ..new() }, "duplicated field name id"),
            (FieldSchema { is_primary_key: true, ..new() }, "not support to add pk field, field name = new"),
            (FieldSchema { auto_id: true, ..new() }, "only primary field can speficy AutoID with true"),
            (
                FieldSchema { is_partition_key: true, ..new() },
                "not support to add partition key field, field name  = new",
            ),
            (
                FieldSchema { nullable: false, ..new() },
                "added field must be nullable, please check it, field name = new: invalid parameter",
            ),
            (
                FieldSchema { data_type: WireType::FloatVector.into(), ..new() },
                "vector field must have dimension specified, field name = new",
            ),
            (FieldSchema { name: "$meta".to_owned(), ..new() }, "not support to add system field"),
            (FieldSchema { name: "a b".to_owned(), ..new() }, "Field name can only contain"),
            (text("0"), "the maximum length specified for the field(new) should be in (0, 65535]"),
        ];
        for (field, expected) in table {
            let message = check("c", &schema(), &field).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
