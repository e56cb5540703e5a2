//! Who leads a shard now, and how is it waited for?

use redkite_service::{Error, Result};
use redkite_types::ShardId;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::node::OneNode;
use crate::call::Client;
use crate::role;

impl Shared {
    /// The leader, if there is one and it has a session.
    pub(super) fn present_leader(&self, shard: ShardId) -> Option<Client<OneNode>> {
        let assigned = |metadata: &redkite_catalog::Metadata| {
            metadata.assignments.get(&shard).map(|entry| entry.record.node)
        };
        self.node(role::STREAMING_NODE, self.parts.metadata.read(assigned)?)
    }

    /// Waits until the shard has a leader that is alive.
    pub(super) async fn wait_for_leader(&self, shard: ShardId) -> Result<Client<OneNode>> {
        let deadline = Instant::now() + self.settings.leader_patience;
        // To miss nothing: subscribe first, then look.
        let mut changes = self.parts.metadata.changes();
        let mut sessions = self.parts.sessions.watch();
        loop {
            if let Some(leader) = self.present_leader(shard) {
                return Ok(leader);
            }
            let dropped =
                |metadata: &redkite_catalog::Metadata| !metadata.collections.contains_key(&shard.collection);
            if self.parts.metadata.read(dropped) {
                return Err(Error::ShardNotAvailable { shard: shard.to_string() });
            }
            tokio::select! {
                biased;
                () = sleep_until(deadline) => {
                    return Err(Error::ShardNotAvailable { shard: shard.to_string() });
                }
                () = changes.any() => {}
                Ok(()) = sessions.changed() => {}
            }
        }
    }
}
