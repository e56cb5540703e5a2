//! Black-box tests: real server processes, the real wire protocol, an exact model.
//!
//! [`server`] runs and kills processes, [`client`] speaks Milvus's protocol, [`model`] knows what the
//! answers must be.

pub mod client;
pub mod model;
pub mod server;
