//! The one error of the service seam: what the client is told, and whether to try again.
//!
//! [`Error::code`] is the exhaustive table to Milvus's codes; `Display` is Milvus's message.

use serde::{Deserialize, Serialize};

/// Result of a service call.
pub type Result<T> = std::result::Result<T, Error>;

/// Milvus's error codes, as far as Redkite uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are Milvus's")]
pub enum Code {
    ServiceNotReady = 1,
    ServiceUnavailable = 2,
    MemoryLimitExceeded = 3,
    TooManyRequests = 4,
    Internal = 5,
    DiskLimitExceeded = 7,
    RateLimit = 8,
    Unimplemented = 10,
    CollectionNotFound = 100,
    CollectionNotLoaded = 101,
    CollectionNumLimit = 102,
    CollectionNotFullyLoaded = 103,
    CollectionLoaded = 104,
    IllegalSchema = 105,
    SchemaMismatch = 109,
    PartitionNotFound = 200,
    PartitionNotLoaded = 201,
    PartitionNotFullyLoaded = 202,
    GeneralCapacityExceeded = 250,
    ResourceGroupNotFound = 300,
    ResourceGroupExists = 301,
    ResourceGroupNumLimit = 302,
    ResourceGroupIllegalConfig = 303,
    ResourceGroupNodeNotEnough = 304,
    ReplicaNotFound = 400,
    ChannelNotAvailable = 503,
    SegmentNotFound = 600,
    SegmentNotLoaded = 601,
    IndexNotFound = 700,
    IndexNotSupported = 701,
    IndexDuplicate = 702,
    DatabaseNotFound = 800,
    DatabaseNumLimit = 801,
    DatabaseInvalidName = 802,
    NodeNotFound = 901,
    NodeNotMatch = 904,
    IoFailed = 1001,
    InvalidParameter = 1100,
    MissingParameter = 1101,
    ParameterTooLarge = 1102,
    AliasNotFound = 1600,
    AliasCollectionConflict = 1601,
    AliasExists = 1602,
    FieldNotFound = 1700,
    FieldInvalidName = 1701,
    QueryPlan = 2201,
    OperationNotSupported = 3000,
    Canceled = 10_000,
    Timeout = 10_001,
    Unexpected = 65_535,
}

/// May a failed call be tried again, unchanged?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: the same call fails again, or has side effects that a repetition would double.
    No,
    /// Yes: nothing was done.
    Yes,
    /// The call may or may not have been applied.
    MaybeApplied,
}

