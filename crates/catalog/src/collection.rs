//! Databases, names, collections and their partitions.

use std::collections::BTreeMap;

use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, DatabaseId, PartitionId, ShardId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Free-form settings of a database, collection or field, as users send them.
pub type Properties = BTreeMap<String, String>;

/// Name of the database that always exists.
pub const DEFAULT_DATABASE: &str = "default";
/// Id of the database that always exists.
pub const DEFAULT_DATABASE_ID: DatabaseId = DatabaseId(1);
/// Name of the partition every collection has.
pub const DEFAULT_PARTITION: &str = "_default";

/// A database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// Identity.
    pub id: DatabaseId,
    /// Unique name.
    pub name: String,
    /// Settings.
    #[serde(default)]
    pub properties: Properties,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What a name within a database stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameRecord {
    /// The collection's own name.
    Collection(CollectionId),
    /// Another name for a collection.
    Alias(CollectionId),
}

impl NameRecord {
    /// The collection meant.
    #[must_use]
    pub fn collection(&self) -> CollectionId {
        match self {
            Self::Collection(id) | Self::Alias(id) => *id,
        }
    }
}

/// A collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionRecord {
    /// Identity.
    pub id: CollectionId,
    /// The database it is in.
    pub database: DatabaseId,
    /// Its name there.
    pub name: String,
    /// Fields. `schema.version` grows with every change.
    pub schema: CollectionSchema,
    /// Number of shards, fixed at creation.
    pub shards: u16,
    /// Partitions in creation order; the first is [`DEFAULT_PARTITION`], or with a partition key
    /// `_default_0` and so on, all of them made with the collection.
    pub partitions: Vec<PartitionRecord>,
    /// Level of reads that name none.
    pub consistency: ConsistencyLevel,
    /// Settings.
    #[serde(default)]
    pub properties: Properties,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its schema or properties last changed.
    pub updated_at: Timestamp,
}

impl CollectionRecord {
    /// The collection's shards.
    pub fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        let collection = self.id;
        (0..self.shards).map(move |ordinal| ShardId { collection, ordinal })
    }

    /// The partition of this name.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<&PartitionRecord> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// The partition with this id.
    #[must_use]
    pub fn partition_by_id(&self, id: PartitionId) -> Option<&PartitionRecord> {
        self.partitions.iter().find(|partition| partition.id == id)
    }
}

/// A partition of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// Identity.
    pub id: PartitionId,
    /// Unique within the collection.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A dropped collection of which logs, files or records may be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRecord {
    /// Identity.
    pub id: CollectionId,
    /// Number of shards it had.
    pub shards: u16,
    /// When it was dropped.
    pub dropped_at: Timestamp,
}
