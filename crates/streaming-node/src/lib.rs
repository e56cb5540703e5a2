//! Who takes the writes? A streaming node leads shards: it logs, keeps the newest rows, seals them into
//! files, and answers reads of its shards together with the query nodes that hold the sealed rows.
//!
//! [`node`] makes true what assignments say (and implements the service), [`shard`] is one shard's
//! leader, [`record`] is what its log says, [`report`] tells who serves.

mod environment;
mod error;
mod failpoint;
mod node;
mod record;
mod report;
mod settings;
mod shard;

pub use environment::Environment;
pub use error::Error;
pub use failpoint::FAILPOINTS;
pub use node::{ShardHealth, StreamingNode};
pub use record::RecordError;
pub use settings::StreamingNodeSettings;
