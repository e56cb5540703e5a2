//! One of everything that travels.

use half::{bf16, f16};
use redkite_catalog::{MoveRecord, MovedRecord};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_service::{
    BalanceAnswer, Consistency, Delete, DeleteBatch, Error, LeaderUsage, NodeUsage, RangeBounds,
    RetrieveRequest, SearchRequest, ShardUsage, VectorParams, VectorQueries, WriteId,
};
use redkite_types::{
    Batch, Bitmap, CollectionId, Column, ColumnData, FieldId, Metric, NodeId, PartitionId, PrimaryKeys,
    ProxyRun, ReplicaId, SegmentId, ShardId, Timestamp, VarColumn,
};

pub(crate) const COLLECTION: CollectionId = CollectionId(7);
pub(crate) const SHARD: ShardId = ShardId { collection: COLLECTION, ordinal: 1 };

pub(crate) fn write_id() -> WriteId {
    WriteId { proxy: ProxyRun(u64::MAX), sequence: 300, settled_below: 7 }
}

pub(crate) fn usage() -> NodeUsage {
    let segments = [(SegmentId(1), 2), (SegmentId(3), u64::MAX)].into();
    NodeUsage { memory: 1 << 40, other_memory: 7, threads: 2, cpu: 8, segments }
}

pub(crate) fn leader_usage() -> LeaderUsage {
    let shards = [(SHARD, ShardUsage { memory: 3, cpu: u64::MAX })].into();
    LeaderUsage { memory: 1 << 40, threads: 2, shards }
}

pub(crate) fn balanced() -> BalanceAnswer {
    let moved = MoveRecord {
        from: NodeId(1),
        to: NodeId(2),
        bytes: 3,
        reason: "by_hand".to_owned(),
        begun: Timestamp(4),
    };
    let dropped = Some("node 2 is gone".to_owned());
    let (replica, segment, ended) = (ReplicaId(5), SegmentId(6), Timestamp(7));
    let collection = COLLECTION;
    BalanceAnswer::History(vec![MovedRecord {
        collection,
        replica,
        segment,
        moved,
        ended,
        refused: false,
        dropped,
    }])
}

fn texts() -> VarColumn {
    ["", "a", "größer"].into_iter().collect()
}

/// A column of every type, three rows.
pub(crate) fn columns() -> Vec<Column> {
    let data = [
        ColumnData::Bool(vec![true, false, true]),
        ColumnData::Int8(vec![i8::MIN, 0, i8::MAX]),
        ColumnData::Int16(vec![i16::MIN, 0, i16::MAX]),
        ColumnData::Int32(vec![i32::MIN, 0, i32::MAX]),
        ColumnData::Int64(vec![i64::MIN, 0, i64::MAX]),
        ColumnData::Float(vec![-0.5, f32::INFINITY, f32::MIN_POSITIVE]),
        ColumnData::Double(vec![-0.5, f64::NEG_INFINITY, f64::MAX]),
        ColumnData::VarChar(texts()),
        ColumnData::Json([&b"null"[..], b"{}", b"{\"a\":[1]}"].into_iter().collect()),
        ColumnData::FloatVector { dim: 2, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] },
        ColumnData::Float16Vector { dim: 1, values: vec![f16::ONE, f16::EPSILON, f16::MAX] },
        ColumnData::BFloat16Vector { dim: 1, values: vec![bf16::ONE, bf16::EPSILON, bf16::MAX] },
    ];
    let mut columns: Vec<_> = (100..).zip(data).map(|(id, data)| Column::new(FieldId(id), data)).collect();
    columns[3].validity = Some(Bitmap::from_bools([true, false, true]));
    columns
}

pub(crate) fn batch() -> Batch {
    Batch::new(columns())
}

pub(crate) fn search() -> SearchRequest {
    SearchRequest {
        collection: COLLECTION,
        schema_version: 3,
        partitions: vec![PartitionId(11)],
        field: FieldId(109),
        metric: Metric::L2,
        queries: VectorQueries { dim: 2, values: vec![0.25, -1.0, 7.5, 0.0] },
        limit: 10,
        params: VectorParams { ef: Some(64), nprobe: None },
        range: Some(RangeBounds { radius: 2.0, range_filter: None }),
        filter: None,
        output: vec![FieldId(100)],
        consistency: Consistency::AtLeast(Timestamp(77)),
        ignore_growing: true,
        expired_before: Some(Timestamp(5)),
    }
}

