//! Black-box tests: real server processes, the real wire protocol, an exact model.
//!
//! [`server`] and [`process`] run and kill processes, [`client`] speaks Milvus's protocol, [`model`] knows what the
//! answers must be, [`workload`] is random work checked against it,
//! [`definer`] collections that come and go, [`disk`] a file system to fill,
//! [`files`] what a server left on disk, [`cast`] many at work, [`cluster`] many processes on etcd and a bucket.

pub mod cast;
pub mod client;
pub mod cluster;
pub mod definer;
pub mod disk;
pub mod files;
pub mod model;
pub mod process;
pub mod server;
pub mod workload;
