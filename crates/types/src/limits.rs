//! Milvus's hard limits, with its own defaults.

/// Largest `limit`, `offset` and `limit + offset` of a search or query. Milvus: `quotaAndLimits.limits.topK`.
pub const MAX_TOP_K: u64 = 16_384;
/// Largest number of query vectors in one search. Milvus: `quotaAndLimits.limits.nq`.
pub const MAX_NQ: u64 = 16_384;
/// Largest serialized result of a search or query, bytes. Milvus: `quotaAndLimits.limits.maxOutputSize`.
pub const MAX_OUTPUT_BYTES: usize = 100 << 20;
/// Largest gRPC message the proxy accepts, bytes. Milvus: `proxy.grpc.serverMaxRecvSize`.
pub const MAX_RECEIVE_BYTES: usize = 64 << 20;
/// Largest gRPC message the proxy sends, bytes. Milvus: `proxy.grpc.serverMaxSendSize`.
pub const MAX_SEND_BYTES: usize = 256 << 20;
/// Longest name of a database, collection, partition, field, alias, index. Milvus: `proxy.maxNameLength`.
pub const MAX_NAME_LENGTH: usize = 255;
/// Most fields of a collection. Milvus: `proxy.maxFieldNum`.
pub const MAX_FIELDS: usize = 64;
/// Most vector fields of a collection. Milvus: `proxy.maxVectorFieldNum`.
pub const MAX_VECTOR_FIELDS: usize = 10;
/// Smallest dimension of a dense vector field.
pub const MIN_DIMENSION: u32 = 2;
/// Largest dimension of a dense vector field. Milvus: `proxy.maxDimension`.
pub const MAX_DIMENSION: u32 = 32_768;
/// Most shards of a collection. Milvus: `proxy.maxShardNum`.
pub const MAX_SHARDS: u32 = 16;
/// Most partitions of a collection. Milvus: `rootCoord.maxPartitionNum`.
pub const MAX_PARTITIONS: usize = 1_024;
/// Most partitions × shards over all collections. Milvus: `rootCoord.maxGeneralCapacity`.
pub const MAX_GENERAL_CAPACITY: usize = 65_536;
/// Most collections. Milvus: `quotaAndLimits.limits.maxCollectionNum`.
pub const MAX_COLLECTIONS: usize = 65_536;
/// Most databases. Milvus: `rootCoord.maxDatabaseNum`.
pub const MAX_DATABASES: usize = 64;
/// Largest `max_length` of a VarChar field, bytes. Milvus: `proxy.maxVarCharLength`.
pub const MAX_VARCHAR_BYTES: u32 = 65_535;
/// Largest JSON value, bytes. Milvus: `common.JSONMaxLength`.
pub const MAX_JSON_BYTES: usize = 65_536;
/// Segments below this many rows are searched without an index. Milvus: `indexCoord.segment.minSegmentNumRowsToEnableIndex`.
pub const MIN_ROWS_TO_INDEX: u64 = 1_024;
