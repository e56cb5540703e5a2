use redkite_proto::common::KeyValuePair;
use redkite_proto::schema::value_field::Data;
use redkite_proto::schema::{FunctionSchema, ValueField};

use super::*;

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_owned() }
}

fn field(name: &str, data_type: WireType, params: &[(&str, &str)]) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        data_type: data_type.into(),
        type_params: params.iter().map(|(key, value)| pair(key, value)).collect(),
        ..FieldSchema::default()
    }
}

fn plain() -> CollectionSchema {
    CollectionSchema {
        name: "c".to_owned(),
        fields: vec![
            FieldSchema { is_primary_key: true, ..field("id", WireType::Int64, &[]) },
            field("vector", WireType::FloatVector, &[("dim", "8")]),
            field("text", WireType::VarChar, &[("max_length", "64")]),
        ],
        ..CollectionSchema::default()
    }
}

fn request() -> CreateCollectionRequest {
    CreateCollectionRequest { collection_name: "c".to_owned(), ..CreateCollectionRequest::default() }
}

fn with_field(field: FieldSchema) -> CollectionSchema {
    let mut schema = plain();
    schema.fields.push(field);
    schema
}

#[test]
fn good_schemas_pass() {
    assert_eq!(check(&request(), &plain()).unwrap(), ["_default"]);
    let keyed = with_field(FieldSchema { is_partition_key: true, ..field("k", WireType::Int64, &[]) });
    assert_eq!(check(&request(), &keyed).unwrap().len(), 16);
    let three = CreateCollectionRequest { num_partitions: 3, ..request() };
    assert_eq!(check(&three, &keyed).unwrap(), ["_default_0", "_default_1", "_default_2"]);
}

#[test]
fn bad_schemas_are_refused_in_milvus_words() {
    let change = |edit: fn(&mut CollectionSchema)| {
        let mut schema = plain();
        edit(&mut schema);
        schema
    };
    let with_default = |data_type, params: &[(&str, &str)], data| {
        let default_value = Some(ValueField { data: Some(data) });
        with_field(FieldSchema { default_value, ..field("f", data_type, params) })
    };
    let table: Vec<(CollectionSchema, &str)> = vec![
        (
            change(|schema| schema.fields.retain(|field| field.name != "vector")),
            "schema does not contain vector field: invalid parameter",
        ),
        (change(|schema| schema.name = "a-b".to_owned()), "Invalid collection name: a-b. "),
        (
            change(|schema| schema.name = "other".to_owned()),
            "collection name = c, schema.Name=other: invalid parameter\
             [expected=collection name matches schema name][actual=don't match]",
        ),
        (
            change(|schema| schema.description = "x".repeat(1025)),
            "the length of a collection description must not exceed 1024 bytes",
        ),
        (change(|schema| schema.fields[0].is_primary_key = false), "primary key is not specified"),
        (
            change(|schema| schema.fields[2].is_primary_key = true),
            "there are more than one primary key, field name = id, text",
        ),
        (
            change(|schema| schema.fields[0].data_type = WireType::Int32.into()),
            "the data type of primary key should be Int64 or VarChar",
        ),
        (
            change(|schema| schema.fields[2].auto_id = true),
            "only primary field can speficy AutoID with true, field name = text",
        ),
        (
            change(|schema| schema.fields[0].nullable = true),
            "primary field not support null, type:Int64, name:id",
        ),
        (change(|schema| schema.fields[2].name = "id".to_owned()), "duplicated field name id found"),
        (change(|schema| schema.fields[2].name = "RowID".to_owned()), "is reserved for internal use"),
        (change(|schema| schema.fields[2].is_dynamic = true), "cannot explicitly set a field as a dynamic"),
        (
            change(|schema| schema.fields[2].type_params.clear()),
            "type param(max_length) should be specified for the field(text) of collection c",
        ),
        (
            change(|schema| schema.fields[2].type_params[0].value = "65536".to_owned()),
            "the maximum length specified for the field(text) should be in (0, 65535], but got 65536 instead",
        ),
        (
            change(|schema| schema.fields[1].type_params.clear()),
            "dimension is not defined in field type params of field vector",
        ),
        (
            change(|schema| schema.fields[1].type_params[0].value = "1".to_owned()),
            "invalid dimension: 1. should be in range 2 ~ 32768",
        ),
        (
            change(|schema| schema.fields[1].type_params[0].value = "32769".to_owned()),
            "invalid dimension: 32769 of field vector. float vector dimension should be in range 2 ~ 32768",
        ),
        (
            change(|schema| schema.fields[0].is_partition_key = true),
            "the partition key field must not be primary field",
        ),
        (
            with_field(FieldSchema { is_partition_key: true, ..field("k", WireType::Float, &[]) }),
            "the data type of partition key should be Int64 or VarChar",
        ),
        (
            with_field(FieldSchema {
                is_partition_key: true,
                nullable: true,
                ..field("k", WireType::Int64, &[])
            }),
            "partition key field not support nullable",
        ),
        (
            with_field(FieldSchema { is_clustering_key: true, ..field("k", WireType::Bool, &[]) }),
            "clustering key field k has unsupported data type Bool: illegal collection schema[collection=c]",
        ),
        (
            with_field(field("s", WireType::String, &[])),
            "string data type not supported yet, please use VarChar type instead",
        ),
        (
            with_field(field("b", WireType::BinaryVector, &[("dim", "9")])),
            "binary vector dimension should be multiple of 8",
        ),
        (
            with_field(field("b", WireType::BinaryVector, &[("dim", "16")])),
            "data type BinaryVector of field b is not supported yet",
        ),
        (
            with_field(field("g", WireType::Geometry, &[])),
            "data type Geometry of field g is not supported yet",
        ),
        (
            with_field(field("w", WireType::Int64, &[("warmup", "on")])),
            "invalid warmup policy for field w: invalid warmup policy: on",
        ),
        (
            with_default(WireType::Json, &[], Data::BytesData("{}".into())),
            "type not support default_value, type:JSON, name:f",
        ),
        (
            with_default(WireType::Int64, &[], Data::IntData(1)),
            "type (Int64) of field (f) is not equal to the type(DataType_Int) of default_value",
        ),
        (with_default(WireType::Int8, &[], Data::IntData(128)), "default value out of range"),
        (
            with_default(WireType::VarChar, &[("max_length", "2")], Data::StringData("abc".to_owned())),
            "the length (3) of string exceeds max length (2)",
        ),
        (
            change(|schema| schema.functions.push(FunctionSchema::default())),
            "functions are not supported yet",
        ),
    ];
    for (schema, expected) in table {
        let message = check(&request(), &schema).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn limits_are_kept() {
    let many = (0..64).map(|i| field(&format!("f{i}"), WireType::Int64, &[]));
    let mut schema = plain();
    schema.fields.extend(many);
    let message = check(&request(), &schema).unwrap_err().to_string();
    assert_eq!(message, "maximum field's number should be limited to 64: invalid parameter");
    let shards = CreateCollectionRequest { shards_num: 17, ..request() };
    let message = check(&shards, &plain()).unwrap_err().to_string();
    assert_eq!(message, "maximum shards's number should be limited to 16: invalid parameter");
    let partitions = CreateCollectionRequest { num_partitions: 2, ..request() };
    let message = check(&partitions, &plain()).unwrap_err().to_string();
    assert!(message.contains("num_partitions should only be specified with partition key field enabled"));
}
