//! A small collection for unit tests.

use redkite_catalog::{
    CollectionRecord, DEFAULT_DATABASE_ID, DEFAULT_PARTITION, PartitionRecord, Properties,
};
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, DataType, FieldId, FieldSchema, PartitionId, Timestamp,
};

/// A plain field with id 100.
pub(crate) fn field(name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        id: FieldId(100),
        name: name.to_owned(),
        description: String::new(),
        data_type,
        primary_key: false,
        auto_id: false,
        nullable: false,
        default_value: None,
        dynamic: false,
        partition_key: false,
        clustering_key: false,
        dim: if data_type.is_vector() { 2 } else { 0 },
        max_length: if data_type == DataType::VarChar { 5 } else { 0 },
        type_params: Vec::new(),
    }
}

/// Fields with ascending ids; `$meta` is the dynamic one.
pub(crate) fn schema(fields: impl IntoIterator<Item = FieldSchema>) -> CollectionSchema {
    let fields: Vec<_> = fields
        .into_iter()
        .zip(100..)
        .map(|(field, id)| FieldSchema {
            id: FieldId(id),
            dynamic: field.name == DYNAMIC_FIELD_NAME,
            ..field
        })
        .collect();
    CollectionSchema {
        description: String::new(),
        enable_dynamic_field: fields.iter().any(|field| field.dynamic),
        fields,
        version: 0,
    }
}

/// Int64 `id` (primary key), nullable VarChar `text`, FloatVector `vector` of two elements, `$meta`.
pub(crate) fn collection() -> CollectionRecord {
    with_fields([
        FieldSchema { primary_key: true, ..field("id", DataType::Int64) },
        FieldSchema { nullable: true, ..field("text", DataType::VarChar) },
        field("vector", DataType::FloatVector),
        field(DYNAMIC_FIELD_NAME, DataType::Json),
    ])
}

/// A collection with these fields, one shard and one partition.
pub(crate) fn with_fields(fields: impl IntoIterator<Item = FieldSchema>) -> CollectionRecord {
    CollectionRecord {
        id: CollectionId(7),
        database: DEFAULT_DATABASE_ID,
        name: "c".to_owned(),
        schema: schema(fields),
        shards: 1,
        partitions: vec![PartitionRecord {
            id: PartitionId(70),
            name: DEFAULT_PARTITION.to_owned(),
            created_at: Timestamp::ZERO,
        }],
        consistency: ConsistencyLevel::Strong,
        properties: Properties::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp(5),
    }
}
