//! What do clients of Milvus get? The public API, over its wire contract.
//!
//! A request is validated against the watched metadata, split by shard, sent to the shards' leaders,
//! and what comes back is merged and written in Milvus's words. The proxy keeps no state that another
//! proxy would need.
//!
//! [`convert`] moves values between the wire and our own types; `write` turns rows into writes of
//! shards; `read` turns searches and queries into reads of shards and merges their parts. `define`
//! says what may be defined, `describe` shows what is, and [`grpc`] is where requests come in.

mod collection;
mod convert;
mod define;
mod describe;
mod flush;
pub mod grpc;
mod leader;
mod metrics;
pub mod nodes;
pub mod proxy;
mod read;
mod refuse;
mod statistics;
mod status;
#[cfg(test)]
mod testing;
mod write;

pub use describe::collection::channel;
pub use nodes::{NodeAddress, Nodes, OneNode};
pub use proxy::{AutoIds, Proxy, ProxyParts, RequestContext, Settings};
