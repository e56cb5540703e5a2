//! What is in the metastore: the records, their keys, and a watched, typed view of them.
//!
//! Coordinators write desired state as these records; nodes watch the parts that concern them, make
//! them true, and report under keys of their own. Values are JSON, so that a record can be read by
//! eye and fields can be added; a record type is never changed in a way that old values do not parse.
//!
//! ```text
//! db/<db>                          DatabaseRecord        rootcoord
//! name/<db>/<name>                 NameRecord            rootcoord     collections and aliases share names
//! collection/<collection>          CollectionRecord      rootcoord
//! dropped/<collection>             DroppedRecord         rootcoord     until nothing of it is left
//! index/<collection>               IndexesRecord         datacoord
//! shard/<shard>                    ShardAssignment       datacoord     desired leader and its epoch
//! shard-status/<shard>             ShardStatus           streaming node, under its lease
//! checkpoint/<shard>               ShardCheckpoint       streaming node, fenced by shard/<shard>
//! segment/<collection>/<segment>   SegmentRecord         streaming node (new), datacoord (afterwards)
//! task/<task>                      TaskRecord            datacoord     desired work
//! task-result/<task>               TaskResult            data node
//! load/<collection>                LoadRecord            querycoord
//! hold/<node>/<collection>         HoldRecord            querycoord    desired placement
//! held/<node>/<collection>         HeldRecord            query node, under its lease
//! view/<shard>/<replica>           ServingView           querycoord    who answers for which segment
//! replica/<collection>             ReplicasRecord        querycoord    copies of a loaded collection
//! resource-group/<name>            ResourceGroupRecord   querycoord    query nodes kept apart
//! move/<coll.>/<replica>/<segment> MoveRecord            querycoord    a copy on its way to another node
//! stay/<coll.>/<replica>/<segment> StayRecord            querycoord    where a copy came to by its last move
//! moved/<when>-<segment>-<replica> MovedRecord           querycoord    history of moves
//! drain/<node>                     DrainRecord           querycoord    a query node that is being emptied
//! balance/state                    BalanceRecord         querycoord    where balancing stands
//! ```

pub mod balance;
pub mod collection;
pub mod index;
pub mod key;
pub mod load;
pub mod metadata;
pub mod placement;
pub mod replica;
pub mod resource_group;
pub mod segment;
pub mod shard;
pub mod task;
pub mod view;

pub use balance::{BalanceRecord, CopyKey, DrainRecord, MoveRecord, MovedRecord, StayRecord};
pub use collection::{
    CollectionRecord, DEFAULT_DATABASE, DEFAULT_DATABASE_ID, DEFAULT_PARTITION, DatabaseRecord,
    DroppedRecord, NameRecord, PartitionRecord, Properties,
};
pub use index::{IndexMethod, IndexRecord, IndexSpec, IndexesRecord};
pub use key::{Key, Record};
pub use load::{LoadProgress, load_progress};
pub use metadata::{Change, Entry, Metadata};
pub use placement::{HeldRecord, HeldSegment, HoldRecord, LoadRecord, LoadScope, ServingView, ViewSegment};
pub use replica::{ReplicaRecord, ReplicasRecord};
pub use resource_group::{DEFAULT_RESOURCE_GROUP, ResourceGroupConfig, ResourceGroupRecord, UNLIMITED_NODES};
pub use segment::{DeletesFile, SegmentIndexFile, SegmentRecord, SegmentState};
pub use shard::{AppliedWrites, DeltaFile, ShardAssignment, ShardCheckpoint, ShardStatus};
pub use task::{TaskKind, TaskOutcome, TaskRecord, TaskResult};
pub use view::{Changes, MetadataView};
