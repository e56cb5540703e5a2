//! Which calls between processes exist?
//!
//! `Method = Effect function(arguments) -> answer`, function, arguments and answer as in the trait. The
//! effect says what is told to a caller whose connection is lost, see [`Effect`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_service::{
    BalanceAnswer, BalanceCommand, CompactionProgress, DataCoord, Ddl, DdlAck, DeleteBatch, Flushed,
    LeaderUsage, NewIndex, NewLoad, NodeUsage, PlacementCommand, QueryCoord, ReadAck, RequestId, Result,
    RetrieveRequest, RootCoord, SearchRequest, SeatStatus, Seats, SegmentRetrieve, SegmentSearch, Segments,
    Shard, WriteAck, WriteRequest,
};
use redkite_types::{CollectionId, IndexId, NodeId, PartitionId, ShardId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use tonic::body::Body;
use tonic::server::NamedService;

use crate::call::{Caller, Client, Effect, Method, service};
use crate::serve::Offer;

service! { shard: Shard, "redkite.v1.Shard" {
    Write = Write write(request: WriteRequest) -> WriteAck;
    Search = Read search(shard: ShardId, request: Arc<SearchRequest>) -> ReadAck<SearchPart>;
    Retrieve = Read retrieve(shard: ShardId, request: Arc<RetrieveRequest>) -> ReadAck<RetrievePart>;
    Count = Read count(shard: ShardId, request: Arc<RetrieveRequest>) -> ReadAck<u64>;
    Flush = Write flush(shard: ShardId) -> Flushed;
    DeletesAfter = Read deletes_after(shard: ShardId, after: Timestamp) -> DeleteBatch;
    Usage = Read usage() -> LeaderUsage;
}}

service! { segments: Segments, "redkite.v1.Segments" {
    Search = Read search(request: SegmentSearch) -> SearchPart;
    Retrieve = Read retrieve(request: SegmentRetrieve) -> RetrievePart;
    Count = Read count(request: SegmentRetrieve) -> u64;
    ApplyDeletes = Read apply_deletes(shard: ShardId, batch: DeleteBatch) -> ();
    Usage = Read usage() -> NodeUsage;
}}

service! { root: RootCoord, "redkite.v1.RootCoord" {
    Execute = Command execute(id: RequestId, command: Ddl) -> DdlAck;
}}

service! { data: DataCoord, "redkite.v1.DataCoord" {
    CreateIndex = Command create_index(id: RequestId, index: NewIndex) -> DdlAck;
    AlterIndex = Command alter_index(
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>
    ) -> DdlAck;
    DropIndex = Command drop_index(id: RequestId, collection: CollectionId, index: IndexId) -> DdlAck;
    Compact = Command compact(id: RequestId, collection: CollectionId) -> (TaskId, usize);
    Compaction = Command compaction(compaction: TaskId) -> CompactionProgress;
}}

service! { query: QueryCoord, "redkite.v1.QueryCoord" {
    Load = Command load(id: RequestId, load: NewLoad) -> DdlAck;
    Place = Command place(id: RequestId, command: PlacementCommand) -> DdlAck;
    Balance = Wait balance(command: BalanceCommand) -> BalanceAnswer;
    Release = Command release(id: RequestId, collection: CollectionId, partitions: Vec<PartitionId>) -> DdlAck;
}}

service! { seats: Seats, "redkite.v1.Seats" {
    Seats = Read seats() -> Vec<SeatStatus>;
    HandOver = Write hand_over(role: String, to: Option<NodeId>, by: String) -> NodeId;
}}

/// What every process answers, whatever its role.
#[async_trait]
pub(crate) trait Node: Send + Sync {
    /// Answers when the process stops; `NodeNotFound` at once if it is not the one that is meant.
    async fn alive(&self, node: NodeId) -> Result<()>;
}

service! { node: Node, "redkite.v1.Node" {
    Alive = Wait alive(node: NodeId) -> ();
}}
