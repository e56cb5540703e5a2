//! The coordinators: what should be true, decided and written down; nodes make it true.
//!
//! ```text
//! root    databases, collections, partitions, aliases
//! data    index definitions, shard leaders, the life of segments, background tasks, garbage
//! query   load and release, placement of sealed segments, serving views
//! balance query nodes and streaming nodes kept evenly loaded
//!
//! plan    what follows from the records, as pure functions: records → transactions
//! drive   loops that wake when records change, ask `plan`, and commit
//! ```
//!
//! A command (DDL, load, …) is planned against the watched records and committed in one transaction
//! that compares everything it relied on, so it either sees the present or is planned again. All
//! writes go through a [`MetaWriter`], which refuses them once another coordinator took over.

pub mod balance;
pub mod command;
pub mod data;
mod drive;
pub mod environment;
pub mod nodes;
mod plan;
pub mod query;
pub mod root;
mod step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod warm;
pub mod writer;

pub use balance::BalancingSettings;
pub use data::{DataCoordinator, DataSettings};
pub use environment::{Environment, IdPool, Ids};
pub use nodes::{LiveNode, LiveNodes, NodeSet, RoleNodes, StaticNodes};
pub use query::{QueryCoordinator, QuerySettings};
pub use root::{RootCoordinator, RootSettings};
pub use step::Step;
pub use writer::{MetaWriter, WriteError};