/// Why a service call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("service not ready[{role}={node}]: {state}")]
    NotReady { role: String, node: i64, state: String },
    #[error("service unavailable: {reason}")]
    Unavailable { reason: String },
    /// The call was sent; its answer never came.
    #[error("service unavailable: connection lost: {what}")]
    ConnectionLost { what: String },
    #[error("service internal error: {reason}")]
    Internal { reason: String },
    #[error("service unimplemented: {what}")]
    Unimplemented { what: String },
    #[error("disk limit exceeded: {reason}")]
    DiskFull { reason: String },
    #[error("memory limit exceeded: {reason}")]
    OutOfMemory { reason: String },
    /// `database` is empty where Milvus names none.
    #[error("collection not found{}[collection={collection}]", in_database(database))]
    CollectionNotFound { database: String, collection: String },
    #[error("collection not loaded[collection={collection}]")]
    CollectionNotLoaded { collection: String },
    #[error("collection not fully loaded[collection={collection}]")]
    CollectionNotFullyLoaded { collection: String },
    #[error("{reason}: collection already loaded[collection={collection}]")]
    CollectionLoaded { collection: String, reason: String },
    #[error("exceeded the limit number of collections[limit={limit}]")]
    CollectionNumLimit { limit: usize },
    #[error("{reason}: illegal collection schema[collection={collection}]")]
    IllegalSchema { collection: String, reason: String },
    #[error("collection schema mismatch[collection={collection}]")]
    SchemaMismatch { collection: String },
    #[error("partition not found[partition={partition}]")]
    PartitionNotFound { partition: String },
    #[error("partition not loaded[partition={partition}]")]
    PartitionNotLoaded { partition: String },
    #[error("exceeded the limit number of partitions[limit={limit}]: general capacity exceeded")]
    GeneralCapacityExceeded { limit: usize },
    #[error("resource group not found[rg={group}]")]
    ResourceGroupNotFound { group: String },
    #[error("resource group already exist, but create with different config[rg={group}]")]
    ResourceGroupExists { group: String },
    #[error("resource group num reach limit[rg={group}][limit={limit}]")]
    ResourceGroupNumLimit { group: String, limit: usize },
    #[error("{reason}: resource group illegal config[rg={group}][config={config}]")]
    ResourceGroupIllegalConfig { group: String, config: String, reason: String },
    #[error(
        "resource group node not enough[rg={group}][currentNodeNum={current}][expectedNodeNum={expected}]"
    )]
    ResourceGroupNodeNotEnough { group: String, current: usize, expected: usize },
    /// The shard has no leader that serves at the moment, or the called node does not lead it.
    #[error("channel not available[channel={shard}]")]
    ShardNotAvailable { shard: String },
    /// The segment is not held by the called node (any more, or not yet).
    #[error("segment not loaded[segment={segment}]")]
    SegmentNotLoaded { segment: i64 },
    #[error("index not found[indexName={index}]")]
    IndexNotFound { index: String },
    /// There is no index at all.
    #[error("index not found[collection={collection}]")]
    NoIndexes { collection: String },
    #[error("{reason}: index duplicates[indexName={index}]")]
    IndexDuplicate { index: String, reason: String },
    #[error("{reason}: index type not supported")]
    IndexNotSupported { reason: String },
    #[error("database not found[database={database}]")]
    DatabaseNotFound { database: String },
    #[error("exceeded the limit number of database[limit={limit}]")]
    DatabaseNumLimit { limit: usize },
    #[error("{reason}: invalid database name[database={database}]")]
    DatabaseInvalidName { database: String, reason: String },
    #[error("node not found[node={node}]")]
    NodeNotFound { node: i64 },
    /// There is such a node, or not; it is not one that can be meant.
    #[error("{reason}: node not found[node={node}]")]
    NodeUnfit { node: i64, reason: String },
    #[error("{reason}: segment not found[segment={segment}]")]
    SegmentNotFound { segment: i64, reason: String },
    /// Another process answers at the address of the one that was called: nothing was done.
    #[error("node not match[expectedNodeID={expected}][actualNodeID={actual}]")]
    NodeNotMatch { expected: i64, actual: i64 },
    #[error("{reason}: IO failed")]
    Io { reason: String },
    /// Storage failed in the middle of it.
    #[error("{reason}: IO failed, it is unknown whether this was applied")]
    Unsettled { reason: String },
    /// The catch-all of Milvus's input checks; `reason` is the whole message.
    #[error("{reason}")]
    InvalidParameter { reason: String },
    #[error("{reason}: missing parameter")]
    MissingParameter { reason: String },
    #[error("{reason}")]
    ParameterTooLarge { reason: String },
    #[error("alias not found[database={database}][alias={alias}]")]
    AliasNotFound { database: String, alias: String },
    #[error("alias and collection name conflict[database={database}][alias={alias}]")]
    AliasCollectionConflict { database: String, alias: String },
    #[error(
        "{alias} is alias to another collection: {collection}: alias already exist[database={database}][alias={alias}]"
    )]
    AliasExists { database: String, alias: String, collection: String },
    #[error("field not found[field={field}]")]
    FieldNotFound { field: String },
    #[error("{reason}: field name invalid[field={field}]")]
    FieldInvalidName { field: String, reason: String },
    #[error("operation not supported: {what}")]
    NotSupported { what: String },
    /// The caller or callee has been replaced by a newer epoch.
    #[error("fenced by a newer epoch: {what}")]
    Fenced { what: String },
    #[error("deadline exceeded: {what}")]
    Timeout { what: String },
    #[error("{reason}")]
    Unexpected { reason: String },
}

fn in_database(database: &str) -> String {
    if database.is_empty() { String::new() } else { format!("[database={database}]") }
}

