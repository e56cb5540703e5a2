//! How do processes agree? The metastore and what is written once on top of it.
//!
//! [`kv`] is the metastore trait with its laws and implementations. On transactions, leases and watches
//! stand [`view`] (a watched copy of a prefix), [`session`] (a process says it is alive), [`sessions`] (who
//! is), [`election`] (one active coordinator, every write fenced) and [`ids`] (unique increasing ids in
//! leased blocks).

pub mod election;
mod failpoint;
pub mod ids;
pub mod kv;
pub mod session;
pub mod sessions;
#[cfg(test)]
mod unreliable;
pub mod view;

pub use election::{Candidate, Leadership, LeadershipError};
pub use failpoint::FAILPOINTS;
pub use ids::IdAllocator;
pub use kv::{Kv, KvError};
pub use session::{Held, Session, SessionInfo, SessionSettings};
pub use sessions::{Peer, Sessions, SessionsView};
