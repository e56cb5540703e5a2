//! How do roles in different processes call each other?
//!
//! The traits of `redkite-service` over gRPC: HTTP/2 with tonic, messages in MessagePack with named fields,
//! so that nodes of neighbouring versions understand each other. [`serve()`] offers a process's own
//! services; [`Peers`] finds those of others, by their sessions and what the metastore assigns to
//! them; [`Watchdog`] notices that one of them has died; [`seats_at`] asks one process about its
//! coordinators. `methods` lists the calls that exist, [`network`] is what simulations replace.

mod call;
mod codec;
mod connection;
mod failure;
mod link;
mod methods;
pub mod network;
mod peers;
mod seats;
mod serve;
mod settings;
mod watchdog;

pub use network::Network;
pub use peers::{Peers, PeersParts};
pub use seats::{Balancing, balancing_at, seats_at};
pub use serve::{Desk, Services, serve};
pub use settings::RpcSettings;
pub use watchdog::{Onlooker, Watchdog};

/// Roles as their sessions name them.
pub mod role {
    /// Databases, collections, partitions, aliases.
    pub const ROOT_COORD: &str = "rootcoord";
    /// Indexes, compaction, the life of segments, who leads shards.
    pub const DATA_COORD: &str = "datacoord";
    /// What is loaded, and where.
    pub const QUERY_COORD: &str = "querycoord";
    /// The roles of which one process is active and others stand by.
    pub const COORDINATORS: [&str; 3] = [ROOT_COORD, DATA_COORD, QUERY_COORD];
    /// Leaders of shards.
    pub const STREAMING_NODE: &str = "streamingnode";
    /// Holders of sealed segments.
    pub const QUERY_NODE: &str = "querynode";
    /// Background work.
    pub const DATA_NODE: &str = "datanode";
}
