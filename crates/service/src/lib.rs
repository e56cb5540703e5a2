//! What roles ask of each other: one trait per service, plain request and response types, one error.
//!
//! A role never knows whether its neighbour is in the same process. It holds an `Arc<dyn …>`: the
//! implementation itself in one process, a network adapter otherwise. All types are serializable.
//!
//! Coordinators and nodes meet in the metastore: they do not tell each other by calls what to do. The calls that exist:
//!
//! ```text
//! client → proxy → RootCoord, DataCoord, QueryCoord     definitions, load and release
//!          proxy → Shard (streaming node)               writes, reads, flush
//!                  Shard → Segments (query node)        reads of sealed segments, deletes
//!                  Segments → Shard                     deletes a newly loaded segment has missed
//!          QueryCoord → Segments                        what a query node has and uses
//!          ctl, coordinators → Seats (coordinators)     who is active, who could follow, hand over
//! ```

pub mod balance;
pub mod coordinator;
pub mod error;
pub mod files;
pub mod read;
pub mod seats;
pub mod segments;
pub mod shard;

pub use balance::{BalanceAnswer, BalanceCommand, BalanceStatus, LeaderStatus, NodeStatus, TransferRequest};
pub use coordinator::{
    CompactionProgress, DataCoord, Ddl, DdlAck, Merge, NewCollection, NewField, NewIndex, NewLoad,
    PlacementCommand, QueryCoord, RequestId, RootCoord,
};
pub use error::{Code, Error, Result, Retry};
pub use read::{Consistency, RangeBounds, RetrieveRequest, SearchRequest, VectorParams, VectorQueries};
pub use seats::{Lag, SeatState, SeatStatus, Seats};
pub use segments::{
    Delete, DeleteBatch, NodeUsage, SegmentRetrieve, SegmentSearch, Segments, SegmentsDirectory,
};
pub use shard::{
    Flushed, LeaderUsage, MAX_UNSETTLED_WRITES, ReadAck, Shard, ShardDirectory, ShardUsage, WriteAck,
    WriteId, WriteOp, WriteRequest,
};
