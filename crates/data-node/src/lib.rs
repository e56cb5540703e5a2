//! Background work on sealed data: who builds indexes, merges segments, folds deletes?
//!
//! The data coordinator records tasks; a [`DataNode`] watches those with its name, does each as often
//! as it takes, and records what came of it. Files are durable before the result is recorded, and the
//! result is what makes them count: a task interrupted anywhere is simply done again.

mod build_index;
mod compact;
mod environment;
mod error;
mod failpoint;
mod fold_deletes;
mod worker;

pub use environment::{DataNodeSettings, Environment};
pub use failpoint::FAILPOINTS;
pub use worker::DataNode;
