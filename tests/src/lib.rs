//! Black-box tests: real server processes, the real wire protocol, an exact model.
//!
//! [`server`] runs and kills processes, [`client`] speaks Milvus's protocol, [`model`] knows what the
//! answers must be, [`workload`] is random work checked against it,
//! [`definer`] collections that come and go, [`disk`] a file system to fill,
//! [`files`] what a server left on disk, [`cast`] many at work.

pub mod cast;
pub mod client;
pub mod definer;
pub mod disk;
pub mod files;
pub mod model;
pub mod server;
pub mod workload;
