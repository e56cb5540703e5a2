//! How does a shard remember what it acknowledged? A log with one writer per shard.
//!
//! [`log`] holds the traits and their laws, [`local`] keeps logs in local files, [`object`] in the
//! object store, [`memory`] in memory for tests of what is built on top, and `contract` is the suite
//! all implementations run.

#[doc(hidden)]
pub mod contract;
mod error;
mod failpoint;
pub mod local;
pub mod log;
pub mod memory;
pub mod object;

pub use error::WalError;
pub use failpoint::FAILPOINTS;
pub use local::{LocalLogs, WalSettings};
pub use log::{Append, Entry, Log, LogProvider, MAX_RECORD_BYTES, Reader, Record};
pub use memory::MemoryLogs;
pub use object::{ObjectLogSettings, ObjectLogs};
