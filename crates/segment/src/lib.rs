//! The rows of one segment: how are they kept, found, deleted, and turned into files?
//!
//! Rows are born in a [`GrowingSegment`], are written by [`seal`](seal()) into a file sorted by
//! primary key, and are then read from the mapped file through a [`SealedSegment`] until
//! [`compact`](compact()) merges them into another. Every read carries a timestamp: rows written and
//! deletes made after it are not seen, so a write becomes visible at once or not at all. Everything
//! computes and nothing waits: callers run it on the CPU pool; only loading files is async.

mod compact;
mod deleted;
mod error;
mod growing;
mod read;
mod request;
mod seal;
mod sealed;
mod task;

pub use compact::compact;
pub use error::{Error, Result};
pub use growing::GrowingSegment;
pub use seal::seal;
pub use sealed::{AttachedIndex, SealedSegment, SegmentFootprint, read_deltas};
pub use task::{RetrieveTask, SearchTask, SegmentReader};
