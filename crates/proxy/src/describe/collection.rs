//! A collection as `DescribeCollection` shows it.

use redkite_catalog::{CollectionRecord, DatabaseRecord, Metadata};
use redkite_proto::milvus::DescribeCollectionResponse;
use redkite_types::ShardId;

use crate::convert::schema;

/// The whole answer, apart from its status.
pub(crate) fn describe(
    metadata: &Metadata,
    database: &DatabaseRecord,
    collection: &CollectionRecord,
) -> DescribeCollectionResponse {
    DescribeCollectionResponse {
        schema: Some(schema::to_wire(collection)),
        collection_id: collection.id.0,
        virtual_channel_names: collection.shard_ids().map(channel).collect(),
        physical_channel_names: collection.shard_ids().map(physical_channel).collect(),
        created_timestamp: collection.created_at.0,
        created_utc_timestamp: collection.created_at.physical(),
        shards_num: i32::from(collection.shards),
        aliases: metadata.aliases(collection).map(str::to_owned).collect(),
        consistency_level: collection.consistency as i32,
        collection_name: collection.name.clone(),
        properties: schema::pairs(collection.properties.clone()),
        db_name: database.name.clone(),
        num_partitions: i64::try_from(collection.partitions.len()).unwrap_or(i64::MAX),
        db_id: database.id.0,
        update_timestamp: collection.updated_at.0,
        update_timestamp_str: collection.updated_at.to_string(),
        ..DescribeCollectionResponse::default()
    }
}

/// The name under which clients know a shard.
#[must_use]
pub fn channel(shard: ShardId) -> String {
    format!("{}_{}v{}", physical_channel(shard), shard.collection, shard.ordinal)
}

fn physical_channel(shard: ShardId) -> String {
    format!("by-dev-rootcoord-dml_{}", shard.ordinal)
}

#[cfg(test)]
mod tests {
    use redkite_catalog::{DEFAULT_DATABASE_ID, NameRecord, Record};
    use redkite_proto::common::KeyValuePair;
    use redkite_types::{DataType, FieldSchema, Revision, Timestamp};

    use super::*;
    use crate::testing;

    fn described(collection: &CollectionRecord, aliases: &[&str]) -> DescribeCollectionResponse {
        let mut metadata = Metadata::default();
        let mut put = |key: String, value: Vec<u8>| metadata.put(&key, &value, Revision(1)).unwrap();
        put(CollectionRecord::key(&collection.id), collection.encode());
        for alias in aliases {
            let key = NameRecord::key(&(DEFAULT_DATABASE_ID, (*alias).to_owned()));
            put(key, NameRecord::Alias(collection.id).encode());
        }
        let database = DatabaseRecord {
            id: DEFAULT_DATABASE_ID,
            name: "default".to_owned(),
            properties: redkite_catalog::Properties::new(),
            created_at: Timestamp::ZERO,
        };
        describe(&metadata, &database, collection)
    }

    #[test]
    fn a_collection_is_shown_as_it_was_declared() {
        let mut collection = testing::collection();
        collection.properties.insert("collection.ttl.seconds".to_owned(), "9".to_owned());
        collection.shards = 2;
        let shown = described(&collection, &["b", "a"]);
        let schema = shown.schema.unwrap();
        let names: Vec<_> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["id", "text", "vector"], "the hidden field is not shown");
        assert!(schema.enable_dynamic_field && schema.fields[0].is_primary_key && schema.fields[1].nullable);
        assert_eq!(shown.aliases, ["a", "b"]);
        assert_eq!((shown.shards_num, shown.num_partitions, shown.update_timestamp), (2, 1, 5));
        assert_eq!(shown.virtual_channel_names, ["by-dev-rootcoord-dml_0_7v0", "by-dev-rootcoord-dml_1_7v1"]);
        let ttl = KeyValuePair { key: "collection.ttl.seconds".to_owned(), value: "9".to_owned() };
        assert!(shown.properties.contains(&ttl));
        assert_eq!((shown.db_name.as_str(), shown.collection_name.as_str()), ("default", "c"));
    }

    #[test]
    fn what_is_shown_can_be_declared_again() {
        let params = vec![("max_length".to_owned(), "5".to_owned())];
        let collection = testing::with_fields([
            FieldSchema { primary_key: true, auto_id: true, ..testing::field("id", DataType::Int64) },
            FieldSchema { type_params: params, ..testing::field("text", DataType::VarChar) },
            FieldSchema {
                type_params: vec![("dim".to_owned(), "2".to_owned())],
                ..testing::field("vector", DataType::FloatVector)
            },
        ]);
        let shown = described(&collection, &[]).schema.unwrap();
        assert_eq!(schema::from_wire(&shown), collection.schema);
    }
}
