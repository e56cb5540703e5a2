//! Black-box tests: real server processes, the real wire protocol, an exact model.
//!
//! [`server`] and [`process`] run and kill processes, [`client`] speaks Milvus's protocol, [`model`] knows what the
//! answers must be, [`workload`] is random work checked against it,
//! [`definer`] collections that come and go, [`disk`] a file system to fill,
//! [`environment`] what was chosen for a run, [`files`] what a server left on disk, [`cast`] many at work on one server. [`cluster`] runs many processes on
//! [`etcd`] and a bucket, [`players`] are at work on it, [`metastore`] is what etcd says; [`relay`] and [`network`] are
//! ways between processes that can be cut.

pub mod cast;
pub mod client;
pub mod cluster;
pub mod definer;
pub mod disk;
pub mod environment;
pub mod etcd;
pub mod files;
pub mod metastore;
pub mod model;
pub mod network;
pub mod players;
pub mod process;
pub mod relay;
pub mod server;
pub mod workload;
