//! What follows from the records? Pure functions, from records to the steps that come next.
//!
//! Each function returns the steps of one concern for one collection; committing them and asking again
//! ends with no steps. Any prefix of the steps leaves the records consistent, so a crash between two of
//! them costs nothing: the next coordinator plans from what it finds.

pub(crate) mod busy;
pub(crate) mod compaction;
pub(crate) mod deltas;
pub(crate) mod dropped;
pub(crate) mod fleet;
pub(crate) mod garbage;
pub(crate) mod index_files;
pub(crate) mod moves;
pub(crate) mod replicas;
pub(crate) mod resource_groups;
pub(crate) mod results;
pub(crate) mod serving;
pub(crate) mod shards;
pub(crate) mod switch;
pub(crate) mod work;

#[cfg(test)]
mod tests;