pub(crate) fn retrieve() -> RetrieveRequest {
    RetrieveRequest {
        collection: COLLECTION,
        schema_version: 3,
        partitions: Vec::new(),
        filter: None,
        output: vec![FieldId(100), FieldId(101)],
        limit: Some(usize::MAX),
        consistency: Consistency::Strong,
        ignore_growing: false,
        expired_before: None,
    }
}

pub(crate) fn found() -> SearchPart {
    SearchPart {
        nq: 2,
        topks: vec![1, 2],
        ids: PrimaryKeys::Int64(vec![5, -6, 7]),
        scores: vec![0.1, 0.2, 0.3],
        timestamps: vec![Timestamp(1), Timestamp(2), Timestamp(u64::MAX)],
        columns: columns(),
    }
}

pub(crate) fn retrieved() -> RetrievePart {
    RetrievePart {
        ids: PrimaryKeys::VarChar(texts()),
        timestamps: vec![Timestamp(1), Timestamp(2), Timestamp(3)],
        columns: columns(),
    }
}

pub(crate) fn deletes() -> DeleteBatch {
    let delete = |timestamp, partition, keys| Delete { timestamp: Timestamp(timestamp), partition, keys };
    DeleteBatch {
        after: Timestamp(3),
        deletes: vec![
            delete(4, None, PrimaryKeys::Int64(vec![1, 2, 3])).into(),
            delete(5, Some(PartitionId(11)), PrimaryKeys::VarChar(texts())).into(),
        ],
        through: Timestamp(9),
    }
}

/// Every error there is.
pub(crate) fn errors() -> Vec<Error> {
    let text = || "some reason".to_owned();
    let name = || "some_name".to_owned();
    vec![
        Error::NotReady { role: name(), node: 3, state: text() },
        Error::Unavailable { reason: text() },
        Error::ConnectionLost { what: text() },
        Error::Internal { reason: text() },
        Error::Unimplemented { what: text() },
        Error::DiskFull { reason: text() },
        Error::OutOfMemory { reason: text() },
        Error::CollectionNotFound { database: name(), collection: name() },
        Error::CollectionNotLoaded { collection: name() },
        Error::CollectionNotFullyLoaded { collection: name() },
        Error::CollectionLoaded { collection: name(), reason: text() },
        Error::CollectionNumLimit { limit: 4 },
        Error::IllegalSchema { collection: name(), reason: text() },
        Error::SchemaMismatch { collection: name() },
        Error::PartitionNotFound { partition: name() },
        Error::PartitionNotLoaded { partition: name() },
        Error::GeneralCapacityExceeded { limit: 4 },
        Error::ResourceGroupNotFound { group: name() },
        Error::ResourceGroupExists { group: name() },
        Error::ResourceGroupNumLimit { group: name(), limit: 4 },
        Error::ResourceGroupIllegalConfig { group: name(), config: text(), reason: text() },
        Error::ResourceGroupNodeNotEnough { group: name(), current: 1, expected: 2 },
        Error::ShardNotAvailable { shard: name() },
        Error::SegmentNotLoaded { segment: 12 },
        Error::IndexNotFound { index: name() },
        Error::NoIndexes { collection: name() },
        Error::IndexDuplicate { index: name(), reason: text() },
        Error::IndexNotSupported { reason: text() },
        Error::DatabaseNotFound { database: name() },
        Error::DatabaseNumLimit { limit: 4 },
        Error::DatabaseInvalidName { database: name(), reason: text() },
        Error::NodeNotFound { node: 5 },
        Error::NodeUnfit { node: 5, reason: text() },
        Error::SegmentNotFound { segment: 5, reason: text() },
        Error::NodeNotMatch { expected: 5, actual: 6 },
        Error::Io { reason: text() },
        Error::InvalidParameter { reason: text() },
        Error::MissingParameter { reason: text() },
        Error::ParameterTooLarge { reason: text() },
        Error::AliasNotFound { database: name(), alias: name() },
        Error::AliasCollectionConflict { database: name(), alias: name() },
        Error::AliasExists { database: name(), alias: name(), collection: name() },
        Error::FieldNotFound { field: name() },
        Error::FieldInvalidName { field: name(), reason: text() },
        Error::NotSupported { what: text() },
        Error::Fenced { what: text() },
        Error::Timeout { what: text() },
        Error::Unexpected { reason: text() },
    ]
}
