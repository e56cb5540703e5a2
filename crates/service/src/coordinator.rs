//! Definitions: what proxies ask of the coordinators.
//!
//! Every command carries a [`RequestId`]; a coordinator that sees an id again answers as it did the
//! first time, so a proxy may repeat a command whose answer was lost.

use std::collections::BTreeMap;

use async_trait::async_trait;
use redkite_catalog::{IndexSpec, LoadScope, Properties, ResourceGroupConfig};
use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, FieldId, IndexId, PartitionId, Revision, SegmentId,
    TaskId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{BalanceAnswer, BalanceCommand, Result};

/// Identity of one command over all its repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u128);

/// A command was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlAck {
    /// Revision of the metastore that shows the effect; a view at this revision or later knows it.
    pub revision: Revision,
    /// When, on the coordinator's clock.
    pub timestamp: Timestamp,
}

/// A collection to create. The proxy has validated the schema and assigned field ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewCollection {
    /// Database name; must exist.
    pub database: String,
    /// Collection name.
    pub name: String,
    /// Fields with ids, `$meta` appended when dynamic fields are on.
    pub schema: CollectionSchema,
    /// Names of its partitions: `_default`, or `_default_0` and so on with a partition key.
    pub partitions: Vec<String>,
    /// Number of shards, at least 1.
    pub shards: u16,
    /// Level of reads that name none.
    pub consistency: ConsistencyLevel,
    /// Settings.
    pub properties: Properties,
}

/// A field to add to a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewField {
    /// The field; its id is chosen by the coordinator.
    pub field: redkite_types::FieldSchema,
}

/// Definition commands. Names are resolved by the coordinator, in one transaction with the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the command's arguments")]
pub enum Ddl {
    CreateDatabase {
        name: String,
        properties: Properties,
    },
    /// Fails unless empty.
    DropDatabase {
        name: String,
    },
    AlterDatabase {
        name: String,
        set: Properties,
        delete: Vec<String>,
    },
    /// Succeeds if the same collection exists already.
    CreateCollection(Box<NewCollection>),
    /// Succeeds if there is none.
    DropCollection {
        database: String,
        collection: String,
    },
    /// Removes all rows; the definition, indexes and what is loaded stay.
    TruncateCollection {
        database: String,
        collection: String,
    },
    RenameCollection {
        database: String,
        collection: String,
        new_database: String,
        new_name: String,
    },
    AlterCollection {
        database: String,
        collection: String,
        set: Properties,
        delete: Vec<String>,
    },
    /// `set` and `delete` act on the field's type parameters.
    AlterField {
        database: String,
        collection: String,
        field: String,
        set: Properties,
        delete: Vec<String>,
    },
    AddField {
        database: String,
        collection: String,
        field: Box<NewField>,
    },
    /// Succeeds if it exists already.
    CreatePartition {
        database: String,
        collection: String,
        partition: String,
    },
    /// Succeeds if there is none.
    DropPartition {
        database: String,
        collection: String,
        partition: String,
    },
    CreateAlias {
        database: String,
        collection: String,
        alias: String,
    },
    AlterAlias {
        database: String,
        collection: String,
        alias: String,
    },
    DropAlias {
        database: String,
        alias: String,
    },
}

/// The root coordinator: databases, collections, partitions, aliases.
#[async_trait]
pub trait RootCoord: Send + Sync {
    /// Carries out one definition command.
    async fn execute(&self, id: RequestId, command: Ddl) -> Result<DdlAck>;
}

/// An index to define. The proxy has validated the parameters and resolved defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewIndex {
    /// The collection.
    pub collection: CollectionId,
    /// The field.
    pub field: FieldId,
    /// Name; unique within the collection.
    pub name: String,
    /// Parameters as the user sent them.
    pub params: Vec<(String, String)>,
    /// What to build.
    pub spec: IndexSpec,
}

/// One merge of a compaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// What was or is being merged.
    pub sources: Vec<SegmentId>,
    /// Into what.
    pub target: SegmentId,
}

/// How far a manual compaction has come.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompactionProgress {
    /// Merges that are going on.
    pub executing: Vec<Merge>,
    /// Merges that are done.
    pub completed: Vec<Merge>,
    /// Merges that failed.
    pub failed: Vec<Merge>,
}

/// The data coordinator: indexes and compaction. (Segments and shards it handles through the metastore.)
#[async_trait]
pub trait DataCoord: Send + Sync {
    /// Defines an index; succeeds if the same one exists already.
    async fn create_index(&self, id: RequestId, index: NewIndex) -> Result<DdlAck>;
    /// Changes parameters of an index that do not affect what is built.
    async fn alter_index(
        &self,
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<DdlAck>;
    /// Removes the named index, or the one with this id; succeeds if there is none.
    async fn drop_index(&self, id: RequestId, collection: CollectionId, index: IndexId) -> Result<DdlAck>;
    /// Starts a compaction of a collection; returns its id and the number of merges planned.
    async fn compact(&self, id: RequestId, collection: CollectionId) -> Result<(TaskId, usize)>;
    /// How far a compaction has come.
    async fn compaction(&self, compaction: TaskId) -> Result<CompactionProgress>;
}

/// A collection, or more partitions of it, to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLoad {
    /// The collection.
    pub collection: CollectionId,
    /// What of it.
    pub scope: LoadScope,
    /// How many replicas. 0: as many as there are or, if it is not loaded, as its properties or those of its
    /// database say, or one.
    pub replicas: u32,
    /// Where the replicas go: all to one group, or one to each. Empty: as with `replicas`.
    pub resource_groups: Vec<String>,
}

impl NewLoad {
    /// This much of a collection, without wishes as to replicas.
    #[must_use]
    pub fn new(collection: CollectionId, scope: LoadScope) -> Self {
        Self { collection, scope, replicas: 0, resource_groups: Vec::new() }
    }
}

/// Commands about resource groups and what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the command's arguments")]
pub enum PlacementCommand {
    /// Succeeds if the same group exists already.
    CreateResourceGroup {
        name: String,
        config: ResourceGroupConfig,
    },
    /// Gives groups that exist other configurations, all or none of them.
    UpdateResourceGroups {
        configs: BTreeMap<String, ResourceGroupConfig>,
    },
    /// Succeeds if there is none. It must be limited to no node and hold no replica.
    DropResourceGroup {
        name: String,
    },
    /// Lowers what one group asks for, and raises it for another.
    TransferNodes {
        source: String,
        target: String,
        nodes: u32,
    },
    TransferReplicas {
        collection: CollectionId,
        source: String,
        target: String,
        replicas: u32,
    },
}

/// The query coordinator: load and release, replicas, resource groups, balancing.
#[async_trait]
pub trait QueryCoord: Send + Sync {
    /// Asks for a collection, or more partitions of it, to be loaded; returns when that is recorded.
    async fn load(&self, id: RequestId, load: NewLoad) -> Result<DdlAck>;
    /// Carries out one command about resource groups.
    async fn place(&self, id: RequestId, command: PlacementCommand) -> Result<DdlAck>;
    /// Steers balancing of query nodes, or tells about it.
    async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer>;
    /// Asks for a collection (`partitions` empty) or partitions of it to be released; returns when no
    /// read is routed to them any more.
    async fn release(
        &self,
        id: RequestId,
        collection: CollectionId,
        partitions: Vec<PartitionId>,
    ) -> Result<DdlAck>;
}
