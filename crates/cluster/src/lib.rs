//! How do processes agree? The metastore and what is written once on top of it.
//!
//! [`kv`] is the metastore trait with its laws and implementations. On transactions, leases and watches
//! stand [`view`] (a watched copy of a prefix), [`session`] (a node says it is alive), [`election`]
//! (one active coordinator, every write fenced) and [`ids`] (unique increasing ids in leased blocks).

pub mod kv;

pub use kv::{Kv, KvError};
pub mod view;
