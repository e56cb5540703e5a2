//! The vocabulary every crate shares: ids, timestamps, schemas, columns, bitmaps.
//!
//! Nothing here does I/O, waits, or knows about a wire format. A type lives in the module of the
//! idea it belongs to; conversions from and to wire formats live beside those formats.

pub mod bitmap;
pub mod bulk;
pub mod column;
pub mod consistency;
pub mod id;
pub mod limits;
pub mod metric;
pub mod primary_key;
pub mod schema;
pub mod timestamp;
pub mod value;

pub use bitmap::Bitmap;
pub use column::{Batch, Column, ColumnData, ColumnView, DataView, VarColumn, VarView};
pub use consistency::ConsistencyLevel;
pub use id::{
    CollectionId, DatabaseId, Epoch, FieldId, IndexId, Lsn, NodeId, PartitionId, ProxyRun, ReplicaId,
    Revision, SegmentId, ShardId, TaskId,
};
pub use metric::Metric;
pub use primary_key::{PrimaryKey, PrimaryKeyRef, PrimaryKeys};
pub use schema::{CollectionSchema, DataType, FieldSchema};
pub use timestamp::Timestamp;
pub use value::Value;
