//! Black-box tests: real server processes, the real wire protocol, an exact model.
//!
//! [`server`] runs and kills processes, [`client`] speaks Milvus's protocol, [`model`] knows what the
//! answers must be, [`workload`] is random work checked against it.

pub mod client;
pub mod model;
pub mod server;
pub mod workload;