impl Error {
    /// An [`Error::InvalidParameter`].
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidParameter { reason: reason.into() }
    }

    /// An [`Error::Internal`] about another error.
    pub fn internal(reason: impl std::fmt::Display) -> Self {
        Self::Internal { reason: reason.to_string() }
    }

    /// Milvus's code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotReady { .. } => Code::ServiceNotReady,
            Self::Unavailable { .. } | Self::ConnectionLost { .. } | Self::Fenced { .. } => {
                Code::ServiceUnavailable
            }
            Self::Internal { .. } => Code::Internal,
            Self::Unimplemented { .. } => Code::Unimplemented,
            Self::DiskFull { .. } => Code::DiskLimitExceeded,
            Self::OutOfMemory { .. } => Code::MemoryLimitExceeded,
            Self::CollectionNotFound { .. } => Code::CollectionNotFound,
            Self::CollectionNotLoaded { .. } => Code::CollectionNotLoaded,
            Self::CollectionNotFullyLoaded { .. } => Code::CollectionNotFullyLoaded,
            Self::CollectionLoaded { .. } => Code::CollectionLoaded,
            Self::CollectionNumLimit { .. } => Code::CollectionNumLimit,
            Self::IllegalSchema { .. } => Code::IllegalSchema,
            Self::SchemaMismatch { .. } => Code::SchemaMismatch,
            Self::PartitionNotFound { .. } => Code::PartitionNotFound,
            Self::PartitionNotLoaded { .. } => Code::PartitionNotLoaded,
            Self::GeneralCapacityExceeded { .. } => Code::GeneralCapacityExceeded,
            Self::ResourceGroupNotFound { .. } => Code::ResourceGroupNotFound,
            Self::ResourceGroupExists { .. } => Code::ResourceGroupExists,
            Self::ResourceGroupNumLimit { .. } => Code::ResourceGroupNumLimit,
            Self::ResourceGroupIllegalConfig { .. } => Code::ResourceGroupIllegalConfig,
            Self::ResourceGroupNodeNotEnough { .. } => Code::ResourceGroupNodeNotEnough,
            Self::ShardNotAvailable { .. } => Code::ChannelNotAvailable,
            Self::SegmentNotLoaded { .. } => Code::SegmentNotLoaded,
            Self::IndexNotFound { .. } | Self::NoIndexes { .. } => Code::IndexNotFound,
            Self::IndexDuplicate { .. } => Code::IndexDuplicate,
            Self::IndexNotSupported { .. } => Code::IndexNotSupported,
            Self::DatabaseNotFound { .. } => Code::DatabaseNotFound,
            Self::DatabaseNumLimit { .. } => Code::DatabaseNumLimit,
            Self::DatabaseInvalidName { .. } => Code::DatabaseInvalidName,
            Self::NodeNotFound { .. } | Self::NodeUnfit { .. } => Code::NodeNotFound,
            Self::SegmentNotFound { .. } => Code::SegmentNotFound,
            Self::NodeNotMatch { .. } => Code::NodeNotMatch,
            Self::Io { .. } | Self::Unsettled { .. } => Code::IoFailed,
            Self::InvalidParameter { .. } => Code::InvalidParameter,
            Self::MissingParameter { .. } => Code::MissingParameter,
            Self::ParameterTooLarge { .. } => Code::ParameterTooLarge,
            Self::AliasNotFound { .. } => Code::AliasNotFound,
            Self::AliasCollectionConflict { .. } => Code::AliasCollectionConflict,
            Self::AliasExists { .. } => Code::AliasExists,
            Self::FieldNotFound { .. } => Code::FieldNotFound,
            Self::FieldInvalidName { .. } => Code::FieldInvalidName,
            Self::NotSupported { .. } => Code::OperationNotSupported,
            Self::Timeout { .. } => Code::Timeout,
            Self::Unexpected { .. } => Code::Unexpected,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotReady { .. }
            | Self::Unavailable { .. }
            | Self::ShardNotAvailable { .. }
            | Self::SegmentNotLoaded { .. }
            | Self::CollectionNotFullyLoaded { .. }
            | Self::NodeNotFound { .. }
            | Self::NodeNotMatch { .. }
            | Self::Fenced { .. } => Retry::Yes,
            Self::ConnectionLost { .. } | Self::Unsettled { .. } | Self::Timeout { .. } => {
                Retry::MaybeApplied
            }
            Self::Internal { .. }
            | Self::NodeUnfit { .. }
            | Self::SegmentNotFound { .. }
            | Self::Unimplemented { .. }
            | Self::DiskFull { .. }
            | Self::OutOfMemory { .. }
            | Self::CollectionNotFound { .. }
            | Self::CollectionNotLoaded { .. }
            | Self::CollectionLoaded { .. }
            | Self::CollectionNumLimit { .. }
            | Self::IllegalSchema { .. }
            | Self::SchemaMismatch { .. }
            | Self::PartitionNotFound { .. }
            | Self::PartitionNotLoaded { .. }
            | Self::GeneralCapacityExceeded { .. }
            | Self::ResourceGroupNotFound { .. }
            | Self::ResourceGroupExists { .. }
            | Self::ResourceGroupNumLimit { .. }
            | Self::ResourceGroupIllegalConfig { .. }
            | Self::ResourceGroupNodeNotEnough { .. }
            | Self::IndexNotFound { .. }
            | Self::NoIndexes { .. }
            | Self::IndexDuplicate { .. }
            | Self::IndexNotSupported { .. }
            | Self::DatabaseNotFound { .. }
            | Self::DatabaseNumLimit { .. }
            | Self::DatabaseInvalidName { .. }
            | Self::Io { .. }
            | Self::InvalidParameter { .. }
            | Self::MissingParameter { .. }
            | Self::ParameterTooLarge { .. }
            | Self::AliasNotFound { .. }
            | Self::AliasCollectionConflict { .. }
            | Self::AliasExists { .. }
            | Self::FieldNotFound { .. }
            | Self::FieldInvalidName { .. }
            | Self::NotSupported { .. }
            | Self::Unexpected { .. } => Retry::No,
        }
    }

    /// Whether the caller's input is at fault. Milvus: `extra_info["is_input_error"]`.
    #[must_use]
    pub fn is_input(&self) -> bool {
        matches!(
            self.code(),
            Code::CollectionNumLimit
                | Code::CollectionLoaded
                | Code::IllegalSchema
                | Code::SchemaMismatch
                | Code::IndexDuplicate
                | Code::ResourceGroupNotFound
                | Code::ResourceGroupExists
                | Code::ResourceGroupNumLimit
                | Code::ResourceGroupIllegalConfig
                | Code::DatabaseNumLimit
                | Code::DatabaseInvalidName
                | Code::InvalidParameter
                | Code::MissingParameter
                | Code::ParameterTooLarge
                | Code::QueryPlan
        )
    }
}
