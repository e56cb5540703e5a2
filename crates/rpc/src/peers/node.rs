//! Calls of one node, and where it is found.

use std::sync::Arc;

use redkite_cluster::session::session_key;
use redkite_service::{Error, Result};
use redkite_types::NodeId;
use tracing::debug;

use super::Shared;
use crate::call::{Caller, Client, Method, Reply, Request};
use crate::failure::Failure;
use crate::link::Link;

/// Calls one node, as long as it is there.
#[derive(Clone, Debug)]
pub(super) struct OneNode {
    node: NodeId,
    link: Arc<Link>,
}

impl Caller for OneNode {
    async fn call<Q: Request, A: Reply>(&self, method: &'static Method, request: Q) -> Result<A> {
        match self.link.call(method, &Arc::new(request)).await {
            Ok(answer) => answer,
            Err(Failure::Unsent(reason)) => {
                debug!(node = %self.node, address = self.link.address(), reason, "node not reached");
                Err(Error::NodeNotFound { node: self.node.0 })
            }
            Err(failure) => Err(failure.told(method, self.link.address())),
        }
    }
}

impl Shared {
    /// A node that has a session.
    pub(super) fn node(&self, role: &str, node: NodeId) -> Option<Client<OneNode>> {
        let link = self.link(|sessions| sessions.node(role, node))?;
        Some(Client(OneNode { node, link }))
    }

    /// A node that has none here: the metastore is asked, unless the node is known to be gone.
    pub(super) async fn look_for_node(&self, role: &str, node: NodeId) -> Result<Client<OneNode>> {
        let missing = Error::NodeNotFound { node: node.0 };
        if self.links.lock().gone.contains(&node) {
            return Err(missing);
        }
        let looking = async {
            let entry = self.parts.kv.get(&session_key(role, node)).await.ok()??;
            self.parts.sessions.wait_for(entry.mod_revision).await;
            self.node(role, node)
        };
        let found = tokio::time::timeout(self.settings.connect_timeout, looking).await;
        found.ok().flatten().ok_or(missing)
    }
}
