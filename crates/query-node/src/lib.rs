//! Sealed segments in memory: which are held, are their deletes complete, what do they answer?
//!
//! ```text
//! reconcile   hold/<node>/… says which segments to hold: opens, closes, attaches indexes, reports held/…
//! load        one segment, from files to readable, with every delete it has missed
//! coverage    which deletes a segment has, and whether some are missing
//! check       compares what is held with its checksums, in the background
//! holder      the segments and their states; reads wait here for one that is being opened
//! service     searches, retrievals, counts, deletes
//! ```
//!
//! **No delete is lost while a segment is being loaded.** The segment is registered for pushed deletes
//! as soon as it is open, before anything is read about what it has missed. Then the leader is asked
//! for its buffered deletes, and only then the delete files are read from the metastore. A delete
//! moves from the leader's buffer to a file to a segment's own delete file, never backwards, and is at
//! every moment in at least one of them, so reading in the same direction misses none. Deletes are
//! idempotent; applying one twice changes nothing.

mod check;
mod coverage;
mod environment;
mod error;
mod holder;
mod load;
mod reconcile;
mod service;
mod usage;

pub use environment::{Environment, QueryNodeSettings};
pub use service::QueryNode;
